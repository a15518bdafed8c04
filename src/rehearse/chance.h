/* chance: repeatable chance. The same seed gives the same fans with the same wishes, whatever the timing. */
#ifndef USHER_REHEARSE_CHANCE_H
#define USHER_REHEARSE_CHANCE_H

#include <stdint.h>

/* One person's dice. */
struct chance {
    uint64_t state;
};

/* Dice of their own for each (seed, number). */
struct chance chance_of(uint64_t seed, uint64_t number);
uint64_t chance_next(struct chance *chance);
double chance_share(struct chance *chance);                   /* uniform in [0, 1) */
int64_t chance_below(struct chance *chance, int64_t bound);   /* uniform in [0, bound); bound > 0 */
int64_t chance_around(struct chance *chance, int64_t middle); /* uniform in [middle/2, 3*middle/2] */

#endif
