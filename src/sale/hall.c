/* hall: a small cache of halls in each process, and how a look brings one up to date. */
#include "sale/hall.h"

#include "base/analyzer.h"
#include "base/encode.h"
#include "base/log.h"
#include "base/random.h"
#include "sale/doorman.h"
#include "sale/keys.h"
#include "sale/outcome.h"
#include "sale/queue.h"
#include "sale/restore.h"
#include "store/pg.h"
#include "store/redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* So many halls a process keeps; the one not looked at for the longest goes. */
enum { HALLS = 32, TEXTS = 2 };

struct text {
    char version[sizeof((struct hall *)0)->version];
    char *text;
    size_t length;
};

struct kept_hall {
    struct hall hall;                   /* first: a hall is its kept_hall */
    char doorman[DOORMAN_VERSION_SIZE]; /* the doorman's version, "loaded.changes"; "" when the picture is not his */
    char *locations;
    struct text texts[TEXTS];
    uint64_t used;
};

struct hall_cache {
    struct kept_hall halls[HALLS];
    uint64_t uses;
};

struct hall_cache *hall_cache_new(void)
{
    struct hall_cache *cache = calloc(1, sizeof *cache);
    if (!cache) {
        log_error("out of memory");
        abort();
    }
    return cache;
}

static void forget(struct kept_hall *kept)
{
    for (size_t i = 0; i < TEXTS; i++)
        free(kept->texts[i].text);
    free(kept->hall.seats);
    free(kept->locations);
    *kept = (struct kept_hall){.used = 0};
}

void hall_cache_free(struct hall_cache *cache)
{
    for (size_t i = 0; cache && i < HALLS; i++)
        forget(&cache->halls[i]);
    free(cache);
}

/* The schedule's hall, or an empty place for it. */
static struct kept_hall *find(struct hall_cache *cache, int64_t schedule)
{
    struct kept_hall *oldest = &cache->halls[0];
    for (size_t i = 0; i < HALLS; i++) {
        struct kept_hall *kept = &cache->halls[i];
        if (kept->hall.schedule == schedule)
            return kept;
        if (kept->used < oldest->used)
            oldest = kept;
    }
    forget(oldest);
    return oldest;
}

/* ---- what PostgreSQL says ---- */

enum { SCHEDULE, SEAT, LOCATION, PRICE, DEADLINE };

static void *must_allocate(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory) {
        log_error("out of memory");
        abort();
    }
    return memory;
}

/* *kept is one of a cache's elements, and forget() frees what it held. gcc follows neither the index of the element nor
 * the texts that are freed in a loop, and takes what is stored in it here for lost. */
ANALYZER_LOSES_MEMORY_BEGIN
static void read_seats(struct kept_hall *kept, int64_t schedule, const struct pg_rows *rows)
{
    size_t count = pg_count(rows), size = 0;
    forget(kept);
    for (size_t row = 0; row < count; row++)
        size += strlen(pg_get(rows, row, LOCATION)) + 1;
    kept->hall.schedule = schedule;
    kept->hall.seats = must_allocate(count, sizeof *kept->hall.seats);
    kept->locations = must_allocate(size, 1);
    char *location = kept->locations;
    for (size_t row = 0; row < count; row++) {
        if (pg_is_null(rows, row, SEAT))
            continue;
        size_t length = strlen(pg_get(rows, row, LOCATION)) + 1;
        memcpy(location, pg_get(rows, row, LOCATION), length);
        kept->hall.seats[kept->hall.count++] = (struct seat){
            .id = pg_get_int(rows, row, SEAT),
            .price = pg_get_int(rows, row, PRICE),
            .location = location,
            .deadline = pg_is_null(rows, row, DEADLINE) ? -1 : pg_get_int(rows, row, DEADLINE),
        };
        location += length;
    }
}
ANALYZER_LOSES_MEMORY_END

static enum error load(struct sale *sale, struct arena *arena, struct kept_hall *kept, int64_t schedule,
                       struct pg_rows **rows)
{
    enum error error = doorman_ask(sale, arena, schedule, rows);
    if (error == OK)
        read_seats(kept, schedule, *rows);
    return error;
}

/* ---- what the doorman says ---- */

