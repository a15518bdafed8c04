# Many at the line at once: one place for each user whatever they send, no more people in a period than the budget says
# however many schedulers run, in the order of their tickets, and one caller who fills a cached page. Each race is run
# again without its guard.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(max sum0 uniq);
use Test::More;
use Usher::Process;
use Usher::Race;
use Usher::Stack;

# The period is long and the clock is moved through it, so that it does not matter how fast this machine is.
use constant { BATCH => 100, PERIOD => 600, PROMOTERS => 10 };

my $usher = Usher::Stack->new(
    workers  => 8,
    config   => { %PATIENT, promote_batch => BATCH, promote_period => PERIOD . 's' },
    postgres => $LOGGING,
);

sub tickets_issued () { 0 + (ask($usher, 'GET', 'q:{main}:seq') || 0) }

subtest '50 token requests of one user' => sub {
    my $race = sub ($user) {
        my $before = tickets_issued();
        my @r      = burst($usher, ([ POST => '/v1/queue/tokens', user => $user ]) x 50);
        return {
            tally   => tally(@r),
            tokens  => scalar(uniq map { $_->json->{token} } @r),
            tickets => tickets_issued() - $before
        };
    };
    people($usher, 1);    # the line exists
    my $with = $race->(7);
    is_deeply($with, { tally => { 201 => 1, 200 => 49 }, tokens => 1, tickets => 1 }, 'one 201, one token, one ticket');
    without(
        $usher,
        ['one-token'],
        sub {
            my $off = $race->(8);
            cmp_ok($off->{tokens}, '>', 1, 'many tokens without the look (guard off: one-token)');
            ask($usher, 'DEL', 'q:{main}:events');    # the history rightly refuses so many for one user
        }
    );
};

# The line's history of what happened since: ([ticket, time in ms when it was admitted], ...) in the order of admission.
sub admitted_since ($ticket) {
    return map { [ split /\|/ ] } query(
        $usher,
        'SELECT id, usher_us(activated_at) / 1000 FROM waiting_token WHERE activated_at IS NOT NULL AND id > $1 ORDER BY 2, 1',
        $ticket
    );
}

# The greatest number of people who were admitted within one period.
sub busiest_period (@admitted) {
    my @times = map { $_->[1] } @admitted;
    return max 0, map {
        my $from = $_;
        scalar grep { $_ >= $from && $_ < $from + PERIOD * 1000 } @times
    } @times;
}

# How many scripts Redis has run.
sub scripts_run () {
    return sum0 map {/^cmdstat_eval(?:sha)?:calls=(\d+)/} ask($usher, 'INFO', 'commandstats');
}

