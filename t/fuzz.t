#!/usr/bin/perl
# The fuzzing targets of t/fuzz, a few seconds each, and every input that once broke something. More: ./dev fuzz.
# They are built in build/fuzz by dev; USHER_FUZZDIR names another folder in which they are.
use v5.36;
use Cwd            qw(abs_path);
use File::Basename qw(basename dirname);
use File::Temp     qw(tempdir);
use POSIX          qw(_exit);
use Test::More;

my $seconds = 3;
my $source  = abs_path($ENV{USHER_SRCDIR} // dirname(__FILE__) . '/..');
my $build   = $ENV{USHER_FUZZDIR};
my $folder  = tempdir(CLEANUP => 1);
my @targets = map { basename($_) =~ /^fuzz_(\w+)\.c$/ } sort glob "$source/t/fuzz/fuzz_*.c";

sub read_file ($path) {
    open my $file, '<', $path or return '';
    local $/;
    return <$file> // '';
}

# Runs a command with its output in a file; a process number.
sub begin ($log, @command) {
    my $pid = fork // BAIL_OUT("fork: $!");
    return $pid if $pid;
    open STDOUT, '>', $log and open STDERR, '>&', \*STDOUT or _exit(1);
    exec { $command[0] } @command or _exit(127);
}

if (!defined $build) {
    waitpid begin("$folder/build", "$source/dev", 'fuzz', '--build'), 0;
    $? == 0 or BAIL_OUT("the fuzzing targets cannot be built:\n" . read_file("$folder/build"));
    $build = "$source/build/fuzz";
}

sub fuzz ($target) {
    mkdir "$folder/$target" or BAIL_OUT("$folder/$target: $!");
    my $dictionary = "$source/t/fuzz/$target.dict";
    return begin(
        "$folder/$target.log", "$build/t/fuzz/fuzz_$target", "-max_total_time=$seconds", '-timeout=10', '-rss_limit_mb=1024',
        '-print_final_stats=1', "-artifact_prefix=$folder/found-", (-r $dictionary ? "-dict=$dictionary" : ()),
        "$folder/$target", "$source/t/fuzz/seeds/$target"
    );
}

sub check_fuzzed ($target, $status) {
    my $log = read_file("$folder/$target.log");
    my ($runs) = $log =~ /^stat::number_of_executed_units: *(\d+)/m;
    my $good = ok($status == 0 && ($runs // 0) > 0, "$target: nothing found in " . ($runs // 'no') . ' executions');
    diag(join "\n", grep { /ERROR|does not hold|runtime error|Base64|SUMMARY|^ +#\d+ .*usher|src\// } split /\n/, $log) if !$good;
}

# Two at a time.
my @waiting = @targets;
my %running;
while (@waiting || %running) {
    while (@waiting && keys %running < 2) {
        my $target = shift @waiting;
        $running{ fuzz($target) } = $target;
    }
    my $pid    = wait;
    my $target = delete $running{$pid} // next;
    check_fuzzed($target, $?);
}

for my $target (@targets) {
    my @inputs = sort glob "$source/t/fuzz/{seeds,regressions}/$target/*";
    cmp_ok(scalar @inputs, '>', 0, "$target: has seeds");
    waitpid begin("$folder/$target.again", "$build/t/fuzz/fuzz_$target", @inputs), 0;
    my $again = read_file("$folder/$target.again");
    ok($? == 0 && $again =~ /^Executed /m, "$target: all " . @inputs . ' kept inputs are harmless') or diag($again);
}

# Every folder of inputs has its target.
for my $kept (sort glob "$source/t/fuzz/{seeds,regressions}/*") {
    my $name = basename($kept);
    ok((grep { $_ eq $name } @targets), "$kept belongs to a target") if -d $kept;
}
done_testing;
