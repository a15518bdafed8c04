#!/usr/bin/perl
# A short storm: a minute with at least thirty kills, and all that the crowd was told holds. Before that: the books see each kind of
# lie, the crowd sees answers that cannot be right, and a seed is one schedule. The long one is ./dev storm.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/storm";
use File::Temp ();
use Test::More;
use Storm::Books;
use Storm::Crowd;
use Storm::Weather;
use Usher::Process;

# ---- the books, with a truth of our own

package Storm::Books::Test::Box {
    sub new ($class, %rows) { bless {%rows}, $class }
    sub psql ($self, $sql) {
        return @{ $self->{charges} }      if $sql =~ /FROM ledger/;
        return @{ $self->{reservations} } if $sql =~ /FROM reservation r/;
        return @{ $self->{recorded} }     if $sql =~ /FROM storm_recorded/;
        return @{ $self->{payments} };
    }
    sub redis ($self, $command, @rest) { $command eq 'KEYS' ? ('s:{main}:1:seats') : @{ $self->{doorman} } }
}

# charge: id, user, amount, key. reservation: id, user, schedule, status, seats, key, from, until. payment: id, user, reservation,
# key. recorded: ticket, when, activated. Times are in microseconds; T is when everything began.
use constant { T => 1_795_000_000_000_000, S => 1_000_000 };

sub reservation ($id, $user, $status, $seats, $key, $from, $until) {
    return join '|', $id, $user, 1, $status, $seats, $key, map { T + int($_ * S) } $from, $until;
}

sub truth {
    return (
        charges      => ['1|7|5000|c1'],
        reservations => [
            reservation(11, 7, 'paid',      '101,102', 'h1', 0, 10.000123),
            reservation(12, 8, 'cancelled', '103',     '',   0, 10),
            reservation(13, 8, 'expired',   '104',     'h3', 0, 10),
        ],
        recorded     => [ '1001|' . (T + 1 * S) . '|', '1003|' . (T + 1 * S) . '|' . (T + 1 * S) ],
        payments     => ['21|7|11|p1'],
        doorman      => [ 101 => '0 7', 102 => '0 7', 104 => '1000 8', v => 1, n => 3 ],
    );
}

my @told = (
    'want-charge c1 7 5000',       'charge c1 7 5000 1',       'want-charge c2 7 4000',
    'want-hold h1 7 1 101,102',    'want-hold - 8 1 103',      'want-hold h3 8 1 104', 'want-hold h4 9 1 102',
    'hold h1 7 1 101,102 11 ' . (T + 10 * S),                  'hold - 8 1 103 12 ' . (T + 10 * S),
    'want-pay p1 7 11',            'pay p1 7 11 21',           'want-cancel 8 12 ' . (T + 3 * S), 'cancel 8 12',
    'refused-hold h4 9 seat-unavailable ' . (T + 5 * S),
);

# The differences when the truth is changed, and the journal has these lines too.
sub differences ($change, @lines) {
    my %truth = (weather => [], runs => [], truth());
    $change->(\%truth);
    my $file = File::Temp->new;
    Usher::Process::spew("$file", join "\n", @told, @lines, '');
    return Storm::Books->new(
        box => Storm::Books::Test::Box->new(%truth), journals => ["$file"], claim => 5, active => 10,
        map { ($_ => $truth{$_}) } qw(weather runs)
    )->compare;
}

sub sees ($what, $change, $pattern, @lines) {
    my @found = differences($change, @lines);
    ok(scalar(grep { $_ =~ $pattern } @found), "the books see $what") or diag explain \@found;
}

