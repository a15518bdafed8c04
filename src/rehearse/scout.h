/* scout: goes in before the fans, as the first of them, and looks what is on sale. Finds out early what would make the
 * whole rehearsal pointless: no server, a wrong key, a closed line, nothing to buy. */
#ifndef USHER_REHEARSE_SCOUT_H
#define USHER_REHEARSE_SCOUT_H

#include "rehearse/stage.h"

/* Fills the stage's venues and seats_offered, and leaves the line. An exit code; says what is wrong. */
int scout_look(struct stage *stage);

#endif
