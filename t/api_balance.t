# The wallet: balance, charges with their required Idempotency-Key, the entries by cursor.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Usher::Check;
use Usher::Stack;

my $usher   = Usher::Stack->new(config => { balance_max => 25_000_000, idempotency_ttl => '24h' });
my $balance = { balance => 'int', currency => '=KRW' };
my $charge  = { id => 'int', amount => 'int', balance => 'int', currency => '=KRW', charged_at => 'time' };
my $entry   = {
    id         => 'int',
    kind       => '=charge|=payment',
    amount     => 'int',
    balance    => 'int',
    reference  => 'int|string|null',
    created_at => 'time'
};
my %private = ('Cache-Control' => 'private, no-store');

sub charge ($user, $amount, $key = $usher->new_key) {
    return $usher->post('/v1/balance/charges', user => $user, key => $key, body => { amount => $amount });
}
sub balance ($user) { $usher->get('/v1/balance', user => $user)->json->{balance} }

# Balance.
my $r = $usher->get('/v1/balance', user => 7);
shape_is($r, 200, $balance, 'the balance of a user who never charged', %private);
is($r->json->{balance}, 0, 'is 0');
$r = $usher->head('/v1/balance', user => 7);
status_is($r, 200, 'HEAD of the balance');
is($r->body, '', 'HEAD of the balance has no body');
problem_is($usher->get('/v1/balance'), 401, 'unauthenticated', 'the balance needs an identity');
is($usher->psql('SELECT count(*) FROM asset'), 0, 'looking leaves no row behind');

# Charge.
$r = charge(7, 10_000);
shape_is($r, 201, $charge, 'a charge', %private, 'Idempotent-Replayed' => undef);
is_deeply([ @{ $r->json }{qw(amount balance)} ], [ 10_000, 10_000 ], 'amount and balance after it');
is(balance(7),                                            10_000,     'the balance has it');
is(balance(8),                                            0,          'of nobody else');
is(charge(7, 1)->json->{balance},                         10_001,     'the smallest charge');
is(charge(7, 10_000_000)->json->{balance},                10_010_001, 'the largest charge');
is(charge(9_223_372_036_854_775_807, 5)->json->{balance}, 5,          'the largest user id');

