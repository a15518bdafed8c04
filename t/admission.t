#!/usr/bin/perl
# admission = adaptive: more are let in for measured no-shows, at most double; the cap follows what the shop bears, quickly down
# and slowly up, between active_min and active_max; what is in force is what people are told; admission = fixed ignores all of it.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(max sum0);
use Test::More;
use Time::HiRes 'time';
use Usher::Process;
use Usher::Race;
use Usher::Stack;

my %common = (promote_batch => 100, promote_period => '1s', active_max => 1000, active_min => 50, claim_window => '60s',
    latency_target => '10s', workers => 1);
my $usher = Usher::Stack->new(nginx => 0, config => { %common, admission => 'adaptive' });

sub admission (@set) { $usher->redis('HSET', 'q:{main}:admission', @set); }
sub field ($name)    { $usher->redis('HGET', 'q:{main}:admission', $name) }

# A line of so many, as if they had joined.
sub crowd ($from, $to) {
    $usher->psql(
        q{INSERT INTO waiting_token (id, user_id, status, issued_at)
        SELECT n, n, 'waiting', usher_clock() FROM generate_series($1::int, $2::int) n}, $from, $to
    );
    $usher->redis('HDEL', 'q:{main}:admission', 'run');
    $usher->scheduler('promote');    # notices, and restores the line
}

# A run of promote after a while; the batch that it went by. How many come through in a run depends on how busy the machine is,
# so only the bound is asserted on them.
sub batch {
    $usher->clock_advance(30);
    $usher->redis('DEL', 'q:{main}:admitted');
    my ($before) = $usher->redis('ZCARD', 'q:{main}:waiting');
    my ($status, $log) = $usher->scheduler('promote');
    my $admitted = $before - $usher->redis('ZCARD', 'q:{main}:waiting');
    is($status, 0, 'promote runs') or diag $log;
    cmp_ok($admitted, '>',  0,              'it lets people in');
    cmp_ok($admitted, '<=', field('batch'), '... not more than the batch');
    return field('batch');
}

crowd(1, 5000);
is(batch(), 100, 'without observations the batch is what was configured');

admission(share => 0, shows => 0, no_shows => 100, judged => 0);
my $batch = batch();
cmp_ok($batch, '>', 130, 'no-shows are made up for');
cmp_ok($batch, '<', 150, '... by a share that is smoothed');
cmp_ok(field('share'), '>', 0.25, 'a part of what was seen is believed');
cmp_ok(field('share'), '<', 0.35, '... not all at once');
is(field('no_shows'), undef, 'what was judged is not judged again');

admission(share => 0.95, judged => 0);
is(batch(), 200, 'at most double is let in');

# So many inside.
sub inside ($count) {
    $usher->redis('DEL', 'q:{main}:active');
    $usher->redis('ZADD', 'q:{main}:active', map { (9_999_999_999_999, "9$_") } 1 .. $count) if $count;
}

# One run of promote.lua, exactly a period of 1 s after the cap was last judged: everything in one step, since a test that is
# held up between two would see other rates.
my $source = Usher::Stack::source() . '/src/store/lua';
my $tick   = join '', Usher::Process::slurp("$source/prelude.lua"), "redis.call('HSET', KEYS[4], 'judged', int(now() - 1000))\n",
    Usher::Process::slurp("$source/promote.lua");
my @keys = map {"q:{main}:$_"} qw(tokens waiting active admission events admitted pulse);

