# Bad input to every operation: the named 4xx, never a 5xx, and nothing changed. Paths, methods, bodies, content types.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Usher::Check;
use Usher::Stack;

my $usher = Usher::Stack->new(config => { claim_window => '2h', active_ttl => '2h' });
my ($concert) = $usher->concerts(1);
my ($schedule, @seats) = $usher->schedule($concert, seats => 10);
my $token = $usher->admit(7);
$usher->charge(7, 100_000);
my $hold = $usher->hold(7, $token, $schedule, $seats[9])->{id};

my %good = (    # operation => a body that would succeed
    '/v1/reservations'    => qq({"schedule_id":$schedule,"seat_ids":[$seats[0]]}),
    '/v1/balance/charges' => '{"amount":10}',
    '/v1/payments'        => qq({"reservation_id":$hold}),
);

sub post ($path, $raw, %o) { $usher->post($path, user => 7, token => $token, key => $usher->new_key, raw => $raw, %o) }

# Malformed JSON: one code for all of it, on every operation that takes a body.
sub malformed ($good) {
    my $open    = substr $good, 0, -1;
    my ($first) = $good =~ /^\{("\w+":[^,]*?)[,}]/;
    return (
        'empty'                     => '',
        'blanks'                    => "  \r\n",
        'cut short'                 => $open,
        'cut in a name'             => substr($good, 0, 5),
        'only a brace'              => '{',
        'trailing garbage'          => "$good x",
        'two objects'               => "$good$good",
        'trailing comma'            => "$open,}",
        'leading comma'             => "{,$first}",
        'single quotes'             => $good =~ tr/"/'/r,
        'bare names'                => $good =~ s/"//gr,
        'a comment'                 => "/* x */$good",
        'a line comment'            => "$good// x",
        'NaN'                       => qq($open,"x":NaN}),
        'Infinity'                  => qq($open,"x":Infinity}),
        'minus Infinity'            => qq($open,"x":-Infinity}),
        'leading zero'              => qq($open,"x":01}),
        'plus sign'                 => qq($open,"x":+1}),
        'hexadecimal'               => qq($open,"x":0x1}),
        'lone minus'                => qq($open,"x":-}),
        'a point without digits'    => qq($open,"x":1.}),
        'True'                      => qq($open,"x":True}),
        'bad escape'                => qq($open,"x":"\\q"}),
        'raw control character'     => qq($open,"x":"a\x01"}),
        'raw line feed in a string' => qq($open,"x":"a\nb"}),
        'a NUL byte'                => qq($open,"x":"a\0"}),
        'a NUL behind'              => "$good\0",
        'bad UTF-8'                 => qq($open,"x":"\xff\xfe"}),
        'overlong UTF-8'            => qq($open,"x":"\xc0\xaf"}),
        'a surrogate in UTF-8'      => qq($open,"x":"\xed\xa0\x80"}),
        'bad UTF-8 in a name'       => qq($open,"\xc3":1}),
        'a byte order mark'         => "\xef\xbb\xbf$good",
        'UTF-16'                    => join('', map {"$_\0"} split //, $good),
        'duplicate names'           => "$open,$first}",
        'duplicate names, nested'   => qq($open,"x":{"a":1,"a":2}}),
        'duplicate, one escaped'    => qq($open,"x":{"a":1,"\\u0061":2}}),
        'deep arrays'               => qq($open,"x":) . '[' x 3000 . ']' x 3000 . '}',
        'deep objects'              => qq($open,"x":) . '{"a":' x 1500 . '1' . '}' x 1500 . '}',
        'only open brackets'        => '[' x 16000,
        'an array'                  => "[$good]",
        'a number'                  => '7',
        'a string'                  => '"x"',
        'null'                      => 'null',
    );
}
for my $path (sort keys %good) {
    unchanged_ok(
        $usher,
        "$path: malformed bodies changed nothing",
        sub {
            my %bad = malformed($good{$path});
            problem_is(post($path, $bad{$_}), 400, 'malformed-json', "$path: $_") for sort keys %bad;
        }
    );
}

