/* seat: one seat between the doorman in Redis and the truth in PostgreSQL, with everything that can be cut off.
 *
 * What each piece stands for:
 *   Hold     reservation_hold() in src/sale/reservation.c: hold.lua, usher_hold(), release.lua
 *   Pay      payment_pay() in src/sale/payment.c: usher_pay(), settle.lua (the gate is the other model's, line.pml)
 *   Cancel   reservation_cancel(): usher_cancel(), release.lua
 *   Charge   wallet_charge(): usher_charge()
 *   Expirer  usher-scheduler expire: usher_expire(), then doorman_review(): seats_doubtful.lua, SEATS_TAKEN, release.lua
 *   Deadlines, Loss    time, and FLUSHALL
 *
 * A Lua script is one atomic step. A transaction is: locks, a step that reads, a step that writes and commits; what the
 * second step looks at again is what PostgreSQL looks at again then (the condition of an UPDATE after a row lock, a unique
 * index), and everything else it knows from the first. Each process can die between any two steps, which ends its
 * transaction and its locks; a lost answer is a death after the last step. A retry is a second process with the same key,
 * and may also run beside the first. Deadlines pass in any order and at any moment: the doorman's and PostgreSQL's clocks
 * are not compared, so nothing here rests on their agreeing.
 *
 * Scenarios, chosen with -D:
 *   RETRIES  a keyed hold and its retry, a payment, somebody else's hold, expiry
 *   LOSES    hold, payment, somebody else's hold, expiry, and the doorman's loss
 *   CANCELS  a keyed hold and its retry, a cancellation, somebody else's hold, expiry
 *   ENDS     a held seat at its end: payment and its retry, cancellation, expiry, somebody else's hold, all at once
 *   MONEY    one wallet: payment and charge, each with its retry, and a cancellation
 *   ENDLESS  two holds and a payment, while the scheduler and time never rest: what must come about at last (pan -a -f)
 * NO_GUARD_x takes a guard out, and then the model must fail. */

/* How many deadlines pass while requests are under way (all have passed at the end). */
#ifndef PASSING
#define PASSING 1
#endif

/* a reservation's status */
#define NOTHING   0
#define HELD      1
#define PAID      2
#define EXPIRED   3
#define CANCELLED 4

#define RESERVATIONS 3
#define PRICE        1

/* ---- PostgreSQL ---- */

typedef reservation {
    byte status, owner;
    byte payments;      /* rows of payment */
    bool over           /* expires_at has passed */
};
reservation r[RESERVATIONS + 1]; /* from 1 */
byte made;                       /* so many of them exist */

byte user_lock[3];   /* usher_lock_user(): the process that has it, from 1 */
byte key_lock[4];    /* usher_lock_key() */
byte key_of[4];      /* idempotency_key: the effect (reservation, or 1) that is stored under a key; 0 none */
byte effects[4];     /* effects that requests with this key had: never two */
byte balance[3];     /* asset.balance */
byte charges[3];     /* rows of ledger, kind charge */
byte payments[3];    /* rows of ledger, kind payment */
#define START 1      /* everybody's balance at first */

/* ---- Redis: the doorman's value for the seat, "deadline user" ---- */

byte claim;          /* the user; 0: no value */
bool claim_sold;     /* deadline 0 */
bool claim_over;     /* the deadline has passed */
#define TAKEN(c) ((c) && (claim_sold || !claim_over))
bool loaded = true;  /* v: PostgreSQL has told the doorman everything */
byte n;              /* counts changes */
#ifdef LOSES
#define CHANGED n++
#else
#define CHANGED skip /* only a loader looks at it */
#endif
byte deciding;       /* holds between their claim and PostgreSQL's answer */

byte running;        /* requests that are not at their end */

#define LIVE(i) (r[i].status == HELD || r[i].status == PAID)
#define FREED   0

/* ---- guards that are one condition ---- */

