/* master: starts the workers, replaces those that die or hang, and carries out TERM, QUIT, INT and HUP. */
#ifndef USHER_SERVER_MASTER_H
#define USHER_SERVER_MASTER_H

#include "base/config.h"
#include "server/listen.h"

/* To be called before there is anything to clean up: from here on signals wait for master_run. */
void master_block_signals(void);

/* Runs until TERM, QUIT or INT. config is replaced on HUP. Returns the process's exit status: EXIT_OK, EXIT_CONFIG when
 * the first workers find a key file unusable, EXIT_FAILED when the system refuses what a master needs. */
int master_run(struct config *config, struct listener listeners[static LISTEN_COUNT])
    __attribute__((warn_unused_result));

#endif
