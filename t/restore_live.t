#!/usr/bin/perl
# The line is lost at a bad moment: paused by the operator, in the middle of a restore, with history on its way, with everybody
# polling, with people joining and being let in.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Usher::Check;
use Usher::Process;
use Usher::Stack;

use constant BATCH => 1000;    # of a restore: src/sale/restore.c

my $usher = Usher::Stack->new(workers => 4, server => 0, config => { active_max => 3, claim_window => '1h' });
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

done_testing;
