# rows.pl: usher beside its floor, row by row. Usage: rows.pl [NAME ...]; see Bench.pm for what it finds in the environment.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Bench;

# Most work that a run can use up, for each second of it: enough for machines several times faster than two cores.
my %most = (issue => 40000, hold => 12000, charge => 15000, booking => 8000);
my $HALL   = 1000;                 # seats of a schedule
my $SOLD   = 900001;               # a schedule all of whose seats are sold
my $FREE   = 900002;               # one of 1,000 free seats
my $CLUB   = 900003;               # one of 50
my $FIRST_SCHEDULE = 1000000;      # of the halls in which seats are held
my $FIRST_SEAT     = 10_000_000;

sub sum (@values) { my $s = 0; $s += $_ for @values; return $s }

# ---- states

my $WAIT = <<'LUA';
local at = redis.call('TIME')[1] .. '000'
for user = ARGV[1], ARGV[2] do
  local id = string.format('%d', user)
  redis.call('HSET', KEYS[1], id, id .. ' ' .. at)
  redis.call('ZADD', KEYS[2], id, id)
end
LUA
my $ACTIVATE = <<'LUA';
local at = redis.call('TIME')[1]
for user = ARGV[1], ARGV[2] do
  local id = string.format('%d', user)
  redis.call('HSET', KEYS[1], id, id .. ' ' .. at .. '000 ' .. at .. '000 ' .. at .. '000')
  redis.call('ZADD', KEYS[2], (at + 36000) .. '000', id)
end
LUA

# An empty line. What `admission` says of the line's health stays.
sub line_empty () {
    redis('UNLINK', 'q:{main}:tokens', 'q:{main}:waiting', 'q:{main}:active', 'q:{main}:events');
}

sub line_of ($waiting, $active) {
    line_empty();
    lua($WAIT,     1, $waiting, ['q:{main}:tokens', 'q:{main}:waiting']) if $waiting;
    lua($ACTIVATE, 1, $active,  ['q:{main}:tokens', 'q:{main}:active'])  if $active;
}

sub seats_forget () {
    redis('EVAL', "for _, k in ipairs(redis.call('KEYS', '*:seats')) do redis.call('UNLINK', k) end", 0);
}

my $schedules_made = 0;

