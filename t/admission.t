#!/usr/bin/perl
# admission = adaptive: more are let in for measured no-shows, at most double; the cap follows what the shop bears, quickly down
# and slowly up, between active_min and active_max; admission = fixed ignores all of it.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Usher::Process;
use Usher::Stack;

my %common = (promote_batch => 100, promote_period => '1s', active_max => 1000, active_min => 50, claim_window => '60s');
my $usher  = Usher::Stack->new(nginx => 0, server => 0, config => { %common, admission => 'adaptive' });

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

sub judge (%pulse) {
    $usher->clock_advance(30);
    $usher->redis('HSET', 'q:{main}:pulse', %pulse);
    $usher->scheduler('promote');
    return field('cap');
}

admission(cap => 800, share => 0);
cmp_ok(judge(served => 1000, slow => 5, holds => 500, refused => 10), '>', 800, 'a shop that is well gets more people');
cmp_ok(field('cap'), '<', 900, '... slowly');
admission(cap => 800);
cmp_ok(judge(served => 1000, slow => 50, holds => 500, refused => 10), '<', 650, 'a slow one fewer, quickly');
admission(cap => 800);
cmp_ok(judge(served => 1000, slow => 0, holds => 500, refused => 400), '<', 800, 'so one that mostly refuses');
admission(cap => 51);
is(int judge(served => 1000, slow => 900, holds => 0, refused => 0), 50, 'never below active_min');
admission(cap => 999);
cmp_ok(judge(served => 1000, slow => 0, holds => 0, refused => 0), '<=', 1000, 'nor above active_max');

subtest 'the cap binds' => sub {
    $usher->redis('DEL', 'q:{main}:active', 'q:{main}:admitted');
    $usher->redis('ZADD', 'q:{main}:active', map { (9_999_999_999_999, "9$_") } 1 .. 55);
    admission(cap => 60, judged => 99_999_999_999_999, credit => 10);
    $usher->scheduler('promote');
    is($usher->redis('ZCARD', 'q:{main}:active'), 60, 'as many as the cap says are active');
};

subtest 'fixed means fixed' => sub {
    my $fixed = Usher::Process::spew("$usher->{dir}/fixed.conf",
        Usher::Process::slurp($usher->{conf}) =~ s/^admission = .*/admission = fixed/mr);
    local $usher->{conf} = $fixed;
    admission(cap => 60, share => 0.5, no_shows => 1000);
    is(batch(), 100, 'the share does not change the batch');
    cmp_ok($usher->redis('ZCARD', 'q:{main}:active'), '>', 60, 'nor the cap the active');
};

done_testing;
