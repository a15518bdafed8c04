/* resources: the handlers, one file for each resource; what each answers is api.md's. */
#ifndef USHER_API_RESOURCES_H
#define USHER_API_RESOURCES_H

#include "api/exchange.h"

handler tokens_post, tokens_get, tokens_delete, queue_get;
handler concerts_list, concerts_get, concerts_schedules;
handler seats_list;
handler reservations_post, reservations_list, reservations_get, reservations_delete;
handler balance_get, balance_entries, balance_charge;
handler payments_post, payments_get;
handler health_alive, health_ready;

#endif
