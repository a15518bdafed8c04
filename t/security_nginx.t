# Shapes at nginx' door: request smuggling, malformed HTTP, other spellings of a path, slow clients. What nginx refuses never
# reaches a worker, and nothing is ever read as a second request.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep time);
use Usher::Check;
use Usher::Stack;

use constant { SLOW => 200, BYSTANDER_MAX => 2 };

my $dir    = File::Temp->newdir;
my $access = "$dir/access.log";
chmod 0755, "$dir";
my $usher  = Usher::Stack->new(workers => 1, nginx => { access_log => "$access usher" });
my $jwt    = $usher->jwt(user => 7);
my $token  = $usher->join_line(7);

# A client that does not come to the end of its request.
sub slow_client ($text, $at = $usher) {
    my $socket = IO::Socket::INET->new(PeerAddr => $at->address) or die "connect: $!\n";
    syswrite $socket, $text;
    $socket->blocking(0);
    return $socket;
}

# What comes back for these bytes until nginx closes; '' when it closes without a word.
sub raw ($bytes) {
    my $socket = Usher::Http::connect_to($usher->address);
    syswrite $socket, $bytes;
    return eval { Usher::Http::read_all($socket, 15) } // "no end: $@";
}

# The statuses of all answers in it; bodies do not end with a line end.
sub statuses ($text) { [ $text =~ m{HTTP/1\.1 (\d{3}) }g ] }

# How many requests the workers have seen.
sub seen { scalar(() = $usher->server_log =~ /^\S+ request /mg) }

# --- smuggling ---

# One request, in which a careless reader would find a second one.
my $inner = "GET /v1/smuggled HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $jwt\r\n\r\n";
my $post  = "POST /v1/balance/charges HTTP/1.1\r\nHost: usher.test\r\nAuthorization: Bearer $jwt\r\n"
    . "Idempotency-Key: smuggled\r\nContent-Type: application/json\r\n";
my $json  = '{"amount":10}';
my $long  = length $inner;
my %shapes = (
    'Content-Length and chunked'        => "Content-Length: $long\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n$inner",
    'chunked and Content-Length'        => "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n$inner",
    'two lengths'                       => "Content-Length: 0\r\nContent-Length: $long\r\n\r\n$inner",
    'two lengths that agree'            => "Content-Length: $long\r\nContent-Length: $long\r\n\r\n$inner",
    'a list of lengths'                 => "Content-Length: $long, $long\r\n\r\n$inner",
    'a length with a sign'              => "Content-Length: +$long\r\n\r\n$inner",
    'a negative length'                 => "Content-Length: -1\r\n\r\n$inner",
    'a hexadecimal length'              => "Content-Length: 0x10\r\n\r\n$inner",
    'an empty length'                   => "Content-Length: \r\n\r\n$inner",
    'a length with a point'             => "Content-Length: 1.0\r\n\r\n$inner",
    'a length beyond all numbers'       => "Content-Length: 99999999999999999999\r\n\r\n$inner",
    'two encodings'                     => "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n$inner",
    'chunked twice'                     => "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n$inner",
    'an encoding before chunked'        => "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n$inner",
    'an encoding nobody knows'          => "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n$inner",
    'identity'                          => "Transfer-Encoding: identity\r\nContent-Length: $long\r\n\r\n$inner",
    'a vertical tab before chunked'     => "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n$inner",
    'quotes around chunked'             => qq(Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n$inner),
    'a space before the colon'          => "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n$inner",
    'a space before a length\'s colon'  => "Content-Length : $long\r\n\r\n$inner",
    'a folded header'                   => "X: 1\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n$inner",
    'a folded length'                   => "Content-Length:\r\n $long\r\n\r\n$inner",
    'a name with a space'               => "Content Length: $long\r\n\r\n$inner",
    'a name with a control character'   => "Content-Length\x01: $long\r\n\r\n$inner",
    'a name with a NUL'                 => "Content-Length\0: $long\r\n\r\n$inner",
    'a NUL in a value'                  => "X: a\0b\r\nContent-Length: $long\r\n\r\n$inner",
    'a bare CR in a value'              => "X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n$inner",
    'a chunk size that is none'         => "Transfer-Encoding: chunked\r\n\r\nzz\r\n$inner",
    'a negative chunk size'             => "Transfer-Encoding: chunked\r\n\r\n-1\r\n$inner",
    'a chunk size beyond all numbers'   => "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n$inner",
    'a chunk that is longer than it says' => "Transfer-Encoding: chunked\r\n\r\nd\r\n$json$inner\r\n0\r\n\r\n",
    'a chunk size with 0x'              => "Transfer-Encoding: chunked\r\n\r\n0xd\r\n$json\r\n0\r\n\r\n$inner",
);
for my $shape (sort keys %shapes) {
    my $before = seen();
    my $answer = raw("$post$shapes{$shape}");
    my $got    = statuses($answer);
    like("@$got", qr/^(?:400|413|501)$/, "$shape: one refusal, and nothing after it") or diag substr $answer, 0, 600;
    is(seen(), $before, "$shape: no worker hears of it");
}
is($usher->get('/v1/balance', user => 7)->json->{balance}, 0, 'none of them charged anything');

