# million.pl: a million people in the line: joining through the API, Redis' memory for each, a poll and a slice of promotion
# beside the same with 1,000 people, writing the line's history, and rebuilding the line from it. BENCH_MILLION is how many
# (1000000). See Bench.pm for what it finds in the environment.
#
# The small line lies in Redis' database 1 meanwhile; SWAPDB puts one or the other before the workers, who see no difference.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Bench;
use IO::Socket::INET;
use POSIX      ();
use Time::HiRes qw(sleep time);

my $MANY    = $ENV{BENCH_MILLION} // 1_000_000;
my $FEW     = 1_000;
my $POLLERS = $MANY < 20_000 ? $MANY : 20_000;    # people of the large line who poll
my $SLICE   = 20;                                 # people let in by one call of promote.lua
my $SLICES  = 12;                                 # calls in each round

my @keys = map {"q:{main}:$_"} qw(tokens waiting active admission events admitted pulse);
my %result = (people => $MANY);

sub waiting () { redis('ZCARD', 'q:{main}:waiting') }
sub show ($format, @values) { say_now(sprintf $format, @values) }

# ---- people

# FILE.0 and FILE.1 for wrk's threads, written as they are made: a million JWTs are too many to hold.
sub write_people ($name, $first, $count) {
    open my $from, '-|', "$at{build}/t/bench/passes", "$at{run}/jwt.key", "$at{run}/queue.key", $first, $count
        or fail("passes: $!");
    my @to = map { open my $file, '>', "$at{work}/$name.$_" or fail("$at{work}/$name.$_: $!"); $file } 0, 1;
    while (my $line = <$from>) { print { $to[ $. % 2 ] } $line }
    close $_ or fail("$at{work}/$name: $!") for $from, @to;
}

# After an empty Redis: who comes first has the line restored, which has no history yet; others are asked to come again
# meanwhile.
sub first_joins ($bearer) {
    for (1 .. 100) {
        my ($status) = fetch("$at{url}/v1/queue/tokens", '-X', 'POST', '-H', "Authorization: Bearer $bearer");
        return if $status =~ /^2/;
        sleep 0.1;
    }
    fail('nobody can join');
}

# Everybody of FILE joins, as fast as it goes: (seconds, requests). wrk begins its file again at the end, which only tells
# people the place they have; it is stopped when all have one.
sub join_all ($name, $count) {
    first_joins((split /\t/, first_line("$at{work}/$name.0"))[1]);
    my $begun = time;
    my @command = ('wrk', '-t2', '-c32', '-d3600s', '--timeout', '10s', '-s', "$at{here}/work.lua", $at{url}, '--',
        'POST', '/v1/queue/tokens', '-', 'u', 'once', "$at{work}/$name");
    my $wrk = open(my $pipe, '-|', @command) or fail("wrk: $!");
    sleep($count > 100_000 ? 0.2 : 0.02) while waiting() < $count;
    my $seconds = time - $begun;
    kill INT => $wrk;
    my $text = do { local $/; <$pipe> };
    close $pipe;
    my %run = ($text =~ /^wrk: (.*)$/m ? $1 : fail("wrk said nothing of its result:\n$text")) =~ /(\w+)=(\d+)/g;
    fail("$run{broken} connections broke") if $run{broken};
    # Redis waits for its disk now and then (appendfsync everysec): who is told 503 then comes again, here in wrk's next round.
    show('  (%d of %d requests were refused and came again)', @run{qw(refused requests)}) if $run{refused};
    return ($seconds, $run{requests});
}