#ifdef NO_GUARD_CLOSE_ONLY_HELD /* usher_hold() closing a lapsed hold: AND status = 'held' AND expires_at <= v_now */
#define MAY_CLOSE(i) true
#else
#define MAY_CLOSE(i) (r[i].status == HELD)
#endif
#ifdef NO_GUARD_EXPIRE_ONLY_HELD /* usher_expire() */
#define MAY_EXPIRE(i) true
#else
#define MAY_EXPIRE(i) (r[i].status == HELD)
#endif
#ifdef NO_GUARD_PAY_ONLY_HELD /* usher_pay(); the unique index still refuses to bring a seat to life twice */
#define MAY_PAY(i) (LIVE(i) || !(LIVE(1) || LIVE(2) || LIVE(3)))
#else
#define MAY_PAY(i) (r[i].status == HELD)
#endif
#ifdef NO_GUARD_UNIQUE /* one_live_ticket_for_a_seat */
#define MAY_INSERT true
#else
#define MAY_INSERT (!(LIVE(1) || LIVE(2) || LIVE(3)))
#endif
#ifdef NO_GUARD_DOORMAN /* hold.lua */
#define REFUSES false
#else
#define REFUSES TAKEN(claim)
#endif
#ifdef NO_GUARD_RELEASE_OWN /* release.lua: only the caller's claims and lapsed ones */
#define RELEASES_OWN(u) true
#else
#define RELEASES_OWN(u) (claim == u || claim_over)
#endif
#ifdef NO_GUARD_SOLD_STAYS /* release.lua: a late correction does not offer again what is sold */
#define MAY_CORRECT(u) (claim == 0 || RELEASES_OWN(u))
#else
#define MAY_CORRECT(u) (claim == 0 || (!claim_sold && RELEASES_OWN(u)))
#endif
#ifdef NO_GUARD_REVIEW_SEEN /* doorman_review(): only the very claim that PostgreSQL was asked about */
#define STILL_SEEN true
#else
#define STILL_SEEN (claim == seen && claim_over == seen_over && !claim_sold)
#endif
#ifdef NO_GUARD_LOAD_UNCHANGED /* seats_load.lua: nothing changed since the loader looked */
#define UNCHANGED true
#else
#define UNCHANGED (changes == n)
#endif
#ifdef NO_GUARD_WALLET /* neither usher_lock_user(), nor an UPDATE that adds to the balance which it finds */
#define USER_LOCK_FREE(u) true
#define BALANCE(u, as_read) as_read
#else
#define USER_LOCK_FREE(u) (user_lock[u] == 0)
#define BALANCE(u, as_read) balance[u]
#endif
#ifdef NO_GUARD_KEY_WITH_EFFECT /* the key is stored after the effect, in a transaction of its own */
#define STORE_KEY_WITH_EFFECT(k, effect) skip
#define STORE_KEY_LATER(k, effect) if :: true :: key_of[k] = effect fi
#else
#define STORE_KEY_WITH_EFFECT(k, effect) if :: k != 0 -> key_of[k] = effect :: else fi
#define STORE_KEY_LATER(k, effect) skip
#endif

/* What must hold after every commit. */
inline check()
{
    d_step {
        assert(LIVE(1) + LIVE(2) + LIVE(3) <= 1);                    /* no seat twice */
        assert((r[1].payments == 1) == (r[1].status == PAID) && r[1].payments <= 1);
        assert((r[2].payments == 1) == (r[2].status == PAID) && r[2].payments <= 1);
        assert((r[3].payments == 1) == (r[3].status == PAID) && r[3].payments <= 1);
        assert(balance[1] + PRICE * payments[1] == START + charges[1]); /* no money lost or made */
        assert(balance[2] + PRICE * payments[2] == START + charges[2]);
        assert(effects[1] <= 1 && effects[2] <= 1 && effects[3] <= 1); /* a key has one effect */
    }
}

/* ---- locks: taken in this order by every function, let go with the transaction ---- */

inline lock(u, k)
{
    user_lock[u] = _pid + 1;
    if
    :: k != 0 -> key_lock[k] = _pid + 1
    :: else
    fi
}

inline unlock(u, k)
{
    if
    :: user_lock[u] == _pid + 1 -> user_lock[u] = 0
    :: else
    fi;
    if
    :: k != 0 && key_lock[k] == _pid + 1 -> key_lock[k] = 0
    :: else
    fi
}

/* release.lua: the truth (owner 0: free), for claims of user u */
inline correct(u, truth_owner, truth_sold)
{
    d_step {
        if
        :: MAY_CORRECT(u) ->
            assert(!(claim_sold && !truth_sold)); /* what is known as sold is not offered again */
            assert(!TAKEN(claim) || claim == u || claim == truth_owner); /* nobody else's claim is taken away */
            claim = truth_owner;
            claim_sold = (truth_owner != 0 && truth_sold);
            claim_over = false;
            CHANGED
        :: else
        fi
    }
}

/* The seat's live reservation that is not past its deadline, its owner and whether it is paid (usher_taken), and the one
 * that has lapsed and is not closed (v_lapsed). */
