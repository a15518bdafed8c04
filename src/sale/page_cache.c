/* page_cache: see the header; the steps that must be atomic are in store/lua/cache_*.lua. */
#include "sale/page_cache.h"

#include "base/encode.h"
#include "sale/keys.h"
#include "sale/queue.h"
#include "sale/restore.h"
#include "store/redis.h"

#include <string.h>
#include <time.h>

/* "created fresh-until generation body": two times of 13 digits. A page of another generation than the present one has
 * been evicted. */
enum { TIME_DIGITS = 13, TIMES = 2 * TIME_DIGITS + 2 };

/* A filler that dies gives its place up after this; an old copy is kept for this long; a page that is not worth keeping
 * is there for those who wait for it just now. */
enum { LOCK_MS = 3000, OLD_COPY_MS = 60000, PASSING_MS = 20 };

static void add_gate(const struct sale *sale, struct arena *arena, const struct pass *pass, struct redis_call *call)
{
    redis_script(call, arena, SCRIPT_GATE);
    queue_gate_keys(call);
    queue_gate_arguments(sale, call, pass);
}

/* A hit that prolongs: nobody waits for it. */
static void touch(struct sale *sale, struct arena *arena, const char *key)
{
    struct redis_call call;
    redis_script(&call, arena, SCRIPT_CACHE_TOUCH);
    redis_key(&call, key);
    redis_int(&call, sale->config->concert_cache_ttl);
    redis_int(&call, sale->config->concert_cache_max);
    redis_post(sale->redis, &call);
}

/* Whether this caller shall fill the page. */
static enum error claim(struct sale *sale, struct arena *arena, const char *lock, bool *ours, const char **generation)
{
    struct redis_call call;
    struct redis_value *reply;
    redis_script(&call, arena, SCRIPT_CACHE_CLAIM);
    redis_key(&call, lock);
    redis_key(&call, KEY_PAGES_GENERATION);
    redis_int(&call, LOCK_MS);
    enum error error = redis_run_one(sale->redis, arena, &call, &reply);
    if (error != OK)
        return error;
    *ours = redis_integer_at(reply, 0) == 1;
    *generation = redis_text_at(reply, 1);
    return OK;
}

static void fill(struct sale *sale, struct arena *arena, const char *key, const char *lock, const char *generation,
                 const struct page *page, bool lasting)
{
    struct redis_call call;
    redis_script(&call, arena, SCRIPT_CACHE_FILL);
    redis_key(&call, key);
    redis_key(&call, lock);
    redis_key(&call, KEY_PAGES_GENERATION);
    redis_text(&call, generation);
    redis_int(&call, sale->config->concert_cache_ttl);
    redis_int(&call, lasting ? sale->config->concert_cache_max + OLD_COPY_MS : PASSING_MS);
    redis_bytes(&call, page->text, page->length);
    redis_post(sale->redis, &call);
}

static enum error render_page(struct sale *sale, struct arena *arena, page_render *render, const void *what,
                              struct page *page, bool *lasting)
{
    struct buf out;
    buf_init(&out, arena, 4096);
    *lasting = true;
    enum error error = render(sale, arena, what, &out, lasting);
    page->text = out.data;
    page->length = out.length;
    return error;
}

/* Splits a cached copy; false when there is none, or it has been evicted. values: the page, the generation. */
static bool read_copy(const struct redis_value *values, int64_t *fresh_until, struct page *page)
{
    const char *text = redis_text_at(values, 0), *generation = redis_text_at(values, 1);
    size_t length = *generation ? strlen(generation) : 1;
    if (values->count < 2 || values->items[0]->length < TIMES + length + 1 ||
        !decimal_parse(text + TIME_DIGITS + 1, TIME_DIGITS, 0, INT64_MAX, fresh_until))
        return false;
    if (strncmp(text + TIMES, *generation ? generation : "0", length) != 0 || text[TIMES + length] != ' ')
        return false;
    page->text = text + TIMES + length + 1;
    page->length = values->items[0]->length - TIMES - length - 1;
    return true;
}

static void ask_for_page(struct redis_call *call, struct arena *arena, const char *key)
{
    redis_command(call, arena, "MGET", true);
    redis_key(call, key);
    redis_key(call, KEY_PAGES_GENERATION);
}

/* Nobody has the page, and somebody else is rendering it: that takes a moment. False: it took longer. */
static bool wait_for_filler(struct sale *sale, struct arena *arena, const char *key, struct page *page)
{
    enum { LOOKS = 6, PAUSE_NS = 4000000 };
    for (int i = 0; i < LOOKS; i++) {
        struct timespec pause = {.tv_nsec = PAUSE_NS};
        struct redis_call call;
        struct redis_value *values;
        int64_t fresh_until;
        nanosleep(&pause, NULL);
        ask_for_page(&call, arena, key);
        if (redis_run_one(sale->redis, arena, &call, &values) != OK)
            return false;
        if (read_copy(values, &fresh_until, page))
            return true;
    }
    return false;
}

/* Renders the page into *page, if that is this caller's turn or nobody has a copy. */
static enum error renew(struct sale *sale, struct arena *arena, const char *key, bool copy, page_render *render,
                        const void *what, struct page *page)
{
    const char *lock = arena_printf(arena, "%s:filler", key), *generation = "";
    struct page made;
    bool ours = false, lasting;
    enum error error = claim(sale, arena, lock, &ours, &generation);
    if (error != OK || (copy && !ours))
        return error;
    if (!ours && wait_for_filler(sale, arena, key, page))
        return OK;
    error = render_page(sale, arena, render, what, &made, &lasting);
    if (error != OK)
        return error;
    *page = made;
    if (ours)
        fill(sale, arena, key, lock, generation, page, lasting);
    return OK;
}

enum error page_cache_get(struct sale *sale, struct arena *arena, const struct pass *pass, const char *key,
                          page_render *render, const void *what, struct page *page, struct refusal *refusal)
{
    const struct config *config = sale->config;
    bool cached = key && config->concert_cache_ttl > 0;
    struct redis_call calls[2];
    struct redis_value *values[2];
    int64_t fresh_until = 0;
    bool lasting;

    add_gate(sale, arena, pass, &calls[0]);
    if (cached)
        ask_for_page(&calls[1], arena, key);
    enum error error = restore_and_run(sale, arena, calls, cached ? 2 : 1, values);
    if (error == OK)
        error = queue_gate_verdict(sale, values[0], refusal);
    if (error != OK)
        return error;
    if (!cached)
        return render_page(sale, arena, render, what, page, &lasting);

    int64_t now = redis_integer_at(values[0], 2);
    bool copy = read_copy(values[1], &fresh_until, page);
    if (copy && now < fresh_until) {
        if (fresh_until - now < config->concert_cache_ttl / 2 && config->concert_cache_max > config->concert_cache_ttl)
            touch(sale, arena, key);
        return OK;
    }
    error = renew(sale, arena, key, copy, render, what, page);
    return copy && error == E_UNAVAILABLE ? OK : error; /* the old copy is better than nothing */
}

enum error page_cache_evict(struct sale *sale, struct arena *arena)
{
    struct redis_call call;
    struct redis_value *generation;
    redis_command(&call, arena, "INCR", true);
    redis_key(&call, KEY_PAGES_GENERATION);
    return redis_run_one(sale->redis, arena, &call, &generation);
}
