/* line: from a place in the line to being let in, and out again, with two schedulers at once.
 *
 * Each Lua script is one step, because Redis runs it alone:
 *   Person     join.lua, gate.lua (first use and later ones; hold.lua's prolongation), leave.lua, settle.lua; every one
 *              may be sent again after a lost answer, and old tickets are shown again (queue_join() and the rest of
 *              src/sale/queue.c)
 *   Scheduler  usher-scheduler promote: lapse.lua, then promote.lua, two of them, as though PostgreSQL's lock did not exist
 *   Operator   pause.lua
 *   Clock      Redis' TIME, the one clock of all scripts
 * What is not here: adaptive admission (it only chooses batch and cap), restoring a lost line (tested in t/), paging the
 * history. NO_GUARD_x takes a guard out, and then the model must fail. */

#define PEOPLE  3
#ifndef TICKETS
#define TICKETS 4 /* at most so many are given out: a person who comes back gets a new one */
#endif
#define ENDTIME 4 /* then people go home and the line must empty */
#define ROUNDS  6 /* within so much time */

#define BATCH      2 /* admitted in any PERIOD at most */
#define PERIOD     2
#define BURST      2 /* of them at once; the real one is a tenth of a batch */
#define ACTIVE_MAX 2
#define WINDOW     1 /* claim_window */
#define TTL        3 /* active_ttl */

byte now = 1;

/* ---- Redis ---- */

typedef place { /* q:{main}:tokens, and the score in :active */
    byte ticket;      /* 0: none */
    bool admitted, used;
    byte deadline
};
place p[PEOPLE + 1];
byte seq;
byte serving;
byte credit = BURST;
byte tick;
byte admitted_at[ENDTIME + ROUNDS + 1]; /* q:{main}:admitted: how many at each time */
bool paused;

#define ACTIVE(i)  (p[i].ticket != 0 && p[i].admitted && p[i].deadline > now)
#define WAITING(i) (p[i].ticket != 0 && !p[i].admitted)
#define IN_PERIOD(t) (t + PERIOD > now && t <= now)

/* ---- what has happened, for the properties ---- */

bool was_admitted[TICKETS + 1];
byte last_admitted;
bool closed;         /* nobody does anything any more but the schedulers */

inline count_recent(recent, t)
{
    recent = 0;
    t = 1;
    do
    :: t <= now -> recent = recent + (IN_PERIOD(t) -> admitted_at[t] : 0); t++
    :: t > now -> break
    od;
    t = 0
}

#ifdef NO_GUARD_BUDGET /* promote.lua: room = min(room, batch - recent, credit) */
#define WITHIN_BUDGET true
#else
#define WITHIN_BUDGET (recent < BATCH && credit > 0)
#endif
#ifdef NO_GUARD_ACTIVE_MAX
#define WITHIN_CAP true
#else
#define WITHIN_CAP (ACTIVE(1) + ACTIVE(2) + ACTIVE(3) < ACTIVE_MAX)
#endif
#ifdef NO_GUARD_PAUSE
#define MAY_ADMIT true
#else
#define MAY_ADMIT !paused
#endif
#ifdef NO_GUARD_ONE_TOKEN /* join.lua: the user's own place is looked up first */
#define HAS_PLACE(i) false
#else
#define HAS_PLACE(i) (p[i].ticket != 0)
#endif
#ifdef NO_GUARD_TICKET /* gate.lua, leave.lua, settle.lua: the ticket of the token is the one that lives */
#define SAME_TICKET(i, t) (p[i].ticket != 0)
#else
#define SAME_TICKET(i, t) (p[i].ticket == t)
#endif
#ifdef NO_GUARD_DEADLINE /* gate.lua: deadline <= at is no longer admitted */
#define STILL_ACTIVE(i) (p[i].ticket != 0 && p[i].admitted)
#else
#define STILL_ACTIVE(i) ACTIVE(i)
#endif

/* ZPOPMIN: the lowest ticket that waits; 0 when nobody does */
inline find_front(i)
{
    i = 0;
    if
    :: WAITING(1) && (!WAITING(2) || p[1].ticket < p[2].ticket) && (!WAITING(3) || p[1].ticket < p[3].ticket) -> i = 1
    :: WAITING(2) && (!WAITING(1) || p[2].ticket < p[1].ticket) && (!WAITING(3) || p[2].ticket < p[3].ticket) -> i = 2
    :: WAITING(3) && (!WAITING(1) || p[3].ticket < p[1].ticket) && (!WAITING(2) || p[3].ticket < p[2].ticket) -> i = 3
    :: !WAITING(1) && !WAITING(2) && !WAITING(3) -> skip
    fi
}

/* ZPOPMIN takes from the other end when the guard is out */
#ifdef NO_GUARD_ORDER
#define FRONT(i) if :: WAITING(1) -> i = 1 :: WAITING(2) -> i = 2 :: WAITING(3) -> i = 3 \
                    :: !WAITING(1) && !WAITING(2) && !WAITING(3) -> i = 0 fi
#else
#define FRONT(i) find_front(i)
#endif

inline admit(i)
{
    assert(!was_admitted[p[i].ticket]);      /* no ticket is admitted twice */
    assert(p[i].ticket > last_admitted);     /* in the order of the tickets */
    assert(!paused);
    was_admitted[p[i].ticket] = true;
    last_admitted = p[i].ticket;
    p[i].admitted = true;
    p[i].used = false;
    p[i].deadline = now + WINDOW;
    admitted_at[now] = admitted_at[now] + 1;
    credit = (credit > 0 -> credit - 1 : 0);
    serving = (serving > p[i].ticket -> serving : p[i].ticket)
}

