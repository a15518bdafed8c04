/* rehearse/histogram: buckets, percentiles and their error; chance and timers beside it. */
#include "rehearse/chance.h"
#include "rehearse/histogram.h"
#include "rehearse/timers.h"

#include <criterion/criterion.h>
#include <stddef.h>

static struct histogram histogram;

Test(rehearse_histogram, is_empty_at_first)
{
    histogram_clear(&histogram);
    cr_assert_eq(histogram_at(&histogram, 0.99), 0);
    cr_assert_eq(histogram_mean(&histogram), 0);
}

Test(rehearse_histogram, is_exact_below_64)
{
    for (int64_t i = 0; i < 64; i++)
        histogram_add(&histogram, i);
    cr_assert_eq(histogram_at(&histogram, 0), 0);
    cr_assert_eq(histogram_at(&histogram, 0.5), 31);
    cr_assert_eq(histogram_at(&histogram, 0.75), 47);
    cr_assert_eq(histogram_at(&histogram, 1), 63);
    cr_assert_float_eq(histogram_mean(&histogram), 31.5, 1e-9);
}

Test(rehearse_histogram, is_true_to_one_in_64_at_every_size)
{
    for (uint64_t value = 1; value < UINT64_C(1) << 35; value += value / 7 + 1) {
        histogram_clear(&histogram);
        histogram_add(&histogram, (int64_t)value);
        histogram_add(&histogram, INT64_C(1) << 35); /* so that max does not mend it */
        uint64_t found = histogram_at(&histogram, 0.5);
        cr_assert(found >= value && found <= value + value / 64, "%lu became %lu", value, found);
    }
}

Test(rehearse_histogram, never_says_more_than_the_largest)
{
    histogram_add(&histogram, 1000001);
    cr_assert_eq(histogram_at(&histogram, 0.5), 1000001);
    cr_assert_eq(histogram_at(&histogram, 1), 1000001);
}

Test(rehearse_histogram, takes_what_is_out_of_range)
{
    histogram_add(&histogram, -5);
    histogram_add(&histogram, INT64_MAX);
    cr_assert_eq(histogram.count, 2);
    cr_assert_eq(histogram_at(&histogram, 0.5), 0);
    cr_assert_eq(histogram_at(&histogram, 1), (uint64_t)INT64_MAX);
}

Test(rehearse_histogram, finds_the_slow_one_in_a_hundred)
{
    for (int i = 0; i < 99; i++)
        histogram_add(&histogram, 10);
    histogram_add(&histogram, 5000);
    cr_assert_eq(histogram_at(&histogram, 0.99), 10);
    cr_assert_eq(histogram_at(&histogram, 0.995), 5000);
}

Test(rehearse_histogram, merges)
{
    static struct histogram other;
    histogram_add(&histogram, 1);
    histogram_add(&other, 50);
    histogram_merge(&histogram, &other);
    cr_assert_eq(histogram.count, 2);
    cr_assert_eq(histogram.max, 50);
    cr_assert_eq(histogram_at(&histogram, 0.5), 1);
}

Test(rehearse_chance, is_the_same_for_the_same_seed_and_number)
{
    struct chance a = chance_of(1, 7), b = chance_of(1, 7), c = chance_of(1, 8), d = chance_of(2, 7);
    uint64_t first = chance_next(&a);
    cr_assert_eq(first, chance_next(&b));
    cr_assert_neq(first, chance_next(&c));
    cr_assert_neq(first, chance_next(&d));
}

Test(rehearse_chance, is_even)
{
    struct chance chance = chance_of(3, 3);
    int counts[10] = {0};
    for (int i = 0; i < 100000; i++)
        counts[chance_below(&chance, 10)]++;
    for (int i = 0; i < 10; i++)
        cr_assert(counts[i] > 9500 && counts[i] < 10500, "%d came %d times", i, counts[i]);
}

Test(rehearse_chance, stays_around_the_middle)
{
    struct chance chance = chance_of(3, 4);
    double sum = 0;
    for (int i = 0; i < 10000; i++) {
        int64_t value = chance_around(&chance, 1000);
        cr_assert(value >= 500 && value <= 1500);
        sum += (double)value;
    }
    cr_assert_float_eq(sum / 10000, 1000, 20);
    cr_assert_eq(chance_around(&chance, 0), 0);
}

struct bell {
    struct timer timer;
    int number;
};

static int rung[2000], rung_count;
static struct timers timers;

static void ring(struct timer *timer)
{
    rung[rung_count++] = ((struct bell *)((char *)timer - offsetof(struct bell, timer)))->number;
}

Test(rehearse_timers, fire_in_order_and_only_when_due)
{
    static struct bell bells[1500];
    struct chance chance = chance_of(1, 1);
    for (int i = 0; i < 1500; i++) {
        bells[i] = (struct bell){.timer = {.fire = ring}, .number = i};
        timers_set(&timers, &bells[i].timer, chance_below(&chance, 1000));
    }
    for (int i = 0; i < 1500; i += 3)
        timers_set(&timers, &bells[i].timer, chance_below(&chance, 1000)); /* moved */
    for (int i = 1; i < 1500; i += 3)
        timers_drop(&timers, &bells[i].timer);
    cr_assert_eq(timers_run(&timers, -1), -1);
    cr_assert_eq(rung_count, 0);
    int64_t first = timers_next(&timers);
    cr_assert_eq(timers_run(&timers, 500), 500 - first);
    cr_assert_gt(timers_next(&timers), 500);
    timers_run(&timers, 1000);
    cr_assert_eq(rung_count, 1000);
    for (int i = 1; i < rung_count; i++)
        cr_assert_leq(bells[rung[i - 1]].timer.due, bells[rung[i]].timer.due);
    cr_assert_eq(timers_next(&timers), INT64_MAX);
    timers_free(&timers);
}
