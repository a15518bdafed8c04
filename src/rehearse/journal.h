/* journal: what the fans were told, compared: the rehearsal's own proof that the server kept its promises.
 *
 * Everything here is judged from answers alone and gives no false alarm: what is counted as wrong cannot be explained
 * by answers that cross each other on the way. */
#ifndef USHER_REHEARSE_JOURNAL_H
#define USHER_REHEARSE_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

struct journal_seat {
    int64_t seat;                  /* 0: an empty place of the table */
    int64_t reservation, deadline; /* the last hold of it, certainly alive before its deadline; 0: none */
    int64_t paid;                  /* the reservation that was paid with it; 0: none */
};

struct journal {
    struct journal_seat *seats; /* open addressing */
    size_t count, capacity;     /* a power of two */
    int64_t highest_ticket;     /* given out, as far as answers have come */
    int64_t highest_active;     /* let in */

    int64_t sold;              /* seats paid for */
    int64_t sold_twice;        /* a seat paid for in two reservations */
    int64_t held_twice;        /* a seat in two holds that were both alive */
    int64_t wrong_money;       /* a balance or price that does not follow from what was done */
    int64_t wrong_seats;       /* a reservation of other seats than asked for */
    int64_t ticket_inversions; /* came after somebody had a ticket, and got a lower one */
    int64_t overtaken;         /* still waiting after somebody with a higher ticket had been let in */
    int64_t pushed_back;       /* a position that grew */
};

/* What was known when a request went out: only that can be compared with its answer. */
struct journal_view {
    int64_t highest_ticket, highest_active;
};

void journal_free(struct journal *journal);
struct journal_view journal_view(const struct journal *journal);

/* A new ticket, in answer to a request that went out at view. */
void journal_ticket(struct journal *journal, const struct journal_view *view, int64_t ticket);
/* Still waiting; before: the position at the last poll, 0 for none. */
void journal_waiting(struct journal *journal, const struct journal_view *view, int64_t ticket, int64_t position,
                     int64_t before);
void journal_active(struct journal *journal, int64_t ticket);

/* A seat was held at now, and stays so at least until deadline (clock_monotonic()). */
void journal_held(struct journal *journal, int64_t seat, int64_t reservation, int64_t deadline, int64_t now);
void journal_paid(struct journal *journal, int64_t seat, int64_t reservation);

/* Everything wrong, added up. */
int64_t journal_breaches(const struct journal *journal);

#endif
