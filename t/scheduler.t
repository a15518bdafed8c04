# The scheduler: whom it lets in and how fast, what it ends, the history that it writes, and how it behaves as a program.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(max sum0 uniq);
use Test::More;
use Time::HiRes qw(time);
use Usher::Check;
use Usher::Process;
use Usher::Race;
use Usher::Stack;

my $usher = Usher::Stack->new(
    config => {
        %PATIENT,
        active_max     => 30,
        claim_window   => '60s',
        active_ttl     => '100s',
        hold_ttl       => '300s',
        promote_batch  => 1000,
        promote_period => '100ms',
    }
);
my ($concert) = $usher->concerts(1);
my ($schedule, @seats) = $usher->schedule($concert, seats => 20);
my %token;    # by user

# Users join in this order, one after the other.
sub join_all (@users) { $token{$_} = $usher->join_line($_) for @users }

sub scheduler_ok (@args) {
    my ($status, $error) = $usher->scheduler(@args);
    is($status, 0, "usher-scheduler @args") or diag $error;
    return $error;
}
sub poll      ($user) { $usher->fcgi(GET => '/v1/queue/tokens/me', token => $token{$user}) }
sub status_of ($user) { my $r = poll($user); return $r->status == 200 ? $r->json->{status} : $r->status }

sub active_until ($user) {
    query($usher, q{SELECT extract(epoch FROM $1::timestamptz)}, poll($user)->json->{active_until});
}
sub line ()       { $usher->fcgi(GET => '/v1/queue')->json }
sub enter ($user) { $usher->fcgi(GET => '/v1/concerts?page=0&size=1', user => $user, token => $token{$user}) }

# {state => how many} of these users in the line's history.
sub history (@users) {
    my $list = join ',', @users;
    return { map { split /\|/ }
          query($usher, "SELECT status, count(*) FROM waiting_token WHERE user_id IN ($list) GROUP BY 1") };
}

subtest 'as a program' => sub {
    my $run = sub (@args) { Usher::Process::run({}, $usher->build . '/usher-scheduler', @args) };
    my ($status, $out, $err) = $run->('--help');
    is($status, 0, '--help');
    like($out, qr/^Usage: usher-scheduler .*promote \[aligned\]\|expire.*--config/s, 'says what it does and takes');
    ($status, $out) = $run->('--version');
    is($status, 0, '--version');
    like($out, qr/^usher-scheduler \d+\.\d+\.\d+$/, 'is one line');
    for my $case (
        [], ['sleep'],
        [ 'promote',      'expire' ],
        [ '--frobnicate', 'promote' ],
        ['-o'], [ '-o', 'promote', 'expire' ]
      )
    {
        ($status, $out, $err) = $run->(@$case);
        is($status, 64, "wrong usage: '@$case'");
        like($err, qr/\S/, 'with words');
    }
    for my $case (
        [ '-c', '/nonexistent',    'promote' ],
        [ '-o', 'nonsense=1',      'expire' ],
        [ '-o', 'promote_batch=0', 'promote' ]
      )
    {
        ($status, $out, $err) = $run->(@$case);
        is($status, 78, "wrong configuration: '@$case'");
        like($err, qr/nonexistent|nonsense|promote_batch/, 'named');
    }
    for my $verb (qw(promote expire)) {
        ($status, $err) = $usher->scheduler('-o', 'database=host=/nonexistent', $verb);
        is($status, 1, "$verb without PostgreSQL fails");
        like($err, qr/PostgreSQL does not answer/, 'and says why');
        ($status, $err) = $usher->scheduler('-o', 'redis=/nonexistent', $verb);
        is($status, 1, "$verb without Redis fails");
        like($err, qr/redis/i, 'and says why');
    }
};

