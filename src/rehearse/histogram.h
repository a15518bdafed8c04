/* histogram: how long things took, in a fixed small space, with percentiles true to 1.6 %.
 *
 * Log-linear buckets: exact below 64, then 64 equal buckets for each power of two, up to 2^36 (19 hours in
 * microseconds), where everything larger is counted too. */
#ifndef USHER_REHEARSE_HISTOGRAM_H
#define USHER_REHEARSE_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_BITS = 6,
    HISTOGRAM_TOP = 36,
    HISTOGRAM_BUCKETS = (HISTOGRAM_TOP - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS
};

struct histogram {
    uint64_t count, max;
    double sum;
    uint32_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_clear(struct histogram *histogram);
void histogram_add(struct histogram *histogram, int64_t value); /* negative counts as 0 */
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The smallest value that at least this share (0 to 1) of all values do not exceed, as its bucket's upper end; 0 when
 * there are none. Never more than the largest value. */
uint64_t histogram_at(const struct histogram *histogram, double share);
double histogram_mean(const struct histogram *histogram); /* 0 when there are none */

#endif
