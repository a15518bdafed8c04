#!/usr/bin/perl
# A short storm: half a minute in which some thirty things go wrong, and all that the crowd was told holds. Before that: the books
# see each kind of lie. The long one is ./dev storm.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/storm";
use File::Temp ();
use Test::More;
use Storm::Books;
use Usher::Process;

# ---- the books, with a truth of our own

package Storm::Books::Test::Box {
    sub new ($class, %rows) { bless {%rows}, $class }
    sub psql ($self, $sql) {
        return @{ $self->{charges} }      if $sql =~ /kind = 'charge'/;
        return @{ $self->{reservations} } if $sql =~ /FROM reservation r/;
        return @{ $self->{payments} };
    }
    sub redis ($self, $command, @rest) { $command eq 'KEYS' ? ('s:{main}:1:seats') : @{ $self->{doorman} } }
}

# charge: id, user, amount, key. reservation: id, user, schedule, status, seats, key. payment: id, user, reservation, key.
sub truth {
    return (
        charges      => ['1|7|5000|c1'],
        reservations => [ '11|7|1|paid|101,102|h1', '12|8|1|cancelled|103|', '13|8|1|expired|104|h3' ],
        payments     => ['21|7|11|p1'],
        doorman      => [ 101 => '0 7', 102 => '0 7', 104 => '1000 8', v => 1, n => 3 ],
    );
}

my @told = (
    'want-charge c1 7 5000',       'charge c1 7 5000 1',       'want-charge c2 7 4000',
    'want-hold h1 7 1 101,102',    'hold h1 7 1 101,102 11',   'want-hold - 8 1 103', 'hold - 8 1 103 12',
    'want-hold h3 8 1 104',        'want-pay p1 7 11',         'pay p1 7 11 21',      'want-cancel 8 12',
    'cancel 8 12',
);

# The differences when the truth is changed, and the journal has these lines too.
sub differences ($change, @lines) {
    my %truth = truth();
    $change->(\%truth);
    my $file = File::Temp->new;
    Usher::Process::spew("$file", join "\n", @told, @lines, '');
    return Storm::Books->new(box => Storm::Books::Test::Box->new(%truth), journals => ["$file"])->compare;
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
sees('a hold of other seats', sub ($t) { $t->{reservations}[0] = '11|7|1|paid|101|h1' }, qr/^reservation 11 by user 7/);
sees('a hold made twice', sub ($t) { push @{ $t->{reservations} }, '14|8|1|expired|104|h3' }, qr/^hold 8 1 104 h3: 2 times/);
sees('a cancellation undone', sub ($t) { $t->{reservations}[1] = '12|8|1|held|103|' }, qr/^reservation 12 by user 8 was cancelled, but is held/);
sees('a cancellation that nobody wanted', sub ($t) { $t->{reservations}[2] = '13|8|1|cancelled|104|h3' }, qr/^reservation 13 is cancelled/);
sees('a payment that is gone', sub ($t) { $t->{payments} = [] }, qr/^payment 21 of reservation 11/);
sees('a payment made twice', sub ($t) { push @{ $t->{payments} }, '22|7|11|' }, qr/^reservation 11 has payments 21 and 22/);
sees('a payment that was refused', sub ($t) { }, qr/^reservation 11 by user 7 was refused as reservation-expired, but is paid/, 'refused-pay p9 7 11 reservation-expired');
sees(
    'a seat sold twice',
    sub ($t) { push @{ $t->{reservations} }, '15|9|1|paid|102|h9'; push @{ $t->{payments} }, '25|9|15|p9' },
    qr/^seat 102 was sold twice: reservations 11 and 15/, 'want-pay p9 9 15', 'pay p9 9 15 25'
);
sees('a seat that stays blocked', sub ($t) { push @{ $t->{doorman} }, 103, '0 8' }, qr/^seat 103: the doorman keeps it/);
sees('a seat sold to another one', sub ($t) { $t->{doorman}[1] = '0 9' }, qr/^seat 101: the doorman says sold to 9/);
sees('what the crowd found wrong', sub ($t) { }, qr/^user 7: pay: 500$/, 'wrong user 7: pay: 500');

# ---- the storm

my $seed = $ENV{USHER_STORM_SEED} // 20_261_122;
my ($status, $report, $error) = Usher::Process::run(
    { env => { map { ($_ => $ENV{$_}) } grep { defined $ENV{$_} } qw(USHER_SRCDIR USHER_BUILDDIR) }, seconds => 240 },
    $^X, "$FindBin::Bin/storm/storm.pl", '--minutes', 0.5, '--kills', 32, '--people', 120, '--seed', $seed
);
is($status, 0, 'nothing is lost, nothing is there twice') or diag $report, $error;
my ($answers) = $report =~ /^(\d+) requests answered/m;
my ($kills)   = $report =~ /^(\d+) things went wrong/m;
my ($paid)    = $report =~ /^ +(\d+)  payments$/m;
cmp_ok($kills   // 0, '>=', 30,   'at least 30 things went wrong');
cmp_ok($answers // 0, '>=', 2000, 'thousands of requests were answered meanwhile');
cmp_ok($paid    // 0, '>=', 20,   'and people bought tickets');
note $report;

done_testing;
