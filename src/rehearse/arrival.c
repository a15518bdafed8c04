/* arrival: the three curves. */
#include "rehearse/arrival.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SECOND    1e6
#define VALUE_MAX 1e6

static bool positive(const char *text, double *value)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    *value = strtod(text, &end);
    return *end == '\0' && strspn(text, "0123456789.") == strlen(text) && *value > 0 && *value <= VALUE_MAX;
}

bool arrival_parse(const char *text, struct arrival *arrival)
{
    static const char ramp[] = "ramp:", trickle[] = "trickle:";
    *arrival = (struct arrival){.kind = ARRIVAL_ALL};
    if (strcmp(text, "all") == 0)
        return true;
    if (strncmp(text, ramp, sizeof ramp - 1) == 0) {
        arrival->kind = ARRIVAL_RAMP;
        return positive(text + sizeof ramp - 1, &arrival->value);
    }
    arrival->kind = ARRIVAL_TRICKLE;
    return strncmp(text, trickle, sizeof trickle - 1) == 0 && positive(text + sizeof trickle - 1, &arrival->value);
}

int64_t arrival_time(const struct arrival *arrival, int64_t number, int64_t count)
{
    switch (arrival->kind) {
    case ARRIVAL_RAMP: /* the rate grows with t, so the number that has come grows with t squared */
        return (int64_t)(sqrt((double)number / (double)count) * arrival->value * SECOND);
    case ARRIVAL_TRICKLE:
        return (int64_t)((double)number / arrival->value * SECOND);
    default:
        return 0;
    }
}
