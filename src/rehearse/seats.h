/* seats: which free seat a fan wants. The front of the list is what everybody wants most. */
#ifndef USHER_REHEARSE_SEATS_H
#define USHER_REHEARSE_SEATS_H

#include "rehearse/scan.h"

#include <stdint.h>

enum { SEATS_MAX = 4 }; /* seats for one fan */

struct seat_wish {
    int64_t id, price;
};

/* The place of the wanted one among count > 0 that stand in order of popularity: floor(count * share^skew), share
 * uniform in [0, 1). Skew 1 wants all alike; with skew 2 half of the fans want the first quarter. */
size_t seats_popular(size_t count, double share, double skew);

/* Chooses up to wanted (1 to SEATS_MAX) seats side by side from the body of GET /v1/schedules/{id}/seats. Looks only at
 * the place it chooses, since a list of thousands is read by thousands. Returns how many it found: 0 when the hall is
 * empty of free seats; -1 when the text is not a list of seats. */
int seats_choose(struct span body, double share, double skew, int wanted, struct seat_wish wishes[static SEATS_MAX]);

#endif