subtest 'a second scheduler leaves the work to the first' => sub {
    join_all(1);
    my $other = $usher->session('usher');
    for my $case ([ promote => 1 ], [ expire => 2 ]) {
        my ($verb, $number) = @$case;
        is(($other->run("BEGIN; SELECT pg_try_advisory_xact_lock(1970496882, $number)"))[-1],
            't', "another is at $verb");
        my $said = scheduler_ok($verb);
        like($said, qr/$verb: another scheduler is at it/, 'the second says so and exits with 0');
        is(status_of(1), 'waiting', 'and does nothing');
        $other->run('ROLLBACK');
    }
    $other->close;
    scheduler_ok('promote');
    is(status_of(1), 'active', 'when it has ended the next one works');
};

subtest 'never more than active_max' => sub {
    join_all(2 .. 50);
    scheduler_ok('promote');
    is(line()->{active},  30, '30 are active');
    is(line()->{waiting}, 20, 'the others wait');
    is_deeply([ uniq map { status_of($_) } 1 .. 30 ],  ['active'],  'the first 30 are in');
    is_deeply([ uniq map { status_of($_) } 31 .. 50 ], ['waiting'], 'the rest is not');
    scheduler_ok('promote');
    is(line()->{active}, 30, 'the next run admits nobody');
    is($usher->fcgi(DELETE => '/v1/queue/tokens/me', token => $token{$_})->status, 204, "user $_ leaves") for 3, 7;
    scheduler_ok('promote');
    is_deeply([ map { status_of($_) } 31 .. 33 ], [qw(active active waiting)], 'two go, the next two come');
};

subtest 'a no-show loses the place after the claim window, the first use starts active_ttl' => sub {
    status_is(enter(1), 200, 'user 1 uses the token');
    my $until = active_until(1);
    cmp_ok(abs($until - $usher->now - 100), '<=', 3, 'which then lives active_ttl');
    $usher->clock_advance(40);
    status_is(enter(1), 200, 'a later use');
    is(active_until(1), $until, 'does not prolong it');
    status_is(enter(2), 200, 'user 2 comes in the claim window');
    $usher->clock_advance(25);
    is_deeply([ map { status_of($_) } 1, 2 ], [ 'active', 'active' ], 'after the claim window those who came are in');
    is(status_of(4), 404, 'those who did not are out');
    problem_is($usher->get('/v1/concerts', user => 4, token => $token{4}),
        401, 'queue-token-invalid', 'also for the gate');
    is_deeply([ map { status_of($_) } 33, 50 ], [ 'waiting', 'waiting' ], 'nobody has their places yet');
    scheduler_ok('promote');
    is_deeply([ uniq map { status_of($_) } 33 .. 50 ], ['active'], 'the scheduler gives their places on');
    is(line()->{active}, 20, 'the two and the 18 who had waited');
    $usher->clock_advance(36);
    is_deeply([ map { status_of($_) } 1, 2 ], [ 404, 'active' ], 'a token ends active_ttl after its first use');
    is_deeply(history(1 .. 50), { expired => 28, left => 2, active => 20 }, 'the history knows all but the last') or
      diag explain history(1 .. 50);
    scheduler_ok('expire');
    is_deeply(history(1), { expired => 1 }, 'until expire has run');
};

subtest 'a hold prolongs the token' => sub {
    my $until = active_until(2);
    my $held  = $usher->fcgi(
        POST  => '/v1/reservations',
        user  => 2,
        token => $token{2},
        body  => { schedule_id => $schedule, seat_ids => [ $seats[0] ] }
    );
    status_is($held, 201, 'user 2 holds a seat');
    my $deadline = query($usher, 'SELECT extract(epoch FROM $1::timestamptz)', $held->json->{expires_at});
    cmp_ok(active_until(2), '>',  $until,    'the token lives longer');
    cmp_ok(active_until(2), '>=', $deadline, 'at least as long as the hold');
    $usher->clock_advance(295);
    status_is(enter(2), 200, 'up to its last seconds');
};

