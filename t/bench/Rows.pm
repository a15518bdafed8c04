# Rows: the rows of the bench: the state that each needs, what wrk sends to usher and to the floor, and one run of it. See
# Bench.pm for what it finds in the environment.
package Rows;
use v5.36;
use Exporter 'import';
use Bench;

our @EXPORT = qw(@rows row begin same_length one_run);

# Most work that a run can use up, for each second of it: enough for machines several times faster than two cores.
my %most = (issue => 40000, hold => 12000, charge => 15000, booking => 8000);
my $HALL   = 1000;                 # seats of a schedule
my $SOLD   = 900001;               # a schedule all of whose seats are sold
my $FREE   = 900002;               # one of 1,000 free seats
my $CLUB   = 900003;               # one of 50
my $FIRST_SCHEDULE = 1000000;      # of the halls in which seats are held
my $FIRST_SEAT     = 10_000_000;

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

# The doormen of the bench's halls forget, and are told again, as the timer's run of every minute would: in production no
# hold finds a doorman who knows nothing.
sub doormen_anew () {
    redis('EVAL', "for _, p in ipairs({'s:{main}:1??????:seats', 'floor:1??????:seats'}) do
        for _, k in ipairs(redis.call('KEYS', p)) do redis.call('UNLINK', k) end end", 0);
    scheduler('expire');
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
        TRUNCATE reservation, reservation_ticket, ledger, idempotency_key, asset RESTART IDENTITY;
        ALTER TABLE ledger ENABLE TRIGGER append_only;
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
    sql('ANALYZE asset, floor.asset' . ($held ? ', reservation, reservation_ticket, floor.reservation' : ''));
    sql('CHECKPOINT');
    doormen_anew();
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
our @rows = (
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

# ---- one run

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
    redis_is_quiet();
    nginx_errors();
    my $run    = wrk($seconds, url_of($row, $side), @{ $row->{$side} });
    my @errors = nginx_errors();
    $run->{flaw} = flaw($row, $run, $row->{effects} ? $row->{effects}->() : undef);
    $run->{flaw} //= @errors . " complaints in nginx' log, the first: $errors[0]" if @errors;
    return $run;
}

# The answer's body to the first piece of the row's work, as work.lua would ask for it.
sub first_answer ($row, $side) {
    my (undef, $method, $path, $body, $letters, undef, $file) = @{ $row->{$side} };
    my @fields = $file eq '-' ? () : split /\t/, first_line("$file.0");
    s/\$(\d)/$fields[$1 - 1]/g for $path, $body;
    my @options = ('-X', $method);
    push @options, '-H', "Authorization: Bearer $fields[1]"       if $letters =~ /u/;
    push @options, '-H', "Queue-Token: $fields[2]"                if $letters =~ /t/;
    push @options, '-H', "Idempotency-Key: bench-$fields[0]"      if $letters =~ /k/;
    push @options, '-H', 'Content-Type: application/json', '-d', $body if $body ne '-';
    return (fetch(url_of($row, $side) . $path, @options))[1];
}

# Ids and counters of the two sides differ by some digits, and by nothing else.
my $DIGITS = 8;

# A floor that sends more or less than usher would not be its floor.
sub same_length ($row) {
    return if $row->{usher}[0] ne 'work.lua';    # booking.lua's two halves are rows of their own
    $row->{prepare}->() if $row->{prepare};
    my %body = map { $_ => first_answer($row, $_) } qw(floor usher);    # after usher's payment the token is used up
    my ($ours, $floor) = map {length} @body{qw(usher floor)};
    fail("$row->{name}: usher answers with $ours bytes, its floor with $floor:\n$body{usher}\n$body{floor}")
        if abs($ours - $floor) > $DIGITS;
}

sub row ($name) {
    my ($row) = grep { $_->{name} eq $name } @rows;
    return $row // fail("there is no row '$name'; there are: " . join(' ', map { $_->{name} } @rows));
}

sub begin ($row) {
    shorten_logs();
    $row->{begin}->() if $row->{begin};
}

1;