# Halls for COUNT seats, on sale: seat FIRST_SEAT + i is in schedule FIRST_SCHEDULE + i / 1000.
sub halls ($count) {
    return if $count <= $schedules_made;
    my $last = $count - 1;
    sql("INSERT INTO concert_schedule (id, concert_id, place, concert_at, reservation_opens_at, reservation_closes_at)
         SELECT $FIRST_SCHEDULE + n, 1, 'Bench hall', now() + interval '60 days', now() - interval '1 day', now() + interval '30 days'
         FROM generate_series(0, $last / $HALL) AS n ON CONFLICT DO NOTHING;
         INSERT INTO concert_seat (id, schedule_id, location, price)
         SELECT $FIRST_SEAT + i, $FIRST_SCHEDULE + i / $HALL, 'A-' || (i % $HALL + 1), 50000 FROM generate_series(0, $last) AS i
         ON CONFLICT DO NOTHING;
         INSERT INTO floor.seat SELECT id, schedule_id, price FROM concert_seat WHERE id >= $FIRST_SEAT ON CONFLICT DO NOTHING;
         ANALYZE concert_schedule, concert_seat, floor.seat");
    $schedules_made = $count;
}

sub seat_of ($user)     { $FIRST_SEAT + $user - 1 }
sub schedule_of ($user) { $FIRST_SCHEDULE + int(($user - 1) / $HALL) }

# Nothing sold, nothing held, COUNT users with BALANCE each; with $held each has a reservation of the user's number.
sub books ($count, $balance, $held) {
    halls($count);
    my $sql = "BEGIN;
        ALTER TABLE ledger DISABLE TRIGGER append_only;
        TRUNCATE reservation, reservation_ticket, payment, ledger, idempotency_key, asset, users RESTART IDENTITY;
        ALTER TABLE ledger ENABLE TRIGGER append_only;
        INSERT INTO users SELECT u FROM generate_series(1, $count) AS u;
        INSERT INTO asset (user_id, balance) SELECT u, $balance FROM generate_series(1, $count) AS u;
        TRUNCATE floor.asset, floor.reservation, floor.reservation_ticket, floor.payment RESTART IDENTITY;
        INSERT INTO floor.asset SELECT u, $balance FROM generate_series(1, $count) AS u;";
    $sql .= "INSERT INTO reservation (id, user_id, schedule_id, status, total_price, reserved_at, expires_at)
            OVERRIDING SYSTEM VALUE
            SELECT u, u, $FIRST_SCHEDULE + (u - 1) / $HALL, 'held', 50000, now(), now() + interval '1 hour'
            FROM generate_series(1, $count) AS u;
        INSERT INTO reservation_ticket (reservation_id, schedule_id, live, seat_id, location, price)
            SELECT u, $FIRST_SCHEDULE + (u - 1) / $HALL, true, $FIRST_SEAT + u - 1, 'A-1', 50000
            FROM generate_series(1, $count) AS u;
        INSERT INTO floor.reservation SELECT id, user_id, 'held', total_price, reserved_at, expires_at FROM reservation;
        INSERT INTO floor.reservation_ticket (reservation_id, seat_id, price) SELECT id, $FIRST_SEAT + id - 1, 50000 FROM reservation;"
        if $held;
    sql($sql . 'COMMIT');
    # What is empty is not analysed: as in a new season, the planner has not seen it yet.
    sql('ANALYZE users, asset, floor.asset' . ($held ? ', reservation, reservation_ticket, floor.reservation' : ''));
    sql('CHECKPOINT');
    seats_forget();
}

# The sold hall, the free hall and the club of 50, which the reading rows look at.
sub show_halls () {
    sql("INSERT INTO concert_schedule (id, concert_id, place, concert_at, reservation_opens_at, reservation_closes_at)
         SELECT n, 1, 'Bench hall', now() + interval '60 days', now() - interval '1 day', now() + interval '30 days'
         FROM generate_series($SOLD, $CLUB) AS n ON CONFLICT DO NOTHING;
         INSERT INTO concert_seat (id, schedule_id, location, price)
         SELECT s * 10 + i, s, chr(65 + i / 50) || '-' || (i % 50 + 1), 50000
         FROM generate_series($SOLD, $CLUB) AS s, generate_series(0, 999) AS i WHERE s <> $CLUB OR i < 50 ON CONFLICT DO NOTHING");
}

sub sold_out () {
    my $script = "for i = ARGV[1], ARGV[2] do local id = string.format('%d', i)
        redis.call('HSET', KEYS[1], id, '0 1'); redis.call('HSET', KEYS[2], id, '1') end";
    lua($script, $SOLD * 10, $SOLD * 10 + 999, ["s:{main}:$SOLD:seats", "floor:$SOLD:seats"]);
}

# ---- work

sub people ($count, $fields = undef) {
    my $user = 0;
    return map { $user++; $fields ? "$_\t" . join("\t", $fields->($user)) : $_ } passes($count);
}

sub work_count ($kind) { int($most{$kind} * $at{seconds}) + 1000 }

# ---- rows
#
# goal: the least share of the floor. per_s: at least so many, where peers' figures hold. expect: what answers must be.
# usher, floor: what wrk sends, [script, arguments...]; prepare: before each run; effects: how many rows a run has left.
my @rows = (
    {   name => 'queue', what => 'GET /v1/queue (cached line state)', goal => 0.55,
        usher => ['work.lua', 'GET', '/v1/queue', '-', '-', 'again', '-'],
        floor => ['work.lua', 'GET', '/v1/queue', '-', '-', 'again', '-'],
    },
    {   name => 'poll', what => 'own token poll, 100,000 waiting', goal => 0.85, per_s => 20000,
        begin => sub { line_of(100000, 0); shuffled_work('poll', people(100000)) },
        usher => ['work.lua', 'GET', '/v1/queue/tokens/me', '-', 't', 'again', "$at{work}/poll"],
        floor => ['work.lua', 'GET', '/floor/poll/$1', '-', 't', 'again', "$at{work}/poll"],
    },
    {   name => 'issue', what => 'token issue', goal => 0.80, per_s => 14000,
        begin   => sub { write_work('issue', people(work_count('issue'))) },
        prepare => sub { line_empty(); redis('SET', 'q:{main}:seq', 0) },
        effects => sub { redis('ZCARD', 'q:{main}:waiting') },
        usher   => ['work.lua', 'POST', '/v1/queue/tokens', '-', 'u', 'once', "$at{work}/issue"],
        floor   => ['work.lua', 'POST', '/floor/issue/$1', '-', 'u', 'once', "$at{work}/issue"],
    },
    {   name => 'concerts', what => 'gated concert page, 100 of 1,000, cache warm', goal => 0.80,
        begin => \&begin_concerts,
        usher => ['work.lua', 'GET', '/v1/concerts?page=7&size=100', '-', 'ut', 'again', "$at{work}/active"],
        floor => ['work.lua', 'GET', '/floor/page/$1', '-', 'ut', 'again', "$at{work}/active"],
    },
    {   name => 'seats', what => 'free seats of a 1,000-seat hall', goal => 0.70,
        begin => sub { begin_active(); show_halls(); seats_body($FREE) },
        usher => ['work.lua', 'GET', "/v1/schedules/$FREE/seats", '-', 'ut', 'again', "$at{work}/active"],
        floor => ['work.lua', 'GET', '/floor/seats/$1/' . $FREE, '-', 'ut', 'again', "$at{work}/active"],
    },
    {   name => 'refused', what => 'refused hold on a taken seat', goal => 0.85, expect => 'refusals',
        begin => sub {
            line_of(0, 3000); show_halls(); sold_out();
            shuffled_work('refused', people(3000, sub ($user) { ($SOLD, $SOLD * 10 + int rand 1000) }));
        },
        usher => ['work.lua', 'POST', '/v1/reservations', '{"schedule_id":$4,"seat_ids":[$5]}', 'ut', 'again', "$at{work}/refused"],
        floor => ['work.lua', 'POST', '/floor/refused/$1/$4/$5', '{"schedule_id":$4,"seat_ids":[$5]}', 'ut', 'again', "$at{work}/refused"],
    },
    {   name => 'hold', what => 'hold of a free seat', goal => 0.70,
        begin   => sub { write_work('hold', people(work_count('hold'), sub ($user) { (schedule_of($user), seat_of($user)) })) },
        prepare => sub { my $n = work_count('hold'); line_of(0, $n); books($n, 100000, 0) },
        effects => sub { sql('SELECT (SELECT count(*) FROM reservation) + (SELECT count(*) FROM floor.reservation)') },
        usher   => ['work.lua', 'POST', '/v1/reservations', '{"schedule_id":$4,"seat_ids":[$5]}', 'ut', 'once', "$at{work}/hold"],
        floor   => ['work.lua', 'POST', '/floor/hold/$1/$4/$5', '{"schedule_id":$4,"seat_ids":[$5]}', 'ut', 'once', "$at{work}/hold"],
    },
    {   name => 'payment', what => 'payment', goal => 0.70,
        begin   => sub { write_work('pay', people(work_count('hold'))) },
        prepare => sub { my $n = work_count('hold'); line_of(0, $n); books($n, 100000, 1) },
        effects => sub { sql('SELECT (SELECT count(*) FROM payment) + (SELECT count(*) FROM floor.payment)') },
        usher   => ['work.lua', 'POST', '/v1/payments', '{"reservation_id":$1}', 'ut', 'once', "$at{work}/pay"],
        floor   => ['work.lua', 'POST', '/floor/pay/$1/$1', '{"reservation_id":$1}', 'ut', 'once', "$at{work}/pay"],
    },
    {   name => 'charge', what => 'charge, with its Idempotency-Key', goal => 0.70,
        begin   => sub { write_work('charge', people(work_count('charge'))) },
        prepare => sub { books(work_count('charge'), 0, 0) },
        effects => sub { sql('SELECT (SELECT count(*) FROM ledger) + (SELECT count(*) FROM floor.asset WHERE balance > 0)') },
        usher   => ['work.lua', 'POST', '/v1/balance/charges', '{"amount":100}', 'uk', 'once', "$at{work}/charge"],
        floor   => ['work.lua', 'POST', '/floor/charge/$1', '{"amount":100}', 'uk', 'once', "$at{work}/charge"],
    },
    {   name => 'seats50', what => 'free seats of a 50-seat club', per_s => 15000,
        begin => sub { begin_active(); show_halls(); seats_body($CLUB) },
        usher => ['work.lua', 'GET', "/v1/schedules/$CLUB/seats", '-', 'ut', 'again', "$at{work}/active"],
        floor => ['work.lua', 'GET', '/floor/seats/$1/' . $CLUB, '-', 'ut', 'again', "$at{work}/active"],
    },
    {   name => 'keyed', what => 'payment with an Idempotency-Key',
        begin   => sub { write_work('pay', people(work_count('hold'))) },
        prepare => sub { my $n = work_count('hold'); line_of(0, $n); books($n, 100000, 1) },
        effects => sub { sql('SELECT (SELECT count(*) FROM payment) + (SELECT count(*) FROM floor.payment)') },
        usher   => ['work.lua', 'POST', '/v1/payments', '{"reservation_id":$1}', 'utk', 'once', "$at{work}/pay"],
        floor   => ['work.lua', 'POST', '/floor/pay/$1/$1', '{"reservation_id":$1}', 'utk', 'once', "$at{work}/pay"],
    },
    {   name => 'booking', what => 'booking: hold and payment', per_s => 2200, requests => 2,
        begin   => sub { write_work('booking', people(work_count('booking'), sub ($user) { (schedule_of($user), seat_of($user)) })) },
        prepare => sub { my $n = work_count('booking'); line_of(0, $n); books($n, 100000, 0) },
        usher   => ['booking.lua', 'usher', "$at{work}/booking"],
        floor   => ['booking.lua', 'floor', "$at{work}/booking"],
    },
);

sub shuffled_work ($name, @lines) {
    srand 1;
    for (my $i = $#lines; $i > 0; $i--) {
        my $j = int rand($i + 1);
        @lines[$i, $j] = @lines[$j, $i];
    }
    write_work($name, @lines);
}

sub begin_active () {
    line_of(0, 3000);
    shuffled_work('active', people(3000));
}

# What usher answers a person at PATH.
sub look ($path) {
    my (undef, $jwt, $token) = split /\t/, (passes(1))[0];
    my ($status, $body) = fetch("$at{url}$path", '-H', "Authorization: Bearer $jwt", '-H', "Queue-Token: $token");
    fail("$path is answered with $status: $body") if $status != 200;
    return $body;
}

sub begin_concerts () {
    begin_active();
    my $body = look('/v1/concerts?page=7&size=100');
    write_file("$at{work}/page", $body);
    redis('EVAL', "redis.call('SET', 'floor:page', ARGV[1])", 0, $body);
}

sub seats_body ($schedule) {
    write_file("$at{work}/$schedule.body", look("/v1/schedules/$schedule/seats"));
}

# ---- measuring

sub url_of ($row, $side) {
    return $side eq 'floor' ? $at{floor} : $at{url};
}

# Why a run does not count; undef when it does.
sub flaw ($row, $run, $effects) {
    return "$run->{broken} connections broke or timed out" if $run->{broken};
    return 'more work was wanted than had been prepared' if $run->{exhausted};
    if (($row->{expect} // '') eq 'refusals') {
        my $granted = $run->{requests} - $run->{refused};
        return "$granted were not refused" if $granted > 0;
    } elsif ($run->{refused}) {
        return "$run->{refused} of $run->{requests} were refused";
    }
    # What was on its way when wrk stopped has an effect and no answer.
    return "$run->{requests} answers, but $effects effects"
        if defined $effects && ($effects < $run->{requests} || $effects > $run->{requests} + 64);
    return undef;
}

sub one_run ($row, $side, $seconds) {
    $row->{prepare}->() if $row->{prepare};
    my $run = wrk($seconds, url_of($row, $side), @{ $row->{$side} });
    $run->{flaw} = flaw($row, $run, $row->{effects} ? $row->{effects}->() : undef);
    return $run;
}

sub middle (@runs) {
    my @sorted = sort { $a->{per_s} <=> $b->{per_s} } @runs;
    return $sorted[ @sorted / 2 ];
}

# Who used the processors while usher answered, the largest first.
sub binds ($run) {
    my %cpu = %{ $run->{cpu} };
    my ($total, $idle) = delete @cpu{qw(total idle)};
    my @parts = sort { $cpu{$b} <=> $cpu{$a} } grep { $cpu{$_} > 0.02 * $total } keys %cpu;
    my @texts = map { sprintf '%s %.0f', $_, 100 * $cpu{$_} / $total } @parts;
    push @texts, sprintf 'idle %.0f', 100 * $idle / $total if $idle > 0.05 * $total;
    return join ', ', @texts;
}

sub measure ($row) {
    $row->{begin}->() if $row->{begin};
    my %runs = (usher => [], floor => []);
    one_run($row, $_, 1) for qw(usher floor);
    for (1 .. $at{runs}) {
        push @{ $runs{$_} }, one_run($row, $_, $at{seconds}) for qw(usher floor);
    }
    my %middle = map { $_ => middle(@{ $runs{$_} }) } keys %runs;
    my ($ours, $floor) = @middle{qw(usher floor)};
    my $each = $row->{requests} // 1;
    my $cpu  = sum(map { $ours->{cpu}{$_} // 0 } qw(usher-server redis postgresql nginx));
    my $floor_cpu = sum(map { $floor->{cpu}{$_} // 0 } qw(floor redis postgresql nginx));
    my ($flaw) = grep {defined} map { $_->{flaw} } @{ $runs{usher} }, @{ $runs{floor} };
    my $ratio = $floor->{per_s} ? $ours->{per_s} / $floor->{per_s} : 0;
    return {
        name         => $row->{name},
        what         => $row->{what},
        ours_per_s   => sprintf('%.0f', $ours->{per_s} / $each),
        floor_per_s  => sprintf('%.0f', $floor->{per_s} / $each),
        ratio        => sprintf('%.3f', $ratio),
        goal         => $row->{goal},
        goal_per_s   => $row->{per_s},
        p50_us       => $ours->{p50},
        p99_us       => $ours->{p99},
        cpu_us       => sprintf('%.1f', $each * $cpu / ($ours->{requests} || 1)),
        floor_cpu_us => sprintf('%.1f', $each * $floor_cpu / ($floor->{requests} || 1)),
        binds        => binds($ours),
        others       => sprintf('%.0f', 100 * median(map { $_->{cpu}{others} / $_->{cpu}{total} } @{ $runs{usher} }, @{ $runs{floor} })),
        all_ours     => [map { sprintf '%.0f', $_->{per_s} / $each } @{ $runs{usher} }],
        all_floor    => [map { sprintf '%.0f', $_->{per_s} / $each } @{ $runs{floor} }],
        flaw         => $flaw,
        met          => \(!defined $flaw && (!$row->{goal} || $ratio >= $row->{goal}) && (!$row->{per_s} || $ours->{per_s} / $each >= $row->{per_s})),
    };
}

# ---- telling

sub heading () {
    printf "%-9s %8s %7s %7s %8s %6s %5s %7s %7s  %s\n", 'row', 'ours/s', 'p50 us', 'p99 us', 'floor/s', 'ratio', 'goal', 'CPU us', 'floor', 'processors %';
}

sub line ($r) {
    printf "%-9s %8s %7s %7s %8s %6.2f %5s %7s %7s  %s%s\n", @$r{qw(name ours_per_s p50_us p99_us floor_per_s ratio)},
        $r->{goal} ? sprintf('%.2f', $r->{goal}) : '-', @$r{qw(cpu_us floor_cpu_us binds)},
        $r->{flaw} ? "\n          VOID: $r->{flaw}" : ${ $r->{met} } ? '' : '  BELOW';
}

my %wanted = map { $_ => 1 } @ARGV;
for my $name (keys %wanted) {
    fail("there is no row '$name'; there are: " . join(' ', map { $_->{name} } @rows)) if !grep { $_->{name} eq $name } @rows;
}
my @results;
say_now("Each row: $at{runs} runs of $at{seconds} s of usher and its floor in turn, medians (wrk -t2 -c32). Rows:");
for my $row (@rows) {
    say_now(sprintf '  %-9s %s', $row->{name}, $row->{what}) if !%wanted || $wanted{ $row->{name} };
}
heading();
for my $row (@rows) {
    next if %wanted && !$wanted{ $row->{name} };
    my $result = measure($row);
    line($result);
    push @results, $result;
    write_file("$at{run}/bench.json", json({ rows => \@results, seconds => $at{seconds}, runs => $at{runs}, workers => $ENV{BENCH_WORKERS} }) . "\n");
}
my @noisy = grep { $_->{others} > 5 } @results;
say_now('Other programs took more than 5 % of the processors during: ' . join(', ', map {"$_->{name} ($_->{others} %)"} @noisy)) if @noisy;
exit(grep({ defined $_->{flaw} } @results) ? 1 : 0);
