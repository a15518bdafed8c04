#!/usr/bin/perl
# soak: a long mixed load over nginx, and whether the server's memory and descriptors stay what they were.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Getopt::Long ();
use List::Util   qw(max sum0);
use POSIX        ();
use Time::HiRes  qw(sleep time);
use Usher::Stack;

my $usage = <<'END';
Usage: soak.pl [--requests N] [--connections N] [--any-growth]

Sends a mixed load to a private stack of the programs in USHER_BUILDDIR (build/check) in rounds, looks at the memory of master
and workers between them, and prints both. The programs must answer without 5xx, live on, and after the first quarter grow by
no more than 1 MiB each.
  --requests N      at least so many [200000]
  --connections N   at once [16]
  --any-growth      do not judge the memory (programs with sanitizers grow on purpose)

Exit status: 0 all is well, 1 not, 64 wrong usage.
END

use constant {
    ROUND_SECONDS => 4,
    ROUNDS_MIN    => 8,
    GROWTH_MAX    => 1024,    # KiB of anonymous memory after the first quarter
    PEOPLE        => 400,
};

my %o = (requests => 200_000, connections => 16);
Getopt::Long::GetOptions(\%o, qw(requests=i connections=i any-growth help)) && !@ARGV && $o{requests} > 0 || do {
    print STDERR $usage;
    exit 64;
};
if ($o{help}) {
    print $usage;
    exit 0;
}

my $wrk   = Usher::Process::find_program('wrk') // die "soak: no wrk on this machine: apt-get install wrk\n";
my $usher = Usher::Stack->new(workers => 2, config => { hold_ttl => '20s', promote_batch => 2000, log_level => 'warning' });

sub make_world {
    my @concerts = $usher->concerts(40);
    my @halls    = map { [ $usher->schedule($_, seats => 300, price => 100) ] } @concerts[ 0 .. 9 ];
    my ($status, $jwts, $error) = $usher->ctl('token', 1, PEOPLE);
    die "usherctl token: $error" if $status != 0;
    my $list = sub (@values) { '{' . join(',', @values) . '}' };
    return Usher::Process::spew(
        "$usher->{dir}/world.lua",
        sprintf "return {jwts = %s, halls = %s, concerts = %s}\n",
        $list->(map {qq("$_")} split /\n/, $jwts),
        $list->(map { $list->(@$_) } @halls),
        $list->(@concerts)
    );
}

# KiB of anonymous memory, and open descriptors, of the master and each worker: {pid => [KiB, descriptors]}.
sub look_at_server {
    my %look;
    for my $pid ($usher->{process}->pid, $usher->worker_pids) {
        my ($anonymous) = Usher::Process::slurp("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m;
        $look{$pid} = [ $anonymous, scalar(my @files = glob "/proc/$pid/fd/*") ];
    }
    return \%look;
}

# One round of load, with the scheduler beside it: wrk's counts by name.
sub load_round ($world, $seed) {
    my $out     = "$usher->{dir}/wrk.out";
    my $process = Usher::Process->start(
        command => [
            $wrk, '-t', $o{connections}, '-c', $o{connections}, '-d', ROUND_SECONDS . 's', '--timeout', '20s',
            '-s', "$FindBin::Bin/mixed.lua", 'http://' . $usher->address,
            '--', $world, $seed, $o{connections}
        ],
        log => $out,
    );
    while ($process->alive) {
        $usher->scheduler('promote');
        $usher->scheduler('expire');
    }
    my $text = Usher::Process::slurp($out);
    unlink $out;
    my ($line) = $text =~ /^soak: (.*)/m or die "wrk failed:\n$text\n";
    return $line =~ /(\w+)=(\d+)/g;
}

my $world  = make_world();
my $begun  = time;
my @looks  = look_at_server();
my %counts = (requests => 0);
my @at     = (0);
while ($counts{requests} < $o{requests} || @looks <= ROUNDS_MIN) {
    my %round = load_round($world, scalar @looks);
    $counts{$_} += $round{$_} for keys %round;
    sleep 0.3;
    push @looks, look_at_server();
    push @at,    $counts{requests};
    printf "%7d requests, %3d s: %s\n", $counts{requests}, time - $begun,
        join ', ', map {"$_ has $looks[-1]{$_}[0] KiB and $looks[-1]{$_}[1] files"} sort { $a <=> $b } keys %{ $looks[-1] };
}

my @wrong;
my %answers = map { ($_ => $counts{$_}) } grep {/^\d/} keys %counts;
printf "answers: %s; broken connections: %d\n", join(', ', map {"$answers{$_} x $_"} sort keys %answers), $counts{errors};
push @wrong, "$counts{errors} connections broke" if $counts{errors};
push @wrong, "$answers{$_} answers were $_" for grep {/^5/} sort keys %answers;
push @wrong, 'nobody could hold a seat' if ($answers{201} // 0) < 10;
my ($warm) = grep { $at[$_] * 4 >= $counts{requests} } 0 .. $#at;
for my $pid (sort { $a <=> $b } keys %{ $looks[0] }) {
    my ($first, $last) = ($looks[$warm]{$pid}, $looks[-1]{$pid});
    if (!$last) {
        push @wrong, "process $pid did not live on";
        next;
    }
    my $growth = $last->[0] - $first->[0];
    printf "process %d: %+d KiB and %+d files since request %d\n", $pid, $growth, $last->[1] - $first->[1], $at[$warm];
    push @wrong, "process $pid grew by $growth KiB" if $growth > GROWTH_MAX && !$o{'any-growth'};
    push @wrong, "process $pid opened more files"   if $last->[1] > $first->[1] + 1;
}
my ($status, $verdict) = $usher->ctl('verify');
push @wrong, "usherctl verify: exit $status\n$verdict" if $status != 0;
push @wrong, 'the server ended with an error' if $usher->stop_server != 0;
print "soak: $_\n" for @wrong;
print "soak: all is well\n" if !@wrong;
exit(@wrong ? 1 : 0);
