/* histogram: the bucket of a value, and back. */
#include "rehearse/histogram.h"

#include <string.h>

enum { HALF = 1 << HISTOGRAM_BITS };

static unsigned bucket_of(uint64_t value)
{
    if (value < HALF)
        return (unsigned)value;
    if (value >= UINT64_C(1) << HISTOGRAM_TOP)
        return HISTOGRAM_BUCKETS - 1;
    unsigned power = 63U - (unsigned)__builtin_clzll(value);
    unsigned within = (unsigned)(value >> (power - HISTOGRAM_BITS)) & (HALF - 1);
    return ((power - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS) + within;
}

/* The largest value that falls into it. */
static uint64_t end_of(unsigned bucket)
{
    if (bucket < HALF)
        return bucket;
    unsigned shift = (bucket >> HISTOGRAM_BITS) - 1;
    uint64_t within = HALF + (bucket & (HALF - 1));
    return ((within + 1) << shift) - 1;
}

void histogram_clear(struct histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
}

void histogram_add(struct histogram *histogram, int64_t value)
{
    uint64_t counted = value > 0 ? (uint64_t)value : 0;
    histogram->buckets[bucket_of(counted)]++;
    histogram->count++;
    histogram->sum += (double)counted;
    if (counted > histogram->max)
        histogram->max = counted;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
    into->count += from->count;
    into->sum += from->sum;
    if (from->max > into->max)
        into->max = from->max;
}

uint64_t histogram_at(const struct histogram *histogram, double share)
{
    double wanted = share * (double)histogram->count;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > 0 && (double)seen >= wanted)
            return end_of(i) < histogram->max && i < HISTOGRAM_BUCKETS - 1 ? end_of(i) : histogram->max;
    }
    return histogram->max;
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->count ? histogram->sum / (double)histogram->count : 0;
}
