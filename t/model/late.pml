/* late: what one seat's doorman is told by processes that stood still, while the seat has been held again.
 *
 * seat.pml lets transactions run into each other; here each is one step, and so is each Lua script. What is looked at is the time
 * between them, in which everybody else goes on for as long as they like:
 *   Hold     reservation_hold() in src/sale/reservation.c: hold.lua, usher_hold(), release.lua
 *   Cancel   reservation_cancel(): usher_cancel(), release.lua
 *   Pay      payment_pay() in src/sale/payment.c: usher_pay(), settle.lua
 *   Expirer  usher-scheduler expire: usher_expire(), then doorman_review(): seats_doubtful.lua, SEATS_TAKEN, release.lua
 *   Time     deadlines that pass, in their order
 * Deadlines are numbers, and each new one is the latest: a hold ends after its claim, and the next claim after that. So two holds
 * of a seat are further apart than SKEW_MS, the error of the two clocks that release.lua is given; within it nothing is promised.
 *
 * A user who holds "again" does it when the first hold of all is over: whoever asks for the same seat with and without a key at
 * the same moment may have one request's correction taken for the other's, and then PostgreSQL refuses the seat in its stead.
 *
 * Scenarios, chosen with -D, each with expiry:
 *   AGAIN    a hold, its cancellation and that repeated; the user holds again
 *   PAYS     a hold and its retry, a payment; the user holds again
 *   TWICE    a hold, and one with another key of what is held; the user holds again
 *   RIVAL    a hold and its retry, a cancellation, somebody else's hold
 * With DEATHS so many processes may be cut off between two steps.
 * NO_GUARD_x takes a guard out, and then the model must fail. */

#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef PASSING
#define PASSING 1 /* so often deadlines pass while requests are under way (all have passed at the end) */
#endif

/* a reservation's status */
#define NOTHING   0
#define HELD      1
#define PAID      2
#define EXPIRED   3
#define CANCELLED 4

#define RESERVATIONS 4
#define PRICE        1
#define START        1 /* everybody's balance at first */

/* ---- time ---- */

byte latest; /* the latest deadline that was given */
byte passed; /* deadlines up to this one have passed */
byte aged;   /* claims up to this one are older than any request takes to be decided (DOUBTFUL_MS) */
byte deaths;
bool late;   /* a hold was decided late */
byte running;

/* ---- PostgreSQL ---- */

typedef reservation {
    byte status, owner, end
};
reservation r[RESERVATIONS + 1]; /* from 1 */
byte made;                       /* so many of them exist */
byte key_of[3];                  /* idempotency_key: the reservation that is stored under a key */
byte balance[3];
byte payments[3];

#define OVER(i)   (r[i].end <= passed)
#define IS_HELD(i) (r[i].status == HELD && !OVER(i))
#define TAKES(i)  (r[i].status == PAID || IS_HELD(i)) /* usher_taken() */
#define LIVE(i)   (r[i].status == HELD || r[i].status == PAID)
#define ANY(is)   (is(1) || is(2) || is(3) || is(4))
#define IS_PAID(i) (r[i].status == PAID)
#define WHICH(is) (is(1) -> 1 : (is(2) -> 2 : (is(3) -> 3 : (is(4) -> 4 : 0))))
#define LAPSED(i) (r[i].status == HELD && OVER(i))

/* ---- Redis: the doorman's value for the seat, "deadline user" ---- */

byte claim;     /* the user; 0: no value */
byte claim_end;
bool claim_sold; /* deadline 0 */
#define REFUSES (claim != 0 && (claim_sold || claim_end > passed))

#ifdef NO_GUARD_LATER_STAYS /* release.lua: a claim that ends later than the hold that is corrected is another hold's */
#define OF_THAT_HOLD(last) true
#else
#define OF_THAT_HOLD(last) (claim_end <= last)
#endif
#ifdef NO_GUARD_OWN_CLAIM /* set_right(): a request that has made a claim touches no other one */
#define MAY_CHANGE(u, mine, last) (claim == 0 || (!claim_sold && (claim == u || claim_end <= passed)))
#else
#define MAY_CHANGE(u, mine, last) \
    ((mine != 0 && claim == u && claim_end == mine && !claim_sold) || \
     (mine == 0 && (claim == 0 || (!claim_sold && ((claim == u && OF_THAT_HOLD(last)) || claim_end <= passed)))))
