/* arrival: when the fans come. */
#ifndef USHER_REHEARSE_ARRIVAL_H
#define USHER_REHEARSE_ARRIVAL_H

#include <stdbool.h>
#include <stdint.h>

enum arrival_kind {
    ARRIVAL_ALL,    /* all at once, when the sale opens */
    ARRIVAL_RAMP,   /* over some seconds, more and more of them: the rate rises evenly from nothing */
    ARRIVAL_TRICKLE /* so many a second, evenly */
};

struct arrival {
    enum arrival_kind kind;
    double value; /* ramp: seconds; trickle: fans a second */
};

/* "all", "ramp:SECONDS", "trickle:RATE"; numbers above 0, with a fraction or without. */
bool arrival_parse(const char *text, struct arrival *arrival) __attribute__((warn_unused_result));
/* Microseconds after the opening at which fan number (from 0) of count comes. Never falls with number. */
int64_t arrival_time(const struct arrival *arrival, int64_t number, int64_t count);

#endif
