# The database by itself: every constraint and every grant tries the wrong state and is refused, every function gives every
# one of its outcomes, and migrations and the demo season may be run again.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Usher::Process;
use Usher::Race;
use Usher::Stack;

my $usher = Usher::Stack->new(server => 0, nginx => 0);

# Tries the SQL and undoes it: 'done', or the SQLSTATE with the name of the constraint or column.
query($usher, q{
    SET client_min_messages = warning;
    CREATE SCHEMA tried;
    GRANT USAGE ON SCHEMA tried TO PUBLIC;
    CREATE FUNCTION tried.it(p_sql text) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE
        v_state text;
        v_constraint text;
        v_column text;
    BEGIN
        BEGIN
            EXECUTE p_sql;
            RAISE EXCEPTION 'undo' USING ERRCODE = 'UNDOO';
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS v_state = RETURNED_SQLSTATE, v_constraint = CONSTRAINT_NAME, v_column = COLUMN_NAME;
        END;
        RETURN CASE v_state WHEN 'UNDOO' THEN 'done' ELSE rtrim(v_state || ' ' || coalesce(nullif(v_constraint, ''), v_column, '')) END;
    END $$});

my %met;    # names of constraints that have refused something

sub tried ($session, $sql) {
    my $result = ($session->run('SELECT tried.it(' . Usher::Postgres::_quote($sql) . ')'))[0];
    $met{$1} = 1 if $result =~ / (\S+)$/;
    return $result;
}

# Each case: what it is, the SQL, the name of the constraint (or the SQLSTATE) that must refuse it.
sub refused ($session, @cases) {
    for my $case (@cases) {
        my ($what, $sql, $by) = @$case;
        like(tried($session, $sql), qr/^(?:23\d\d\d )?$by$/, "refused: $what");
    }
}

# --- a small world ---

my ($concert) = $usher->concerts(1);
my ($s1, @a) = $usher->schedule($concert, seats => 8, price => 700);
my ($s2, @b) = $usher->schedule($concert, seats => 3, price => 500);
my ($closed, @c) = $usher->schedule($concert, seats => 1, opens => -7200, closes => -3600);
my ($later,  @d) = $usher->schedule($concert, seats => 1, opens => 3600,  closes => 7200);

sub hold ($user, $schedule, $seats, $key = undef, $hash = '\x01', $limit = 4) {
    my $ids = join ',', @$seats;
    return split /\|/, query($usher, 'SELECT outcome, reservation_id, taken FROM usher_hold($1, $2, $3, 300000, $6, $4, $5)',
        $user, $schedule, "{$ids}", $key, $hash, $limit);
}
sub charge ($user, $amount, $key, $hash = '\x01', $max = 1_000_000) {
    return split /\|/, query($usher, 'SELECT outcome, charge_id, amount, balance FROM usher_charge($1, $2, $3, $4, $5)',
        $user, $amount, $max, $key, $hash);
}
sub pay ($user, $reservation, $admitted = 't', $key = undef, $hash = '\x01') {
    return split /\|/, query($usher, 'SELECT outcome, payment_id, price, balance, seats FROM usher_pay($1, $2, $3, $4, $5)',
        $user, $reservation, $admitted, $key, $hash);
}
sub cancel ($user, $reservation) { split /\|/, query($usher, 'SELECT outcome, seats FROM usher_cancel($1, $2)', $user, $reservation) }

my (undef, $charged) = charge(1, 5000, 'c1');
my (undef, $paid)    = hold(1, $s1, [ $a[0] ], 'h1');
my (undef, $payment) = pay(1, $paid, 't', 'p1');
my (undef, $held)    = hold(1, $s1, [ $a[1] ]);
my (undef, $other)   = hold(2, $s1, [ $a[2] ]);
my (undef, $gone)    = hold(2, $s1, [ $a[3] ]);
cancel(2, $gone);
hold(3, $s1, [ $a[3] ]);    # somebody else has it now
query($usher, q{SELECT usher_record_line('{1,2}', '{1,2}', '{issued,issued}', '{1000,1000}')});

my $owner = $usher->session;
$owner->run('SET client_min_messages = warning');

# --- constraints ---

my $reservation = 'INSERT INTO reservation (user_id, schedule_id, status, total_price, reserved_at, expires_at, completed_at) VALUES';
my $ticket      = 'INSERT INTO reservation_ticket (reservation_id, schedule_id, live, seat_id, location, price) VALUES';
my $entry       = 'INSERT INTO ledger (user_id, amount, balance, reservation_id, created_at) VALUES';
my $key         = 'INSERT INTO idempotency_key (user_id, key, request_hash, effect, effect_id, created_at) VALUES';
my $token       = 'INSERT INTO waiting_token (id, user_id, status, issued_at, deleted_at) VALUES';
my $mark_paid   = "UPDATE reservation SET status = 'paid', completed_at = reserved_at WHERE id = $held";
my $then        = "(SELECT completed_at FROM reservation WHERE id = $held)";
my $payment_fk  = 'ledger_reservation_fkey';
my $ticket_fk   = 'reservation_ticket_reservation_id_schedule_id_live_fkey';
my $seat_fk     = 'reservation_ticket_seat_id_schedule_id_fkey';