#endif
#ifdef NO_GUARD_TELLS_LATE /* hold_in_truth(): a hold that was decided late tells him anew */
#define IS_LATE(mine) false
#else
#define IS_LATE(mine) (mine <= aged || mine <= passed)
#endif

#ifdef NO_GUARD_FOUND /* set_right(): a request that found a claim of its user's touches no later one */
#define FOUND(last) last = 255
#else
#define FOUND(last) last = claim_end
#endif

#define MAY_DIE (deaths < DEATHS)

inline check()
{
    assert(LIVE(1) + LIVE(2) + LIVE(3) + LIVE(4) <= 1); /* no seat twice */
    assert(balance[1] + PRICE * payments[1] == START && balance[2] + PRICE * payments[2] == START);
    assert(payments[1] + payments[2] == IS_PAID(1) + IS_PAID(2) + IS_PAID(3) + IS_PAID(4)) /* no money lost */
}

/* release.lua. truth: the reservation that has the seat, as it was when PostgreSQL was asked; 0 none */
inline release(u, mine, last, truth, sold)
{
    if
    :: MAY_CHANGE(u, mine, last) ->
        claim = (truth == 0 -> 0 : r[truth].owner);
        claim_end = (truth == 0 || sold -> 0 : r[truth].end);
        claim_sold = sold
    :: else
    fi
}

proctype Hold(byte u; byte k; bool again)
{
    byte mine;  /* the claim that this request made; 0: it found one of the user's */
    byte last;  /* a claim of the user's may be changed that ends by then */
    byte truth;
    bool sold, tell;

    atomic {
        if
        :: again -> goto done /* the user never comes back */
        :: !again || (made != 0 && !TAKES(1))
        fi
    };
    atomic { /* hold.lua */
        if
        :: REFUSES && (claim != u || claim_sold || k == 0) -> goto done /* 409; sold has a holder, too, but nothing comes of it */
        :: REFUSES && claim == u && !claim_sold && k != 0 -> FOUND(last)
        :: !REFUSES ->
            latest++;
            claim = u;
            claim_end = latest;
            claim_sold = false;
            mine = latest
        fi
    };
    atomic { /* usher_hold() */
        if
        :: MAY_DIE -> deaths++; goto done
        :: true
        fi;
        truth = WHICH(TAKES);
        if
        :: k != 0 && key_of[k] != 0 -> /* replayed */
            last = r[key_of[k]].end;
            tell = true
        :: !(k != 0 && key_of[k] != 0) && truth != 0 -> tell = true /* 409 seat-unavailable */
        :: !(k != 0 && key_of[k] != 0) && truth == 0 ->
            if
            :: ANY(LAPSED) -> truth = WHICH(LAPSED); r[truth].status = EXPIRED
            :: else
            fi;
            made++;
            latest++;
            r[made].status = HELD;
            r[made].owner = u;
            r[made].end = latest;
            key_of[k] = (k != 0 -> made : 0);
            truth = made;
            check();
            tell = (mine == 0 || IS_LATE(mine));
            late = late || (mine + last <= aged || mine + last <= passed); /* one of them is 0 */
            if
            :: tell -> last = latest; mine = 0
            :: else
            fi
        fi;
        sold = (truth != 0 && r[truth].status == PAID);
    };
    atomic {
        if
        :: tell && MAY_DIE -> deaths++
        :: tell -> release(u, mine, last, truth, sold)
        :: !tell
        fi
    };
done:
    atomic { mine = 0; last = 0; truth = 0; sold = false; tell = false; running-- }
}

/* A reservation of this user, at any moment. */
inline choose(u, id)
{
    if
    :: r[1].owner == u -> id = 1
    :: r[2].owner == u -> id = 2
    :: r[3].owner == u -> id = 3
    :: r[4].owner == u -> id = 4
    :: true -> goto done /* the user changes the mind */
    fi
}

