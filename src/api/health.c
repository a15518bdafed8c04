/* health: alive, and ready. */
#include "api/resources.h"

enum error health_alive(struct exchange *x)
{
    reply_json(x, 200);
    reply_header(x, "Cache-Control", "no-store");
    buf_puts(&x->reply->body, "{\"status\":\"alive\"}");
    return OK;
}

enum error health_ready(struct exchange *x)
{
    const char *which;
    enum error error = sale_ready(x->sale, x->arena, &which);
    if (error != OK) {
        x->detail = arena_printf(x->arena, "No answer from %s.", which);
        return error;
    }
    reply_json(x, 200);
    reply_header(x, "Cache-Control", "no-store");
    buf_puts(&x->reply->body, "{\"status\":\"ready\"}");
    return OK;
}
