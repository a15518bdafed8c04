/* timers: who is to wake when. A binary heap of timers that live in what they wake. */
#ifndef USHER_REHEARSE_TIMERS_H
#define USHER_REHEARSE_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timer {
    int64_t due; /* clock_monotonic() */
    void (*fire)(struct timer *timer);
    size_t place; /* in the heap, from 1; 0: not set */
};

struct timers {
    struct timer **heap; /* from 1 */
    size_t count, capacity;
};

void timers_free(struct timers *timers);
/* Sets it to wake at due; a timer that is set already is moved. */
void timers_set(struct timers *timers, struct timer *timer, int64_t due);
/* Takes it away, if it is set. */
void timers_drop(struct timers *timers, struct timer *timer);
/* Fires, in order, all that are due at now; they may set timers. Returns how late the first of them was, in
 * microseconds, or -1 when none was due. */
int64_t timers_run(struct timers *timers, int64_t now);
/* When the next one is due; INT64_MAX when none is set. */
int64_t timers_next(const struct timers *timers);

#endif