subtest 'a lapsed hold' => sub {
    my ($one) = people($usher, 1);
    $token{$_} = $one->{token} for my $user = $one->{user};
    my $wish = sub {
        $usher->fcgi(
            POST  => '/v1/reservations',
            user  => $user,
            token => $token{$user},
            body  => { schedule_id => $schedule, seat_ids => [ $seats[0] ] }
        );
    };
    problem_is(
        $wish->(), 409, 'seat-unavailable',
        'before the deadline the seat is taken',
        conflicting_seat_ids => ['int']
    );
    $usher->clock_advance(6);
    is(query($usher, q{SELECT status FROM reservation WHERE user_id = 2}), 'held',
        'no scheduler has seen the deadline');
    is($usher->fcgi(GET => '/v1/reservations', user => 2)->json->{items}[0]{status}, 'expired', 'it reads as expired');
    status_is($wish->(), 201, 'and its seat can be had at once');
    is(query($usher, q{SELECT status FROM reservation WHERE user_id = 2}),
        'expired', 'whoever takes the seat closes the old hold');
    is_deeply([ breaches($usher) ], [], 'nothing is wrong');
};

subtest 'expire works in batches and around others' => sub {
    my ($big) = $usher->schedule($concert, seats => 1210);
    query(
        $usher, q{
        WITH r AS (INSERT INTO reservation (user_id, schedule_id, status, total_price, reserved_at, expires_at)
                SELECT 100000 + n, $1, 'held', 1000, usher_clock() - interval '10 min', usher_clock() - interval '5 min' + n * interval '1 ms'
                FROM generate_series(1, 1210) n RETURNING *)
            INSERT INTO reservation_ticket (reservation_id, schedule_id, live, seat_id, location, price)
            SELECT r.id, $1, true, s.id, s.location, 1000 FROM r JOIN concert_seat s ON s.schedule_id = $1
                AND s.location = 'A' || (r.user_id - 100000)}, $big
    );
    my $left =
      sub { 0 + query($usher, q{SELECT count(*) FROM reservation WHERE schedule_id = $1 AND status = 'held'}, $big) };
    my $other = $usher->session;
    $other->run("BEGIN; SELECT id FROM reservation WHERE user_id BETWEEN 100005 AND 100007 FOR UPDATE");
    my $began = time;
    like(scheduler_ok('expire'), qr/ holds=1207 /, 'all but three are ended, more than one batch');
    is($left->(), 3, 'those that somebody is working on are left alone');
    $other->run('ROLLBACK');
    $other->close;
    like(scheduler_ok('expire'), qr/ holds=3 /, 'they come next time');
    is($left->(), 0, 'nothing is left');
    is_deeply([ breaches($usher) ], [], 'the tickets went with them');
};

subtest 'a payment that the doorman was not told of' => sub {
    my ($one) = people($usher, 1);
    my $seat  = $seats[5];
    my $held  = $usher->hold($one->{user}, $one->{token}, $schedule, $seat);
    $usher->charge($one->{user}, 1000);
    is(query($usher, q{SELECT outcome FROM usher_pay($1, $2, true, NULL, NULL)}, $one->{user}, $held->{id}),
        'created', 'paid, and cut off');
    my $claim = sub { ask($usher, 'HGET', "s:{main}:$schedule:seats", $seat) };
    like($claim->(), qr/^\d{13} $one->{user}$/, 'the doorman believes in a hold');
    $usher->clock_advance(301);
    my ($other) = people($usher, 1);
    my $seen = sub {
        my $r = $usher->fcgi(
            GET   => "/v1/schedules/$schedule/seats?all=true",
            user  => $other->{user},
            token => $other->{token}
        );
        return (map { $_->{status} } grep { $_->{id} == $seat } @{ $r->json->{items} })[0];
    };
    scheduler_ok('expire');
    is($claim->(), "0 $one->{user}", 'expire asks PostgreSQL and tells him: sold');
    is($seen->(),  'sold',           'everybody sees it');
    problem_is(
        $usher->fcgi(
            POST  => '/v1/reservations',
            user  => $other->{user},
            token => $other->{token},
            body  => { schedule_id => $schedule, seat_ids => [$seat] }
        ),
        409,
        'seat-unavailable',
        'nobody gets it',
        conflicting_seat_ids => ['int']
    );
    is_deeply([ breaches($usher) ], [], 'nothing is wrong');
};

