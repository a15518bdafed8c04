/* seats: the seats of a schedule, free ones or all. */
#include "api/resources.h"

#include "base/json.h"
#include "sale/hall.h"

#include <string.h>

enum { FREE_ONLY = 0, ALL = 1 };

/* What an available seat's text ends with, and what those of others end with instead: none is longer. */
#define AVAILABLE_END "available\"},"
#define HELD_END      "held\"},"
#define SOLD_END      "sold\"},"
_Static_assert(sizeof HELD_END <= sizeof AVAILABLE_END && sizeof SOLD_END <= sizeof AVAILABLE_END, "they fit");
static const char *const other_ends[] = {[SEAT_HELD] = HELD_END, [SEAT_SOLD] = SOLD_END};

static void put_available(const struct seat *seat, struct buf *out)
{
    buf_puts(out, "{\"id\":");
    buf_put_int(out, seat->id);
    buf_puts(out, ",\"location\":");
    json_put_string(out, seat->location);
    buf_puts(out, ",\"price\":");
    buf_put_int(out, seat->price);
    buf_puts(out, ",\"status\":\"" AVAILABLE_END);
}

static char *put(char *to, const char *text, size_t length)
{
    memcpy(to, text, length);
    return to + length;
}

/* Available seats that follow each other are copied in one piece. */
static char *put_seats(const struct hall *hall, const struct hall_items *items, int which, char *to)
{
    size_t run = 0, end = 0; /* the available ones not yet copied are from run to end */
    for (size_t i = 0; i < hall->count; i++) {
        size_t begin = end;
        enum seat_status status = seat_status(hall, &hall->seats[i]);
        end = items->ends[i];
        if (status == SEAT_AVAILABLE)
            continue;
        to = put(to, items->text + run, begin - run);
        if (which == ALL) {
            to = put(to, items->text + begin, end - begin - strlen(AVAILABLE_END));
            to = put(to, other_ends[status], strlen(other_ends[status]));
        }
        run = end;
    }
    return put(to, items->text + run, end - run);
}

static size_t render(const struct hall *hall, const struct hall_items *items, struct arena *arena, int which, char *to)
{
    struct buf head;
    buf_init(&head, arena, HALL_FRAME_MAX);
    buf_puts(&head, "{\"schedule_id\":");
    buf_put_int(&head, hall->schedule);
    buf_puts(&head, ",\"version\":");
    json_put_string(&head, hall->version);
    buf_puts(&head, ",\"items\":[");
    char *first = put(to, head.data, head.length), *end = put_seats(hall, items, which, first);
    if (end > first)
        end--; /* no comma behind the last */
    end = put(end, "]}", 2);
    return (size_t)(end - to);
}

enum error seats_list(struct exchange *x)
{
    const struct hall *hall;
    int which = exchange_query_bool(x, "all") ? ALL : FREE_ONLY;
    enum error error = exchange_valid(x);
    if (error == OK)
        error = hall_look(x->sale, x->arena, &x->pass, x->id, &hall, &x->refusal);
    if (error != OK)
        return error;

    const char *tag = arena_printf(x->arena, "\"%s%s\"", hall->version, which == ALL ? "-all" : "");
    reply_header(x, "ETag", "%s", tag);
    reply_header(x, "Cache-Control", "private, no-cache");
    if (exchange_client_has(x, tag)) {
        x->reply->status = 304;
        return OK;
    }
    struct hall_text text = hall_text(hall, x->arena, which, put_available, render);
    reply_json_kept(x, 200, text.text, text.length);
    return OK;
}
