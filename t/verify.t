# usherctl verify: a sound box office passes, also under live traffic; each invariant is broken on purpose, and exactly that one
# is reported, with its count.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP    ();
use POSIX       ();
use Time::HiRes qw(sleep time);
use Test::More;
use Usher::Check;
use Usher::Stack;

# ---- under live traffic: no false alarm

# Everything lapses within seconds, so that expiry takes part.
sub live_traffic {
    my $usher = Usher::Stack->new(
        workers => 4,
        config  => { hold_ttl => '1s', claim_window => '1s', active_ttl => '2s', promote_batch => 40, active_max => 100 },
    );
    my ($concert) = $usher->concerts(1);
    my @halls = map { [ $usher->schedule($concert, seats => 400) ] } 1 .. 2;
    $usher->admit(1);    # the line is there
    my $end      = time + 120;
    my @children = (
        (map { my $n = $_; in_background(sub { customer($usher, $n, $end, @halls) }) } 1 .. 6),
        in_background(sub { clockwork($usher, $end, 'promote') }),
        in_background(sub { clockwork($usher, $end, 'expire') }),
    );
    my ($runs, $paid, $ended, @bad) = (0, 0, 0);
    while (($runs < 10 || $paid < 20 || $ended < 20) && time < $end) {
        my ($status, $report) = verify($usher);
        push @bad, broken_ones($report) if $status != 0;
        $runs++;
        ($paid, $ended) = split /\|/, $usher->psql(q{SELECT count(*) FILTER (WHERE status = 'paid'),
            count(*) FILTER (WHERE status IN ('cancelled', 'expired')) FROM reservation});
        sleep 0.2;
    }
    kill TERM => @children;
    waitpid $_, 0 for @children;
    ok($paid >= 20 && $ended >= 20, "traffic went on meanwhile: $paid paid, $ended cancelled or expired");
    is_deeply(\@bad, [], "$runs verifications under live traffic, no false alarm");
    my ($status, $report) = verify($usher, '--settle', 5);
    is($status, 0, 'nor when it is quiet again') || diag(explain($report));
}

sub in_background ($code) {
    my $pid = fork // die "fork: $!\n";
    return $pid if $pid;
    local $SIG{TERM} = sub { POSIX::_exit(0) };
    eval { $code->() } or print STDERR "# in the background: $@";
    POSIX::_exit(0);
}

sub clockwork ($usher, $end, $work) {
    while (time < $end) {
        $usher->scheduler($work);
        sleep 0.1;
    }
}

# Customers of one process: join, sometimes leave, hold, then pay, cancel or forget. 4xx answers are part of it.
sub customer ($usher, $n, $end, @halls) {
    srand $n;
    for (my $user = $n * 100_000; time < $end; $user++) {
        my $token = eval { $usher->join_line($user) } // next;
        if (rand() < 0.1) {
            $usher->delete('/v1/queue/tokens/me', token => $token);
            next;
        }
        my $place;
        do {
            sleep 0.02;
            $place = $usher->get('/v1/queue/tokens/me', token => $token);
        } until $place->status != 200 || $place->json->{status} eq 'active';
        next if rand() < 0.1;
        my ($schedule, @seats) = @{ $halls[ rand @halls ] };
        $usher->get("/v1/schedules/$schedule/seats", user => $user, token => $token);
        my @wanted = sort { $a <=> $b } map { $seats[ rand(@seats / 2) * 2 + $_ ] } 0 .. int rand 2;
        my $hold   = $usher->post('/v1/reservations', user => $user, token => $token, key => $usher->new_key,
            body => { schedule_id => $schedule, seat_ids => \@wanted });
        next if $hold->status != 201 || rand() < 0.2;
        my $id = $hold->json->{id};
        if (rand() < 0.4) {
            $usher->delete("/v1/reservations/$id", user => $user);
            next;
        }
        $usher->charge($user, 5000);
        $usher->post('/v1/payments', user => $user, token => $token, key => $usher->new_key, body => { reservation_id => $id });
    }
}

# ---- running it