inline check(recent, t)
{
    count_recent(recent, t);
    assert(recent <= BATCH);                                       /* no more in any period */
    assert(ACTIVE(1) + ACTIVE(2) + ACTIVE(3) <= ACTIVE_MAX);       /* no more at once */
    assert(serving == last_admitted && serving <= seq);            /* never past the last ticket issued */
    recent = 0
}

/* promote.lua */
inline promoting(i, t, recent)
{
    /* credit grows with the time since the last look, up to a burst: BATCH / PERIOD is 1 */
    credit = (credit + now - tick > BURST -> BURST : credit + now - tick);
    tick = now;
    do
    :: true ->
        count_recent(recent, t);
        FRONT(i);
        if
        :: i != 0 && WITHIN_BUDGET && WITHIN_CAP && MAY_ADMIT -> admit(i)
        :: else -> break
        fi
    od;
    i = 0;
    check(recent, t)
}

inline promote(i, t, recent)
{
    d_step { promoting(i, t, recent) }
}

/* lapse.lua */
inline forget(i)
{
    p[i].ticket = 0;
    p[i].admitted = false;
    p[i].used = false;
    p[i].deadline = 0
}

#define LAPSED(i) (p[i].ticket != 0 && p[i].admitted && p[i].deadline <= now)

inline lapsing()
{
    if :: LAPSED(1) -> forget(1) :: else fi;
    if :: LAPSED(2) -> forget(2) :: else fi;
    if :: LAPSED(3) -> forget(3) :: else fi
}

inline lapse()
{
    d_step { lapsing() }
}

proctype Scheduler()
{
    byte i, t, recent;
end:
    do
#ifdef NO_GUARD_LAPSE_ATOMIC /* ZRANGEBYSCORE, and then the deletions */
    :: d_step { !closed && LAPSED(1) -> i = 1 };
        d_step {
            assert(LAPSED(i) || p[i].ticket == 0); /* nobody loses a place that is good */
            forget(i);
            i = 0
        }
#else
    :: atomic { !closed -> lapse() }
#endif
#ifdef NO_GUARD_ATOMIC /* ZRANGE, and then ZREM and the rest, in two commands */
    :: d_step {
            !closed ->
            count_recent(recent, t);
            FRONT(i);
            if
            :: i != 0 && WITHIN_BUDGET && WITHIN_CAP && MAY_ADMIT -> skip
            :: else -> i = 0
            fi;
            recent = 0
        };
        d_step {
            if
            :: i != 0 && p[i].ticket != 0 -> admit(i)
            :: else
            fi;
            i = 0;
            check(recent, t)
        }
#else
    :: atomic { !closed -> promote(i, t, recent) }
#endif
    od
}

proctype Person(byte me)
{
    byte mine, old; /* the tickets of the tokens that the person has */
end:
    do
    :: d_step { /* join.lua, also as a repetition: the answer may have been lost */
            !closed ->
            if
            :: HAS_PLACE(me) && !LAPSED(me) -> assert(p[me].ticket == mine) /* the one that there is */
            :: else ->
                assert(!(WAITING(me) || ACTIVE(me))); /* who has a place keeps it: one token for a user */
                if
                :: !paused && seq < TICKETS ->
                    seq++;
                    forget(me);
                    p[me].ticket = seq;
                    old = mine;
                    mine = seq
                :: else
                fi
            fi
        }
    :: d_step { /* gate.lua, also within hold.lua */
            !closed && mine != 0 ->
            if
            :: SAME_TICKET(me, mine) && STILL_ACTIVE(me) ->
                assert(was_admitted[mine] && p[me].ticket == mine && p[me].deadline > now);
                p[me].deadline = (p[me].used -> p[me].deadline : now + TTL);
                p[me].used = true
            :: else
            fi
        }
    :: d_step { /* leave.lua, or settle.lua: used up */
            !closed && mine != 0 && SAME_TICKET(me, mine) -> assert(p[me].ticket == mine); forget(me)
        }
    :: d_step { /* the token of before comes to the gate, or leaves */
            !closed && old != 0 && SAME_TICKET(me, old) -> assert(p[me].ticket == old); forget(me)
        }
    od
}

proctype Operator()
{
end:
    do
    :: atomic { !closed && !paused -> paused = true }
    :: paused -> paused = false
    od
}

proctype Clock()
{
    do
    :: now < ENDTIME -> now++
    :: now >= ENDTIME -> break
    od
}

init
{
    byte i, t, recent, rounds;
    atomic {
        run Person(1);
        run Person(2);
        run Person(3);
        run Scheduler();
        run Scheduler();
#ifdef PAUSES
        run Operator();
#endif
        run Clock()
    };
    atomic { now == ENDTIME && !paused -> closed = true };
    /* The line empties by itself, those included who were let in and never came. */
    d_step {
        do
        :: rounds < ROUNDS ->
            lapsing();
            promoting(i, t, recent);
            now++;
            rounds++
        :: else -> break
        od;
        lapsing();
        assert(!WAITING(1) && !WAITING(2) && !WAITING(3));
        assert(p[1].ticket == 0 && p[2].ticket == 0 && p[3].ticket == 0)
    }
}
