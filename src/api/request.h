/* request: what came in over HTTP, decoded by server/ (or by a unit test), in terms that handlers use.
 *
 * All texts are NUL-terminated and live in the request's arena. Absent headers are NULL. */
#ifndef USHER_API_REQUEST_H
#define USHER_API_REQUEST_H

#include "base/arena.h"

#include <stddef.h>
#include <stdint.h>

/* The largest body that a handler may see; longer ones are answered with 413 (nginx has the same limit). */
#define REQUEST_BODY_MAX ((size_t)16384)

enum method {
    METHOD_GET = 1,
    METHOD_HEAD = 2,
    METHOD_POST = 4,
    METHOD_DELETE = 8,
    METHOD_OTHER = 16,
};

struct request {
    struct arena *arena;
    int64_t started; /* clock_monotonic() when the request was complete */
    int64_t queued;  /* us before that, from when nginx handed it over; 0 when nobody says */
    enum method method;
    const char *method_name;
    const char *path;  /* REQUEST_URI up to '?': still percent-encoded, begins with '/' */
    const char *query; /* after '?': still percent-encoded; "" when there is none */
    const char *id;    /* X-Request-Id as nginx made it, or one of our own: [0-9a-zA-Z._-]{1,64} */
    const char *authorization;
    const char *queue_token;
    const char *idempotency_key;
    const char *content_type;
    const char *if_none_match;
    const char *body; /* body_length bytes and a NUL; "" when there is none */
    size_t body_length;
    uint64_t content_length; /* as the client announced it; larger than REQUEST_BODY_MAX means that body was not read */
};

#endif
