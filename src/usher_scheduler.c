/* usher-scheduler: the clockwork, started by systemd timers. One run, then it ends.
 *
 *   promote   lets people in from the line for most of one promote_period, a few at a time
 *   expire    ends tokens and unpaid holds, writes the line's history, forgets old idempotency keys
 *
 * A PostgreSQL advisory lock keeps a second one of the same kind out, on this host or another. Should two run all the
 * same, the budget in Redis still admits no more than promote_batch in a promote_period. */
#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "sale/catalog.h"
#include "sale/doorman.h"
#include "sale/lock.h"
#include "sale/queue.h"
#include "sale/reservation.h"
#include "sale/sale.h"
#include "sale/wallet.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>

static const char usage[] = "usher-scheduler [OPTION]... promote [aligned]|expire\n"
                            "Admit people from the line, or end what is over. Runs once; systemd timers start it.\n\n"
                            "  promote    admit promote_batch people, spread over one promote_period;\n"
                            "             aligned: end in time for a timer at the period's boundaries\n"
                            "  expire     end tokens and unpaid holds whose time is over\n\n"
                            "Exits with 0 when the work is done or another scheduler is doing it.\n\n";

/* How long the scheduler waits for Redis, at least. */
enum { PATIENCE_MS = 2000 };

enum { LAPSE_BATCH = 1000, HOLD_BATCH = 500, KEY_BATCH = 1000 };

/* Ticks in a period; a run lasts RUN_TICKS of them and leaves the rest for the next one to start in. */
enum { TICKS = 100, RUN_TICKS = 94 };

struct run {
    struct sale *sale;
    struct arena *arena;
    bool aligned;  /* started by a timer at the period's boundaries */
    sigset_t stop; /* blocked; taken between two steps */
    bool stopped;  /* one was taken */
};

/* Waits until a time of clock_monotonic(), and looks for a signal even when that is over: who is late must be able to
 * stop, too. False: asked to stop. */
static bool wait_until(struct run *run, int64_t until)
{
    int64_t left;
    do {
        left = until - clock_monotonic();
        int64_t wait = left > 0 ? left : 0;
        struct timespec time = {wait / CLOCK_SECOND, wait % CLOCK_SECOND * 1000};
        run->stopped = run->stopped || sigtimedwait(&run->stop, NULL, &time) > 0;
    } while (left > 0 && !run->stopped);
    return !run->stopped;
}

/* Whether somebody has asked to stop; to be looked at before each step. */
static bool must_stop(struct run *run)
{
    return !wait_until(run, 0);
}

/* Writes what is in the stream just now, batch after batch, but begins none after `until` (clock_monotonic()): people
 * wait to be let in. all: nothing is left. */
static enum error drain(struct run *run, int64_t until, int64_t *total, bool *all)
{
    int64_t drained = 0;
    enum error error = OK;
    *all = false;
    while (error == OK && !*all && !must_stop(run)) {
        error = queue_drain(run->sale, run->arena, HISTORY_BATCH, &drained);
        arena_reset(run->arena);
        *total += drained;
        *all = error == OK && drained < HISTORY_BATCH;
        if (clock_monotonic() >= until)
            break;
    }
    return error;
}

static enum error tick(struct run *run, struct promotion *promotion)
{
    *promotion = (struct promotion){.admitted = 0};
    int64_t lapsed;
    enum error error = queue_lapse(run->sale, run->arena, LAPSE_BATCH, &lapsed);
    if (error == OK)
        error = queue_promote(run->sale, run->arena, promotion);
    arena_reset(run->arena);
    return error;
}

/* How long this run lasts, in microseconds. An aligned one ends before the clock reaches the period's next boundary,
 * where its timer starts the next one: one that came late and overstayed would cost the line a whole period. */
static int64_t run_length(const struct run *run, int64_t period)
{
    int64_t whole = period * RUN_TICKS / TICKS, spare = period * (TICKS - RUN_TICKS) / TICKS / 2;
    int64_t left = period - clock_now() % period - spare;
    if (!run->aligned || left >= whole)
        return whole;
    return left > 0 ? left : 0;
}

/* The time of the tick after one that was due at `due`: ticks that were missed are not made up for. */
static int64_t after(int64_t due, int64_t tick_length)
{
    int64_t now = clock_monotonic();
    return due + tick_length > now ? due + tick_length : now;
}

