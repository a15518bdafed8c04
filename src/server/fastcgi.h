/* fastcgi: requests from nginx as struct request, replies back. The only code that knows libfcgi. */
#ifndef USHER_SERVER_FASTCGI_H
#define USHER_SERVER_FASTCGI_H

#include "api/reply.h"
#include "api/request.h"

#include <stdbool.h>

struct fastcgi;

/* One per worker. NULL when libfcgi cannot start.
 *
 * The handlers for TERM, QUIT, USR1 and PIPE must be installed before (libfcgi replaces those that are default or
 * ignored, and its own end a body early), and TERM, QUIT, HUP and USR1 must be blocked whenever a function below runs.
 */
struct fastcgi *fastcgi_new(void) __attribute__((warn_unused_result));
void fastcgi_free(struct fastcgi *fastcgi);

enum fastcgi_accepted {
    FASTCGI_REQUEST, /* a request's parameters have arrived */
    FASTCGI_NONE,    /* nobody waits; another worker took it; it was not FastCGI */
    FASTCGI_FAILED,  /* accept failed; errno tells why */
};
/* From a listening non-blocking socket. */
enum fastcgi_accepted fastcgi_accept(struct fastcgi *fastcgi, int listen_fd) __attribute__((warn_unused_result));

/* Decodes the accepted request into request, all texts in arena. Returns NULL when a handler may see it, otherwise the
 * detail for its refusal with E_INVALID_REQUEST (request is then complete enough for api_refuse and the log). */
const char *fastcgi_read(struct fastcgi *fastcgi, struct arena *arena, struct request *request)
    __attribute__((warn_unused_result));

/* Sends the whole reply and the end of the request. False when the client is gone. */
bool fastcgi_write(struct fastcgi *fastcgi, const struct request *request, const struct reply *reply);

/* Closes the connection, also one that the client wanted to keep: a kept connection would bind this worker to it. */
void fastcgi_finish(struct fastcgi *fastcgi);

#endif
