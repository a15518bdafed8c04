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

use constant WORKERS => 2;

my $usher = Usher::Stack->new(workers => WORKERS, config => { claim_window => '1h', seat_limit => 10, statement_timeout => '500ms', lock_timeout => '250ms' });
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
my $bought = hold(1, $one, $seats[2])->json->{id};
my $payment = $usher->post('/v1/payments', user => 1, token => $one, body => { reservation_id => $bought })->json->{id};
$one = $usher->admit(1);    # the payment has used up the token of before

my @line = (
    [ GET  => '/v1/queue/tokens/me', token => $one ],
    [ POST => '/v1/queue/tokens',    user  => 77 ],
    [ GET  => "/v1/concerts",        user  => 1, token => $one ],
    [ GET  => "/v1/concerts/$concert", user => 1, token => $one ],
    [ GET  => "/v1/concerts/$concert/schedules", user => 1, token => $one ],
    [ DELETE => '/v1/queue/tokens/me', token => $usher->join_line(3) ],
    [ GET  => "/v1/schedules/$schedule/seats", user => 1, token => $one ],
    [ POST => '/v1/reservations', user => 1, token => $one, body => { schedule_id => $schedule, seat_ids => [ $seats[1] ] } ],
    [ POST => '/v1/payments',     user => 1, token => $one, body => { reservation_id => $id } ],
);
my @own = (
    [ GET  => '/v1/balance',          user => 1 ],
    [ GET  => '/v1/balance/entries',  user => 1 ],
    [ GET  => '/v1/reservations',     user => 1 ],
    [ GET  => "/v1/reservations/$id", user => 1 ],
    [ GET  => "/v1/payments/$payment", user => 1 ],
);
my ($hold, $pay) = grep { $_->[0] eq 'POST' && $_->[1] =~ /reservations|payments/ } @line;

