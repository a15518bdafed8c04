# Storm::Weather: what goes wrong. Each calamity kills, freezes or empties something and brings it back as an operator's machine
# would; clockwork() starts promote and expire beside it. What has happened is in {log}, and when the history of the line was
# written in {runs}, for Storm::Books: a place in the line may be gone only where they explain that.
package Storm::Weather;
use v5.36;
use List::Util  ();
use Time::HiRes qw(sleep time);
use Usher::Process;

# name => [how often in comparison, what it is, what it does, who is away meanwhile]. What it does returns whether it has truly
# happened; the name of another calamity when it was that. A kill has ended a process by SIGKILL, shut PostgreSQL down at once or
# terminated a backend; all else is in the way.
use constant { KILL => 1, OTHER => 0 };
my %calamity = (
    'worker killed'                         => [ 8, KILL,  \&_kill_worker ],
    'all workers killed'                    => [ 1, KILL,  \&_kill_workers ],
    'master killed'                         => [ 3, KILL,  \&_kill_master ],
    'nginx killed'                          => [ 2, KILL,  sub ($self) { $self->{box}->restart_nginx } ],
    'nginx worker killed'                   => [ 2, KILL,  \&_kill_nginx_worker ],
    'promote killed'                        => [ 3, KILL,  sub ($self) { $self->_kill_clockwork('promote') }, 'history' ],
    'expire killed'                         => [ 3, KILL,  sub ($self) { $self->_kill_clockwork('expire') } ],
    'Redis killed'                          => [ 3, KILL,  \&_kill_redis, 'history' ],
    'Redis killed, its last second lost'    => [ 2, KILL,  \&_lose_second, 'history' ],
    'Redis: FLUSHALL'                       => [ 2, OTHER, sub ($self) { $self->_ask_redis('FLUSHALL') } ],
    'Redis: SCRIPT FLUSH'                   => [ 2, OTHER, sub ($self) { $self->_ask_redis('SCRIPT', 'FLUSH') } ],
    'Redis: every connection cut'           => [ 2, OTHER, \&_cut_connections, 'history' ],
    'Redis frozen for a second'             => [ 2, OTHER, \&_freeze_redis, 'history' ],
    'Redis: disk full for a second'         => [ 1, OTHER, sub ($self) { $self->_fill('redis') }, 'history' ],
    'PostgreSQL: immediate shutdown'        => [ 2, KILL,  \&_stop_postgres, 'history' ],
    'PostgreSQL: a backend killed'          => [ 1, KILL,  \&_kill_backend, 'history' ],
    'PostgreSQL: pg_terminate_backend, all' => [ 3, KILL,  \&_terminate_backends, 'history' ],
    'PostgreSQL frozen for a second'        => [ 1, OTHER, \&_freeze_postgres, 'history' ],
    'PostgreSQL: disk full for a second'    => [ 1, OTHER, sub ($self) { $self->_fill('postgres') }, 'history' ],
);

# new(box =>, seed =>, kills => how many are planned, from => when the first thing may go wrong, until => when the last)
sub new ($class, %o) {
    my $self = bless { %o, done => {}, failed => {}, skipped => {}, clockwork => {}, runs => [], log => [] }, $class;
    if (!$self->{box}{disk}) {
        $self->{skipped}{$_} = 0 for grep {/disk full/} keys %calamity;
    }
    $self->{plan} = [ map { [ $self->{from} + ($self->{until} - $self->{from}) * $_->[0], $_->[1] ] } plan(@o{qw(seed kills)}) ];
    $self->{planned} = @{ $self->{plan} };
    return $self;
}

# [when, as a share of the whole time, name], ...: always the same for a seed and a number of kills, whatever this machine lets us
# do. Every kind comes once before any comes again; among them are so many kills.
sub plan ($seed, $kills) {
    srand $seed;
    my @kinds = sort keys %calamity;
    my @deck  = map { ($_) x $calamity{$_}[0] } @kinds;
    my @names = List::Util::shuffle(@kinds);
    my $found = grep { is_kill($_) } @names;
    while ($found < $kills) {
        push @names, $deck[ rand @deck ];
        $found += is_kill($names[-1]);
    }
    my $n = 0;
    return map { [ ($n++ + rand) / @names, $_ ] } @names;
}

sub is_kill ($name) { $calamity{$name}[1] == KILL }

