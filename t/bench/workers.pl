# workers.pl: how many workers are best: 1 to 4 for each processor, in turn. Usage: workers.pl [ROW ...], otherwise rows that
# wait for nothing, for Redis, and for PostgreSQL's disk. See Bench.pm for what it finds in the environment.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Bench;
use Rows;
use Time::HiRes qw(sleep);

my @counts = map { $_ * processors() } 1 .. 4;
my @names  = @ARGV ? @ARGV : qw(poll concerts hold payment);

sub workers_now () {
    open my $file, '<', "/proc/$ENV{BENCH_SERVER_PID}/task/$ENV{BENCH_SERVER_PID}/children" or fail('usher-server has gone');
    my @pids = split ' ', <$file> // '';
    return @pids;
}

# The new generation of workers alone is at work.
sub exchange ($count) {
    my %old = map { $_ => 1 } workers_now();
    configure(workers => $count);
    for (1 .. 150) {
        my @now = workers_now();
        return if @now == $count && !grep { $old{$_} } @now;
        sleep 0.1;
    }
    fail("there are not $count workers: is USHER_WORKERS set?");
}

# { count => run in the middle }; in turn, so that a machine that slows down does so for all.
sub measure ($row) {
    my %runs;
    begin($row);
    for (1 .. $at{runs}) {
        for my $count (@counts) {
            exchange($count);
            one_run($row, 'usher', 1) if $_ == 1;
            my $run = one_run($row, 'usher', $at{seconds});
            fail("$row->{name}, $count workers: $run->{flaw}") if defined $run->{flaw};
            push @{ $runs{$count} }, $run;
        }
    }
    return map { my @sorted = sort { $a->{per_s} <=> $b->{per_s} } @{ $runs{$_} }; $_ => $sorted[ @sorted / 2 ] } @counts;
}

my @rows_wanted = map { row($_) } @names;
say_now("Workers on @{[processors()]} processors: $at{runs} runs of $at{seconds} s of each in turn, medians: a second, p99 in ms, idle in %.");
printf '%-10s' . ' %24s' x @counts . "\n", 'row', map {"$_ workers"} @counts;
my (@results, %gain);
for my $row (@rows_wanted) {
    my %run = measure($row);
    my $first = $run{ $counts[0] }{per_s};
    printf '%-10s' . '   %8.0f %6.1f %4.0f %%' x @counts . "\n", $row->{name},
        map { ($_->{per_s}, $_->{p99} / 1000, 100 * $_->{cpu}{idle} / $_->{cpu}{total}) } @run{@counts};
    $gain{$_} += log($run{$_}{per_s} / $first) / @names for @counts;
    push @results, { name => $row->{name}, counts => [map { { workers => $_, per_s => sprintf('%.0f', $run{$_}{per_s}), p50_us => $run{$_}{p50},
        p99_us => $run{$_}{p99}, idle => sprintf('%.3f', $run{$_}{cpu}{idle} / $run{$_}{cpu}{total}) } } @counts] };
}
printf '%-10s' . ' %24s' x @counts . "\n", 'all', map { sprintf '%.3f', exp $gain{$_} } @counts;
my ($best) = sort { $gain{$b} <=> $gain{$a} } @counts;
say_now(sprintf 'Best on the whole (geometric mean): %d, which is %d for each processor.', $best, $best / processors());
write_file("$at{run}/bench-workers.json", json({ rows => \@results, seconds => $at{seconds}, runs => $at{runs} }) . "\n");