inline look(taken, lapsed, owner, sold)
{
    d_step {
        taken = 0;
        lapsed = 0;
        owner = 0;
        sold = false;
        i = 1;
        do
        :: i <= made ->
            if
            :: r[i].status == PAID || (r[i].status == HELD && !r[i].over) ->
                taken = i;
                owner = r[i].owner;
                sold = (r[i].status == PAID)
            :: r[i].status == HELD && r[i].over -> lapsed = i
            :: else
            fi;
            i++
        :: else -> break
        od;
        i = 0
    }
}

/* ---- requests ---- */

proctype Hold(byte u; byte k)
{
    byte i, taken, lapsed, owner, changes;
    bool inherited, sold, again, fix;

asks:
    atomic { /* hold.lua */
        if
        :: !loaded -> changes = n /* COLD */
        :: loaded && REFUSES ->
            if
            :: claim == u && k != 0 -> inherited = true; deciding++; goto transaction
            :: else -> goto done /* 409 seat-unavailable, PostgreSQL is not asked */
            fi
        :: loaded && !REFUSES ->
            assert(!TAKEN(claim) || claim == u); /* nobody's live claim is taken over */
            claim = u;
            claim_sold = false;
            claim_over = false;
            CHANGED;
            deciding++;
            goto transaction
        fi
    };
    look(taken, lapsed, owner, sold);
    d_step { /* seats_load.lua */
        if
        :: UNCHANGED ->
            if
            :: taken != 0 ->
                assert(!(claim_sold && !sold));
                claim = owner;
                claim_sold = sold;
                claim_over = false
            :: else
            fi;
            loaded = true;
            n++
        :: else
        fi;
        taken = 0;
        lapsed = 0;
        owner = 0;
        sold = false;
        changes = 0
    };
    goto asks;

transaction:
    atomic {
        if
        :: k != 0 && key_lock[k] != 0 -> deciding--; goto done /* 409 idempotency-key-in-use */
        :: (k == 0 || key_lock[k] == 0) && USER_LOCK_FREE(u) -> lock(u, k)
        fi;
        look(taken, lapsed, owner, sold);
        if
        :: (k != 0 && key_of[k] != 0) || taken != 0 -> /* replayed, or 409 seat-unavailable */
            fix = true;
            unlock(u, k);
            deciding--;
            goto decided
        :: else
        fi
    };
    if
    :: atomic { true -> unlock(u, k); deciding--; goto done } /* dies here, or earlier */
    :: atomic { true -> /* writes and commits */
        if
        :: lapsed != 0 && MAY_CLOSE(lapsed) -> r[lapsed].status = EXPIRED
        :: else -> lapsed = 0
        fi;
        if
        :: !MAY_INSERT -> /* 23505 */
            if
            :: lapsed != 0 -> r[lapsed].status = HELD; lapsed = 0 /* rolled back */
            :: else
            fi;
            unlock(u, k);
            if
            :: !again -> again = true; goto transaction
            :: else -> owner = 0; sold = false; fix = true /* 503: nothing was done */
            fi
        :: else ->
            made++;
            r[made].status = HELD;
            r[made].owner = u;
            taken = made;
            owner = u;
            sold = false;
            effects[k] = effects[k] + (k != 0);
            fix = inherited;
            STORE_KEY_WITH_EFFECT(k, made);
            unlock(u, k)
        fi;
        deciding--;
        check()
       }
    fi;
    STORE_KEY_LATER(k, taken);

decided:
    if
    :: true /* dies, or the answer is lost: the client may send it again */
    :: fix -> correct(u, owner, sold)
    fi;
done:
    atomic { i = 0; taken = 0; lapsed = 0; owner = 0; inherited = 0; sold = 0; again = 0; fix = 0; changes = 0; running-- }
}

/* Any reservation of this user, at any moment. */
inline choose(u, id)
{
    if
    :: r[1].owner == u -> id = 1
    :: r[2].owner == u -> id = 2
    :: r[3].owner == u -> id = 3
    :: true -> goto done /* the user changes the mind */
    fi
}

