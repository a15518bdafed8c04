# Payments: the money, the seats and the queue token; every refusal; repeating safely.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Usher::Check;
use Usher::Stack;

my $usher = Usher::Stack->new(config => { claim_window => '2h', active_ttl => '2h' });
my ($concert) = $usher->concerts(1);
my ($schedule, @seats) = $usher->schedule($concert, seats => 60, price => 700);
my $payment =
    { id => 'int', reservation_id => 'int', price => 'int', currency => '=KRW', balance => 'int', paid_at => 'time' };
my %private = ('Cache-Control' => 'private, no-store');
my $user    = 100;

# A new user with a hold: (user, token, reservation id).
sub buyer ($money, $count = 1) {
    $user++;
    $usher->charge($user, $money) if $money;
    my $token = $usher->admit($user);
    return ($user, $token, $usher->hold($user, $token, $schedule, splice @seats, 0, $count)->{id});
}

sub pay ($user, $token, $reservation, @more) {
    return $usher->post('/v1/payments', user => $user, token => $token, body => { reservation_id => $reservation },
        @more);
}
sub balance ($user) { $usher->get('/v1/balance', user => $user)->json->{balance} }

# A payment.
my ($buyer, $token, $reservation) = buyer(5000, 2);
my $r = pay($buyer, $token, $reservation);
shape_is($r, 201, $payment, 'a payment', %private);
is_deeply(
    [ @{ $r->json }{qw(reservation_id price balance)} ],
    [ $reservation, 1400, 3600 ],
    'price and balance after it'
);
my $id = $r->json->{id};
is(balance($buyer),                                                              3600,   'the money is taken');
is($usher->get("/v1/reservations/$reservation", user => $buyer)->json->{status}, 'paid', 'the reservation is paid');
problem_is($usher->get('/v1/concerts', user => $buyer, token => $token),
    401, 'queue-token-invalid', 'the queue token is used up');
problem_is($usher->get('/v1/queue/tokens/me', token => $token), 404, 'queue-token-invalid', 'also for the poll');
status_is($usher->post('/v1/queue/tokens', user => $buyer), 201, 'the next visit begins in the line');
is($usher->psql('SELECT sum(amount) FROM ledger_entry'), 0, 'the books balance');

# Reading it.
my $read = $usher->get("/v1/payments/$id", user => $buyer);
status_is($read, 200, 'the payment can be read');
header_is($read, 'Cache-Control', 'private, no-store', 'privately');
is_deeply(
    [ @{ $read->json }{qw(id reservation_id price currency paid_at)} ],
    [ @{ $r->json }{qw(id reservation_id price currency paid_at)} ],
    'as it was made'
);
status_is($usher->head("/v1/payments/$id", user => $buyer), 200, 'HEAD of a payment');
problem_is($usher->get("/v1/payments/$id", user => 7),     404, 'not-found',       "another's payment is not there");
problem_is($usher->get("/v1/payments/$id"),                401, 'unauthenticated', 'nor without an identity');
problem_is($usher->get("/v1/payments/$_", user => $buyer), 404, 'not-found',       "payments/$_ is not there")

    for '0', '-1', '999999', 'x', '1.0', '9223372036854775808';

# The truth for a client that lost the answer: the queue token is used up, the owner hears already-paid.
unchanged_ok(
    $usher,
    'asking again moves nothing',
    sub {
        problem_is(pay($buyer, $token, $reservation), 409, 'already-paid', 'paying again, with the used-up token');
        my $fresh = $usher->admit(7);
        problem_is(pay(7, $fresh, $reservation), 404, 'not-found', "another's paid reservation");
        my $stranger = pay(7, $token, $reservation);
        ok($stranger->status =~ /^4/ && $stranger->json->{code} ne 'already-paid',
            'a stranger with the used-up token learns nothing');
    }
);

# Refusals.
my ($poor, $poor_token, $poor_hold) = buyer(699);
my ($rich, $rich_token, $rich_hold) = buyer(10_000);
unchanged_ok(
    $usher,
    'no refusal moves anything',
    sub {
        my $r = pay($poor, $poor_token, $poor_hold);
        problem_is($r, 402, 'insufficient-balance', 'too little money', balance => 'int', price => 'int');
        is_deeply([ @{ $r->json }{qw(balance price)} ], [ 699, 700 ], 'with balance and price');
        problem_is(pay($poor, $poor_token, $rich_hold), 404, 'not-found', "another's reservation");
        problem_is(pay($poor, $poor_token, $_),         404, 'not-found', "an unknown reservation $_")
            for 999_999, 9_223_372_036_854_775_807;
        invalid_is(pay($poor, $poor_token, $_), 'reservation_id', "reservation_id $_") for 0, -1, 1.5, '1x', [], {};
    }
);
status_is($usher->get('/v1/concerts', user => $poor, token => $poor_token),
    200, 'after a refusal the queue token is still good');
my ($penniless, $its_token, $its_hold) = buyer(0);
my $none = pay($penniless, $its_token, $its_hold);
problem_is($none, 402, 'insufficient-balance', 'a user who never charged', balance => 'int', price => 'int');
$usher->charge($poor, 1);
is(pay($poor, $poor_token, $poor_hold)->json->{balance}, 0, 'with exactly the price it goes');

