# Usher::Race: many at once, guards taken out and put back, and what must hold whoever wins.
#
#   my @responses = burst($usher, [POST => '/v1/payments', user => 7, ...], ...);
#   without($usher, ['user-lock'], sub { ... });      the same race where it must end badly
package Usher::Race;
use v5.36;
use parent 'Exporter';
use IO::Select;
use IO::Socket::UNIX;
use MIME::Base64 ();
use Usher::Http;
use Usher::Process;

our @EXPORT =
  qw($LOGGING %PATIENT query ask burst tally people without ruined eventually slowly traffic sql_race breaches);

# Settings of PostgreSQL that traffic() needs.
our $LOGGING = "log_statement = 'all'\nlog_connections = on\nlog_line_prefix = '%u|'\n";

# Configuration for races: long times, so that only who wins decides and not how busy this machine is.
our %PATIENT = (
    claim_window      => '2h',
    active_ttl        => '2h',
    redis_timeout     => '5s',
    lock_timeout      => '4s',
    statement_timeout => '4500ms',
);

# psql() and redis() of Usher::Stack over connections that stay open, for tests that look often. query takes parameters
# for $1..$n; in scalar context both return the first line.
sub query ($usher, $sql, @params) {
    $usher->{race_session} //= do {
        my $session = $usher->session;
        $session->run("SELECT\n\\g /dev/null\n\\set ON_ERROR_STOP on\nSELECT\n\\g /dev/null\n");
        $session;
    };
    $sql =~ s/\$(\d+)/Usher::Postgres::_quote($params[$1 - 1])/ge if @params;
    my @rows = $usher->{race_session}->run($sql);
    return wantarray ? @rows : $rows[0];
}

sub ask ($usher, @command) {
    my $redis = $usher->{race_redis} //= IO::Socket::UNIX->new(Peer => $usher->{redis}{socket}) // die "redis: $!\n";
    print {$redis} '*' . @command . "\r\n", map { '$' . length($_) . "\r\n$_\r\n" } @command;
    $redis->flush;
    my @lines = _redis_answer($redis);
    return wantarray ? @lines : $lines[0];
}

