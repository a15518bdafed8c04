# The gate: its four codes on every gated operation, before the operation looks at anything else.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Usher::Check;
use Usher::Stack;

my $usher = Usher::Stack->new(config => { claim_window => '60s', active_ttl => '10min', hold_ttl => '5min' });
my ($concert) = $usher->concerts(1);
my ($schedule, @seats) = $usher->schedule($concert, seats => 20);
$usher->charge($_, 100_000) for 7, 8, 9;

# A user's request that succeeds when the gate is open; each name is an operation of the contract.
sub operation ($name, $user, $token) {
    my %one = (user => $user, token => $token);
    state $free = 0;    # reserve takes another seat each time
    return $usher->get("/v1/concerts?page=0&size=10", %one) if $name eq 'concerts by page';
    return $usher->get('/v1/concerts?limit=10',       %one) if $name eq 'concerts by cursor';
    return $usher->head('/v1/concerts', %one) if $name eq 'HEAD of concerts';
    return $usher->get("/v1/concerts/$concert",           %one) if $name eq 'concert';
    return $usher->get("/v1/concerts/$concert/schedules", %one) if $name eq 'schedules';
    return $usher->get("/v1/schedules/$schedule/seats",   %one) if $name eq 'seats';
    return $usher->post('/v1/reservations', %one,
        body => { schedule_id => $schedule, seat_ids => [ $seats[ $free++ ] ] })
        if $name eq 'reserve';
    return $usher->post('/v1/payments', %one, body => { reservation_id => 999_999 });
}
my @gated = ('concerts by page', 'concerts by cursor', 'concert', 'schedules', 'seats', 'reserve', 'pay');

my ($active, $foreign, $used) = $usher->admit(7, 8, 9);
my $hold = $usher->hold(9, $used, $schedule, pop @seats);
status_is($usher->post('/v1/payments', user => 9, token => $used, body => { reservation_id => $hold->{id} }),
    201, 'one token is used up by a payment');
my $waiting = $usher->join_line(10);
$usher->join_line(11);
my $left = $usher->join_line(12);
$usher->delete('/v1/queue/tokens/me', token => $left);

unchanged_ok(
    $usher,
    'nothing happens behind a closed gate',
    sub {
        for my $name (@gated) {
            problem_is(operation($name, 7, undef), 401, 'queue-token-required', "$name without a queue token");
            for my $bad (
                [ 'an unknown',  'AAAAAAAAAAAAAAAAAAAAAA' ],
                [ 'a malformed', '!' ],
                [ 'a long',      'A' x 2000 ],
                [ 'a returned',  $left ]
                )
            {
                problem_is(operation($name, 12, $bad->[1]), 401, 'queue-token-invalid', "$name with $bad->[0] token");
            }
            problem_is(operation($name, 9, $used), 401, 'queue-token-invalid', "$name with a used-up token");
            my $r = operation($name, 10, $waiting);
            problem_is(
                $r, 403, 'not-admitted', "$name while waiting",
                position => 'int',
                headers  => { 'Retry-After' => qr/^[1-9]\d*$/ }
            );
            is($r->json->{position}, 1, "$name while waiting tells the position");
            problem_is(operation($name, 7, $foreign), 403, 'queue-token-mismatch', "$name with somebody else's token");
            problem_is(operation($name, 7, $waiting),
                403, 'queue-token-mismatch', "$name with somebody else's waiting token");
        }
    }
);

# Contents that every gated operation refuses, as [method, path, options...].
my $hold_body = { schedule_id => $schedule, seat_ids => [ $seats[0] ] };
my %bad_contents = (
    '/v1/concerts' => [ map { [ GET => "/v1/concerts?$_" ] } qw(page=x size=0 size=101 page=0&page=1 limit=0 after=forged) ],
    "/v1/concerts/$concert"           => [],
    "/v1/concerts/$concert/schedules" => [ [ GET => "/v1/concerts/$concert/schedules?all=maybe" ] ],
    "/v1/schedules/$schedule/seats"   => [ [ GET => "/v1/schedules/$schedule/seats?all=maybe" ] ],
    '/v1/reservations'                => [ map { [ POST => '/v1/reservations', @$_ ] } bad_bodies($hold_body) ],
    '/v1/payments'                    => [ map { [ POST => '/v1/payments', @$_ ] } bad_bodies({ reservation_id => 1 }) ],
);

sub bad_bodies ($good) {
    return (
        (map { [ raw => $_ ] } '{', '', '[]', '{}', '{"reservation_id":"1","schedule_id":"1","seat_ids":1}'),
        [ body => $good, type => 'text/plain' ],
        [ body => $good, type => undef ],
        [ body => $good, key  => 'k' x 256 ],
    );
}

