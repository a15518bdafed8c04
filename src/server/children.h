/* children: the master's table of worker processes: starting, ending, killing them, and their signs of life.
 *
 * Times are clock_monotonic(); policy (who is wanted, what a death means) is the master's. */
#ifndef USHER_SERVER_CHILDREN_H
#define USHER_SERVER_CHILDREN_H

#include "base/config.h"
#include "server/listen.h"
#include "server/worker.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Room for more than three generations of the largest number of workers. */
#define CHILD_MAX 4096

enum child_state {
    CHILD_NONE,
    CHILD_WANTED, /* to be started when due */
    CHILD_RUNNING,
    CHILD_ENDING, /* told to end; killed when due */
};

struct child {
    enum child_state state;
    pid_t pid;
    unsigned generation;
    unsigned young_deaths; /* in a row, of the workers at this place */
    bool ready;            /* as children_look() saw it */
    bool killed;
    int64_t started;
    int64_t due;
};

struct children_shared; /* memory that master and workers have in common */

struct children {
    struct children_shared *shared;
    int listen_fds[LISTEN_COUNT];
    pid_t master;
    int high; /* children from this index on are CHILD_NONE */
    struct child table[CHILD_MAX];
};

#define FOR_EACH_CHILD(children, child)                                                                                \
    for (struct child *child = (children)->table; child < (children)->table + (children)->high; child++)

/* NULL without memory. */
struct children *children_new(const struct listener listeners[static LISTEN_COUNT]) __attribute__((warn_unused_result));
void children_free(struct children *children);

/* count places of one generation, CHILD_WANTED and due. False when there is no room: then there may be fewer. */
bool children_want(struct children *children, unsigned generation, int count) __attribute__((warn_unused_result));
/* Starts a wanted one with config. When the system refuses, it stays wanted, due later. */
void child_start(struct children *children, struct child *child, const struct config *config, int64_t now);
/* TERM, and KILL after a grace; a wanted one is not wanted any more. */
void child_end(struct child *child, int64_t now);
/* Sets the place back to wanted, at once, or later when its workers keep dying young. Returns the delay in
 * microseconds. */
int64_t child_replace(struct child *child, int64_t now);
/* The child that has ended, with its wait status; NULL: none (left). Its state is still the one it died in. */
struct child *children_reap(struct children *children, int *status);

/* Sees who has become ready, and kills who gave no sign of life for limit, or did not end within its grace. Call it at
 * least every CHILDREN_LOOK_PERIOD. */
#define CHILDREN_LOOK_PERIOD INT64_C(500000)
void children_look(struct children *children, int64_t limit, int64_t now);

/* The master itself was away (stopped, or the machine was): the workers' silence says nothing, it counts from now on.
 */
void children_forgive(struct children *children, int64_t now);

bool children_left(struct children *children); /* some state is not CHILD_NONE */
/* Ready ones of the generation; *all: none of it is still missing. */
int children_count_ready(struct children *children, unsigned generation, bool *all);
/* Some ready worker gave a sign of life just now. */
bool children_answering(struct children *children, int64_t now);
/* The next time at which a child needs something, at most `latest`. */
int64_t children_due(struct children *children, int64_t now, int64_t latest);
/* From now on an ending worker first answers whoever waits in the sockets' queues. */
void children_drain(struct children *children);

#endif
