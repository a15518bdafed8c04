/* reply: what goes back, complete before the first byte is written. */
#ifndef USHER_API_REPLY_H
#define USHER_API_REPLY_H

#include "base/buf.h"

#include <stdint.h>

struct reply {
    int status;         /* HTTP status */
    struct buf headers; /* whole header lines, each ended with CRLF; Content-Type included where there is a body */
    struct buf body;    /* not sent for HEAD, 204 and 304; Content-Length is added by server/ */
    const char *kept;   /* NULL, or the body instead: somebody else's bytes, which last until the reply is written */
    size_t kept_length;

    /* For the log line only. */
    int64_t user;      /* 0: unknown */
    const char *route; /* the route table's pattern; "-" when none matched */
    const char *code;  /* the problem code; "-" when there was no problem */
};

#endif
