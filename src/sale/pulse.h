/* pulse: how the shop bears the people in it, told to the line for admission = adaptive. */
#ifndef USHER_SALE_PULSE_H
#define USHER_SALE_PULSE_H

#include "sale/sale.h"

/* Notes a hold or a payment that took so long (us, waiting for a free worker included) and, for a hold, whether its
 * seats were taken. About once a second the sums go to Redis, where promote.lua reads them; nobody waits for that. Does
 * nothing with admission = fixed. */
void pulse_hold(struct sale *sale, struct arena *arena, int64_t took, bool refused);
void pulse_payment(struct sale *sale, struct arena *arena, int64_t took, bool paid);

#endif
