/* fuzz_answers: what the sale makes of PostgreSQL's and Redis' answers: the doorman's values, the truth about seats,
 * the stream of events, cached pages. Input: one byte that chooses the operation, then the answers. */
#include "fuzz.h"

#include "sale/catalog.h"
#include "sale/doorman.h"
#include "sale/hall.h"
#include "sale/page_cache.h"
#include "sale/payment.h"
#include "sale/queue.h"
#include "sale/reservation.h"
#include "sale/restore.h"
#include "sale/wallet.h"

#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_house();
    return 0;
}

static struct pass pass = {FUZZ_USER, 11};
static struct refusal refusal;

static void hold(struct sale *sale, struct arena *arena)
{
    static const int64_t seats[] = {1, 2, 3};
    struct idempotency idempotency = {.key = "key"};
    struct reservation reservation;
    bool replayed = false;
    (void)!reservation_hold(sale, arena, &pass, 5, seats, 3, &idempotency, &reservation, &replayed, &refusal);
}

static void cancel(struct sale *sale, struct arena *arena)
{
    (void)!reservation_cancel(sale, arena, FUZZ_USER, 9);
}

static void pay(struct sale *sale, struct arena *arena)
{
    struct idempotency idempotency = {.key = "key"};
    struct payment payment;
    (void)!payment_pay(sale, arena, &pass, 9, &idempotency, &payment, &refusal);
}

static void review(struct sale *sale, struct arena *arena)
{
    int64_t corrected;
    (void)!doorman_review(sale, arena, 5, &corrected);
}

static void look(struct sale *sale, struct arena *arena)
{
    const struct hall *hall;
    for (int64_t schedule = 5; schedule < 7; schedule++) {
        if (hall_look(sale, arena, &pass, schedule, &hall, &refusal) != OK)
            continue;
        REQUIRE(strlen(hall->version) < sizeof hall->version, "a version is a text");
        for (size_t i = 0; i < hall->count; i++)
            (void)seat_status(hall, &hall->seats[i]);
    }
}

static enum error render(struct sale *sale, struct arena *arena, const void *what, struct buf *out, bool *keep)
{
    *keep = true;
    (void)sale;
    (void)arena;
    (void)what;
    buf_puts(out, "{}");
    return OK;
}

static void page(struct sale *sale, struct arena *arena)
{
    struct page got = {"", 0};
    if (page_cache_get(sale, arena, &pass, "c:{main}:x", render, NULL, &got, &refusal) == OK)
        REQUIRE(memchr(got.text, '\0', got.length + 1) != NULL, "a page is within its bytes");
}

static void drain(struct sale *sale, struct arena *arena)
{
    int64_t drained;
    (void)!queue_drain(sale, arena, 100, &drained);
}

static void poll(struct sale *sale, struct arena *arena)
{
    struct place place;
    if (queue_poll(sale, arena, fuzz_house()->token, &place) == OK)
        REQUIRE(place.poll_after_seconds >= 1 && place.poll_after_seconds <= 60, "a wait that makes sense");
}

static void line(struct sale *sale, struct arena *arena)
{
    struct line got;
    struct promotion promotion;
    int64_t ended;
    (void)!queue_line(sale, arena, &got);
    (void)!queue_promote(sale, arena, &promotion);
    (void)!queue_lapse(sale, arena, 10, &ended);
}

static void evict(struct sale *sale, struct arena *arena)
{
    (void)!page_cache_evict(sale, arena);
}

static void (*const operations[])(struct sale *, struct arena *) = {hold, cancel, pay,  review, look,
                                                                    page, drain,  poll, line,   evict};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_house *house = fuzz_house();
    if (size == 0)
        return 0;
    refusal = (struct refusal){.position = 0};
    stand_in_feed(data + 1, size - 1);
    operations[data[0] % (sizeof operations / sizeof *operations)](house->sale, house->arena);
    stand_in_feed(NULL, 0);
    arena_reset(house->arena);
    return 0;
}