# How long it took to be refused. Past nginx, which has the line of a moment ago for everybody; it dies if anything is wrong.
sub refusal_ms ($request, $what) {
    my $from = time;
    my $r    = $request->[1] eq '/v1/queue' ? $usher->fcgi(@$request) : $usher->request(@$request);
    my $took = (time - $from) * 1000;
    return $took if $r->status == 503 && $r->json->{code} eq 'unavailable' && ($r->header('Retry-After') // '') =~ /^\d+$/;
    problem_is($r, 503, 'unavailable', "$what: $request->[0] $request->[1] is refused", headers => { 'Retry-After' => qr/^\d+$/ });
    return 0;
}

# The request's answer, refused within the time.
sub refused_soon ($request, $ms, $what) {
    my $from = time;
    my $r    = $request->[1] eq '/v1/queue' ? $usher->fcgi(@$request) : $usher->request(@$request);
    my $took = (time - $from) * 1000;
    problem_is($r, 503, 'unavailable', "$what: $request->[0] $request->[1] is refused", headers => { 'Retry-After' => qr/^\d+$/ });
    cmp_ok($took, '<', $ms, sprintf '... soon (%.0f ms)', $took);
}
sub answers ($request, $what) { status_is($usher->request(@$request), 200, "$what: $request->[0] $request->[1] answers") }
sub soon ($code) { Usher::Process::until_true($code, 2) }

# Within two seconds more requests than there are workers are good one after the other, each time in two rounds at once: a
# worker that is still in its circuit breaker would take some of them.
sub resumes (@request) {
    my $rounds = 0;
    return soon(sub {
        my @bad = grep { $_->status != 200 } $usher->parallel([ (\@request) x (4 * WORKERS) ]);
        $rounds = @bad ? 0 : $rounds + 1;
        return $rounds == 2;
    });
}

subtest 'Redis is away' => sub {
    $usher->{redis}{process}->kill;
    refused_soon($_, 300, 'away') for @line, [ GET => '/v1/queue' ];
    answers($_, 'away') for @own;
    my $r = $usher->post('/v1/balance/charges', user => 1, key => 'while-away', body => { amount => 5 });
    is($r->status, 201, 'money needs no line');
    problem_is($usher->get('/readyz'), 503, 'unavailable', 'readyz says so');
    like($usher->get('/readyz')->json->{detail}, qr/redis/, 'and names Redis');
    unlike($usher->get('/readyz')->json->{detail}, qr/postgresql/, 'and nothing else');
    is($usher->get('/healthz')->status, 200, 'healthz is well');
    $usher->{redis}->start;
    ok(resumes(GET => '/v1/queue/tokens/me', token => $one), 'every worker is back within two seconds, without a restart');
};

subtest 'Redis is frozen' => sub {
    $usher->{redis}{process}->signal('STOP');
    # Again and again, so that each is met by a worker whose circuit breaker lets it try.
    for my $request (@line, [ GET => '/v1/queue' ]) {
        my ($slowest) = sort { $b <=> $a } map { refusal_ms($request, 'frozen') } 1 .. 2 * WORKERS;
        Usher::Process::until_true(sub { ($slowest) = sort { $b <=> $a } $slowest, refusal_ms($request, 'frozen'); $slowest > 50 }, 2);
        cmp_ok($slowest, '>', 50, "frozen: $request->[0] $request->[1] waits for Redis");
        cmp_ok($slowest, '<', 300, sprintf '... but not long (%.0f ms)', $slowest);
    }
    answers($_, 'frozen') for @own;
    $usher->{redis}{process}->signal('CONT');
    ok(resumes(GET => '/v1/queue/tokens/me', token => $one), 'every worker is back within two seconds');
    my $r = $usher->get('/v1/queue/tokens/me', token => $two);
    is($r->json->{ticket}, 2, 'and no late answer is taken for another one');
};

subtest 'PostgreSQL is away' => sub {
    my @hall = (GET => "/v1/schedules/$schedule/seats", user => 2, token => $two);
    ok(resumes(@hall), 'every worker knows the hall');
    $usher->clock_advance(31);
    $usher->{postgres}->stop;
    ok(resumes(@hall), 'and shows it, also when it should be read again');
    is($usher->get('/v1/queue/tokens/me', token => $two)->status, 200, 'polls go on');
    is($usher->post('/v1/queue/tokens', user => 78)->status, 201, 'joining goes on');
    refused_soon([ POST => '/v1/reservations', user => 2, token => $two, body => { schedule_id => $schedule, seat_ids => [ $seats[5] ] } ], 300, 'away');
    refused_soon([ POST => '/v1/payments', user => 1, token => $one, body => { reservation_id => $id } ], 300, 'away');
    refused_soon($_, 300, 'away') for @own;
    like($usher->get('/readyz')->json->{detail}, qr/postgresql/, 'readyz names PostgreSQL');
    is_deeply([ grep {/ $seats[5] /} $usher->claims ], [], 'the refused hold leaks no seat');
    $usher->{postgres}->start;
    ok(resumes(GET => '/v1/balance', user => 1), 'every worker is back within two seconds, without a restart');
    Usher::Process::until_true(sub { $usher->get('/readyz')->status == 200 }, 3);
    is(hold(1, $one, $seats[5])->status, 201, 'another person gets that seat');
};

subtest 'PostgreSQL is frozen' => sub {
    my $other = hold(1, $one, $seats[8])->json->{id};
    my @pids  = map {/^(\d+)$/} $usher->psql('SELECT pid FROM pg_stat_activity WHERE usename = $1', 'usher');
    kill STOP => $usher->{postgres}{process}->pid, @pids;
    my $from = time;
    my $r    = $usher->get('/v1/balance', user => 1);
    my $took = time - $from;
    Usher::Process::until_true(sub { $usher->fcgi(GET => '/v1/balance', user => 1); time > $from + $took + 1 }, 5); # past the breaker

    # A hold is on its way to PostgreSQL in one worker, a payment in the other or refused there.
    my $body = qq({"schedule_id":$schedule,"seat_ids":[$seats[6]]});
    my $held = $usher->fcgi_open(POST => '/v1/reservations', user => 2, token => $two, raw => $body);
    $held->send($body);
    $held->finish;
    my $polled = time;
    status_is($usher->fcgi(GET => '/v1/queue/tokens/me', token => $two), 200, 'polls go on');
    cmp_ok(time - $polled, '<', 0.5, 'at once');
    my $paid = $usher->post('/v1/payments', user => 1, token => $one, body => { reservation_id => $other });
    problem_is($held->response, 503, 'unavailable', 'a hold is given up', headers => { 'Retry-After' => qr/^\d+$/ });
    problem_is($paid, 503, 'unavailable', 'a payment, too', headers => { 'Retry-After' => qr/^\d+$/ });
    kill CONT => $usher->{postgres}{process}->pid, @pids;
    problem_is($r, 503, 'unavailable', 'a statement without an answer is given up');
    cmp_ok($took, '<', 4, sprintf 'within its time limit (%.1f s)', $took);
    ok(resumes(GET => '/v1/balance', user => 1), 'every worker is back within two seconds');
    $usher->clock_advance(20);    # a claim that was cut off is asked about
    is(($usher->scheduler('expire'))[0], 0, 'the scheduler comes by');
    my @truth = $usher->psql(q{SELECT format('s:{main}:%s:seats %s %s %s', t.schedule_id, t.seat_id,
        CASE r.status WHEN 'paid' THEN 'sold' ELSE 'held' END, r.user_id) FROM reservation_ticket t
        JOIN reservation r ON r.id = t.reservation_id WHERE t.live});
    is_deeply([ sort $usher->claims ], [ sort @truth ], 'no seat leaks: the doorman refuses what PostgreSQL holds, and no other');
    is(($usher->ctl('verify'))[0], 0, 'verify finds nothing');
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
    refused_soon($_, 300, 'read-only') for $line[1], $hold;
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
    ok(resumes(GET => '/readyz'), 'every worker is ready within two seconds of the second one');
    my $paid = $usher->post('/v1/payments', user => 1, token => $one, key => 'after-all', body => { reservation_id => $id });
    is($paid->status, 201, 'and the hold of before is paid');
};

done_testing;