static int by_id(const void *a, const void *b)
{
    const struct seat *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static void forget_taken(struct kept_hall *kept)
{
    for (size_t i = 0; i < kept->hall.count; i++)
        kept->hall.seats[i].deadline = -1;
}

/* Of the fields, the doorman's own are no seats, and an empty one is free. */
static void read_doorman(struct kept_hall *kept, const char *version, const struct redis_value *fields)
{
    for (size_t i = 0; i + 1 < fields->count; i += 2) {
        struct seat wanted = {.id = redis_integer_at(fields, i)};
        const char *value = redis_text_at(fields, i + 1);
        struct seat *seat = bsearch(&wanted, kept->hall.seats, kept->hall.count, sizeof wanted, by_id);
        if (seat && !decimal_parse(value, strcspn(value, " "), 0, INT64_MAX, &seat->deadline))
            seat->deadline = -1;
    }
    snprintf(kept->doorman, sizeof kept->doorman, "%s", version);
}

/* ---- the look ---- */

enum seat_status seat_status(const struct hall *hall, const struct seat *seat)
{
    if (seat->deadline == 0)
        return SEAT_SOLD;
    return seat->deadline > hall->now ? SEAT_HELD : SEAT_AVAILABLE;
}

/* The doorman's version, and how many holds have passed their deadline since: two pictures never share a name. */
static void name_version(struct kept_hall *kept, const char *stamp)
{
    size_t lapsed = 0;
    for (size_t i = 0; i < kept->hall.count; i++) {
        const struct seat *seat = &kept->hall.seats[i];
        lapsed += seat->deadline > 0 && seat->deadline <= kept->hall.now;
    }
    snprintf(kept->hall.version, sizeof kept->hall.version, "%s.%zu", stamp, lapsed);
}

static enum error ask_doorman(struct sale *sale, struct arena *arena, const struct pass *pass, int64_t schedule,
                              const char *known, struct redis_value **reply, struct refusal *refusal)
{
    struct redis_call call;
    redis_script(&call, arena, SCRIPT_SEATS);
    queue_gate_keys(&call);
    redis_key(&call, key_seats(arena, schedule));
    queue_gate_arguments(sale, &call, pass);
    redis_text(&call, known);
    enum error error = restore_and_run(sale, arena, &call, 1, reply);
    return error != OK ? error : queue_gate_verdict(sale, *reply, refusal);
}

enum error hall_look(struct sale *sale, struct arena *arena, const struct pass *pass, int64_t schedule,
                     const struct hall **hall, struct refusal *refusal)
{
    enum { NOW = 1, VERSION, SEATS_OR_CHANGES, ONLY_NEWS };
    struct kept_hall *kept = find(sale->halls, schedule);
    struct redis_value *reply;
    struct pg_rows *rows;

    enum error error = ask_doorman(sale, arena, pass, schedule, kept->doorman, &reply, refusal);
    if (error != OK)
        return error;
    bool loaded = *redis_text_at(reply, VERSION) != '\0';
    if (!loaded || kept->hall.schedule != schedule) {
        error = load(sale, arena, kept, schedule, &rows);
        if (error == OK && !loaded)
            error = doorman_load(sale, arena, schedule, redis_text_at(reply, SEATS_OR_CHANGES), rows, kept->doorman);
        if (error != OK)
            return error;
    }
    kept->used = ++sale->halls->uses;
    kept->hall.now = redis_integer_at(reply, NOW);
    if (loaded && reply->count > SEATS_OR_CHANGES && reply->count <= ONLY_NEWS)
        forget_taken(kept);
    if (loaded && reply->count > SEATS_OR_CHANGES)
        read_doorman(kept, redis_text_at(reply, VERSION), reply->items[SEATS_OR_CHANGES]);
    /* Something changed while the doorman was being loaded: this picture is nobody else's and is not kept. */
    name_version(kept, *kept->doorman
                           ? kept->doorman
                           : arena_printf(arena, "%" PRId64 "-%u", kept->hall.now, random_jitter(UINT32_MAX)));
    *hall = &kept->hall;
    return OK;
}

struct hall_text hall_text(const struct hall *hall, struct arena *arena, int which, hall_render *render)
{
    struct kept_hall *kept = (struct kept_hall *)(uintptr_t)hall;
    struct text *text = &kept->texts[which];
    if (!text->text || strcmp(text->version, hall->version) != 0) {
        struct buf out;
        buf_init(&out, arena, 64 * hall->count + 128);
        render(hall, which, &out);
        char *copy = must_allocate(out.length + 1, 1);
        memcpy(copy, out.data, out.length);
        free(text->text);
        text->text = copy;
        text->length = out.length;
        snprintf(text->version, sizeof text->version, "%s", hall->version);
    }
    return (struct hall_text){text->text, text->length};
}
