# What a worker makes of FastCGI requests that nginx would not send, and of what nginx does send: parameters, lengths, the form of
# the reply, and a log line that tells nothing it should not.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Usher::Check;
use Usher::FastCgi;
use Usher::Http;
use Usher::Process;
use Usher::Stack;

my $usher = Usher::Stack->new(workers => 1, nginx => 0, config => { claim_window => "1h", active_ttl => "1h" });

# A request in raw records: [name, value] pairs, so that a name can occur twice; flags 1 asks to keep the connection.
sub raw ($pairs, $flags = 0, $body = '') {
    my $socket = Usher::Http::connect_to($usher->{socket});
    my $record = \&Usher::FastCgi::_record;
    my $params = join '', map { Usher::FastCgi::_pair(@$_) } @$pairs;
    syswrite $socket, $record->(1, pack 'n C x5', 1, $flags) . $record->(4, $params) . $record->(4, '')
        . (length $body ? $record->(5, $body) : '') . $record->(5, '');
    return bless { socket => $socket, method => 'GET' }, 'Usher::FastCgi';
}

sub healthz (%params) { $usher->fcgi(GET => '/healthz', params => \%params) }

subtest 'the form of a reply' => sub {
    my $get  = $usher->fcgi(GET  => '/healthz');
    my $head = $usher->fcgi(HEAD => '/healthz');
    status_is($get, 200, 'GET');
    header_is($get, 'Status', qr/^200 OK$/, 'the status has a phrase');
    header_is($get, 'Content-Length', length $get->body, 'and the body its length');
    status_is($head, 200, 'HEAD');
    is($head->body, '', 'no body');
    header_is($head, 'Content-Length', length $get->body, 'but its length');
    my $gone = $usher->fcgi(DELETE => '/v1/queue/tokens/me', token => 'A' x 22);
    status_is($gone, 204, 'DELETE');
    header_is($gone, 'Content-Length', undef, '204 has no length');
    is($gone->body, '', 'and no body');
};

# nginx sets X-Request-Id of the reply itself; what the worker took for the id shows in a problem.
sub trace_id ($id) { $usher->fcgi(GET => '/nothing', params => { HTTP_X_REQUEST_ID => $id })->json->{trace_id} }

subtest 'request ids' => sub {
    is(trace_id($_), $_, "kept: $_") for '0af7651916cd43dd8448eb211c80319c', 'A.b_c-9', 'x' x 64;
    my %seen;
    for my $bad ('', 'x' x 65, 'a b', "a\nb", 'a"b', 'ä') {
        my $id = trace_id($bad);
        like($id, qr/^[0-9a-f]{32}$/, 'one of our own instead of ' . length($bad) . ' bytes');
        $seen{$id}++;
    }
    is(scalar keys %seen, 6, 'and never the same');
};

subtest 'what cannot be a request is refused' => sub {
    my @cases = (
        [ 'no method',                  REQUEST_METHOD => '' ],
        [ 'no target',                  REQUEST_URI    => '' ],
        [ 'a target without a slash',   REQUEST_URI    => 'healthz' ],
        [ 'a length that is no number', CONTENT_LENGTH => 'ten' ],
        [ 'a negative length',          CONTENT_LENGTH => '-1' ],
        [ 'a length with a sign',       CONTENT_LENGTH => '+1' ],
        [ 'a length with an exponent',  CONTENT_LENGTH => '1e1' ],
        [ 'a length beyond 64 bits',    CONTENT_LENGTH => '99999999999999999999' ],
    );
    for my $case (@cases) {
        my ($name, %params) = @$case;
        my $response = healthz(%params);
        is($response && $response->json->{code}, 'invalid-request', $name);
    }
    for my $header (qw(HTTP_AUTHORIZATION HTTP_QUEUE_TOKEN HTTP_IDEMPOTENCY_KEY CONTENT_LENGTH REQUEST_URI)) {
        my @pairs = ([ REQUEST_METHOD => 'GET' ], [ REQUEST_URI => '/healthz' ], [ $header => '1' ], [ $header => '2' ]);
        status_is(raw(\@pairs)->response, 400, "$header twice");
    }
    my @pairs = ([ REQUEST_METHOD => 'GET' ], [ REQUEST_URI => '/healthz' ], map { [ HTTP_IF_NONE_MATCH => $_ ] } '"a"', '"b"');
    status_is(raw(\@pairs)->response, 200, 'If-None-Match is a list and may come twice');
};

