/* hall: a small cache of halls in each process, and how a look brings one up to date. */
#include "sale/hall.h"

#include "base/analyzer.h"
#include "base/clock.h"
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
enum { HALLS = 64, TEXTS = 2 };

/* So long what PostgreSQL said of the seats is believed: it changes only when an operator changes the season. */
enum { EDITION_MS = 30000 };

struct text {
    char version[sizeof((struct hall *)0)->version];
    char *text;
    size_t length;
};

struct kept_hall {
    struct hall hall;                   /* first: a hall is its kept_hall */
    char doorman[DOORMAN_VERSION_SIZE]; /* the doorman's version, "loaded.changes"; "" when the picture is not his */
    char *locations;
    uint32_t edition;               /* a sum over what PostgreSQL says of the seats */
    int64_t read_at;                /* when it said so, or could not be asked again, by clock_now() */
    size_t unclaimed, lapsed;       /* seats nobody has taken, and holds whose deadline had passed, */
    int64_t counted_at, next_lapse; /* at this time of the hall's; so it stays until the next deadline, or a change */
    char *items;                    /* NULL: not made yet */
    size_t *ends;
    struct text texts[TEXTS];
    int64_t concert; /* whose schedule it is, once somebody has looked at the concert's; 0: nobody has */
    uint64_t used;   /* which look was its last */
};

struct hall_cache {
    struct kept_hall halls[HALLS];
    uint64_t uses;    /* looks so far */
    uint64_t current; /* halls that were looked at after this one are as hall_look_concert() found them */
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
    free(kept->items);
    free(kept->ends);
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

static struct kept_hall *find_known(struct hall_cache *cache, int64_t schedule)
{
    for (size_t i = 0; i < HALLS; i++) {
        if (cache->halls[i].hall.schedule == schedule)
            return &cache->halls[i];
    }
    return NULL;
}

/* The schedule's hall, or an empty place for it. */
static struct kept_hall *find(struct hall_cache *cache, int64_t schedule)
{
    struct kept_hall *kept = find_known(cache, schedule), *oldest = &cache->halls[0];
    if (kept)
        return kept;
    for (size_t i = 0; i < HALLS; i++) {
        if (cache->halls[i].used < oldest->used)
            oldest = &cache->halls[i];
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

/* FNV-1a, to tell two editions of a hall apart. */
static uint32_t add_to_sum(uint32_t sum, const void *data, size_t length)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < length; i++)
        sum = (sum ^ bytes[i]) * 16777619u;
    return sum;
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
    kept->edition = 2166136261u;
    kept->read_at = clock_now();
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
        const struct seat *seat = &kept->hall.seats[kept->hall.count - 1];
        kept->edition = add_to_sum(kept->edition, &seat->id, sizeof seat->id);
        kept->edition = add_to_sum(kept->edition, &seat->price, sizeof seat->price);
        kept->edition = add_to_sum(kept->edition, location, length);
        location += length;
    }
}
ANALYZER_LOSES_MEMORY_END

static bool is_old(const struct kept_hall *kept)
{
    int64_t age_ms = (clock_now() - kept->read_at) / 1000;
    return age_ms < 0 || age_ms > EDITION_MS;
}

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

/* Counts a seat once more, or with -1 once less. What is over is told by the time of the counting. */
static void count_seat(struct kept_hall *kept, int64_t deadline, int by)
{
    if (deadline < 0)
        kept->unclaimed += (size_t)by;
    else if (deadline > kept->counted_at)
        kept->next_lapse = deadline < kept->next_lapse ? deadline : kept->next_lapse;
    else if (deadline > 0)
        kept->lapsed += (size_t)by;
}

static void set_deadline(struct kept_hall *kept, struct seat *seat, int64_t deadline)
{
    count_seat(kept, seat->deadline, -1);
    seat->deadline = deadline;
    count_seat(kept, deadline, 1);
}

