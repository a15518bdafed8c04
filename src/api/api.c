/* api: a request's way: route, identity, pass, body, gate, handler; every error leaves through problem_reply(). */
#include "api/api.h"

#include "api/exchange.h"
#include "api/gate.h"
#include "api/problem.h"
#include "api/route.h"
#include "base/json.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct api *api_new(const struct config *config, char *message)
{
    struct jwt *jwt = jwt_open(config, message);
    if (!jwt)
        return NULL;
    struct sale *sale = sale_open(config, message);
    if (!sale) {
        jwt_close(jwt);
        return NULL;
    }
    struct api *api = calloc(1, sizeof *api);
    if (!api) {
        log_error("out of memory");
        abort();
    }
    *api = (struct api){.config = config, .sale = sale, .jwt = jwt};
    return api;
}

void api_free(struct api *api)
{
    if (!api)
        return;
    sale_close(api->sale);
    jwt_close(api->jwt);
    free(api);
}

void api_on_progress(struct api *api, void (*alive)(void *context), void *context)
{
    api->sale->alive = alive;
    api->sale->alive_context = context;
}

void api_idle(struct api *api)
{
    sale_idle(api->sale);
}

/* application/json, with or without parameters. */
static bool is_json(const char *content_type)
{
    static const char json[] = "application/json";
    if (!content_type || strncasecmp(content_type, json, sizeof json - 1) != 0)
        return false;
    return strchr("; \t", content_type[sizeof json - 1]) != NULL;
}

static enum error read_body(struct exchange *x)
{
    const struct request *request = x->request;
    if (!is_json(request->content_type))
        return E_UNSUPPORTED_MEDIA_TYPE;
    return json_parse(x->arena, request->body, request->body_length, &x->body);
}

static enum error read_key(struct exchange *x, bool required)
{
    const char *key = x->request->idempotency_key;
    if (!key)
        return required ? E_IDEMPOTENCY_KEY_REQUIRED : OK;
    size_t length = strlen(key);
    bool printable = length >= 1 && length <= 255;
    for (size_t i = 0; printable && i < length; i++)
        printable = key[i] >= 0x20 && key[i] <= 0x7e;
    if (!printable) {
        exchange_bad_field(x, "Idempotency-Key", "must be 1 to 255 printable ASCII characters");
        return E_INVALID_REQUEST;
    }
    x->idempotency.key = key;
    return OK;
}

/* What the row asks for, each once and in this order. */
static enum error meet_needs(struct exchange *x, const struct route *route)
{
    enum error error = OK;
    if (route->needs & NEEDS_USER)
        error = gate_identify(x);
    if (error == OK && (route->needs & NEEDS_PASS))
        error = gate_read_pass(x);
    if (error == OK && x->request->content_length > REQUEST_BODY_MAX)
        error = E_CONTENT_TOO_LARGE;
    if (error == OK && (route->needs & NEEDS_BODY)) {
        error = read_key(x, (route->needs & NEEDS_KEY) != 0);
        if (error == OK)
            error = read_body(x);
    }
    if (error == OK && (route->needs & NEEDS_GATE))
        error = gate_pass(x);
    return error;
}

/* Whether an error is about what the request says, not about who asks. */
static bool is_about_contents(enum error error)
{
    return error == E_INVALID_REQUEST || error == E_MALFORMED_JSON || error == E_IDEMPOTENCY_KEY_REQUIRED ||
           error == E_UNSUPPORTED_MEDIA_TYPE || error == E_CONTENT_TOO_LARGE;
}

/* Whoever may not come in is told that, and nothing of the request's contents. Most rows pass the gate in one round
 * trip with their own work, for which the contents must have been read: where those are refused, the gate is asked by
 * itself, and a good request does not pay for it. Without Redis the first refusal stands. */
static enum error gate_before_contents(struct exchange *x, const struct route *route, enum error error)
{
    if (!(route->needs & NEEDS_PASS) || !is_about_contents(error))
        return error;
    enum error refusal = gate_look(x);
    return refusal == E_NOT_ADMITTED || refusal == E_QUEUE_TOKEN_INVALID ? refusal : error;
}

static enum error answer(struct exchange *x)
{
    int64_t id = 0;
    const struct route *route = route_find(x->request->method, x->request->path, &id, &x->allow);
    if (!route)
        return x->allow ? E_METHOD_NOT_ALLOWED : E_NOT_FOUND;
    x->id = id;
    x->reply->route = route->pattern;
    enum error error = meet_needs(x, route);
    if (error == OK)
        error = route->handler(x);
    return gate_before_contents(x, route, error);
}

static void begin(struct exchange *x, struct api *api, const struct request *request, struct reply *reply)
{
    *x = (struct exchange){
        .api = api,
        .sale = api->sale,
        .config = api->config,
        .arena = request->arena,
        .request = request,
        .reply = reply,
    };
    *reply = (struct reply){.status = 200, .route = "-", .code = "-"};
    buf_init(&reply->headers, x->arena, 256);
    buf_init(&reply->body, x->arena, 1024);
    buf_init(&x->fields, x->arena, 16);
}

void api_handle(struct api *api, const struct request *request, struct reply *reply)
{
    struct exchange x;
    begin(&x, api, request, reply);
    enum error error = answer(&x);
    reply->user = x.user;
    if (error != OK)
        problem_reply(&x, error);
}

void api_refuse(struct api *api, const struct request *request, int error, const char *detail, struct reply *reply)
{
    struct exchange x;
    begin(&x, api, request, reply);
    x.detail = detail;
    problem_reply(&x, (enum error)error);
}