# How many things have truly happened: kills, and others.
sub counts ($self) {
    my @names = keys %{ $self->{done} };
    return map { my $kind = $_; List::Util::sum0(map { $self->{done}{$_} } grep { is_kill($_) == $kind } @names) } KILL, OTHER;
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
    if (defined $self->{skipped}{$name}) {
        $self->{skipped}{$name}++;
        return;
    }
    $self->_happens($name, $calamity{$name}[2]);
}

sub _happens ($self, $name, $what) {
    my $began = time;
    my $was   = $what->($self);
    return $self->{failed}{$name}++ if !$was;
    $name = $was if $calamity{$was};
    $self->{done}{$name}++;
    $self->_log($name, $began);
}

# An entry: name, from and to (times), away (the history of the line cannot be written meanwhile); of what loses a part of Redis,
# since: the time of what it may have lost the first of (0: all).
sub _log ($self, $name, $began) {
    my $entry = { name => $name, from => $began, to => time, away => ($calamity{$name} // [])->[3] // '' };
    $entry->{away}  = 'history'                              if $name =~ /^(?:Redis|PostgreSQL) ended/;
    $entry->{since} = 0                                      if $name eq 'Redis: FLUSHALL';
    $entry->{since} = $self->_unwritten_since($name, $began) if $name =~ /^Redis (?:killed|ended)/;
    push @{ $self->{log} }, $entry;
}

# The log as lines.
sub told ($self) {
    return map { sprintf '%7.2f s  %s (%.2f s)', $_->{from} - $self->{from}, $_->{name}, $_->{to} - $_->{from} } @{ $self->{log} };
}

# ---- the clockwork, as the timers would start it

sub clockwork ($self, $verb, $period) { $self->{clockwork}{$verb} = { period => $period, due => 0 } }

sub _turn ($self, $verb) {
    my $work = $self->{clockwork}{$verb};
    $self->_has_run($verb) if $work->{process} && !$work->{process}->alive;
    return if $work->{process} || time < $work->{due};
    $work->{began}   = time;
    $work->{due}     = $work->{began} + $work->{period};
    $work->{process} = Usher::Process->start(
        command => [ $self->{box}->build . '/usher-scheduler', '-c', $self->{box}{conf}, $verb ],
        env     => $self->{box}->_environment,
        log     => "$self->{box}{dir}/$verb.log",
    );
}

# What has run to its end has written all of the history that was there when it began; unless another one was at it.
sub _has_run ($self, $verb) {
    my $work = $self->{clockwork}{$verb};
    my $log  = "$self->{box}{dir}/$verb.log";
    my $good = (delete $work->{process})->kill == 0;
    my $said = Usher::Process::slurp($log);
    push @{ $self->{runs} }, { from => $work->{began}, to => time } if $good && $said =~ / recorded=\d/;
    open my $all, '>>', "$self->{box}{dir}/scheduler.log" or die "scheduler.log: $!\n";
    print {$all} $said;
    close $all or die "scheduler.log: $!\n";
    unlink $log;
}

sub end_clockwork ($self) {
    for my $work (values %{ $self->{clockwork} }) {
        ($work->{process} // next)->stop;
    }
    $self->{clockwork} = {};
}

# In the middle of its work, if it is at it; otherwise the next one, soon after it has begun. One that was quicker does not count.
sub _kill_clockwork ($self, $verb) {
    my $work = $self->{clockwork}{$verb};
    for (1 .. 5) {
        $work->{due} = 0 if !$work->{process};
        $self->_turn($verb);
        my $process = $work->{process} // next;
        Usher::Process::until_true(sub { !$process->alive || _is_running($process->pid, 'usher-scheduler') }, 2);
        sleep rand 0.03;
        delete $work->{process};
        return 1 if _kill($process);
    }
    return 0;
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
    my $began = time;
    $self->{fallen}{$name}++;
    $start->();
    $self->_log("$name ended by itself", $began);
}

# ---- processes

# Kills it; true when that is what has ended it.
sub _kill ($process) { ($process->kill & 127) == 9 }

# State and parent of a process; nothing when there is none.
sub _stat ($pid) { (eval { Usher::Process::slurp("/proc/$pid/stat") } // '') =~ /^\d+ \(.*\) (\S) (\d+)/s }

# Its living children: a dead one that nobody has collected yet cannot be killed.
sub _children ($pid) {
    return grep { my ($state, $parent) = _stat($_); ($parent // 0) == $pid && $state ne 'Z' } map {m{(\d+)}} glob '/proc/[0-9]*';
}

# Whether it has become this program already: what is started begins as a copy of ourselves.
sub _is_running ($pid, $program) {
    return substr($program, 0, 15) eq ((eval { Usher::Process::slurp("/proc/$pid/comm") } // '') =~ s/\n//r);
}

sub _kill_one (@pids) { @pids ? kill KILL => $pids[ rand @pids ] : 0 }

# ---- the programs

sub _kill_worker  ($self) { _kill_one(_children($self->{box}{process}->pid)) }
sub _kill_workers ($self) { kill KILL => _children($self->{box}{process}->pid) }

# The master alone: its workers see that and finish what they are at.
sub _kill_master ($self) {
    my $process = $self->{box}{process};
    my $alive   = $process->alive && kill KILL => $process->pid;
    $process->wait(10);
    $self->{box}->begin_server;
    return $alive && ($process->{status} & 127) == 9;
}

sub _kill_nginx_worker ($self) { kill KILL => _children($self->{box}{nginx_process}->pid) }

# ---- Redis

sub _ask_redis ($self, @command) { ($self->{box}->redis(@command) // '') eq 'OK' }

sub _cut_connections ($self) { ($self->{box}->redis('CLIENT', 'KILL', 'TYPE', 'normal') // 0) > 0 }

sub _kill_redis ($self) {
    my $killed = _kill($self->{box}{redis}{process});
    $self->{box}->start_redis;
    return $killed;
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
    my $killed = _kill($self->{box}{redis}{process});
    my $file   = $self->_append_only_file;
    my ($when, $was, $size) = @{ $self->{sizes}[0] // [ 0, '', 0 ] };
    my $cut = $killed && $file eq $was && -s $file > $size;
    if ($cut) {
        truncate $file, $size or die "$file: $!\n";
        $self->{cut} = $when;
    }
    $self->{sizes} = [];
    $self->{box}->start_redis;
    return $cut ? $killed : $killed && 'Redis killed';
}

# What Redis answers may be in its memory alone for so long: it waits for a sync that is under way, at most two seconds, and for
# room on a full disk.
use constant POSTPONED => 2;

sub _unwritten_since ($self, $name, $began) {
    my $from = $name =~ /last second/ ? $self->{cut} : $began;
    my @full = grep { $_->{name} eq 'Redis: disk full for a second' && $_->{to} > $from - POSTPONED } @{ $self->{log} };
    return List::Util::min($from, map { $_->{from} } @full) - POSTPONED;
}

sub _freeze_redis ($self) {
    my $process = $self->{box}{redis}{process};
    my $stopped = $process->signal('STOP') && Usher::Process::until_true(sub { ((_stat($process->pid))[0] // '') eq 'T' }, 2);
    sleep 1;
    $process->signal('CONT');
    return $stopped;
}

# ---- PostgreSQL

sub _stop_postgres ($self) {
    my $alive = $self->{box}{postgres}{process}->alive;
    $self->{box}{postgres}->stop('QUIT');
    $self->_bring_back_postgres;
    return $alive;
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

# What works for the workers (not the server's own processes), once they are connected: something must be there to be ended.
sub _backends ($self, $what) {
    my @rows;
    Usher::Process::until_true(
        sub { @rows = eval { $self->{box}->psql("SELECT $what FROM pg_stat_activity WHERE usename = 'usher'") } }, 2);
    return @rows;
}

# PostgreSQL then ends all others, too, and recovers.
sub _kill_backend ($self) { _kill_one($self->_backends('pid')) }

sub _terminate_backends ($self) { scalar grep { $_ eq 't' } $self->_backends('pg_terminate_backend(pid)') }

sub _freeze_postgres ($self) {
    my $master  = $self->{box}{postgres}{process}->pid;
    my $stopped = kill STOP => $master, _children($master);
    sleep 1;
    kill CONT => $master, _children($master);
    return $stopped > 1;
}

# ---- disks

# To the last byte, then as it was: the file system is made as small as what is on it. What is written meanwhile may be quicker.
sub _fill ($self, $name) {
    my $full = Usher::Process::until_true(sub { $self->{box}->shrink_disk($name) }, 2);
    sleep 1 if $full;
    $self->{box}->grow_disk($name);
    return $full;
}

1;