proctype Pay(byte u; byte k)
{
    byte id, money, was;

    atomic {
        choose(u, id);
        if
        :: key_lock[k] != 0 -> goto done
        :: key_lock[k] == 0 && USER_LOCK_FREE(u) -> lock(u, k)
        fi;
        was = r[id].status; /* reads */
        money = balance[u];
        if
        :: key_of[k] != 0 && key_of[k] != id -> unlock(u, k); goto done /* 422 key-reused */
        :: key_of[k] == id || (key_of[k] == 0 && was == PAID) -> /* replayed, or 409 already-paid */
            assert(r[id].payments == 1);
            unlock(u, k);
            goto settles
        :: key_of[k] == 0 && (was != HELD || r[id].over || money < PRICE) -> unlock(u, k); goto done /* 409, 410, 402 */
        :: else
        fi
    };
    if
    :: atomic { true -> unlock(u, k); goto done } /* dies here, or earlier */
    :: atomic { true -> /* writes and commits */
        if
        :: !MAY_PAY(id) || BALANCE(u, money) < PRICE -> unlock(u, k); goto done /* 410, 409 or 402 */
        :: else ->
            assert(r[id].status != CANCELLED && r[id].status != EXPIRED); /* its user was told that it ended */
            r[id].status = PAID;
            r[id].payments++;
            balance[u] = BALANCE(u, money) - PRICE;
            payments[u]++;
            effects[k]++;
            STORE_KEY_WITH_EFFECT(k, id);
            unlock(u, k)
        fi;
        check()
       }
    fi;
settles: /* whatever says that it is paid: the first answer may have been cut off */
    if
    :: true /* dies before settle.lua */
    :: d_step { claim = u; claim_sold = true; claim_over = false; CHANGED }
    fi;
done:
    atomic { id = 0; money = 0; was = 0; running-- }
}

proctype Cancel(byte u)
{
    byte id;
    atomic { /* usher_cancel(): one conditional UPDATE */
        choose(u, id);
        if
        :: r[id].status == HELD -> r[id].status = CANCELLED; check()
        :: else -> goto done /* 409 already-paid; 204 for what is over */
        fi
    };
    if
    :: true
    :: true -> correct(u, FREED, false)
    fi;
done:
    atomic { id = 0; running-- }
}

proctype Charge(byte u; byte k)
{
    byte money;
    atomic {
        if
        :: key_lock[k] != 0 -> goto done
        :: key_lock[k] == 0 && USER_LOCK_FREE(u) -> lock(u, k)
        fi;
        if
        :: key_of[k] != 0 -> unlock(u, k); goto done /* replayed */
        :: else
        fi;
        money = balance[u]
    };
    if
    :: atomic { true -> unlock(u, k); goto done } /* dies here, or earlier */
    :: atomic { true -> /* writes and commits */
        balance[u] = BALANCE(u, money) + 1;
        charges[u]++;
        effects[k]++;
        STORE_KEY_WITH_EFFECT(k, 1);
        unlock(u, k);
        check()
       }
    fi;
    STORE_KEY_LATER(k, 1);
done:
    atomic { money = 0; running-- }
}

/* ---- the scheduler, time, and the loss of the doorman ---- */

/* usher_expire(): FOR UPDATE SKIP LOCKED and the condition of its UPDATE are the guard; without both, what was due when it
 * was read is ended although it has been paid meanwhile. */
inline expire(due)
{
    atomic {
        due = 0;
        if
        :: r[1].status == HELD && r[1].over -> due = 1
        :: r[2].status == HELD && r[2].over -> due = 2
        :: r[3].status == HELD && r[3].over -> due = 3
        :: else
        fi
    };
    atomic {
        if
        :: due != 0 && MAY_EXPIRE(due) -> r[due].status = EXPIRED; check()
        :: else
        fi;
        due = 0
    }
}

/* doorman_review(): a claim that has lapsed, or that is older than any request takes to be decided, is put right from
 * PostgreSQL, unless it has changed since (release.lua with the value that was seen). */
#ifdef NO_GUARD_CLAIM_ENDS /* each alone would do: a claim's deadline, and the review of old ones */
#define DOUBTFUL false
#else
#define DOUBTFUL (claim && !claim_sold && (claim_over || deciding == 0))
#endif

inline review(taken, lapsed, owner, sold, seen, seen_over)
{
    if
    :: atomic { DOUBTFUL -> seen = claim; seen_over = claim_over };
        look(taken, lapsed, owner, sold);
        d_step {
            if
            :: (taken == 0 || sold) && STILL_SEEN ->
                assert(!(claim_sold && !sold));
                claim = owner;
                claim_sold = sold;
                claim_over = false;
                CHANGED
            :: else
            fi;
            taken = 0;
            lapsed = 0;
            owner = 0;
            sold = false;
            seen = 0;
            seen_over = false
        }
    :: atomic { !DOUBTFUL -> skip }
    fi
}

