# Storm::Weather: what goes wrong. Each calamity kills, freezes or empties something and brings it back as an operator's machine
# would; begin() starts the clockwork of promote and expire beside it.
package Storm::Weather;
use v5.36;
use List::Util  ();
use Time::HiRes qw(sleep time);
use Usher::Process;

# name => [how often in comparison, what it does]
my %calamity = (
    'worker killed'                         => [ 8, \&_kill_worker ],
    'all workers killed'                    => [ 1, \&_kill_workers ],
    'master killed'                         => [ 3, \&_kill_master ],
    'nginx killed'                          => [ 2, sub ($self) { $self->{box}->restart_nginx } ],
    'nginx worker killed'                   => [ 2, \&_kill_nginx_worker ],
    'promote killed'                        => [ 3, sub ($self) { $self->_kill_clockwork('promote') } ],
    'expire killed'                         => [ 3, sub ($self) { $self->_kill_clockwork('expire') } ],
    'Redis killed'                          => [ 3, \&_kill_redis ],
    'Redis killed, its last second lost'    => [ 2, \&_lose_second ],
    'Redis: FLUSHALL'                       => [ 2, sub ($self) { $self->{box}->redis('FLUSHALL') } ],
    'Redis: SCRIPT FLUSH'                   => [ 2, sub ($self) { $self->{box}->redis('SCRIPT', 'FLUSH') } ],
    'Redis: every connection cut'           => [ 2, sub ($self) { $self->{box}->redis('CLIENT', 'KILL', 'TYPE', 'normal') } ],
    'Redis frozen for a second'             => [ 2, \&_freeze_redis ],
    'Redis: disk full for a second'         => [ 1, sub ($self) { $self->_fill('redis') } ],
    'PostgreSQL: immediate shutdown'        => [ 2, \&_stop_postgres ],
    'PostgreSQL: a backend killed'          => [ 1, \&_kill_backend ],
    'PostgreSQL: pg_terminate_backend, all' => [ 3, \&_terminate_backends ],
    'PostgreSQL frozen for a second'        => [ 1, \&_freeze_postgres ],
    'PostgreSQL: disk full for a second'    => [ 1, sub ($self) { $self->_fill('postgres') } ],
);

# new(box =>, seed =>, kills => how many, from => when the first may be, until => when the last)
sub new ($class, %o) {
    my $self = bless { %o, done => {}, skipped => {}, clockwork => {}, log => [] }, $class;
    if (!$self->{box}{disk}) {
        $self->{skipped}{$_} = 'needs root and a mount namespace' for grep {/disk full/} keys %calamity;
    }
    $self->{plan} = [ $self->_plan ];
    return $self;
}

# [time, name], ...: the same for the same seed and number. Every kind comes once before any comes again.
sub _plan ($self) {
    srand $self->{seed};
    my @kinds = grep { !$self->{skipped}{$_} } sort keys %calamity;
    my @deck  = map { ($_) x $calamity{$_}[0] } @kinds;
    my @names = List::Util::shuffle(@kinds);
    push @names, $deck[ rand @deck ] while @names < $self->{kills};
    my $step  = ($self->{until} - $self->{from}) / $self->{kills};
    my $n     = 0;
    return map { [ $self->{from} + $step * ($n++ + rand), $_ ] } @names[ 0 .. $self->{kills} - 1 ];
}

# Does what is due; returns whether anything is left to come.
sub tick ($self) {
    $self->_turn($_) for sort keys %{ $self->{clockwork} };
    $self->_watch;
    $self->_look_at_redis;
    my $next = $self->{plan}[0] // return 0;
    return 1 if time < $next->[0];
    shift @{ $self->{plan} };
    $self->_strike($next->[1]);
    return 1;
}

sub _strike ($self, $name) {
    my $began = time;
    $calamity{$name}[1]->($self);
    $self->{done}{$name}++;
    push @{ $self->{log} }, sprintf '%7.2f s  %s (%.2f s)', $began - $self->{from}, $name, time - $began;
}

# ---- the clockwork, as the timers would start it

sub clockwork ($self, $verb, $period) { $self->{clockwork}{$verb} = { period => $period, due => 0 } }

sub _turn ($self, $verb) {
    my $work = $self->{clockwork}{$verb};
    if ($work->{process} && !$work->{process}->alive) {
        $work->{runs}++;
        $work->{failed}++ if $work->{process}->kill;
        delete $work->{process};
    }
    return if $work->{process} || time < $work->{due};
    $work->{due} = time + $work->{period};
    $work->{process} = Usher::Process->start(
        command => [ $self->{box}->build . '/usher-scheduler', '-c', $self->{box}{conf}, $verb ],
        env     => $self->{box}->_environment,
        log     => "$self->{box}{dir}/scheduler.log",
    );
}