# A table's columns, less those that PostgreSQL computes.
sub columns ($table) {
    return query($usher, q{SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = $1::regclass AND attnum > 0 AND attgenerated = '' AND NOT attisdropped}, $table);
}

# The same row a second time.
sub again ($table) {
    my $columns = columns($table);
    return [
        "a second $table with the same key",
        "INSERT INTO $table ($columns) OVERRIDING SYSTEM VALUE SELECT $columns FROM $table LIMIT 1", "${table}_pkey"
    ];
}

subtest 'concerts, schedules, seats' => sub {
    refused(
        $owner,
        map({ again($_) } qw(concert concert_schedule concert_seat schema_migration)),
        [ 'a concert without a name', q{INSERT INTO concert (name) VALUES ('')}, 'concert_name_check' ],
        [ 'a name of 201 characters', q{INSERT INTO concert (name) VALUES (repeat('x', 201))}, 'concert_name_check' ],
        [ 'a description of 2001', q{INSERT INTO concert (name, description) VALUES ('x', repeat('x', 2001))}, 'concert_description_check' ],
        [ 'a concert goes with its schedules left', "DELETE FROM concert WHERE id = $concert", 'concert_schedule_concert_id_fkey' ],
        [ 'a sale that ends before it begins', "UPDATE concert_schedule SET reservation_closes_at = reservation_opens_at WHERE id = $s1", 'concert_schedule_check' ],
        [ 'no place', "UPDATE concert_schedule SET place = '' WHERE id = $s1", 'concert_schedule_place_check' ],
        [ 'a place of 201 characters', "UPDATE concert_schedule SET place = repeat('x', 201) WHERE id = $s1", 'concert_schedule_place_check' ],
        [ 'a schedule of no concert', "UPDATE concert_schedule SET concert_id = 999 WHERE id = $s1", 'concert_schedule_concert_id_fkey' ],
        [ 'a schedule goes with its seats left', "DELETE FROM concert_schedule WHERE id = $s2", 'concert_seat_schedule_id_fkey' ],
        [ 'a seat of no schedule', q{INSERT INTO concert_seat (schedule_id, location, price) VALUES (999, 'x', 1)}, 'concert_seat_schedule_id_fkey' ],
        [ 'two seats in one place', "UPDATE concert_seat SET location = 'A1' WHERE id = $a[1]", 'concert_seat_schedule_id_location_key' ],
        [ 'a seat nowhere', "UPDATE concert_seat SET location = '' WHERE id = $a[1]", 'concert_seat_location_check' ],
        [ 'a location of 51 characters', "UPDATE concert_seat SET location = repeat('x', 51) WHERE id = $a[1]", 'concert_seat_location_check' ],
        [ 'a negative price', "UPDATE concert_seat SET price = -1 WHERE id = $a[1]", 'concert_seat_price_check' ],
        [ 'a price beyond all sums', "UPDATE concert_seat SET price = 1000000000001 WHERE id = $a[1]", 'concert_seat_price_check' ],
    );
};

