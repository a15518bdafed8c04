#!/usr/bin/perl
# What everybody in the line is promised when Redis loses all: who joined more than two seconds before keeps ticket and order,
# and who was let in stays in. Measured: promote runs as the timers would start it, people join and look through the API all
# the time, and then comes the loss.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);
use Usher::Process;
use Usher::Stack;

# How long before the loss somebody must have been told of the place, and of being let in. JOINED is the promise; what was
# admitted is recorded by the tick that admitted.
use constant { JOINED => 2, ADMITTED => 0.4, PEOPLE => 300, AGAIN => 3 };

my $usher = Usher::Stack->new(
    workers => 4,
    config  => { promote_batch => 20, promote_period => '2s', claim_window => '1h', active_ttl => '1h' },
);

# As usher-promote.timer: the next one begins at the period's boundary.
sub clockwork () {
    my $pid = fork // die "fork: $!\n";
    return $pid if $pid;
    local $SIG{TERM} = sub { POSIX::_exit(0) };
    while (1) {
        $usher->scheduler('promote', 'aligned');
        my $now = time;
        sleep 2 * (1 + int $now / 2) - $now;
    }
}

my (%place, %told, %active);    # by user: token and ticket, when the 201 came, since when the poll says active
my $next = 0;

# Somebody joins; all who may be in by now look.
sub live_on () {
    my $user = ++$next;
    my $r    = $usher->fcgi(POST => '/v1/queue/tokens', user => $user);
    if ($r->status == 201) {
        $place{$user} = $r->json;
        $told{$user}  = time;
    }
    my ($first) = grep { !$active{$_} } sort { $a <=> $b } keys %place;
    for my $who (grep { $place{$_} } $first .. $first + 2) {
        my $r = $usher->fcgi(GET => '/v1/queue/tokens/me', token => $place{$who}{token});
        $active{$who} = time if $r->status == 200 && $r->json->{status} eq 'active';
    }
}

sub loss ($n) {
    my ($until, $end) = (time + 4, time + 40);
    live_on() while time < $until || $next < PEOPLE * $n && time < $end;

    # A while after the history has heard of somebody who was let in: if it were written once a second, the next would be
    # missing.
    my $heard  = sub { $usher->psql('SELECT count(*) FROM waiting_token WHERE activated_at IS NOT NULL') };
    my $before = $heard->();
    live_on() while $heard->() == $before && time < $end;
    my $seen = time;
    live_on() while time < $seen + 2 * ADMITTED;
    my $lost = time;
    $usher->redis('FLUSHALL');
    my @kept = grep { $told{$_} < $lost - JOINED } sort { $a <=> $b } keys %place;
    my @in   = grep { $active{$_} && $active{$_} < $lost - ADMITTED } @kept;
    cmp_ok(scalar @kept, '>', PEOPLE / 3, @kept . ' people joined long enough before the loss');
    cmp_ok(scalar @in,   '>', 10, @in . ' of them are in');

    my %now = map { ($_ => look($_)) } @kept;
    is_deeply([ grep { $now{$_}{ticket} != $place{$_}{ticket} } @kept ], [], 'they keep their tickets');
    is_deeply([ grep { $now{$_}{status} ne 'active' } @in ], [], 'who was in is in');
    my @order = sort { $now{$a}{ticket} <=> $now{$b}{ticket} } grep { $now{$_}{status} eq 'waiting' } @kept;
    my @line  = line_of(@order);    # some of the first have been let in since they looked
    is_deeply(\@line, [ @order[ @order - @line .. $#order ] ], 'and the others wait in the order of the tickets');
    cmp_ok(scalar @line, '>', PEOPLE / 3, @line . ' of them');
    my @late = grep { !exists $now{$_} } keys %place;
    delete @place{@late};
}

# What the poll says, once it answers: {ticket 0, status 'gone'} for who has lost the place.
sub look ($user) {
    my $r;
    Usher::Process::until_true(sub { $r = $usher->fcgi(GET => '/v1/queue/tokens/me', token => $place{$user}{token}); $r->status != 503 }, 10);
    return $r->status == 200 ? $r->json : { ticket => 0, status => 'gone' };
}

# Those of these users who wait, in the order of the line.
sub line_of (@users) {
    my %wanted = map { ($_ => 1) } @users;
    return grep { $wanted{$_} } $usher->redis('ZRANGE', 'q:{main}:waiting', 0, -1);
}

my $clockwork = clockwork();
for my $n (1 .. AGAIN) {
    subtest "loss $n" => sub { loss($n) };
}
kill TERM => $clockwork;
waitpid $clockwork, 0;
$usher->scheduler('expire');
is(($usher->ctl('verify'))[0], 0, 'verify finds nothing') or diag(($usher->ctl('verify'))[1]);
done_testing;