sub end_clockwork ($self) {
    for my $work (values %{ $self->{clockwork} }) {
        ($work->{process} // next)->stop;
    }
    $self->{clockwork} = {};
}

# In the middle of its work, if it is at it; otherwise the next one as soon as it starts.
sub _kill_clockwork ($self, $verb) {
    my $work = $self->{clockwork}{$verb};
    $work->{due} = 0 if !$work->{process};
    $self->_turn($verb);
    sleep rand 0.05;
    $work->{process}->kill;
    delete $work->{process};
}

# Whatever has ended by itself is started again, as systemd would do.
sub _watch ($self) {
    my $box = $self->{box};
    $self->_fallen('usher-server', $box->{process},           sub { $box->begin_server });
    $self->_fallen('nginx',        $box->{nginx_process},     sub { $box->restart_nginx });
    $self->_fallen('Redis',        $box->{redis}{process},    sub { $box->start_redis });
    $self->_fallen('PostgreSQL',   $box->{postgres}{process}, sub { $self->_bring_back_postgres });
}

sub _fallen ($self, $name, $process, $start) {
    return if $process->alive;
    $self->{fallen}{$name}++;
    push @{ $self->{log} }, sprintf '%7.2f s  (%s has ended by itself)', time - $self->{from}, $name;
    $start->();
}

# ---- the programs

sub _kill_worker ($self) {
    my @pids = $self->{box}->worker_pids or return;
    kill KILL => $pids[ rand @pids ];
}

sub _kill_workers ($self) { kill KILL => $self->{box}->worker_pids }

# The master alone: its workers see that and finish what they are at.
sub _kill_master ($self) {
    my $process = $self->{box}{process};
    kill KILL => $process->pid;
    $process->wait(10);
    $self->{box}->begin_server;
}

sub _children ($pid) {
    return map { /^(\d+) \(.*\) \S (\d+)/s && $2 == $pid ? $1 : () }
        map { eval { Usher::Process::slurp($_) } // () } glob '/proc/[0-9]*/stat';
}

sub _kill_nginx_worker ($self) { kill KILL => _children($self->{box}{nginx_process}->pid) }

# ---- Redis

sub _kill_redis ($self) {
    $self->{box}{redis}{process}->kill;
    $self->{box}->start_redis;
}

sub _append_only_file ($self) { (sort glob "$self->{box}{redis}{dir}/appendonlydir/*.incr.aof")[-1] }

# How long the append-only file was a second ago.
sub _look_at_redis ($self) {
    my $sizes = $self->{sizes} //= [];
    return if @$sizes && time < $sizes->[-1][0] + 0.1;
    my $file = $self->_append_only_file // return;
    push @$sizes, [ time, $file, -s $file // 0 ];
    shift @$sizes while @$sizes > 1 && $sizes->[1][0] < time - 1;
}

# As if the machine had gone down before the last second was on its disk.
sub _lose_second ($self) {
    $self->{box}{redis}{process}->kill;
    my $file = $self->_append_only_file;
    my (undef, $was, $size) = @{ $self->{sizes}[0] // [ 0, '', 0 ] };
    truncate $file, $size or die "$file: $!\n" if $file eq $was;
    $self->{sizes} = [];
    $self->{box}->start_redis;
}

sub _freeze_redis ($self) {
    $self->{box}{redis}{process}->signal('STOP');
    sleep 1;
    $self->{box}{redis}{process}->signal('CONT');
}

# ---- PostgreSQL

sub _stop_postgres ($self) {
    $self->{box}{postgres}->stop('QUIT');
    $self->_bring_back_postgres;
}

# It may need more than one attempt while its disk is full.
sub _bring_back_postgres ($self) {
    for (1 .. 5) {
        $self->{box}{postgres}{process}->kill;
        return if eval { $self->{box}->start_postgres };
        sleep 0.2;
    }
    die "PostgreSQL does not come back:\n$@";
}

# What works for the workers: not the server's own processes.
sub _backends ($self) {
    return eval { $self->{box}->psql(q{SELECT pid FROM pg_stat_activity WHERE usename = 'usher'}) };
}

# PostgreSQL then ends all others, too, and recovers.
sub _kill_backend ($self) {
    my @pids = $self->_backends or return;
    kill KILL => $pids[ rand @pids ];
}

sub _terminate_backends ($self) {
    eval { $self->{box}->psql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'usher'}) };
}

sub _freeze_postgres ($self) {
    my $master = $self->{box}{postgres}{process}->pid;
    my @pids   = ($master, _children($master));
    kill STOP => @pids;
    sleep 1;
    kill CONT => @pids, _children($master);
}

# ---- disks

# To the last byte, then as it was.
sub _fill ($self, $name) {
    my $ballast = $self->{box}{disk}{$name};
    Usher::Process::run({}, 'dd', 'if=/dev/zero', "of=$ballast", 'bs=1M');
    Usher::Process::run({}, 'sh', '-c', 'cat /dev/zero >>"$0"', $ballast);
    sleep 1;
    unlink $ballast or die "$ballast: $!\n";
}

1;