# Refused charges.
unchanged_ok(
    $usher,
    'no refused charge moves money',
    sub {
        my @wrong = (0, -1, 10_000_001, 1.5, '100', undef, [], {}, [100], JSON::PP::true());
        invalid_is(charge(7, $_), 'amount', 'amount ' . JSON::PP->new->ascii->allow_nonref->encode($_)) for @wrong;
        for my $raw (qw(1.0 1e3 1E2 -0 9223372036854775808 99999999999999999999999999 -9223372036854775809 1e400)) {
            my $r = $usher->post('/v1/balance/charges', user => 7, key => $usher->new_key, raw => qq({"amount":$raw}));
            invalid_is($r, 'amount', "amount written as $raw");
        }
        invalid_is($usher->post('/v1/balance/charges', user => 7, key => 'none', body => {}), 'amount', 'no amount');
        for my $key (undef, '') {
            problem_is(
                $usher->post('/v1/balance/charges', user => 7, key => $key, body => { amount => 1 }), 400,
                'idempotency-key-required',
                defined $key ? 'an empty key' : 'no key'
            );
        }
        problem_is($usher->post('/v1/balance/charges', key => 'k', body => { amount => 1 }),
            401, 'unauthenticated', 'no identity');
        for my $key ('x' x 256, "\xc3\xa4", "a\tb", "\x7f") {
            problem_is(
                charge(7, 1, $key), 400, 'invalid-request',
                'a key that is no 1 to 255 printable ASCII (' . unpack('H8', $key) . ')',
                errors => [ { field => 'string', message => 'string' } ]
            );
        }
    }
);
status_is(charge(7, 1, 'x' x 255),                                       201, 'a key of 255 characters');
status_is(charge(7, 1, q{ !"#$%&'()*+,-./:;<=>?@[\]^_`{|}~} =~ s/^ //r), 201, 'a key of all printable characters');
is(balance(7), 10_010_003, 'these two counted');

# The limit.
status_is(charge(7, 10_000_000), 201, 'up to the limit');
problem_is(charge(7, 10_000_000), 409, 'balance-limit', 'a charge above balance_max');
is(balance(7), 20_010_003, 'moves nothing');
status_is(charge(7, 4_989_997), 201, 'exactly to the limit');
problem_is(charge(7, 1, 'over'), 409, 'balance-limit', 'one more is too much');

# Idempotency.
my $first = charge(20, 500, 'k');
status_is($first, 201, 'a charge with key k');
unchanged_ok(
    $usher,
    'replays move nothing',
    sub {
        for (1 .. 2) {
            my $again = charge(20, 500, 'k');
            shape_is($again, 201, $charge, "replay $_", 'Idempotent-Replayed' => 'true', %private);
            is($again->body, $first->body, "has the same body ($_)");
        }
        problem_is(charge(20, 501, 'k'), 422, 'idempotency-key-reused', 'another amount under the same key');
        my $payment = $usher->post(
            '/v1/payments',
            user  => 20,
            token => scalar $usher->admit(20),
            key   => 'k',
            body  => { reservation_id => 1 }
        );
        problem_is($payment, 422, 'idempotency-key-reused', 'another operation under the same key');
    }
);
status_is(charge(21, 500, 'k'), 201, 'the same key of another user is another key');
is(balance(21), 500, 'and counts for that user');
charge(20, 250);
is(charge(20, 500, 'k')->body, $first->body, 'a replay tells the balance of then, not of now');
problem_is(
    charge(20, 0, 'refused'),
    400, 'invalid-request',
    'a refused request',
    errors => [ { field => 'string', message => 'string' } ]
);
status_is(charge(20, 5, 'refused'), 201, 'leaves its key free');
my $spaced = $usher->post('/v1/balance/charges', user => 20, key => 'k', raw => qq({ "note": 1, "amount" : 500 }));
status_is($spaced, 201, 'the same request in other bytes is the same request');
header_is($spaced, 'Idempotent-Replayed', 'true', '... replayed');
is($spaced->body, $first->body, '... with the same answer');

# The key is kept in the transaction of the effect: a restart does not forget it, and 24 hours do.
$usher->stop_server;
$usher->start_server;
is(charge(20, 500, 'k')->body, $first->body, 'after a restart of the workers the key is still known');
$usher->{redis}->stop;
$usher->redis('FLUSHALL');
$usher->{redis}->start;
is(charge(20, 500, 'k')->header('Idempotent-Replayed'), 'true', 'after a restart of Redis as well');
$usher->clock_advance(86_390);
is(charge(20, 500, 'k')->header('Idempotent-Replayed'), 'true', 'just under 24 hours later, too');
$usher->clock_advance(20);
$usher->scheduler('expire');
shape_is(charge(20, 500, 'k'), 201, $charge, 'after 24 hours it is a new charge', 'Idempotent-Replayed' => undef);

# The first request is still running.
my $session = $usher->session;
$session->run(q{BEGIN; SELECT usher_lock_key(30, 'busy')});
problem_is(charge(30, 10, 'busy'), 409, 'idempotency-key-in-use', 'the key while its first request runs');
$session->run('ROLLBACK');
status_is(charge(30, 10, 'busy'), 201, 'it is free when that request came to nothing');
$session->run(q{BEGIN; SELECT usher_lock_user(30)});
problem_is(
    charge(30, 10),
    503, 'unavailable',
    'a wait for the user that is longer than lock_timeout',
    headers => { 'Retry-After' => qr/^\d+$/ }
);
$session->run('ROLLBACK');
$session->close;
is(charge(30, 10)->json->{balance}, 20, 'moved nothing');

# Entries, newest first, by cursor.
my $list = { items => [$entry], next => 'string|null' };
charge(40, $_) for 1 .. 25;
$r = $usher->get('/v1/balance/entries', user => 40);
shape_is($r, 200, $list, 'the entries', %private);
is_deeply(
    [ map { @$_{qw(kind amount balance)} } $r->json->{items}[0] ],
    [ 'charge', 25, 325 ],
    'the newest is the first'
);
my (@amounts, $after);
for my $slice (1 .. 5) {
    $r = $usher->get('/v1/balance/entries?limit=10' . (defined $after ? "&after=$after" : ''), user => 40);
    shape_is($r, 200, $list, "entries, slice $slice");
    push @amounts, map { $_->{amount} } @{ $r->json->{items} };
    $after = $r->json->{next} // last;
}
is_deeply(\@amounts, [ reverse 1 .. 25 ], 'the walk shows every entry once, newest first');
is_deeply(
    $usher->get('/v1/balance/entries', user => 41)->json,
    { items => [], next => undef },
    'nobody sees those of others'
);
my $cursor = $usher->get('/v1/balance/entries?limit=10', user => 40)->json->{next};
for my $query (map({"limit=$_"} '0', '-1', '101', 'x', '1.0'),
    map({"after=$_"} 'x', '', 'AAAA', "${cursor}A", substr $cursor, 1))
{
    invalid_is($usher->get("/v1/balance/entries?$query", user => 40), $query =~ s/=.*//r, "entries?$query");
}
my $stolen = $usher->get("/v1/balance/entries?after=$cursor", user => 7);
invalid_is($stolen, 'after', "another user's cursor");
problem_is($usher->get('/v1/balance/entries'), 401, 'unauthenticated', 'entries need an identity');

# A payment shows up with its sign and reference.
my ($concert) = $usher->concerts(1);
my ($schedule, @seats) = $usher->schedule($concert, seats => 1, price => 300);
my $token = $usher->admit(40);
my $hold  = $usher->hold(40, $token, $schedule, @seats);
my $paid  = $usher->post('/v1/payments', user => 40, token => $token, body => { reservation_id => $hold->{id} });
status_is($paid, 201, 'pay');
my $newest = $usher->get('/v1/balance/entries?limit=1', user => 40)->json->{items}[0];
is_deeply(
    [ $newest->{kind}, abs $newest->{amount}, $newest->{balance} ],
    [ 'payment',       300,                   25 ],
    'a payment among the entries'
);
like($newest->{reference} // '', qr/\b@{[ $paid->json->{id} ]}\b/, 'refers to the payment');
is($usher->psql('SELECT sum(amount) FROM ledger_entry'), 0, 'the books balance');

done_testing;
