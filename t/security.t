# Hands off what is somebody else's: every operation of the route table, tried with another user's token, reservation, payment,
# cursor and key; and tokens and identities that somebody made up.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Digest::SHA  qw(hmac_sha256);
use JSON::PP     ();
use MIME::Base64 qw(decode_base64 decode_base64url encode_base64url);
use Test::More;
use Usher::Check;
use Usher::Stack;

my $usher = Usher::Stack->new(workers => 1);
my ($victim, $attacker) = (7, 8);
my ($concert) = $usher->concerts(3);
my ($schedule, @seats) = $usher->schedule($concert, seats => 20, price => 1000);
$usher->charge($_, 100_000) for $victim, $attacker;

# The victim has paid once (which used a token up), is admitted again and holds two seats.
my $used    = $usher->admit($victim);
my $bought  = $usher->hold($victim, $used, $schedule, $seats[0]);
my $payment = $usher->post(
    '/v1/payments',
    user  => $victim,
    token => $used,
    key   => 'the victim pays',
    body  => { reservation_id => $bought->{id} }
)->json;
my ($token, $own) = $usher->admit($victim, $attacker);
my $hold = $usher->hold($victim, $token, $schedule, @seats[ 1, 2 ]);

my @me = (user => $attacker, token => $own);

# The answer without what is particular to the request.
sub essence ($r) { $r->status . ' ' . $r->body =~ s/"trace_id":"[^"]*"//r }

# Another's thing and a thing that is not there get the same answer.
sub hidden ($method, $there, $not_there, $name, %o) {
    my ($is, $is_not) = map { $usher->request($method, $_, @me, %o) } $there, $not_there;
    problem_is($is, 404, 'not-found', $name);
    is(essence($is), essence($is_not), "$name: cannot be told from what does not exist");
}

# A gated operation with every pass that is not the caller's own.
sub gated ($method, $path, %o) {
    my $try = sub (@with) { $usher->request($method, $path, @with, %o) };
    my $is  = "$method $path";
    problem_is($try->(user => $attacker, token => $token), 403, 'queue-token-mismatch', "$is with the victim's token");
    problem_is($try->(user => $attacker, token => $used), 401, 'queue-token-invalid', "$is with a token the victim used up");
    problem_is($try->(user => $victim, token => $own), 403, 'queue-token-mismatch', "$is: and the other way round");
    problem_is($try->(token => $token), 401, 'unauthenticated', "$is with the victim's token alone");
    problem_is($try->(user  => $attacker, headers => [ Cookie => "Queue-Token=$token", 'X-Queue-Token' => $token ]),
        401, 'queue-token-required', "$is with the victim's token where it does not belong");
    my $twice = $try->(user => $attacker, headers => [ 'Queue-Token' => $token, 'Queue-Token' => $own ]);
    ok($twice->status == 403 || $twice->status == 400, "$is with two tokens: the own one does not cover the other")
        or diag $twice->status . ' ' . $twice->body;
}