# Members of wrong types and out of range: 400 with the field's name.
my @not_an_id = (
    '0', '-1', '-0', '"1"', '1.0', '1e0', '1.5', '1e3', '9223372036854775808', '-9223372036854775808',
    '18446744073709551617',
    '1' . '0' x 400, 'null', 'true', 'false', '[]', '[1]', '{}', '{"id":1}', '""'
);
my %fields = (
    '/v1/reservations' => [
        map({ [ schedule_id => qq({"schedule_id":$_,"seat_ids":[$seats[0]]}) ] } @not_an_id),
        map({ [ seat_ids    => qq({"schedule_id":$schedule,"seat_ids":[$_]}) ] } @not_an_id),
        map({ [ seat_ids    => qq({"schedule_id":$schedule,"seat_ids":[$seats[0],$_]}) ] } @not_an_id),
        map({ [ seat_ids    => qq({"schedule_id":$schedule,"seat_ids":$_}) ] } '[]',
            'null', '{}', '"1"', '1', 'true', "[[$seats[0]]]", "\"$seats[0]\""),
        [ schedule_id => qq({"seat_ids":[$seats[0]]}) ],
        [ seat_ids    => qq({"schedule_id":$schedule}) ],
        [ seat_ids    => qq({"Seat_ids":[$seats[0]],"schedule_id":$schedule}) ],
        [ schedule_id => '{}' ],
        [ seat_ids    => qq({"schedule_id":$schedule,"seat_ids":[) . join(',', ($seats[0]) x 2) . ']}' ],
        [ seat_ids    => qq({"schedule_id":$schedule,"seat_ids":[) . join(',', map { $seats[0] } 1 .. 1500) . ']}' ],
    ],
    '/v1/balance/charges' => [
        map({ [ amount => qq({"amount":$_}) ] } @not_an_id, '10000001', '9223372036854775807'),
        [ amount => '{}' ],
        [ amount => '{"Amount":10}' ],
    ],
    '/v1/payments' => [
        map({ [ reservation_id => qq({"reservation_id":$_}) ] } @not_an_id),
        [ reservation_id => '{}' ],
        [ reservation_id => qq({"reservationId":$hold}) ],
    ],
);
for my $path (sort keys %fields) {
    unchanged_ok(
        $usher,
        "$path: wrong members changed nothing",
        sub {
            invalid_is(post($path, $_->[1]), $_->[0], "$path: " . substr $_->[1], 0, 70) for @{ $fields{$path} };
        }
    );
}
my $both = post('/v1/reservations', '{}')->json->{errors} // [];
is_deeply([ sort map { $_->{field} } @$both ], [ 'schedule_id', 'seat_ids' ], 'all wrong fields are named at once');
for my $many (5, 100, 101, 1000, 3000) {
    my $r = post('/v1/reservations', qq({"schedule_id":$schedule,"seat_ids":[) . join(',', 1 .. $many) . ']}');
    problem_is($r, 409, 'seat-limit', "$many seats in one request are too many for one person, known or not");
}
invalid_is(post('/v1/reservations', qq({"schedule_id":$schedule,"seat_ids":[) . join(',', 1 .. 3000, 1) . ']}'),
    'seat_ids', 'but an id that stands twice is no number of seats');

# The media type.
my @json_types = (
    'application/json',               'application/json; charset=utf-8',
    'application/json;charset=UTF-8', 'Application/JSON',
    'application/json ;charset="utf-8"'
);
my @not_json = (
    undef, '', 'text/plain', 'text/json', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x',
    'application/jsonp',
    'application/xml', 'json', 'application/', '/json', 'application/octet-stream', 'text/plain; application/json'
);
unchanged_ok(
    $usher,
    'bodies of other types changed nothing',
    sub {
        for my $path (sort keys %good) {
            problem_is(post($path, $good{$path}, type => $_),
                415, 'unsupported-media-type', "$path as " . ($_ // 'no type'))
                for @not_json;
        }
    }
);
invalid_is(post('/v1/balance/charges', '{"amount":0}', type => $_), 'amount', "$_ is JSON") for @json_types;

# Too large: nginx refuses, and so does the worker itself.
my $large = '{"amount":10,"x":"' . 'a' x 16_384 . '"}';
my $fits  = '{"amount":10,"x":"' . 'a' x (16_384 - 20) . '"}';
is(length $fits, 16_384, 'a body of exactly 16 KiB');
unchanged_ok(
    $usher,
    'large bodies changed nothing',
    sub {
        problem_is(post('/v1/balance/charges', $large), 413, 'content-too-large', 'a body over 16 KiB, through nginx');
        problem_is(post('/v1/balance/charges', $large . ' ' x 1_000_000),
            413, 'content-too-large', 'a body of a megabyte');
        my $r = $usher->fcgi(POST => '/v1/balance/charges', user => 7, key => 'large', raw => $large);
        problem_is($r, 413, 'content-too-large', 'a body over 16 KiB, straight to a worker');
    }
);
status_is(post('/v1/balance/charges', $fits), 201, 'a body of 16 KiB is read');

# Unknown members are ignored, at any place.
my $more = '{"x":null,"amount":10,"y":[1,{"z":"\u00e9\ud83c\udfb8"}],"n":-1.5e-3}';
status_is(post('/v1/balance/charges', $more),                           201, 'unknown members are ignored');
status_is(post('/v1/balance/charges', " \t\r\n{ \"amount\" : 10 } \n"), 201, 'white space is free');
status_is(post('/v1/balance/charges', '{"amount":10}', type => $_), 201, "sent as $_") for @json_types;

# Paths.
my @nowhere = (
    '/v1', '/v1/', '/v1/nothing', '/v1/concerts/', '/v1/concerts/1/', '/v1/concerts/1/seats', '/v1/concerts//1',
    '/v1//concerts',   '/v1/Concerts',
    '/v1/schedules/1', '/v1/schedules', '/v1/queue/', '/v1/queue/tokens/', '/v1/queue/tokens/you', '/v1/balance/',
    '/v1/balance/charges/1',
    '/v1/payments/1/x', '/v1/reservations/1/tickets', '/v1/concerts/1;x', '/v1/concerts/1%2Fschedules', '/v2/concerts',
    '/v1/concerts%20'
);
problem_is($usher->get($_, user => 7, token => $token),              404, 'not-found', "GET $_") for @nowhere;
problem_is($usher->post($_, user => 7, token => $token, body => {}), 404, 'not-found', "POST $_")
    for '/v1/nothing', '/v1/concerts/1/x';

# Methods. Allow names exactly what works there.
my %allow = (
    '/v1/queue/tokens'         => 'POST',
    '/v1/queue/tokens/me'      => 'DELETE GET HEAD',
    '/v1/concerts'             => 'GET HEAD',
    '/v1/concerts/1'           => 'GET HEAD',
    '/v1/concerts/1/schedules' => 'GET HEAD',
    '/v1/schedules/1/seats'    => 'GET HEAD',
    '/v1/reservations'         => 'GET HEAD POST',
    '/v1/reservations/1'       => 'DELETE GET HEAD',
    '/v1/balance'              => 'GET HEAD',
    '/v1/balance/entries'      => 'GET HEAD',
    '/v1/balance/charges'      => 'POST',
    '/v1/payments'             => 'POST',
    '/v1/payments/1'           => 'GET HEAD',
    '/v1/queue'                => 'GET HEAD',
    '/healthz'                 => 'GET HEAD',
    '/readyz'                  => 'GET HEAD',
);
unchanged_ok(
    $usher,
    'wrong methods changed nothing',
    sub {
        for my $path (sort keys %allow) {
            my %works = map { ($_ => 1) } split / /, $allow{$path};
            for my $method (grep { !$works{$_} } qw(GET POST PUT PATCH DELETE OPTIONS BREW)) {
                my $r =
                    $usher->request($method, $path, user => 7, token => $token, ($method =~ /^P/ ? (body => {}) : ()));
                problem_is($r, 405, 'method-not-allowed', "$method $path");
                my $allowed = join ' ', sort grep { $_ ne 'OPTIONS' } split /\s*,\s*/, $r->header('Allow') // '';
                is($allowed, $allow{$path}, "Allow of $path ($method)");
            }
            if (!$works{HEAD}) {
                my $r = $usher->head($path, user => 7, token => $token);
                status_is($r, 405, "HEAD $path");
                is($r->body, '', "HEAD $path has no body");
            }
        }
    }
);

# Health.
shape_is($usher->get('/healthz'), 200, { status => '=alive' }, 'GET /healthz');
shape_is($usher->get('/readyz'),  200, { status => '=ready' }, 'GET /readyz');
status_is($usher->head($_), 200, "HEAD $_") for '/healthz', '/readyz';
header_is($usher->get($_), 'Cache-Control', qr/no-store/, "$_ is never cached") for '/healthz', '/readyz';

# Identifiers of a request: the problem's trace_id, the log's request id.
my $r = $usher->get('/v1/concerts/999999', user => 7, token => $token);
problem_is($r, 404, 'not-found', 'an error to trace');
like($usher->server_log, qr/\Q$r->{json}{trace_id}\E/, 'its trace_id is in the log');
for my $secret ($token, $usher->jwt(user => 7), $good{'/v1/reservations'}) {
    ok(index($usher->server_log, $secret) < 0, 'no token and no body is in the log');
}
is(scalar(() = $usher->server_log =~ /\bstatus=5\d\d\b/g), 0, 'none of all this was a 5xx');

# PostgreSQL or Redis away: 503 with Retry-After, healthz alive, readyz names which; and all is well when they are back.
$usher->{redis}->stop;
for my $request (
    [ POST => '/v1/queue/tokens' ],
    [ GET  => '/v1/concerts' ],
    [ GET  => '/v1/queue/tokens/me' ],
    [ GET  => "/v1/schedules/$schedule/seats" ]
    )
{
    problem_is(
        $usher->request(@$request, user => 7, token => $token),
        503, 'unavailable',
        "@$request without Redis",
        headers => { 'Retry-After' => qr/^\d+$/ }
    );
}
status_is($usher->get('/healthz'), 200, 'healthz without Redis');
my $ready = $usher->get('/readyz');
status_is($ready, 503, 'readyz without Redis');
like($ready->body, qr/redis/i, 'names Redis');
status_is($usher->get('/v1/balance', user => 7), 200, 'the balance needs no Redis');
$usher->{redis}->start;
ok(Usher::Process::until_true(sub { $usher->get('/v1/concerts', user => 7, token => $token)->status == 200 }),
    'Redis is back: so are we');

$usher->{postgres}->stop;
for my $request ([ GET => '/v1/balance' ], [ GET => '/v1/reservations' ]) {
    problem_is(
        $usher->request(@$request, user => 7),
        503, 'unavailable',
        "@$request without PostgreSQL",
        headers => { 'Retry-After' => qr/^\d+$/ }
    );
}
problem_is(
    post('/v1/balance/charges', '{"amount":10}'),
    503, 'unavailable',
    'a charge without PostgreSQL',
    headers => { 'Retry-After' => qr/^\d+$/ }
);
status_is($usher->post('/v1/queue/tokens', user => 9), 201, 'the line needs no PostgreSQL');
status_is($usher->get('/healthz'),                     200, 'healthz without PostgreSQL');
$ready = $usher->get('/readyz');
status_is($ready, 503, 'readyz without PostgreSQL');
like($ready->body, qr/postgres/i, 'names PostgreSQL');
$usher->{postgres}->start;
ok(Usher::Process::until_true(sub { $usher->get('/v1/balance', user => 7)->status == 200 }),
    'PostgreSQL is back: so are we');
status_is($usher->get('/readyz'), 200, 'and ready');

done_testing;
