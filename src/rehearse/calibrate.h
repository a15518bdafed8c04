/* calibrate: how many transactions a minute the server carries within the p99 target, and what to configure for that.
 */
#ifndef USHER_REHEARSE_CALIBRATE_H
#define USHER_REHEARSE_CALIBRATE_H

#include "rehearse/stage.h"

enum { CALIBRATE_STEPS_MAX = 64 };

/* One rate, tried. */
struct calibrate_step {
    double offered;      /* buyers a second */
    double carried;      /* buyers a second who got through */
    double transactions; /* a second: requests from the concert page to the payment */
    double a_buyer;      /* transactions for a buyer, seats taken by others included */
    uint64_t p99;        /* microseconds, of the slowest operation */
    enum operation slowest;
    bool good;
    bool stood_still; /* answers came in time, but too few got through: the line let too few in */
};

struct calibration {
    struct calibrate_step steps[CALIBRATE_STEPS_MAX];
    int count;
    const struct calibrate_step *best; /* NULL: not even the lowest rate was carried */
    const char *limit; /* why no higher rate was tried, if the server was not the reason; NULL: it was */
    int64_t promote_batch, promote_period; /* to configure; seconds */
};

enum { SEED_TRANSACTIONS = 6, SPARE_PERCENT = 20, PERIOD_S = 10 };

/* Tries rates until the server has shown its limit, and reckons. The venues must be known. */
void calibrate_run(struct stage *stage, struct calibration *calibration);
/* "carried", "too much", "too few let in". */
const char *calibrate_word(const struct calibrate_step *step);
/* The seed's arithmetic: transactions a minute, less the spare, by transactions for a buyer (at least six), as buyers
 * in PERIOD_S seconds; at least 1. */
int64_t calibrate_batch(double transactions_a_minute, double a_buyer);

#endif
