/* rehearsal: the on-sale played once, with all its fans. */
#ifndef USHER_REHEARSE_REHEARSAL_H
#define USHER_REHEARSE_REHEARSAL_H

#include "rehearse/stage.h"

/* Plays until the last fan has gone, --duration, or a signal; then the stage has the findings. The venues must be
 * known. */
void rehearsal_play(struct stage *stage);

#endif
