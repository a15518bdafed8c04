# Bench: what every measurement needs: the private stack's stores, CPU time of its parts, and wrk.
#
# bench.sh has started the stack; where it is comes in the environment: BENCH_RUN (its folder), BENCH_BUILD (programs),
# BENCH_HERE (t/bench), BENCH_URL, BENCH_FLOOR_URL, BENCH_PIDS ("name pid" lines), BENCH_SECONDS, BENCH_RUNS.
package Bench;
use v5.36;
use Exporter 'import';
use POSIX ();

our @EXPORT = qw(%at capture sql redis lua wrk write_work passes median say_now cpu_begin cpu_end json fetch fail write_file
    scheduler redis_is_quiet nginx_errors shorten_logs configure processors first_line);

our %at = (
    run     => $ENV{BENCH_RUN},
    here    => $ENV{BENCH_HERE},
    build   => $ENV{BENCH_BUILD},
    url     => $ENV{BENCH_URL},
    floor   => $ENV{BENCH_FLOOR_URL},
    seconds => $ENV{BENCH_SECONDS} // 5,
    runs    => $ENV{BENCH_RUNS} // 3,
    work    => "$ENV{BENCH_RUN}/work",
);
$| = 1;

sub fail ($why) {
    print STDERR "\ndev: bench: $why\n";
    exit 1;
}

sub say_now ($text) { print "$text\n" }

sub capture (@command) {
    open my $pipe, '-|', @command or fail("cannot run $command[0]: $!");
    local $/;
    my $text = <$pipe> // '';
    close $pipe or fail("$command[0] failed: $command[-1]\n$text");
    return $text;
}

sub sql ($text) {
    my $out = capture('psql', '-X', '-q', '-At', '-v', 'ON_ERROR_STOP=1', '-h', "$at{run}/pg", '-p', 5432, '-U', 'usher_owner', '-d', 'usher', '-c', $text);
    chomp $out;
    return $out;
}

sub redis (@words) {
    my $out = capture('redis-cli', '-s', "$at{run}/redis/redis.sock", @words);
    chomp $out;
    fail("redis: @words[0..1]: $out") if $out =~ /^(?:ERR|WRONGTYPE|NOSCRIPT|OOM)/;
    return $out;
}

# A script for the numbers FROM to TO, in slices that do not block Redis for long. ARGV: 1 from, 2 to, then @more.
sub lua ($script, $from, $to, $keys, @more) {
    for (my $low = $from; $low <= $to; $low += 10000) {
        my $high = $low + 9999 < $to ? $low + 9999 : $to;
        redis('EVAL', $script, scalar @$keys, @$keys, $low, $high, @more);
    }
}

sub write_file ($path, $text) {
    open my $file, '>', $path or fail("$path: $!");
    print {$file} $text;
    close $file or fail("$path: $!");
}

# A run of usher-scheduler, as its timer would start it.
sub scheduler (@words) {
    my @command = ("$at{build}/usher-scheduler", '-c', "$at{run}/usher.conf", @words);
    my $pid = fork // fail("fork: $!");
    if ($pid == 0) {
        open STDERR, '>>', "$at{run}/logs/scheduler.log";
        exec @command or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    fail("usher-scheduler @words failed; see $at{run}/logs/scheduler.log") if $?;
}

# Takes settings into force: KEY => VALUE; the workers are exchanged without a gap.
sub configure (%settings) {
    open my $file, '<', "$at{run}/usher.conf" or fail("usher.conf: $!");
    my @lines = grep { !(/^(\w+) *=/ && exists $settings{$1}) } <$file>;
    write_file("$at{run}/usher.conf", join '', @lines, map {"$_ = $settings{$_}\n"} sort keys %settings);
    kill 'HUP', $ENV{BENCH_SERVER_PID} or fail('usher-server has gone');
}

# ---- what must not disturb, and what must not happen

# Redis rewrites its log in the background after states were made; not during a run.
sub redis_is_quiet () {
    for (1 .. 600) {
        return if redis('INFO', 'persistence') !~ /^aof_rewrite_(?:in_progress|scheduled):1/m;
        select undef, undef, undef, 0.1;
    }
    fail('Redis is still rewriting its log after a minute');
}

my $read_so_far = 0;

# What nginx has complained of since the last call: answers of another length than they say, refused connections.
sub nginx_errors () {
    open my $file, '<', "$at{run}/logs/nginx.log" or fail("nginx.log: $!");
    $read_so_far = 0 if -s $file < $read_so_far;
    seek $file, $read_so_far, 0;
    my @lines = <$file>;
    $read_so_far = tell $file;
    chomp @lines;
    return grep {/\[(?:warn|error|crit|alert|emerg)\]/} @lines;
}

# A line for each request fills the disk: logs begin anew with each row. The servers append to them.
sub shorten_logs () {
    for my $path (grep { -s $_ > 1 << 20 } glob "$at{run}/logs/*.log") {
        truncate $path, 0 or fail("$path: $!");
    }
}

sub first_line ($path) {
    open my $file, '<', $path or fail("$path: $!");
    chomp(my $line = <$file>);
    return $line;
}

# Users 1 to COUNT with JWT and queue token: references to [user, jwt, token].
my @passes;
sub passes ($count) {
    if (@passes < $count) {
        my $text = capture("$at{build}/t/bench/passes", "$at{run}/jwt.key", "$at{run}/queue.key", 1, $count);
        @passes = split /\n/, $text;
    }
    return @passes[0 .. $count - 1];
}

# FILE.0, FILE.1: the lines, dealt to wrk's two threads.
sub write_work ($name, @lines) {
    for my $thread (0, 1) {
        open my $file, '>', "$at{work}/$name.$thread" or fail("$at{work}/$name.$thread: $!");
        for (my $i = $thread; $i < @lines; $i += 2) { print {$file} $lines[$i], "\n" }
        close $file or fail("$at{work}/$name.$thread: $!");
    }
    return "$at{work}/$name";
}

# ---- CPU time, in microseconds

my $tick = 1e6 / POSIX::sysconf(POSIX::_SC_CLK_TCK());

# pid => [parent, own time, time of children that were waited for]
sub processes () {
    my %all;
    for my $path (glob '/proc/[0-9]*/stat') {
        open my $file, '<', $path or next;
        my $line = <$file> // next;
        my ($pid) = $line =~ /^(\d+)/;
        my @f = split ' ', $line =~ s/.*\) //r;
        $all{$pid} = [$f[1], ($f[11] + $f[12]) * $tick, ($f[13] + $f[14]) * $tick];
    }
    return \%all;
}

