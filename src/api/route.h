/* route: the table of all operations, and finding the row for a request. */
#ifndef USHER_API_ROUTE_H
#define USHER_API_ROUTE_H

#include "api/exchange.h"

/* What a row needs before its handler runs; checked once, in this order. */
enum route_need {
    NEEDS_USER = 1, /* a JWT */
    NEEDS_PASS = 2, /* a Queue-Token of this user; the handler passes the gate together with its own work */
    NEEDS_GATE = 4, /* and the gate is passed before the handler, in a round trip of its own */
    NEEDS_BODY = 8, /* a JSON object */
    NEEDS_KEY = 16, /* an Idempotency-Key */
};

struct route {
    unsigned methods; /* enum method; GET brings HEAD */
    const char *pattern;
    unsigned needs; /* enum route_need */
    handler *handler;
};

/* The row for method and path, with {id} in *id. NULL with *allow 0: no such path; otherwise the path's methods. An id
 * that is not a number from 1 to 2^63-1 names nothing. */
const struct route *route_find(enum method method, const char *path, int64_t *id, unsigned *allow);

#endif
