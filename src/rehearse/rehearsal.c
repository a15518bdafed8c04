/* rehearsal: the fans come by the arrival curve; when the last one has gone, it is over. */
#include "rehearse/rehearsal.h"

#include "base/clock.h"
#include "base/log.h"
#include "rehearse/fan.h"
#include "rehearse/watch.h"

#include <stdlib.h>

struct rehearsal {
    struct fan *fans;
    struct stage *stage;
    bool *is_gone;
    int64_t gone;
    bool done;
};

/* One at a time, as is the whole program; fan_end's callback finds it here. */
static struct rehearsal rehearsal;

static void gone(struct fan *fan)
{
    rehearsal.is_gone[fan->number] = true;
    rehearsal.done = ++rehearsal.gone == rehearsal.stage->settings->fans;
}

static void send_off_the_rest(int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (rehearsal.fans[i].requests > 0 && !rehearsal.is_gone[i])
            fan_end(&rehearsal.fans[i], OUTCOME_STILL_HERE);
}

void rehearsal_play(struct stage *stage)
{
    const struct settings *settings = stage->settings;
    struct watch watch;
    rehearsal = (struct rehearsal){.stage = stage};
    rehearsal.fans = calloc((size_t)settings->fans, sizeof *rehearsal.fans);
    rehearsal.is_gone = calloc((size_t)settings->fans, sizeof *rehearsal.is_gone);
    if (!rehearsal.fans || !rehearsal.is_gone) {
        log_error("out of memory for %lld fans", (long long)settings->fans);
        abort();
    }
    stage->opened = clock_monotonic();
    for (int64_t i = 0; i < settings->fans; i++) {
        fan_make(&rehearsal.fans[i], stage, i);
        rehearsal.fans[i].gone = gone;
        fan_comes(&rehearsal.fans[i], stage->opened + arrival_time(&settings->arrival, i, settings->fans));
    }
    watch_begin(&watch, stage);
    stage_play(stage, &rehearsal.done, settings->duration ? stage->opened + settings->duration : INT64_MAX);
    watch_end(&watch);
    stage->ended = clock_monotonic();
    stage->interrupted = stage_stop && !rehearsal.done;
    stage->cut = !stage_stop && !rehearsal.done;
    /* Their requests on the way are forgotten with the connections. */
    client_free(stage->client);
    stage->client = NULL;
    send_off_the_rest(settings->fans);
    free(rehearsal.fans);
    free(rehearsal.is_gone);
}
