#!/usr/bin/perl
# Operations that are stopped at every point where they reach PostgreSQL or Redis, and go on when the world is another one: the
# client has repeated the request, has cancelled or paid, the deadline has passed, somebody else has the seats, Redis was emptied,
# another scheduler has run. In the end there is one effect, the doorman says what is true, and `usherctl verify` finds nothing.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Usher::Buyers;
use Usher::Crash;
use Usher::Pause;
use Usher::Process;
use Usher::Race;
use Usher::Stack;

# A token lives shorter than a hold, so that it must be kept alive by it.
use constant { HOLD => 300, ACTIVE => 120, PRICE => 700, MONEY => 5000, LATER => 2, AGAIN => 60 };

my $usher = Usher::Stack->new(
    workers => 28,
    config  => {
        hold_ttl => HOLD . 's', claim_window => '24h', active_ttl => ACTIVE . 's', idempotency_ttl => '12h', active_max => 10_000,
        lock_timeout => '4s', statement_timeout => '4500ms', redis_timeout => '2s',
    },
    server => 0,
);
my $matrix = Usher::Crash->new($usher);
my $pauses = Usher::Pause->new($usher, $matrix);
$usher->start_server;
my ($concert) = $usher->concerts(1);
Usher::Buyers::open($usher, concert => $concert, price => PRICE, money => MONEY);

# ---- what happens meanwhile

# The request once more, as the client of a lost answer sends it.
my $act;

sub repeat (@cases) {
    $_->{repeated} = insist($act->($_)) for @cases;
}

sub hold_again (@cases) {
    $_->{again} = insist(hold_request($_, key => key())) for @cases;
}

sub cancel (@cases) {
    for my $c (@cases) {
        $c->{reservation} //= $c->{repeated}->json->{id};
        $c->{cancelled} = insist(cancel_request($c));
    }
}

sub pay (@cases) {
    for my $c (@cases) {
        $c->{reservation} //= $c->{repeated}->json->{id};
        $c->{paid} = insist(pay_request($c, key => key()));
    }
}

# Somebody else asks for the same seats.
sub rival (@cases) {
    for my $c (@cases) {
        $c->{rival} = { %$c, %{ person() } };
        $c->{theirs} = insist(hold_request($c->{rival}, key => key()));
    }
}

sub time_passes ($seconds) {
    $usher->clock_advance($seconds);
    my ($status, $words) = $usher->scheduler('expire');
    die "expire: $words\n" if $status != 0;
}

# Redis is emptied; who comes next has the line restored, and looks at the hall.
sub flush (@cases) {
    $usher->scheduler('promote');
    ask($usher, 'FLUSHALL');
    my $looks = person();
    insist(gated($looks, '/v1/concerts'));
    warm({ %$looks, schedule => $_->{schedule} }) for @cases;
}

# ---- what is true

# As seats() says it of the doorman.
sub truth ($c) {
    return join ' and ', query(
        $usher,
        "SELECT DISTINCT CASE WHEN r.status = 'paid' THEN 'sold ' || r.user_id WHEN r.expires_at > usher_clock() THEN 'held ' || r.user_id
            ELSE 'free' END
         FROM unnest('{${\ join ',', @{ $c->{wanted} }}}'::bigint[]) AS s (id)
         LEFT JOIN reservation_ticket t ON t.seat_id = s.id AND t.live LEFT JOIN reservation r ON r.id = t.reservation_id ORDER BY 1"
    );
}

sub is_loaded ($c) { ask($usher, 'HEXISTS', "s:{main}:$c->{schedule}:seats", 'v') }

sub doorman_agrees ($c) { differs('the doorman', seats($c), truth($c)) }

sub seats_are ($c, $what) { (differs('the seats', truth($c), $what), differs('the doorman', seats($c), $what)) }

