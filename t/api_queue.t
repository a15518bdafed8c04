# The queue token and the public view of the line: issue, poll, leave, the order, the pace words, paused.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Usher::Check;
use Usher::Stack;

my $usher = Usher::Stack->new;

my $token_body = {
    token                  => 'token',
    status                 => '=waiting',
    ticket                 => 'int',
    position               => 'int',
    estimated_wait_seconds => 'int|null',
    poll_after_seconds     => 'int',
    issued_at              => 'time',
    active_until           => 'null',
};
my $active_body = { %$token_body, status => '=active', active_until => 'time' };
my $line_body   = {
    state           => '=open',
    serving         => 'int',
    issued          => 'int',
    waiting         => 'int',
    active          => 'int',
    active_max      => 'int',
    rate_per_second => 'number',
    updated_at      => 'time',
};
my %private = ('Cache-Control' => 'private, no-store');

# The line before anybody came. Straight from a worker: nginx would keep an answer for a second.
my $r = $usher->fcgi(GET => '/v1/queue');
shape_is($r, 200, $line_body, 'the line is public', 'Cache-Control' => 'public, max-age=1');
is_deeply([ @{ $r->json }{qw(serving issued waiting active active_max)} ], [ 0, 0, 0, 0, 3000 ], 'an empty line');
like($r->body, qr/"rate_per_second":5000\.0[,}]/, 'the rate is promote_batch over promote_period, with a fraction');
$r = $usher->get('/v1/queue');
shape_is($r, 200, $line_body, 'the line through nginx', 'Cache-Control' => 'public, max-age=1');
$r = $usher->head('/v1/queue');
status_is($r, 200, 'HEAD of the line');
is($r->body, '', 'HEAD of the line has no body');

# Issue.
my $first = $usher->post('/v1/queue/tokens', user => 101);
shape_is($first, 201, $token_body, 'the first request makes a token', %private);
is($first->json->{ticket},   1, 'the first ticket');
is($first->json->{position}, 1, 'position 1 is the next');
my $second = $usher->post('/v1/queue/tokens', user => 102, body => { surprise => 1 });
shape_is($second, 201, $token_body, 'a body with unknown members is no obstacle', %private);
is_deeply([ @{ $second->json }{qw(ticket position)} ], [ 2, 2 ], 'the second in the line');
isnt($second->json->{token}, $first->json->{token}, 'everybody has a token of their own');
my $again = $usher->post('/v1/queue/tokens', user => 101);
shape_is($again, 200, $token_body, 'asking again is no new token', %private);
is_deeply(
    [ @{ $again->json }{qw(token ticket issued_at)} ],
    [ @{ $first->json }{qw(token ticket issued_at)} ],
    'but the same token and place'
);
problem_is(
    $usher->post('/v1/queue/tokens'),
    401, 'unauthenticated',
    'a token needs an identity',
    headers => { 'WWW-Authenticate' => qr/^Bearer\b/ }
);

# Poll: with the queue token alone.
my ($one, $two) = map { $_->json->{token} } $first, $second;
my $poll = $usher->get('/v1/queue/tokens/me', token => $two);
shape_is($poll, 200, $token_body, 'a waiting token polls with itself alone', %private, 'Retry-After' => qr/^[1-9]\d*$/);
is($poll->json->{token},         $two,                              'the poll gives back the token');
is($poll->json->{position},      2,                                 'and the position');
is($poll->header('Retry-After'), $poll->json->{poll_after_seconds}, 'Retry-After is poll_after_seconds');
cmp_ok($poll->json->{poll_after_seconds}, '>=', 1,  'poll_after_seconds is at least 1');
cmp_ok($poll->json->{poll_after_seconds}, '<=', 60, 'and at most 60');
$r = $usher->head('/v1/queue/tokens/me', token => $two);
status_is($r, 200, 'HEAD of the own token');
is($r->body, '', 'HEAD of the own token has no body');
my @bad_tokens = (
    [ 'a made-up token',         'AAAAAAAAAAAAAAAAAAAAAA' ],
    [ 'a token of wrong length', 'abc' ],
    [ 'a long token',            'A' x 1000 ],
    [ 'foreign characters',      "' OR 1=1 --{}*\$;" ],
    [ 'the token changed',       $two =~ tr/A-Za-z/B-ZAb-za/r ],
);
problem_is($usher->get('/v1/queue/tokens/me', token => $_->[1]), 404, 'queue-token-invalid', "poll with $_->[0]")
    for @bad_tokens;
problem_is($usher->request($_, '/v1/queue/tokens/me'), 401, 'queue-token-required', "$_ without a token")
    for qw(GET DELETE);
problem_is($usher->get('/v1/queue/tokens/me', token => ''), 401, 'queue-token-required', 'poll with an empty token');