proctype Expirer()
{
    byte i, due, taken, lapsed, owner, seen;
    bool sold, seen_over;
#if defined(NO_GUARD_SCHEDULER) /* it does nothing: a hold that nobody else wants stays in the table */
    running--;
end:
    do
    :: i = 1 - i
    od
#elif defined(ENDLESS)
    running--;
end:
    do
    :: expire(due); review(taken, lapsed, owner, sold, seen, seen_over)
    od
#else
    expire(due);
    review(taken, lapsed, owner, sold, seen, seen_over);
    running--
#endif
}

#ifdef NO_GUARD_CLAIM_ENDS
#define CLAIM_MAY_LAPSE false
#else
#define CLAIM_MAY_LAPSE (claim && !claim_sold && !claim_over)
#endif

#ifdef ENDLESS
#define PASS(deadline) deadline = true
#define MORE true
#else
#define PASS(deadline) deadline = true; passed++
#define MORE (passed < PASSING)
#endif

proctype Deadlines()
{
    byte passed;
end:
    do
    :: atomic { MORE && CLAIM_MAY_LAPSE -> PASS(claim_over) }
    :: atomic { MORE && r[1].status == HELD && !r[1].over -> PASS(r[1].over) }
    :: atomic { MORE && r[2].status == HELD && !r[2].over -> PASS(r[2].over) }
    :: atomic { MORE && r[3].status == HELD && !r[3].over -> PASS(r[3].over) }
    od
}

proctype Loss()
{
    if
    :: d_step { claim = 0; claim_sold = false; claim_over = false; loaded = false; n = 0 }
    :: true
    fi;
    running--
}

/* ---- the end: all deadlines have passed, nobody is at work ---- */

init
{
    byte i, due, taken, lapsed, owner, seen;
    bool sold, seen_over;

    atomic {
        balance[1] = START;
        balance[2] = START;
#if defined(ENDLESS)
        running = 4;
        run Hold(1, 1);
        run Pay(1, 2);
        run Hold(2, 0);
        run Expirer();
#elif defined(RETRIES)
        running = 5;
        run Hold(1, 1);
        run Hold(1, 1);
        run Pay(1, 2);
        run Hold(2, 0);
        run Expirer();
#elif defined(LOSES)
        running = 5;
        run Hold(1, 1);
        run Pay(1, 2);
        run Hold(2, 0);
        run Loss();
        run Expirer();
#elif defined(CANCELS)
        running = 5;
        run Hold(1, 1);
        run Hold(1, 1);
        run Hold(2, 0);
        run Cancel(1);
        run Expirer();
#else
        made = 1;
        r[1].status = HELD;
        r[1].owner = 1;
        claim = 1;
#if defined(MONEY)
        running = 5;
        run Pay(1, 1);
        run Pay(1, 1);
        run Charge(1, 2);
        run Charge(1, 2);
        run Cancel(1);
#else /* ENDS */
        running = 5;
        run Pay(1, 1);
        run Pay(1, 1);
        run Hold(2, 0);
        run Cancel(1);
        run Expirer();
#endif
#endif
        run Deadlines()
    }
    running == 0;
#ifndef ENDLESS
    atomic {
        /* a claim that cannot lapse is one that has no deadline */
        if
        :: CLAIM_MAY_LAPSE -> claim_over = true
        :: else
        fi;
        r[1].over = true;
        r[2].over = true;
        r[3].over = true
    };
    atomic {
        expire(due);
        review(taken, lapsed, owner, sold, seen, seen_over);
        assert(r[1].status != HELD && r[2].status != HELD && r[3].status != HELD); /* the seat is free or sold */
        look(taken, lapsed, owner, sold);
        assert(taken == 0 || r[taken].status == PAID);
        assert(!(taken == 0 && TAKEN(claim)));              /* the doorman does not block a free seat for ever */
        assert(!(claim_sold && taken == 0));                /* nor calls it sold */
        assert(user_lock[1] == 0 && user_lock[2] == 0 && key_lock[1] == 0 && key_lock[2] == 0);
        check()
    }
#endif
}

#ifdef ENDLESS
/* Whatever is cut off, from some moment on nothing is held and the doorman does not hold a free seat back. */
#define FREE_OR_SOLD \
    (r[1].status != HELD && r[2].status != HELD && r[3].status != HELD && \
     (!TAKEN(claim) || r[1].status == PAID || r[2].status == PAID || r[3].status == PAID))
ltl ends { <>[] (FREE_OR_SOLD) }
#endif