sub _redis_answer ($redis) {
    my ($kind, $rest) = (readline($redis) // die "Redis is gone\n") =~ /^(.)(.*)\r\n$/;
    return $rest                                    if $kind eq '+' || $kind eq ':';
    return map { _redis_answer($redis) } 1 .. $rest if $kind eq '*';
    die "Redis says: $rest\n"                       if $kind ne '$';
    return ''                                       if $rest < 0;
    read $redis, my $text, $rest + 2;
    return split /\r?\n/, $text if $text =~ /\n./;
    return substr $text, 0, $rest;
}

# All requests at once over nginx: every connection is made before the first request is sent. The responses in the same
# order.
sub burst ($usher, @requests) {
    my @flying = map { { method => $_->[0], bytes => $usher->_bytes(@$_), data => '' } } @requests;
    $_->{socket} = Usher::Http::connect_to($usher->address) for @flying;
    syswrite $_->{socket}, $_->{bytes} for @flying;
    my %by     = map { (fileno $_->{socket} => $_) } @flying;
    my $select = IO::Select->new(map { $_->{socket} } @flying);
    while ($select->count) {
        my @ready = $select->can_read(20) or die "no complete answers within 20 seconds\n";
        for my $socket (@ready) {
            my $one = $by{ fileno $socket };
            $select->remove($socket) if !sysread $socket, $one->{data}, 65536, length $one->{data};
        }
    }
    return map { Usher::Response->parse($_->{data}, $_->{method}) } @flying;
}

# {'201' => 1, '409 seat-unavailable' => 49}
sub tally (@responses) {
    my %count;
    for my $response (@responses) {
        my $json = $response->json;
        $count{ join ' ', $response->status, ref $json eq 'HASH' && $json->{code} ? $json->{code} : () }++;
    }
    return \%count;
}

my $last_user = 1000;

# n new users who are admitted: ({user, token}, ...).
sub people ($usher, $n) {
    my @people = map { { user => ++$last_user } } 1 .. $n;
    Usher::Process::until_true(    # 503 while a worker makes sure that the line is complete
        sub {
            my @todo   = grep { !$_->{token} } @people;
            my @places = burst($usher, map { [ POST => '/v1/queue/tokens', user => $_->{user} ] } @todo);
            $todo[$_]{token} = ($places[$_]->json // {})->{token} for 0 .. $#todo;
            return !grep { !$_->{token} } @people;
        }
      ) or
      die "not everybody got a place in the line\n";
    for (1 .. 50) {
        my ($status, $error) = $usher->scheduler('-o', 'promote_batch=1000', '-o', 'promote_period=200ms', 'promote');
        die "usher-scheduler promote: exit $status\n$error" if $status != 0;
        return @people                                      if ask($usher, 'ZCARD', 'q:{main}:waiting') == 0;
    }
    die "not everybody was admitted\n";
}

# --- guards ---

# The definitions of our SQL functions that match.
sub _functions ($usher, $pattern = '.') {
    return grep { $_ =~ $pattern } map { MIME::Base64::decode($_) } query(
        $usher,
        q{SELECT translate(encode(convert_to(pg_get_functiondef(oid), 'UTF8'), 'base64'), E'\n', '')
          FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prokind = 'f'}
    );
}

# Runs the code while every line that is marked with one of these guards is taken out of the Lua scripts and of the SQL
# functions as they are in this database; afterwards all is as it was.
sub without ($usher, $guards, $code) {
    my $line    = join '|', map {quotemeta} @$guards;
    my $pattern = qr/^[^\n]*-- guard: (?:$line)[ \t]*\n/m;
    my @before  = _functions($usher, $pattern);
    my @scripts = glob $usher->source . '/src/store/lua/*.lua';
    my $found   = @before;
    for my $path (@scripts) {
        my $text = Usher::Process::slurp($path);
        $found += my $hits = $text =~ s/$pattern//g;
        Usher::Process::spew("$usher->{dir}/lua/" . ($path =~ s{.*/}{}r), $text);
    }
    die "no line is marked as guard @$guards\n" if !$found;
    my $restart = $found > @before && $usher->{process};

    query($usher, join ';', map {s/$pattern//gr} @before) if @before;
    my $good = eval {
        local $usher->{guards_off} = $guards;
        _restart($usher) if $restart;
        $code->();
        1;
    };
    my $error = $@;
    query($usher, join ';', @before) if @before;
    _restart($usher)                 if $restart;
    die $error                       if !$good;
    return;
}

sub _restart ($usher) {
    $usher->stop_server;
    $usher->start_server;
}

# Runs the code while a constraint is gone (drop, and afterwards create, as SQL), then forgets all effects of all requests,
# for what came in meanwhile would not be let back in.
sub ruined ($usher, $drop, $create, $code) {
    $usher->psql($drop);
    $code->();
    $usher->psql(
        "SET session_replication_role = replica;
        TRUNCATE idempotency_key, ledger, reservation_ticket, reservation, asset; $create"
    );
    ask($usher, 'DEL', $_) for ask($usher, 'KEYS', 's:*');
    return;
}

# What the code returns when that is true, otherwise another try, a few times. For what goes wrong by chance.
sub eventually ($code) {
    for (1 .. 6) {
        my $found = $code->();
        return $found if $found;
    }
    return 0;
}

# Makes a SQL function of this database sleep before the first line that contains the text, so that what a race has to hit
# is wide open. Stays.
sub slowly ($usher, $function, $text, $seconds) {
    my ($definition) = _functions($usher, qr/FUNCTION public\.$function\(/);
    $definition =~ s/^([^\n]*\Q$text\E)/    PERFORM pg_sleep($seconds);\n$1/m or
      die "no line of $function has: $text\n";
    query($usher, $definition);
}

# --- looking ---

# What the role of the workers did in PostgreSQL while the code ran: {connections => number, statements => [text...]}.
sub traffic ($usher, $code) {
    my $log  = "$usher->{dir}/postgres/postgres.log";
    my $from = -s $log;
    $code->();
    my $text = substr Usher::Process::slurp($log), $from;
    return {
        connections => scalar(() = $text =~ /connection authorized: user=usher /g),
        statements  => [ $text           =~ /^usher\|LOG:  (?:execute [^:]*|statement): (.*)/mg ],
    };
}

# The rows of a text that was sent before.
sub _rows ($session) {
    my @rows;
    while (defined(my $line = readline $session->{out})) {
        chomp $line;
        return @rows if $line eq '-- end --';
        push @rows, $line;
    }
    die "a session ended in the race\n";
}

# Runs each SQL text in a session of its own, all from one starting signal; the lines that each printed, by text. Dies
# when one fails.
sub sql_race ($usher, @texts) {
    my $pool = $usher->{race_pool} //= [];
    push @$pool, $usher->session while @$pool < 1 + @texts;
    my ($start, @sessions) = @$pool[ 0 .. @texts ];
    $start->run('SELECT pg_advisory_lock(42)');
    for my $i (0 .. $#texts) {
        my ($session, $text) = ($sessions[$i], $texts[$i]);
        print { $session->{in} }
          "\\set ON_ERROR_STOP on\nSELECT pg_advisory_lock_shared(42), pg_advisory_unlock_shared(42) \\g /dev/null\n" .
          "$text;\n\\echo -- end --\n";
    }
    Usher::Process::until_true(
        sub {
            my ($waiting) = $start->run(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted});
            $waiting == @texts;
        }
      ) or
      die "the sessions do not come to the start\n";
    $start->run('SELECT pg_advisory_unlock(42)');
    return map { [ _rows($_) ] } @sessions;
}

# What must never be, in PostgreSQL, in the words of usherctl verify's views; nothing when all is well.
sub breaches ($usher) {
    $usher->{race_views} //= [ query($usher, q{SELECT viewname FROM pg_views WHERE viewname LIKE 'verify\_%'}) ];
    die "there are no views verify_...\n" if !@{ $usher->{race_views} };
    return query($usher, join ' UNION ALL ', map {"SELECT breach FROM $_"} @{ $usher->{race_views} });
}

1;
