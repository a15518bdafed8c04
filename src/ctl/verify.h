/* verify: the invariants of the box office, and who checks them.
 *
 * Nothing is written and nothing is locked. Live traffic gives no false alarms: PostgreSQL is read in one snapshot; of
 * Redis only what cannot be undone is taken at its word (numbers that only rise), everything else that looks wrong is
 * asked again, in an order that proves it. */
#ifndef USHER_CTL_VERIFY_H
#define USHER_CTL_VERIFY_H

#include "base/arena.h"
#include "base/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pg;
struct redis;

// clang-format off
/* PG: the view verify_<name>, with '_' for '-', in sql/008_verify.sql. RIGHTS: verify_database.c. LINE, HALL: verify_line.c
 * and its neighbours.
 *
 *      symbol                where   name                    what holds */
#define INVARIANT_TABLE(ROW)                                                                                                         \
    ROW(ONE_LIVE_TICKET,      PG,     "one-live-ticket",      "no seat has two live tickets")                                        \
    ROW(TICKET_STATE,         PG,     "ticket-state",         "seat, ticket and reservation agree on schedule and state")            \
    ROW(RESERVATION_STATE,    PG,     "reservation-state",    "a reservation is completed when it is paid, and before its deadline") \
    ROW(RESERVATION_TOTAL,    PG,     "reservation-total",    "a reservation's total is the sum of its tickets")                     \
    ROW(PAYMENT,              PG,     "payment",              "a paid reservation has one payment, of its price by its owner")       \
    ROW(BALANCE,              PG,     "balance",              "a balance is the sum of the user's ledger entries")                   \
    ROW(BALANCE_NOT_NEGATIVE, PG,     "balance-not-negative", "no balance is or was negative")                                       \
    ROW(RUNNING_BALANCE,      PG,     "running-balance",      "each ledger entry's balance is the sum up to it")                     \
    ROW(LEDGER_ZERO,          PG,     "ledger-zero",          "the ledger sums to zero, entry by entry")                             \
    ROW(IDEMPOTENCY,          PG,     "idempotency",          "an idempotency key has its effect, of the same user")                 \
    ROW(HISTORY_STATE,        PG,     "history-state",        "the line's history knows one live ticket of a user, and its times")   \
    ROW(NO_SHADOWS,           RIGHTS, "no-shadows",           "neither the workers nor everybody can create what shadows a table")   \
    ROW(LINE_PLACE,           LINE,   "line-place",           "who is in the line has a record, and waits or is active, not both")   \
    ROW(LINE_ORDER,           LINE,   "line-order",           "the line's order is the order of the tickets; none is skipped")       \
    ROW(TICKET_COUNTER,       LINE,   "ticket-counter",       "no ticket is above the last one issued")                              \
    ROW(SERVING,              LINE,   "serving",              "no admitted ticket is above the one being served")                    \
    ROW(ACTIVE_MAX,           LINE,   "active-max",           "at most active_max are active")                                       \
    ROW(LINE_HISTORY,         LINE,   "line-history",         "line and history agree, but for what waits to be written")            \
    ROW(DOORMAN_FREE,         HALL,   "doorman-free",         "the doorman gives away no seat that is held or sold")                 \
    ROW(DOORMAN_SOLD,         HALL,   "doorman-sold",         "the doorman keeps no seat as sold that is not")
// clang-format on

enum invariant {
#define INVARIANT_SYMBOL(symbol, where, name, says) INVARIANT_##symbol,
    INVARIANT_TABLE(INVARIANT_SYMBOL)
#undef INVARIANT_SYMBOL
        INVARIANT_COUNT
};

/* So many breaches of an invariant are named; all are counted. */
enum { EXAMPLES = 5 };

struct finding {
    bool checked;
    int64_t breaches;
    size_t example_count;
    const char *examples[EXAMPLES];
};

struct verify {
    const struct config *config;
    struct arena *arena; /* what lives until the report */
    struct pg *pg;
    struct redis *redis;
    int64_t settle_ms; /* how long the doorman has for being told what was decided */
    struct finding findings[INVARIANT_COUNT];
    bool line_lost;      /* Redis has lost the line, and nobody has come since to have it restored */
    int64_t unsettled;   /* sold seats of which only the buyer's claim is known to the doorman yet */
    const char *trouble; /* why something could not be checked; NULL when everything was */
};

/* Counts a breach; the text says which, in numbers that can be looked up. */
void verify_breach(struct verify *verify, enum invariant invariant, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* False, with the trouble noted. */
bool verify_trouble(struct verify *verify, const char *text);
bool verify_no_redis(struct verify *verify);

/* ---- verify_database.c ---- */

struct pg_rows;

/* One snapshot from here to the end: everything that verify_query reads in between. */
bool verify_snapshot_begin(struct verify *verify);
void verify_snapshot_end(struct verify *verify);
/* Runs the views, and looks at the rights. */
bool verify_database(struct verify *verify);
/* One statement; rows live in scratch. */
bool verify_query(struct verify *verify, struct arena *scratch, const char *sql, struct pg_rows **rows);

/* ---- verify_line.c ---- */

/* Somebody's place, as Redis or the history has it. */
struct place {
    int64_t user;
    int64_t ticket; /* 0: none */
    bool active;
};

struct places {
    struct place *items;
    size_t count, capacity;
};

void places_add(struct places *places, struct place place);
void places_free(struct places *places);
/* "ticket issued [activated [used]]" as the hash of tokens has it; false for anything else. */
bool place_read(const char *record, struct place *place);

/* Checks the line in Redis by itself and gives the places of all who have a record, by ticket. Before the snapshot. */
bool verify_line(struct verify *verify, struct places *places);
/* The numbers that only rise; after the snapshot. */
bool verify_numbers(struct verify *verify, const struct places *places);

/* ---- verify_history.c ---- */

/* Inside the snapshot: who is not in both, or not the same in both (in suspects). */
bool verify_history_compare(struct verify *verify, const struct places *places, struct places *suspects);
/* After it: asks about the suspects again. */
bool verify_history_confirm(struct verify *verify, const struct places *suspects);

/* ---- verify_doorman.c ---- */

struct seats;

/* Inside the snapshot: which seats of the loaded schedules look wrong. Release with verify_doorman_free. */
bool verify_doorman_compare(struct verify *verify, struct seats **suspects);
/* After it: asks about them until they are right, or for settle_ms. */
bool verify_doorman_confirm(struct verify *verify, struct seats *suspects);
void verify_doorman_free(struct seats *suspects);

#endif
