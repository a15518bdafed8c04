/* fan: one person at the on-sale: takes a place in the line, asks when told to, and buys. */
#ifndef USHER_REHEARSE_FAN_H
#define USHER_REHEARSE_FAN_H

#include "rehearse/client.h"
#include "rehearse/seats.h"
#include "rehearse/stage.h"
#include "rehearse/timers.h"

/* 64 is more than any queue token needs. */
enum { QUEUE_TOKEN_SIZE = 64 };

/* What becomes of a fan is decided before it comes. */
enum fate { FATE_BUYS, FATE_NEVER_COMES, FATE_LEAVES, FATE_NEVER_PAYS };

struct fan {
    struct ask ask;
    struct timer timer;
    struct stage *stage;
    void (*gone)(struct fan *fan); /* called when the visit is over; may free the fan */
    int64_t number;                /* from 0 */
    struct chance chance;
    enum fate fate;
    enum operation operation; /* the next request, or the one on its way */
    enum outcome outcome;     /* when it leaves */

    char token[QUEUE_TOKEN_SIZE]; /* "": none */
    int64_t ticket, position;
    bool in_line, let_in;
    int patience; /* a leaver's: polls before leaving; 0: leaves when the seats are seen */

    const struct venue *venue;
    int64_t schedule;
    struct seat_wish wishes[SEATS_MAX];
    int wish_count;
    int64_t reservation, price, balance;
    bool balance_known;

    int keys;                     /* Idempotency-Keys used so far; a repeated request keeps its key */
    int failures;                 /* of this request in a row */
    int refusals, returns, looks; /* seats taken, places lost, halls seen empty */
    int64_t polls, requests;
    struct journal_view view; /* when the request went out */
};

/* Prepares fan number of the stage; it comes when the timer fires. */
void fan_make(struct fan *fan, struct stage *stage, int64_t number);
/* Comes at this time (clock_monotonic()). */
void fan_comes(struct fan *fan, int64_t time);
/* Ends the visit of a fan that is still here, without another request. */
void fan_end(struct fan *fan, enum outcome outcome);

/* Puts the request of fan->operation (fan_request.c). */
void fan_put_request(const struct fan *fan, struct buf *out);

#endif