subtest 'pause and resume' => sub {
    is(($usher->ctl('pause'))[0], 0, 'usherctl pause');
    problem_is($usher->fcgi(POST => '/v1/queue/tokens', user => 700), 409, 'queue-paused', 'no new places');
    is(($usher->ctl('resume'))[0], 0, 'usherctl resume');
    join_all(701 .. 703);
    $usher->ctl('pause');
    scheduler_ok('promote');
    is_deeply([ uniq map { status_of($_) } 701 .. 703 ], ['waiting'], 'nobody is admitted');
    is(line()->{state}, 'paused', 'everybody can see why');
    $usher->ctl('resume');
    scheduler_ok('promote');
    is_deeply([ uniq map { status_of($_) } 701 .. 703 ], ['active'], 'and then they are');
};

subtest 'the history' => sub {
    my ($payer) = people($usher, 1);
    my $user = $payer->{user};
    $usher->charge($user, 1000);
    my $held = $usher->hold($user, $payer->{token}, $schedule, $seats[7]);
    status_is(
        $usher->post(
            '/v1/payments',
            user  => $user,
            token => $payer->{token},
            body  => { reservation_id => $held->{id} }
        ),
        201,
        'somebody buys'
    );
    join_all(801, 802, 803);
    $usher->fcgi(DELETE => '/v1/queue/tokens/me', token => $token{802});
    my @stream = ask($usher, 'XRANGE', 'q:{main}:events', '-', '+');
    cmp_ok(scalar @stream, '>=', 5, 'waits in Redis');
    scheduler_ok('expire');
    is(ask($usher, 'XLEN', 'q:{main}:events'), 0, 'and is written');
    is_deeply(history($user, 801 .. 803), { used => 1, waiting => 2, left => 1 }, 'issued, used, left');
    scheduler_ok('promote');
    is_deeply(history(801, 803), { active => 2 }, 'activated; promote writes, too');
    is(
        query(
            $usher, 'SELECT count(*) FROM waiting_token WHERE NOT (issued_at <= coalesce(activated_at, issued_at)
        AND coalesce(activated_at, issued_at) <= coalesce(deleted_at, activated_at, issued_at))'
        ),
        0,
        'the times are in order'
    );
    is(
        query(
            $usher,
            q{SELECT activated_at IS NOT NULL AND deleted_at IS NOT NULL FROM waiting_token WHERE user_id = $1}, $user
        ),
        't',
        'with all times'
    );

    # As if it had been cut off between writing and forgetting.
    my $all    = sub { join "\n", query($usher, 'SELECT * FROM waiting_token ORDER BY id') };
    my $before = $all->();
    my $events = 0;
    while (@stream) {
        my ($id, %event) = splice @stream, 0, 9;
        ask($usher, 'XADD', 'q:{main}:events', '*', map { ($_ => $event{$_}) } qw(e k u at));
        $events++;
    }
    like(scheduler_ok('expire'), qr/ recorded=$events /, 'the same events again');
    is($all->(), $before, 'change nothing');
};

subtest 'the pace' => sub {
    my ($batch, $period) = (20, 1);
    my @paced = ('-o', "promote_batch=$batch", '-o', 'promote_period=1s', '-o', 'active_max=1000');
    my @crowd = (2001 .. 2070);
    burst($usher, map { [ POST => '/v1/queue/tokens', user => $_ ] } @crowd);
    $usher->clock_advance(10);
    my $began = time;
    for (1 .. 2) {
        $usher->scheduler(@paced, 'promote');
    }
    my $took = time - $began;
    my @at   = query(
        $usher, 'SELECT usher_us(activated_at) / 1000 FROM waiting_token
        WHERE user_id BETWEEN 2001 AND 2070 AND activated_at IS NOT NULL ORDER BY 1'
    );
    my $most = max map {
        my $from = $_;
        scalar grep { $_ >= $from && $_ < $from + 1000 * $period } @at
    } @at;
    cmp_ok($most,      '<=', $batch,     "at most $batch in any period of two runs");
    cmp_ok(scalar @at, '>=', $batch / 2, 'and they do come in');
    my %moment;
    $moment{$_}++ for @at;
    cmp_ok(max(values %moment), '<=', $batch / 10, 'never more than a tenth at once');
};

