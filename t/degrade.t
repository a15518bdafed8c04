#!/usr/bin/perl
# What still works when PostgreSQL or Redis is away, how fast the rest is refused, and that all is well again soon after.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Time::HiRes qw(time);
use Usher::Check;
use Usher::Process;
use Usher::Stack;

my $usher = Usher::Stack->new(workers => 2, config => { claim_window => '1h', statement_timeout => '500ms', lock_timeout => '250ms' });
my ($concert) = $usher->concerts(1);
my ($schedule, @seats) = $usher->schedule($concert, seats => 20);
my ($one, $two) = $usher->admit(1, 2);
$usher->charge($_, 100_000) for 1, 2;

sub hold ($user, $token, $seat, %o) {
    return $usher->post('/v1/reservations', user => $user, token => $token, %o,
        body => { schedule_id => $schedule, seat_ids => [$seat] });
}

my $mine = hold(1, $one, $seats[0]);
is($mine->status, 201, 'a hold, before anything goes wrong');
my $id = $mine->json->{id};

my @line = (
    [ GET  => '/v1/queue/tokens/me', token => $one ],
    [ POST => '/v1/queue/tokens',    user  => 77 ],
    [ GET  => "/v1/concerts",        user  => 1, token => $one ],
    [ GET  => "/v1/concerts/$concert", user => 1, token => $one ],
    [ GET  => "/v1/schedules/$schedule/seats", user => 1, token => $one ],
    [ POST => '/v1/reservations', user => 1, token => $one, body => { schedule_id => $schedule, seat_ids => [ $seats[1] ] } ],
    [ POST => '/v1/payments',     user => 1, token => $one, body => { reservation_id => $id } ],
);
my @own = (
    [ GET  => '/v1/balance',          user => 1 ],
    [ GET  => '/v1/balance/entries',  user => 1 ],
    [ GET  => '/v1/reservations',     user => 1 ],
    [ GET  => "/v1/reservations/$id", user => 1 ],
);

# The request's answer, refused within the time.
sub refused_soon ($request, $ms, $what) {
    my $from = time;
    my $r    = $usher->request(@$request);
    my $took = (time - $from) * 1000;
    problem_is($r, 503, 'unavailable', "$what: $request->[0] $request->[1] is refused", headers => { 'Retry-After' => qr/^\d+$/ });
    cmp_ok($took, '<', $ms, sprintf '... soon (%.0f ms)', $took);
}
sub answers ($request, $what) { status_is($usher->request(@$request), 200, "$what: $request->[0] $request->[1] answers") }
sub soon ($code) { Usher::Process::until_true($code, 2) }

subtest 'Redis is away' => sub {
    $usher->{redis}{process}->kill;
    refused_soon($_, 300, 'away') for @line;
    answers($_, 'away') for @own;
    my $r = $usher->post('/v1/balance/charges', user => 1, key => 'while-away', body => { amount => 5 });
    is($r->status, 201, 'money needs no line');
    problem_is($usher->get('/readyz'), 503, 'unavailable', 'readyz says so');
    like($usher->get('/readyz')->json->{detail}, qr/redis/, 'and names Redis');
    unlike($usher->get('/readyz')->json->{detail}, qr/postgresql/, 'and nothing else');
    is($usher->get('/healthz')->status, 200, 'healthz is well');
    $usher->{redis}->start;
    ok(soon(sub { $usher->get('/v1/queue/tokens/me', token => $one)->status == 200 }), 'back within two seconds, without a restart');
};

subtest 'Redis is frozen' => sub {
    $usher->{redis}{process}->signal('STOP');
    refused_soon($line[0], 600, 'frozen, met first');
    refused_soon($_, 600, 'frozen') for @line[ 1, 4, 5 ];
    answers($_, 'frozen') for @own;
    $usher->{redis}{process}->signal('CONT');
    ok(soon(sub { $usher->get('/v1/queue/tokens/me', token => $one)->status == 200 }), 'back within two seconds');
    my $r = $usher->get('/v1/queue/tokens/me', token => $two);
    is($r->json->{ticket}, 2, 'and no late answer is taken for another one');
};

subtest 'PostgreSQL is away' => sub {
    $usher->{postgres}->stop;
    is($usher->get('/v1/queue/tokens/me', token => $two)->status, 200, 'polls go on');
    is($usher->post('/v1/queue/tokens', user => 78)->status, 201, 'joining goes on');
    refused_soon([ POST => '/v1/reservations', user => 2, token => $two, body => { schedule_id => $schedule, seat_ids => [ $seats[5] ] } ], 300, 'away');
    refused_soon([ POST => '/v1/payments', user => 1, token => $one, body => { reservation_id => $id } ], 300, 'away');
    refused_soon($_, 300, 'away') for @own;
    like($usher->get('/readyz')->json->{detail}, qr/postgresql/, 'readyz names PostgreSQL');
    is_deeply([ grep {/ $seats[5] /} $usher->claims ], [], 'the refused hold leaks no seat');
    $usher->{postgres}->start;
    ok(soon(sub { $usher->get('/v1/balance', user => 1)->status == 200 }), 'back within two seconds, without a restart');
    Usher::Process::until_true(sub { $usher->get('/readyz')->status == 200 }, 3);
    is(hold(1, $one, $seats[5])->status, 201, 'another person gets that seat');
};