# (exit status, what --json says).
sub verify ($usher, @args) {
    my @options = grep {/=/} @args;
    my ($status, $out, $err) = $usher->ctl((map { ('-o', $_) } @options), 'verify', '--json', grep { !/=/ } @args);
    my $report = eval { JSON::PP::decode_json($out) } // die "verify printed no JSON: $out$err\n";
    return ($status, $report);
}

# "name breaches: example" of each invariant that does not hold.
sub broken_ones ($report) {
    return map {"$_->{name} $_->{breaches}: $_->{examples}[0]"} grep { $_->{breaches} } @{ $report->{invariants} };
}

live_traffic();

# ---- one of everything

my $usher = Usher::Stack->new(config => { hold_ttl => '5h', claim_window => '5h', active_ttl => '5h' });
my ($status, $out, $err) = $usher->ctl('verify');
is($status, 0, 'an empty box office is sound') || diag($out, $err);
my ($concert) = $usher->concerts(1);
my ($schedule, @seats) = $usher->schedule($concert, seats => 50, price => 100);
my ($other, @other_seats) = $usher->schedule($concert, seats => 5, price => 100);

my $user = 100;

# A user with money and a hold: (user, token, reservation).
sub buyer (@seat) {
    $usher->charge(++$user, 1000);
    my $token = $usher->admit($user);
    $usher->get("/v1/schedules/$schedule/seats", user => $user, token => $token);
    return ($user, $token, $usher->hold($user, $token, $schedule, @seat)->{id});
}
sub pay ($user, $token, $id) {
    my $r = $usher->post('/v1/payments', user => $user, token => $token, key => $usher->new_key, body => { reservation_id => $id });
    status_is($r, 201, "user $user pays");
}

my ($buyer, $buyer_token, $sold) = buyer($seats[0], $seats[1]);
pay($buyer, $buyer_token, $sold);
my ($second, $second_token, $second_sold) = buyer($seats[2]);
pay($second, $second_token, $second_sold);
my ($holder, $holder_token, $held) = buyer($seats[3], $seats[4]);
my ($fickle, $fickle_token, $cancelled) = buyer($seats[5]);
$usher->delete("/v1/reservations/$cancelled", user => $fickle);
my @waiting = map { $usher->join_line($_); $_ } 501 .. 505;
$usher->scheduler('expire');
my %ticket = map { split /\|/ } $usher->psql(q{SELECT user_id, id FROM waiting_token WHERE status IN ('waiting', 'active')});
is(scalar keys %ticket, 7, 'two are active, five wait');

unchanged_ok($usher, 'verify changes nothing', sub {
    ($status, $out, $err) = $usher->ctl('verify');
});
is($status, 0, 'a box office in use is sound') || diag($out, $err);
is($err, '', 'nothing to complain about');
my @names = map { /^ok +(\S+) / ? $1 : () } split /\n/, $out;
like($out, qr/^20 invariants: 20 hold, 0 broken, 0 not checked; \d+\.\d s$/m, 'it says how many invariants hold');
is(scalar @names, 20, 'and names them');
my %is_name = map { ($_ => 1) } @names;
is_deeply([ grep { !$is_name{$_} } map {tr/_/-/r} $usher->psql(q{SELECT substr(viewname, 8) FROM pg_views WHERE viewname LIKE 'verify\_%'}) ],
    [], 'every view of sql/ is asked');
for my $wrong ([qw(--settle)], [qw(--settle x)], [qw(--settle -1)], [qw(more)], [qw(--jsn)]) {
    is(($usher->ctl('verify', @$wrong))[0], 64, "wrong usage: @$wrong");
}

# ---- each broken on purpose

# Without its constraints the database accepts anything, as after a careless repair.
$usher->psql(q{
    DO $do$
    DECLARE v record;
    BEGIN
        FOR v IN SELECT conrelid::regclass AS t, conname FROM pg_constraint
                 WHERE contype IN ('f', 'c', 'u') AND connamespace = 'public'::regnamespace AND conrelid <> 0
                 ORDER BY contype <> 'f' LOOP
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', v.t, v.conname);
        END LOOP;
    END $do$;
    ALTER DOMAIN money_amount DROP CONSTRAINT money_amount_not_negative;
    ALTER DOMAIN user_number DROP CONSTRAINT user_number_positive;
    DROP INDEX one_live_ticket_for_a_seat, one_live_token_for_a_user;
    CREATE SCHEMA kept});
