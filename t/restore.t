#!/usr/bin/perl
# The line survives the loss of Redis: everything (FLUSHALL), or the last second (an older append-only file). It comes back
# from PostgreSQL by itself, in ticket order, once, whoever notices first.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Usher::Check;
use Usher::Process;
use Usher::Stack;

# So many numbers are left out after a loss: src/sale/restore.c.
use constant { CROWD => 100_000, FEWER => 1_000, GAP => 1_000 };

my $usher = Usher::Stack->new(workers => 4, config => { promote_batch => 2, active_max => 2, claim_window => '1h' });

sub position ($token) {
    my $r = $usher->get('/v1/queue/tokens/me', token => $token);
    return $r->status == 200 ? $r->json->{status} eq 'active' ? 'active' : $r->json->{position} : $r->status;
}
sub restored { scalar(() = $usher->server_log =~ /the line is complete again/g) }
sub recorded { 0 + $usher->psql('SELECT count(*) FROM waiting_token') }

# Two are let in, one waits; all of it is history.
my @admitted = map { $usher->join_line($_) } 1, 2;
$usher->scheduler('promote');
my $waiting = $usher->join_line(3);
$usher->scheduler('promote');
is(recorded(), 3, 'the history knows all three');
is(position($admitted[0]), 'active', 'the first is admitted');
is(position($waiting), 1, 'the third waits');

# The crowd behind them, as if it had joined and been recorded.
$usher->psql(
    q{INSERT INTO waiting_token (id, user_id, status, issued_at)
    SELECT n, n + 1000, 'waiting', usher_clock() FROM generate_series(4, 3 + $1::int) n}, CROWD
);

subtest 'everything is lost under load' => sub {
    my $before = restored();
    $usher->redis('FLUSHALL');
    my @answers = $usher->parallel([
        (map { [ GET  => '/v1/queue/tokens/me', token => $waiting ] } 1 .. 10),
        (map { [ GET  => '/v1/queue/tokens/me', token => $admitted[1] ] } 1 .. 10),
        (map { [ POST => '/v1/queue/tokens',    user  => 3 ] } 1 .. 5),
    ]);
    my @bad = grep { $_->status != 200 && $_->status != 503 } @answers;
    is_deeply([ map { $_->status } @bad ], [], 'nobody is denied: the right answer, or 503 until it is known again');
    is(scalar(grep { $_->status == 503 && !$_->header('Retry-After') } @answers), 0, 'each 503 says when to come again');
    Usher::Process::until_true(sub { position($waiting); restored() > $before }, 60);
    is(restored() - $before, 1, 'one of them restored the line, the others did not');
    is(position($_), 'active', 'who was active still is') for @admitted;
    is(position($waiting), 1, 'who waited has the place of before');
    is($usher->redis('ZCARD', 'q:{main}:waiting'), CROWD + 1, 'the whole crowd is back');
    my @order = $usher->redis('ZRANGE', 'q:{main}:waiting', 0, -1, 'WITHSCORES');
    my @wrong = grep { $order[ 2 * $_ ] != ($_ ? $order[ 2 * $_ + 1 ] + 1000 : 3) || $order[ 2 * $_ + 1 ] != $_ + 3 } 0 .. CROWD;
    is_deeply(\@wrong, [], 'in ticket order');
    my $r = $usher->post('/v1/queue/tokens', user => 500_000);
    is($r->status, 201, 'the next one gets a place');
    is($r->json->{ticket}, CROWD + 3 + GAP + 1, 'with the next number after a gap');
    is($r->json->{position}, CROWD + 2, 'at the end');
    $r = $usher->post('/v1/queue/tokens', user => 3);
    is($r->json->{token}, $waiting, 'and the same token as ever for who has one');
};

# A history of millions must not be read through under a request's time limit.
subtest 'nothing of the history is searched' => sub {
    my $reads = sub {
        split /\|/, $usher->psql(q{SELECT seq_scan, idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'waiting_token'});
    };
    $usher->stop_server;
    $usher->scheduler('promote');    # writes the newest history
    my ($scans, $rows) = $reads->();
    $usher->redis('FLUSHALL');
    my ($status, $log) = $usher->scheduler('promote');
    like($log, qr/the line is complete again live=10\d{4}/, 'a line is restored');
    my ($scans_now, $rows_now) = $reads->();
    is($scans_now - $scans, 0, 'without a look at the whole history');
    cmp_ok($rows_now - $rows, '<', CROWD + 1000, 'each who lives is read once, and next to nobody else');
    $usher->start_server;
};

subtest 'the scheduler notices, too' => sub {
    $usher->stop_server;
    $usher->scheduler('promote');    # writes the newest history
    $usher->psql(q{DELETE FROM waiting_token WHERE id > $1::int AND id <= $2::int}, 3 + FEWER, 3 + CROWD);
    $usher->redis('FLUSHALL');
    my ($status, $log) = $usher->scheduler('promote');
    is($status, 0, 'promote does its work');
    like($log, qr/the line is complete again live=1004/, 'and restores the line first');
    $usher->start_server;
    is(position($waiting), 1, 'nobody was let in over the cap, nobody lost the place');
};

subtest 'Redis comes back with an older copy' => sub {
    my $redis = $usher->{redis};
    my $aof   = "$redis->{dir}/appendonlydir";
    # What the copy does not know: the second has used the token, and holds seats.
    $usher->redis('ZADD', 'q:{main}:active', int(1000 * ($usher->now + 400)), 2);
    $usher->redis('BGREWRITEAOF');
    Usher::Process::until_true(sub { join("\n", $usher->redis('INFO', 'persistence')) =~ /aof_rewrite_in_progress:0/ }, 30);
    Usher::Process::must({}, 'cp', '-a', $aof, "$redis->{dir}/older");
    my $late = $usher->join_line(600_000);
    $usher->delete('/v1/queue/tokens/me', token => $admitted[0]);
    $usher->scheduler('promote');    # the third is let in; all is recorded
    is(position($waiting), 'active', 'the third was let in');
    my ($last) = $usher->psql('SELECT max(id) FROM waiting_token');

    $redis->{process}->kill;
    Usher::Process::must({}, 'rm', '-rf', $aof);
    Usher::Process::must({}, 'mv', "$redis->{dir}/older", $aof);
    $usher->clock_advance(300);    # it takes the operator a while
    $redis->start;
    my $before = restored();
    Usher::Process::until_true(sub { position($waiting); restored() > $before }, 60);
    is(position($waiting), 'active', 'an admission is not taken back');
    is(position($admitted[0]), 404, 'who had left does not come back');
    is(position($admitted[1]), 'active', 'the other one is still in');
    cmp_ok($usher->redis('ZSCORE', 'q:{main}:active', 2), '>', 1000 * ($usher->now + 590), 'with a new life');
    is(position($late), FEWER + 2, 'who joined after the copy was made has the place');
    is($usher->post('/v1/queue/tokens', user => 700_000)->json->{ticket}, $last + GAP + 1, 'no ticket number is given twice');
};

subtest 'a line that is lost while PostgreSQL is away' => sub {
    $usher->{postgres}->stop;
    $usher->redis('FLUSHALL');
    is(position($waiting), 503, 'nobody is told that the token is unknown');
    is($usher->post('/v1/queue/tokens', user => 800_000)->status, 503, 'and nobody gets a number that another has');
    $usher->{postgres}->start;
    ok(Usher::Process::until_true(sub { position($waiting) eq 'active' }, 30), 'it comes back with PostgreSQL');
};

done_testing;