static void count_all(struct kept_hall *kept)
{
    kept->unclaimed = kept->lapsed = 0;
    kept->next_lapse = INT64_MAX;
    kept->counted_at = kept->hall.now;
    for (size_t i = 0; i < kept->hall.count; i++)
        count_seat(kept, kept->hall.seats[i].deadline, 1);
}

static void forget_taken(struct kept_hall *kept)
{
    for (size_t i = 0; i < kept->hall.count; i++)
        set_deadline(kept, &kept->hall.seats[i], -1);
}

/* Of the fields, the doorman's own are no seats, and an empty one is free. */
static void read_doorman(struct kept_hall *kept, const char *version, const struct redis_value *fields)
{
    for (size_t i = 0; i + 1 < fields->count; i += 2) {
        struct seat wanted = {.id = redis_integer_at(fields, i)};
        const char *value = redis_text_at(fields, i + 1);
        struct seat *seat = bsearch(&wanted, kept->hall.seats, kept->hall.count, sizeof wanted, by_id);
        int64_t deadline = -1;
        if (seat && !decimal_parse(value, strcspn(value, " "), 0, INT64_MAX, &deadline))
            deadline = -1;
        if (seat)
            set_deadline(kept, seat, deadline);
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

/* The doorman's version, how many holds have passed their deadline since, and the edition: two pictures never share a
 * name. */
static void name_version(struct kept_hall *kept, const char *stamp)
{
    snprintf(kept->hall.version, sizeof kept->hall.version, "%s.%zu.%08x", stamp, kept->lapsed, kept->edition);
}

/* What seats.lua answers; the fourth is missing when the picture is current, the fifth when the fourth is the whole
 * hall. */
enum { NOW = 1, VERSION, SEATS_OR_CHANGES, ONLY_NEWS };

static void ask(const struct sale *sale, struct arena *arena, struct redis_call *call, const struct pass *pass,
                int64_t schedule, const char *known)
{
    redis_script(call, arena, SCRIPT_SEATS);
    queue_gate_keys(call);
    redis_key(call, key_seats(arena, schedule));
    queue_gate_arguments(sale, call, pass);
    redis_text(call, known);
}

static bool is_loaded(const struct redis_value *reply)
{
    return *redis_text_at(reply, VERSION) != '\0';
}

/* The hall as of this reply of a doorman; of one who was not loaded, what kept has from PostgreSQL is the picture. */
static void take(struct hall_cache *cache, struct arena *arena, struct kept_hall *kept, const struct redis_value *reply)
{
    kept->used = ++cache->uses;
    kept->hall.now = redis_integer_at(reply, NOW);
    if (is_loaded(reply) && reply->count == ONLY_NEWS)
        forget_taken(kept);
    if (is_loaded(reply) && reply->count > SEATS_OR_CHANGES)
        read_doorman(kept, redis_text_at(reply, VERSION), reply->items[SEATS_OR_CHANGES]);
    if (kept->hall.now >= kept->next_lapse || kept->hall.now < kept->counted_at)
        count_all(kept);
    kept->hall.available = kept->unclaimed + kept->lapsed;
    /* Something changed while the doorman was being loaded: this picture is nobody else's and is not kept. */
    name_version(kept, *kept->doorman
                           ? kept->doorman
                           : arena_printf(arena, "%" PRId64 "-%u", kept->hall.now, random_jitter(UINT32_MAX)));
}

enum error hall_look(struct sale *sale, struct arena *arena, const struct pass *pass, int64_t schedule,
                     const struct hall **hall, struct refusal *refusal)
{
    struct kept_hall *kept = find(sale->halls, schedule);
    struct redis_call call;
    struct redis_value *reply;
    struct pg_rows *rows;

    bool known = kept->hall.schedule == schedule, old = known && is_old(kept);
    ask(sale, arena, &call, pass, schedule, old ? "" : kept->doorman);
    enum error error = restore_and_run(sale, arena, &call, 1, &reply);
    if (error == OK)
        error = queue_gate_verdict(sale, reply, refusal);
    if (error != OK)
        return error;
    if (!known || old || !is_loaded(reply))
        error = load(sale, arena, kept, schedule, &rows);
    /* While PostgreSQL is away what is known is better than nothing, and not every look waits for it. */
    if (error == E_UNAVAILABLE && known && is_loaded(reply)) {
        kept->read_at = clock_now();
        error = OK;
    }
    if (error == OK && !is_loaded(reply))
        error = doorman_load(sale, arena, schedule, redis_text_at(reply, SEATS_OR_CHANGES), rows, kept->doorman);
    if (error != OK)
        return error;
    take(sale->halls, arena, kept, reply);
    *hall = &kept->hall;
    return OK;
}

enum error hall_look_concert(struct sale *sale, struct arena *arena, const struct pass *pass, int64_t concert,
                             struct refusal *refusal)
{
    struct kept_hall *known[HALLS_AT_ONCE];
    struct redis_call calls[HALLS_AT_ONCE];
    struct redis_value *replies[HALLS_AT_ONCE];
    size_t count = 0;
    sale->halls->current = sale->halls->uses;
    for (size_t i = 0; i < HALLS && count < HALLS_AT_ONCE; i++) {
        struct kept_hall *kept = &sale->halls->halls[i];
        if (kept->concert != concert || is_old(kept))
            continue;
        ask(sale, arena, &calls[count], pass, kept->hall.schedule, kept->doorman);
        known[count++] = kept;
    }
    if (count == 0)
        return queue_gate(sale, arena, pass, false, refusal);
    enum error error = restore_and_run(sale, arena, calls, count, replies);
    if (error == OK)
        error = queue_gate_verdict(sale, replies[0], refusal);
    for (size_t i = 0; error == OK && i < count; i++) {
        if (is_loaded(replies[i]))
            take(sale->halls, arena, known[i], replies[i]);
    }
    return error;
}

enum error hall_of_concert(struct sale *sale, struct arena *arena, const struct pass *pass, int64_t concert,
                           int64_t schedule, const struct hall **hall, struct refusal *refusal)
{
    struct kept_hall *kept = find_known(sale->halls, schedule);
    if (kept && kept->used > sale->halls->current) {
        *hall = &kept->hall;
        return OK;
    }
    enum error error = hall_look(sale, arena, pass, schedule, hall, refusal);
    if (error == OK)
        find_known(sale->halls, schedule)->concert = concert;
    return error;
}

/* ---- as text ---- */

static void make_items(struct kept_hall *kept, struct arena *arena, hall_put_seat *put)
{
    struct buf out;
    buf_init(&out, arena, 80 * kept->hall.count);
    kept->ends = must_allocate(kept->hall.count, sizeof *kept->ends);
    for (size_t i = 0; i < kept->hall.count; i++) {
        put(&kept->hall.seats[i], &out);
        kept->ends[i] = out.length;
    }
    kept->items = must_allocate(out.length, 1);
    memcpy(kept->items, out.data, out.length);
}

struct hall_text hall_text(const struct hall *hall, struct arena *arena, int which, hall_put_seat *put,
                           hall_render *render)
{
    struct kept_hall *kept = (struct kept_hall *)(uintptr_t)hall;
    struct text *text = &kept->texts[which];
    if (!kept->items)
        make_items(kept, arena, put);
    if (!text->text)
        text->text = must_allocate((hall->count ? kept->ends[hall->count - 1] : 0) + HALL_FRAME_MAX, 1);
    if (strcmp(text->version, hall->version) != 0) {
        const struct hall_items items = {kept->items, kept->ends};
        text->length = render(hall, &items, arena, which, text->text);
        snprintf(text->version, sizeof text->version, "%s", hall->version);
    }
    return (struct hall_text){text->text, text->length};
}