my @tables = qw(asset reservation reservation_ticket ledger idempotency_key waiting_token);
$usher->psql(join ';', map {"CREATE TABLE kept.$_ AS TABLE public.$_"} @tables);

# The columns that are not computed.
my %columns = map {
    $_ => $usher->psql(q{SELECT string_agg(attname, ', ') FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0
        AND attgenerated = ''}, $_)
} @tables;

sub mend_database {
    sql(map {"TRUNCATE $_; INSERT INTO $_ ($columns{$_}) OVERRIDING SYSTEM VALUE SELECT $columns{$_} FROM kept.$_"} @tables);
}

# As the superuser, past all triggers and foreign keys.
sub sql (@statements) { $usher->psql(join ";\n", 'SET session_replication_role = replica', @statements) }

my %broken;

# Breaks, looks, mends. wanted: {invariant => breaches}.
sub breaks ($what, $wanted, $break, $mend = \&mend_database, @options) {
    $break->();
    my ($status, $report) = verify($usher, '--settle', 0, @options);
    my %found = map { ($_->{name} => $_->{breaches}) } grep { $_->{breaches} } @{ $report->{invariants} };
    my $ok = is_deeply([ $status, \%found ], [ 1, $wanted ], "$what: " . join ', ', map {"$_ $wanted->{$_}"} sort keys %$wanted);
    diag(join "\n", broken_ones($report)) if !$ok;
    $broken{$_}++ for keys %found;
    $mend->();
    return $report;
}

# In Redis, with the commands that undo it.
sub breaks_redis ($what, $wanted, $break, $mend) {
    return breaks($what, $wanted, sub { $usher->redis(@$_) for @$break }, sub { $usher->redis(@$_) for @$mend });
}

my $tomorrow = q{now() + interval '1 day'};
breaks('a seat held twice', { 'one-live-ticket' => 1 }, sub {
    sql(qq{WITH r AS (INSERT INTO reservation (user_id, schedule_id, status, live, total_price, reserved_at, expires_at)
               VALUES ($fickle, $schedule, 'held', true, 100, now(), $tomorrow) RETURNING id)
           INSERT INTO reservation_ticket (reservation_id, schedule_id, live, seat_id, location, price)
           SELECT id, $schedule, true, $seats[3], 'A4', 100 FROM r});
});
breaks('tickets that did not follow', { 'ticket-state' => 2 },
    sub { sql("UPDATE reservation_ticket SET live = false WHERE reservation_id = $held") });
breaks('a ticket of another schedule\'s seat', { 'ticket-state' => 1 },
    sub { sql("UPDATE reservation_ticket SET seat_id = $other_seats[0] WHERE reservation_id = $cancelled") });
breaks('a ticket of no reservation', { 'ticket-state' => 1 }, sub {
    sql(qq{INSERT INTO reservation_ticket (reservation_id, schedule_id, live, seat_id, location, price)
           VALUES (999999, $schedule, false, $seats[9], 'A10', 100)});
});
breaks('completed, but not paid', { 'reservation-state' => 1 },
    sub { sql("UPDATE reservation SET completed_at = now() WHERE id = $cancelled") });
breaks('paid after its deadline', { 'reservation-state' => 1 },
    sub {
        sql("UPDATE reservation SET completed_at = expires_at + interval '1s' WHERE id = $sold",
            "UPDATE ledger SET created_at = (SELECT completed_at FROM reservation WHERE id = $sold) WHERE reservation_id = $sold");
    });
breaks('a reservation of nobody', { 'reservation-state' => 1 }, sub { sql("UPDATE reservation SET user_id = 0 WHERE id = $cancelled") });
breaks('a reservation twice', { 'reservation-state' => 1 }, sub {
    sql(qq{INSERT INTO reservation (id, user_id, schedule_id, status, live, total_price, reserved_at, expires_at) OVERRIDING SYSTEM VALUE
           SELECT id, user_id, schedule_id, status, NOT live, total_price, reserved_at, expires_at FROM reservation WHERE id = $cancelled});
});
breaks('a wrong total', { 'reservation-total' => 1 }, sub { sql("UPDATE reservation SET total_price = 201 WHERE id = $held") });
breaks('a reservation without tickets', { 'reservation-total' => 1 },
    sub { sql("DELETE FROM reservation_ticket WHERE reservation_id = $cancelled") });