# Cancelled and expired.
status_is($usher->delete("/v1/reservations/$rich_hold", user => $rich), 204, 'cancel');
problem_is(pay($rich, $rich_token, $rich_hold), 409, 'reservation-cancelled', 'a cancelled reservation');
my $second = $usher->hold($rich, $rich_token, $schedule, shift @seats)->{id};
$usher->clock_advance(301);
problem_is(pay($rich, $rich_token, $second), 410, 'reservation-expired', 'an expired reservation');
is(balance($rich),                                                         10_000, 'takes no money');
is($usher->psql('SELECT count(*) FROM payment WHERE user_id = $1', $rich), 0,      'leaves no payment');
$usher->scheduler('expire');
problem_is(pay($rich, $rich_token, $second), 410, 'reservation-expired', 'also after the scheduler closed it');
status_is($usher->get("/v1/reservations/$second", user => $rich), 200, 'the reservation can still be read');

# Idempotency-Key: optional, honoured.
my ($careful, $careful_token, $careful_hold) = buyer(1000);
my $first = pay($careful, $careful_token, $careful_hold, key => 'pay-1');
shape_is($first, 201, $payment, 'a payment with a key', 'Idempotent-Replayed' => undef);
unchanged_ok(
    $usher,
    'a replay moves nothing',
    sub {
        my $again = pay($careful, $careful_token, $careful_hold, key => 'pay-1');
        shape_is(
            $again, 201, $payment, 'the same request, with the used-up queue token',
            'Idempotent-Replayed' => 'true',
            %private
        );
        is($again->body, $first->body, 'has the same answer');
        problem_is(pay($careful, $careful_token, $careful_hold, key => 'pay-2'),
            409, 'already-paid', 'under another key: already-paid');
        my $other = pay($careful, $careful_token, $careful_hold + 1000, key => 'pay-1');
        problem_is($other, 422, 'idempotency-key-reused', 'the key for another reservation is refused');
    }
);
my ($next, $next_token, $next_hold) = buyer(1000);
my $more = $usher->hold($next, $next_token, $schedule, shift @seats)->{id};
status_is(pay($next, $next_token, 999_999,    key => 'n'), 404, 'a refusal under a key');
status_is(pay($next, $next_token, $next_hold, key => 'n'), 201, 'leaves the key free');
my $back = $usher->admit($next);
problem_is(pay($next, $back, $more, key => 'n'), 422, 'idempotency-key-reused', 'a used key for another reservation');
is(pay($next, $back, $next_hold, key => 'n')->header('Idempotent-Replayed'),
    'true', 'the original under its key with a new queue token');
status_is($usher->get('/v1/concerts', user => $next, token => $back),
    200, 'a replay does not use up the new queue token');
$usher->stop_server;
$usher->start_server;
is(pay($careful, $careful_token, $careful_hold, key => 'pay-1')->body,
    $first->body, 'a restart does not forget the key');

# The first is still running.
my ($busy, $busy_token, $busy_hold) = buyer(1000);
my $session = $usher->session;
$session->run("BEGIN; SELECT usher_lock_key($busy, 'b')");
problem_is(pay($busy, $busy_token, $busy_hold, key => 'b'),
    409, 'idempotency-key-in-use', 'the key while its first request runs');
$session->run('ROLLBACK');
$session->close;
status_is(pay($busy, $busy_token, $busy_hold, key => 'b'), 201, 'and after it ended');

# Redis lost its scripts: the token is used up at once all the same, not when the worker happens to come by again.
my ($unlucky, $unlucky_token, $unlucky_hold) = buyer(1000);
$usher->redis('SCRIPT', 'FLUSH');
my $active = $usher->redis('ZCARD', 'q:{main}:active');
status_is(pay($unlucky, $unlucky_token, $unlucky_hold), 201, 'a payment after SCRIPT FLUSH');
ok(Usher::Process::until_true(sub { $usher->redis('ZCARD', 'q:{main}:active') == $active - 1 }, 2), 'uses up its token');

# Free of charge is a price, too.
my ($gratis, @free_seats) = $usher->schedule($concert, seats => 1, price => 0);
my $guest = $usher->admit(7);
my $free  = $usher->hold(7, $guest, $gratis, @free_seats);
is($free->{total_price}, 0, 'a free seat');
shape_is(pay(7, $guest, $free->{id}), 201, $payment, 'is paid with nothing');

# The whole of it, in the database's own words.
is(
    $usher->psql(
        'SELECT count(*) FROM asset a WHERE balance <> (SELECT sum(CASE WHEN reservation_id IS NULL THEN amount ELSE -amount END)
    FROM ledger l WHERE l.user_id = a.user_id)'
    ),
    0,
    'every balance is the sum of its entries'
);
is(
    $usher->psql(
        q{SELECT count(*) FROM reservation r FULL JOIN payment p ON p.reservation_id = r.id
    WHERE (r.status = 'paid') <> (p.id IS NOT NULL)}
    ),
    0,
    'paid reservations and payments belong together'
);
is($usher->psql('SELECT sum(amount) FROM ledger_entry'), 0, 'the books balance');

done_testing;
