#!/usr/bin/perl
# The line is lost at a bad moment: paused by the operator, in the middle of a restore, with history on its way, with everybody
# polling, with people joining and being let in.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Time::HiRes qw(time);
use Usher::Check;
use Usher::Process;
use Usher::Stack;

use constant WORKERS => 4;
use constant { BATCH => 1000, GAP => 1000 };    # of a restore: src/sale/restore.c

my $usher = Usher::Stack->new(
    workers  => WORKERS,
    server   => 0,
    config   => { active_max => 3, claim_window => '1h' },
    postgres => "log_connections = on\n",
);
my $crash = "$usher->{dir}/crash";
$usher->{env} = { USHER_TEST_CRASH => $crash };
$usher->start_server;

sub poll     ($token) { $usher->get('/v1/queue/tokens/me', token => $token) }
sub line     ()       { $usher->fcgi(GET => '/v1/queue') }    # past nginx, which keeps an answer for a second
sub restored ()       { scalar(() = $usher->server_log =~ /the line is complete again/g) }

# A process that stops itself at a point (src/base/crash.h) instead of dying there.
sub stopped ($process) {
    return Usher::Process::until_true(sub { Usher::Process::slurp("/proc/${\$process->pid}/stat") =~ /^\d+ \(.*\) T /s });
}
sub stop_at ($point) { Usher::Process::spew($crash, "$point pause") }

# People of the history, as if they had joined and been recorded.
sub crowd ($first, $count) {
    $usher->psql(
        q{INSERT INTO waiting_token (id, user_id, status, issued_at)
        SELECT n, n + 100000, 'waiting', usher_clock() FROM generate_series($1::int, $1::int + $2::int - 1) n}, $first, $count
    );
}

# Until the line answers again.
sub line_is_back () { Usher::Process::until_true(sub { line()->status == 200 }, 10) }

subtest 'a paused line' => sub {
    my ($in) = $usher->admit(1);
    my @waiting = map { $usher->join_line($_) } 2 .. 4;
    $usher->scheduler('expire');
    is(($usher->ctl('pause'))[0], 0, 'usherctl pause');
    $usher->redis('FLUSHALL');
    my $r = line();
    ok($r->status == 503 || $r->json->{issued} >= 4, 'nobody is told of an empty line') || diag $r->body;
    ok(line_is_back(), 'the look at the line restores it');
    is(line()->json->{state}, 'paused', 'and it is still paused');
    problem_is($usher->post('/v1/queue/tokens', user => 5), 409, 'queue-paused', 'no new places');
    $usher->scheduler('promote');
    is_deeply([ map { poll($_)->json->{status} } $in, @waiting ], [qw(active waiting waiting waiting)], 'nobody is let in');
    my ($status, $out) = $usher->ctl('resume');
    is($out, "the line is now open\n", 'usherctl resume');
    $usher->redis('FLUSHALL');
    ok(line_is_back(), 'it is lost and restored again');
    is(line()->json->{state}, 'open', 'and still open');
};

subtest 'pause and resume, cut off between PostgreSQL and Redis' => sub {
    for my $case ([ pause => 'open', 'paused' ], [ resume => 'paused', 'open' ]) {
        my ($command, $before, $after) = @$case;
        Usher::Process::spew($crash, 'before:pause');
        is(($usher->ctl($command))[0], 137, "usherctl $command is killed");
        is(line()->json->{state}, $before, 'the line is as before');
        $usher->redis('FLUSHALL');
        ok(line_is_back(), 'a loss');
        is(line()->json->{state}, $after, 'gives what the operator asked for last');
    }
};

subtest 'pause without PostgreSQL' => sub {
    $usher->{postgres}->stop;
    my ($status, undef, $words) = $usher->ctl('pause');
    is($status, 1, 'usherctl pause says that it is half done');
    like($words, qr/the line is now paused, but PostgreSQL does not answer.*repeat/s, 'and what to do');
    is(line()->json->{state}, 'paused', 'but the line is paused');
    ($status, undef, $words) = $usher->ctl('resume');
    is($status, 1, 'usherctl resume does nothing');
    like($words, qr/PostgreSQL/, 'and says why');
    is(line()->json->{state}, 'paused', 'and the line stays as it is');
    $usher->redis('FLUSHALL');
    is(line()->status, 503, 'while the line is lost nobody is told that it is empty');
    is(($usher->ctl('line'))[0], 1, 'nor the operator');
    $usher->{postgres}->start;
    ok(line_is_back(), 'it comes back with PostgreSQL');
    is(($usher->ctl('resume'))[0], 0, 'usherctl resume');
};

