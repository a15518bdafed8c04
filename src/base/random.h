/* random: from the kernel. */
#ifndef USHER_BASE_RANDOM_H
#define USHER_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Unpredictable bytes (getrandom); aborts when the kernel has none. */
void random_bytes(void *out, size_t length);
/* Fast, predictable, for jitter only: uniform in [0, bound); bound > 0. Seeded from the kernel in each process. */
uint32_t random_jitter(uint32_t bound);

#endif