breaks('paid without a payment', { payment => 1 }, sub {
    sql("UPDATE reservation SET status = 'paid', completed_at = reserved_at WHERE id = $held");
});
breaks('paid at another time', { payment => 1 },
    sub { sql("UPDATE ledger SET created_at = created_at + interval '1 us' WHERE reservation_id = $sold") });
breaks('paid by somebody else', { payment => 2 },
    sub { sql("UPDATE reservation SET user_id = $holder WHERE id IN ($sold, $second_sold)") });
breaks('paid twice', { payment => 1 }, sub {
    sql('DROP INDEX one_payment_for_a_reservation',
        qq{INSERT INTO ledger (user_id, amount, balance, reservation_id, created_at)
           SELECT $buyer, 200, 600, id, completed_at FROM reservation WHERE id = $sold},
        "UPDATE asset SET balance = 600 WHERE user_id = $buyer");
});
breaks('a payment of no reservation, and a reservation without its payment', { payment => 2 },
    sub { sql("UPDATE ledger SET reservation_id = 999999 WHERE user_id = $buyer AND reservation_id = $sold") });
breaks('money from nowhere', { balance => 1, 'ledger-zero' => 1 }, sub { sql("UPDATE asset SET balance = balance + 1 WHERE user_id = $holder") });
breaks('a wallet is gone', { balance => 1, 'ledger-zero' => 1 }, sub { sql("DELETE FROM asset WHERE user_id = $holder") });
breaks('a debt, and a doorman who was not told', { 'balance-not-negative' => 1, 'doorman-free' => 1 }, sub {
    sql('INSERT INTO asset (user_id, balance) VALUES (900, -100)',
        qq{WITH r AS (INSERT INTO reservation (user_id, schedule_id, status, live, total_price, reserved_at, expires_at, completed_at)
                      VALUES (900, $other, 'paid', true, 100, now(), $tomorrow, now()) RETURNING id),
                t AS (INSERT INTO reservation_ticket (reservation_id, schedule_id, live, seat_id, location, price)
                      SELECT id, $other, true, $other_seats[0], 'A1', 100 FROM r)
           INSERT INTO ledger (user_id, amount, balance, reservation_id, created_at)
           SELECT 900, 100, -100, id, now() FROM r});
});
breaks('a balance on the way that is wrong', { 'running-balance' => 1 },
    sub { sql("UPDATE ledger SET balance = balance + 1 WHERE user_id = $buyer AND reservation_id IS NULL") });
breaks('a charge of nothing', { 'ledger-zero' => 1 },
    sub { sql("INSERT INTO ledger (user_id, amount, balance, created_at) VALUES ($buyer, 0, 800, now())") });
breaks('a negative entry', { 'ledger-zero' => 1 },
    sub { sql("INSERT INTO ledger (user_id, amount, balance, created_at) VALUES ($buyer, -1, 799, now()), ($buyer, 1, 800, now())") });
breaks('a key without its effect', { idempotency => 1 },
    sub { sql("UPDATE idempotency_key SET effect_id = 999999 WHERE user_id = $buyer AND effect = 'charge'") });
breaks("a key of another's effect", { idempotency => 1 },
    sub { sql("UPDATE idempotency_key SET user_id = 1 WHERE user_id = $buyer AND effect = 'payment'") });
breaks('a key of another kind of effect', { idempotency => 1 },
    sub { sql("UPDATE idempotency_key SET effect = 'charge' WHERE user_id = $buyer AND effect = 'payment'") });
breaks('a key of a reservation that is not there', { idempotency => 1 },
    sub { sql("UPDATE idempotency_key SET effect = 'reservation', effect_id = 999999 WHERE user_id = $buyer AND effect = 'payment'") });