my $amount = 0;
my %mine   = (
    'GET /v1/queue' => sub {
        my $r = $usher->get('/v1/queue', user => $attacker, token => $token);
        status_is($r, 200, 'the line is for everybody');
        unlike($r->body, qr/$token|"user|"token/, 'and names nobody');
    },
    'POST /v1/queue/tokens' => sub {
        my $r = $usher->post('/v1/queue/tokens', user => $attacker, token => $token, body => { user => $victim, user_id => $victim });
        status_is($r, 200, 'a place is the place of the JWT\'s user');
        is($r->json->{token}, $own, 'whatever the body and another\'s token say');
    },
    'GET /v1/queue/tokens/me' => sub {
        problem_is($usher->get('/v1/queue/tokens/me', user => $victim), 401, 'queue-token-required',
            'a JWT does not find a place; only the token does');
        problem_is($usher->get('/v1/queue/tokens/me', user => $attacker, token => $used), 404, 'queue-token-invalid',
            'a used-up token is over for everybody');
        my $r = $usher->get('/v1/queue/tokens/me', token => $token);
        unlike($r->body, qr/user|"sub"/, 'who finds a token does not learn whose it is');
    },
    'DELETE /v1/queue/tokens/me' => sub {
        my $forged = substr($token, 0, 21) . ($token =~ /A$/ ? 'Q' : 'A');
        status_is($usher->delete('/v1/queue/tokens/me', token => $_), 204, 'giving up what is not one\'s own is no error')
            for $forged, $used, 'A' x 22;
        problem_is($usher->delete('/v1/queue/tokens/me', user => $victim), 401, 'queue-token-required',
            'a JWT alone gives no place up');
        is($usher->get('/v1/queue/tokens/me', token => $token)->json->{status}, 'active', 'and the victim is still there');
    },
    'GET /v1/concerts'                => sub { gated(GET => '/v1/concerts?page=0&size=5') },
    'GET /v1/concerts/{id}'           => sub { gated(GET => "/v1/concerts/$concert") },
    'GET /v1/concerts/{id}/schedules' => sub { gated(GET => "/v1/concerts/$concert/schedules") },
    'GET /v1/schedules/{id}/seats'    => sub {
        gated(GET => "/v1/schedules/$schedule/seats");
        unlike($usher->get("/v1/schedules/$schedule/seats?all=true", @me)->body, qr/user|holder/, 'seats do not tell who has them');
    },
    'POST /v1/reservations' => sub {
        my %seat = (body => { schedule_id => $schedule, seat_ids => [ $seats[5] ], user_id => $victim });
        gated(POST => '/v1/reservations', %seat);
        problem_is(
            $usher->post('/v1/reservations', @me, body => { schedule_id => $schedule, seat_ids => [ $seats[1] ] }),
            409, 'seat-unavailable', 'a held seat is not taken over',
            conflicting_seat_ids => ['int']
        );
    },
    'GET /v1/reservations' => sub {
        is_deeply($usher->get("/v1/reservations?$_", @me)->json->{items}, [], "the list has own ones only ($_)")
            for '', "user_id=$victim", "user=$victim&all=true";
    },
    'GET /v1/reservations/{id}' => sub {
        hidden(GET => "/v1/reservations/$_", '/v1/reservations/999999', "reservation $_ of the victim") for $hold->{id}, $bought->{id};
        status_is($usher->get("/v1/reservations/$hold->{id}?user_id=$victim", @me), 404, 'no parameter opens it');
    },
    'DELETE /v1/reservations/{id}' => sub {
        hidden(DELETE => "/v1/reservations/$_", '/v1/reservations/999999', "cancelling reservation $_ of the victim")
            for $hold->{id}, $bought->{id};
    },
    'GET /v1/balance' => sub {
        is($usher->get("/v1/balance?user_id=$_", @me)->json->{balance}, 100_000 + $amount, 'a balance is the JWT\'s user\'s') for $victim;
    },
    'GET /v1/balance/entries' => sub {
        my $next = $usher->get('/v1/balance/entries?limit=1', user => $victim)->json->{next};
        ok($next, 'the victim has a cursor');
        invalid_is($usher->get("/v1/balance/entries?after=$next", @me), 'after', "the victim's cursor is no cursor of mine");
        my $of_concerts = $usher->get('/v1/concerts?limit=1', @me)->json->{next};
        invalid_is($usher->get("/v1/balance/entries?after=$of_concerts", @me), 'after', 'nor one of another listing');
        invalid_is($usher->get("/v1/concerts?after=$next", @me), 'after', 'and not the other way round');
    },
    'POST /v1/balance/charges' => sub {
        my %charge = (key => 'the victim pays', body => { amount => 10, user_id => $victim });
        my $r      = $usher->post('/v1/balance/charges', @me, %charge);
        status_is($r, 201, "the victim's key is free for me: keys are each user's own");
        header_is($r, 'Idempotent-Replayed', undef, 'and nothing of the victim is replayed');
        is($r->json->{balance}, 100_000 + ($amount += 10), 'the money goes into my wallet');
    },
    'POST /v1/payments' => sub {
        gated(POST => '/v1/payments', body => { reservation_id => $hold->{id} });
        gated(POST => '/v1/payments', body => { reservation_id => $bought->{id} }, key => 'the victim pays');
        my $r = $usher->post('/v1/payments', @me, body => { reservation_id => $hold->{id} });
        problem_is($r, 404, 'not-found', "paying the victim's reservation from my wallet");
        is(essence($r), essence($usher->post('/v1/payments', @me, body => { reservation_id => 999_999 })),
            'which cannot be told from one that does not exist');
        problem_is(
            $usher->post('/v1/payments', @me, key => 'another key', body => { reservation_id => $bought->{id} }),
            404, 'not-found', "the victim's payment is not told"
        );
    },
    'GET /v1/payments/{id}' => sub {
        hidden(GET => "/v1/payments/$payment->{id}", '/v1/payments/999999', "the victim's payment");
    },
    'GET /healthz' => sub { shape_is($usher->get('/healthz', @me), 200, { status => '=alive' }, 'healthz tells nothing else') },
    'GET /readyz'  => sub { shape_is($usher->get('/readyz',  @me), 200, { status => '=ready' }, 'readyz tells nothing else') },
);