# The doorman's claim is that of the hold, not of an earlier one of the user's.
sub claim_lasts ($c) {
    my ($until) = query($usher, "SELECT usher_us(max(expires_at)) / 1000 FROM reservation WHERE user_id = $c->{user} AND status = 'held'");
    return map {
        my ($claim) = (ask($usher, 'HGET', "s:{main}:$c->{schedule}:seats", $_) // '') =~ /^(\d+) /;
        ($claim // 0) > $until - AGAIN * 1000 / 2 ? () : "the claim of seat $_ ends " . ($until - ($claim // 0)) . ' ms before the hold'
    } @{ $c->{wanted} };
}

# The queue token lives as long as the hold, so that it can be paid.
sub token_lives ($c) {
    my ($until) = query($usher, "SELECT usher_us(max(expires_at)) / 1000 FROM reservation WHERE user_id = $c->{user} AND status = 'held'");
    my $life = ask($usher, 'ZSCORE', 'q:{main}:active', $c->{user}) || 0;
    return $life >= $until ? () : 'the token ends ' . ($until - $life) . ' ms before the hold';
}

sub is_paid ($c) {
    (
        differs('has', has($c->{user}), having(paid => 1, payments => 1, balance => MONEY - 2 * PRICE)),
        seats_are($c, "sold $c->{user}")
    );
}

sub answered ($what, $r, @good) {
    my $is = $r ? join ' ', $r->status, ($r->json // {})->{code} // () : 'none';
    return (grep { $is =~ /^$_\b/ } @good) ? () : "$what: $is, not " . join ' or ', @good;
}

sub same_effect ($c, $r) { $r->status != 201 ? () : differs('its answer is about', $r->json->{id}, $c->{repeated}->json->{id}) }

# Of two who wanted the same seats one has them: this user, or the other one.
sub one_has_them ($c, $r) {
    my $mine = $r->status == 201;
    return (
        answered('its answer', $r, 201, 409),
        answered('the other one', $c->{theirs}, $mine ? 409 : 201),
        differs('has', has($c->{user}), having(held => $mine || 0)),
        differs('the other one has', has($c->{rival}{user}), having(held => !$mine || 0)),
        seats_are($c, 'held ' . ($mine ? $c : $c->{rival})->{user}),
    );
}

# ---- the operations

sub operation (%o) {
    $act = $o{act};
    make_people(2);
    $pauses->operation(%o);
}

sub meanwhile ($name, $happens, %o) {
    make_people(2 * @{ $pauses->{points} } + 2);
    $pauses->meanwhile($name, $happens, %o);
}

sub settle ($what) {
    make_people(30);
    $pauses->settle($what);
}

for my $warm (1, 0) {
    operation(
        name  => $warm ? 'hold' : 'hold, the doorman cold',
        setup => sub { my $c = visitor(); $warm ? warm($c) : cold($c); $c->{key} = key(); $c },
        act   => sub ($c) { hold_request($c, key => $c->{key}) },
    );
    my $is_held = sub ($c, $r) {
        (
            answered('its answer', $r, 201), differs('has', has($c->{user}), having(held => 1)),
            seats_are($c, "held $c->{user}"), token_lives($c)
        );
    };
    my $stays_held = sub ($c) { seats_are($c, "held $c->{user}") };
    meanwhile(
        'it is repeated', \&repeat,
        then  => sub ($c, $r) { ($is_held->($c, $r), same_effect($c, $r)) },
        later => $stays_held,
    );
    meanwhile(
        'another one asks for the seats', \&rival,
        then  => \&one_has_them,
        later => \&doorman_agrees,
    );
    meanwhile(
        'its claim is old and looked at', sub (@cases) { time_passes(Usher::Crash::DOUBTFUL) },
        then => $is_held, later => $stays_held,
    );
    meanwhile(
        'Redis is emptied', \&flush,
        then  => sub ($c, $r) { (answered('its answer', $r, 201), differs('has', has($c->{user}), having(held => 1))) },
        later => $stays_held,
    );
    meanwhile(
        'another one buys the other seats, and Redis is emptied',
        sub (@cases) {
            for my $c (@cases) {
                $c->{other} = { %$c, %{ person() }, wanted => [ @{ $c->{seats} }[ 2, 3 ] ] };
                $c->{other}{reservation} = insist(hold_request($c->{other}))->json->{id};
            }
            pay(map { $_->{other} } @cases);
            flush();
        },
        then => sub ($c, $r) {
            (
                answered('its answer', $r, 201), differs('has', has($c->{user}), having(held => 1)),
                is_loaded($c) ? is_paid($c->{other}) : ()
            );
        },
        later => sub ($c) { ($stays_held->($c), is_paid($c->{other})) },
    ) if !$warm;
    meanwhile(
        'it is repeated and cancelled', sub (@cases) { repeat(@cases); cancel(@cases) },
        then => sub ($c, $r) {
            (answered('its answer', $r, 201), differs('has', has($c->{user}), having(cancelled => 1)), seats_are($c, 'free'));
        },
        later => \&seats_are_free,
    );
    meanwhile(
        'it is repeated, cancelled and held again',
        sub (@cases) { repeat(@cases); $usher->clock_advance(LATER); cancel(@cases); hold_again(@cases) },
        then => sub ($c, $r) {
            (
                answered('its answer', $r, 201), same_effect($c, $r), token_lives($c),
                differs('has', has($c->{user}), having(held => 1, cancelled => 1)), seats_are($c, "held $c->{user}")
            );
        },
        later => $stays_held,
    );
    meanwhile(
        'it is repeated and paid', sub (@cases) { repeat(@cases); pay(@cases) },
        then  => sub ($c, $r) { (answered('its answer', $r, 201, 401, 409), same_effect($c, $r), is_paid($c)) },
        later => \&is_paid,
    );
    settle('holding');
    meanwhile(
        'its time passes and another one takes the seats', sub (@cases) { time_passes(HOLD + 1); rival(@cases) },
        then => sub ($c, $r) {
            (
                answered('its answer', $r, 201, 401, 409), answered('the other one', $c->{theirs}, 201),
                differs('has', has($c->{user}), having(expired => $r->status == 201 || 0)), seats_are($c, "held $c->{rival}{user}")
            );
        },
        later => \&doorman_agrees,
    );
    settle('holding');
}

# ---- a keyed hold of seats that the user already holds without that key: refused, by PostgreSQL

operation(
    name  => 'hold of what is held',
    setup => sub { my $c = holder(); $c->{key} = key(); $c },
    act   => sub ($c) { hold_request($c, key => $c->{key}) },
);
meanwhile(
    'the first is cancelled and the seats are held again',
    sub (@cases) { $usher->clock_advance(AGAIN); cancel(@cases); hold_again(@cases) },
    then => sub ($c, $r) {
        (
            answered('its answer', $r, '409 seat-unavailable'), answered('the new one', $c->{again}, 201),
            differs('has', has($c->{user}), having(held => 1, cancelled => 1)), seats_are($c, "held $c->{user}"), claim_lasts($c)
        );
    },
    later => \&claim_lasts,
);
settle('holding');

# ---- cancelling

operation(name => 'cancel', setup => \&holder, act => \&cancel_request);
my $is_cancelled = sub ($c, $r) {
    (answered('its answer', $r, 204), differs('has', has($c->{user}), having(cancelled => 1)), seats_are($c, 'free'));
};
meanwhile('it is repeated', \&repeat, then => $is_cancelled, later => \&seats_are_free);
meanwhile(
    'it is repeated and the seats are held again', sub (@cases) { $usher->clock_advance(LATER); repeat(@cases); hold_again(@cases) },
    then => sub ($c, $r) {
        (
            answered('its answer', $r, 204), differs('has', has($c->{user}), having(held => 1, cancelled => 1)),
            seats_are($c, "held $c->{user}"), token_lives($c)
        );
    },
    later => sub ($c) { seats_are($c, "held $c->{user}") },
);
meanwhile(
    'it is repeated and another one buys the seats',
    sub (@cases) {
        repeat(@cases);
        rival(@cases);
        $_->{rival}{reservation} = $_->{theirs}->json->{id} for @cases;
        pay(map { $_->{rival} } @cases);
    },
    then => sub ($c, $r) {
        (
            answered('its answer', $r, 204), differs('has', has($c->{user}), having(cancelled => 1)),
            is_paid($c->{rival})
        );
    },
    later => sub ($c) { is_paid($c->{rival}) },
);
meanwhile(
    'it is paid', \&pay,
    then => sub ($c, $r) {
        $c->{paid}->status == 201 ? (answered('its answer', $r, '409 already-paid'), is_paid($c)) : (
            answered('the payment', $c->{paid}, '409 reservation-cancelled'), $is_cancelled->($c, $r));
    },
    later => \&doorman_agrees,
);
meanwhile('Redis is emptied', \&flush, then => $is_cancelled, later => \&seats_are_free);
settle('cancelling');
meanwhile(
    'its time passes and another one takes the seats', sub (@cases) { time_passes(HOLD + 1); rival(@cases) },
    then => sub ($c, $r) {
        (
            answered('its answer', $r, 204), answered('the other one', $c->{theirs}, 201),
            seats_are($c, "held $c->{rival}{user}")
        );
    },
    later => \&doorman_agrees,
);
settle('cancelling');

# ---- paying

operation(
    name  => 'pay',
    setup => sub { my $c = holder(); $c->{key} = key(); $c },
    act   => sub ($c) { pay_request($c, key => $c->{key}) },
);
sub is_paid_and_done ($c) { (is_paid($c), differs('the line', token($c->{user}), 'none')) }
meanwhile(
    'it is repeated', \&repeat,
    then  => sub ($c, $r) { (answered('its answer', $r, 201), same_effect($c, $r), is_paid_and_done($c)) },
    later => \&is_paid_and_done,
);
meanwhile(
    'it is paid with another key', \&pay,
    then => sub ($c, $r) {
        my ($first, $second) = $c->{paid}->status == 201 ? ($c->{paid}, $r) : ($r, $c->{paid});
        (answered('one', $first, 201), answered('the other', $second, '409 already-paid'), is_paid_and_done($c));
    },
    later => \&is_paid_and_done,
);
meanwhile(
    'it is cancelled', \&cancel,
    then => sub ($c, $r) {
        $r->status == 201 ? (answered('the cancellation', $c->{cancelled}, '409 already-paid'), is_paid_and_done($c)) : (
            answered('its answer', $r, '409 reservation-cancelled'), answered('the cancellation', $c->{cancelled}, 204),
            differs('has', has($c->{user}), having(cancelled => 1)), seats_are($c, 'free')
        );
    },
    later => \&doorman_agrees,
);
meanwhile(
    'Redis is emptied', \&flush,
    then  => sub ($c, $r) { (answered('its answer', $r, 201), is_paid_and_done($c)) },
    later => \&is_paid_and_done,
);
meanwhile(
    'it is repeated, and the user is in the line again',
    sub (@cases) {
        repeat(@cases);
        $_->{place} = insist([ POST => '/v1/queue/tokens', user => $_->{user} ])->json for @cases;
    },
    then => sub ($c, $r) {
        my ($ticket) = split / /, ask($usher, 'HGET', 'q:{main}:tokens', $c->{user});
        (answered('its answer', $r, 201), is_paid($c), differs('the new ticket', $ticket, $c->{place}{ticket}));
    },
    later => \&is_paid,
);
settle('paying');
meanwhile(
    'its time passes and another one takes the seats', sub (@cases) { time_passes(HOLD + 1); rival(@cases) },
    then => sub ($c, $r) {
        $r->status == 201 ? (answered('the other one', $c->{theirs}, 409), is_paid($c)) : (
            answered('its answer', $r, 401, '410 reservation-expired'), answered('the other one', $c->{theirs}, 201),
            differs('has', has($c->{user}), having(expired => 1)), seats_are($c, "held $c->{rival}{user}")
        );
    },
    later => \&doorman_agrees,
);
settle('paying');

# ---- charging

operation(
    name  => 'charge',
    setup => sub { +{ %{ person() }, key => key() } },
    act   => sub ($c) { [ POST => '/v1/balance/charges', user => $c->{user}, key => $c->{key}, body => { amount => 300 } ] },
);
meanwhile(
    'it is repeated', \&repeat,
    then => sub ($c, $r) {
        (
            answered('its answer', $r, 201), same_effect($c, $r),
            differs('the balance in it', $r->json->{balance}, MONEY + 300),
            differs('has', has($c->{user}), having(charges => 2, balance => MONEY + 300))
        );
    },
);
meanwhile(
    'there is another charge',
    sub (@cases) {
        insist([ POST => '/v1/balance/charges', user => $_->{user}, key => key(), body => { amount => 50 } ]) for @cases;
    },
    then => sub ($c, $r) {
        (answered('its answer', $r, 201), differs('has', has($c->{user}), having(charges => 3, balance => MONEY + 350)));
    },
);
settle('charging');

# ---- the scheduler; its lock is lost while it is stopped, so that the next one works, too

sub lose_lock ($c) {
    Usher::Process::until_true(
        sub { !query($usher, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1970496882") });
}

sub scheduler_operation (%o) {
    operation(%o, only => qr/^(?:before|after):/, stopped => \&lose_lock, together => 1);
}

# With what all of them have said, for the one that has not.
sub ends_well ($c, $status) {
    my @wrong = differs('its exit status', $status, 0);
    push @wrong, "said: " . substr(Usher::Process::slurp("$usher->{dir}/usher-scheduler.log"), -4000) if @wrong;
    return @wrong;
}

use constant { BATCH => 10, PERIOD => 1500 };
my @promote = ('-o', 'promote_batch=' . BATCH, '-o', 'promote_period=' . PERIOD . 'ms', 'promote');
my @line;

sub in_line ($count) { push @line, map { waiting_person() } 1 .. $count }

sub promote_again (@) {
    my ($status, $words) = $usher->scheduler(@promote);
    die "promote: $words\n" if $status != 0;
}

scheduler_operation(
    name  => 'promote',
    setup => sub { in_line(2) if !@line; +{} },
    act   => sub ($c) { +{ run => [ 'usher-scheduler', @promote ] } },
);
my $wrong;
my $is_admitted = sub ($c, $status) {
    $wrong //= [ admissions(\@line, BATCH, PERIOD) ];    # the same of all
    return (ends_well($c, $status), @$wrong);
};

sub meanwhile_in_line ($name, $happens) {
    ($wrong, @line) = ();
    people($usher, 1);    # nobody waits
    ask($usher, 'DEL', 'q:{main}:admitted');
    ask($usher, 'HDEL', 'q:{main}:admission', 'credit', 'tick');
    in_line(3 * BATCH);
    $usher->scheduler('expire');    # the history knows them
    $pauses->meanwhile($name, $happens, then => $is_admitted);
}
meanwhile_in_line('they go on all at once', sub (@) { });
meanwhile_in_line('another one has run',    \&promote_again);
meanwhile_in_line('Redis is emptied and another one has run', sub (@cases) { ask($usher, 'FLUSHALL'); promote_again() });
settle('promoting');

# ---- restoring the line

make_people(1);
my ($waits, $leaver, $buyer, $comer) = (waiting_person(), waiting_person(), visitor());
$usher->scheduler('expire');    # the history knows them
operation(
    name    => 'a poll that restores the line',
    setup   => sub { ask($usher, 'FLUSHALL'); +{%$waits} },
    act     => sub ($c) { [ GET => '/v1/queue/tokens/me', token => $c->{token} ] },
    stopped => \&lose_lock,
    only    => qr/^(?:before|after):/,
);
$pauses->meanwhile(
    'another one has restored it and it lives on',
    sub (@cases) {
        insist([ DELETE => '/v1/queue/tokens/me', token => $leaver->{token} ]);
        warm($buyer);
        $buyer->{reservation} = insist(hold_request($buyer))->json->{id};
        pay($buyer);
        $comer = waiting_person();
        $usher->ctl('pause');
    },
    then => sub ($c, $r) {
        (
            answered('its answer', $r, 200), differs('the line is paused', ask($usher, 'HGET', 'q:{main}:admission', 'paused'), 1), differs('its ticket', $r->json->{ticket} // 0, $c->{ticket}), is_paid($buyer),
            differs('who has left', token($leaver->{user}), 'none'), differs('who has paid', token($buyer->{user}), 'none'),
            differs('who has come', token($comer->{user}), 'waiting')
        );
    },
    later => sub ($c) { is_paid($buyer) },
);
$usher->ctl('resume');
settle('restoring');

# A hall in which the scheduler finds something to do everywhere: a hold that is over, a claim of nobody, a hold that the doorman
# was not told; he was loaded a while ago. The halls come in falling order, so that the newest is the first that it looks at.
my @new_halls;

sub neglected {
    my $hall  = pop @new_halls;
    my $over  = { %{ person() }, %$hall, wanted => [ @{ $hall->{seats} }[ 0, 1 ] ] };
    my $later = { %{ person() }, %$hall, wanted => [ $hall->{seats}[3] ] };
    my $key   = "s:{main}:$hall->{schedule}:seats";
    my $now   = $usher->now * 1000;
    warm($over);
    my ($gone, $untold) = map { insist(hold_request($_))->json->{id} } $over, $later;
    query(
        $usher,
        "UPDATE reservation SET reserved_at = reserved_at - interval '400 s', expires_at = expires_at - interval '400 s' WHERE id = $gone;
         UPDATE reservation SET reserved_at = reserved_at - interval '20 s', expires_at = expires_at - interval '20 s' WHERE id = $untold;"
    );
    ask($usher, 'HDEL', $key, $hall->{seats}[3]);
    ask($usher, 'HSET', $key, map({ ($_ => ($now - 1000) . " $over->{user}") } @{ $over->{wanted} }),
        $hall->{seats}[2] => ($now + (HOLD - Usher::Crash::DOUBTFUL) * 1000) . ' 1', v => $now - 1000 * Usher::Crash::DOUBTFUL);
    return { %$over, later => { %$later, reservation => $untold }, wanted => $over->{wanted} };
}

sub meanwhile_neglected ($name, $happens, %o) {
    close_halls();
    @new_halls = halls(@{ $pauses->{points} } + 1);
    make_people(4 * @new_halls);
    $pauses->meanwhile($name, $happens, %o);
    settle('expiring');
}

# In each of its seats the hall is as it should be.
sub hall_agrees ($c) {
    return map { doorman_agrees({ %$c, wanted => [$_] }) } @{ $c->{seats} };
}

close_halls();
@new_halls = halls(1);
make_people(2);
scheduler_operation(
    name  => 'expire',
    setup => \&neglected,
    act   => sub ($c) { +{ run => [ 'usher-scheduler', 'expire' ] } },
);
my $is_expired = sub ($c, $status) {
    return (ends_well($c, $status), differs('has', has($c->{user}), having(expired => 1)));
};
meanwhile_neglected('they go on all at once', sub (@) { }, then => $is_expired, later => \&hall_agrees);
meanwhile_neglected('Redis is emptied', \&flush, then => $is_expired, later => \&hall_agrees);
meanwhile_neglected(
    'the seats are sold and others given back',
    sub (@cases) {
        rival(@cases);
        $_->{rival}{reservation} = $_->{theirs}->json->{id} for @cases;
        pay(map { $_->{rival} } @cases);
        cancel(map { $_->{later} } @cases);
    },
    then  => sub ($c, $status) { ($is_expired->($c, $status), is_paid($c->{rival})) },
    later => sub ($c) { (hall_agrees($c), is_paid($c->{rival})) },
);

done_testing;
