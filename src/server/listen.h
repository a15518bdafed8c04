/* listen: the unix socket that nginx connects to, systemd's or our own. */
#ifndef USHER_SERVER_LISTEN_H
#define USHER_SERVER_LISTEN_H

#include "base/config.h"

#include <stdbool.h>
#include <sys/types.h>

struct listener {
    int fd;    /* listening, non-blocking, close-on-exec */
    bool ours; /* made by us: unlinked at the end */
    char path[108];
    dev_t device; /* which file ours is, so that a successor's socket is never unlinked */
    ino_t inode;
};

/* Takes the socket that systemd passes (LISTEN_PID, LISTEN_FDS; both are then unset), otherwise makes one at path with
 * mode 0660. A socket file on which nobody answers is replaced. False with a sentence for the operator in message. */
bool listen_open(struct listener *listener, const char *path, char message[static CONFIG_MESSAGE_SIZE])
    __attribute__((warn_unused_result));

/* Removes our own socket's name, so that nobody new can connect; who is in the queue can still be accepted. */
void listen_unlink(struct listener *listener);

#endif
