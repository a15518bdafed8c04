/* scout: one request after the other. */
#include "rehearse/scout.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "rehearse/fan.h"
#include "rehearse/watch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONCERTS_OF_A_PAGE = 100, PAGES_MAX = 10000, ATTEMPTS = 5 };

struct scout {
    struct fan fan; /* first: its requests are a fan's */
    struct stage *stage;
    bool done;
    int status;
    char why[96];
    char *body;
    size_t length;
    int exit_code;
};

static void write_request(struct ask *ask, struct buf *out)
{
    fan_put_request((struct fan *)ask, out);
}

static void answered(struct ask *ask, const struct answer *answer)
{
    struct scout *scout = (struct scout *)ask;
    scout->done = true;
    scout->status = answer->status;
    scout->length = answer->length;
    scout->body = answer->length ? malloc(answer->length) : NULL;
    if (scout->body)
        memcpy(scout->body, answer->body, answer->length);
    snprintf(scout->why, sizeof scout->why, "%s", answer->why ? answer->why : "");
}

static struct span body_of(const struct scout *scout)
{
    return (struct span){scout->body ? scout->body : "", scout->body ? scout->length : 0};
}

static bool give_up(struct scout *scout, int exit_code)
{
    scout->exit_code = exit_code;
    return false;
}

static bool pause_for(struct scout *scout, int64_t microseconds)
{
    bool never = false;
    stage_play(scout->stage, &never, clock_monotonic() + microseconds);
    return stage_stop ? give_up(scout, STAGE_EXIT_INTERRUPTED) : true;
}

/* Asks once. False: interrupted. */
static bool ask_once(struct scout *scout, enum operation operation)
{
    free(scout->body);
    scout->body = NULL;
    scout->done = false;
    scout->fan.operation = operation;
    client_ask(scout->stage->client, &scout->fan.ask);
    stage_play(scout->stage, &scout->done, INT64_MAX);
    if (scout->done)
        return true;
    client_forget_queue(scout->stage->client);
    return give_up(scout, STAGE_EXIT_INTERRUPTED);
}

/* Asks until the answer is a good one; says so when it is not. */
static bool ask(struct scout *scout, enum operation operation, int wanted, int wanted_too)
{
    struct span code = {"", 0};
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        if (attempt > 0 && !pause_for(scout, CLOCK_SECOND))
            return false;
        if (!ask_once(scout, operation))
            return false;
        if (scout->status == wanted || scout->status == wanted_too)
            return true;
        if (!scan_text(body_of(scout), "code", &code))
            code = (struct span){"", 0};
        if (span_is(code, "unauthenticated")) {
            log_error("the server does not accept the fans' bearer tokens: give the key that it has configured "
                      "(jwt_key_file), or --tokens");
            return give_up(scout, EXIT_CONFIG);
        }
        if (scout->status != 0 && scout->status != 429 && scout->status != 503)
            break;
    }
    log_error("before the fans come: %s is answered with %d %.*s%s", operation_names[operation], scout->status,
              (int)code.length, code.at, scout->why);
    return give_up(scout, STAGE_EXIT_NO_SERVER);
}

static bool nonsense(struct scout *scout, enum operation operation)
{
    log_error("before the fans come: the answer to %s makes no sense; is this usher?", operation_names[operation]);
    return give_up(scout, STAGE_EXIT_NO_SERVER);
}

/* ---- through the line ---- */

static bool read_place(struct scout *scout, bool *active, int64_t *poll_after, int64_t *position)
{
    struct span body = body_of(scout), token, status;
    if (!scan_text(body, "token", &token) || token.length >= QUEUE_TOKEN_SIZE || !scan_text(body, "status", &status) ||
        !scan_int(body, "poll_after_seconds", poll_after) || !scan_int(body, "position", position))
        return false;
    memcpy(scout->fan.token, token.at, token.length);
    scout->fan.token[token.length] = '\0';
    *active = span_is(status, "active");
    return true;
}

static bool look_at_line(struct scout *scout)
{
    struct span state;
    if (!ask(scout, OP_LINE, 200, 200))
        return false;
    if (!watch_read_line(body_of(scout), &scout->stage->line) || !scan_text(body_of(scout), "state", &state))
        return nonsense(scout, OP_LINE);
    if (!span_is(state, "open")) {
        log_error("the line is paused, so nobody can come; open it with: usherctl resume");
        return give_up(scout, STAGE_EXIT_NO_SERVER);
    }
    return true;
}