subtest 'PostgreSQL is frozen' => sub {
    my @pids = map {/^(\d+)$/} $usher->psql('SELECT pid FROM pg_stat_activity WHERE usename = $1', 'usher');
    kill STOP => $usher->{postgres}{process}->pid, @pids;
    my $from = time;
    my $r    = $usher->get('/v1/balance', user => 1);
    my $took = time - $from;
    kill CONT => $usher->{postgres}{process}->pid, @pids;
    problem_is($r, 503, 'unavailable', 'a statement without an answer is given up');
    cmp_ok($took, '<', 4, sprintf 'within its time limit (%.1f s)', $took);
    ok(soon(sub { $usher->get('/v1/balance', user => 1)->status == 200 }), 'back within two seconds');
};

subtest 'connections are cut' => sub {
    Usher::Process::until_true(sub { $usher->get('/readyz')->status == 200 }, 3);
    $usher->get('/v1/balance', user => 1) for 1 .. 8;
    $usher->psql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'usher'});
    my @answers = map { $usher->get('/v1/balance', user => 1)->status } 1 .. 8;
    is_deeply(\@answers, [ (200) x 8 ], 'reads are repeated on a new connection and nobody notices');
    $usher->redis('CLIENT', 'KILL', 'TYPE', 'normal');
    @answers = map { $usher->get('/v1/queue/tokens/me', token => $one)->status } 1 .. 8;
    is_deeply(\@answers, [ (200) x 8 ], 'so with Redis');
    $usher->redis('SCRIPT', 'FLUSH');
    is(hold(2, $two, $seats[7])->status, 201, 'forgotten scripts are sent again');
};

subtest 'a cancel of which the doorman was not told' => sub {
    my @two        = @seats[ 10, 11 ];
    my $given_back = $usher->hold(2, $two, $schedule, @two)->{id};
    my $says       = sub { [ map {/ ($two[0]|$two[1]) (.*)/ ? "$1 $2" : ()} $usher->claims ] };
    $usher->redis('CONFIG', 'SET', 'min-replicas-to-write', 1);
    status_is($usher->delete("/v1/reservations/$given_back", user => 2), 204, 'it is cancelled all the same');
    is_deeply($says->(), [ map {"$_ held 2"} @two ], 'but he keeps the seats');
    $usher->redis('CONFIG', 'SET', 'min-replicas-to-write', 0);
    my $hall  = "s:{main}:$schedule:seats";
    my $claim = $usher->redis('HGET', $hall, $two[1]);
    $usher->redis('HDEL', $hall, $two[1]);
    is(hold(1, $one, $two[1])->status, 201, 'another person gets one of them');
    $usher->redis('HSET', $hall, $two[1], $claim);
    status_is($usher->delete("/v1/reservations/$given_back", user => 2), 204, 'the cancel is repeated');
    is_deeply($says->(), ["$two[1] held 1"], 'which tells him the truth: one is free, one is the other person\'s');
};

subtest 'Redis refuses to write' => sub {
    my $held = $usher->post('/v1/reservations', user => 1, token => $one, body => { schedule_id => $schedule, seat_ids => [ $seats[9] ] });
    is($held->status, 201, 'a hold');
    $usher->redis('CONFIG', 'SET', 'min-replicas-to-write', 1);
    refused_soon($_, 300, 'read-only') for @line[ 1, 5 ];
    my $r = $usher->post('/v1/payments', user => 1, token => $one, body => { reservation_id => $held->json->{id} });
    is($r->status, 201, 'a payment needs no writing there');
    unlike(join(' ', $usher->claims), qr/ $seats[9] sold /, 'the doorman cannot be told');
    $usher->redis('CONFIG', 'SET', 'min-replicas-to-write', 0);
    ok(soon(sub { grep {/ $seats[9] sold 1$/} $usher->claims }), 'he is told as soon as he can be');
    is($usher->get('/v1/queue/tokens/me', token => $one)->status, 404, 'and the token is used up');
    $one = $usher->admit(1);
};

subtest 'both were away' => sub {
    $usher->{postgres}->stop;
    $usher->{redis}{process}->kill;
    like($usher->get('/readyz')->json->{detail}, qr/postgresql and redis/, 'readyz names both');
    $usher->{postgres}->start;
    $usher->{redis}->start;
    ok(soon(sub { $usher->get('/readyz')->status == 200 }), 'ready within two seconds of the second one');
    my $paid = $usher->post('/v1/payments', user => 1, token => $one, key => 'after-all', body => { reservation_id => $id });
    is($paid->status, 201, 'and the hold of before is paid');
};

done_testing;