# A run that is stopped (SIGSTOP) right before this step; the trace of its steps begins anew there.
my %hook = map { ($_ => "$usher->{dir}/$_") } qw(crash trace);

sub paused_before ($step, @args) {
    local $usher->{env} = { USHER_TEST_CRASH => $hook{crash}, USHER_TEST_CRASH_TRACE => $hook{trace} };
    Usher::Process::spew($hook{trace}, '');
    Usher::Process::spew($hook{crash}, "before:$step pause\n");
    my $run = $usher->background('usher-scheduler', @args);
    ok(Usher::Process::until_true(sub { Usher::Process::slurp('/proc/' . $run->pid . '/stat') =~ /\) T / }), "at $step");
    Usher::Process::spew($hook{trace}, '');
    return $run;
}
sub steps () { [ Usher::Process::slurp($hook{trace}) =~ /^before:(.*)/mg ] }

subtest 'TERM' => sub {
    my $run = $usher->background('usher-scheduler', '-o', 'promote_period=60s', 'promote');
    Usher::Process::until_true(
        sub { query($usher, q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1970496882}) });
    $run->signal('TERM');
    is($run->wait(5), 0, 'ends a promote before its time, with 0');

    # It was stopped for longer than a tick (20 ms) and would go on at once.
    my $from = time;
    $run = paused_before('promote', '-o', 'promote_period=2s', 'promote');
    $run->signal('TERM');
    Usher::Process::until_true(sub { time > $from + 0.05 });
    $run->signal('CONT');
    is($run->wait(5), 0, 'also one that is behind its schedule');
    is_deeply(steps(), [], 'after the step that it is at');

    $run = paused_before('lapse', 'expire');
    $run->signal('TERM');
    $run->signal('CONT');
    is($run->wait(5), 0, 'ends an expire, with 0');
    is_deeply(steps(), [], 'after the step that it is at');
};

subtest 'TERM while PostgreSQL is frozen' => sub {
    join_all(2501);
    my $run = $usher->background('usher-scheduler',
        map({ ('-o', $_) } qw(promote_period=60s statement_timeout=500ms lock_timeout=250ms)), 'promote');
    ok(Usher::Process::until_true(sub { keys %{ history(2501) } }), 'a run that has both its connections');
    my @servers = ($usher->{postgres}{process}->pid, query($usher, q{SELECT pid FROM pg_stat_activity WHERE usename = 'usher'}));
    kill STOP => @servers;
    my $from = time;
    $run->signal('TERM');
    is($run->wait(10), 0, 'ends it, with 0');
    cmp_ok(time - $from, '<', 2, 'and does not wait for an answer');
    kill CONT => @servers;
    like(scheduler_ok('promote'), qr/^(?!.*another scheduler).*admitted=/s, 'and the lock is free');
};

subtest 'a history that is far behind holds nobody up' => sub {
    my ($batch, $behind) = (100, 200_000);
    my @waiting = (3001 .. 3000 + $batch);
    burst($usher, map { [ POST => '/v1/queue/tokens', user => $_ ] } @waiting);
    $usher->clock_advance(10);
    ask($usher, 'EVAL', q{for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'e', 'issued', 'k', 1e6 + i, 'u', 1e6 + i, 'at', ARGV[2]) end},
        1, 'q:{main}:events', $behind, int($usher->now) . '000');
    my $said = scheduler_ok('-o', "promote_batch=$batch", '-o', 'promote_period=1s', '-o', 'active_max=1000', 'promote');
    my ($admitted, $recorded) = $said =~ / admitted=(\d+) .* recorded=(\d+)/;
    cmp_ok($admitted, '>=', $batch / 2, 'people come in all the same');
    cmp_ok($recorded, '>=', 1000,       'and the history is being written');
    cmp_ok(ask($usher, 'XLEN', 'q:{main}:events'), '>', 0, 'which takes longer than this run');
};

done_testing;
