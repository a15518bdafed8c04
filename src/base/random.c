/* random: getrandom(2) for what must not be guessed, splitmix64 for jitter. */
#include "base/random.h"

#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void random_bytes(void *out, size_t length)
{
    unsigned char *to = out;

    while (length > 0) {
        ssize_t got = getrandom(to, length, 0);

        if (got < 0) {
            if (errno == EINTR)
                continue;
            log_error("the kernel has no random bytes: %s", strerror(errno));
            abort();
        }
        to += got;
        length -= (size_t)got;
    }
}

static bool seeded;

static void forget_seed(void)
{
    seeded = false;
}

/* splitmix64 (Steele, Lea, Flood 2014). A forked worker must not repeat its siblings' sequence, so each fork seeds
 * anew. */
static uint32_t next(void)
{
    static uint64_t state;
    static bool watching;
    uint64_t mixed;

    if (!watching)
        watching = pthread_atfork(NULL, NULL, forget_seed) == 0;
    if (!seeded) {
        random_bytes(&state, sizeof state);
        seeded = watching;
    }
    mixed = state += UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((mixed ^ (mixed >> 31)) >> 32);
}

/* Lemire's multiplication: the high half is the number, a low half below 2^32 mod bound would be one too many. */
uint32_t random_jitter(uint32_t bound)
{
    uint64_t product = (uint64_t)next() * bound;

    if ((uint32_t)product < bound) {
        uint32_t surplus = (0 - bound) % bound;

        while ((uint32_t)product < surplus)
            product = (uint64_t)next() * bound;
    }
    return (uint32_t)(product >> 32);
}
