/* tally: what was counted and measured. */
#ifndef USHER_REHEARSE_TALLY_H
#define USHER_REHEARSE_TALLY_H

#include "rehearse/histogram.h"
#include "rehearse/scan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// clang-format off
/*      symbol     name            the seed counts it as one of a buyer's transactions */
#define OPERATION_TABLE(ROW)            \
    ROW(JOIN,      "join",      false)  \
    ROW(POLL,      "poll",      false)  \
    ROW(CONCERTS,  "concerts",  true)   \
    ROW(SCHEDULES, "schedules", true)   \
    ROW(SEATS,     "seats",     true)   \
    ROW(HOLD,      "hold",      true)   \
    ROW(CHARGE,    "charge",    true)   \
    ROW(PAY,       "pay",       true)   \
    ROW(LEAVE,     "leave",     false)  \
    ROW(LINE,      "line",      false)

enum operation {
#define OPERATION_SYMBOL(symbol, name, transaction) OP_##symbol,
    OPERATION_TABLE(OPERATION_SYMBOL)
#undef OPERATION_SYMBOL
    OPERATIONS
};

/* How a fan's visit ended. Good ones first; FAILED is the server's fault.
 *      symbol       name            in words */
#define OUTCOME_TABLE(ROW)                                                                  \
    ROW(PAID,        "paid",         "went home with tickets")                              \
    ROW(TOO_LATE,    "too_late",     "found no free seat any more")                         \
    ROW(NO_SHOW,     "no_show",      "took a place and never came (no-shows)")              \
    ROW(LEFT,        "left",         "gave the place back (leavers)")                       \
    ROW(NOT_PAID,    "not_paid",     "held seats and never paid (non-payers)")              \
    ROW(REFUSED,     "refused",      "ran out of patience: a seat taken too often")         \
    ROW(LOST_PLACE,  "lost_place",   "lost the place in the line too often")                \
    ROW(TURNED_AWAY, "turned_away",  "the sale is closed, or has enough seats already")     \
    ROW(FAILED,      "failed",       "gave up: the server did not do what it should")       \
    ROW(STILL_HERE,  "still_here",   "were still there when the rehearsal ended")

enum outcome {
#define OUTCOME_SYMBOL(symbol, name, words) OUTCOME_##symbol,
    OUTCOME_TABLE(OUTCOME_SYMBOL)
#undef OUTCOME_SYMBOL
    OUTCOMES
};
// clang-format on

extern const char *const operation_names[OPERATIONS];
extern const bool operation_is_transaction[OPERATIONS];
extern const char *const outcome_names[OUTCOMES];
extern const char *const outcome_words[OUTCOMES];

enum { ERRORS_MAX = 64, CODE_SIZE = 48 };

/* An answer that is not the hoped-for one: a problem code, or "no answer in time" and its kin with status 0. */
struct error_count {
    enum operation operation;
    int status;
    char code[CODE_SIZE];
    bool expected; /* a busy shop gives such answers */
    int64_t count;
};

/* One second. waiting and active are what the server says of the line (the fans' own view before it has said anything);
 * requests are a second's. */
struct moment {
    double second;
    int64_t waiting, active, sold, requests;
};

struct tally {
    struct histogram took[OPERATIONS];  /* from the first byte sent */
    struct histogram whole[OPERATIONS]; /* from the fan's wish, waiting for a free connection included */
    struct histogram polls_of_fan, requests_of_fan;
    struct histogram own_delay; /* how late our own timers were: the rehearsal's share in what is slow */
    int64_t requests, again;
    int64_t outcomes[OUTCOMES];
    struct error_count errors[ERRORS_MAX];
    size_t error_count;
    int64_t unexpected; /* answers among them that no client should ever get */
    struct moment *moments;
    size_t moment_count, moment_capacity;
};

void tally_error(struct tally *tally, enum operation operation, int status, struct span code, bool expected);
void tally_moment(struct tally *tally, const struct moment *moment);
void tally_free(struct tally *tally);

#endif