# The work of those of FIRST, FIRST + STEP, ... who poll: each asks for the place that it has, and is told its token.
sub write_pollers ($name, $from, $count) {
    my ($host) = $at{url} =~ m{//(.*)};
    my $socket = IO::Socket::INET->new(PeerAddr => $host) // fail("cannot connect to $host: $!");
    my (@all, @lines);
    for my $file (map {"$at{work}/$from.$_"} 0, 1) {
        open my $people, '<', $file or fail("$file: $!");
        my $step = $MANY / $POLLERS;
        while (my $line = <$people>) { push @all, $line if $count <= $FEW || $. % $step < 1 }
    }
    for (@all) {
        my ($user, $jwt) = split /\t/;
        print {$socket} "POST /v1/queue/tokens HTTP/1.1\r\nHost: $host\r\nAuthorization: Bearer $jwt\r\nContent-Length: 0\r\n\r\n";
        my $length = 0;
        while (my $line = <$socket>) { $length = $1 if $line =~ /^content-length: (\d+)/i; last if $line eq "\r\n" }
        read $socket, my $body = q(), $length;
        my ($token) = $body =~ /"token":"([^"]+)"/ or fail("no token: $body");
        push @lines, "$user\t-\t$token";
        if (@lines % 5000 == 0) { close $socket; $socket = IO::Socket::INET->new(PeerAddr => $host) // fail('no connection') }
    }
    srand 1;
    write_work($name, map { $_->[1] } sort { $a->[0] <=> $b->[0] } map { [ rand, $_ ] } @lines);
}

# ---- memory

sub memory () { (redis('INFO', 'memory') =~ /^used_memory:(\d+)/m)[0] }

sub memory_of ($key) {
    my $bytes = redis('MEMORY', 'USAGE', "q:{main}:$key", 'SAMPLES', 0);
    return $bytes =~ /^\d+$/ ? $bytes : 0;
}

sub tell_memory ($name, $what, $before) {
    my $each = (memory() - $before) / $MANY;
    my %part = map { $_ => memory_of($_) / $MANY } qw(tokens waiting events);
    show('%-46s %7.0f bytes each: tokens %.0f (%s), waiting %.0f (%s), events %.0f', $what, $each, $part{tokens},
        redis('OBJECT', 'ENCODING', 'q:{main}:tokens'), $part{waiting}, redis('OBJECT', 'ENCODING', 'q:{main}:waiting'), $part{events});
    $result{$name} = sprintf '%.0f', $each;
}

# ---- cost: few beside many, in turn

sub swap () { redis('SWAPDB', 0, 1) }

# One run of polls: requests a second, CPU for each, and Redis' own time for each script.
sub polls ($name) {
    my $run;
    for my $try (1 .. 3) {    # the disk may still be busy with what the million has written
        redis_is_quiet();
        redis('CONFIG', 'RESETSTAT');
        $run = wrk($at{seconds}, $at{url}, 'work.lua', 'GET', '/v1/queue/tokens/me', '-', 't', 'again', "$at{work}/$name");
        last if !$run->{refused} && !$run->{broken};
        show('  (%d polls refused, %d broken: measured again)', @$run{qw(refused broken)});
        sleep 5;
    }
    fail("$run->{refused} polls refused, $run->{broken} broken") if $run->{refused} || $run->{broken};
    my $cpu = 0;
    $cpu += $run->{cpu}{$_} // 0 for qw(usher-server redis postgresql nginx);
    return { per_s => $run->{per_s}, cpu => $cpu / $run->{requests}, script => script_time('evalsha'), p99 => $run->{p99} };
}

sub script_time ($command) { (redis('INFO', 'commandstats') =~ /^cmdstat_$command:.*usec_per_call=([\d.]+)/m)[0] }

my $promote;

# SLICES slices from the front: microseconds for each.
sub slices () {
    $promote //= redis('SCRIPT', 'LOAD', join '', map { slurp("$at{here}/../../src/store/lua/$_.lua") } qw(prelude promote));
    redis_is_quiet();
    redis('CONFIG', 'RESETSTAT');
    for (1 .. $SLICES) {
        # The budget of five slices in a millisecond: each call finds it full.
        my $answer = redis('EVALSHA', $promote, scalar @keys, @keys, 0, 5 * $SLICE, 1, 10_000_000, 60_000, 0, 0);
        my ($admitted) = $answer =~ /^(-?\d+)/;
        fail("promote.lua admitted $admitted of $SLICE") if $admitted != $SLICE;
    }
    return script_time('evalsha');
}

sub slurp ($path) {
    open my $file, '<', $path or fail("$path: $!");
    local $/;
    return <$file>;
}

# Each side measured in turn, few first.
sub beside ($measure) {
    my %all;
    for (1 .. $at{runs}) {
        swap();
        push @{ $all{few} }, $measure->('few');
        swap();
        push @{ $all{many} }, $measure->('many');
    }
    return \%all;
}

