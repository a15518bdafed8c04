# Reservations: all seats or none, every refusal, the deadline, cancelling, one's own only, the optional Idempotency-Key.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Usher::Check;
use Usher::Stack;

my $usher = Usher::Stack->new(config => { claim_window => '2h', active_ttl => '2h' });
my ($concert) = $usher->concerts(1);
my ($schedule, @seats)        = $usher->schedule($concert, seats => 40, price => 1200);
my ($elsewhere, @other_seats) = $usher->schedule($concert, seats => 10, price => 1);
my @users = 7 .. 12;
my %token;
@token{@users} = $usher->admit(@users);

my $held = {
    id                 => 'int',
    schedule_id        => 'int',
    status             => '=held',
    total_price        => 'int',
    currency           => '=KRW',
    reserved_at        => 'time',
    expires_at         => 'time',
    expires_in_seconds => 'int',
    completed_at       => 'null',
    tickets            => [ { id => 'int', seat_id => 'int', location => 'string', price => 'int' } ],
};
sub as ($status, $completed = 'null') { +{ %$held, status => "=$status", completed_at => $completed } }
my %private = ('Cache-Control' => 'private, no-store');

sub reserve ($user, $seats, %o) {
    return $usher->post(
        '/v1/reservations',
        user  => $user,
        token => $token{$user},
        body  => { schedule_id => $o{schedule} // $schedule, seat_ids => $seats },
        (defined $o{key} ? (key => $o{key}) : ())
    );
}
sub show ($user, $id) { $usher->get("/v1/reservations/$id", user => $user) }

# A hold.
my $r = reserve(7, [ @seats[ 1, 0 ] ]);
shape_is($r, 201, $held, 'a hold of two seats', %private, Location => qr{^/v1/reservations/\d+$});
my $hold = $r->json;
header_is($r, 'Location', "/v1/reservations/$hold->{id}", 'Location is the reservation');
is_deeply([ @$hold{qw(schedule_id total_price)} ], [ $schedule, 2400 ], 'schedule and total price');
is_deeply(
    [ map { [ @$_{qw(seat_id location price)} ] } @{ $hold->{tickets} } ],
    [ [ $seats[0], 'A1', 1200 ], [ $seats[1], 'A2', 1200 ] ],
    'a ticket for each seat'
);
cmp_ok(abs($hold->{expires_in_seconds} - 300), '<=', 2, 'it is held for hold_ttl');
$r = show(7, $hold->{id});
shape_is($r, 200, $held, 'and can be read again', %private);
is_deeply({ %{ $r->json }, expires_in_seconds => 0 }, { %$hold, expires_in_seconds => 0 }, 'as the same reservation');
status_is($usher->head("/v1/reservations/$hold->{id}", user => 7), 200, 'HEAD of a reservation');

# Refusals. Nothing of them stays behind.
sub conflict_is ($r, $seats, $name) {
    problem_is($r, 409, 'seat-unavailable', $name, conflicting_seat_ids => ['int']);
    is_deeply(
        [ sort { $a <=> $b } @{ ($r->json // {})->{conflicting_seat_ids} // [] } ],
        [ sort { $a <=> $b } @$seats ],
        "$name: names them"
    );
}
$usher->schedule($concert, seats => 1);
my ($early, @early_seats) = $usher->schedule($concert, seats => 2, opens => 600);
my ($late, @late_seats) = $usher->schedule($concert, seats => 2, opens => -600, closes => -1);
unchanged_ok(
    $usher,
    'no refusal leaves anything behind',
    sub {
        conflict_is(reserve(8, [ $seats[0] ]),         [ $seats[0] ],      'a held seat');
        conflict_is(reserve(8, [ @seats[ 0, 5 ] ]),    [ $seats[0] ],      'a held seat and a free one');
        conflict_is(reserve(8, [ @seats[ 5, 1, 0 ] ]), [ @seats[ 0, 1 ] ], 'two held seats and a free one');
        conflict_is(reserve(7, [ $seats[0] ]),         [ $seats[0] ],      'a seat that the user already holds');
        problem_is(reserve(8, [ $seats[5] ], schedule => 999_999), 404, 'not-found', 'an unknown schedule');
        problem_is(reserve(8, [999_999_999]),              404, 'not-found', 'an unknown seat');
        problem_is(reserve(8, [ $seats[5], 999_999_999 ]), 404, 'not-found', 'an unknown seat beside a free one');
        invalid_is(reserve(8, [ $other_seats[0] ]),            'seat_ids', 'a seat of another schedule');
        invalid_is(reserve(8, [ $seats[5], $other_seats[0] ]), 'seat_ids', 'seats of two schedules');
        invalid_is(reserve(8, [ @seats[ 5, 5 ] ]),             'seat_ids', 'the same seat twice');
        problem_is(reserve(8, [ $early_seats[0] ], schedule => $early), 409, 'sales-closed', 'before the sale opens');
        problem_is(reserve(8, [ $late_seats[0] ],  schedule => $late),  409, 'sales-closed', 'after the sale closed');
        problem_is(reserve(8, [ @seats[ 5 .. 9 ] ]), 409, 'seat-limit', 'more seats than the limit in one request');
        problem_is(reserve(7, [ @seats[ 5 .. 7 ] ]),
            409, 'seat-limit', 'more seats than the limit with those already held');
    }
);
is($usher->redis('EXISTS', 's:{main}:999999:seats'), 0, 'nor does an unknown schedule leave a key in Redis');
shape_is(reserve(8, [ $seats[5] ]),      201, $held, 'after all those refusals the free seat is still free');
shape_is(reserve(7, [ @seats[ 6, 7 ] ]), 201, $held, 'up to the limit it goes');
shape_is(reserve(7, [ @other_seats[ 0 .. 3 ] ], schedule => $elsewhere), 201, $held, 'the limit is for each schedule');

# One's own only.
problem_is(show(8, $hold->{id}), 404, 'not-found', "another's reservation cannot be read");
unchanged_ok(
    $usher,
    "nor does trying to cancel another's change it",
    sub {
        problem_is($usher->delete("/v1/reservations/$hold->{id}", user => 8),
            404, 'not-found', "another's reservation cannot be cancelled");
    }
);
for my $id ('0', '-1', '999999', 'x', '1.0', '9223372036854775808', '%20') {
    problem_is(show(7, $id),                                      404, 'not-found', "reservations/$id is not there");
    problem_is($usher->delete("/v1/reservations/$id", user => 7), 404, 'not-found', "and cannot be cancelled ($id)");
}
$r = $usher->get('/v1/reservations', user => 7);
status_is($r, 200, 'the own reservations');
header_is($r, 'Cache-Control', 'private, no-store', 'are private');
is(kind_error($r->json->{items}, [$held]), '', 'each a reservation body');
is(scalar @{ $r->json->{items} },          3,  'all three of them');
is_deeply(
    [ map { $_->{id} } @{ $r->json->{items} } ],
    [ sort { $b <=> $a } map { $_->{id} } @{ $r->json->{items} } ],
    'newest first'
);
is_deeply($usher->get('/v1/reservations', user => 99)->json->{items}, [], 'nobody has those of others');
problem_is($usher->get('/v1/reservations'), 401, 'unauthenticated', 'nor without an identity');

# Cancel: seats are free at once; again is the same.
$r = $usher->delete("/v1/reservations/$hold->{id}", user => 7);
status_is($r, 204, 'cancel');
is($r->body, '', 'has no body');
$r = show(7, $hold->{id});
shape_is($r, 200, as('cancelled'), 'it reads as cancelled');
is($r->json->{expires_in_seconds}, 0, 'with no time left');
shape_is(reserve(9, [ @seats[ 0, 1 ] ]), 201, $held, 'the seats are free at once');
unchanged_ok(
    $usher,
    'cancelling again changes nothing',
    sub {
        status_is($usher->delete("/v1/reservations/$hold->{id}", user => 7), 204, 'cancel again');
    }
);
shape_is(reserve(7, [ $seats[12] ]), 201, $held, 'cancelled seats do not count against the limit');
is(scalar @{ show(7, $hold->{id})->json->{tickets} }, 2, 'a cancelled reservation still tells its tickets');

# Expiry: at the deadline, not at the next tick.
my $expiring = reserve(10, [ @seats[ 20, 21 ] ])->json;
shape_is(reserve(10, [ $seats[24] ]), 201, $held, 'another hold');
$usher->clock_advance(290);
is(show(10, $expiring->{id})->json->{status}, 'held', 'before the deadline it is held');
cmp_ok(show(10, $expiring->{id})->json->{expires_in_seconds}, '<=', 10, 'with little time left');
conflict_is(reserve(11, [ $seats[20] ]), [ $seats[20] ], 'and the seat is taken');
$usher->clock_advance(11);
shape_is(show(10, $expiring->{id}), 200, as('expired'), 'after the deadline it reads as expired');
is(show(10, $expiring->{id})->json->{expires_in_seconds}, 0, 'with no time left');
is((grep { $_->{id} == $expiring->{id} } @{ $usher->get('/v1/reservations', user => 10)->json->{items} })[0]{status},
    'expired', 'in the list, too');
my $successor = reserve(11, [ @seats[ 20, 22 ] ]);
shape_is($successor,                201, $held,         'another may book its seat, without any scheduler');
shape_is(show(10, $expiring->{id}), 200, as('expired'), 'the first stays expired');
status_is($usher->delete("/v1/reservations/$expiring->{id}", user => 10), 204, 'cancelling an expired one is 204');
is(show(11, $successor->json->{id})->json->{status}, 'held', 'and takes nothing from the successor');
$usher->redis('HDEL', "s:{main}:$schedule:seats", $seats[24]);
shape_is(reserve(12, [ $seats[24] ]), 201, $held, 'also where the doorman knows nothing of the expired hold');
shape_is(reserve(10, [ @seats[ 30 .. 33 ] ]), 201, $held, 'expired seats do not count against the limit');
is(($usher->scheduler('expire'))[0], 0, 'usher-scheduler expire');
is($usher->psql(q{SELECT count(*) FROM reservation WHERE status = 'held' AND expires_at <= usher_clock()}),
    0, 'closes what is due');
is(show(11, $successor->json->{id})->json->{status}, 'held', 'and nothing else');

# Paid.
$usher->charge(11, 10_000);
status_is(
    $usher->post('/v1/payments', user => 11, token => $token{11}, body => { reservation_id => $successor->json->{id} }),
    201, 'pay'
);
my $paid = show(11, $successor->json->{id});
shape_is($paid, 200, as(paid => 'time'), 'it reads as paid');
unchanged_ok(
    $usher,
    'a paid one cannot be cancelled away',
    sub {
        problem_is($usher->delete("/v1/reservations/@{[ $paid->json->{id} ]}", user => 11),
            409, 'already-paid', 'a paid one is not cancelled');
    }
);
$usher->clock_advance(400);
is(show(11, $successor->json->{id})->json->{status}, 'paid', 'paid does not expire');
conflict_is(reserve(12, [ $seats[20] ]), [ $seats[20] ], 'a sold seat');

# The Idempotency-Key is honoured.
my $first = reserve(12, [ $seats[35] ], key => 'k1');
shape_is($first, 201, $held, 'a hold with a key', 'Idempotent-Replayed' => undef);
unchanged_ok(
    $usher,
    'a replay changes nothing',
    sub {
        my $replay = reserve(12, [ $seats[35] ], key => 'k1');
        shape_is(
            $replay, 201, $held, 'the same request again: the same answer',
            'Idempotent-Replayed' => 'true',
            Location              => $first->header('Location')
        );
        is($replay->json->{id}, $first->json->{id}, 'the same reservation');
        problem_is(reserve(12, [ $seats[36] ], key => 'k1'),
            422, 'idempotency-key-reused', 'the key for another request');
        problem_is(reserve(12, [ @seats[ 35, 36 ] ], key => 'k1'),
            422, 'idempotency-key-reused', 'the key for the seat that it holds and one more');
        problem_is(reserve(12, [ $seats[35], 999_999 ], key => 'k3'),
            404, 'not-found', 'a held seat and one that is not there');
    }
);
status_is($usher->delete($first->header('Location'), user => 12), 204, 'cancel it');
is(
    reserve(12, [ $seats[35] ], key => 'k1')->json->{id},
    $first->json->{id},
    'the replay after it was cancelled makes no new hold'
);
my $blocker = reserve(10, [ $seats[30] ]);
conflict_is(reserve(12, [ $seats[30] ], key => 'k2'), [ $seats[30] ], 'a refusal with a key');
status_is($usher->delete($blocker->header('Location'), user => 10), 204, 'the seat is freed');
shape_is(
    reserve(12, [ $seats[30] ], key => 'k2'),
    201, $held,
    'and the key may be used again: refusals are not stored',
    'Idempotent-Replayed' => undef
);

# How long the queue token lives: a hold lengthens it, a hold that came to nothing does not.
my $now = sub { int(1000 * $usher->now) };
sub life ($user) { $usher->redis('ZSCORE', 'q:{main}:active', $user) }
my $short = $now->() + 60_000;
$usher->redis('ZADD', 'q:{main}:active', $short, 9);
my ($shut, @shut_seats) = $usher->schedule($concert, seats => 1, opens => -7200, closes => -3600);
problem_is(reserve(9, [999_999]),                           404, 'not-found',    'no such seat');
problem_is(reserve(9, [ $shut_seats[0] ], schedule => $shut), 409, 'sales-closed', 'not on sale');
is(life(9), $short, 'a hold that came to nothing leaves the token its life');
my $kept = reserve(9, [ $seats[37] ]);
shape_is($kept, 201, $held, 'a hold');
my $ends = sub ($r) { 1000 * $usher->psql('SELECT extract(epoch FROM expires_at) FROM reservation WHERE id = $1', $r->json->{id}) };
cmp_ok(life(9), '>=', $ends->($kept), 'keeps the token alive as long as it lasts');
status_is($usher->delete($kept->header('Location'), user => 9), 204, 'it is cancelled');

# As if its worker had died after the claim, 200 seconds ago.
$usher->redis('HSET', "s:{main}:$schedule:seats", $seats[38], ($now->() + 100_000) . ' 9');
$usher->redis('ZADD', 'q:{main}:active', $now->() + 105_000, 9);
my $retry = reserve(9, [ $seats[38] ], key => 'k9');
shape_is($retry, 201, $held, 'the retry of a hold that was cut off');
cmp_ok(life(9), '>=', $ends->($retry), 'keeps the token alive, too');
is(($usher->redis('HGET', "s:{main}:$schedule:seats", $seats[38]) =~ /^(\d+) 9$/)[0], int $ends->($retry), 'and the doorman knows until when');

# Cancelled while somebody loads the doorman, who had asked PostgreSQL before.
$usher->redis('UNLINK', "s:{main}:$schedule:seats");
status_is($usher->delete($retry->header('Location'), user => 9), 204, 'a cancellation at a doorman who knows nothing');
cmp_ok($usher->redis('HGET', "s:{main}:$schedule:seats", 'n') // 0, '>', 0, 'counts as a change, so that he is not told what was');

done_testing;
