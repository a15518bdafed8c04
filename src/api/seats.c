/* seats: the seats of a schedule, free ones or all. */
#include "api/resources.h"

#include "base/json.h"
#include "sale/hall.h"

enum { FREE_ONLY = 0, ALL = 1 };

static void put_seat(struct buf *out, const struct seat *seat, enum seat_status status)
{
    static const char *const names[] = {"available", "held", "sold"};
    buf_puts(out, "{\"id\":");
    buf_put_int(out, seat->id);
    buf_puts(out, ",\"location\":");
    json_put_string(out, seat->location);
    buf_puts(out, ",\"price\":");
    buf_put_int(out, seat->price);
    buf_puts(out, ",\"status\":\"");
    buf_puts(out, names[status]);
    buf_puts(out, "\"}");
}

static void render(const struct hall *hall, int which, struct buf *out)
{
    bool first = true;
    buf_puts(out, "{\"schedule_id\":");
    buf_put_int(out, hall->schedule);
    buf_puts(out, ",\"version\":");
    json_put_string(out, hall->version);
    buf_puts(out, ",\"items\":[");
    for (size_t i = 0; i < hall->count; i++) {
        enum seat_status status = seat_status(hall, &hall->seats[i]);
        if (which == FREE_ONLY && status != SEAT_AVAILABLE)
            continue;
        if (!first)
            buf_putc(out, ',');
        first = false;
        put_seat(out, &hall->seats[i], status);
    }
    buf_puts(out, "]}");
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
    struct hall_text text = hall_text(hall, x->arena, which, render);
    reply_json_text(x, 200, text.text, text.length);
    return OK;
}