is_deeply([ differences(sub ($t) { }) ], [], 'honest books have no differences');
sees('a charge that is gone', sub ($t) { $t->{charges} = [] }, qr/^charge 1 /);
sees('a charge of another amount', sub ($t) { $t->{charges} = ['1|7|5001|c1'] }, qr/^charge 1 /);
sees('a charge made twice', sub ($t) { push @{ $t->{charges} }, '2|7|5000|c1' }, qr/^charge 7 5000 c1: 2 times there, 1 times wanted/);
sees('a charge that nobody wanted', sub ($t) { push @{ $t->{charges} }, '2|9|1|x' }, qr/^charge 9 1 x: 1 times there, 0/);
sees('a hold that is gone', sub ($t) { splice @{ $t->{reservations} }, 0, 1 }, qr/^reservation 11 by user 7/);
sees('a hold of other seats', sub ($t) { $t->{reservations}[0] =~ s/101,102/101/ }, qr/^reservation 11 by user 7/);
sees('a hold made twice', sub ($t) { push @{ $t->{reservations} }, reservation(14, 8, 'expired', '104', 'h3', 10, 20) }, qr/^hold 8 1 104 h3: 2 times/);
sees('a cancellation undone', sub ($t) { $t->{reservations}[1] =~ s/cancelled/held/ }, qr/^reservation 12 by user 8 was cancelled, but is held/);
sees('a cancellation that nobody wanted', sub ($t) { $t->{reservations}[2] =~ s/expired/cancelled/ }, qr/^reservation 13 is cancelled/);
sees('a payment that is gone', sub ($t) { $t->{payments} = [] }, qr/^payment 21 of reservation 11/);
sees('a payment made twice', sub ($t) { push @{ $t->{payments} }, '22|7|11|' }, qr/^reservation 11 has payments 21 and 22/);
sees('a payment that was refused', sub ($t) { }, qr/^reservation 11 by user 7 was refused as reservation-expired, but is paid/,
    'refused-pay p9 7 11 reservation-expired ' . (T + 11 * S));
sees(
    'a seat sold twice',
    sub ($t) { push @{ $t->{reservations} }, reservation(15, 9, 'paid', '102', 'h9', 20, 30); push @{ $t->{payments} }, '25|9|15|p9' },
    qr/^seat 102 was sold twice: reservations 11 and 15/, 'want-pay p9 9 15', 'pay p9 9 15 25'
);
sees('a seat that stays blocked', sub ($t) { push @{ $t->{doorman} }, 103, '0 8' }, qr/^seat 103: the doorman keeps it/);
sees('a seat sold to another one', sub ($t) { $t->{doorman}[1] = '0 9' }, qr/^seat 101: the doorman says sold to 9/);
sees('what the crowd found wrong', sub ($t) { }, qr/^user 7: pay: 500$/, 'wrong user 7: pay: 500');

# A hold that was taken away early.
sub also ($id, $seats, $from, $status = 'expired') {
    return sub ($t) { push @{ $t->{reservations} }, reservation($id, 9, $status, $seats, 'h9', $from, $from + 10) };
}
my @wanted = map {"want-hold h9 9 1 $_"} 101, 103, 104;
sees('a hold that was given to another one before its deadline', also(16, 104, 9.9),
    qr/^seat 104 was held for reservation 16 while reservation 13 \(expired\) had it/, @wanted);
is_deeply([ differences(also(16, 104, 10), @wanted) ], [], 'at its deadline it may be');
sees('a seat that was held after it was paid', also(16, 101, 50),
    qr/^seat 101 was held for reservation 16 while reservation 11 \(paid\) had it/, @wanted);
sees('a hold that was given to another one before it was given back', also(16, 103, 2.9),
    qr/^seat 103 was held for reservation 16 while reservation 12 \(cancelled\) had it/, @wanted);
is_deeply([ differences(also(16, 103, 3.1), @wanted) ], [], 'given back, it may be at once');
sees('a hold that is shorter than was said', sub ($t) { $t->{reservations}[0] = reservation(11, 7, 'paid', '101,102', 'h1', 0, 9) },
    qr/^reservation 11 by user 7 was to last until \d+, but is until/);
my @refused = map { 'refused-pay p8 8 12 reservation-expired ' . (T + $_ * S) } 9.9, 10.1;
sees('a payment that was refused before the deadline', sub ($t) { }, qr/^reservation 12 by user 8 was refused as reservation-expired, 100000 us before/,
    $refused[0]);
is_deeply([ differences(sub ($t) { }, $refused[1]) ], [], 'after it it may be');
sees('a hold that was refused and is there', sub ($t) { push @{ $t->{reservations} }, reservation(17, 9, 'expired', '105', 'h4', 4, 14) },
    qr/^hold h4 by user 9 was refused as seat-unavailable, but is reservation 17 \(expired\) at that time/, 'want-hold h4 9 1 105');
sees('a hold that was refused for no reason', sub ($t) { }, qr/^hold h4 by user 9 was refused as sales-closed/,
    'refused-hold h4 9 sales-closed ' . T);

# A place in the line that was lost: 1001 and 1003 are in the history since 1, and 1003 is active since then. seen: when it was last
# told where it stands, active until told; used, held: what came on top of that.
sub lost ($ticket, $issued, $seen, $at, $told = 0, $used = 0, $held = 0) {
    return join ' ', 'lost', 7, $ticket, map { $_ && T + int($_ * S) } $issued, $told, $seen, $used, $held, $seen, $at;
}

