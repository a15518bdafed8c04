/* problem: the one door through which errors leave (RFC 9457). */
#ifndef USHER_API_PROBLEM_H
#define USHER_API_PROBLEM_H

#include "api/exchange.h"

/* Replaces whatever the reply holds by the problem that error stands for. */
void problem_reply(struct exchange *x, enum error error);

#endif