# Some schedulers at once; when so many have admitted whom they may (the rest has ended) they are told to stop. (exit
# statuses, what they said).
sub promoters ($count, $working = $count) {
    my $log  = "$usher->{dir}/usher-scheduler.log";
    my $from = -s $log // 0;
    ask($usher, 'CONFIG', 'RESETSTAT');
    my @ten = map { $usher->background('usher-scheduler', 'promote') } 1 .. $count;
    Usher::Process::until_true(
        sub {
            scripts_run() >= 2 * $working && $working == grep { $_->alive } @ten;
        },
        20
      ) or
      die "the schedulers do not work\n";
    $_->signal('TERM') for @ten;
    my @ended = map { $_->wait(20) // 'none' } @ten;
    return (\@ended, substr Usher::Process::slurp($log), $from);
}

# The schedulers' lock in PostgreSQL is had by everybody who asks.
sub without_lock ($code) {
    query(
        $usher,
        'CREATE SCHEMA shadow; GRANT USAGE ON SCHEMA shadow TO usher;
         CREATE FUNCTION shadow.pg_try_advisory_xact_lock(int, int) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
         ALTER ROLE usher SET search_path = shadow, pg_catalog, public'
    );
    $code->();
    query($usher,
        'ALTER ROLE usher RESET search_path; DROP FUNCTION shadow.pg_try_advisory_xact_lock(int, int); DROP SCHEMA shadow'
    );
}

subtest 'ten promoters' => sub {
    my $last;
    my $crowd = sub (@users) {
        burst($usher, map { [ POST => '/v1/queue/tokens', user => $_ ] } @users);
    };
    people($usher, 1);    # nobody else waits
    $last = tickets_issued();
    $crowd->(2000 .. 2199);
    $usher->clock_advance(2 * PERIOD);
    my ($ended, $said) = promoters(PROMOTERS, 1);
    is_deeply($ended, [ (0) x PROMOTERS ], 'all exit with 0');
    is(scalar(() = $said =~ /another scheduler is at it/g), PROMOTERS - 1, 'nine of them say that another is at it');
    is(scalar(() = admitted_since($last)),                  BATCH / 10, 'the one admits a tenth of the budget at once');

    without_lock(
        sub {
            for my $tenth (2 .. 10) {
                $usher->clock_advance(PERIOD / 10);
                promoters($tenth == 10 ? PROMOTERS : 1);
            }
            my @admitted = admitted_since($last);
            is(scalar @admitted, BATCH, 'of all who know nothing of each other, 100 are admitted in the period');
            ($ended, $said) = promoters(PROMOTERS);
            is_deeply($ended, [ (0) x PROMOTERS ], 'all exit with 0');
            is(scalar(() = $said =~ /promote admitted=0 /g),
                PROMOTERS, 'all of them at it, and nobody more is admitted');
            is_deeply([ map { $_->[0] } @admitted ], [ $last + 1 .. $last + BATCH ],
                'in ticket order, nobody left out');
            is(ask($usher, 'HGET', 'q:{main}:admission', 'serving'), $last + BATCH, 'serving is the last of them');

            $usher->clock_advance(PERIOD / 10);
            promoters(2);
            my @later = admitted_since($last);
            cmp_ok(scalar @later, '>', BATCH, 'later it goes on');
            is(busiest_period(@later), BATCH, 'with 100 in any period');
            without(
                $usher,
                ['admission-budget'],
                sub {
                    promoters(2);
                    cmp_ok(busiest_period(admitted_since($last)),
                        '>', BATCH, 'without the budget more are (guard off: admission-budget)');
                }
            );
        }
    );
};

# Two schedulers may write the same entries, and each of them must come to its end. Each session writes the same new tickets.
sub written_twice ($from) {
    my $to   = $from + 799;
    my $text = qq{DO \$\$
        DECLARE bad bigint := 0;
        BEGIN
            FOR n IN $from .. $to LOOP
                BEGIN
                    PERFORM usher_record_line(ARRAY[n]::bigint[], ARRAY[n]::bigint[], '{issued}', '{1000}');
                EXCEPTION WHEN unique_violation THEN
                    bad := bad + 1;
                END;
                COMMIT;
            END LOOP;
            INSERT INTO written_twice VALUES (bad);
        END \$\$};
    query($usher, 'CREATE TABLE IF NOT EXISTS written_twice (bad bigint); TRUNCATE written_twice');
    sql_race($usher, ($text) x 8);
    my ($ended) = query($usher, 'SELECT count(*) FROM written_twice');
    my ($there) = query($usher, "SELECT count(*) FROM waiting_token WHERE id BETWEEN $from AND $to AND status = 'waiting'");
    is_deeply([ $ended, $there ], [ 8, 800 ], 'all have written');
    return query($usher, 'SELECT sum(bad) FROM written_twice');
}

subtest 'many write the same history' => sub {
    is((written_twice(1_000_000))[0], 0, 'nobody is stopped by another one');
    my ($stopped, $round) = (0, 1);
    without($usher, ['history-lock'], sub { ($stopped) = written_twice(++$round * 1_000_000) while !$stopped && $round < 12 });
    cmp_ok($stopped, '>', 0, 'without the lock some are (guard off: history-lock)');
    query($usher, 'DELETE FROM waiting_token WHERE id >= 1000000; DROP TABLE written_twice');
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
                Usher::Process::find_program('psql'),
                '-X', '-q',          '-h', $usher->{postgres}{dir},
                '-U', 'usher_owner', '-c',
                'BEGIN; LOCK TABLE concert IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.4); COMMIT', 'usher'
            ],
            log => "$usher->{dir}/lock.log",
        );
        Usher::Process::until_true(
            sub {
                query(
                    $usher, q{SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted
                    AND relation = 'concert'::regclass}
                );
            }
          ) or
          die "the table is not locked\n";
        my @r;
        my $traffic = traffic($usher, sub { @r = burst($usher, ($page) x 40) });
        $lock->wait;
        return (tally(@r), scalar grep {/FROM concert/} @{ $traffic->{statements} });
    };
    burst($usher, $page);
    my ($tally, $renderings) = $race->();
    is_deeply($tally, { 200 => 40 }, 'everybody gets the page');
    is($renderings, 1, 'one of them renders it');
    without(
        $usher,
        ['one-filler'],
        sub {
            cmp_ok(($race->())[1], '>', 1, 'many do without the claim (guard off: one-filler)');
        }
    );
};

done_testing;
