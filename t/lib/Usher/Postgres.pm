# Usher::Postgres: a private PostgreSQL cluster for one test file. Making one takes seconds, so a migrated cluster is made
# once for each state of sql/ and usherctl, kept in the build folder, and copied for each test.
package Usher::Postgres;
use v5.36;
use Digest::SHA ();
use Fcntl       qw(:flock);
use IPC::Open2  ();
use Usher::Process;

my $settings = <<'END';
listen_addresses = ''
fsync = off
full_page_writes = off
autovacuum = off
shared_buffers = 32MB
max_connections = 150
min_wal_size = 2MB
max_wal_size = 256MB
timezone = UTC
lc_messages = C
END

# The tests' clock: an offset that clock_advance moves. The function keeps the owner and the grants of the one that it replaces.
my $test_clock = <<'END';
CREATE TABLE test_clock (offset_us bigint NOT NULL);
INSERT INTO test_clock VALUES (0);
GRANT SELECT ON test_clock TO PUBLIC;
CREATE OR REPLACE FUNCTION usher_clock() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$ SELECT clock_timestamp() + (SELECT offset_us FROM public.test_clock) * interval '1 microsecond' $$;
END

# new(dir => an existing folder, build => build folder, source => source folder, migrate => sub ($conninfo) {...}, settings =>
# extra lines): a running cluster with the roles of an installation, usher_owner and usher, and the migrated database usher,
# which usher_owner owns. The harness itself is the superuser, postgres: it may what the programs may not.
sub new ($class, %o) {
    my $self = bless { settings => '', %o, data => "$o{dir}/pg" }, $class;
    Usher::Process::must({}, 'cp', '-a', $self->_template, $self->{data});
    $self->_own($self->{data});
    $self->_settings("$settings$self->{settings}");
    return $self->start;
}

sub _own ($self, @paths) {
    my ($uid, $gid) = Usher::Process::ordinary_user() or return;
    Usher::Process::must({}, 'chown', '-R', "$uid:$gid", @paths);
}

sub _settings ($self, $lines) {
    open my $file, '>>', "$self->{data}/postgresql.conf" or die "postgresql.conf: $!\n";
    print {$file} "$lines\nunix_socket_directories = '$self->{dir}'\n";
}

sub _template ($self) {
    my $folder = "$self->{build}/test-clusters";
    mkdir $folder;
    open my $lock, '>', "$folder/lock" or die "$folder/lock: $!\n";
    flock $lock, LOCK_EX or die "$folder/lock: $!\n";
    my $path = "$folder/" . $self->_key;
    return $path if -d $path;
    $self->_make("$path.new");
    Usher::Process::must({}, 'rm', '-rf', grep { !/\.new$/ } glob "$folder/*-pg");
    rename "$path.new", $path or die "$path: $!\n";
    return $path;
}

# One name for each state of what a template is made from.
sub _key ($self) {
    my $sha = Digest::SHA->new(256);
    $sha->addfile($_) for sort glob("$self->{source}/sql/[0-9]*.sql"), "$self->{build}/usherctl", __FILE__;
    return substr($sha->hexdigest, 0, 16) . '-pg';
}

sub _make ($self, $path) {
    my $dir = $self->{dir};
    my %as  = (ordinary => 1, dir => $dir);
    local $self->{data} = "$dir/template";
    Usher::Process::must(
        \%as, $self->_tool('initdb'), '-D', $self->{data}, qw(-U postgres -A trust -E UTF8 --no-sync),
        qw(--locale=C.UTF-8 --wal-segsize=1)
    );
    $self->_settings($settings);
    $self->start;
    $self->psql($_, { database => 'postgres' })
        for 'CREATE ROLE usher LOGIN', 'CREATE ROLE usher_owner LOGIN', 'CREATE DATABASE usher OWNER usher_owner';
    $self->{migrate}->($self->conninfo('usher_owner'));
    $self->psql($test_clock);
    $self->stop('INT');
    Usher::Process::must({}, 'rm', '-rf', $path);
    Usher::Process::must({}, 'cp', '-a', $self->{data}, $path);
}

sub _tool ($self, $name) {
    return Usher::Process::find_program($name) // die "no $name on this machine: run ./dev deps\n";
}

sub start ($self) {
    $self->{process} = Usher::Process->start(
        command     => [ $self->_tool('postgres'), '-D', $self->{data} ],
        ordinary    => 1,
        dir         => $self->{dir},
        log         => "$self->{dir}/postgres.log",
        stop_signal => 'QUIT',
    );
    Usher::Process::until_true(sub { -S "$self->{dir}/.s.PGSQL.5432" && $self->_answers }, 30)
        or die "PostgreSQL does not start:\n" . Usher::Process::slurp("$self->{dir}/postgres.log");
    return $self;
}

sub _answers ($self) {
    my ($status) = Usher::Process::run({}, $self->_tool('pg_isready'), '-q', '-h', $self->{dir});
    return $status == 0;
}

# signal: QUIT (at once, as a crash), INT (a clean end).
sub stop ($self, $signal = 'QUIT') {
    $self->{process}->signal($signal);
    $self->{process}->wait(20) // die "PostgreSQL does not stop\n";
    $self->{process}->stop;
}

# A connection string for libpq.
sub conninfo ($self, $role) {"host=$self->{dir} dbname=usher user=$role"}

sub _quote ($value) { defined $value ? q{'} . $value =~ s/'/''/gr . q{'} : 'NULL' }

# psql(sql, parameters for $1..$n, {role => , database => }): all rows as a list, the columns joined by '|'; in scalar context
# the first row.
sub psql ($self, $sql, @params) {
    my %o = (role => 'postgres', database => 'usher', ref $params[-1] ? %{ pop @params } : ());
    $sql =~ s/\$(\d+)/_quote($params[$1 - 1])/ge if @params;
    my $file = File::Temp->new;
    Usher::Process::spew("$file", $sql);
    my $out = Usher::Process::must(
        { input => "$file" }, $self->_tool('psql'),
        qw(-X -q -At -v ON_ERROR_STOP=1 -h), $self->{dir}, '-U', $o{role}, $o{database}
    );
    my @rows = split /\n/, $out;
    return wantarray ? @rows : $rows[0];
}

# A session that stays open, to hold a lock or a transaction: ->run(sql) returns its rows, ->close ends it.
sub session ($self, $role = 'postgres') {
    my $pid =
        IPC::Open2::open2(my $out, my $in, $self->_tool('psql'), qw(-X -q -At -h), $self->{dir}, '-U', $role, 'usher');
    $in->autoflush(1);
    return bless { pid => $pid, out => $out, in => $in }, 'Usher::Postgres::Session';
}

package Usher::Postgres::Session;

sub run ($self, $sql) {
    print { $self->{in} } "$sql;\n\\echo -- end --\n";
    my @rows;
    while (defined(my $line = readline $self->{out})) {
        chomp $line;
        return @rows if $line eq '-- end --';
        push @rows, $line;
    }
    die "the psql session ended during: $sql\n";
}

sub close ($self) {
    CORE::close $self->{in};
    CORE::close $self->{out};
    waitpid $self->{pid}, 0;
}

1;