# --- every row of the table ---

my $table = Usher::Process::slurp(Usher::Stack::source() . '/src/api/route.c');
my %needs;
while ($table =~ /^ +\{(?:METHOD_)?(READ|POST|DELETE), +"([^"]+)", +([^,]+?), +\w+\},$/mg) {
    my $method = $1 eq 'READ' ? 'GET' : $1;
    $needs{"$method $2"} = $3;
}
is(scalar keys %needs, scalar(() = $table =~ /^ +\{.*"\/.*\},$/mg), 'every line of the route table is understood');
is_deeply([ sort keys %mine ], [ sort keys %needs ], 'every operation has its case here');

for my $row (sort keys %needs) {
    my %free = map { ($_ => 1) } 'POST /v1/balance/charges';
    if ($free{$row}) { $mine{$row}->() }
    else {
        unchanged_ok($usher, "$row: what is the victim's stays as it was", $mine{$row});
    }
    next if $needs{$row} !~ /NEEDS_USER/;
    my ($method, $path) = split / /, $row =~ s/\{id\}/1/r;
    my @elsewhere = (
        'X-User-Id'        => $victim,
        'X-Forwarded-User' => $victim,
        'Remote-User'      => $victim,
        Cookie             => 'jwt=' . $usher->jwt(user => $victim),
        'X-Authorization'  => 'Bearer ' . $usher->jwt(user => $victim),
    );
    problem_is(
        $usher->request($method, "$path?access_token=" . $usher->jwt(user => $victim), token => $token, headers => \@elsewhere),
        401, 'unauthenticated', "$row: an identity is a bearer token in Authorization and nothing else"
    );
}
is($usher->get('/v1/balance', user => $victim)->json->{balance}, 99_000, "the victim's money is all there");
is($usher->get('/v1/queue/tokens/me', token => $token)->json->{status}, 'active', 'and so is the place in the line');

# --- guessing queue tokens ---

# The text of 16 bytes with one bit changed.
sub flipped ($text, $bit) {
    my $bytes = decode_base64url($text);
    vec($bytes, $bit, 1) ^= 1;
    return encode_base64url($bytes);
}
my %answers;
for my $bit (0 .. 127) {
    my $guess = flipped($token, $bit);
    $answers{ essence($usher->fcgi(GET => '/v1/queue/tokens/me', token => $guess)) }++;
    $answers{ 'gate: ' . essence($usher->fcgi(GET => "/v1/concerts/$concert", user => $victim, token => $guess)) }++;
}
is(scalar keys %answers, 2, 'a token with one bit changed is like any other text: always the same two answers')
    or diag explain \%answers;
like((join ' ', sort keys %answers), qr/^404 \S+queue-token-invalid.* gate: 401 \S+queue-token-invalid/, 'and these are refusals');
my @alphabet = ('A' .. 'Z', 'a' .. 'z', 0 .. 9, '-', '_');
my $last     = substr $token, -1;
my @spelled  = grep { $usher->fcgi(GET => '/v1/queue/tokens/me', token => substr($token, 0, 21) . $_)->status == 200 } @alphabet;
is_deeply(\@spelled, [$last], 'a token has one spelling only');
status_is($usher->fcgi(GET => '/v1/queue/tokens/me', token => $_->[1]), 404, "a token with $_->[0]")
    for [ 'padding', "$token==" ], [ 'a space behind', "$token " ], [ 'a space before', " $token" ], [ 'its half', substr $token, 0, 11 ],
    [ 'itself behind', "$token$token" ], [ 'the other alphabet', $token =~ tr{_-}{/+}r . '=' ];

# Secrets are compared in constant time: no plain comparison touches a MAC or a signature.
for my $file ('src/api/jwt.c', 'src/sale/token.c') {
    my $text = Usher::Process::slurp(Usher::Stack::source() . "/$file");
    like($text, qr/CRYPTO_memcmp/, "$file compares in constant time");
    unlike($text, qr/(?<!CRYPTO_)\b(?:mem|str|strn)cmp\([^;]*\b(?:mac|signature|hmac)\b/, "$file compares no MAC in another way");
}

done_testing;
