# The seats of a schedule: the free ones, all with their status, the version as an ETag and 304.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Usher::Check;
use Usher::Stack;

my $usher = Usher::Stack->new(config => { claim_window => '1h', active_ttl => '1h' });
my ($concert) = $usher->concerts(1);
my ($schedule, @seats) = $usher->schedule($concert, seats => 6, price => 1500);
my ($token, $other)    = $usher->admit(7, 8);
my @me   = (user => 7, token => $token);
my $path = "/v1/schedules/$schedule/seats";
my $body = {
    schedule_id => 'int',
    version     => 'string',
    items       => [ { id => 'int', location => 'string', price => 'int', status => '=available|=held|=sold' } ]
};

sub seats ($query = '') { $usher->get("$path$query", @me) }

sub by_id ($r) {
    +{ map { ($_->{id} => $_->{status}) } @{ $r->json->{items} } };
}

my $r = seats();
shape_is($r, 200, $body, 'the free seats', ETag => qr/^"[^"]+"$/);
is($r->json->{schedule_id}, $schedule, 'of the schedule asked for');
is_deeply(by_id($r), { map { ($_ => 'available') } @seats }, 'all are free');
is_deeply(
    $r->json->{items}[0],
    { id => $seats[0], location => 'A1', price => 1500, status => 'available' },
    'a seat with location and price'
);
my $etag = $r->header('ETag');
is($r->header('ETag'),      '"' . $r->json->{version} . '"', 'the ETag is the version') if $r->json->{version} !~ /"/;
is(seats()->header('ETag'), $etag,                           'nothing happened: the same ETag');
is($usher->redis('OBJECT', 'ENCODING', "s:{main}:$schedule:seats"), 'hashtable', 'a field of a small hall is found at once, too');

# Conditional requests.
my @matching = (
    [ 'the ETag',       $etag ],
    [ 'a list with it', qq{"zzz", $etag} ],
    [ 'its weak form',  "W/$etag" ],
    [ 'the star',       '*' ]
);
for my $case (@matching) {
    $r = $usher->get($path, @me, headers => [ 'If-None-Match' => $case->[1] ]);
    status_is($r, 304, "If-None-Match with $case->[0]: 304");
    is($r->body, '', "no body ($case->[0])");
    header_is($r, 'ETag', $etag, "the ETag again ($case->[0])");
}
status_is($usher->get($path, @me, headers => [ 'If-None-Match' => $_ ]), 200, "If-None-Match with $_: 200")
    for '"zzz"', 'zzz', '', '"', substr($etag, 1);
$r = $usher->head($path, @me);
status_is($r, 200, 'HEAD of the seats');
header_is($r, 'ETag', $etag, 'HEAD has the ETag');
is($r->body, '', 'HEAD of the seats has no body');
status_is($usher->head($path, @me, headers => [ 'If-None-Match' => $etag ]), 304, 'HEAD may be conditional, too');

# A hold changes what is shown.
my $hold = $usher->hold(@me[ 1, 3 ], $schedule, @seats[ 0, 1 ]);
$r = $usher->get($path, @me, headers => [ 'If-None-Match' => $etag ]);
shape_is($r, 200, $body, 'a hold makes the old version stale');
isnt($r->header('ETag'), $etag, 'and a new ETag');
is_deeply(by_id($r), { map { ($_ => 'available') } @seats[ 2 .. 5 ] }, 'held seats are not among the free ones');
$r = seats('?all=true');
shape_is($r, 200, $body, 'all=true');
is_deeply(
    by_id($r),
    { (map { ($_ => 'held') } @seats[ 0, 1 ]), map { ($_ => 'available') } @seats[ 2 .. 5 ] },
    'shows the held ones as held'
);
isnt($r->header('ETag'), seats()->header('ETag'), 'both views have ETags of their own');
status_is($usher->get("$path?all=true", @me, headers => [ 'If-None-Match' => $r->header('ETag') ]),
    304, '304 for the whole view');
sub counted (@who) { my $s = $usher->get("/v1/concerts/$concert/schedules", @who)->json->{items}[0]; [ @$s{qw(seats_total seats_available)} ] }
is_deeply(counted(@me), [ 6, 4 ], 'the schedule counts them');

