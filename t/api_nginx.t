# What nginx adds: its own refusals in the same form, limits, request ids, security headers, the one-second cache of the line.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Select;
use Test::More;
use Time::HiRes qw(time);
use Usher::Check;
use Usher::Stack;

my $usher = Usher::Stack->new(workers => 1);
my $id    = qr/^[0-9a-f]{32}$/;
my $retry = { 'Retry-After' => qr/^[1-9]\d*$/ };

# One request as raw text.
sub raw ($text, $method = 'GET') { Usher::Http::exchange(Usher::Http::connect_to($usher->address), $text, $method) }

# Request ids and headers on everything.
my %answers = (
    'an answer'         => $usher->get('/v1/balance', user => 7),
    'the line'          => $usher->get('/v1/queue'),
    'a 401'             => $usher->get('/v1/balance'),
    'a 404 of a worker' => $usher->get('/v1/nothing'),
    'a 404 of nginx'    => $usher->get('/nothing'),
    'a 405'             => $usher->request(PUT => '/v1/balance', user => 7, body => {}),
    'a 413 of nginx'    => $usher->post('/v1/payments', user => 7, raw => ' ' x 17_000),
    'a 204'             => $usher->delete('/v1/queue/tokens/me', token => 'x'),
    'health'            => $usher->get('/healthz'),
);
for my $name (sort keys %answers) {
    my $r = $answers{$name};
    header_is($r, 'X-Request-Id',            $id,                    "X-Request-Id on $name");
    header_is($r, 'X-Content-Type-Options',  'nosniff',              "nosniff on $name");
    header_is($r, 'Content-Security-Policy', qr/default-src 'none'/, "a policy on $name");
    header_is($r, 'Referrer-Policy',         qr/./,                  "a referrer policy on $name");
    header_is($r, 'Server',                  qr/^(?:nginx|usher)$/,  "no version on $name");
    header_is($r, 'Status',                  undef,                  "no Status header on $name");
}
my %ids = map { ($_->header('X-Request-Id') => 1) } values %answers;
is(scalar keys %ids, scalar keys %answers, 'every answer has an id of its own');
my $own = $usher->get('/v1/balance', headers => [ 'X-Request-Id' => 'forged' ]);
problem_is($own, 401, 'unauthenticated', 'an error with a client-made X-Request-Id');
header_is($own, 'X-Request-Id', $id, "the client's own X-Request-Id is not trusted");
my $logged = $usher->get('/v1/balance', user => 7)->header('X-Request-Id');
like($usher->server_log, qr/\b$logged\b/, 'the id is in the log of the workers');
my $underscore = $usher->get('/v1/balance', headers => [ 'X_Request_Id' => 'forged', 'Proxy' => 'http://evil.test' ]);
header_is($underscore, 'X-Request-Id', $id, 'nor with underscores');

# nginx's own refusals.
problem_is($usher->get($_), 404, 'not-found', "GET $_")
    for '/', '/nothing', '/v1x', '/healthz/', '/.git/config', '/v1/../etc/passwd', '/v1', '//v1/queue';
problem_is($usher->post('/nothing', body => {}), 404, 'not-found',         'POST /nothing');
problem_is($answers{'a 413 of nginx'},           413, 'content-too-large', 'a body over 16 KiB');
my $chunks = join '', map { "1000\r\n" . ' ' x 4096 . "\r\n" } 1 .. 5;
problem_is(
    raw(
        "POST /v1/payments HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n"
    ),
    413,
    'content-too-large',
    'a body over 16 KiB in chunks'
);
my $head = $usher->head('/nothing');
status_is($head, 404, 'HEAD of nothing');
is($head->body, '', 'has no body');
for my $case (
    [ 'a request line that is none', "NONSENSE\r\n\r\n" ],
    [ 'no Host',                     "GET /v1/queue HTTP/1.1\r\nConnection: close\r\n\r\n" ],
    [ 'a header that is none', "GET /v1/queue HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: x\r\n\r\n" ],
    [ 'a huge header', "GET /v1/queue HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: " . 'a' x 70_000 . "\r\n\r\n" ],
    [ 'a huge path',   'GET /' . 'a' x 70_000 . " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" ],
    )
{
    my $r = raw($case->[1]);
    ok($r->status >= 400 && $r->status < 500, "$case->[0] is a 4xx") or diag $r->status;
    header_is($r, 'Content-Type', 'application/problem+json', "$case->[0] as a problem");
}
my $jwt_of_8k = $usher->jwt(user => 7, claims => { groups => 'x' x 5_900 });
status_is($usher->get('/v1/balance', jwt => $jwt_of_8k), 200, 'a token of ' . length($jwt_of_8k) . ' bytes fits');
my $chunked = raw(
    "POST /v1/balance/charges HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nAuthorization: Bearer "
        . $usher->jwt(user => 7)
        . "\r\nIdempotency-Key: c\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"amo\r\n8\r\nunt\":70}\r\n0\r\n\r\n",
    'POST'
);
status_is($chunked, 201, 'a body in chunks is as good as any');