sub weather (@things) {
    return sub ($t) {
        $t->{weather} = [
            map { my ($name, $from, $to, %o) = @$_; { name => $name, from => T / S + $from, to => T / S + $to, away => '', %o } } @things
        ]
    };
}
my @flushed = ('Redis: FLUSHALL', 10, 10.01, since => 0);
my @killed  = ('Redis killed, its last second lost', 10, 10.2, since => T / S + 9, away => 'history');
my $unexplained = qr/^ticket \d+ of user 7 \(.*nothing explains it$/;
my $too_late    = qr/^ticket \d+ of user 7 \(.*Redis lost its data, but later than it may$/;
sees('a place in the line that is gone for no reason', weather(), $unexplained, lost(1002, .1, 9, 11));
sees('a place that the history knew',   weather([@flushed]), $unexplained, lost(1001, .1, 9, 11));
sees('a place that was taken long ago', weather([@flushed]), $too_late,    lost(1002, 7.9, 9, 11));
is_deeply([ differences(weather([@flushed]), lost(1002, 8.1, 9, 11)) ], [], 'one that was just taken may be lost');
sees('a place that was there after the loss', weather([@flushed]), $unexplained, lost(1002, 8.1, 10.1, 11));
sees('a place that was gone before the loss', weather([@flushed]), $unexplained, lost(1002, 8.1, 9, 9.9));
sees('a place that Redis had on its disk',    weather([@killed]),  $unexplained, lost(1002, 8.9, 9, 11));
is_deeply([ differences(weather([@killed]), lost(1002, 9.1, 9, 11)) ], [], 'what came in the second that is lost may be');
my @stopped = ('PostgreSQL: immediate shutdown', 6, 7, away => 'history');
is_deeply([ differences(weather([@stopped], [@flushed]), lost(1002, 6.1, 9, 11)) ], [], 'so may what could not be recorded');
sees('a place that could have been recorded before', weather([@stopped], [@flushed]), $too_late, lost(1002, 4.9, 9, 11));
sub ran ($from, $to, @things) {
    return sub ($t) { weather(@things)->($t); $t->{runs} = [ { from => T / S + $from, to => T / S + $to } ] }
}
sees('a place that the scheduler has run past', ran(6.2, 7.2, [@stopped], [@flushed]), $too_late, lost(1002, 6.1, 9, 11));
is_deeply([ differences(ran(@$_[ 0, 1 ], [@flushed]), lost(1002, 8.1, 9, 11)) ], [], "a run $_->[2] says nothing")
    for [ 8, 9, 'that began before the place was taken' ], [ 8.2, 10.1, 'that ended after the loss' ];
my @frozen = ('PostgreSQL frozen for a second', 1.2, 10.5, away => 'history');
is_deeply([ differences(weather([@frozen], [@flushed]), lost(1001, .1, 9, 11)) ], [], 'or committed');
sees('a place that is gone before its claim window is over', weather(), $unexplained, lost(1003, .1, .9, 5.9));
is_deeply([ differences(weather(), lost(1003, .1, .9, 6)) ], [], 'after it it may be, though nobody has seen it begin');
for ([ 'before its time', 7.1 ], [ 'though it was used', 6, 3 ], [ 'though it holds seats', 7.1, 3, 14 ]) {
    my ($what, $told, @more) = @$_;
    my $end = $more[1] || (@more ? 13 : $told);
    sees("an active place that is gone $what", weather(), $unexplained, lost(1003, .1, 2, $end - .1, $told, @more));
    is_deeply([ differences(weather(), lost(1003, .1, 2, $end, $told, @more)) ], [], 'after it it may be');
}
is_deeply([ differences(weather(), lost(1003, .1, 2, 12, 12, 3)) ], [], 'what lives already begins no new life when it is used');
sees('an active place that is gone with Redis, before it was said', weather([@flushed]), $unexplained, lost(1003, .1, 9, 11, 12, 9.5, 20));
is_deeply([ differences(weather([@flushed]), lost(1003, .1, 9, 11, 10, 9.5, 20)) ], [], 'what was to come after that may be lost with Redis');
is_deeply([ differences(weather([@killed]), lost(1003, .1, 9.1, 11, 12)) ], [], 'and what was told in the second that is lost');
sees('an active place that was told before that', weather([@killed]), $unexplained, lost(1003, .1, 8.9, 11, 12));
sees('an active place that is gone with Redis, though it was known to be', ran(2, 3, [@flushed]), $unexplained, lost(1003, .1, 2, 12.9, 6, 3));
sees('an active place that is gone with Redis, though it is known to hold seats', ran(2, 3, [@flushed]), $unexplained, lost(1003, .1, 9, 11, 10, 0, 14));
sees('an active place that an older copy forgot, though it was known', ran(2, 3, [@killed]), $unexplained, lost(1003, .1, 9.1, 11, 12));
is_deeply([ differences(ran(2, 3, [@flushed]), lost(1003, .1, 2, 12.9, 6, 10.5)) ], [], 'a use after the loss lengthens no life');

# ---- the crowd: what it takes for an answer

sub crowd_says ($status, $head) {
    my $crowd  = bless { lines => '', count => {}, timers => {}, until => time + 60 }, 'Storm::Crowd';
    my $person = { user => 7, request => { name => 'pay', done => sub { $_[0]->_note('done') } } };
    $crowd->_answered($person, $status, '{"code":"x"}', "HTTP/1.1 $status X\r\n$head");
    return $crowd->{lines} . (grep { $_->[1] == \&Storm::Crowd::_send } map {@$_} values %{ $crowd->{timers} });
}
is(crowd_says(503, "Retry-After: 1\r\nX: y"), '1', 'the crowd repeats what is refused with 503 and a time to come again');
like(crowd_says(503, 'X: y'), qr/^wrong user 7: pay, without Retry-After: 503 .*\n0$/, 'without one that is wrong');
like(crowd_says(429, 'X: y'), qr/^wrong user 7: pay, without Retry-After: 429 .*\n0$/, 'with 429, too');
like(crowd_says($_, "Retry-After: 1"), qr/^wrong user 7: pay: $_ .*\n0$/, "and so is $_") for 500, 502, 504;
is(crowd_says(201, ''), "done\n0", 'all else is for the person to judge');

# ---- the weather: a seed is one schedule, wherever it is played

sub plan_of ($seed, %box) { Storm::Weather->new(box => \%box, seed => $seed, kills => 40, from => 100, until => 160)->{plan} }
is_deeply(plan_of(5), plan_of(5), 'the same seed: the same things at the same times');
is_deeply(plan_of(5), plan_of(5, disk => {}), 'whether disks can be filled or not');
isnt(join(' ', map {@$_} @{ plan_of(5) }), join(' ', map {@$_} @{ plan_of(6) }), 'another seed: another schedule');
is(scalar(grep { Storm::Weather::is_kill($_->[1]) } @{ plan_of(5) }), 40, 'with so many kills as were asked for');
my %planned = map { ($_->[1] => 1) } @{ plan_of(5) };
is(scalar(grep {/disk full/} keys %planned), 2, 'and full disks among the rest');

# Only what has happened counts.
my $still = Storm::Weather->new(box => {}, seed => 5, kills => 1, from => 0, until => 1);
$still->_happens($_->[0], sub ($self) { $_->[1] }) for [ 'worker killed', 0 ], [ 'expire killed', 1 ], [ 'Redis: FLUSHALL', 1 ],
    [ 'Redis killed, its last second lost', 'Redis killed' ];
is_deeply([ $still->counts ], [ 2, 1 ], 'kills and other things are counted when they have happened');
is_deeply($still->{done}, { 'expire killed' => 1, 'Redis killed' => 1, 'Redis: FLUSHALL' => 1 }, 'as what they were');

# ---- the storm

my $seed = $ENV{USHER_STORM_SEED} // 20_261_122;
my ($status, $report, $error) = Usher::Process::run(
    { env => { map { ($_ => $ENV{$_}) } grep { defined $ENV{$_} } qw(USHER_SRCDIR USHER_BUILDDIR) }, seconds => 240 },
    $^X, "$FindBin::Bin/storm/storm.pl", '--minutes', 1, '--kills', 38, '--people', 240, '--seed', $seed
);
is($status, 0, 'nothing is lost, nothing is there twice') or diag $report, $error;
my ($answers) = $report =~ /^(\d+) requests answered/m;
my ($kills)   = $report =~ /^(\d+) kills$/m;
my ($others)  = $report =~ /^(\d+) other things went wrong$/m;
my ($paid)    = $report =~ /^ +(\d+)  payments$/m;
cmp_ok($kills   // 0, '>=', 30,   'at least 30 kills');
cmp_ok($others  // 0, '>=', 5,    'and other things went wrong');
cmp_ok($answers // 0, '>=', 2000, 'thousands of requests were answered meanwhile');
cmp_ok($paid    // 0, '>=', 20,   'and people bought tickets');
note $report;

done_testing;
