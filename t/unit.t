#!/usr/bin/perl
# Runs the Criterion programs of the build folder and relays their verdict to prove.
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Temp qw(tempdir);

my $source = $ENV{USHER_SRCDIR} // dirname(__FILE__) . '/..';
my $build = $ENV{USHER_BUILDDIR} // "$source/build/check";
my $program = "$build/t/unit/unit";
my $folder = tempdir(CLEANUP => 1);

sub give_up
{
    print "Bail out!  @_\n";
    exit 255;
}

-x $program or give_up("$program is missing: run \"make unit\" in $build");

# The report goes to a file of its own, so that what tested code prints cannot pass for a result. Tests run without what
# the caller's environment sets for usher.
delete $ENV{$_} for grep { /^(USHER_|JOURNAL_STREAM$)/ } keys %ENV;
# Criterion's own threads still run when a test ends, which LeakSanitizer cannot judge: leaks are searched in the programs.
$ENV{ASAN_OPTIONS} .= ':detect_leaks=0' if defined $ENV{ASAN_OPTIONS};
my $status = do {
    open my $standard_error, '>&', \*STDERR or give_up("dup: $!");
    open STDERR, '>', "$folder/noise" or give_up("$folder/noise: $!"); # tests of what is logged and aborted are loud
    my $ended = system($program, '--quiet', "--tap=$folder/report");
    open STDERR, '>&', $standard_error or give_up("dup: $!");
    $ended;
};
open my $report, '<', "$folder/report" or give_up("$program wrote no report: $!");
my ($planned, $seen, $failed) = (0, 0, 0);
while (my $line = <$report>) {
    $planned = $1 if $line =~ /^1\.\.(\d+)/;
    $seen++ if $line =~ /^(not )?ok\b/;
    $failed++ if $line =~ /^not ok\b/;
    # Criterion explains failures in YAML that is not always well-formed: prove gets it as comments.
    print $line =~ /^(?:TAP version|1\.\.\d|(?:not )?ok\b|#|Bail out!)/ ? $line : "# $line";
}
close $report;
if ($status != 0 && open my $noise, '<', "$folder/noise") {
    print "# $_" while <$noise>;
    print "\n";
}

give_up("$program planned no tests") if $planned == 0;
give_up("$program reported $seen of $planned tests, status $status") if $seen != $planned;
give_up("$program ended with status $status, but no test failed") if $status != 0 && !$failed;
exit($failed ? 1 : 0);