subtest 'reservations and tickets' => sub {
    refused(
        $owner,
        map({ again($_) } qw(reservation reservation_ticket)),
        [ 'a wallet of user 0', 'INSERT INTO asset (user_id) VALUES (0)', 'user_number_positive' ],
        [ 'a deadline before the hold', "$reservation (1, $s1, 'held', 0, now(), now(), NULL)", 'reservation_is_sound' ],
        [ 'paid without a time', "$reservation (1, $s1, 'paid', 0, now(), now() + '1 min', NULL)", 'reservation_is_sound' ],
        [ 'a time without paid', "$reservation (1, $s1, 'held', 0, now(), now() + '1 min', now())", 'reservation_is_sound' ],
        [ 'paid at the deadline', "UPDATE reservation SET status = 'paid', completed_at = expires_at WHERE id = $held", 'reservation_is_sound' ],
        [ 'paid after the deadline', "UPDATE reservation SET status = 'paid', completed_at = expires_at + '1 s' WHERE id = $held", 'reservation_is_sound' ],
        [ 'a negative total', "$reservation (1, $s1, 'held', -1, now(), now() + '1 min', NULL)", 'money_amount_not_negative' ],
        [ 'a reservation of user 0', "$reservation (0, $s1, 'held', 0, now(), now() + '1 min', NULL)", 'user_number_positive' ],
        [ 'a seat of a schedule that is not there', "$reservation (1, 999, 'held', 0, now(), now() + '1 min', NULL);
            $ticket (currval('reservation_id_seq'), 999, true, $a[4], 'A5', 700)", $seat_fk ],
        [ 'two live tickets for a seat', "$ticket ($other, $s1, true, $a[1], 'A2', 700)", 'one_live_ticket_for_a_seat' ],
        [ 'a ticket for a sold seat', "$ticket ($other, $s1, true, $a[0], 'A1', 700)", 'one_live_ticket_for_a_seat' ],
        [ 'a cancelled hold comes back to a taken seat', "UPDATE reservation SET status = 'held' WHERE id = $gone", 'one_live_ticket_for_a_seat' ],
        [ 'a ticket for a seat of another schedule', "$ticket ($held, $s1, true, $b[0], 'A1', 500)", $seat_fk ],
        [ 'a ticket of another schedule than its reservation', "$ticket ($held, $s2, true, $b[0], 'A1', 500)", $ticket_fk ],
        [ 'a reservation moves to another schedule', "UPDATE reservation SET schedule_id = $s2 WHERE id = $held", $seat_fk ],
        [ 'a seat moves to another schedule', "UPDATE concert_seat SET schedule_id = $s2, location = 'x' WHERE id = $a[1]", $seat_fk ],
        [ 'a ticket that is over while its reservation is held', "UPDATE reservation_ticket SET live = false WHERE reservation_id = $held", $ticket_fk ],
        [ 'a ticket that is over while its reservation is paid', "UPDATE reservation_ticket SET live = false WHERE reservation_id = $paid", $ticket_fk ],
        [ 'a ticket that lives while its reservation is over', "UPDATE reservation_ticket SET live = true, seat_id = $a[4] WHERE reservation_id = $gone", $ticket_fk ],
        [ 'a dead ticket of a reservation that lives', "$ticket ($held, $s1, false, $a[4], 'A5', 700)", $ticket_fk ],
        [ 'a ticket of no reservation', "$ticket (999, $s1, true, $a[4], 'A5', 700)", $ticket_fk ],
        [ 'a negative price', "$ticket ($held, $s1, true, $a[4], 'A5', -1)", 'money_amount_not_negative' ],
        [ 'a reservation goes with its tickets left', "DELETE FROM reservation WHERE id = $held", $ticket_fk ],
        [ 'a seat goes with its tickets left', "DELETE FROM concert_seat WHERE id = $a[3]", $seat_fk ],
        [ 'a paid one again, for another schedule', "INSERT INTO reservation (id, user_id, schedule_id, status, live, total_price,
            reserved_at, expires_at, completed_at) OVERRIDING SYSTEM VALUE SELECT id, user_id, $s2, status, live, total_price,
            reserved_at, expires_at, completed_at FROM reservation WHERE id = $paid", 'reservation_payment_key' ],
        [ 'a paid one expires', "UPDATE reservation SET status = 'expired', completed_at = NULL WHERE id = $paid", $payment_fk ],
        [ 'a paid one is cancelled', "UPDATE reservation SET status = 'cancelled', completed_at = NULL WHERE id = $paid", $payment_fk ],
        [ 'a paid one changes its owner', "UPDATE reservation SET user_id = 2 WHERE id = $paid", $payment_fk ],
        [ 'a paid one changes its price', "UPDATE reservation SET total_price = 1 WHERE id = $paid", $payment_fk ],
    );
    is(tried($owner, "UPDATE reservation SET status = 'expired' WHERE id = $held;
        $ticket ($other, $s1, true, $a[1], 'A2', 700)"), 'done', 'but when a hold ends its seat is free in the same moment');
    $owner->run('UPDATE reservation SET live = NOT live');
    is(query($usher, q{SELECT count(*) FROM reservation WHERE live <> (status IN ('held', 'paid'))}), 0,
        'what a reservation says of its life is what its status says');
};

subtest 'money' => sub {
    refused(
        $owner,
        map({ again($_) } qw(asset ledger)),
        [ 'a negative balance', 'UPDATE asset SET balance = -1 WHERE user_id = 1', 'money_amount_not_negative' ],
        [ 'a second wallet', 'INSERT INTO asset (user_id) VALUES (1)', 'asset_user_id_key' ],
        [ 'a second payment', "$entry (1, 700, 0, $paid, (SELECT completed_at FROM reservation WHERE id = $paid))", 'one_payment_for_a_reservation' ],
        [ 'a payment of what is only held', "$entry (1, 700, 0, $held, now())", $payment_fk ],
        [ 'a payment at no time', "$entry (1, 700, 0, $held, NULL)", '23502 created_at' ],
        [ 'a payment of nothing', "$entry (1, 700, 0, 999, now())", $payment_fk ],
        [ 'a payment at another time than the reservation was completed', "$mark_paid; $entry (1, 700, 0, $held, $then + interval '1 us')", $payment_fk ],
        [ "a payment of another's reservation", "$mark_paid; $entry (2, 700, 0, $held, $then)", $payment_fk ],
        [ 'a payment of another price', "$mark_paid; $entry (1, 699, 0, $held, $then)", $payment_fk ],
        [ 'a payment changes its price', "UPDATE payment SET price = 1 WHERE id = $payment", '23001' ],
        [ 'a payment goes', "DELETE FROM payment WHERE id = $payment", '23001' ],
        [ 'a negative amount', "$entry (1, -1, 1, NULL, now())", 'money_amount_not_negative' ],
        [ 'a negative balance in the ledger', "$entry (1, 1, -1, NULL, now())", 'money_amount_not_negative' ],
        [ 'a charge of nothing', q{SELECT usher_charge(1, 0, 1000, 'nothing', '')}, 'charge_of_something' ],
        [ 'a negative charge', q{SELECT usher_charge(1, -1, 1000, 'less', '')}, 'charge_of_something' ],
        [ 'the ledger is changed',                 'UPDATE ledger SET amount = amount + 1', '23001' ],
        [ 'the ledger is changed, in no row',      'UPDATE ledger SET amount = 1 WHERE false', '23001' ],
        [ 'an entry is taken out',                 "DELETE FROM ledger WHERE id = $charged", '23001' ],
        [ 'the ledger is emptied',                 'TRUNCATE ledger CASCADE', '23001' ],
        [ 'the signed view is written',            "INSERT INTO ledger_entry VALUES (1, 1, 1, now())", '55000' ],
    );
};

subtest 'idempotency keys, the history of the line' => sub {
    refused(
        $owner,
        map({ again($_) } qw(idempotency_key waiting_token)),
        [ 'a key of an unknown effect', "$key (1, 'x', '', 'refund', $held, now())", '22P02' ],
        [ 'an empty key', "$key (1, '', '', 'reservation', $held, now())", 'request_key_length' ],
        [ 'a key of 256 characters', "$key (1, repeat('x', 256), '', 'reservation', $held, now())", 'request_key_length' ],
        [ 'the same key of a user for something else', "$key (1, 'h1', '', 'reservation', $held, now())", 'idempotency_key_pkey' ],
        [ 'ticket 0', "$token (0, 9, 'waiting', now(), NULL)", 'waiting_token_id_check' ],
        [ 'a token of user 0', "$token (9, 0, 'waiting', now(), NULL)", 'waiting_token_user_id_check' ],
        [ 'used, without an end', "$token (9, 9, 'used', now(), NULL)", 'waiting_token_check' ],
        [ 'waiting, with an end', "$token (9, 9, 'waiting', now(), now())", 'waiting_token_check' ],
        [ 'two live tokens of one user', "$token (9, 1, 'active', now(), NULL)", 'one_live_token_for_a_user' ],
        [ 'a ticket number twice', "$token (1, 9, 'waiting', now(), NULL)", 'waiting_token_pkey' ],
        [ 'a second word of the operator', 'INSERT INTO line_setting (paused) VALUES (true)', 'line_setting_pkey' ],
        [ 'another than the one line', 'INSERT INTO line_setting VALUES (false, true)', 'line_setting_one_check' ],
    );
    is(tried($owner, "$token (9, 1, 'used', now(), now())"), 'done', 'an ended token beside the live one');
    is(tried($owner, "$key (2, 'h1', '', 'reservation', $other, now())"), 'done', "another user's same key");
};

subtest 'nothing may be missing' => sub {
    for my $row (query($usher, q{SELECT attrelid::regclass, attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
            WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnotnull AND attnum > 0 AND attgenerated = ''
            AND relname <> 'test_clock' AND attname <> 'live' ORDER BY 1, attnum})) {
        my ($table, $column) = split /\|/, $row;
        my $columns = columns($table);
        is(tried($owner, "INSERT INTO $table ($columns) OVERRIDING SYSTEM VALUE SELECT $columns FROM (
            SELECT (jsonb_populate_record(NULL::$table, to_jsonb(t) - '$column')).* FROM $table t LIMIT 1) AS less"),
            "23502 $column", "refused: $table without $column");
    }
    refused($owner, [ 'an id of one\'s own choice', q{INSERT INTO reservation (id) VALUES (1)}, '428C9' ]);
};

subtest 'no constraint without a case' => sub {
    # A unique key that contains the primary key only serves foreign keys and cannot be violated alone.
    my @all = query($usher, q{
        SELECT conname FROM pg_constraint c WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f', 'p', 'u', 'x')
            AND NOT (contype = 'u' AND conkey @> (SELECT p.conkey FROM pg_constraint p WHERE p.conrelid = c.conrelid AND p.contype = 'p'))
        UNION SELECT relname FROM pg_index i JOIN pg_class c ON c.oid = indexrelid WHERE indisunique
            AND relnamespace = 'public'::regnamespace AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
        UNION SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgtype & 1 = 1});
    cmp_ok(scalar @all, '>=', 35, 'the constraints are found');
    is_deeply([ grep { !$met{$_} } sort @all ], [], 'each has refused something above');
};

# --- grants ---

subtest 'what the role of the workers must not do' => sub {
    my $worker = $usher->session('usher');
    my @tables = query($usher, q{SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
        AND relkind = 'r' AND relname NOT IN ('test_clock') ORDER BY 1});
    for my $table (@tables) {
        my $column = query($usher, q{SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum = 2}, $table);
        is(join(' ', map { tried($worker, $_) } "INSERT INTO $table DEFAULT VALUES", "UPDATE $table SET $column = NULL",
            "DELETE FROM $table", "TRUNCATE $table", "LOCK TABLE $table", "SELECT 1 FROM $table FOR UPDATE", "ALTER TABLE $table ADD COLUMN x int"),
            join(' ', ('42501') x 7), "$table: no insert, update, delete, truncate, lock, alter");
    }
    refused($worker, map { [ $_, $_, '42501' ] }
        'ALTER TABLE ledger DISABLE TRIGGER append_only',
        'DROP TRIGGER append_only ON ledger',
        'DROP TABLE idempotency_key',
        'DROP INDEX one_live_ticket_for_a_seat',
        'CREATE TABLE public.mine (id int)',
        'CREATE TEMPORARY TABLE users (user_id bigint)',
        'CREATE TEMPORARY VIEW ledger AS SELECT 1 AS id',
        'CREATE SCHEMA mine',
        'CREATE EXTENSION pg_trgm',
        'CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$',
        'CREATE OR REPLACE FUNCTION usher_clock() RETURNS timestamptz LANGUAGE sql AS $$ SELECT now() $$',
        'ALTER FUNCTION usher_pay(bigint, bigint, boolean, text, bytea) SECURITY INVOKER',
        'DROP FUNCTION usher_pay(bigint, bigint, boolean, text, bytea)',
        'SET session_replication_role = replica',
        'SET ROLE usher_owner',
        'ALTER ROLE usher SUPERUSER',
        'ALTER DATABASE usher SET search_path = mine',
        q{SELECT nextval('ledger_id_seq')},
        q{SELECT setval('reservation_id_seq', 1)},
        q{SELECT usher_import('{"concerts": []}')},
        'SELECT usher_lock_user(1)',
        q{SELECT usher_lock_key(1, 'x')},
        q{SELECT usher_taken(1, '{1}', now())},
        q{COPY concert TO PROGRAM 'true'},
        q{COPY concert FROM '/etc/passwd'},
        q{SELECT pg_read_file('/etc/passwd')},
        'SELECT pg_reload_conf()');
    is(tried($worker, 'SELECT count(*) FROM ledger'), 'done', 'reading it may');
    is(tried($worker, 'SELECT usher_cancel(1, 1)'),  'done', 'and calling the functions');
    $worker->close;

    is_deeply([ query($usher, q{SELECT oid::regprocedure FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
        AND EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE grantee = 0)}) ], [],
        'no function is for everybody');
    is_deeply([ query($usher, q{SELECT relname, privilege_type FROM pg_class, aclexplode(relacl)
        WHERE relnamespace = 'public'::regnamespace AND relname <> 'test_clock' AND (grantee = 0 OR
        grantee = 'usher'::regrole AND privilege_type <> 'SELECT')}) ], [], 'no table is for everybody, or for the workers to write');
    is_deeply([ query($usher, q{SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef
        AND pg_get_userbyid(proowner) <> 'usher_owner'}) ], [], 'what runs as its owner belongs to usher_owner');
};

# --- what the functions answer ---

# The outcome of a function, under a key whose first request is still running.
sub in_use ($user, $key, $code) {
    my $first = $usher->session;
    $first->run("BEGIN; SELECT usher_lock_key($user, '$key')");
    my ($outcome) = $code->();
    $first->run('ROLLBACK');
    $first->close;
    return $outcome;
}

sub outcome_is ($name, $outcome, @got) { is($got[0], $outcome, "$name: $outcome") }

subtest 'usher_hold' => sub {
    my @free = @a[ 4 .. 7 ];
    outcome_is('an unknown schedule',   'not-found',        hold(5, 999, [ $free[0] ]));
    outcome_is('an unknown seat',       'not-found',        hold(5, $s1, [ $free[0], 999_999 ]));
    outcome_is('a seat elsewhere',      'foreign-seat',     hold(5, $s1, [ $free[0], $b[0] ]));
    outcome_is('a sale that has ended', 'sales-closed',     hold(5, $closed, \@c));
    outcome_is('one that has not begun', 'sales-closed',    hold(5, $later, \@d));
    outcome_is('more than the limit',   'seat-limit',       hold(5, $s1, \@free, undef, '\x01', 3));
    is(query($usher, 'SELECT count(*) FROM reservation WHERE user_id = 5'), 0, 'none of them leaves a trace');
    my @taken = hold(5, $s1, [ $free[0], $a[0], $a[1] ]);
    outcome_is('taken seats', 'seat-unavailable', @taken);
    like($taken[2], qr/^\[\[$a[0],0,1\],\[$a[1],\d{13},1\]\]$/, 'with who has them until when, and 0 for the sold one');
    my @made = hold(5, $s1, [ @free[ 0, 1 ] ], 'k');
    outcome_is('two free seats', 'created', @made);
    my @again = hold(5, $s1, [ @free[ 0, 1 ] ], 'k');
    outcome_is('again with the key', 'replayed', @again);
    is($again[1], $made[1], 'the same reservation');
    outcome_is('the key for something else', 'key-reused', hold(5, $s1, [ $free[2] ], 'k', '\x02'));
    charge(5, 1, 'charge');
    outcome_is("a charge's key", 'key-reused', hold(5, $s1, [ $free[2] ], 'charge'));
    outcome_is('the limit counts what is held', 'seat-limit', hold(5, $s1, [ @free[ 2, 3 ] ], undef, '\x01', 3));
    is(in_use(5, 'busy', sub { hold(5, $s1, [ $free[2] ], 'busy') }), 'key-in-use', 'a key in use: key-in-use');
    outcome_is('and after it', 'created', hold(5, $s1, [ $free[2] ], 'busy'));
    query($usher, q{UPDATE reservation SET reserved_at = now() - interval '2 s', expires_at = now() - interval '1 s' WHERE user_id = 5});
    is(tried($owner, "SELECT usher_hold(6, $s1, '{$free[0]}', 300000, 4, NULL, NULL, false)"), '23505 one_live_ticket_for_a_seat',
        'lapsed seats, when nobody looks: the index refuses');
    outcome_is('lapsed seats', 'created', hold(6, $s1, [ @free[ 0, 2 ] ]));
    is(query($usher, q{SELECT string_agg(DISTINCT status::text, ',') FROM reservation WHERE user_id = 5}), 'expired', 'their old holds are closed');
    outcome_is('a replay of an expired one', 'replayed', hold(5, $s1, [ @free[ 0, 1 ] ], 'k'));
};

subtest 'usher_pay and usher_cancel' => sub {
    my (undef, $mine) = hold(7, $s2, [ $b[0] ]);
    outcome_is('without money',             'insufficient', my @poor = pay(7, $mine));
    is_deeply([ @poor[ 2, 3 ] ], [ 500, 0 ], 'with price and balance');
    charge(7, 1200, 'money');
    outcome_is("another's",                 'not-found',    pay(8, $mine));
    outcome_is('an unknown one',            'not-found',    pay(7, 999));
    outcome_is('not admitted',              'not-admitted', pay(7, $mine, 'f'));
    outcome_is('not admitted, and unknown', 'not-admitted', pay(7, 999, 'f'));
    is(in_use(7, 'busy', sub { pay(7, $mine, 't', 'busy') }), 'key-in-use', 'a key in use: key-in-use');
    my @made = pay(7, $mine, 't', 'k');
    outcome_is('with money', 'created', @made);
    is_deeply([ @made[ 2 .. 4 ] ], [ 500, 700, $b[0] ], 'with price, balance and seats');
    my @again = pay(7, $mine, 'f', 'k');
    outcome_is('again with the key, no longer admitted', 'replayed', @again);
    is_deeply([ @again[ 1 .. 3 ] ], [ @made[ 1 .. 3 ] ], 'the same payment');
    outcome_is('again without', 'already-paid', pay(7, $mine));
    outcome_is('again without, no longer admitted', 'already-paid', pay(7, $mine, 'f'));
    outcome_is("another asks for it", 'not-admitted', pay(8, $mine, 'f'));
    my (undef, $next) = hold(7, $s2, [ $b[1] ]);
    outcome_is('the key for something else', 'key-reused', pay(7, $next, 't', 'k', '\x02'));
    outcome_is("a charge's key", 'key-reused', pay(7, $next, 't', 'money'));

    outcome_is('cancel a paid one',   'already-paid', cancel(7, $mine));
    outcome_is("cancel another's",    'not-found',    cancel(8, $next));
    outcome_is('cancel an unknown',   'not-found',    cancel(7, 999));
    outcome_is('cancel a held one',   'cancelled',    my @free = cancel(7, $next));
    is($free[1], $b[1], 'with its seats');
    outcome_is('cancel it again', 'over', cancel(7, $next));
    outcome_is('pay a cancelled one', 'reservation-cancelled', pay(7, $next));
    (undef, $next) = hold(7, $s2, [ $b[2] ]);
    query($usher, q{UPDATE reservation SET reserved_at = now() - interval '2 s', expires_at = now() - interval '1 s' WHERE id = $1}, $next);
    outcome_is('pay a lapsed one', 'expired', pay(7, $next));
    is((query($usher, 'SELECT seats FROM usher_expire(10)'))[0], $b[2], 'usher_expire ends it');
    is(scalar(() = query($usher, 'SELECT seats FROM usher_expire(10)')), 0, 'once');
    outcome_is('pay an expired one', 'expired', pay(7, $next));
    outcome_is('cancel an expired one', 'over', cancel(7, $next));
    (undef, $next) = hold(7, $s2, [ $b[2] ]);
    query($usher, q{UPDATE reservation SET reserved_at = now() - interval '2 s', expires_at = now() - interval '1 s' WHERE id = $1}, $next);
    outcome_is('cancel a lapsed one', 'cancelled', cancel(7, $next));
    is(query($usher, 'SELECT status FROM reservation WHERE id = $1', $next), 'expired', 'which has expired, in truth');
    is(query($usher, 'SELECT balance FROM asset WHERE user_id = 7'), 700, 'only one price was taken');
};

subtest 'usher_charge, keys, history, import' => sub {
    my @made = charge(9, 600, 'k', '\x01', 1000);
    outcome_is('a charge', 'created', @made);
    is_deeply([ @made[ 2, 3 ] ], [ 600, 600 ], 'with amount and balance');
    outcome_is('beyond the limit', 'balance-limit', charge(9, 401, 'k2', '\x01', 1000));
    outcome_is('up to the limit',  'created',       charge(9, 400, 'k2', '\x01', 1000));
    my @again = charge(9, 600, 'k');
    outcome_is('again with the key', 'replayed', @again);
    is_deeply([ @again[ 1 .. 3 ] ], [ @made[ 1 .. 3 ] ], 'the same charge, with the balance of then');
    outcome_is('the key for something else', 'key-reused', charge(9, 700, 'k', '\x02'));
    is(in_use(9, 'busy', sub { charge(9, 1, 'busy') }), 'key-in-use', 'a key in use: key-in-use');

    my $keys = sub { 0 + query($usher, 'SELECT count(*) FROM idempotency_key') };
    my $all  = $keys->();
    is(query($usher, 'SELECT usher_forget_keys(3600000, 100)'), 0, 'young keys are kept');
    query($usher, q{UPDATE idempotency_key SET created_at = now() - interval '2 h'});
    is(query($usher, 'SELECT usher_forget_keys(3600000, 3)'), 3,        'old ones go in batches');
    is($keys->(),                                             $all - 3, 'and no others');

    my $line = sub (@events) {
        my ($tickets, $users, $names) = map { my $i = $_; '{' . join(',', map { $_->[$i] } @events) . '}' } 0 .. 2;
        query($usher, 'SELECT usher_record_line($1, $2, $3, $4)', $tickets, $users, $names, '{' . join(',', (5000) x @events) . '}');
    };
    my $states = sub { join ' ', query($usher, q{SELECT id || '=' || status FROM waiting_token WHERE user_id = 20 ORDER BY id}) };
    $line->([ 20, 20, 'issued' ], [ 20, 20, 'activated' ], [ 20, 20, 'used' ], [ 21, 20, 'issued' ]);
    is($states->(), '20=used 21=waiting', 'a whole visit and the next in one batch');
    $line->([ 20, 20, 'activated' ], [ 21, 20, 'activated' ], [ 21, 20, 'issued' ]);
    is($states->(), '20=used 21=active', 'a state never goes back');
    $line->([ 21, 20, 'left' ]);
    $line->([ 22, 20, 'expired' ]);
    is($states->(), '20=used 21=left 22=expired', 'an end without a beginning is kept as well');
    is(tried($owner, q{SELECT usher_record_line('{30}', '{30}', '{eaten}', '{1}')}), '22P02', 'an unknown event is refused');

    is(query($usher, q{SELECT usher_import('{"concerts": [{"name": "n", "schedules": [{"place": "p", "concert_at": "2030-01-01T00:00:00Z",
        "reservation_opens_at": "2029-01-01T00:00:00Z", "reservation_closes_at": "2029-02-01T00:00:00Z",
        "seats": [{"location": "A-1", "price": 5}, {"location": "A-2", "price": 5}]}]}, {"name": "without"}]}')}), '(2,1,2)', 'import');
    refused(
        $owner,
        [ 'an import of something else', q{SELECT usher_import('{"concerts": {}}')}, '22023' ],
        [ 'a concert without a name', q{SELECT usher_import('{"concerts": [{}]}')}, '23502 name' ],
        [ 'a price that is no number', q{SELECT usher_import('{"concerts": [{"name": "n", "schedules": [{"place": "p",
            "concert_at": "2030-01-01", "reservation_opens_at": "2029-01-01", "reservation_closes_at": "2029-02-01",
            "seats": [{"location": "A-1", "price": "x"}]}]}]}')}, '22P02' ],
    );
    is_deeply([ breaches($usher) ], [], 'after all that nothing is wrong');
};