sub side ($all, $which, $field = undef) { median(map { $field ? $_->{$field} : $_ } @{ $all->{$which} }) }

# ---- the line's history, and the line from it

sub drain () {
    my $begun = time;
    scheduler('expire');
    my $left = redis('XLEN', 'q:{main}:events');
    fail("$left events were not written") if $left;
    return time - $begun;
}

# Somebody far behind in the line, to notice with: a token that nobody has is refused without asking Redis.
sub last_bearer () {
    open my $people, '<', "$at{work}/many.0" or fail("$at{work}/many.0: $!");
    my $last;
    while (my $line = <$people>) { $last = $line }
    return (split /\t/, $last)[1];
}

# Everything is lost; somebody who has a place asks for it; until the line is whole. nginx gives up on that request before the
# line of a million is back, the worker does not.
sub rebuild () {
    my $before = waiting();
    my $bearer = last_bearer();
    redis('FLUSHALL');
    my $begun = time;
    my $pid   = fork // fail("fork: $!");
    if ($pid == 0) {
        exec 'curl', '-sS', '-o', '/dev/null', '-X', 'POST', '-H', "Authorization: Bearer $bearer", "$at{url}/v1/queue/tokens"
            or POSIX::_exit(127);
    }
    sleep 0.05 while time < $begun + 600 && redis('HGET', 'q:{main}:admission', 'run') eq '';
    my $seconds = time - $begun;
    waitpid $pid, 0;
    my $after = waiting();
    fail("$before people waited, $after are back") if $before != $after;
    return $seconds;
}

# ---- all of it

show('A line of %d people. Joining:', $MANY);
redis('FLUSHALL');
write_people('few', 2_000_001, $FEW);
join_all('few', $FEW);
write_pollers('few-polls', 'few', $FEW);
swap();
my $empty = memory();
write_people('many', 1, $MANY);
my ($seconds, $requests) = join_all('many', $MANY);
$result{joins_per_s} = sprintf '%.0f', $MANY / $seconds;
show('%-46s %7.0f a second (%.1f s)', 'places given through the API', $result{joins_per_s}, $seconds);
tell_memory('bytes_each_undrained', 'Redis, history not yet written', $empty);
write_pollers('many-polls', 'many', $MANY);

my $polls = beside(sub ($which) { polls("$which-polls") });
for my $which (qw(few many)) {
    show('poll, %9d waiting: %29.0f a second, %.1f us CPU, %.2f us in Redis\'s script', $which eq 'few' ? $FEW : $MANY,
        map { side($polls, $which, $_) } qw(per_s cpu script));
}
$result{poll} = { map { my $f = $_; $f => sprintf '%.3f', side($polls, 'many', $f) / side($polls, 'few', $f) } qw(per_s cpu script) };
show('%-46s %7.3f of the polls a second, %.3f of the CPU', 'poll, many : few', @{ $result{poll} }{qw(per_s cpu)});

my $slices = beside(sub ($which) { slices() });
show('%-46s %7.1f us with %d, %.1f us with %d waiting: %.3f', "promotion of a slice of $SLICE", side($slices, 'few'), $FEW,
    side($slices, 'many'), $MANY, $result{slice} = sprintf '%.3f', side($slices, 'many') / side($slices, 'few'));

redis('-n', 1, 'FLUSHDB');
my $wrote = drain();
$result{history_per_s} = sprintf '%.0f', $MANY / $wrote;
show('%-46s %7.1f s, %d a second', 'history written to PostgreSQL', $wrote, $result{history_per_s});
tell_memory('bytes_each', 'Redis, history written', $empty);
$result{rebuild_s} = sprintf '%.1f', rebuild();
show('%-46s %7.1f s', 'the line rebuilt from PostgreSQL', $result{rebuild_s});

my %goal = (joins_per_s => $result{joins_per_s} >= 10_000, bytes_each => $result{bytes_each} <= 300,
    poll => $result{poll}{cpu} <= 1.1, slice => $result{slice} <= 1.1, rebuild_s => $result{rebuild_s} < 60);
my @missed = grep { !$goal{$_} } sort keys %goal;
show(@missed ? 'BELOW its goal: ' . join(', ', @missed) : 'All goals are met.');
write_file("$at{run}/bench-million.json", json(\%result) . "\n");