# Admission.
is(($usher->scheduler('promote'))[0], 0, 'promote succeeds');
$r = $usher->get('/v1/queue/tokens/me', token => $one);
shape_is($r, 200, $active_body, 'an admitted token is active', %private, 'Retry-After' => undef);
is($r->json->{position}, 0, 'position 0 when active');
shape_is($usher->post('/v1/queue/tokens', user => 101),
    200, $active_body, 'asking again while active is the same token', %private);
$r = $usher->fcgi(GET => '/v1/queue');
is_deeply([ @{ $r->json }{qw(serving issued waiting active)} ], [ 2, 2, 0, 2 ], 'the line counts who was admitted');

# Leave.
for my $case ([ 'an active', $one ], [ 'a used-up', $one ], [ 'a waiting', $usher->join_line(103) ], @bad_tokens) {
    $r = $usher->delete('/v1/queue/tokens/me', token => $case->[1]);
    status_is($r, 204, "leaving with $case->[0] token is 204, whatever it was");
    is($r->body, '', "and has no body ($case->[0])");
}
problem_is($usher->get('/v1/queue/tokens/me', token => $one),
    404, 'queue-token-invalid', 'a token is gone after leaving');
$r = $usher->post('/v1/queue/tokens', user => 101);
shape_is($r, 201, $token_body, 'who comes back gets a new token');
cmp_ok($r->json->{ticket}, '>', 3, 'at the end of the line');
is($r->json->{position}, 1, 'and only those who wait count in front');

# A no-show's place is given on; the deadlines are those of the configuration.
my $late = $usher->admit(110);
$usher->clock_advance(61);
problem_is($usher->get('/v1/queue/tokens/me', token => $late),
    404, 'queue-token-invalid', 'not used within claim_window: expired');
shape_is($usher->post('/v1/queue/tokens', user => 110), 201, $token_body, 'and the user may join anew');
my $used = $usher->admit(111);
status_is($usher->get('/v1/concerts', user => 111, token => $used), 200, 'the first use');
$usher->clock_advance(590);
status_is($usher->get('/v1/concerts', user => 111, token => $used), 200, 'from its first use it lives active_ttl');
$usher->clock_advance(11);
problem_is($usher->get('/v1/concerts', user => 111, token => $used),
    401, 'queue-token-invalid', 'and no longer: later uses do not prolong it');

# Poll distance: who is far behind polls less often.
my @crowd = map { $usher->join_line($_) } 1000 .. 1060;
my @polls = map { $usher->get('/v1/queue/tokens/me', token => $_)->json } @crowd[ 0, 30, 60 ];
cmp_ok($polls[0]{position}, '<', $polls[1]{position}, 'positions follow the order of arrival');
is($polls[2]{position} - $polls[1]{position}, 30,                                   'one by one');
is($_->{ticket} - $polls[0]{ticket},          $_->{position} - $polls[0]{position}, 'ticket and position go together')
    for @polls;

# Pause and resume.
is(($usher->ctl('pause'))[0], 0, 'usherctl pause');
problem_is($usher->post('/v1/queue/tokens', user => 120), 409, 'queue-paused', 'a paused line takes nobody');
shape_is($usher->post('/v1/queue/tokens', user => 1000),         200, $token_body,   'who is in it keeps the place');
shape_is($usher->get('/v1/queue/tokens/me', token => $crowd[0]), 200, $token_body,   'and may poll');
my $paused = $usher->get('/v1/queue/tokens/me', token => $crowd[0])->json;
is($paused->{estimated_wait_seconds}, undef, '... without being told how long it takes');
cmp_ok($paused->{poll_after_seconds}, '>=', 10, '... and not each second');
shape_is($usher->fcgi(GET => '/v1/queue'), 200, { %$line_body, state => '=paused' }, 'the line says that it is paused');
is(($usher->ctl('resume'))[0], 0, 'usherctl resume');
shape_is($usher->post('/v1/queue/tokens', user => 120), 201, $token_body, 'a resumed line takes people again');

# Far back in a slow line.
my $slow = Usher::Stack->new(nginx => 0, config => { promote_batch => 10, promote_period => '10s' });
my @far;
push @far, $slow->fcgi(POST => '/v1/queue/tokens', user => $_)->json for 1 .. 600;
is($far[240]{position}, 241, 'position 241');
cmp_ok($far[599]{poll_after_seconds}, '>=', 50, 'who is very far back polls about once a minute');
cmp_ok($far[599]{poll_after_seconds}, '<=', 60, 'and not more seldom');
cmp_ok(keys %{ { map { ($_->{poll_after_seconds} => 1) } @far[ 135 .. 145 ] } },
    '>', 1, 'with jitter: neighbours do not come at one moment');
cmp_ok(abs($far[240]{estimated_wait_seconds} - 241), '<=', 15, 'the estimated wait is position over rate');
cmp_ok(abs($far[140]{poll_after_seconds} - 35),      '<=', 7,  'poll after about a quarter of it');
cmp_ok($far[0]{poll_after_seconds},                  '<=', 5,  'who is in front polls soon');

done_testing;
