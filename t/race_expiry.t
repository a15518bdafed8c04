# At the deadline of a hold: it is paid or it expires, never both, and the money agrees; whoever wants its seat gets it or
# is refused. The races are run in PostgreSQL itself, hundreds of times, and again without their guards.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Usher::Race;
use Usher::Stack;

use constant { MONEY => 1000, PRICE => 700 };

my $usher      = Usher::Stack->new(server => 0, nginx => 0);
my ($concert)  = $usher->concerts(1);
my ($schedule) = $usher->schedule($concert, seats => 3000, price => PRICE);
query($usher, 'CREATE TABLE race (who text, reservation_id bigint, outcome text)');

# A payment waits for the deadline twice: between looking at the reservation and taking it, and before it is committed.
slowly($usher, 'usher_pay', '-- Paying and expiring both begin', 0.004);
slowly($usher, 'usher_pay', 'UPDATE asset a SET balance',          0.002);

my $seat = 0;

# So many new users, each with money and with one seat held for five minutes. The outcomes so far are forgotten.
sub holders ($count) {
    query(
        $usher, "TRUNCATE race; SELECT FROM generate_series($seat + 1, $seat + $count) AS n,
            usher_charge(n, @{[MONEY]}, 1000000, 'money', '\\x00'),
            LATERAL (SELECT array_agg(id) AS seats FROM concert_seat WHERE location = 'A' || n) AS s,
            usher_hold(n, $schedule, s.seats, 300000, 4, NULL, NULL)"
    );
    $seat += $count;
    return $seat - $count;
}

# One who pays every `of`th of the reservations of users after `first`, each right around its deadline.
sub payer ($first, $number, $of) {
    return "DO \$\$
        DECLARE
            v_one record;
            v_outcome text;
        BEGIN
            FOR v_one IN SELECT id, user_id FROM reservation WHERE user_id > $first AND status = 'held' AND user_id % $of = $number
                ORDER BY user_id
            LOOP
                UPDATE reservation SET expires_at = clock_timestamp() + random() * interval '8 milliseconds' WHERE id = v_one.id;
                COMMIT;
                BEGIN
                    SELECT outcome INTO v_outcome FROM usher_pay(v_one.user_id, v_one.id, true, NULL, NULL);
                EXCEPTION WHEN unique_violation OR check_violation THEN
                    v_outcome := SQLSTATE;
                END;
                INSERT INTO race VALUES ('pay', v_one.id, v_outcome);
                COMMIT;
            END LOOP;
        END \$\$";
}

# One who expires what is due until all `count` payments have been tried.
sub expirer ($count) {
    return "DO \$\$
        BEGIN
            WHILE (SELECT count(*) FROM race WHERE who = 'pay') < $count LOOP
                BEGIN
                    INSERT INTO race SELECT 'expire', reservation_id, 'expired' FROM usher_expire(10);
                EXCEPTION WHEN check_violation OR foreign_key_violation THEN
                    INSERT INTO race VALUES ('expire', 0, SQLSTATE);
                END;
                COMMIT;
                PERFORM pg_sleep(0.0005);
            END LOOP;
        END \$\$";
}

sub count_of ($sql) { 0 + query($usher, "SELECT count(*) FROM $sql") }

# What came of it.
sub pay_against_expire ($count) {
    my $first = holders($count);
    sql_race($usher, map({ payer($first, $_, 4) } 0 .. 3), map { expirer($count) } 1 .. 2);
    query($usher, 'SELECT pg_sleep(0.01)');
    query($usher, "INSERT INTO race SELECT 'expire', reservation_id, 'expired' FROM usher_expire(1000)");
    my $paid    = "(SELECT reservation_id FROM race WHERE who = 'pay' AND outcome = 'created')";
    my $expired = "(SELECT reservation_id FROM race WHERE who = 'expire' AND outcome = 'expired')";
    return {
        paid    => count_of("$paid AS p"),
        expired => count_of("$expired AS e"),
        both    => count_of("($paid INTERSECT $expired) AS b"),
        refused => count_of(q{race WHERE outcome LIKE '23%'}),
        twice   => count_of(
            "(SELECT FROM race WHERE outcome IN ('created', 'expired') GROUP BY who, reservation_id HAVING count(*) > 1) AS t"
        ),
        status => {
            map { split /\|/ }
              query($usher, "SELECT status, count(*) FROM reservation WHERE user_id > $first GROUP BY 1")
        },
        money => 0 + query($usher, "SELECT sum(balance) FROM asset WHERE user_id > $first"),
    };
}

