/* worker: one process that answers requests, one at a time, until it is told to stop. */
#ifndef USHER_SERVER_WORKER_H
#define USHER_SERVER_WORKER_H

#include "base/config.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* An idle worker beats at least this often, in microseconds; a busy one when its request begins. */
#define WORKER_BEAT_PERIOD INT64_C(1000000)

/* Where a worker tells the master how it is; shared memory, one cache line for each. */
struct worker_slot {
    _Alignas(64) _Atomic int64_t beat; /* clock_monotonic() of the last sign of life */
    _Atomic bool ready;                /* it has its keys and waits for requests, or answers one */
};

struct worker_options {
    const struct config *config;
    const int *listen_fds; /* LISTEN_COUNT; -1: there is no such socket */
    pid_t master;
    struct worker_slot *slot;
    const _Atomic bool *drain; /* when told to stop: first answer whoever waits in the sockets' queues */
};

/* Runs in the child, right after the fork, with TERM, QUIT, HUP, USR1 and INT blocked. Returns the process's exit
 * status: EXIT_OK after TERM or QUIT, EXIT_CONFIG when a key file is unusable, EXIT_FAILED otherwise. */
int worker_run(const struct worker_options *options) __attribute__((warn_unused_result));

#endif