# Expiry takes effect at the deadline, without the scheduler.
my $before = seats()->header('ETag');
$usher->clock_advance(299);
is(scalar keys %{ by_id(seats()) }, 4, 'just before the deadline they are held');
$usher->clock_advance(2);
is(scalar keys %{ by_id(seats()) }, 6, 'at the deadline they are free');
isnt(seats()->header('ETag'), $before, 'with a new ETag');
status_is($usher->get($path, @me, headers => [ 'If-None-Match' => $before ]),
    200, 'so a client that keeps the old list hears of it');
is(by_id(seats('?all=true'))->{ $seats[0] }, 'available', 'in the whole view as well');
is_deeply(counted(@me), [ 6, 6 ], 'and the schedule counts them as free');
$usher->clock_advance(-2);
is(scalar keys %{ by_id(seats()) }, 4, 'a clock that steps back has them held again');
$usher->clock_advance(2);

# Of two holds the one that ends first is looked for, whichever has the lower seat. (In less than half a minute: after that
# the hall is read anew.)
sub free_each_time () { [ map { scalar keys %{ by_id($_) } } $usher->parallel([ ([ GET => $path, @me ]) x 10 ]) ] }
for my $pair ([ 2, 3 ], [ 5, 4 ]) {
    $usher->hold(@me[ 1, 3 ], $schedule, $seats[ $pair->[0] ]);
    $usher->clock_advance(10);
    $usher->hold(8, $other, $schedule, $seats[ $pair->[1] ]);
    $usher->clock_advance(285);
    is_deeply(free_each_time(), [ (4) x 10 ], 'two holds');
    $usher->clock_advance(7);
    is_deeply(free_each_time(), [ (5) x 10 ], 'the first one is over');
    $usher->clock_advance(10);
    is_deeply(free_each_time(), [ (6) x 10 ], 'and the second');
}

# Paid seats are sold; cancelled ones free.
$usher->charge(7, 100_000);
$hold = $usher->hold(@me[ 1, 3 ], $schedule, $seats[0]);
my $cancelled = $usher->hold(8, $other, $schedule, $seats[5]);
status_is($usher->post('/v1/payments', @me, body => { reservation_id => $hold->{id} }), 201, 'pay');
status_is($usher->delete("/v1/reservations/$cancelled->{id}", user => 8),               204, 'cancel');
my @them = (user => 8, token => $other);
is_deeply(
    by_id($usher->get("$path?all=true", @them)),
    { $seats[0] => 'sold', map { ($_ => 'available') } @seats[ 1 .. 5 ] },
    'sold and free'
);
is_deeply(
    [ sort { $a <=> $b } keys %{ by_id($usher->get($path, @them)) } ],
    [ @seats[ 1 .. 5 ] ],
    'a sold seat is not among the free ones'
);
is_deeply(counted(@them), [ 6, 5 ], 'the schedule counts the sold one');
$usher->clock_advance(1000);
is(by_id($usher->get("$path?all=true", @them))->{ $seats[0] }, 'sold', 'a sold seat stays sold');
is_deeply(counted(@them), [ 6, 5 ], 'and counts, though the hold would be over');

# What is not there, and what is not understood.
problem_is($usher->get("/v1/schedules/$_/seats", @them), 404, 'not-found', "schedules/$_/seats is not there")
    for '999999', '0', '-1', 'x', '9223372036854775807', '9223372036854775808';
invalid_is($usher->get("$path?all=$_", @them), 'all', "all=$_ is refused") for 'maybe', '1.0';
my ($empty) = $usher->schedule($concert, seats => 0);
shape_is($usher->get("/v1/schedules/$empty/seats", @them), 200, $body, 'a schedule without seats has an empty list');
my ($closed, @its) = $usher->schedule($concert, seats => 1, opens => 3600);
is_deeply(
    by_id($usher->get("/v1/schedules/$closed/seats", @them)),
    { $its[0] => 'available' },
    'seats may be looked at before the sale opens'
);