subtest 'payment against expiry, 500 times' => sub {
    my $with = pay_against_expire(500);
    cmp_ok($with->{$_}, '>=', 10, "some are $_: $with->{$_}") for qw(paid expired);
    is($with->{both},                    0,   'none is both');
    is($with->{paid} + $with->{expired}, 500, 'none is neither');
    is($with->{twice},                   0,   'none is anything twice');
    is($with->{refused},                 0,   'and nobody had to be stopped by a constraint');
    is_deeply($with->{status}, { map { ($_ => $with->{$_}) } qw(paid expired) }, 'the reservations say the same');
    is($with->{money}, 500 * MONEY - PRICE * $with->{paid}, 'the money agrees');
    is_deeply([ breaches($usher) ], [], 'nothing is wrong');

    without(
        $usher,
        ['pay-only-held'],
        sub {
            cmp_ok(eventually(sub { pay_against_expire(60)->{both} }),
                '>', 0, 'expired ones are paid without the condition (guard off: pay-only-held)');
        }
    );
    without(
        $usher,
        ['expire-only-held'],
        sub {
            my $off;
            cmp_ok(eventually(sub { $off = pay_against_expire(60); $off->{refused} }),
                '>', 0, 'only the constraints keep expiry from paid ones (guard off: expire-only-held)');
            is($off->{both}, 0, 'and they do');
            my $sound = join "\n", $usher->psql(q{SELECT pg_get_functiondef('reservation_is_sound'::regproc)});
            ruined(
                $usher,
                ($sound =~ s/ IF .*END IF;//sr) . '; ALTER TABLE ledger DROP CONSTRAINT ledger_reservation_fkey',
                $sound . '; ALTER TABLE ledger ADD CONSTRAINT ledger_reservation_fkey FOREIGN KEY
                    (user_id, reservation_id, amount, created_at) REFERENCES reservation (user_id, id, total_price, completed_at)',
                sub {
                    cmp_ok(eventually(sub { pay_against_expire(60)->{both} }),
                        '>', 0, 'without them paid ones expire (guards off)');
                }
            );
        }
    );
};

# One who wants the seats of the same reservations, each as soon as its deadline has passed; a unique violation is answered
# by a second look, as the workers do.
sub rival ($first, $number, $of) {
    return "DO \$\$
        DECLARE
            v_one record;
            v_outcome text;
        BEGIN
            FOR v_one IN SELECT r.id, r.user_id, array_agg(t.seat_id) AS seats FROM reservation r
                JOIN reservation_ticket t ON t.reservation_id = r.id
                WHERE r.user_id > $first AND r.user_id % $of = $number GROUP BY r.id, r.user_id ORDER BY r.user_id
            LOOP
                WHILE (SELECT expires_at > clock_timestamp() FROM reservation WHERE id = v_one.id) LOOP
                    PERFORM pg_sleep(0.0005);
                END LOOP;
                FOR v_look IN 1 .. 2 LOOP
                    BEGIN
                        SELECT outcome INTO v_outcome
                            FROM usher_hold(v_one.user_id + 100000, $schedule, v_one.seats, 300000, 4, NULL, NULL);
                        EXIT;
                    EXCEPTION WHEN unique_violation THEN
                        v_outcome := SQLSTATE;
                    END;
                END LOOP;
                INSERT INTO race VALUES ('rival', v_one.id, v_outcome);
                COMMIT;
            END LOOP;
        END \$\$";
}

sub pay_against_hold ($count, @more) {
    my $first = holders($count);
    sql_race($usher, (map { (payer($first, $_, 2), rival($first, $_, 2)) } 0 .. 1), @more);
    my $sql = q{race p JOIN race r ON r.reservation_id = p.reservation_id WHERE p.who = 'pay' AND r.who = 'rival' AND };
    return {
        payer   => count_of("$sql p.outcome = 'created' AND r.outcome = 'seat-unavailable'"),
        rival   => count_of("$sql p.outcome = 'expired' AND r.outcome = 'created'"),
        both    => count_of("$sql p.outcome = 'created' AND r.outcome = 'created'"),
        refused => count_of(q{race WHERE outcome LIKE '23%'}),
    };
}

subtest "payment against another's hold at the deadline" => sub {
    my $with = pay_against_hold(150, expirer(150));
    cmp_ok($with->{$_}, '>=', 3, "some seats go to the $_: $with->{$_}") for qw(payer rival);
    is($with->{payer} + $with->{rival}, 150, 'each goes to one of them, who is told so; the other is refused');
    is($with->{refused},                0,   'and nobody is left with an error');
    is_deeply([ breaches($usher) ], [], 'nothing is wrong');
    without(
        $usher,
        ['pay-only-held'],
        sub {
            cmp_ok(eventually(sub { pay_against_hold(40)->{refused} }),
                '>', 0, 'only the unique index saves the seat (guard off: pay-only-held)');
            my $index =
              query($usher, q{SELECT indexdef FROM pg_indexes WHERE indexname = 'one_live_ticket_for_a_seat'});
            ruined(
                $usher,
                'DROP INDEX one_live_ticket_for_a_seat',
                $index,
                sub {
                    cmp_ok(eventually(sub { pay_against_hold(40)->{both} }),
                        '>', 0, 'without it the seat is sold twice (guards off)');
                }
            );
        }
    );
};

subtest 'hold against expiry' => sub {
    my $first = holders(100);
    query($usher,
        "UPDATE reservation SET reserved_at = now() - interval '2 s', expires_at = now() - interval '1 s' WHERE user_id > $first"
    );
    my $sweep = "DO \$\$ BEGIN
        WHILE (SELECT count(*) FROM race WHERE who = 'rival') < 100 LOOP
            INSERT INTO race SELECT 'expire', reservation_id, 'expired' FROM usher_expire(1); COMMIT;
        END LOOP; END \$\$";
    sql_race($usher, map({ rival($first, $_, 2) } 0 .. 1), $sweep);
    is(count_of(q{race WHERE who = 'rival' AND outcome = 'created'}), 100, 'whoever wants a lapsed seat gets it');
    is(count_of("reservation WHERE user_id > $first AND user_id < 100000 AND status = 'expired'"),
        100, 'the old holds are expired');
    cmp_ok(count_of(q{race WHERE who = 'expire'}), '>', 0, 'some of them by the sweep');
    is_deeply([ breaches($usher) ], [], 'nothing is wrong');
};

done_testing;