# A cap, so many inside, what the workers saw in a period, and how many payments a period each person inside made before
# (yield): the cap after it was judged, rounded.
sub judge ($cap, $inside, %pulse) {
    inside($inside);
    admission(cap => $cap, yield => delete $pulse{yield} // 0);
    $usher->redis('DEL', 'q:{main}:pulse');
    $usher->redis('HSET', 'q:{main}:pulse', %pulse) if %pulse;
    $usher->redis('EVAL', $tick, scalar @keys, @keys, 0, $common{promote_batch}, 1000, $common{active_max}, 60_000, 1, $common{active_min});
    return sprintf '%.0f', field('cap');
}

my %well = (served => 1000, slow => 5, holds => 500, refused => 10, paid => 100);
admission(share => 0);

subtest 'up slowly, where the cap keeps people out' => sub {
    is(judge(800, 800, %well), 841, 'a twentieth more while the shop is well and full');
    is(judge(800, 730, %well), 841, '... or nearly full');
    is(judge(800, 600, %well), 800, 'no more where more could come in already');
    is(judge(999, 999, %well), 1000, 'never above active_max');
};

subtest 'down quickly, from those inside' => sub {
    is(judge(800, 800, %well, slow => 50), 560, 'a slow shop: three tenths fewer');
    is(judge(800, 300, %well, slow => 50), 210, '... fewer than are inside, though the cap is far above');
    is(judge(800, 800, %well, refused => 400), 720, 'one that mostly refuses: a tenth fewer');
    is(judge(800, 400, %well, refused => 400), 360, '... of those inside');
    is(judge(400, 600, %well, slow => 50), 400, 'not again before those who are too many have left');
    is(judge(60, 60, served => 1000, slow => 900), 50, 'never below active_min');
};

subtest 'few observations are no evidence' => sub {
    is(judge(800, 800, served => 10, slow => 1), 841, 'one slow request in ten');
    is(judge(800, 800, served => 20, slow => 2), 841, 'two in twenty');
    is(judge(800, 800, served => 10, slow => 3), 560, 'three in ten are evidence');
    is(judge(800, 800, served => 9, slow => 9), 841, 'nine requests in all are not');
    is(judge(800, 800, holds => 9, refused => 9), 841, 'nine holds neither');
    is(judge(800, 800), 841, 'nothing at all is no reason to stay down');
};

subtest 'completions for each person inside' => sub {
    is(judge(700, 700, %well, paid => 70), 736, 'nothing is known yet: up');
    cmp_ok(abs(field('yield') - 0.02), '<', 0.001, 'a fifth of what was seen is believed');
    is(judge(700, 700, %well, paid => 70, yield => 0.1), 736, 'as many for each as before: up');
    cmp_ok(abs(field('yield') - 0.1), '<', 0.001, '... and they are remembered as they were');
    is(judge(800, 800, %well, paid => 60, yield => 0.1), 800, 'fewer for each than before: not up');
    cmp_ok(abs(field('yield') - 0.095), '<', 0.001, '... which is remembered');
    is(judge(60, 60, %well, paid => 1, yield => 0.1), 64, 'where six are expected in a period, one says nothing');
};

subtest 'the cap binds' => sub {
    $usher->redis('DEL', 'q:{main}:admitted');
    inside(55);
    admission(cap => 60, judged => 99_999_999_999_999, credit => 10);
    $usher->scheduler('promote');
    is($usher->redis('ZCARD', 'q:{main}:active'), 60, 'as many as the cap says are active');
};

subtest 'what people are told' => sub {
    my $jwt = $usher->jwt(user => 77_777);
    my $place = $usher->fcgi(POST => '/v1/queue/tokens', jwt => $jwt)->json;
    for my $batch (100, 200) {
        admission(batch => $batch, most => 60);
        my $line = $usher->fcgi(GET => '/v1/queue')->json;
        is($line->{rate_per_second}, $batch, "a batch of $batch in force: the rate");
        is($line->{active_max}, 60, '... and the cap');
        like(($usher->ctl('line'))[1], qr/ of at most 60$/m, '... which usherctl line says, too');
        $place = $usher->fcgi(GET => '/v1/queue/tokens/me', token => $place->{token})->json;
        cmp_ok(abs($place->{estimated_wait_seconds} - $place->{position} / $batch), '<=', 1, '... and the wait follows from it');
    }
};

subtest 'time spent in front of busy workers' => sub {
    my $user  = 88_888;
    my $token = $usher->fcgi(POST => '/v1/queue/tokens', jwt => $usher->jwt(user => $user))->json->{token};
    $usher->redis('ZREM', 'q:{main}:waiting', $user);
    my ($record) = $usher->redis('HGET', 'q:{main}:tokens', $user);
    $usher->redis('HSET', 'q:{main}:tokens', $user, "$record " . 1000 * $usher->now);
    $usher->redis('ZADD', 'q:{main}:active', 9_999_999_999_999, $user);
    # A payment that took no time itself, and whether it counts as slow (latency_target is 10 s).
    my $slow = sub (%params) {
        $usher->redis('DEL', 'q:{main}:pulse');
        my %count = (served => 0);
        Usher::Process::until_true(sub {    # the worker tells about once a second
            $usher->fcgi(POST => '/v1/payments', jwt => $usher->jwt(user => $user), token => $token, body => { reservation_id => 1 },
                params => \%params);
            %count = $usher->redis('HGETALL', 'q:{main}:pulse');
            $count{served};
        }, 10);
        cmp_ok($count{served}, '>', 0, 'payments are counted');
        return $count{slow} == $count{served} ? 'all' : $count{slow} || 'none';
    };
    is($slow->(), 'none', 'without word from nginx only the work counts');
    is($slow->(REQUEST_MSEC => sprintf '%.3f', time - 20), 'all', 'what waited for a worker for 20 s is slow');
};

subtest 'fixed means fixed' => sub {
    my $fixed = Usher::Process::spew("$usher->{dir}/fixed.conf",
        Usher::Process::slurp($usher->{conf}) =~ s/^admission = .*/admission = fixed/mr);
    local $usher->{conf} = $fixed;
    admission(cap => 60, share => 0.5, no_shows => 1000);
    is(batch(), 100, 'the share does not change the batch');
    cmp_ok($usher->redis('ZCARD', 'q:{main}:active'), '>', 60, 'nor the cap the active');
    is(field('most'), 1000, 'nor what is told of it');
};

# The pace, through three periods of ten seconds, a look each tenth of a second; with a gap none in the last part of each period.
my $promote = join '', map { Usher::Process::slurp($usher->source . "/src/store/lua/$_.lua") } qw(prelude promote);
my @paced    = map {"q:{pace}:$_"} qw(tokens waiting active admission events admitted pulse);

sub pace ($batch, $gap) {
    ask($usher, 'DEL', @paced);
    ask($usher, 'HSET', $paced[0], map { ($_ => "$_ 1") } 1 .. 500);
    ask($usher, 'ZADD', $paced[1], map { ($_ => $_) } 1 .. 500);
    ask($usher, 'HSET', $paced[3], 'run', 'x');
    my ($began, @admitted) = (time);
    for (my $ms = 0; $ms <= 30_300; $ms += 100) {    # a moment more: what fell due in the last gap comes then
        next if $ms % 10_000 >= 10_000 - $gap;
        my $ahead = $ms - int(1000 * (time - $began));    # of Redis' clock, so that it does not matter how long this takes
        push @admitted, (ask($usher, 'EVAL', $promote, scalar @paced, @paced, $ahead, $batch, 10_000, 1000, 60_000, 0, 0))[0];
    }
    return (sum0(@admitted), max(@admitted));
}
for my $gap (0, 700, 1500) {
    for my $batch ($gap > 1000 ? 100 : (1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 25, 100)) {
        my $tenth = max(1, int($batch / 10));
        my ($all, $once) = pace($batch, $gap);
        ok($all >= 3 * $batch - 1 && $all <= 3.03 * $batch + $tenth + 1, "$batch in each period, $gap ms of it without a look") or diag $all;
        cmp_ok($once, '<=', $tenth, 'and never more than a tenth at once');
    }
}

done_testing;