static bool get_in(struct scout *scout)
{
    bool active, said = scout->stage->settings->quiet;
    int64_t poll_after, position;
    if (!ask(scout, OP_JOIN, 200, 201))
        return false;
    for (;;) {
        if (!read_place(scout, &active, &poll_after, &position))
            return nonsense(scout, scout->fan.operation);
        if (active)
            return true;
        if (!said)
            log_info("looking what is on sale: waiting in the line first, at position %" PRId64, position);
        said = true;
        if (!pause_for(scout, poll_after * CLOCK_SECOND) || !ask(scout, OP_POLL, 200, 200))
            return false;
    }
}

/* ---- what is on sale ---- */

static bool is_wanted(const struct settings *settings, int64_t schedule)
{
    for (int i = 0; i < settings->schedule_count; i++)
        if (settings->schedules[i] == schedule)
            return true;
    return settings->schedule_count == 0;
}

static void add_venue(struct stage *stage, const struct venue *venue)
{
    stage->venues = reallocarray(stage->venues, stage->venue_count + 1, sizeof *stage->venues);
    if (!stage->venues) {
        log_error("out of memory");
        abort();
    }
    stage->venues[stage->venue_count++] = *venue;
    stage->seats_offered += venue->available;
}

static bool look_at_concert(struct scout *scout, int64_t concert, int64_t page)
{
    struct venue venue = {.concert = concert, .page = page};
    struct span rest, item;
    scout->fan.venue = &venue;
    if (!ask(scout, OP_SCHEDULES, 200, 200))
        return false;
    if (!scan_member(body_of(scout), "items", &rest))
        return nonsense(scout, OP_SCHEDULES);
    while (scan_next(&rest, &item)) {
        if (!scan_int(item, "id", &venue.schedule) || !scan_int(item, "seats_total", &venue.total) ||
            !scan_int(item, "seats_available", &venue.available))
            return nonsense(scout, OP_SCHEDULES);
        if (venue.available > 0 && is_wanted(scout->stage->settings, venue.schedule))
            add_venue(scout->stage, &venue);
    }
    return true;
}

/* The concerts of a page; *more: there may be another page worth a look. */
static bool look_at_page(struct scout *scout, int64_t page, bool *more)
{
    const struct settings *settings = scout->stage->settings;
    struct venue where = {.page = page};
    int64_t concerts[CONCERTS_OF_A_PAGE];
    size_t count = 0;
    struct span rest, item;
    scout->fan.venue = &where;
    if (!ask(scout, OP_CONCERTS, 200, 200))
        return false;
    if (!scan_member(body_of(scout), "items", &rest))
        return nonsense(scout, OP_CONCERTS);
    while (count < CONCERTS_OF_A_PAGE && scan_next(&rest, &item))
        if (scan_int(item, "id", &concerts[count]))
            count++;
    *more = count == CONCERTS_OF_A_PAGE && (settings->concert || settings->schedule_count);
    for (size_t i = 0; i < count; i++) {
        if (settings->concert && concerts[i] != settings->concert)
            continue;
        if (!look_at_concert(scout, concerts[i], page))
            return false;
        if (settings->concert ||
            (settings->schedule_count && scout->stage->venue_count == (size_t)settings->schedule_count)) {
            *more = false;
            return true;
        }
    }
    return true;
}

static bool find_venues(struct scout *scout)
{
    const struct settings *settings = scout->stage->settings;
    bool more = true;
    for (int64_t page = 0; more && page < PAGES_MAX; page++)
        if (!look_at_page(scout, page, &more))
            return false;
    scout->fan.venue = NULL;
    if (scout->stage->venue_count == 0 || scout->stage->venue_count < (size_t)settings->schedule_count) {
        log_error("%s: no free seats on sale%s", settings->schedule_count ? "--schedule" : "there is nothing to buy",
                  settings->schedule_count ? " in one of them at least, or no such schedule" : "");
        return give_up(scout, STAGE_EXIT_NO_SERVER);
    }
    return true;
}

int scout_look(struct stage *stage)
{
    struct scout scout = {.stage = stage, .exit_code = EXIT_OK};
    scout.fan.ask = (struct ask){.write = write_request, .done = answered};
    scout.fan.stage = stage;
    bool looked = look_at_line(&scout) && get_in(&scout) && find_venues(&scout);
    int exit_code = scout.exit_code;
    bool left = !*scout.fan.token || stage_stop || ask(&scout, OP_LEAVE, 204, 204);
    free(scout.body);
    return looked && !left ? scout.exit_code : exit_code;
}