# Whoever knows the hall of a moment ago is told what is new: no look at a hall in which people buy asks for all of it.
sub whole_halls { join(' ', $usher->redis('INFO', 'commandstats')) =~ /cmdstat_hgetall:calls=(\d+)/ ? $1 : 0 }
my $big  = do { my ($id, @of_it) = $usher->schedule($concert, seats => 80); { id => $id, seats => \@of_it } };
my %says = map { ($_ => 'available') } @{ $big->{seats} };
my $i    = 0;

# What everybody sees, each worker asked.
sub big_is ($what) {
    my @all = map { by_id($_) } $usher->parallel([ ([ GET => "/v1/schedules/$big->{id}/seats?all=true", @them ]) x 8 ]);
    is_deeply([ grep { !eq_hash($_, \%says) } @all ], [], $what);
}
my $wholes = whole_halls();
big_is('a hall is empty');
for my $user (30 .. 39) {
    my ($buyer) = $usher->admit($user);
    my ($one, $two, $three) = @{ $big->{seats} }[ map { 4 * $i + $_ } 0 .. 2 ];
    $usher->charge($user, 100_000);
    my $sold = $usher->hold($user, $buyer, $big->{id}, $one, $two);
    my $back = $usher->hold($user, $buyer, $big->{id}, $three);
    @says{ $one, $two, $three } = ('held') x 3;
    big_is("user $user holds");
    status_is($usher->delete("/v1/reservations/$back->{id}", user => $user), 204, 'gives one back');
    status_is($usher->post('/v1/payments', user => $user, token => $buyer, body => { reservation_id => $sold->{id} }), 201, 'pays');
    @says{ $one, $two, $three } = ('sold', 'sold', 'available');
    big_is('and all see it');
    $i++;
}
cmp_ok(whole_halls() - $wholes, '<=', scalar $usher->worker_pids, 'no worker had to be told the whole hall more than once');
my $doorman = "s:{main}:$big->{id}:seats";

# Twenty claims whose requests were cut off long ago are corrected in one change.
my @cut_off = @{ $big->{seats} }[ 50 .. 69 ];
my $told    = sub { my $n = $usher->redis('HGET', $doorman, 'n'); $usher->redis('HGET', $doorman, 'c' . $n % 128) };
$usher->redis('HSET', $doorman, map { ($_ => int(($usher->now + 280) * 1000) . ' 99') } @cut_off);
$usher->redis('HINCRBY', $doorman, 'n', 1);
@says{@cut_off} = ('held') x @cut_off;
big_is('claims of requests that were cut off');
is(($usher->scheduler('expire'))[0], 0, 'the scheduler comes by');
like($told->(), qr/^\d+:\*$/, 'so many at once are not told one by one');
@says{@cut_off} = ('available') x @cut_off;
big_is('but seen');

# A change of which nobody tells.
$usher->redis('HSET', $doorman, $big->{seats}[49], '0 99');
$usher->redis('HINCRBY', $doorman, 'n', 1);
$says{ $big->{seats}[49] } = 'sold';
$wholes = whole_halls();
big_is('a change that is not told is seen');
cmp_ok(whole_halls(), '>', $wholes, 'in the whole hall');
$usher->redis('HDEL', $doorman, $big->{seats}[49]);
$usher->redis('HINCRBY', $doorman, 'n', 1024 + (4 - $usher->redis('HGET', $doorman, 'n')) % 128);
$says{ $big->{seats}[49] } = 'available';
big_is('more changes than are told are seen');
like($usher->redis('HGET', $doorman, 'c5'), qr/^5:\d/, 'where the next one is told the fifth still stands');
$usher->redis('HSET', $doorman, $big->{seats}[49], '0 99');
$usher->redis('HINCRBY', $doorman, 'n', 1);
$says{ $big->{seats}[49] } = 'sold';
big_is('which is not taken for it');
$usher->redis('HDEL', $doorman, $big->{seats}[49]);
$usher->redis('HINCRBY', $doorman, 'n', 1);

# Losing Redis' memory of the seats changes nothing.
$usher->redis('DEL', $usher->redis('KEYS', 's:*'));
is(by_id($usher->get("$path?all=true", @them))->{ $seats[0] },
    'sold', 'without the keys in Redis a sold seat is still sold');

done_testing;
