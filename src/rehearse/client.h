/* client: thousands of HTTP requests at a time over kept connections, in one thread.
 *
 * A request waits in a queue while all connections are at work. `again`: a kept connection that the server closed
 * before it answered anything is not an error: the request goes out once more over a new one (which is why every
 * request must be safe to repeat). */
#ifndef USHER_REHEARSE_CLIENT_H
#define USHER_REHEARSE_CLIENT_H

#include "base/buf.h"
#include "rehearse/address.h"

#include <stdbool.h>
#include <stdint.h>

struct answer {
    int status; /* 0: none came, and `why` says what happened instead */
    const char *why;
    int64_t retry_after; /* seconds; -1: not said */
    const char *body;    /* valid during the call */
    size_t length;
    int64_t took, whole; /* microseconds from the first byte sent, and from client_ask() on */
};

/* One request on its way; lives in whoever asks, who has at most one at a time. */
struct ask {
    void (*write)(struct ask *ask, struct buf *out); /* puts the whole request; called when it goes out */
    void (*done)(struct ask *ask, const struct answer *answer);
    int64_t wished, sent; /* clock_monotonic() */
    bool again;
    struct ask *next;
};

struct client;

/* timeout in microseconds. NULL with errno. */
struct client *client_new(const struct address *address, int connections, int64_t timeout)
    __attribute__((warn_unused_result));
/* Closes everything; nobody is told. */
void client_free(struct client *client);
void client_ask(struct client *client, struct ask *ask);
/* Waits at most so many microseconds for something to happen, and handles it. A signal ends the wait. */
void client_wait(struct client *client, int64_t microseconds);
/* Forgets requests that have not gone out yet; nobody is told. */
void client_forget_queue(struct client *client);

/* For the report: connections open now, opened so far, and requests without an answer or in the queue. */
struct client_state {
    int open, working;
    int64_t opened, queued;
};
struct client_state client_state(const struct client *client);

#endif
