# locks.pl: seat holds and wallet charges under each way of locking, at low and at hot contention. `none` is the control: its
# column "wrong" must not be 0 at hot contention, or the others' zeros say nothing. See Bench.pm for the environment.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Bench;

my $CLIENTS = 16;
my %things = (hold => { low => 100000, hot => 20 }, charge => { low => 100000, hot => 4 });
my %ways = (
    none     => 'no lock (control)',
    version  => 'optimistic version',
    row      => 'SELECT ... FOR UPDATE',
    advisory => 'advisory lock',
    redis    => 'Redis lock in front',
    doorman  => 'doorman + unique index',
);

sub one ($operation, $way, $count) {
    sql('SELECT locks.begin_anew()');
    sql('VACUUM ANALYZE locks.seat, locks.wallet, locks.live');
    sql('CHECKPOINT');
    redis('EVAL', "for _, k in ipairs(redis.call('KEYS', 'lock:*')) do redis.call('UNLINK', k) end", 0);
    my $out = capture("$at{build}/t/bench/locks", '-d', "host=$at{run}/pg port=5432 dbname=usher user=usher_owner",
        '-r', "$at{run}/redis/redis.sock", '-o', $operation, '-w', $way, '-c', $CLIENTS, '-t', $at{seconds}, '-n', $count);
    my ($done, $refused, $errors, $seconds, $p50, $p99) = split ' ', $out;
    return { done => $done, refused => $refused, errors => $errors, per_s => $done / $seconds, p50 => $p50, p99 => $p99,
        wrong => sql($operation eq 'hold' ? 'SELECT locks.wrong_holds()' : 'SELECT locks.wrong_charges()') };
}

my $schema = "$at{here}/locks.sql";
open my $file, '<', $schema or fail("$schema: $!");
sql(do { local $/; <$file> });

my @results;
say_now("$CLIENTS clients, $at{runs} runs of $at{seconds} s each, the median. Hot: 20 seats held for 20 ms, 4 wallets; low: 100,000.");
printf "%-7s %-4s %-24s %8s %9s %9s %9s %7s %6s\n", 'what', '', 'way', 'done/s', 'p50 us', 'p99 us', 'refused %', 'errors', 'wrong';
for my $operation (qw(hold charge)) {
    for my $contention (qw(low hot)) {
        for my $way (qw(none version row advisory redis doorman)) {
            next if $way eq 'doorman' && $operation eq 'charge';
            my @runs = sort { $a->{per_s} <=> $b->{per_s} } map { one($operation, $way, $things{$operation}{$contention}) } 1 .. $at{runs};
            my $run  = $runs[ @runs / 2 ];
            my $all  = $run->{done} + $run->{refused} + $run->{errors};
            my %sum  = (errors => 0, wrong => 0);
            for my $each (@runs) { $sum{$_} += $each->{$_} for keys %sum }
            my $share = sprintf '%.1f', 100 * $run->{refused} / ($all || 1);
            printf "%-7s %-4s %-24s %8.0f %9d %9d %9s %7d %6d\n", $operation, $contention, $ways{$way}, @$run{qw(per_s p50 p99)}, $share, @sum{qw(errors wrong)};
            push @results, { operation => $operation, contention => $contention, way => $way, done_per_s => sprintf('%.0f', $run->{per_s}),
                p50_us => $run->{p50}, p99_us => $run->{p99}, refused_percent => $share, %sum };
        }
    }
}
write_file("$at{run}/bench-locks.json", json({ cases => \@results, clients => $CLIENTS, seconds => $at{seconds}, runs => $at{runs} }) . "\n");
my @bad = grep { $_->{wrong} && $_->{way} ne 'none' } @results;
fail('done twice or lost: ' . join(', ', map {"$_->{operation} $_->{way} $_->{contention}: $_->{wrong}"} @bad)) if @bad;
