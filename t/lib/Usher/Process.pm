# Usher::Process: programs that a test starts. Every one is ended by its process id when the test ends, however it ends:
# at exit, after die, on INT, TERM and HUP, and (through the kernel's parent-death signal) when the test itself is killed.
package Usher::Process;
use v5.36;
use File::Temp  ();
use POSIX       ();
use Time::HiRes qw(sleep time);

my $owner = $$;
my @started;

$SIG{$_} = sub { exit 130 }
    for qw(INT TERM HUP);
$SIG{PIPE} = 'IGNORE';
delete @ENV{ grep {/^PG/} keys %ENV };

# The ordinary user for servers that refuse to run as root: (uid, gid), or nothing when the test is not root.
sub ordinary_user() {
    return if $> != 0;
    for my $name (qw(postgres nobody)) {
        my (undef, undef, $uid, $gid) = getpwnam $name;
        return ($uid, $gid) if defined $uid;
    }
    die "no user postgres or nobody to run servers as\n";
}

# Environment of a child: what the test was given, less every USHER_ setting of the developer's shell, plus the caller's.
sub _environment ($extra) {
    delete @ENV{ grep {/^USHER_/} keys %ENV };
    $ENV{LC_ALL}         = 'C';
    $ENV{TZ}             = 'UTC';
    @ENV{ keys %$extra } = values %$extra;
}

sub _exec ($o) {
    open STDIN,  '<',  $o->{input}  // '/dev/null' or POSIX::_exit(126);
    open STDOUT, '>>', $o->{stdout} // $o->{log}   or POSIX::_exit(126);
    open STDERR, '>>', $o->{stderr} // $o->{log}   or POSIX::_exit(126);
    _environment($o->{env} // {});
    my @command = @{ $o->{command} };
    my @user    = $o->{ordinary} ? ordinary_user() : ();
    unshift @command, 'setpriv', '--pdeathsig', $o->{stop_signal} // 'TERM',
        (@user ? ("--reuid=$user[0]", "--regid=$user[1]", '--clear-groups') : ()), '--';
    POSIX::setpgid(0, 0);
    chdir($o->{dir} // '/');
    $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP PIPE);
    exec {'setpriv'} @command or POSIX::_exit(127);
}

# start(command => [...], log => FILE, ordinary => 1, env => {...}, stop_signal => 'TERM'): starts it in a process group of
# its own, output to the log (or stdout => FILE, stderr => FILE).
sub start ($class, %o) {
    my $pid = fork // die "fork: $!\n";
    _exec(\%o) if !$pid;
    my $self = bless { %o, pid => $pid }, $class;
    push @started, $self;
    return $self;
}

sub pid ($self) { $self->{pid} }

# The process ids of its own children.
sub children ($self) { split ' ', eval { slurp("/proc/$self->{pid}/task/$self->{pid}/children") } // '' }

# Whether it still runs; collects the exit status when it does not.
sub alive ($self) {
    return 0 if defined $self->{status};
    return 1 if waitpid($self->{pid}, POSIX::WNOHANG()) == 0;
    $self->{status} = $?;
    return 0;
}

sub signal ($self, $signal) { kill $signal, $self->{pid} if $self->alive }

# Waits for the end; the wait status as in $?, undef when the time is over.
sub wait ($self, $seconds = 30) {
    until_true(sub { !$self->alive }, $seconds) or return;
    return $self->{status};
}

# Ends it: its stop signal first, and what is left of its group by KILL after some seconds.
sub stop ($self, $seconds = 10) {
    if ($self->alive) {
        $self->signal($self->{stop_signal} // 'TERM');
        $self->wait($seconds);
    }
    $self->kill;
    return $self->{status};
}

# Ends it and its children without a chance to clean up.
sub kill ($self) {
    CORE::kill 'KILL', -$self->{pid};
    if (!defined $self->{status}) {
        waitpid $self->{pid}, 0;
        $self->{status} = $?;
    }
    @started = grep { $_ != $self } @started;
    return $self->{status};
}

# run(\%options, command...): runs to the end and returns (exit status, stdout, stderr); 128+n for signal n.
sub run ($o, @command) {
    my ($out, $err) = map { File::Temp->new } 1 .. 2;
    my $process = Usher::Process->start(
        %$o,
        command => \@command,
        stdout  => "$out",
        stderr  => "$err"
    );
    my $status = $process->wait($o->{seconds} // 60);
    my $late   = !defined $status;
    $status = $process->kill;
    my @text = map { slurp("$_") } $out, $err;
    $text[1] .= "ended by the test: still running after its time\n" if $late;
    return ($status & 127 ? 128 + ($status & 127) : $status >> 8, @text);
}

# run, but dies with the program's own words when it fails; returns its output.
sub must ($o, @command) {
    my ($status, $out, $err) = run($o, @command);
    die "@command: exit $status\n$err$out" if $status != 0;
    return $out;
}

# Looks until it is true (returned) or the seconds are over (false).
sub until_true ($look, $seconds = 10) {
    my $end = time + $seconds;
    while (1) {
        my $found = $look->();
        return $found if $found;
        return if time > $end;
        sleep 0.01;
    }
}

sub slurp ($path) {
    open my $file, '<', $path or die "$path: $!\n";
    local $/;
    return scalar(<$file>) // '';
}

sub spew ($path, $text) {
    open my $file, '>', $path or die "$path: $!\n";
    print {$file} $text;
    close $file or die "$path: $!\n";
    return $path;
}

# The newest program of that name: on PATH or in the folders that distributions hide servers in.
sub find_program ($name) {
    my @folders = ((sort { $b cmp $a } glob '/usr/lib/postgresql/*/bin'), split(/:/, $ENV{PATH}), '/usr/sbin', '/sbin');
    my ($folder) = grep { -x "$_/$name" } @folders;
    return if !defined $folder;
    return "$folder/$name";
}

# Ends all that still runs, the youngest first.
sub stop_all () {
    my @all = reverse @started;
    $_->stop(5) for @all;
}

END {
    if ($$ == $owner) {
        local $?;
        stop_all();
    }
}

1;
