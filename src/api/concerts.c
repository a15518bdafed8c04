/* concerts: pages by number and by cursor, one concert, and its schedules. */
#include "api/resources.h"

#include "base/json.h"
#include "sale/catalog.h"
#include "sale/page_cache.h"
#include "sale/token.h"

#include <inttypes.h>
#include <string.h>

enum { SIZE_MAX_ITEMS = 100, PAGE_MAX = 10000000, LIST_CONCERTS = 1, DEPTH_MAX = 255 };

static void put_concert(struct buf *out, const struct concert *concert)
{
    buf_puts(out, "{\"id\":");
    buf_put_int(out, concert->id);
    buf_puts(out, ",\"name\":");
    json_put_string(out, concert->name);
    buf_puts(out, ",\"description\":");
    json_put_string(out, concert->description);
    buf_putc(out, '}');
}

static void put_items(struct buf *out, const struct concert_list *list)
{
    buf_puts(out, "{\"items\":[");
    for (size_t i = 0; i < list->count; i++) {
        if (i)
            buf_putc(out, ',');
        put_concert(out, &list->items[i]);
    }
    buf_putc(out, ']');
}

struct numbered_page {
    int64_t page, size;
};

static enum error render_numbered(struct sale *sale, struct arena *arena, const void *what, struct buf *out,
                                  bool *lasting)
{
    const struct numbered_page *wanted = what;
    struct concert_list list;
    enum error error = catalog_page(sale, arena, wanted->page, wanted->size, &list);
    if (error != OK)
        return error;
    *lasting = list.count > 0; /* pages past the end are without number */
    put_items(out, &list);
    buf_printf(out, ",\"page\":%" PRId64 ",\"size\":%" PRId64 ",\"total\":%" PRId64 "}", wanted->page, wanted->size,
               list.total);
    return OK;
}

struct cursor_page {
    struct cursor cursor;
    int64_t limit;
};

static enum error render_after(struct sale *sale, struct arena *arena, const void *what, struct buf *out, bool *lasting)
{
    const struct cursor_page *wanted = what;
    struct concert_list list;
    enum error error = catalog_after(sale, arena, wanted->cursor.id, wanted->limit, &list);
    if (error != OK)
        return error;
    *lasting = list.count > 0;
    put_items(out, &list);
    if (list.more) {
        char text[CURSOR_SIZE];
        uint8_t depth = wanted->cursor.depth;
        struct cursor next = {LIST_CONCERTS, (uint8_t)(depth + (depth < DEPTH_MAX)), list.items[list.count - 1].id};
        cursor_make(sale->key, &next, 0, text);
        buf_printf(out, ",\"next\":\"%s\"}", text);
    } else {
        buf_puts(out, ",\"next\":null}");
    }
    return OK;
}

static enum error reply_page(struct exchange *x, const char *key, page_render *render, const void *what)
{
    struct page page;
    enum error error = page_cache_get(x->sale, x->arena, &x->pass, key, render, what, &page, &x->refusal);
    if (error != OK)
        return error;
    reply_json_kept(x, 200, page.text, page.length);
    reply_header(x, "Cache-Control", "private, no-store");
    return OK;
}

static enum error list_numbered(struct exchange *x)
{
    struct numbered_page wanted = {
        .page = exchange_query_int(x, "page", 0, PAGE_MAX, 0),
        .size = exchange_query_int(x, "size", 1, SIZE_MAX_ITEMS, SIZE_MAX_ITEMS),
    };
    enum error error = exchange_valid(x);
    if (error != OK)
        return error;
    const char *key = arena_printf(x->arena, "c:{main}:concerts:page:%" PRId64 ":%" PRId64, wanted.size, wanted.page);
    return reply_page(x, key, render_numbered, &wanted);
}

static enum error list_after(struct exchange *x, const char *after)
{
    struct cursor_page wanted = {
        .cursor = {.list = LIST_CONCERTS},
        .limit = exchange_query_int(x, "limit", 1, SIZE_MAX_ITEMS, SIZE_MAX_ITEMS),
    };
    if (exchange_query(x, "page") || exchange_query(x, "size"))
        exchange_bad_field(x, "page", "cannot be combined with limit and after");
    if (after && !cursor_read(x->sale->key, after, 0, &wanted.cursor))
        exchange_bad_field(x, "after", "is not a cursor of this listing");
    enum error error = exchange_valid(x);
    if (error != OK)
        return error;
    const char *key = NULL;
    if (wanted.cursor.depth < x->config->concert_cache_pages)
        key = arena_printf(x->arena, "c:{main}:concerts:after:%" PRId64 ":%d:%" PRId64, wanted.limit,
                           wanted.cursor.depth, wanted.cursor.id);
    return reply_page(x, key, render_after, &wanted);
}

enum error concerts_list(struct exchange *x)
{
    const char *after = exchange_query(x, "after");
    return after || exchange_query(x, "limit") ? list_after(x, after) : list_numbered(x);
}

enum error concerts_get(struct exchange *x)
{
    struct concert concert;
    enum error error = catalog_concert(x->sale, x->arena, x->id, &concert);
    if (error != OK)
        return error;
    reply_json(x, 200);
    reply_header(x, "Cache-Control", "private, no-store");
    put_concert(&x->reply->body, &concert);
    return OK;
}

static void put_schedule(struct buf *out, const struct schedule *schedule)
{
    buf_printf(out, "{\"id\":%" PRId64 ",\"concert_id\":%" PRId64 ",\"place\":", schedule->id, schedule->concert_id);
    json_put_string(out, schedule->place);
    buf_puts(out, ",\"concert_at\":");
    json_put_time(out, schedule->concert_at);
    buf_puts(out, ",\"reservation_opens_at\":");
    json_put_time(out, schedule->opens_at);
    buf_puts(out, ",\"reservation_closes_at\":");
    json_put_time(out, schedule->closes_at);
    buf_printf(out, ",\"seats_total\":%" PRId64 ",\"seats_available\":%" PRId64 "}", schedule->seats_total,
               schedule->seats_available);
}

enum error concerts_schedules(struct exchange *x)
{
    struct schedule *items;
    size_t count;
    bool all = exchange_query_bool(x, "all");
    enum error error = exchange_valid(x);
    if (error == OK)
        error = catalog_schedules(x->sale, x->arena, &x->pass, x->id, all, &items, &count, &x->refusal);
    if (error != OK)
        return error;
    reply_json(x, 200);
    reply_header(x, "Cache-Control", "private, no-store");
    buf_puts(&x->reply->body, "{\"items\":[");
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_putc(&x->reply->body, ',');
        put_schedule(&x->reply->body, &items[i]);
    }
    buf_puts(&x->reply->body, "]}");
    return OK;
}