# Rights with which a function that runs as the owner could be led astray.
breaks("a right to $_->[1] of $_->[3]", { 'no-shadows' => 1 },
    sub { sql("GRANT $_->[0] ON $_->[2] TO $_->[3]") }, sub { sql("REVOKE $_->[0] ON $_->[2] FROM $_->[3]") })
    for map { my $to = $_; map { [ @$_, $to ] } [ TEMPORARY => 'temporary tables', 'DATABASE usher' ], [ CREATE => 'schemas', 'DATABASE usher' ],
        [ CREATE => 'tables', 'SCHEMA public' ], [ CREATE => 'tables elsewhere', 'SCHEMA kept' ] } qw(PUBLIC usher);
breaks('a schema of the workers', { 'no-shadows' => 1 },
    sub { sql('CREATE SCHEMA own AUTHORIZATION usher') }, sub { sql('DROP SCHEMA own') });
breaks('rights of a group that the workers are in', { 'no-shadows' => 1 },
    sub { sql('CREATE ROLE helpers', 'GRANT CREATE ON SCHEMA public TO helpers', 'GRANT helpers TO usher') },
    sub { sql('REVOKE CREATE ON SCHEMA public FROM helpers', 'DROP ROLE helpers') });

# A dump has no rights on the database: those of a new one let everybody create temporary tables.
$usher->psql('CREATE DATABASE restored OWNER usher_owner');
Usher::Process::must({}, 'sh', '-c', '"$0" -h "$2" -U postgres usher | "$1" -X -q -v ON_ERROR_STOP=1 -h "$2" -U postgres restored',
    map({ Usher::Process::find_program($_) } qw(pg_dump psql)), $usher->{postgres}{dir});
my $restored = 'database_owner=' . $usher->{postgres}->conninfo('usher_owner') =~ s/dbname=usher /dbname=restored /r;
my ($lost) = map { $_->{examples}[0] } grep { $_->{name} eq 'no-shadows' }
    @{ breaks('a copy in a new database', { 'no-shadows' => 1 }, sub { }, sub { }, $restored)->{invariants} };