subtest 'lost again in the middle of a restore' => sub {
    $usher->stop_server;
    $usher->scheduler('expire');    # writes the newest history
    my ($last, $live) = split /\|/, $usher->psql(q{SELECT max(id), count(*) FILTER (WHERE status IN ('waiting', 'active')) FROM waiting_token});
    crowd($last + 1, 3 * BATCH);
    $usher->redis('FLUSHALL');
    stop_at('after:restore');
    my $promote = $usher->background('usher-scheduler', 'promote');
    ok(stopped($promote), 'a restore stops after a batch');
    cmp_ok($usher->redis('ZCARD', 'q:{main}:waiting'), '<', 2 * BATCH, 'part of the line is there');
    $usher->redis('FLUSHALL');
    $promote->signal('CONT');
    is($promote->wait >> 8, 0, 'it goes on and ends well');
    is($usher->redis('HLEN', 'q:{main}:tokens'), $live + 3 * BATCH, 'with the whole line');
    is($usher->redis('HGET', 'q:{main}:admission', 'restoring'), undef, 'and leaves nothing behind');
    $usher->start_server;
};

# Read from the stream, recorded after the restore: numbers that the restore could not know must not be given again, and no
# number that an earlier restore began with.
subtest 'a batch of history that is late' => sub {
    $usher->join_line(10);
    $usher->scheduler('expire');
    my $highest = $usher->psql('SELECT max(id) FROM waiting_token');
    $usher->redis('FLUSHALL');
    ok(line_is_back(), 'the line is lost and restored');
    my @late = map { $usher->post('/v1/queue/tokens', user => $_)->json->{ticket} } 11 .. 13;
    is_deeply(\@late, [ map { $highest + GAP + $_ } 1 .. 3 ], 'numbers go on after a gap');
    stop_at('before:RECORD_LINE');
    my $expire = $usher->background('usher-scheduler', 'expire');
    ok(stopped($expire), 'a batch is on its way');
    $usher->redis('FLUSHALL');
    ok(line_is_back(), 'the line is lost and restored again');
    is($usher->post('/v1/queue/tokens', user => 21)->json->{ticket}, $highest + 2 * GAP + 1, 'after another gap');
    $expire->signal('CONT');
    is($expire->wait >> 8, 0, 'the batch is recorded');
    $usher->scheduler('promote');
    is_deeply([ $usher->psql("SELECT id, user_id FROM waiting_token WHERE id > $highest ORDER BY id") ],
        [ map({ "$late[$_]|" . ($_ + 11) } 0 .. 2), $highest + 2 * GAP + 1 . '|21' ], 'each number is one person\'s');
};

# The payment is in PostgreSQL, the word about the token was in the stream.
subtest 'a token that was used up in the last second' => sub {
    my ($schedule, @seats) = $usher->schedule($usher->concerts(1), seats => 2);
    my ($payer) = map { { user => $_, token => $usher->join_line($_) } } 41;
    $usher->scheduler('-o', 'active_max=10000', '-o', 'promote_batch=10000', 'promote') for 1 .. 2;
    $usher->charge($payer->{user}, 5000);
    my $hold = $usher->hold($payer->{user}, $payer->{token}, $schedule, $seats[0]);
    my $paid = $usher->post('/v1/payments', user => $payer->{user}, token => $payer->{token}, body => { reservation_id => $hold->{id} });
    is($paid->status, 201, 'somebody pays');
    my $holder = $usher->join_line(42);
    $usher->scheduler('-o', 'active_max=10000', '-o', 'promote_batch=10000', 'promote');
    $usher->psql(q{UPDATE waiting_token SET status = 'active', deleted_at = NULL WHERE user_id = 41});    # as if not recorded
    $usher->redis('FLUSHALL');
    ok(line_is_back(), 'the line is lost and restored');
    is(poll($payer->{token})->status, 404, 'the token is used up still');
    is(poll($holder)->json->{status}, 'active', 'who has not paid is in');
    $usher->scheduler('expire');
    is($usher->psql('SELECT status FROM waiting_token WHERE user_id = 41'), 'used', 'and the history learns of it');
};

