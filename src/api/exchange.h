/* exchange: one request and its reply on their way through the api: what route.c found out, and what handlers need. */
#ifndef USHER_API_EXCHANGE_H
#define USHER_API_EXCHANGE_H

#include "api/jwt.h"
#include "api/reply.h"
#include "api/request.h"
#include "base/error.h"
#include "sale/sale.h"

#include <stdbool.h>

struct json_object;

struct api {
    const struct config *config;
    struct sale *sale;
    struct jwt *jwt;
};

struct exchange {
    struct api *api;
    struct sale *sale;
    const struct config *config;
    struct arena *arena;
    const struct request *request;
    struct reply *reply;

    int64_t user;                   /* routes with NEEDS_USER */
    int64_t id;                     /* the {id} of the pattern */
    struct pass pass;               /* routes with NEEDS_PASS */
    struct json_object *body;       /* routes with NEEDS_BODY */
    struct idempotency idempotency; /* key NULL when none was given */

    struct refusal refusal; /* what the sale's refusal tells */
    struct buf fields;      /* "errors" of an invalid request, as JSON objects; empty when all is well */
    const char *detail;     /* a better sentence than the error's title, or NULL */
    int status;             /* another HTTP status than the error's own, or 0 */
    unsigned allow;         /* methods, for METHOD_NOT_ALLOWED */
};

/* A handler fills the reply's body and headers and returns OK, or returns the error. */
typedef enum error handler(struct exchange *x);

/* ---- what handlers use to read ---- */

/* Notes what is wrong with a field; exchange_valid() then refuses the request. */
void exchange_bad_field(struct exchange *x, const char *field, const char *message);
/* E_INVALID_REQUEST when a field was bad. */
enum error exchange_valid(struct exchange *x) MUST_CHECK;

/* Members of the body; a missing or wrong one is noted as bad, and the value is 0. */
int64_t exchange_body_int(struct exchange *x, const char *name, int64_t min, int64_t max);
size_t exchange_body_ids(struct exchange *x, const char *name, size_t max_count, int64_t **ids);

/* How long this request has taken so far, in us, from when it was handed to the workers, busy or not. */
int64_t exchange_took(const struct exchange *x);

/* Query parameters, percent-decoded. NULL when absent; one that stands twice is noted as bad. */
const char *exchange_query(struct exchange *x, const char *name);
int64_t exchange_query_int(struct exchange *x, const char *name, int64_t min, int64_t max, int64_t otherwise);
bool exchange_query_bool(struct exchange *x, const char *name);

/* Whether If-None-Match names the entity tag (with its quotes) or is "*"; W/ makes no difference (RFC 9110 section
 * 13.1.2). */
bool exchange_client_has(const struct exchange *x, const char *tag);

/* ---- and to write ---- */

void reply_header(struct exchange *x, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
void reply_json(struct exchange *x, int status); /* body is written by the handler; this names it */
void reply_json_kept(struct exchange *x, int status, const char *text, size_t length); /* not copied */

#endif