like($lost, qr/^PUBLIC may create temporary tables: REVOKE TEMPORARY ON DATABASE restored FROM PUBLIC$/, 'says what to do');
$usher->psql($lost =~ s/.*: //r);
is((verify($usher, '--settle', 0, $restored))[0], 0, 'which helps');

# The line and its history.
breaks('a token that is used up and not ended', { 'history-state' => 2 },
    sub { sql("UPDATE waiting_token SET deleted_at = NULL WHERE user_id IN ($buyer, $second)") });
breaks('a forgotten ticket', { 'line-history' => 1 }, sub { sql('DELETE FROM waiting_token WHERE user_id = 503') });
breaks('history knows more than the line', { 'line-history' => 1 },
    sub { sql(q{UPDATE waiting_token SET status = 'active', activated_at = now() WHERE user_id = 503}) });
breaks('history has ended what lives', { 'line-history' => 2 },
    sub { sql(q{UPDATE waiting_token SET status = 'left', deleted_at = now() WHERE user_id IN (502, 503)}) });
breaks('history keeps what is over', { 'line-history' => 1 },
    sub { sql("UPDATE waiting_token SET status = 'waiting', deleted_at = NULL, activated_at = NULL WHERE user_id = $buyer") });

my ($tokens, $waiting, $active, $admission, $seq, $events) = map {"q:{main}:$_"} qw(tokens waiting active admission seq events);
my $record  = $usher->redis('HGET', $tokens, 503);
my $serving = $usher->redis('HGET', $admission, 'serving');
my $issued  = $usher->redis('GET',  $seq);
breaks_redis('somebody without a record', { 'line-place' => 1 }, [ [ 'ZADD', $waiting, 9_000_000, 77_777 ] ], [ [ 'ZREM', $waiting, 77_777 ] ]);
breaks_redis('somebody who is nobody', { 'line-place' => 1 }, [ [ 'ZADD', $waiting, 9_000_000, 'x' ] ], [ [ 'ZREM', $waiting, 'x' ] ]);
breaks_redis('a record without a place', { 'line-place' => 2 }, [ [ 'ZREM', $waiting, 501, 503 ] ],
    [ map { [ 'ZADD', $waiting, $ticket{$_}, $_ ] } 501, 503 ]);
breaks_redis('waiting and active', { 'line-place' => 1 }, [ [ 'ZADD', $active, 9_999_999_999_999, 503 ] ], [ [ 'ZREM', $active, 503 ] ]);
breaks_redis('a record that is none', { 'line-place' => 1, 'line-history' => 1 }, [ [ 'HSET', $tokens, 503, 'rubbish' ] ],
    [ [ 'HSET', $tokens, 503, $record ] ]);
breaks_redis('a place that is not the ticket', { 'line-order' => 1 }, [ [ 'ZADD', $waiting, 9_000_000, 503 ] ],
    [ [ 'ZADD', $waiting, $ticket{503}, 503 ] ]);
breaks_redis('skipped', { 'line-order' => 2 }, [ [ 'HSET', $admission, 'serving', $ticket{502} ] ], [ [ 'HSET', $admission, 'serving', $serving ] ]);
breaks_redis('one ticket, two users', { 'line-order' => 1, 'line-history' => 2 },
    [ [ 'HSET', $tokens, 503, $record =~ s/^\d+/$ticket{502}/r ], [ 'ZADD', $waiting, $ticket{502}, 503 ] ],
    [ [ 'HSET', $tokens, 503, $record ], [ 'ZADD', $waiting, $ticket{503}, 503 ] ]);
breaks_redis('the counter fell back', { 'ticket-counter' => 2 }, [ [ 'SET', $seq, $issued - 2 ] ], [ [ 'SET', $seq, $issued ] ]);
breaks_redis('nobody is being served', { serving => 2 }, [ [ 'HSET', $admission, 'serving', 1 ] ], [ [ 'HSET', $admission, 'serving', $serving ] ]);
my $cap = $usher->redis('HGET', $admission, 'allowed');
breaks('too many are active', { 'active-max' => 1 }, sub { $usher->redis('HSET', $admission, 'allowed', 1) },
    sub { $usher->redis('HSET', $admission, 'allowed', $cap) }, 'active_max=1');
is((verify($usher, 'active_max=1'))[0], 0, 'active_max was lowered: who was let in before is no breach');
$usher->scheduler('-o', 'active_max=1', 'promote');
is((verify($usher, 'active_max=1'))[0], 0, 'nor when promote has seen it');
is($usher->redis('HGET', $admission, 'allowed'), $cap, 'as long as there are more');
$usher->scheduler('-o', 'active_max=2', 'promote');
is($usher->redis('HGET', $admission, 'allowed'), 2, 'with no more than the new cap that one counts');

$usher->join_line($_) for 601 .. 603;
is((verify($usher))[0], 0, 'what waits in the stream is no breach');
my @stream = $usher->redis('XRANGE', $events, '-', '+');
breaks('events were lost', { 'line-history' => 3 }, sub { $usher->redis('XTRIM', $events, 'MAXLEN', 0) }, sub {
    $usher->redis('XADD', $events, '*', 'e', 'issued', 'k', $_, 'u', 600 + $_ - $issued, 'at', $usher->now * 1000) for $issued + 1 .. $issued + 3;
});
is((verify($usher))[0], 0, 'nor what came back');

# The doorman.
my $hall = "s:{main}:$schedule:seats";
my %hall = $usher->redis('HGETALL', $hall);
ok($hall{v}, 'the doorman is loaded');
my %case = (
    'forgot a sold seat'             => [ $seats[0], undef ],
    'lets a sold seat lapse'         => [ $seats[0], "1 $buyer" ],
    'keeps a sold seat for another'  => [ $seats[0], '9999999999999 777' ],
    'forgot a held seat'             => [ $seats[3], undef ],
    'lets a held seat lapse early'   => [ $seats[3], "1 $holder" ],
);
for my $what (sort keys %case) {
    my ($seat, $value) = @{ $case{$what} };
    breaks_redis("the doorman $what", { 'doorman-free' => 1 },
        [ defined $value ? [ 'HSET', $hall, $seat, $value ] : [ 'HDEL', $hall, $seat ] ], [ [ 'HSET', $hall, $seat, $hall{$seat} ] ]);
}
breaks_redis('the doorman refuses a free seat for ever', { 'doorman-sold' => 2 },
    [ map { [ 'HSET', $hall, $_, '0 777' ] } @seats[ 5, 6 ] ], [ [ 'HDEL', $hall, @seats[ 5, 6 ] ] ]);

# What is not wrong.
sub sound ($what, $break, $mend, @options) {
    $usher->redis(@$_) for @$break;
    my ($status, $report) = verify($usher, '--settle', 0, @options);
    is($status, 0, $what) || diag(join "\n", broken_ones($report));
    $usher->redis(@$_) for @$mend;
    return $report;
}
my $later  = ($usher->now + 100) * 1000;
my $report = sound('a buyer\'s claim on a sold seat is not settled yet', [ [ 'HSET', $hall, $seats[0], "$later $buyer" ] ],
    [ [ 'HSET', $hall, $seats[0], $hall{ $seats[0] } ] ]);
is($report->{unsettled}, 1, 'which is noted');
sound('a claim of which nothing became', [ [ 'HSET', $hall, $seats[7], "$later 777" ] ], [ [ 'HDEL', $hall, $seats[7] ] ]);
sound('a doorman who is not loaded may know nothing', [ [ 'DEL', $hall ] ], [ [ 'HSET', $hall, %hall ] ]);
my $mender = in_background(sub { sleep 0.6; $usher->redis('HSET', $hall, $seats[0], $hall{ $seats[0] }) });
$usher->redis('HDEL', $hall, $seats[0]);
is((verify($usher, '--settle', 20))[0], 0, 'the doorman is given time to be told');
waitpid $mender, 0;

# A line that is lost altogether, and restored.
$usher->scheduler('expire');
$usher->psql('TRUNCATE kept.waiting_token; INSERT INTO kept.waiting_token TABLE public.waiting_token');
$usher->redis('FLUSHALL');
$report = breaks('Redis lost everything', { 'line-history' => 10, 'ticket-counter' => 1 }, sub { }, sub { });
ok($report->{line_lost}, 'which is said');
status_is($usher->get('/v1/queue/tokens/me', token => $holder_token), 200, 'the next request restores it');
$report = sound('and all is well', [], []);
ok(!$report->{line_lost}, 'nothing is lost any more');

is_deeply([ grep { !$broken{$_} } @names ], [], 'every invariant was broken');

# ---- how it is said

sql('UPDATE asset SET balance = balance + 1');
($status, $out, $err) = $usher->ctl('verify', '--settle', 0);
is($status, 1, 'breaches: exit status 1');
like($out, qr/^BREACH +balance +[^\n]*: 4 breaches\n +user $buyer: balance 801, ledger entries 800\n/m, 'named and counted');
like($out, qr/^20 invariants: 18 hold, 2 broken, 0 not checked;/m, 'summed up');
mend_database();

sql(q{INSERT INTO idempotency_key SELECT g, 'k', '', 'charge', 1000000 + g, now() FROM generate_series(1001, 1020) g});
(undef, $report) = verify($usher);
my ($keys) = grep { $_->{name} eq 'idempotency' } @{ $report->{invariants} };
is($keys->{breaches}, 20, 'all are counted');
is(scalar @{ $keys->{examples} }, 5, 'five are named');
like($keys->{examples}[0], qr/^user 1001, key "k"/, 'with their ids');

# ---- what cannot be checked

$usher->{redis}->stop;
($status, $out, $err) = $usher->ctl('verify');
is($status, 1, 'without Redis a breach in PostgreSQL still is one');
mend_database();
($status, $out, $err) = $usher->ctl('verify');
is($status, 69, 'without Redis it cannot be told');
like($out, qr/12 hold, 0 broken, 8 not checked/, 'the rest is');
like($err, qr/could be checked: Redis does not answer/, 'the reason is said');
$usher->{redis}->start;
is(($usher->ctl('verify'))[0], 0, 'with Redis again');
$usher->psql('DROP VIEW verify_balance');
($status, $out, $err) = $usher->ctl('verify');
is($status, 69, 'a schema that is not up to date');
like($err, qr/usherctl migrate/, 'says what to do');
$usher->{postgres}->stop;
($status, $out, $err) = $usher->ctl('verify');
is($status, 69, 'without PostgreSQL it cannot be told');

done_testing;
