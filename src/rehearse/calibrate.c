/* calibrate: raises the rate by steps until one is too much, then narrows down between the last good and the first bad.
 */
#include "rehearse/calibrate.h"

#include "base/clock.h"
#include "base/log.h"
#include "rehearse/fan.h"
#include "rehearse/watch.h"

#include <inttypes.h>
#include <stdlib.h>

/* A rate is too much only if it was so twice: a machine has its hiccups. One at which answers came in time while too
 * few got in says nothing about the shop, only that the line stood still for a while: that may be so more often. */
enum { NARROWINGS = 4, TOO_MUCH_MAX = 2, ATTEMPTS = 5 };

#define FIRST_RATE    10.0
#define GROWTH        1.6
#define SETTLE        (2 * CLOCK_SECOND) /* of each step: not measured */
#define DRAIN         (15 * CLOCK_SECOND)
#define THROUGH_SHARE 0.9 /* so many of the offered must get through for a rate to be carried */

/* Who comes at the rate that is tried just now. */
struct crowd {
    struct stage *stage;
    struct timer timer;
    double rate;
    int64_t next; /* when the next fan comes */
    bool nobody_left;
};

/* A fan, and its place in the list of those who are here. */
struct visitor {
    struct fan fan; /* first: a fan is its visitor */
    struct visitor *next, **link;
};

static struct visitor *visitors;

static void goes(struct fan *fan)
{
    struct visitor *visitor = (struct visitor *)fan;
    *visitor->link = visitor->next;
    if (visitor->next)
        visitor->next->link = visitor->link;
    free(visitor);
}

static struct fan *new_fan(struct stage *stage)
{
    struct visitor *visitor = malloc(sizeof *visitor);
    if (!visitor) {
        log_error("out of memory");
        abort();
    }
    fan_make(&visitor->fan, stage, stage->came);
    visitor->fan.gone = goes;
    visitor->next = visitors;
    visitor->link = &visitors;
    if (visitors)
        visitors->link = &visitor->next;
    visitors = visitor;
    return &visitor->fan;
}

static void one_comes(struct timer *timer)
{
    struct crowd *crowd = (struct crowd *)((char *)timer - offsetof(struct crowd, timer));
    struct stage *stage = crowd->stage;
    if (stage->tokens && stage->came >= stage->token_count) {
        crowd->nobody_left = true;
        return;
    }
    struct fan *fan = new_fan(stage);
    fan->timer.fire(&fan->timer);
    crowd->next += (int64_t)((double)CLOCK_SECOND / crowd->rate);
    timers_set(&stage->timers, &crowd->timer, crowd->next);
}

/* ---- one step ---- */

/* What is measured between two looks. */
struct mark {
    int64_t time, paid, transactions, failed;
};

static struct mark look(const struct stage *stage)
{
    struct mark mark = {.time = clock_monotonic(),
                        .paid = stage->tally.outcomes[OUTCOME_PAID],
                        .failed = stage->tally.unexpected + stage->tally.outcomes[OUTCOME_FAILED]};
    for (int i = 0; i < OPERATIONS; i++)
        if (operation_is_transaction[i])
            mark.transactions += (int64_t)stage->tally.took[i].count;
    return mark;
}

static void forget_times(struct stage *stage)
{
    for (int i = 0; i < OPERATIONS; i++) {
        histogram_clear(&stage->tally.took[i]);
        histogram_clear(&stage->tally.whole[i]);
    }
}

/* The worst p99 of a buyer's operations, the wait for one of our connections included: it is a wait all the same. */
static void read_p99(const struct stage *stage, struct calibrate_step *step)
{
    for (int i = 0; i < OPERATIONS; i++) {
        const struct histogram *whole = &stage->tally.whole[i];
        uint64_t p99 = histogram_at(whole, 0.99);
        if (operation_is_transaction[i] && p99 > step->p99) {
            step->p99 = p99;
            step->slowest = (enum operation)i;
        }
    }
}

static void try_rate(struct crowd *crowd, double rate, struct calibrate_step *step)
{
    struct stage *stage = crowd->stage;
    bool never = false;
    *step = (struct calibrate_step){.offered = rate};
    crowd->rate = rate;
    crowd->next = clock_monotonic();
    timers_set(&stage->timers, &crowd->timer, crowd->next);
    stage_play(stage, &never, crowd->next + SETTLE);
    forget_times(stage);
    struct mark before = look(stage);
    stage_play(stage, &crowd->nobody_left, before.time + stage->settings->step);
    struct mark after = look(stage);
    double seconds = (double)(after.time - before.time) / (double)CLOCK_SECOND;
    read_p99(stage, step);
    step->carried = (double)(after.paid - before.paid) / seconds;
    step->transactions = (double)(after.transactions - before.transactions) / seconds;
    step->a_buyer = step->carried > 0 ? step->transactions / step->carried : 0;
    bool in_time = step->p99 <= (uint64_t)stage->settings->p99 && after.failed == before.failed;
    step->good = in_time && step->carried >= THROUGH_SHARE * rate;
    step->stood_still = in_time && !step->good;
    timers_drop(&stage->timers, &crowd->timer);
}

