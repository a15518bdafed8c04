/* gate: who is calling, and whether it is their turn. */
#ifndef USHER_API_GATE_H
#define USHER_API_GATE_H

#include "api/exchange.h"

/* The user from the Authorization header into x->user. E_UNAUTHENTICATED. */
enum error gate_identify(struct exchange *x) MUST_CHECK;

/* The Queue-Token into x->pass; it must be made by us and for this user. E_QUEUE_TOKEN_REQUIRED, E_QUEUE_TOKEN_INVALID,
 * E_QUEUE_TOKEN_MISMATCH. Whether it is admitted is not asked here. */
enum error gate_read_pass(struct exchange *x) MUST_CHECK;

/* Whether the pass is admitted, in a round trip of its own; a look does not count as its first use. */
enum error gate_look(struct exchange *x) MUST_CHECK;
enum error gate_pass(struct exchange *x) MUST_CHECK;

#endif
