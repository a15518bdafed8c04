# Many at the line at once: one place for each user whatever they send, no more people in a period than the budget says
# however many schedulers run, in the order of their tickets, and one caller who fills a cached page. Each race is run
# again without its guard.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(max uniq);
use Test::More;
use Usher::Process;
use Usher::Race;
use Usher::Stack;

use constant { BATCH => 100, PERIOD_MS => 2000, PROMOTERS => 10 };

my $usher = Usher::Stack->new(
    workers  => 8,
    config   => { claim_window => '2h', active_ttl => '2h', promote_batch => BATCH, promote_period => PERIOD_MS . 'ms' },
    postgres => $LOGGING,
);

sub tickets_issued () { 0 + ($usher->redis('GET', 'q:{main}:seq') || 0) }

subtest '50 token requests of one user' => sub {
    my $race = sub ($user) {
        my $before = tickets_issued();
        my @r      = burst($usher, ([ POST => '/v1/queue/tokens', user => $user ]) x 50);
        return { tally => tally(@r), tokens => scalar(uniq map { $_->json->{token} } @r), tickets => tickets_issued() - $before };
    };
    people($usher, 1);    # the line exists
    my $with = $race->(7);
    is_deeply($with, { tally => { 201 => 1, 200 => 49 }, tokens => 1, tickets => 1 }, 'one 201, one token, one ticket');
    without($usher, ['one-token'], sub {
        my $off = $race->(8);
        cmp_ok($off->{tokens}, '>', 1, 'many tokens without the look (guard off: one-token)');
        $usher->redis('DEL', 'q:{main}:events');    # the history rightly refuses so many for one user
    });
};

# The line's history of what happened since: ([ticket, time in ms when it was admitted], ...) in the order of admission.
sub admitted_since ($ticket) {
    return map { [ split /\|/ ] } $usher->psql(
        'SELECT id, usher_us(activated_at) / 1000 FROM waiting_token WHERE activated_at IS NOT NULL AND id > $1 ORDER BY 2, 1',
        $ticket
    );
}

# The greatest number of people who were admitted within one period.
sub busiest_period (@admitted) {
    my @times = map { $_->[1] } @admitted;
    return max 0, map {
        my $from = $_;
        scalar grep { $_ >= $from && $_ < $from + PERIOD_MS } @times
    } @times;
}

# Ten schedulers at once; (their exit statuses, what they said).
sub ten_promoters () {
    my $log   = "$usher->{dir}/usher-scheduler.log";
    my $from  = -s $log // 0;
    my @ten   = map { $usher->background('usher-scheduler', 'promote') } 1 .. PROMOTERS;
    my @ended = map { $_->wait(30) // 'none' } @ten;
    return (\@ended, substr Usher::Process::slurp($log), $from);
}

# The schedulers' lock in PostgreSQL is had by everybody who asks.
sub without_lock ($code) {
    $usher->psql(
        'CREATE SCHEMA shadow; GRANT USAGE ON SCHEMA shadow TO usher;
         CREATE FUNCTION shadow.pg_try_advisory_xact_lock(int, int) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
         ALTER ROLE usher SET search_path = shadow, pg_catalog, public'
    );
    $code->();
    $usher->psql('ALTER ROLE usher RESET search_path; DROP SCHEMA shadow CASCADE');
}

subtest 'ten promoters' => sub {
    my $last  = tickets_issued();
    my $crowd = sub ($users) { burst($usher, map { [ POST => '/v1/queue/tokens', user => $_ ] } @$users) };
    $crowd->([ 2000 .. 2399 ]);
    $usher->ctl('pause');    # what was admitted so far is out of every window
    $usher->clock_advance(2 * PERIOD_MS / 1000);
    $usher->ctl('resume');

    my ($ended, $said) = ten_promoters();
    is_deeply($ended, [ (0) x PROMOTERS ], 'all exit with 0');
    is(scalar(() = $said =~ /another scheduler is at it/g), PROMOTERS - 1, 'nine of them say that another is at it');
    my @admitted = admitted_since($last);
    cmp_ok(busiest_period(@admitted), '<=', BATCH, 'at most 100 people in any period');
    cmp_ok(scalar @admitted, '>=', BATCH - 1, 'and they are admitted, not held up');

    without_lock(sub {
        $usher->clock_advance(2 * PERIOD_MS / 1000);
        my $before = $admitted[-1][0];
        my ($ended, $said) = ten_promoters();
        is_deeply($ended, [ (0) x PROMOTERS ], 'without the lock: all exit with 0');
        is(scalar(() = $said =~ /promote admitted=/g), PROMOTERS, 'all ten admit people');
        my @now   = admitted_since($before);
        my @first = grep { $_->[1] < $now[0][1] + PERIOD_MS } @now;
        is(busiest_period(@now), BATCH, 'but the budget alone keeps it at 100 in any period');
        is(scalar @first,        BATCH, 'and 100 there are');
        my @all = admitted_since($last);
        is_deeply([ map { $_->[0] } @all ], [ $last + 1 .. $last + @all ], 'everybody in ticket order, nobody left out');
        is($usher->redis('HGET', 'q:{main}:admission', 'serving'), $all[-1][0], 'serving is the last of them');

        without($usher, ['admission-budget'], sub {
            my $before = $all[-1][0];
            $crowd->([ 2400 .. 2499 ]);
            ten_promoters();
            cmp_ok(busiest_period(admitted_since($before)), '>', BATCH, 'without the budget more are (guard off: admission-budget)');
        });
    });
};

subtest 'one filler of a page' => sub {
    my ($reader) = people($usher, 1);
    my $page = [ GET => '/v1/concerts?page=0&size=10', user => $reader->{user}, token => $reader->{token} ];
    $usher->concerts(20);
    # A stale page while nobody can read the table: whoever renders it waits, the others need not.
    my $race = sub {
        burst($usher, $page);
        $usher->clock_advance(31);
        my $lock = Usher::Process->start(
            command => [
                Usher::Process::find_program('psql'), '-X', '-q', '-h', $usher->{postgres}{dir}, '-U', 'usher_owner', '-c',
                'BEGIN; LOCK TABLE concert IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.4); COMMIT', 'usher'
            ],
            log => "$usher->{dir}/lock.log",
        );
        Usher::Process::until_true(
            sub {
                $usher->psql(q{SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted
                    AND relation = 'concert'::regclass});
            }
        ) or die "the table is not locked\n";
        my @r;
        my $traffic = traffic($usher, sub { @r = burst($usher, ($page) x 40) });
        $lock->wait;
        return (tally(@r), scalar grep {/FROM concert/} @{ $traffic->{statements} });
    };
    burst($usher, $page);
    my ($tally, $renderings) = $race->();
    is_deeply($tally, { 200 => 40 }, 'everybody gets the page');
    is($renderings, 1, 'one of them renders it');
    without($usher, ['one-filler'], sub {
        cmp_ok(($race->())[1], '>', 1, 'many do without the claim (guard off: one-filler)');
    });
};

done_testing;
