/* chance: splitmix64 (Steele, Lea, Flood 2014). */
#include "rehearse/chance.h"

#define STEP UINT64_C(0x9e3779b97f4a7c15)

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

struct chance chance_of(uint64_t seed, uint64_t number)
{
    return (struct chance){.state = mix(seed + STEP) ^ mix(~number * STEP)};
}

uint64_t chance_next(struct chance *chance)
{
    chance->state += STEP;
    return mix(chance->state);
}

double chance_share(struct chance *chance)
{
    return (double)(chance_next(chance) >> 11) * 0x1p-53;
}

int64_t chance_below(struct chance *chance, int64_t bound)
{
    return (int64_t)(chance_share(chance) * (double)bound);
}

int64_t chance_around(struct chance *chance, int64_t middle)
{
    return middle <= 0 ? 0 : middle / 2 + chance_below(chance, middle + 1);
}