static int promote(struct run *run)
{
    struct promotion now = {0};
    int64_t admitted = 0, recorded = 0;
    int64_t started = clock_monotonic(), period = run->sale->config->promote_period * 1000;
    int64_t end = started + run_length(run, period), next = started;
    int64_t history_due = started, spare = period * (TICKS - RUN_TICKS) / TICKS / 2;
    enum error error = OK;
    bool all;

    for (; next <= end && wait_until(run, next); next = after(next, period / TICKS)) {
        error = tick(run, &now);
        admitted += error == OK ? now.admitted : 0;
        /* Who was let in must not wait again should Redis be lost: that is written at once, the rest once a second. */
        if (now.admitted > 0 || clock_monotonic() >= history_due) {
            enum error history = drain(run, next + period / TICKS, &recorded, &all);
            if (history != OK)
                log_warning("the line's history cannot be written just now; it waits in Redis");
            if (history != OK || all) /* otherwise the rest follows this tick's successor */
                history_due = clock_monotonic() + CLOCK_SECOND;
        }
    }
    enum error last = drain(run, end + spare, &recorded, &all);
    log_info("promote admitted=%" PRId64 " waiting=%" PRId64 " active=%" PRId64 " serving=%" PRId64
             " recorded=%" PRId64,
             admitted, now.waiting, now.active, now.serving, recorded);
    return error == OK && last == OK ? EXIT_OK : EXIT_FAILED;
}

/* ---- expire ---- */

typedef enum error step(struct sale *sale, struct arena *arena, int64_t batch, int64_t *done);

/* One kind of work, batch after batch until a batch is not full. */
static enum error in_batches(struct run *run, step *work, int64_t batch, int64_t *total)
{
    int64_t done = batch;
    enum error error = OK;
    *total = 0;
    while (error == OK && done == batch && !must_stop(run)) {
        error = work(run->sale, run->arena, batch, &done);
        arena_reset(run->arena);
        *total += done;
    }
    return error;
}

static enum error review_seats(struct run *run, int64_t *total)
{
    int64_t *schedules, corrected = 0;
    size_t count;
    *total = 0;
    if (must_stop(run))
        return OK;
    struct arena *list = arena_new(4096);
    enum error error = catalog_on_sale(run->sale, list, &schedules, &count);
    for (size_t i = 0; error == OK && i < count && !must_stop(run); i++) {
        error = doorman_review(run->sale, run->arena, schedules[i], &corrected);
        if (error == OK)
            error = doorman_warm(run->sale, run->arena, schedules[i]);
        arena_reset(run->arena);
        *total += corrected;
    }
    arena_free(list);
    return error;
}

static int expire(struct run *run)
{
    int64_t tokens, holds, seats, history = 0, keys;
    bool all;
    /* Each part is tried, whatever became of the others: Redis may be away while PostgreSQL is not. */
    enum error errors[] = {
        in_batches(run, queue_lapse, LAPSE_BATCH, &tokens),
        in_batches(run, reservation_expire, HOLD_BATCH, &holds),
        review_seats(run, &seats),
        drain(run, INT64_MAX, &history, &all),
        in_batches(run, wallet_forget_keys, KEY_BATCH, &keys),
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        failed += errors[i] != OK;
    log_info("expire tokens=%" PRId64 " holds=%" PRId64 " claims=%" PRId64 " recorded=%" PRId64 " keys=%" PRId64,
             tokens, holds, seats, history, keys);
    return failed ? EXIT_FAILED : EXIT_OK;
}

/* ---- one at a time ---- */

static int run_alone(struct run *run, const char *name, enum lock_number number, int (*work)(struct run *))
{
    struct lock *lock = NULL;
    int status = EXIT_FAILED;
    enum error error = lock_take(run->sale->config, run->arena, number, &lock);
    arena_reset(run->arena);
    if (error != OK) {
        log_error("%s: PostgreSQL does not answer, so nothing is done; the next run tries again", name);
    } else if (!lock) {
        log_notice("%s: another scheduler is at it; nothing to do", name);
        status = EXIT_OK;
    } else {
        status = work(run);
    }
    lock_release(lock);
    return status;
}

int main(int argc, char **argv)
{
    struct config config;
    int first = options_read(argc, argv, "usher-scheduler", usage, &config);
    bool aligned = first + 2 == argc && strcmp(argv[first + 1], "aligned") == 0;
    bool promoting = first + 1 + aligned == argc && strcmp(argv[first], "promote") == 0;
    bool expiring = first + 1 == argc && strcmp(argv[first], "expire") == 0;
    if (!promoting && !expiring) {
        log_error("say what to do: promote or expire (see usher-scheduler --help)");
        config_free(&config);
        return EXIT_USAGE;
    }

    if (config.redis_timeout < PATIENCE_MS) /* nobody waits for this program's answers */
        config.redis_timeout = PATIENCE_MS;
    struct run run = {.sale = sale_open_without_key(&config)};
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&run.stop);
    sigaddset(&run.stop, SIGTERM);
    sigaddset(&run.stop, SIGINT);
    sigprocmask(SIG_BLOCK, &run.stop, NULL);
    run.arena = arena_new(65536);
    run.aligned = aligned;
    int status =
        promoting ? run_alone(&run, "promote", LOCK_PROMOTE, promote) : run_alone(&run, "expire", LOCK_EXPIRE, expire);
    arena_free(run.arena);
    sale_close(run.sale);
    config_free(&config);
    return status;
}
