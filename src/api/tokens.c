/* tokens: a place in the line, and the line as a whole. */
#include "api/resources.h"

#include "base/json.h"
#include "sale/queue.h"

#include <inttypes.h>

static void put_token(struct exchange *x, const struct place *place)
{
    struct buf *body = &x->reply->body;
    buf_printf(body, "{\"token\":\"%s\",\"status\":\"%s\",\"ticket\":%" PRId64 ",\"position\":%" PRId64, place->token,
               place->active ? "active" : "waiting", place->ticket, place->position);
    if (place->wait_seconds < 0)
        buf_puts(body, ",\"estimated_wait_seconds\":null");
    else
        buf_printf(body, ",\"estimated_wait_seconds\":%" PRId64, place->wait_seconds);
    buf_printf(body, ",\"poll_after_seconds\":%" PRId64 ",\"issued_at\":", place->poll_after_seconds);
    json_put_time(body, place->issued * 1000);
    buf_puts(body, ",\"active_until\":");
    json_put_time(body, place->active_until * 1000);
    buf_putc(body, '}');
    reply_header(x, "Cache-Control", "private, no-store");
    if (!place->active)
        reply_header(x, "Retry-After", "%" PRId64, place->poll_after_seconds);
}

enum error tokens_post(struct exchange *x)
{
    struct place place;
    enum error error = queue_join(x->sale, x->arena, x->user, &place);
    if (error != OK)
        return error;
    reply_json(x, place.created ? 201 : 200);
    if (place.created)
        reply_header(x, "Location", "/v1/queue/tokens/me");
    put_token(x, &place);
    return OK;
}

enum error tokens_get(struct exchange *x)
{
    struct place place;
    if (!x->request->queue_token)
        return E_QUEUE_TOKEN_REQUIRED;
    enum error error = queue_poll(x->sale, x->arena, x->request->queue_token, &place);
    if (error == E_QUEUE_TOKEN_INVALID)
        x->status = 404;
    if (error != OK)
        return error;
    reply_json(x, 200);
    put_token(x, &place);
    return OK;
}

enum error tokens_delete(struct exchange *x)
{
    if (!x->request->queue_token)
        return E_QUEUE_TOKEN_REQUIRED;
    enum error error = queue_leave(x->sale, x->arena, x->request->queue_token);
    if (error != OK)
        return error;
    x->reply->status = 204;
    reply_header(x, "Cache-Control", "private, no-store");
    return OK;
}

enum error queue_get(struct exchange *x)
{
    struct line line;
    struct buf *body = &x->reply->body;
    enum error error = queue_line(x->sale, x->arena, &line);
    if (error != OK)
        return error;
    double rate = (double)line.batch * 1000.0 / (double)x->config->promote_period;
    reply_json(x, 200);
    reply_header(x, "Cache-Control", "public, max-age=1");
    buf_printf(body,
               "{\"state\":\"%s\",\"serving\":%" PRId64 ",\"issued\":%" PRId64 ",\"waiting\":%" PRId64
               ",\"active\":%" PRId64 ",\"active_max\":%" PRId64 ",\"rate_per_second\":%.1f,\"updated_at\":",
               line.paused ? "paused" : "open", line.serving, line.issued, line.waiting, line.active, line.active_max,
               rate);
    json_put_time(body, line.updated * 1000);
    buf_putc(body, '}');
    return OK;
}