# A has claimed a seat and is on the way to PostgreSQL; the line is lost with all doormen, and B's look loads the hall before A's
# hold is there.
subtest 'a claim that was on its way' => sub {
    my ($schedule, @seats) = $usher->schedule($usher->concerts(1), seats => 2);
    my ($holder, $looker) = map { $usher->join_line($_) } 51, 52;
    $usher->scheduler('-o', 'active_max=10000', '-o', 'promote_batch=10000', 'promote') for 1 .. 2;
    my $look = sub { $usher->get("/v1/schedules/$schedule/seats", user => 52, token => $looker) };
    is($look->()->status, 200, 'the hall is known');
    stop_at('before:HOLD');
    my $body = qq({"schedule_id":$schedule,"seat_ids":[$seats[0]]});
    my $hold = $usher->fcgi_open(POST => '/v1/reservations', user => 51, token => $holder, raw => $body);
    $hold->send($body);
    $hold->finish;
    my ($stopped) = Usher::Process::until_true(
        sub { grep { Usher::Process::slurp("/proc/$_/stat") =~ /^\d+ \(.*\) T /s } $usher->worker_pids }) ? grep {
        Usher::Process::slurp("/proc/$_/stat") =~ /^\d+ \(.*\) T /s } $usher->worker_pids : die "no worker stopped\n";
    $usher->redis('FLUSHALL');
    ok(line_is_back(), 'the line is lost and restored');
    is(scalar @{ $look->()->json->{items} }, 2, 'another person sees both seats');
    kill CONT => $stopped;
    is($hold->response->status, 201, 'the hold is made');
    my $claims = sub { [ map {/^s:\{main\}:$schedule:seats (.*)/} $usher->claims ] };
    is_deeply($claims->(), [], 'and the doorman does not know of it');
    $usher->clock_advance(20);    # until then it might still be under way
    is(($usher->scheduler('expire'))[0], 0, 'the scheduler comes by');
    is_deeply($claims->(), ["$seats[0] held 51"], 'and tells him');
    my $hall = "s:{main}:$schedule:seats";
    $usher->redis('HDEL', $hall, $seats[0]);
    $usher->scheduler('expire');
    is_deeply($claims->(), [], 'once for each time that he was loaded');
};

# Somebody restores a long line, and everybody goes on polling.
subtest 'a crowd while another process restores' => sub {
    my $connections = sub { scalar(() = Usher::Process::slurp("$usher->{dir}/postgres/postgres.log") =~ /authorized: user=usher /g) };
    my $poll        = sub { my $r = $usher->fcgi_open(GET => '/v1/queue/tokens/me', token => $_[0]); $r->finish; $r };
    my $balance     = sub { my $r = $usher->fcgi_open(GET => '/v1/balance', user => 1); $r->finish; $r };
    my $token       = $usher->join_line(10);
    for (1 .. 5) {    # each worker has its connections
        $_->response for map { $poll->($token), $balance->() } 1 .. 40;
    }
    my $other       = $usher->session('usher');
    $other->run('BEGIN; SELECT pg_advisory_xact_lock(1970496882, 3)');
    $usher->redis('FLUSHALL');
    my ($before, $from, $polls, @bad, @balance) = ($connections->(), time, 0);
    while (time < $from + 2) {
        my @crowd = map { $poll->($token) } 1 .. 40;
        my $asked = time;
        push @bad, "balance $_" for grep { $_ != 200 } $usher->fcgi(GET => '/v1/balance', user => 1)->status;
        push @balance, time - $asked;
        push @bad, "poll $_" for grep { $_ != 503 } map { $_->response->status } @crowd;
        $polls += @crowd;
    }
    my $took = time - $from;
    my $each = ($connections->() - $before) / WORKERS / $took;
    is_deeply(\@bad, [], "$polls polls are told to come again, each balance is answered");
    cmp_ok($each, '<=', 2, sprintf 'PostgreSQL sees few new connections (%.1f for each worker and second)', $each);
    my ($slowest) = sort { $b <=> $a } @balance;
    cmp_ok($slowest, '<', 1, sprintf 'nobody waits long for a balance (%.2f s)', $slowest);
    $other->run('ROLLBACK');
    $other->close;
    is(Usher::Process::until_true(sub { poll($token)->status == 200 }, 2), 1, 'when the other one fails, the line is restored')
        or diag poll($token)->body;
};

subtest 'a number of somebody else in the history' => sub {
    my $record = sub (@event) { $usher->psql('SELECT usher_record_line($1, $2, $3, $4)', map {"{$_}"} @event) };
    $record->(900_001, 31, 'issued',    1000);
    $record->(900_001, 32, 'activated', 2000);
    is($usher->psql('SELECT user_id, status FROM waiting_token WHERE id = 900001'), '31|waiting', 'stays as it is');
    $record->(900_001, 31, 'left', 3000);
    is($usher->psql('SELECT user_id, status FROM waiting_token WHERE id = 900001'), '31|left', 'its own word changes it');
};

done_testing;
