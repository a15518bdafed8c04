#!/usr/bin/perl
# The crash matrix: every operation, cut off (kill -9) at every point where it reaches PostgreSQL or Redis: before the call, when
# it is on its way, and when its answer has come. The client repeats the request as a client would; then exactly one effect is
# there, seats and tokens are where they belong, and `usherctl verify` finds nothing.
#
# Which points an operation passes is recorded by running it once (USHER_TEST_CRASH_TRACE). What there is to pass is read from the
# code: a script, statement or command without a case here fails the test.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Usher::Buyers;
use Usher::Crash;
use Usher::FastCgi;
use Usher::Process;
use Usher::Race;
use Usher::Stack;

my ($usher, $matrix);

# Long lives, so that the clock can be moved between the cases; the claim that was cut off is asked about after 15 s.
use constant { HOLD => 3600, PRICE => 700, MONEY => 5000, PEOPLE => 220 };

sub start_stack {
    $usher = Usher::Stack->new(
        workers => 8,
        config  => {
            hold_ttl => HOLD . 's', claim_window => '24h', active_ttl => '24h', idempotency_ttl => '12h',
            concert_cache_ttl => '10s', concert_cache_max => '30s', active_max => 10_000,
        },
        server => 0,
    );
    $matrix = Usher::Crash->new($usher);
    $usher->start_server;
    my ($concert) = $usher->concerts(60);
    Usher::Buyers::open($usher, concert => $concert, price => PRICE, money => MONEY);
    make_people(PEOPLE);
}

start_stack();

# ---- the operations, as Usher::Crash wants them

sub read_twice ($name, $setup, $request, $right = sub { () }) {
    $matrix->operation(name => $name, setup => $setup, act => $request, now => sub ($c, $r) { $right->($c, $r) });
}

$matrix->operation(
    name  => 'join',
    setup => sub { state $user = 800_000; +{ user => ++$user } },
    act   => sub ($c) { [ POST => '/v1/queue/tokens', user => $c->{user} ] },
    good  => [ 200, 201 ],
    now   => sub ($c, $r) {
        my ($ticket) = split / /, ask($usher, 'HGET', 'q:{main}:tokens', $c->{user});
        return (
            differs('the line', token($c->{user}), 'waiting'),
            differs('the ticket', $r->json->{ticket}, $ticket),
            differs('its place', ask($usher, 'ZSCORE', 'q:{main}:waiting', $c->{user}), $ticket)
        );
    },
    later => sub ($c) { differs('history', history($c->{user}), 'waiting') },
);

read_twice(
    'poll', \&waiting_person,
    sub ($c) { [ GET => '/v1/queue/tokens/me', token => $c->{token} ] },
    sub ($c, $r) { differs('the ticket', $r->json->{ticket}, $c->{ticket}) }
);

$matrix->operation(
    name  => 'leave',
    setup => \&waiting_person,
    act   => sub ($c) { [ DELETE => '/v1/queue/tokens/me', token => $c->{token} ] },
    good  => [204],
    now   => sub ($c, $r) { differs('the line', token($c->{user}), 'none') },
    later => sub ($c) { differs('history', history($c->{user}), 'left') },
);

# Past nginx, which would answer from its cache.
read_twice(
    'the line as a whole', sub { +{} },
    sub ($c) { sub { eval { $usher->fcgi(GET => '/v1/queue') } } },
    sub ($c, $r) { differs('state', $r->json->{state}, 'open') }
);

$matrix->settle('the line');

# ---- reading