# --- migrations and the demo season ---

my $fresh = $usher->{postgres}->conninfo('usher_owner') =~ s/dbname=usher /dbname=fresh /r;
my @fresh = ('-o', "database_owner=$fresh");

subtest 'migrate' => sub {
    my @names = map { s{.*/}{}r =~ s/\.sql$//r } sort glob $usher->source . '/sql/[0-9]*.sql';
    my ($status, $out) = $usher->ctl('migrate');
    is($status, 0, 'again on a database that is up to date');
    is($out, "nothing to apply: the schema is up to date\n", 'does nothing and says so');

    $usher->psql('CREATE DATABASE fresh OWNER usher_owner');
    my @two = map {
        Usher::Process->start(
            command => [ $usher->build . '/usherctl', '-c', $usher->{conf}, @fresh, 'migrate' ],
            stdout  => "$usher->{dir}/migrate.$_",
            log     => "$usher->{dir}/migrate.err",
        )
    } 1 .. 2;
    is_deeply([ map { $_->wait(30) } @two ], [ 0, 0 ], 'two at once on an empty one both succeed')
        or diag Usher::Process::slurp("$usher->{dir}/migrate.err");
    my @applied = map { /applied \S/ ? 1 : 0 } map { Usher::Process::slurp("$usher->{dir}/migrate.$_") } 1, 2;
    is($applied[0] + $applied[1], 1, 'one of them does all the work');
    my @done = $usher->psql('SELECT name FROM schema_migration ORDER BY applied_at, name', { database => 'fresh' });
    is_deeply([ map {s/\.sql$//r} @done ], \@names, 'each migration is applied once, in order');
    my $catalog = q{SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull FROM pg_class c JOIN pg_attribute ON attrelid = c.oid
        WHERE relnamespace = 'public'::regnamespace AND relname <> 'test_clock' AND attnum > 0 ORDER BY 1, 2};
    is_deeply([ $usher->psql($catalog, { database => 'fresh' }) ], [ $usher->psql($catalog) ], 'the schema is the same');

    ($status, $out, my $err) = $usher->ctl('-o', 'database_owner=host=/nonexistent', 'migrate');
    is($status, 1, 'without a server it fails');
    like($err, qr/PostgreSQL cannot be reached|could not connect|connection to server/, 'and says why');
};

subtest 'the demo season' => sub {
    my $load = sub {
        Usher::Process::run({}, Usher::Process::find_program('psql'), qw(-X -q -v ON_ERROR_STOP=1 -h), $usher->{postgres}{dir},
            qw(-U usher_owner -f), $usher->source . '/sql/demo.sql', 'fresh');
    };
    my $digest = sub {
        join ' ', map { $usher->psql("SELECT count(*), md5(string_agg(t::text, ',' ORDER BY id)) FROM $_ t", { database => 'fresh' }) }
            qw(concert concert_schedule concert_seat);
    };
    is(($load->())[0], 0, 'loads');
    my $first = $digest->();
    is($usher->psql('SELECT count(*) FROM concert', { database => 'fresh' }), 1000, '1,000 concerts');
    my @halls = $usher->psql(q{SELECT count(*) || ' of ' || seats FROM (SELECT count(e.id) AS seats FROM concert_schedule s
        JOIN concert_seat e ON e.schedule_id = s.id WHERE reservation_opens_at <= now() AND now() < reservation_closes_at
        GROUP BY s.id) AS hall GROUP BY seats ORDER BY seats}, { database => 'fresh' });
    is_deeply(\@halls, [ '24 of 50', '24 of 1000' ], 'at least 20 on sale, in halls of 50 and of 1,000 seats');
    is(($load->())[0], 0, 'loads again');
    is($digest->(), $first, 'and changes nothing');
    $usher->psql('DELETE FROM concert_seat WHERE id % 7 = 0', { database => 'fresh' });
    $load->();
    is($digest->(), $first, 'what is missing is filled');
    is($usher->psql(q{INSERT INTO concert (name) VALUES ('new') RETURNING id}, { database => 'fresh' }), 1001, 'new concerts follow');
};

done_testing;