subtest 'bodies up to 16 KiB' => sub {
    my %charge = (user => 1, key => 'k1');
    problem_is($usher->fcgi(POST => '/v1/balance/charges', %charge, raw => 'x' x 16384), 400, 'malformed-json', '16384 bytes are read');
    problem_is($usher->fcgi(POST => '/v1/balance/charges', %charge, raw => 'x' x 16385), 413, 'content-too-large', '16385 are not');
    my $announced = $usher->fcgi_open(POST => '/v1/balance/charges', %charge, length => '1000000000000');
    $announced->finish;
    problem_is($announced->response, 413, 'content-too-large', 'nor is what is only announced');
};

subtest 'a client that wants to keep its connection does not keep the worker' => sub {
    my @pairs = ([ REQUEST_METHOD => 'GET' ], [ REQUEST_URI => '/healthz' ]);
    my $kept  = raw(\@pairs, 1);
    status_is($kept->response(5), 200, 'it is answered and the connection closed');
    status_is($usher->fcgi(GET => '/healthz'), 200, 'the only worker answers the next one');
};

# 20,000 seats: 1.4 MB, more than a record holds and a socket takes.
subtest 'a long reply' => sub {
    my ($concert) = $usher->concerts(1);
    my ($schedule, @seats) = $usher->schedule($concert, seats => 20_000, price => 1500);
    my $token = $usher->fcgi(POST => '/v1/queue/tokens', user => 7)->json->{token};
    $usher->scheduler('promote');
    my %me   = (user => 7, token => $token);
    my $path = "/v1/schedules/$schedule/seats";
    my $open = sub { my $request = $usher->fcgi_open(GET => $path, %me); $request->finish; $request };
    my $list = $open->()->response;
    status_is($list, 200, 'a hall of 20,000 seats');
    header_is($list, 'Content-Length', length $list->body, 'is as long as it says');
    is_deeply([ map { $_->{id} } @{ $list->json->{items} } ], \@seats, 'and whole');
    is($usher->fcgi(HEAD => $path, %me)->body, '', 'HEAD has none of it');

    my $gone = $open->();
    sysread $gone->{socket}, my $begin, 1000;
    $gone->close;
    status_is($usher->fcgi(GET => '/healthz'), 200, 'one who goes away in the middle keeps nobody');
    is_deeply([ map { $_->{id} } @{ $open->()->response->json->{items} } ], \@seats, 'the next one gets it whole');
};

subtest 'the time before a worker was free' => sub {
    # What is logged of it, in microseconds.
    my $queued = sub ($msec) {
        my $from = length $usher->server_log;
        healthz(REQUEST_MSEC => $msec);
        my $us;
        Usher::Process::until_true(sub { ($us) = substr($usher->server_log, $from) =~ / queue_us=(\d+)\n/ });
        return $us;
    };
    my $us = $queued->(sprintf '%.3f', time - 10);
    ok($us >= 10_000_000 && $us < 40_000_000, 'since nginx handed it over') or diag $us;
    is($queued->(''), 0, 'nothing is said');
    is($queued->(sprintf '%.3f', time + 10), 0, 'a clock that is ahead');
    is($queued->(sprintf '%.3f', time - 100), 0, 'longer than nginx would wait');
    is($queued->((time - 10) . $_), 0, "no time: '$_'") for '', '.', '.1', '.12', '.1234', '.12a', '.-12', 'x.123';
    is($queued->("$_.000"), 0, "no seconds: '$_'") for '', '-1', '99999999999999999999', '9223372036854775807', '1e9';
};

subtest 'the log' => sub {
    my $from   = length $usher->server_log;
    my @secret = ('qsecret00000000000000A', 'ksecret', 'bsecret', 'psecret', $usher->jwt(user => 42));
    $usher->fcgi(POST => "/v1/balance/charges?after=$secret[3]", jwt => $secret[4], token => $secret[0], key => $secret[1],
        body => { amount => 100, note => $secret[2] });
    $usher->fcgi("GET\nforged=1 " => '/healthz');
    my $log = '';
    ok(Usher::Process::until_true(sub { ($log = substr $usher->server_log, $from) =~ /status=405.*\n/ }), 'a line for each request');
    like($log, qr{request id=[0-9a-f]{32} user=42 method=POST route=\S+charges\S* status=201 code=- us=\d+ queue_us=0$}m, 'with what it was');
    unlike($log, qr/^forged/m, 'which nobody can forge');
    unlike($log, qr/\Q$_\E/, 'and without secrets') for @secret;
    is(scalar(() = $log =~ /^.*request id=/mg), 2, 'one line each');
};

done_testing;