sub processors () {
    open my $file, '<', '/proc/stat' or return 1;
    return scalar grep {/^cpu\d/} <$file>;
}

sub machine () {
    open my $file, '<', '/proc/stat' or return (0, 0);
    my (undef, @f) = split ' ', <$file>;
    my $idle = $f[3] + $f[4];
    my $all = 0;
    $all += $_ for @f[0 .. 7];
    return ($idle * $tick, $all * $tick);
}

# The parts' time so far: usher and floor, redis, postgresql, nginx with everything below them.
sub usage () {
    my $all = processes();
    my (%part, %sum);
    open my $file, '<', $ENV{BENCH_PIDS} or fail("$ENV{BENCH_PIDS}: $!");
    while (my $line = <$file>) {
        my ($name, $pid) = split " ", $line;
        $part{$pid} = lc $name;
    }
    for my $pid (keys %$all) {
        my $up = $pid;
        $up = $all->{$up}[0] while $up && !$part{$up} && $all->{$up};
        my $name = $part{$up} // next;
        $sum{$name} += $all->{$pid}[1] + ($pid == $up ? $all->{$pid}[2] : 0);
    }
    return \%sum;
}

sub cpu_begin () {
    my ($idle, $total) = machine();
    my @times = times;
    return { parts => usage(), idle => $idle, total => $total, wrk => ($times[2] + $times[3]) * 1e6 };
}

# { part => microseconds, ..., idle, total, others }
sub cpu_end ($begin) {
    my $end  = usage();
    my ($idle, $total) = machine();
    my @times = times;
    my %used = map { $_ => ($end->{$_} // 0) - ($begin->{parts}{$_} // 0) } keys %$end;
    $used{wrk} = ($times[2] + $times[3]) * 1e6 - $begin->{wrk};
    my $ours = 0;
    $ours += $_ for values %used;
    $used{idle}   = $idle - $begin->{idle};
    $used{total}  = $total - $begin->{total};
    $used{others} = $used{total} - $used{idle} - $ours;
    $used{others} = 0 if $used{others} < 0;
    return \%used;
}

# ---- wrk

# One run: { requests, per_s, p50, p99, refused, broken, exhausted, cpu => {...} }
sub wrk ($seconds, $url, $script, @arguments) {
    my @command = ('wrk', '-t2', '-c32', "-d${seconds}s", '--timeout', '10s', '-s', "$at{here}/$script", $url, '--', @arguments);
    my $begin = cpu_begin();
    my $text  = capture(@command);
    my $cpu   = cpu_end($begin);
    my ($line) = $text =~ /^wrk: (.*)$/m or fail("wrk said nothing of its result:\n$text");
    my %run = ($line =~ /(\w+)=(\d+)/g, cpu => $cpu);
    $run{per_s} = $run{requests} * 1e6 / ($run{us} || 1);
    return \%run;
}

sub median (@values) {
    my @sorted = sort { $a <=> $b } @values;
    return @sorted ? $sorted[ @sorted / 2 ] : 0;
}

# ---- HTTP, one request at a time

# (status, body), through curl.
sub fetch ($url, @options) {
    my $text = capture('curl', '-sS', '-w', '\n%{http_code}', @options, $url);
    $text =~ s/\n(\d+)\z//;
    return ($1, $text);
}

# ---- JSON: enough for what we write

sub json ($value) {
    if (ref $value eq 'HASH') {
        return '{' . join(',', map { json($_) . ':' . json($value->{$_}) } sort keys %$value) . '}';
    }
    return '[' . join(',', map { json($_) } @$value) . ']' if ref $value eq 'ARRAY';
    return 'null' if !defined $value;
    return $value ? 'true' : 'false' if ref $value eq 'JSON::PP::Boolean';
    return $value if $value =~ /\A-?(?:0|[1-9]\d*)(?:\.\d+)?\z/;
    return '"' . $value =~ s/(["\\])/\\$1/gr =~ s/[\x00-\x1f]/ /gr . '"';
}

1;
