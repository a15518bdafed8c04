/* problem: from an error to status, headers and problem document. */
#include "api/problem.h"

#include "base/json.h"

#include <inttypes.h>

static void put_methods(struct exchange *x)
{
    static const struct {
        enum method method;
        const char *name;
    } names[] = {{METHOD_GET, "GET"}, {METHOD_HEAD, "HEAD"}, {METHOD_POST, "POST"}, {METHOD_DELETE, "DELETE"}};
    struct buf allow;
    buf_init(&allow, x->arena, 32);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (x->allow & names[i].method)
            buf_printf(&allow, "%s%s", allow.length ? ", " : "", names[i].name);
    }
    reply_header(x, "Allow", "%s", allow.data);
}

static void put_headers(struct exchange *x, enum error error)
{
    switch (error) {
    case E_UNAUTHENTICATED:
        reply_header(x, "WWW-Authenticate",
                     x->request->authorization ? "Bearer realm=\"usher\", error=\"invalid_token\""
                                               : "Bearer realm=\"usher\"");
        break;
    case E_QUEUE_TOKEN_REQUIRED:
    case E_QUEUE_TOKEN_INVALID:
        if (x->reply->status == 401)
            reply_header(x, "WWW-Authenticate", "Queue-Token realm=\"usher\"");
        break;
    case E_METHOD_NOT_ALLOWED:
        put_methods(x);
        break;
    case E_NOT_ADMITTED:
        reply_header(x, "Retry-After", "%" PRId64, x->refusal.poll_after_seconds);
        break;
    case E_UNAVAILABLE:
    case E_IDEMPOTENCY_KEY_IN_USE:
    case E_TOO_MANY_REQUESTS:
        reply_header(x, "Retry-After", "1");
        break;
    default:
        break;
    }
    reply_header(x, "Cache-Control", "private, no-store");
}

static void put_members(struct exchange *x, enum error error)
{
    struct buf *body = &x->reply->body;
    switch (error) {
    case E_INVALID_REQUEST:
        if (x->refusal.field)
            exchange_bad_field(x, x->refusal.field, x->refusal.message);
        buf_printf(body, ",\"errors\":[%s]", x->fields.data);
        break;
    case E_NOT_ADMITTED:
        buf_printf(body, ",\"position\":%" PRId64, x->refusal.position);
        break;
    case E_SEAT_UNAVAILABLE:
        buf_puts(body, ",\"conflicting_seat_ids\":[");
        for (size_t i = 0; i < x->refusal.seat_count; i++)
            buf_printf(body, "%s%" PRId64, i ? "," : "", x->refusal.seats[i]);
        buf_putc(body, ']');
        break;
    case E_INSUFFICIENT_BALANCE:
        buf_printf(body, ",\"balance\":%" PRId64 ",\"price\":%" PRId64, x->refusal.balance, x->refusal.price);
        break;
    default:
        break;
    }
}

void problem_reply(struct exchange *x, enum error error)
{
    struct reply *reply = x->reply;
    const char *code = error_code(error);

    buf_init(&reply->headers, x->arena, 256);
    buf_init(&reply->body, x->arena, 512);
    reply->kept = NULL;
    reply->status = x->status ? x->status : error_status(error);
    reply->code = code;
    buf_puts(&reply->headers, "Content-Type: application/problem+json\r\n");
    put_headers(x, error);

    buf_printf(&reply->body, "{\"type\":\"/problems/%s\",\"title\":\"%s\",\"status\":%d,\"detail\":", code,
               error_title(error), reply->status);
    json_put_string(&reply->body, x->detail ? x->detail : arena_printf(x->arena, "%s.", error_title(error)));
    buf_printf(&reply->body, ",\"code\":\"%s\",\"trace_id\":", code);
    json_put_string(&reply->body, x->request->id);
    put_members(x, error);
    buf_putc(&reply->body, '}');
}