# The same answer as for good contents, whatever is wrong with these.
sub gate_comes_first ($what, $user, $token, $status, $code, %more) {
    for my $request (map {@$_} @bad_contents{ sort keys %bad_contents }) {
        my ($method, $path, %o) = @$request;
        my $shown = join ' ', map { ref ? 'good' : substr $_ // 'none', 0, 20 } map { ($_ => $o{$_}) } sort keys %o;
        my $r     = $usher->request($method, $path, user => $user, token => $token, %o);
        problem_is($r, $status, $code, "$what token before the contents: $method $path $shown", %more);
    }
    for my $path (sort keys %bad_contents) {
        my $method = $path =~ /payments|reservations/ ? 'POST' : 'GET';
        my $r      = $usher->fcgi($method => $path, user => $user, token => $token, raw => ' ' x 17_000);
        problem_is($r, $status, $code, "$what token before the length of a body: $method $path", %more);
    }
}
unchanged_ok(
    $usher,
    'nothing happens before a closed gate either',
    sub {
        gate_comes_first('a waiting', 10, $waiting, 403, 'not-admitted', position => 'int', headers => { 'Retry-After' => qr/^[1-9]\d*$/ });
        gate_comes_first('a used-up',  9,  $used, 401, 'queue-token-invalid');
        gate_comes_first('a returned', 12, $left, 401, 'queue-token-invalid');
    }
);
my $head = operation('HEAD of concerts', 10, $waiting);
status_is($head, 403, 'HEAD meets the same gate');
header_is($head, 'Retry-After', qr/^\d+$/, 'with the same headers');
is($head->body, '', 'and no body');

# Identity comes before the gate, the gate before the request's contents.
problem_is($usher->get('/v1/concerts', token       => $active), 401, 'unauthenticated', 'a queue token is no identity');
problem_is($usher->get('/v1/concerts?page=x', user => 7),
    401, 'queue-token-required', 'bad parameters do not matter outside');
problem_is(
    $usher->get('/v1/concerts/999999', user => 10, token => $waiting),
    403, 'not-admitted',
    'nor do unknown ids',
    position => 'int'
);

# Open.
status_is(operation($_, 7, $active), { reserve => 201, pay => 404 }->{$_} // 200, "$_ with an active token") for @gated;

# Contents that are refused inside: asking the gate about them is no first use. (Where the gate is passed by itself,
# schedules, it is one.)
my $fresh = $usher->admit(13);
my $until = sub () { $usher->get('/v1/queue/tokens/me', token => $fresh)->json->{active_until} };
my $claim = $until->();
for my $request (map {@$_} @bad_contents{ grep { !/schedules$/ } sort keys %bad_contents }) {
    my ($method, $path, %o) = @$request;
    my $r = $usher->request($method, $path, user => 13, token => $fresh, %o);
    like($r->status, qr/^4(?:00|15)$/, "inside, the contents count: $method $path") or diag $r->body;
}
is($until->(), $claim, 'a look is no first use');

# What is not gated stays open to everybody with an identity.
status_is($usher->get($_, user => 10), 200, "$_ needs no place in the line")
    for '/v1/balance', '/v1/balance/entries', '/v1/reservations';
status_is($usher->get("/v1/reservations/$hold->{id}", user => 9), 200, 'one reservation needs none');
status_is($usher->get('/v1/payments/' . $usher->psql('SELECT id FROM payment'), user => 9),
    200, 'one payment needs none');

# The deadlines: claim_window until the first use, active_ttl from it, and a hold that keeps it alive.
my ($idle, $busy, $holder) = $usher->admit(20, 21, 22);
status_is(operation('concert', $_->[0], $_->[1]), 200, "user $_->[0] comes in time") for [ 21, $busy ], [ 22, $holder ];
$usher->clock_advance(61);
problem_is(operation('concert', 20, $idle),
    401, 'queue-token-invalid', 'who does not come within claim_window loses the place');
gate_comes_first('an expired', 20, $idle, 401, 'queue-token-invalid');
$usher->clock_advance(530);    # 591 s after the first use
status_is(operation('concert', 21, $busy), 200, 'shortly before active_ttl');
my $late = $usher->hold(22, $holder, $schedule, pop @seats);
$usher->clock_advance(15);     # 606 s
problem_is(operation('concert', 21, $busy), 401, 'queue-token-invalid', 'after active_ttl it is over');
status_is(operation('concert', 22, $holder), 200, 'a hold keeps its token alive');
my $poll = $usher->get('/v1/queue/tokens/me', token => $holder)->json;
cmp_ok($poll->{active_until}, 'ge', $late->{expires_at}, 'at least as long as the hold lasts');
$usher->clock_advance(270);    # 285 s after the hold
$usher->scheduler('expire');
$usher->charge(22, 5000);
status_is($usher->post('/v1/payments', user => 22, token => $holder, body => { reservation_id => $late->{id} }),
    201, 'so that it can be paid to the last');

# Redis forgot its scripts.
my ($newcomer) = $usher->admit(30);
$usher->redis('SCRIPT', 'FLUSH');
status_is(operation('concert', 30, $newcomer), 200, 'NOSCRIPT is survived by a gated read');
$usher->redis('SCRIPT', 'FLUSH');
status_is($usher->post('/v1/queue/tokens', user => 31), 201, 'and by a write');

done_testing;
