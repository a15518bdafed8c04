/* listen: the unix sockets that nginx connects to, systemd's or our own. */
#ifndef USHER_SERVER_LISTEN_H
#define USHER_SERVER_LISTEN_H

#include "base/config.h"

#include <stdbool.h>
#include <sys/types.h>

/* Whoever has been let in does not stand behind the crowd that comes for a place in the line: the shop's requests have
 * a socket of their own, which the workers look at first. */
enum { LISTEN_LINE, LISTEN_SHOP, LISTEN_COUNT };

struct listener {
    int fd;    /* listening, non-blocking, close-on-exec; -1: there is none */
    bool ours; /* made by us: unlinked at the end */
    char path[108];
    dev_t device; /* which file ours is, so that a successor's socket is never unlinked */
    ino_t inode;
};

/* Takes the one or two sockets that systemd passes (LISTEN_PID, LISTEN_FDS; both are then unset), the line's first;
 * otherwise makes those that the configuration names, with mode 0660. A socket file on which nobody answers is
 * replaced. False with a sentence for the operator in message. */
bool listen_open(struct listener listeners[static LISTEN_COUNT], const struct config *config,
                 char message[static CONFIG_MESSAGE_SIZE]) __attribute__((warn_unused_result));

/* Removes the names of our own sockets, so that nobody new can connect; who is in a queue can still be accepted. */
void listen_unlink(struct listener listeners[static LISTEN_COUNT]);

#endif