# Headers that only look like others are ignored, not read as them.
for my $look (qw(Transfer_Encoding Content_Length Transfer-Encodin X-Transfer-Encoding)) {
    my $got = statuses(raw("GET /healthz HTTP/1.1\r\nHost: x\r\n$look: chunked\r\nConnection: close\r\n\r\n"));
    is("@$got", '200', "$look is not another header");
}

# Bodies in chunks, as odd as the standard allows; trailers are not headers.
my $n = 0;
for my $case (
    [ 'one chunk',             "d\r\n$json\r\n0\r\n\r\n" ],
    [ 'upper case and zeros',  "000D\r\n$json\r\n00\r\n\r\n" ],
    [ 'an extension',          qq(d;a=b;c="d"\r\n$json\r\n0;x\r\n\r\n) ],
    [ 'byte by byte',          join('', map {"1\r\n$_\r\n"} split //, $json) . "0\r\n\r\n" ],
    [ 'trailers',              "d\r\n$json\r\n0\r\nAuthorization: Bearer x\r\nContent-Length: 9\r\n\r\n" ],
    )
{
    my $r = raw($post =~ s/smuggled/"chunk-" . ++$n/er . "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n$case->[1]");
    is("@{ statuses($r) }", '201', "a body in chunks: $case->[0]") or diag $r;
}
is($usher->get('/v1/balance', user => 7)->json->{balance}, 10 * $n, 'each is charged once');
my $before = seen();
for my $cut ("Content-Length: 100\r\n\r\n$json", "Transfer-Encoding: chunked\r\n\r\n20\r\n$json", "Transfer-Encoding: chunked\r\n\r\nd\r\n$json\r\n") {
    my $socket = Usher::Http::connect_to($usher->address);
    syswrite $socket, $post . $cut;
    close $socket;
}
# A request that comes after them is answered after them.
my $marker = $usher->get('/healthz')->header('X-Request-Id');
ok(Usher::Process::until_true(sub { $usher->server_log =~ /^\S+ request id=$marker /m }), 'a request after bodies that were cut off');
is(seen(), $before + 1, 'a body that does not come to its end never reaches a worker');

# Several requests in one connection keep apart.
$usher->charge(8, 800);
my $pipelined = join '', map { "GET /v1/balance HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " . $usher->jwt(user => $_) . "\r\n\r\n" } 8, 7, 9;
my $answers = raw($pipelined . "GET /v1/balance HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
is_deeply([ $answers =~ /"balance":(\d+)/g ], [ 800, 10 * $n, 0 ], 'four requests at once: each gets its own answer')
    or diag $answers;
is(statuses($answers)->[3], 401, 'and the last one, without an identity, inherits none');

# --- request lines ---

for my $case (
    [ "GET http://evil.test/v1/balance HTTP/1.1\r\nHost: x", '401', 'an absolute address is its path' ],
    [ "GET http://evil.test/nothing HTTP/1.1\r\nHost: x",    '404', 'an absolute address elsewhere' ],
    [ "GET http://evil.test HTTP/1.1\r\nHost: x",            '404', 'an absolute address without a path' ],
    [ "GET HTTP://[::1]:80/v1/balance HTTP/1.1\r\nHost: x",  '401', 'an absolute address with IPv6' ],
    [ "GET ftp://x/v1/balance HTTP/1.1\r\nHost: x",          '401', 'another scheme is no other server' ],
    [ "CONNECT evil.test:443 HTTP/1.1\r\nHost: x",           '40[05]', 'CONNECT' ],
    [ "TRACE /v1/balance HTTP/1.1\r\nHost: x",               '405', 'TRACE' ],
    [ "OPTIONS * HTTP/1.1\r\nHost: x",                       '400', 'OPTIONS *' ],
    [ "GET v1/balance HTTP/1.1\r\nHost: x",                  '400', 'a path without /' ],
    [ "get /v1/balance HTTP/1.1\r\nHost: x",                 '400', 'a method in lower case' ],
    [ "GET  /v1/balance HTTP/1.1\r\nHost: x",                '40[01]', 'two spaces' ],
    [ "GET /v1/bal ance HTTP/1.1\r\nHost: x",                '400', 'a space in the path' ],
    [ "GET /v1/balance\0 HTTP/1.1\r\nHost: x",               '400', 'a NUL in the path' ],
    [ "GET /v1/balance\x7f HTTP/1.1\r\nHost: x",             '40[04]', 'DEL in the path' ],
    [ "GET /v1/balance\t HTTP/1.1\r\nHost: x",               '400', 'a tab in the path' ],
    [ "GET /v1/balance HTTP/2.0\r\nHost: x",                 '505', 'another version' ],
    [ "GET /v1/balance HTTP/1.1x\r\nHost: x",                '400', 'a version that is none' ],
    [ "GET /v1/balance HTTP/1.1\r\nHost: a\r\nHost: b",      '400', 'two hosts' ],
    [ "GET /v1/balance HTTP/1.1\r\nHost: a b",               '400', 'a host with a space' ],
    [ "GET /v1/balance HTTP/1.1\r\nHost: a/../b",            '400', 'a host with a path' ],
    [ "GET /v1/balance HTTP/1.1\r\nHost: \xff\xfe",          '40[01]', 'a host of bytes' ],
    [ "GET /v1/balance HTTP/1.1",                            '400', 'no host' ],
    [ "GET /v1/balance HTTP/1.1\r\nHost: x\r\n: x",          '40[01]', 'a header without a name' ],
    [ "GET /v1/balance HTTP/1.1\r\nHost: x\r\nno colon",     '40[01]', 'a header without a colon' ],
    )
{
    my ($text, $status, $name) = @$case;
    my $answer = raw("$text\r\nConnection: close\r\n\r\n");
    like("@{ statuses($answer) }", qr/^$status$/, $name) or diag $answer;
    unlike($answer, qr{<html|nginx/}i, "$name: not nginx' own page");
}
my $ancient = raw("GET /v1/balance\r\n");
unlike($ancient, qr/"balance"/, 'HTTP/0.9 gets nothing personal');
my $bare = raw("GET /v1/balance HTTP/1.1\nHost: x\nAuthorization: Bearer $jwt\nConnection: close\n\n");
like("@{ statuses($bare) }", qr/^(?:200|400)$/, 'line ends without CR: read in one way or refused');
my $early = raw("\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
is("@{ statuses($early) }", '200', 'an empty line before a request is passed over (RFC 9112 section 2.2)');

# --- headers twice, headers and addresses too long, versions, a body that is announced ---

my $mine   = "Authorization: Bearer " . $usher->jwt(user => 11) . "\r\n";
my $charge = "POST /v1/balance/charges HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${mine}Content-Type: application/json\r\n";
for my $case (
    [ "GET /v1/balance HTTP/1.1\r\nHost: x\r\nConnection: close\r\n$mine$mine",             400, 'two Authorizations' ],
    [ "GET /v1/balance?" . 'a' x 17_000 . " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", 414, 'an address that is too long' ],
    [ "GET /v1/balance HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: " . 'a' x 17_000 . "\r\n", 431, 'a header that is too long' ],
    [ "TRACE /v1/balance HTTP/1.1\r\nHost: x\r\nConnection: close\r\n",                      405, 'TRACE' ],
    [ "GET /v1/balance HTTP/9.9\r\nHost: x\r\nConnection: close\r\n",                        505, 'a version of the future' ],
    [ "${charge}Transfer-Encoding: gzip\r\n",                                               501, 'an encoding alone' ],
    )
{
    my ($text, $status, $name) = @$case;
    my $r = Usher::Response->parse(raw("$text\r\n"));
    problem_is($r, $status, $status == 405 ? 'method-not-allowed' : 'invalid-request', "$name is a problem");
    header_is($r, 'X-Content-Type-Options', 'nosniff', '... with the headers of every answer');
}
# nginx passes on the first of them, or both as one text; either way it is the same key the next time.
for my $times (1, 2) {
    my $r = Usher::Response->parse(raw("${charge}Idempotency-Key: first\r\nIdempotency-Key: second\r\nContent-Length: 12\r\n\r\n{\"amount\":5}"));
    status_is($r, 201, 'two Idempotency-Keys');
}
my $announced = raw("${charge}Idempotency-Key: e\r\nExpect: 100-continue\r\nContent-Length: 12\r\n\r\n{\"amount\":5}");
like($announced, qr{^HTTP/1\.1 100 [^\r]*\r\n\r\nHTTP/1\.1 201 }, 'a body that is announced is asked for');
is($usher->get('/v1/balance', user => 11)->json->{balance}, 10, 'each of the two charges is made once');
my $too_large = raw("${charge}Idempotency-Key: f\r\nExpect: 100-continue\r\nContent-Length: 20000\r\n\r\n");
like($too_large, qr{^HTTP/1\.1 413 }, 'one that is too large is refused before it is sent');
my $old = raw("GET /v1/balance HTTP/1.0\r\n$mine\r\n");
like($old, qr{^HTTP/1\.1 200 .*"balance":10\b}s, 'HTTP/1.0, without a Host');
unlike($old, qr/^Transfer-Encoding:/mi, '... gets no chunks');

# --- spellings of a path ---

for my $path (
    qw(/v1/%62alance /%76%31/balance /v1//balance //v1/balance /v1/./balance /v1/x/../balance /v1/queue/../balance /v1/balance/
    /v1/balance%00 /v1/balance%2f /v1/balance;x=1 /v1/balance%20 /v1/balance%0d%0aX:1 /v1/BALANCE /V1/balance /v1/balance.json
    /v1/../v1/balance /v1/balance/%2e%2e /v1/balance/../balance /..%2fv1/balance /v1/balance%3fx /v1/balance%23)
    )
{
    my $r = $usher->get($path, user => 7);
    like($r->status, qr/^40[04]$/, "$path is not /v1/balance") or diag $r->body;
}
for my $path (qw(/v1/x/../queue /v1/./queue /v1/%71ueue /v1/queue/tokens/..), '/v1/queue?x', '/v1/queue#x') {
    my $r = $usher->get($path, user => 7, token => $token);
    ok($r->status == 404 || $r->status == 400 || ($r->status == 200 && !kind_error($r->json->{issued}, 'int')),
        "$path is the line as everybody sees it, or nothing")
        or diag $r->status . ' ' . $r->body;
}
for my $path (qw(/.usher-problem /v1/queue/tokens/me/.usher-problem /.env /v1/../../../etc/passwd /v1/..%2f..%2fetc/passwd /%2e%2e/%2e%2e/etc/passwd)) {
    like($usher->get($path)->status, qr/^40[014]$/, "$path is nothing");
}

unlike(Usher::Process::slurp($access) . $usher->server_log, qr/smuggled/, 'no request was found inside another');
my @odd = grep { !/^(?:\w+=(?:[^\s"]+|"(?:[^"\\]|\\.)*") ?)+$/ } split /\n/, Usher::Process::slurp($access);
is_deeply(\@odd, [], 'every line of the access log is key=value');

# --- slow clients ---

my $slow_head   = "GET /v1/balance HTTP/1.1\r\nHost: slow.test\r\nX-Slow: ";
my @slow_heads  = map { slow_client($slow_head) } 1 .. SLOW;
my @slow_bodies = map { slow_client("${post}Content-Length: 1000\r\n\r\n{") } 1 .. SLOW;
bystanders('beside ' . 2 * SLOW . ' slow clients', time + 3, sub { syswrite $_, ' ' for @slow_heads, @slow_bodies; 1 });

# Others are served, until then or until $going says no more.
sub bystanders ($beside, $until, $going) {
    my (@took, @bad);
    while (time < $until && $going->()) {
        for my $path ('/v1/balance', '/v1/queue', '/healthz') {
            my $begun = time;
            my $r     = $usher->get($path, user => 7);
            push @took, time - $begun;
            push @bad, "$path: " . $r->status if $r->status != 200;
        }
        sleep 0.1;
    }
    is_deeply(\@bad, [], "$beside every other request is answered");
    my ($longest) = sort { $b <=> $a } @took;
    cmp_ok($longest, '<', BYSTANDER_MAX, sprintf '%d requests, none takes long', scalar @took);
}

# Whether nginx has closed it.
sub closed ($socket) {
    my $got = sysread $socket, my $text, 4096;
    return defined $got ? $got == 0 || closed($socket) : !$!{EAGAIN};
}
close $_ for @slow_heads, @slow_bodies;

# The same by a tool that was made for it, which does not know usher: slow headers, slow bodies and slow readers, all at once. It
# looks for itself, too, whether somebody else is served, and writes a line each second: "second,closed,pending,connected,available".
my %attacks = (
    'slow headers' => [ '-H', '/v1/balance' ],
    'slow bodies'  => [ '-B', '/v1/balance/charges', '-s', 8192 ],
    'slow readers' => [ '-X', '/v1/queue', qw(-k 10 -w 1 -y 16 -n 1 -z 5) ],
);
my $tool = Usher::Process::find_program('slowhttptest') // die "no slowhttptest on this machine: run ./dev deps\n";
for my $name (sort keys %attacks) {
    my ($mode, $path, @more) = @{ $attacks{$name} };
    my $file = "$dir/" . $name =~ tr/ /-/r;
    $attacks{$name} = {
        table   => "$file.csv",
        process => Usher::Process->start(
            command => [
                $tool, $mode, '-c', SLOW, '-r', SLOW, qw(-i 1 -l 3 -p 2 -g -o), $file, '-u', 'http://' . $usher->address . $path, @more
            ],
            log => "$file.log",
        ),
    };
}
bystanders('beside slowhttptest', time + 20, sub { grep { $_->{process}->alive } values %attacks });
for my $name (sort keys %attacks) {
    my @seconds = map { [ split /,/ ] } grep {/^\d/} split /\n/, Usher::Process::slurp($attacks{$name}{table});
    cmp_ok((sort { $b <=> $a } map { $_->[3] } @seconds)[0], '>=', SLOW * 0.9, "slowhttptest, $name: nearly all its connections hang");
    is_deeply([ grep { !$_->[4] } @seconds ], [], "slowhttptest, $name: the service is there all the time");
}

my $tight = Usher::Stack->new(workers => 1, nginx => { connections => 5, header_timeout => '1s' });
my ($silent, $dripping) = map { slow_client($slow_head, $tight) } 1, 2;
ok(Usher::Process::until_true(sub { syswrite $dripping, ' '; closed($silent) && closed($dripping) }, 5),
    'a header that takes longer than its time ends the connection, drip by drip or not');

# Bodies may take their time, but not many of one address at once.
my @held  = map { my $s = Usher::Http::connect_to($tight->address); syswrite $s, "${post}Content-Length: 1000\r\n\r\n{"; $s } 1 .. 5;
my $refused;
Usher::Process::until_true(sub { $refused = $tight->get('/v1/balance', user => 7); $refused->status == 429 }, 5);
problem_is($refused, 429, 'too-many-requests',
    'an address with too many requests under way is asked to wait', headers => { 'Retry-After' => qr/^[1-9]\d*$/ });
close $_ for @held;
ok(Usher::Process::until_true(sub { $tight->get('/v1/balance', user => 7)->status != 429 }), 'until one of them ends');

done_testing;