proctype Cancel(byte u)
{
    byte id, truth;
    bool sold;

    atomic { /* usher_cancel() */
        choose(u, id);
        if
        :: r[id].status == HELD -> r[id].status = (OVER(id) -> EXPIRED : CANCELLED); check()
        :: r[id].status == CANCELLED -> truth = WHICH(TAKES); sold = (truth != 0 && r[truth].status == PAID)
        :: else -> goto done /* 409 already-paid; 204 for what has expired */
        fi
    };
    atomic {
        if
        :: MAY_DIE -> deaths++
        :: true -> release(u, 0, r[id].end, truth, sold)
        fi
    };
done:
    atomic { id = 0; truth = 0; sold = false; running-- }
}

proctype Pay(byte u)
{
    byte id;

    atomic { /* usher_pay() */
        choose(u, id);
        if
        :: IS_HELD(id) && balance[u] >= PRICE ->
            r[id].status = PAID;
            balance[u] = balance[u] - PRICE;
            payments[u]++;
            check()
        :: else -> goto done /* 409, 410, 402 */
        fi
    };
    atomic { /* settle.lua */
        if
        :: MAY_DIE -> deaths++
        :: true -> claim = u; claim_end = 0; claim_sold = true
        fi
    };
done:
    atomic { id = 0; running-- }
}

inline expire()
{
    if
    :: ANY(LAPSED) -> truth = WHICH(LAPSED); r[truth].status = EXPIRED; truth = 0; check()
    :: else
    fi
}

/* A claim that has lapsed or is old is put right, unless it has changed since. */
inline review()
{
    atomic {
        if
        :: claim != 0 && !claim_sold ->
            seen = claim;
            seen_end = claim_end;
            aged = (aged > claim_end -> aged : claim_end)
        :: else
        fi
    };
    atomic { truth = WHICH(TAKES); sold = (truth != 0 && r[truth].status == PAID) };
    atomic {
        if
        :: seen != 0 && (truth == 0 || sold) -> 
            if
            :: claim == seen && claim_end == seen_end && !claim_sold -> release(seen, seen_end, 0, truth, sold)
            :: else
            fi
        :: else
        fi;
        seen = 0;
        seen_end = 0;
        truth = 0;
        sold = false
    }
}

proctype Expirer()
{
    byte truth, seen, seen_end;
    bool sold;

    atomic { expire() };
    review();
    running--
}

proctype Time()
{
    byte often;
end:
    do
    :: atomic { often < PASSING && r[1].status != NOTHING && passed < r[1].end -> passed = r[1].end; often++ }
    :: atomic { often < PASSING && r[2].status != NOTHING && passed < r[2].end -> passed = r[2].end; often++ }
    :: atomic { often < PASSING && passed < latest -> passed = latest; often++ }
    od
}

init
{
    byte truth, seen, seen_end;
    bool sold;

    atomic {
        balance[1] = START;
        balance[2] = START;
        run Hold(1, 1, false);
        run Expirer();
#if defined(AGAIN)
        running = 5;
        run Cancel(1);
        run Cancel(1);
        run Hold(1, 0, true);
#elif defined(PAYS)
        running = 5;
        run Hold(1, 1, false);
        run Pay(1);
        run Hold(1, 0, true);
#elif defined(TWICE)
        running = 4;
        run Hold(1, 2, false);
        run Hold(1, 0, true);
#else /* RIVAL */
        running = 5;
        run Hold(1, 1, false);
        run Cancel(1);
        run Hold(2, 0, false);
#endif
        run Time()
    };
    atomic {
        running == 0;
        /* A hold is refused to others. One that was decided late may not be, where somebody else had come in between:
         * PostgreSQL refuses it, and then the doorman is told. */
#ifdef PAYS
        assert(deaths != 0 || !ANY(IS_HELD) || REFUSES)
#else
        assert(deaths != 0 || late || !ANY(IS_HELD) || REFUSES)
#endif
    };
    atomic {
        passed = latest;
        expire();
        review();
        assert(!ANY(IS_HELD) && (!ANY(LIVE) || ANY(IS_PAID)));
        assert(ANY(IS_PAID) || !REFUSES);
        assert(!ANY(IS_PAID) || REFUSES);
        check()
    }
}