my $reader;
my $page = 0;
sub reader { $reader //= person() }
sub reading ($path) { (sub { reader() }, sub ($c) { gated($c, $path) }) }

read_twice(
    'a concert page, not in the cache', sub { +{ %{ reader() }, page => ++$page } },
    sub ($c) { gated($c, "/v1/concerts?size=1&page=$c->{page}") },
    sub ($c, $r) { differs('the page', $r->json->{items}[0]{id}, $c->{page} + 1) }
);
read_twice(
    'a concert page, hit late in its life',
    sub {
        my $c       = { %{ reader() }, page => ++$page };
        my $request = gated($c, "/v1/concerts?size=1&page=$page");
        insist($request);
        Usher::Process::until_true(sub { ask($usher, 'EXISTS', "c:{main}:concerts:page:1:$page") });
        $usher->clock_advance(7);
        return $c;
    },
    sub ($c) { gated($c, "/v1/concerts?size=1&page=$c->{page}") },
    sub ($c, $r) { differs('the page', $r->json->{items}[0]{id}, $c->{page} + 1) }
);
# Somebody else is at rendering it, for longer than one waits for that.
read_twice(
    'a concert page that another one is filling',
    sub {
        my $c = { %{ reader() }, page => ++$page };
        ask($usher, 'SET', "c:{main}:concerts:page:1:$page:filler", 1, 'PX', 60_000);
        return $c;
    },
    sub ($c) { gated($c, "/v1/concerts?size=1&page=$c->{page}") },
    sub ($c, $r) { differs('the page', $r->json->{items}[0]{id}, $c->{page} + 1) }
);
my $limit = 1;
read_twice('concerts by cursor', sub { +{ %{ reader() }, limit => ++$limit } },
    sub ($c) { gated($c, "/v1/concerts?limit=$c->{limit}") },
    sub ($c, $r) { differs('concerts', scalar @{ $r->json->{items} }, $c->{limit}) });
read_twice('a concert', reading('/v1/concerts/1'));
read_twice('its schedules', reading('/v1/concerts/2/schedules'));
my ($long_season) = $usher->concerts(1);
$usher->schedule($long_season, seats => 1) for 1 .. 17;
read_twice('so many that the database counts their seats', reading("/v1/concerts/$long_season/schedules"));
read_twice(
    'seats, the doorman cold', sub { my $c = visitor(); cold($c); $c },
    sub ($c) { gated($c, "/v1/schedules/$c->{schedule}/seats") },
    sub ($c, $r) { differs('free seats', scalar @{ $r->json->{items} }, 4) }
);
read_twice(
    'balance', sub { reader() },
    sub ($c) { [ GET => '/v1/balance', user => $c->{user} ] },
    sub ($c, $r) { differs('balance', $r->json->{balance}, MONEY) }
);
read_twice('entries', sub { reader() }, sub ($c) { [ GET => '/v1/balance/entries', user => $c->{user} ] });
read_twice('own reservations', sub { reader() }, sub ($c) { [ GET => '/v1/reservations', user => $c->{user} ] });
my $paid;
sub paid { $paid //= do { my $c = holder(); $c->{payment} = insist(pay_request($c))->json->{id}; $c } }
read_twice('a reservation', \&paid, sub ($c) { [ GET => "/v1/reservations/$c->{reservation}", user => $c->{user} ] });
read_twice('a payment', \&paid, sub ($c) { [ GET => "/v1/payments/$c->{payment}", user => $c->{user} ] });
read_twice('readiness', sub { +{} }, sub ($c) { [ GET => '/readyz' ] });

$matrix->settle('reading');

# ---- holding

sub is_held ($c) { (differs('has', has($c->{user}), having(held => 1)), differs('seats', seats($c), "held $c->{user}")) }

$matrix->operation(
    name  => 'hold',
    setup => sub { my $c = visitor(); warm($c); $c->{key} = key(); $c },
    act   => sub ($c) { hold_request($c, key => $c->{key}) },
    good  => [201],
    now   => sub ($c, $r) { is_held($c) },
    later => sub ($c) { is_held($c) },
);
$matrix->operation(
    name  => 'hold, the doorman cold',
    setup => sub { my $c = visitor(); cold($c); $c->{key} = key(); $c },
    act   => sub ($c) { hold_request($c, key => $c->{key}) },
    good  => [201],
    now   => sub ($c, $r) { is_held($c) },
    later => sub ($c) { is_held($c) },
);

# Without a key the client may not repeat it; it looks whether it has the seats. If not, they are free within a minute.
$matrix->operation(
    name  => 'hold without a key',
    setup => sub { my $c = visitor(); warm($c); $c },
    act   => sub ($c) { hold_request($c) },
    once  => 1,
    later => sub ($c) {
        my @own = @{ insist([ GET => '/v1/reservations', user => $c->{user} ])->json->{items} };
        return (differs('has', has($c->{user}), having(held => scalar @own)), @own ? is_held($c) : seats_are_free($c));
    },
);

# Another one holds the seats in truth, and the doorman has forgotten it: PostgreSQL refuses what he gave.
$matrix->operation(
    name  => 'hold, refused by PostgreSQL',
    setup => sub {
        my $other = holder();
        my $c     = { %$other, %{ person() }, owner => $other->{user}, key => key() };
        ask($usher, 'HDEL', "s:{main}:$c->{schedule}:seats", @{ $c->{wanted} });
        return $c;
    },
    act  => sub ($c) { hold_request($c, key => $c->{key}) },
    good => [409],
    now  => sub ($c, $r) {
        (differs('has', has($c->{user}), having()), differs('the other one has', has($c->{owner}), having(held => 1)));
    },
    later => sub ($c) { differs('somebody else asks for the seats', insist(hold_request({ %$c, %{ reader() } }))->status, 409) },
);
$matrix->operation(
    name  => 'cancel',
    setup => \&holder,
    act   => \&cancel_request,
    good  => [204],
    now   => sub ($c, $r) { differs('has', has($c->{user}), having(cancelled => 1)) },
    later => sub ($c) { seats_are_free($c) },
);

# ---- money

$matrix->operation(
    name  => 'charge',
    setup => sub { +{ %{ person() }, key => key() } },
    act   => sub ($c) { [ POST => '/v1/balance/charges', user => $c->{user}, key => $c->{key}, body => { amount => 300 } ] },
    good  => [201],
    now   => sub ($c, $r) {
        (differs('has', has($c->{user}), having(balance => MONEY + 300, charges => 2)),
            differs('the answer', $r->json->{balance}, MONEY + 300));
    },
);

sub is_paid ($c) {
    my $settled = differs('seats', seats($c), "sold $c->{user}");
    return (
        differs('has', has($c->{user}), having(balance => MONEY - 2 * PRICE, payments => 1, paid => 1)),
        differs('seats', seats($c), "sold $c->{user}"),
        differs('the line', token($c->{user}), 'none'),
    );
}

# Nobody waits for what is posted to Redis: a moment.
sub is_paid_soon ($c) {
    my @wrong;
    Usher::Process::until_true(sub { @wrong = is_paid($c); !@wrong }, 3);
    return @wrong;
}

$matrix->operation(
    name  => 'pay',
    setup => sub { my $c = holder(); $c->{key} = key(); $c },
    act   => sub ($c) { pay_request($c, key => $c->{key}) },
    good  => [201],
    now   => sub ($c, $r) { (is_paid_soon($c), differs('the price', $r->json->{price}, 2 * PRICE)) },
    later => sub ($c) { (is_paid($c), differs('history', history($c->{user}), 'used')) },
);
$matrix->operation(
    name  => 'pay without a key',
    setup => \&holder,
    act   => sub ($c) { pay_request($c) },
    good  => [ 201, 409 ],
    now   => sub ($c, $r) {
        (is_paid_soon($c), $r->status == 409 ? differs('the answer', $r->json->{code}, 'already-paid') : ());
    },
    later => sub ($c) { (is_paid($c), differs('history', history($c->{user}), 'used')) },
);

# Cut off and never repeated: the scheduler tells the doorman.
$matrix->operation(
    name  => 'pay, and never come back',
    setup => \&holder,
    act   => sub ($c) { pay_request($c) },
    once  => 1,
    later => sub ($c) {
        my $made = query($usher, "SELECT count(*) FROM payment WHERE user_id = $c->{user}");
        return $made
            ? (differs('has', has($c->{user}), having(balance => MONEY - 2 * PRICE, payments => 1, paid => 1)),
            differs('seats', seats($c), "sold $c->{user}"))
            : is_held($c);
    },
);

$matrix->settle('holding and paying');

# ---- the scheduler and the operator; a run that finds the other one's lock has nothing to do and is repeated

sub program ($program, @args) {
    return sub ($c) {
        return sub {
            my @options = @{ $c->{options} // [] };
            my ($status, undef, $words) = Usher::Process::run({ env => $usher->_environment },
                "${\$usher->build}/$program", '-c', $usher->{conf}, @options, @args);
            return { status => $words =~ /another scheduler/ ? 503 : $status == 0 ? 200 : $status == 137 ? 503 : $status };
        };
    };
}

# At most BATCH in any PERIOD, whatever was cut off; people wait for more than that.
use constant { BATCH => 2, PERIOD => 400 };
my @line;

$matrix->operation(
    name   => 'promote',
    before => sub { people($usher, 1) },    # who has waited so far is let in
    setup  => sub {
        push @line, waiting_person() while ask($usher, 'ZCARD', 'q:{main}:waiting') <= 2 * BATCH;
        return { options => [ '-o', 'promote_batch=' . BATCH, '-o', 'promote_period=' . PERIOD . 'ms' ] };
    },
    act    => program('usher-scheduler', 'promote'),
    now    => sub ($c, $r) { admissions(\@line, BATCH, PERIOD) },
);

$matrix->operation(
    name  => 'promote, as far as there is room',
    # There is room for three of five: who let in twice would let in more.
    setup => sub {
        while (ask($usher, 'ZCARD', 'q:{main}:waiting')) {    # nobody else waits
            $usher->scheduler('-o', 'promote_batch=1000', '-o', 'promote_period=100ms', 'promote');
        }
        my @five = map { waiting_person() } 1 .. 5;
        my $room = 3 + ask($usher, 'ZCOUNT', 'q:{main}:active', '(' . int(1000 * $usher->now), '+inf');
        return {
            three   => [ @five[ 0 .. 2 ] ],
            others  => [ @five[ 3, 4 ] ],
            options => [ '-o', 'promote_batch=1000', '-o', 'promote_period=100ms', '-o', "active_max=$room" ]
        };
    },
    act => program('usher-scheduler', 'promote'),
    now => sub ($c, $r) {
        my @wrong = map { differs("user $_->{user} in the line", token($_->{user}), 'active') } @{ $c->{three} };
        for my $other (@{ $c->{others} }) {
            push @wrong, differs("user $other->{user} in the line", token($other->{user}), 'waiting');
            $usher->fcgi(DELETE => '/v1/queue/tokens/me', token => $other->{token});
        }
        my ($serving) = ask($usher, 'HGET', 'q:{main}:admission', 'serving');
        return (
            @wrong,
            differs('serving', $serving, $c->{three}[-1]{ticket}),
            map { differs("history of user $_->{user}", history($_->{user}), 'active') } @{ $c->{three} }
        );
    },
);

# Each time there is one of everything that can be over: a token, a hold, a claim without a hold, an old key, some history.
$matrix->operation(
    name  => 'expire',
    setup => sub {
        my $c   = holder();
        my $now = $usher->now * 1000;
        $c->{no_show} = person()->{user};
        ask($usher, 'ZADD', 'q:{main}:active', $now - 1000, $c->{no_show});
        ask($usher, 'HSET', "s:{main}:$c->{schedule}:seats", map { ($_ => ($now - 1000) . " $c->{user}") } @{ $c->{wanted} });
        ask($usher, 'HSET', "s:{main}:$c->{schedule}:seats", $c->{seats}[2], ($now + (HOLD - 20) * 1000) . ' 1', v => $now - 20_000);
        query(
            $usher,
            "UPDATE reservation SET reserved_at = reserved_at - interval '2 hours', expires_at = expires_at - interval '2 hours'
                WHERE id = $c->{reservation};
             INSERT INTO idempotency_key (user_id, key, request_hash, effect, effect_id, created_at)
                VALUES ($c->{user}, 'old', '\\x00', 'reservation', $c->{reservation}, usher_clock() - interval '1 day')"
        );
        $c->{left} = waiting_person();
        insist([ DELETE => '/v1/queue/tokens/me', token => $c->{left}{token} ]);
        return $c;
    },
    act => program('usher-scheduler', 'expire'),
    now => sub ($c, $r) {
        return (
            differs('has', has($c->{user}), having(expired => 1)),
            differs('no-show', token($c->{no_show}), 'none'),
            differs('history of the no-show', history($c->{no_show}), 'expired'),
            differs('history of who left', history($c->{left}{user}), 'left'),
            differs('old keys', query($usher, "SELECT count(*) FROM idempotency_key WHERE user_id = $c->{user} AND key = 'old'"), 0),
            differs('claims of nobody', ask($usher, 'HGET', "s:{main}:$c->{schedule}:seats", $c->{seats}[2]), ''),
        );
    },
    later => sub ($c) { differs('seats', seats($c), 'free') },
);

$matrix->operation(name => "usherctl $_", setup => sub { +{} }, act => program('usherctl', $_)) for qw(pause resume);
# A page is cached, and the concert on it changes.
sub shown ($c) { gated($c, "/v1/concerts?size=1&page=$c->{page}") }
$matrix->operation(
    name  => 'usherctl evict',
    setup => sub {
        my $c = { %{ reader() }, page => ++$page, text => "changed $page" };
        insist(shown($c));
        Usher::Process::until_true(sub { ask($usher, 'EXISTS', "c:{main}:concerts:page:1:$page") });
        query($usher, "UPDATE concert SET description = '$c->{text}' WHERE id = 1 + $page");
        return $c;
    },
    act => program('usherctl', 'evict'),
    now => sub ($c, $r) { differs('the page', insist(shown($c))->json->{items}[0]{description}, $c->{text}) },
);
$matrix->settle('scheduler and operator');

# ---- the line, restored

# Whether the line is as before: one waits, one is active, and numbers go on.
sub line_is_as_before ($c) {
    my $place = insist([ GET => '/v1/queue/tokens/me', token => $c->{token} ]);
    my $next  = waiting_person();
    return (
        differs('the poll', $place->status, 200),
        differs('the line', join(' ', map { token($_) } $c->{user}, $c->{active}{user}), 'waiting active'),
        $next->{ticket} > $c->{ticket} ? () : "ticket $next->{ticket} is given again",
        differs('the lost ticket', ask($usher, 'ZSCORE', 'q:{main}:waiting', $c->{user}), $c->{ticket}),
    );
}

# One who waits and one who is active, and the history knows both.
my $recorded;

sub recorded_line {
    return { %$recorded } if $recorded;
    $recorded = waiting_person();
    $recorded->{active} = reader();
    $usher->scheduler('expire');
    return { %$recorded };
}

$matrix->operation(
    name  => 'a poll that restores the lost line',
    setup => sub { my $c = recorded_line(); ask($usher, 'FLUSHALL'); $c },
    act   => sub ($c) { [ GET => '/v1/queue/tokens/me', token => $c->{token} ] },
    now   => sub ($c, $r) { line_is_as_before($c) },
    connects => 1,
);
$matrix->settle('the line, restored after a loss');

$matrix->operation(
    name  => 'the first request after Redis has come back with an older copy',
    setup => sub {
        my $c = recorded_line();
        warm({ %{ reader() }, %{ hall() } });
        $c->{left} = waiting_person();
        insist([ DELETE => '/v1/queue/tokens/me', token => $c->{left}{token} ]);
        ask($usher, 'HSET', 'q:{main}:admission', 'run', 'an older one');
        ask($usher, 'CLIENT', 'KILL', 'TYPE', 'normal');
        return $c;
    },
    act      => sub ($c) { [ GET => '/v1/queue/tokens/me', token => $c->{token} ] },
    now      => sub ($c, $r) { (line_is_as_before($c), differs('history of who left', history($c->{left}{user}), 'left')) },
    connects => 1,
);

$matrix->settle('the line, restored after an older copy');

# ---- what the shop tells the adaptive line; each worker says it with its first hold

$matrix->operation(
    name   => 'hold, and tell the pulse',
    before => sub { restart_server(USHER_ADMISSION => 'adaptive') },
    setup  => sub { my $c = visitor(); $c->{key} = key(); $usher->clock_advance(1); $c },
    act    => sub ($c) { hold_request($c, key => $c->{key}) },
    good   => [201],
    now    => sub ($c, $r) { is_held($c) },
    later  => sub ($c) { is_held($c) },
    only   => qr/:pulse$/,
);

sub restart_server (%environment) {
    $usher->stop_server;
    %{ $usher->{env} } = (%{ $usher->{env} }, %environment);
    $usher->start_server;
}

$matrix->settle('the pulse');

# ---- what there is to pass, read from the code

is_deeply(
    [ map { ($_->{head} ? 'head ' : '') . ($_->{posted} ? 'posted ' : '') . join '|', @{ $_->{names} } } Usher::Crash::calls_in(<<'END') ],
static void ask(struct redis_call *call, struct arena *arena)
{
    redis_command(call, arena, "MGET", true);
}

static void tell(struct redis_call *call, struct arena *arena)
{
    redis_command(call, arena, "TIME", true);
}

static enum error work(struct sale *sale, struct arena *arena, struct run *r)
{
    struct redis_call calls[3], call, note;
    redis_command(&calls[0], r->arena, which ? "HSCAN" : "ZSCAN", true);
    redis_command(&calls[1], arena, names[i], true); /* redis_command(&call, arena, "COMMENT", true); */
    tell(&calls[2], arena);
    redis_script(&call, arena, SCRIPT_LINE);
    if (redis_run(sale->redis, arena, calls, 3, values) != OK || redis_run_one(sale->redis, arena, &call, &value) != OK)
        return E_UNAVAILABLE;
    ask(&note, arena);
    redis_script(&note, arena, SCRIPT_PULSE);
    redis_post(sale->redis, &note);
}
END
    [ 'head MGET', 'TIME', 'head HSCAN|ZSCAN', '', 'head SCRIPT_LINE', 'head posted SCRIPT_PULSE' ],
    'the code is read: what is first in a pipeline names a point, and what is posted is told from what is answered'
);

my @missing = grep { !$matrix->killed->{$_} } $matrix->all_points;
is_deeply(\@missing, [], 'something was cut off at every point there is: a new script or statement needs its case here');
done_testing;
