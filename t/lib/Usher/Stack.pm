# Usher::Stack: the whole box office for one test file, on private servers in a temporary folder: PostgreSQL, Redis, the
# workers and nginx. Requests are in Usher::Client.
#
#   my $usher = Usher::Stack->new(config => {hold_ttl => '2s'}, workers => 2, nginx => {rate_address => '5r/s'},
#                                 postgres => "log_statement = 'all'", guards_off => ['user-lock']);
#
# nginx => 0 leaves nginx away, server => 0 the workers. Folders come from USHER_SRCDIR and USHER_BUILDDIR; with
# USHER_TEST_KEEP=1 the temporary folder, with all logs, is kept and named.
package Usher::Stack;
use v5.36;
use parent 'Usher::Client';
use Cwd        ();
use File::Path ();
use File::Temp ();
use IO::Socket::INET;
use Usher::Postgres;
use Usher::Process;
use Usher::Redis;

my $source = Cwd::abs_path($ENV{USHER_SRCDIR}   // __FILE__ =~ s{[^/]*$}{../../..}r);
my $build  = Cwd::abs_path($ENV{USHER_BUILDDIR} // "$source/build/check") // die "no build folder: run ./dev check\n";
my $keep   = $ENV{USHER_TEST_KEEP};

# The logs of the workers of all stacks: whatever a test asserts, none of them may crash or be reported by a sanitizer.
my $owner = $$;
my @logs;

sub source {$source}
sub build  {$build}

sub new ($class, %o) {
    my $base = length(File::Spec->tmpdir) > 60 ? '/tmp' : File::Spec->tmpdir;
    my $dir  = File::Temp::tempdir('usher-XXXXXX', DIR => $base, CLEANUP => !$keep);
    print STDERR "# kept: $dir\n" if $keep;
    my $self = bless {
        workers => 2,    server => 1, nginx => {}, config => {}, guards_off => [], %o,
        dir     => $dir, socket => "$dir/usher.sock", shop_socket => "$dir/shop.sock", offset => 0,
    }, $class;
    push @logs, "$dir/server.log";
    $self->_make_folders;
    $self->{redis}    = Usher::Redis->new(dir => "$dir/redis");
    $self->{postgres} = Usher::Postgres->new(
        dir      => "$dir/postgres",
        build    => $build,
        source   => $source,
        settings => $o{postgres} // '',
        migrate  => sub ($owner) { $self->_migrate($owner) }
    );
    $self->_write_files;
    $self->_guards_off;
    $self->start_server if $self->{server};
    $self->start_nginx if $self->{nginx};
    return $self;
}

sub _make_folders ($self) {
    my $dir = $self->{dir};
    chmod 0755, $dir or die "$dir: $!\n";
    mkdir "$dir/$_" for qw(redis postgres nginx lua);
    my ($uid, $gid) = Usher::Process::ordinary_user() or return;
    chown $uid, $gid, "$dir/postgres" or die "$dir/postgres: $!\n";
}

sub _migrate ($self, $owner) {
    my $file = Usher::Process::spew("$self->{dir}/migrate.conf", "database_owner = $owner\n");
    Usher::Process::must({}, "$build/usherctl", '-c', $file, 'migrate');
}

# Keys, clock and configuration. promote_period is short because a promote run lasts most of it.
sub _write_files ($self) {
    my $dir = $self->{dir};
    $self->{jwt_key} = 'secret of the tests, 32 bytes and more';
    Usher::Process::spew("$dir/jwt.key",   $self->{jwt_key});
    Usher::Process::spew("$dir/queue.key", 'sixteen bytes or more of randomness');
    Usher::Process::spew("$dir/clock",     pack 'q', 0);
    my %config = (
        listen         => $self->{socket},
        listen_shop    => $self->{shop_socket},
        workers        => $self->{workers},
        database       => $self->{postgres}->conninfo('usher'),
        database_owner => $self->{postgres}->conninfo('usher_owner'),
        redis          => $self->{redis}{socket},
        jwt_key_file   => "$dir/jwt.key",
        queue_key_file => "$dir/queue.key",
        promote_batch  => 1000,
        promote_period => '200ms',
        %{ $self->{config} },
    );
    $self->{conf} = Usher::Process::spew("$dir/usher.conf", join '', map {"$_ = $config{$_}\n"} sort keys %config);
}

# Takes the guard lines of these names out of the Lua scripts and the SQL functions, so that a race test can show that it
# would notice their absence.
sub _guards_off ($self) {
    my @names = @{ $self->{guards_off} } or return;
    my $guard = join '|', map {quotemeta} @names;
    my $line  = qr/^[^\n]*-- guard: (?:$guard)[ \t]*\n/m;
    my $found = 0;
    for my $path (glob "$source/src/store/lua/*.lua") {
        my $text = Usher::Process::slurp($path);
        $found += $text =~ s/$line//g;
        Usher::Process::spew("$self->{dir}/lua/" . ($path =~ s{.*/}{}r), $text);
    }
    for my $function ($self->_sql_functions) {
        next if !($function =~ s/$line//g);
        $found++;
        $self->psql($function);
    }
    die "no line is marked as guard @names\n" if !$found;
}

# The latest text of each SQL function, as CREATE OR REPLACE.
sub _sql_functions ($self) {
    my %latest;
    for my $path (sort glob "$source/sql/[0-9]*.sql") {
        my $text = Usher::Process::slurp($path);
        while ($text =~ /^CREATE (?:OR REPLACE )?(FUNCTION|PROCEDURE) (\w+)(.*?\bAS (\$\w*\$).*?\4;)/msg) {
            $latest{$2} = "CREATE OR REPLACE $1 $2$3\n";
        }
    }
    return @latest{ sort keys %latest };
}

sub _environment ($self) {
    return {
        USHER_TEST_CLOCK => "$self->{dir}/clock",
        (@{ $self->{guards_off} } ? (USHER_TEST_LUA_DIR => "$self->{dir}/lua") : ()),
        %{ $self->{env} // {} },
    };
}

# Starts usher-server and waits until it answers.
sub start_server ($self) {
    $self->{process} = Usher::Process->start(
        command => [ "$build/usher-server", '-c', $self->{conf} ],
        env     => $self->_environment,
        log     => "$self->{dir}/server.log",
        dir     => $self->{dir},
    );
    Usher::Process::until_true(sub { !$self->{process}->alive || -S $self->{socket} && $self->_healthy }, 20)
        && $self->{process}->alive
        or die "usher-server does not answer:\n" . $self->server_log;
    chmod 0666, $self->{socket}, $self->{shop_socket};    # nginx's workers are another user when the test is root
    return $self->{process};
}

sub _healthy ($self) {
    my $response = eval { $self->fcgi(GET => '/healthz') };
    return $response && $response->status == 200;
}

# The process ids of the workers: the server's children.
sub worker_pids ($self) {
    my $parent = $self->{process}->pid;
    my @pids;
    for my $file (glob '/proc/[0-9]*/stat') {
        my $stat = eval { Usher::Process::slurp($file) } // next;
        push @pids, $1 if $stat =~ /^(\d+) \(.*\) \S (\d+)/s && $2 == $parent;
    }
    return @pids;
}

sub stop_server ($self) { $self->{process}->stop }
sub kill_server ($self) { $self->{process}->kill }
sub server_log  ($self) { Usher::Process::slurp("$self->{dir}/server.log") }

sub start_nginx ($self) {
    my $dir = "$self->{dir}/nginx";
    for (1 .. 3) {
        $self->{port} = _free_port();
        my %limits = (
            connections => 10_000,
            map({ ("rate_$_" => '100000r/s', "burst_$_" => 100000) } qw(address token)),
            %{ $self->{nginx} }
        );
        my @limits = map { ('--' . tr/_/-/r, $limits{$_}) } sort keys %limits;
        Usher::Process::spew(
            "$dir/nginx.conf",
            scalar Usher::Process::must(
                {}, "$source/build-aux/nginx-conf", '--dir', $dir,
                '--listen', $self->address, '--socket', $self->{socket}, '--shop-socket', $self->{shop_socket}, @limits
            )
        );
        return if $self->start_nginx_again;
    }
    die "nginx does not start:\n" . join '', map { Usher::Process::slurp($_) } glob "$dir/*.log";
}

# With the nginx.conf that is there; false when it does not start.
sub start_nginx_again ($self) {
    my $dir = "$self->{dir}/nginx";
    $self->{nginx_process} = Usher::Process->start(
        command => [
            Usher::Process::find_program('nginx') // die("no nginx on this machine: run ./dev deps\n"),
            '-p', $dir, '-c', "$dir/nginx.conf", '-e', 'stderr'
        ],
        log => "$dir/start.log",
        dir => $dir,
    );
    return Usher::Process::until_true(sub { !$self->{nginx_process}->alive || $self->_listens }) && $self->{nginx_process}->alive;
}

sub _listens ($self) { IO::Socket::INET->new(PeerAddr => $self->address) }

sub _free_port {
    my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "no free port: $!\n";
    return $socket->sockport;
}

# nginx's address, "127.0.0.1:12345".
sub address ($self) {"127.0.0.1:$self->{port}"}

# What the servers take for the time, in seconds since 1970.
sub now ($self) { int(time + $self->{offset}) }

# Moves the clock of the programs, the Lua scripts and the SQL functions.
sub clock_advance ($self, $seconds) {
    $self->{offset} += $seconds;
    my $us = int($self->{offset} * 1_000_000);
    open my $file, '+<', "$self->{dir}/clock" or die "clock: $!\n";
    syswrite $file, pack('q', $us) or die "clock: $!\n";
    $self->psql('UPDATE test_clock SET offset_us = $1', $us);
}

sub psql    ($self, @args) { $self->{postgres}->psql(@args) }
sub session ($self, @args) { $self->{postgres}->session(@args) }
sub redis   ($self, @args) { $self->{redis}->command(@args) }

# Runs usher-scheduler; (exit status, stderr).
sub scheduler ($self, @args) {
    my ($status, undef, $err)
        = Usher::Process::run({ env => $self->_environment }, "$build/usher-scheduler", '-c', $self->{conf}, @args);
    return ($status, $err);
}

# Runs usherctl; (exit status, stdout, stderr).
sub ctl ($self, @args) {
    return Usher::Process::run({ env => $self->_environment }, "$build/usherctl", '-c', $self->{conf}, @args);
}

# Starts one of our programs and does not wait for it.
sub background ($self, $program, @args) {
    return Usher::Process->start(
        command => [ "$build/$program", '-c', $self->{conf}, @args ],
        env     => $self->_environment,
        log     => "$self->{dir}/$program.log",
    );
}

# n concerts; their ids.
sub concerts ($self, $n) {
    return map { 0 + $_ } $self->psql(
        q{INSERT INTO concert (name, description)
        SELECT 'Concert ' || i, 'Description ' || i FROM generate_series(1, $1::int) i RETURNING id}, $n
    );
}

# A schedule of the concert, open from an hour ago for a day unless opens and closes say otherwise (seconds from now, by the
# servers' clock): (schedule id, seat ids...).
sub schedule ($self, $concert, %o) {
    %o = (seats => 50, price => 1000, opens => -3600, closes => 86400, at => 2_592_000, place => 'Hall', %o);
    my $schedule = $self->psql(
        q{INSERT INTO concert_schedule
        (concert_id, place, concert_at, reservation_opens_at, reservation_closes_at) SELECT $1, $2,
        usher_clock() + $3 * interval '1s', usher_clock() + $4 * interval '1s', usher_clock() + $5 * interval '1s' RETURNING id},
        $concert, @o{qw(place at opens closes)}
    );
    my @seats = $self->psql(
        q{INSERT INTO concert_seat (schedule_id, location, price)
        SELECT $1, 'A' || i, $3 FROM generate_series(1, $2::int) i RETURNING id}, $schedule, @o{qw(seats price)}
    );
    return (0 + $schedule, map { 0 + $_ } @seats);
}

# What the doorman refuses at this moment: "key seat held|sold user", less lapsed claims.
sub claims ($self) {
    my ($now, @claims) = $self->now * 1000;
    for my $key (sort $self->redis('KEYS', 's:*')) {
        my %seats = $self->redis('HGETALL', $key);
        for my $seat (grep {/^\d+$/} sort keys %seats) {
            my ($deadline, $user) = split / /, $seats{$seat};
            push @claims, join ' ', $key, $seat, ($deadline ? 'held' : 'sold'), $user if !$deadline || $deadline > $now;
        }
    }
    return @claims;
}

# All that PostgreSQL (less the line's history) and the doorman know, as a text: two equal ones mean that nothing changed.
sub state_digest ($self) {
    $self->{tables} //= [
        $self->psql(
            q{SELECT quote_ident(tablename) FROM pg_tables
        WHERE schemaname = 'public' AND tablename NOT IN ('test_clock', 'waiting_token') ORDER BY 1}
        )
    ];
    my @sql = map {"SELECT '$_', count(*), md5(coalesce(string_agg(t::text, ',' ORDER BY t::text), '')) FROM $_ t"}
        @{ $self->{tables} };
    return join "\n", $self->psql(join ' UNION ALL ', @sql), $self->claims;
}

END {
    if ($$ == $owner) {
        my $status = $?;
        Usher::Process::stop_all();
        for my $log (grep {-e} @logs) {
            my @crashes = grep {/died .*signal=(?:4|6|7|8|11)\b|Sanitizer|runtime error:/} split /\n/,
                Usher::Process::slurp($log);
            print STDERR "# usher-server: $_\n" for @crashes;
            $status ||= 1 if @crashes;
        }
        $? = $status;
    }
}

1;