/* Lets the crowd of a rate that was too much get through. */
static void drain(struct stage *stage)
{
    int64_t until = clock_monotonic() + DRAIN;
    bool never = false;
    while (stage->here > 0 && clock_monotonic() < until && !stage_stop)
        stage_play(stage, &never, clock_monotonic() + CLOCK_SECOND / 10);
}

const char *calibrate_word(const struct calibrate_step *step)
{
    return step->good ? "carried" : step->stood_still ? "too few let in" : "too much";
}

static void show(const struct stage *stage, const struct calibrate_step *step)
{
    if (!stage->settings->quiet)
        log_info("%7.1f buyers/s offered: %7.1f/s through, %8.0f transactions/min, p99 %.1f ms (%s): %s", step->offered,
                 step->carried, step->transactions * 60, (double)step->p99 / 1000, operation_names[step->slowest],
                 calibrate_word(step));
}

/* ---- all steps ---- */

/* Why a rate cannot be tried, whatever the server could bear; NULL: it can. */
static const char *why_not(const struct crowd *crowd, double rate)
{
    const struct stage *stage = crowd->stage;
    double seconds = (double)(stage->settings->step + SETTLE) / (double)CLOCK_SECOND;
    if (stage_stop)
        return "interrupted";
    if (stage->line.known && rate > stage->line.rate)
        return "the line does not let in more; start usher with a higher promote_batch (and active_max) to see further";
    if ((double)(stage->seats_offered - stage->journal.sold) <
        rate * seconds * (double)(1 + stage->settings->seats) / 2)
        return "the seats run out; offer more of them (--schedule) to see further";
    if (crowd->nobody_left || (stage->tokens && (double)(stage->token_count - stage->came) < rate * seconds))
        return "the tokens run out; give more of them (--tokens) to see further";
    return NULL;
}

/* Tries it if it can be; returns the step, NULL when it could not. */
static const struct calibrate_step *try_next(struct crowd *crowd, struct calibration *calibration, double rate)
{
    const char *limit = why_not(crowd, rate);
    if (limit || calibration->count == CALIBRATE_STEPS_MAX) {
        calibration->limit = limit;
        return NULL;
    }
    struct calibrate_step *step = &calibration->steps[calibration->count++];
    for (int i = 0, too_much = 0; i < ATTEMPTS && too_much < TOO_MUCH_MAX; i++) {
        try_rate(crowd, rate, step);
        if (stage_stop) {
            calibration->count--;
            calibration->limit = "interrupted";
            return NULL;
        }
        show(crowd->stage, step);
        too_much += !step->stood_still;
        if (step->good || why_not(crowd, rate))
            break;
        drain(crowd->stage);
    }
    if (step->good && (!calibration->best || step->offered > calibration->best->offered))
        calibration->best = step;
    return step;
}

int64_t calibrate_batch(double transactions_a_minute, double a_buyer)
{
    double for_buyer = a_buyer > SEED_TRANSACTIONS ? a_buyer : SEED_TRANSACTIONS;
    double buyers_a_minute = transactions_a_minute * (100 - SPARE_PERCENT) / 100 / for_buyer;
    int64_t batch = (int64_t)(buyers_a_minute * PERIOD_S / 60);
    return batch > 1 ? batch : 1;
}

void calibrate_run(struct stage *stage, struct calibration *calibration)
{
    struct crowd crowd = {.stage = stage, .timer = {.fire = one_comes}};
    const struct calibrate_step *step;
    double rate = FIRST_RATE, bad = 0;
    *calibration = (struct calibration){.promote_period = PERIOD_S};
    stage->opened = clock_monotonic();

    while ((step = try_next(&crowd, calibration, rate)) && step->good)
        rate *= GROWTH;
    if (step)
        bad = step->offered;
    for (int i = 0; bad > 0 && calibration->best && i < NARROWINGS; i++) {
        double good = calibration->best->offered;
        step = try_next(&crowd, calibration, (good + bad) / 2);
        if (!step)
            break;
        if (!step->good)
            bad = step->offered;
    }
    drain(stage);
    stage->ended = clock_monotonic();
    stage->interrupted = stage_stop;
    /* The requests on the way of those who are still here are forgotten with the connections. */
    client_free(stage->client);
    stage->client = NULL;
    while (visitors)
        fan_end(&visitors->fan, OUTCOME_STILL_HERE);
    if (calibration->best)
        calibration->promote_batch = calibrate_batch(calibration->best->transactions * 60, calibration->best->a_buyer);
}
