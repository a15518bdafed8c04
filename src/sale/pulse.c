/* pulse: sums in this process, sent about once a second. */
#include "sale/pulse.h"

#include "base/clock.h"
#include "sale/keys.h"
#include "store/redis.h"

#include <string.h>

static void send(struct sale *sale, struct arena *arena)
{
    struct pulse *pulse = &sale->pulse;
    int64_t now = clock_now();
    struct redis_call call;
    if (now < pulse->due && pulse->due - now <= CLOCK_SECOND) /* otherwise the clock was set back */
        return;
    redis_script(&call, arena, SCRIPT_PULSE);
    redis_key(&call, KEY_PULSE);
    redis_int(&call, pulse->served);
    redis_int(&call, pulse->slow);
    redis_int(&call, pulse->holds);
    redis_int(&call, pulse->refused);
    redis_int(&call, pulse->paid);
    redis_post(sale->redis, &call);
    *pulse = (struct pulse){.due = now + CLOCK_SECOND};
}

static bool is_wanted(const struct sale *sale)
{
    return strcmp(sale->config->admission, "adaptive") == 0;
}

static void note(struct sale *sale, int64_t took)
{
    sale->pulse.served++;
    sale->pulse.slow += took > sale->config->latency_target * 1000;
}

void pulse_hold(struct sale *sale, struct arena *arena, int64_t took, bool refused)
{
    if (!is_wanted(sale))
        return;
    note(sale, took);
    sale->pulse.holds++;
    sale->pulse.refused += refused;
    send(sale, arena);
}

void pulse_payment(struct sale *sale, struct arena *arena, int64_t took, bool paid)
{
    if (!is_wanted(sale))
        return;
    note(sale, took);
    sale->pulse.paid += paid;
    send(sale, arena);
}
