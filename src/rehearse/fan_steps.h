/* fan_steps: what fan.c and fan_shop.c share of a visit. */
#ifndef USHER_REHEARSE_FAN_STEPS_H
#define USHER_REHEARSE_FAN_STEPS_H

#include "rehearse/fan.h"

/* What a good answer leads to; body is the answer's. */
typedef void fan_step(struct fan *fan, const struct answer *answer, struct span body);

fan_step fan_saw_concerts, fan_saw_schedules, fan_saw_seats, fan_held, fan_charged, fan_paid;

/* The payment is made, as this or an earlier answer says: notes the seats and ends the visit. */
void fan_has_tickets(struct fan *fan);
/* The next request, after a thought. */
void fan_next(struct fan *fan, enum operation operation);
/* Gives the place back, politely, and goes. */
void fan_leave(struct fan *fan, enum outcome outcome);
/* The server is to blame for an answer that cannot be understood; ends the visit. */
void fan_nonsense(struct fan *fan, const struct answer *answer);

#endif
