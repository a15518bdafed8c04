/* queue: the waiting line, from getting a place to being let in. */
#ifndef USHER_SALE_QUEUE_H
#define USHER_SALE_QUEUE_H

#include "sale/sale.h"
#include "sale/token.h"

struct redis_call;
struct redis_value;

/* A user's place. Times in milliseconds since 1970. */
struct place {
    char token[TOKEN_SIZE];
    bool created;     /* by this call */
    bool active;      /* admitted; otherwise waiting */
    int64_t ticket;   /* the number in the line */
    int64_t position; /* 1 = next; 0 when active */
    int64_t issued;
    int64_t active_until;       /* 0 while waiting */
    int64_t wait_seconds;       /* estimate; -1: cannot be told (the line is paused) */
    int64_t poll_after_seconds; /* when to ask again */
};

/* The user's place: the one that the user has, or a new one at the end. E_QUEUE_PAUSED, E_UNAVAILABLE. */
enum error queue_join(struct sale *sale, struct arena *arena, int64_t user, struct place *place) MUST_CHECK;
/* E_QUEUE_TOKEN_INVALID for a token that is unknown, expired or used up. */
enum error queue_poll(struct sale *sale, struct arena *arena, const char *token, struct place *place) MUST_CHECK;
/* Gives the place up. OK whatever it was. */
enum error queue_leave(struct sale *sale, struct arena *arena, const char *token) MUST_CHECK;

struct line {
    bool paused;
    int64_t serving; /* highest ticket admitted so far */
    int64_t issued, waiting, active;
    int64_t updated;           /* ms */
    int64_t batch, active_max; /* in force now: with admission = adaptive they move */
};

/* E_UNAVAILABLE also while the line is lost. */
enum error queue_line(struct sale *sale, struct arena *arena, struct line *line) MUST_CHECK;

/* The gate by itself. look_only: a first use does not start the token's life. E_QUEUE_TOKEN_INVALID, or E_NOT_ADMITTED
 * with position and poll_after_seconds. */
enum error queue_gate(struct sale *sale, struct arena *arena, const struct pass *pass, bool look_only,
                      struct refusal *refusal) MUST_CHECK;

/* For operations that pass the gate in one script with their own work: the gate's keys and arguments. */
void queue_gate_keys(struct redis_call *call);
void queue_gate_arguments(const struct sale *sale, struct redis_call *call, const struct pass *pass);
/* And its verdict, from the script's reply: OK when the reply begins with ACTIVE or anything the gate does not know. */
enum error queue_gate_verdict(const struct sale *sale, const struct redis_value *reply,
                              struct refusal *refusal) MUST_CHECK;

/* Seconds until somebody at position should ask again: about a quarter of the remaining wait, 1 to 60, with jitter. So
 * the number of a waiter's polls grows with the logarithm of the line's length. */
int64_t queue_poll_after(const struct sale *sale, int64_t position);
/* The same while the line is paused: at least 10, since nobody moves. */
int64_t queue_poll_after_paused(const struct sale *sale, int64_t position);

/* ---- for the scheduler and the operator ---- */

struct promotion {
    int64_t admitted, waiting, active, serving;
};

/* Lets in as many as the budget allows just now. */
enum error queue_promote(struct sale *sale, struct arena *arena, struct promotion *promotion) MUST_CHECK;
/* Ends up to batch admitted tokens whose time is over. */
enum error queue_lapse(struct sale *sale, struct arena *arena, int64_t batch, int64_t *ended) MUST_CHECK;
/* Writes up to batch events of the line's history to PostgreSQL; batch is at most HISTORY_BATCH. */
enum { HISTORY_BATCH = 1000 };
enum error queue_drain(struct sale *sale, struct arena *arena, int64_t batch, int64_t *drained) MUST_CHECK;
/* Pauses or resumes the line, in Redis and in PostgreSQL, from where it comes back should Redis lose it. kept false:
 * PostgreSQL is away; the line is paused all the same (an operator in trouble wants that), but not resumed. */
enum error queue_pause(struct sale *sale, struct arena *arena, bool paused, bool *was_paused, bool *kept) MUST_CHECK;

#endif