# The line is answered from a cache of one second, which no client can influence.
my $fresh = Usher::Process::until_true(sub { my $r = $usher->get('/v1/queue'); $r->json->{issued} == 0 && $r });
ok($fresh, 'the line is empty');
$usher->join_line($_) for 1 .. 3;
my $served = sub { scalar(() = $usher->server_log =~ m{\broute=\S*/v1/queue"?\s}g) };
my ($before, $begin) = ($served->(), time);
my $answers = 0;
while (time - $begin < 0.7) {
    my $r = $usher->get(
        '/v1/queue?nonce=' . rand,
        headers => [
            'Cache-Control' => 'no-cache',
            Pragma          => 'no-cache',
            Cookie          => 'a=' . rand,
            Authorization   => 'Bearer ' . rand
        ]
    );
    $answers++ if $r->status == 200;
}
cmp_ok($answers,              '>=', 10, 'the line is asked often');
cmp_ok($served->() - $before, '<=', 2,  'and the workers hardly hear of it');
ok(Usher::Process::until_true(sub { $usher->get('/v1/queue')->json->{issued} == 3 }, 5),
    'within moments it is up to date');
status_is($usher->head('/v1/queue'), 200, 'HEAD from the cache');
my $balance = sub { $usher->get('/v1/balance', user => $_[0])->json->{balance} };
is_deeply([ $balance->(7), $balance->(8) ], [ 70, 0 ], 'nothing personal is cached');

# No worker listens.
$usher->get('/v1/queue');
$usher->kill_server;
for my $path ('/v1/balance', '/v1/concerts', '/healthz', '/readyz') {
    problem_is($usher->get($path, user => 7), 503, 'unavailable', "$path when no worker listens", headers => $retry);
}
problem_is(
    $usher->post('/v1/payments', user => 7, body => { reservation_id => 1 }),
    503, 'unavailable',
    'a POST when no worker listens',
    headers => $retry
);
header_is($usher->get('/v1/balance'), 'X-Request-Id', $id, 'with its id');
status_is($usher->get('/v1/queue'), 200, 'the line is still told from the cache');
$usher->start_server;
status_is($usher->get('/v1/balance', user => 7), 200, 'a new server is found at once');

# A worker that does not answer in time: 503, not 504.
kill 'STOP', $usher->worker_pids;
problem_is($usher->get('/v1/balance', user => 7), 503, 'unavailable', 'a worker that hangs', headers => $retry);
kill 'CONT', $usher->worker_pids;
ok(Usher::Process::until_true(sub { $usher->get('/v1/balance', user => 7)->status == 200 }), 'and goes on');

# Limits.
my $tight   = Usher::Stack->new(workers => 1, nginx => { rate_token => '1r/s', burst_token => 2 });
my $token   = 'A' x 22;
my @got     = map  { $tight->get('/v1/queue/tokens/me', token => $token) } 1 .. 6;
my @limited = grep { $_->status == 429 } @got;
cmp_ok(scalar @limited, '>=', 2, 'a token that asks too often is limited');
isnt($got[0]->status, 429, 'but not at its first request');
problem_is($limited[0], 429, 'too-many-requests', 'with a problem', headers => $retry);
header_is($limited[0], 'X-Request-Id', $id, 'and its id');
isnt($tight->get('/v1/queue/tokens/me', token => 'B' x 22)->status, 429, 'another token from the same address is not');

my $narrow = Usher::Stack->new(workers => 1, nginx => { rate_address => '1r/s', burst_address => 3 });
@got     = map  { $narrow->get('/v1/queue/tokens/me', token => chr(65 + $_) x 22) } 1 .. 8;
@limited = grep { $_->status == 429 } @got;
cmp_ok(scalar @limited, '>=', 3, 'an address that asks too often is limited whatever its tokens');
problem_is($limited[0], 429, 'too-many-requests', 'with a problem', headers => $retry);
for my $path (qw(/healthz /readyz /v1/queue)) {
    @limited = grep { $_->status == 429 } map { $narrow->get($path) } 1 .. 8;
    cmp_ok(scalar @limited, '>=', 3, "$path is limited by address, too");
    problem_is($limited[0], 429, 'too-many-requests', '... with a problem', headers => $retry);
}

# More people than the zone of limits has room for: who came last is let through, first with the bearer token, then with the queue's.
my $small = Usher::Stack->new(workers => 1, nginx => {});
my $conf  = Usher::Process::slurp("$small->{dir}/nginx/nginx.conf");
Usher::Process::spew("$small->{dir}/nginx/nginx.conf", $conf =~ s/zone=usher_caller:\K\d+m/32k/r);
$small->{nginx_process}->stop;
$small->start_nginx_again;
my %got;
$got{ $small->post('/v1/queue/tokens', user => $_)->status }++                          for 1 .. 400;
$got{ $small->get('/v1/queue/tokens/me', token => sprintf('%022d', $_))->status }++ for 1 .. 400;
is_deeply(\%got, { 201 => 400, 404 => 400 }, 'nobody is turned away when the zone of limits is full');

# The line when there is no copy yet: whoever waits for the first one looks again only after the lock's timeout.
kill 'STOP', $tight->worker_pids;
my @waiting = map { my $s = Usher::Http::connect_to($tight->address); syswrite $s, Usher::Http::bytes('GET', '/v1/queue', [ Host => 'x' ], undef); $s } 1 .. 10;
my $from = time;
kill 'CONT', $tight->worker_pids;
is(scalar(grep { readable($_, 5) } @waiting), 10, 'everybody is answered');
cmp_ok(time - $from, '<', 0.4, 'soon, though nobody is told when the copy is there');

sub readable ($socket, $seconds) { IO::Select->new($socket)->can_read($seconds) }

done_testing;
