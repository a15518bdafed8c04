/* watch: the second hand of a rehearsal. */
#include "rehearse/watch.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void write_request(struct ask *ask, struct buf *out)
{
    struct watch *watch = (struct watch *)((char *)ask - offsetof(struct watch, ask));
    const struct address *address = &watch->stage->settings->address;
    buf_printf(out, "GET %s/v1/queue HTTP/1.1\r\nHost: %s\r\n\r\n", address->prefix, address->host);
}

/* The number before a decimal point: rates have one. */
static bool read_rate(struct span body, double *rate)
{
    struct span value;
    char text[32];
    if (!scan_member(body, "rate_per_second", &value) || value.length >= sizeof text)
        return false;
    snprintf(text, sizeof text, "%.*s", (int)value.length, value.at);
    *rate = strtod(text, NULL);
    return *rate > 0;
}

bool watch_read_line(struct span body, struct line_view *line)
{
    line->known = scan_int(body, "serving", &line->serving) && scan_int(body, "issued", &line->issued) &&
                  scan_int(body, "waiting", &line->waiting) && scan_int(body, "active", &line->active) &&
                  scan_int(body, "active_max", &line->active_max) && read_rate(body, &line->rate);
    return line->known;
}

/* Into the moment at which it was asked for. */
static void note_line(struct watch *watch, const struct line_view *line)
{
    struct tally *tally = &watch->stage->tally;
    watch->stage->line = *line;
    if (tally->moment_count > 0) {
        tally->moments[tally->moment_count - 1].waiting = line->waiting;
        tally->moments[tally->moment_count - 1].active = line->active;
    }
}

static void answered(struct ask *ask, const struct answer *answer)
{
    struct watch *watch = (struct watch *)((char *)ask - offsetof(struct watch, ask));
    struct tally *tally = &watch->stage->tally;
    struct line_view line;
    watch->asking = false;
    if (answer->status != 0) {
        histogram_add(&tally->took[OP_LINE], answer->took);
        histogram_add(&tally->whole[OP_LINE], answer->whole);
    }
    if (answer->status == 200 && watch_read_line((struct span){answer->body, answer->length}, &line))
        note_line(watch, &line);
}

/* On a terminal one line that is written over, otherwise a line each time. */
static void show(struct watch *watch, const struct moment *moment)
{
    const struct stage *stage = watch->stage;
    int64_t errors = 0;
    if (stage->settings->quiet)
        return;
    for (size_t i = 0; i < stage->tally.error_count; i++)
        errors += stage->tally.errors[i].status == 0 || stage->tally.errors[i].status >= 500;
    struct client_state client = client_state(stage->client);
    bool terminal = isatty(STDERR_FILENO);
    fprintf(stderr,
            "%s%5.0f s  came %" PRId64 "/%" PRId64 "  waiting %" PRId64 "  active %" PRId64 "  sold %" PRId64
            "/%" PRId64 "  %" PRId64 " req/s  %d connections%s%s",
            terminal ? "\r\033[K" : "", moment->second, stage->came, stage->settings->fans, stage->waiting,
            stage->active, stage->journal.sold, stage->seats_offered, moment->requests, client.open,
            errors ? "  errors!" : "", terminal ? "" : "\n");
    watch->shown = terminal;
}

/* The server's words about the line follow as soon as they are there; until then the fans' own view. */
static void note(struct watch *watch)
{
    struct stage *stage = watch->stage;
    int64_t now = clock_monotonic(), took = now - watch->last;
    int64_t requests = stage->tally.requests - watch->requests;
    struct moment moment = {
        .second = (double)(now - watch->begun) / (double)CLOCK_SECOND,
        .waiting = stage->waiting,
        .active = stage->active,
        .sold = stage->journal.sold,
        .requests = took > CLOCK_SECOND / 10 ? requests * CLOCK_SECOND / took : requests,
    };
    watch->requests = stage->tally.requests;
    watch->last = now;
    tally_moment(&stage->tally, &moment);
    show(watch, &moment);
}

static void tick(struct timer *timer)
{
    struct watch *watch = (struct watch *)((char *)timer - offsetof(struct watch, timer));
    struct stage *stage = watch->stage;
    note(watch);
    timers_set(&stage->timers, timer, watch->begun + (int64_t)stage->tally.moment_count * CLOCK_SECOND);
    if (!watch->asking) {
        watch->asking = true;
        client_ask(stage->client, &watch->ask);
    }
}

void watch_begin(struct watch *watch, struct stage *stage)
{
    *watch = (struct watch){.ask = {.write = write_request, .done = answered}, .timer = {.fire = tick}, .stage = stage};
    watch->begun = watch->last = clock_monotonic();
    watch->requests = stage->tally.requests;
    timers_set(&stage->timers, &watch->timer, watch->begun);
}

void watch_end(struct watch *watch)
{
    note(watch);
    timers_drop(&watch->stage->timers, &watch->timer);
    if (watch->shown)
        fputc('\n', stderr);
}
