/* fan: the visit from the line on; each answer leads to the next request, at once, after a thought, or when told. What
 * is done inside is in fan_shop.c. */
#include "rehearse/fan.h"

#include "base/clock.h"
#include "rehearse/fan_steps.h"

#include <string.h>

/* After so many failures of one request, seats taken by others, or places lost, a fan gives up. */
enum { FAILURES_MAX = 12, REFUSALS_MAX = 100, RETURNS_MAX = 3, LEAVER_POLLS = 3 };

#define BACKOFF_MIN (CLOCK_SECOND / 4)
#define BACKOFF_MAX (8 * CLOCK_SECOND)

/* ---- going on ---- */

static void ask_now(struct fan *fan)
{
    fan->requests++;
    fan->polls += fan->operation == OP_POLL;
    client_ask(fan->stage->client, &fan->ask);
}

static void wake(struct timer *timer)
{
    struct fan *fan = (struct fan *)((char *)timer - offsetof(struct fan, timer));
    if (fan->requests == 0) {
        fan->stage->came++;
        fan->stage->here++;
    }
    ask_now(fan);
}

static void later(struct fan *fan, int64_t microseconds)
{
    timers_set(&fan->stage->timers, &fan->timer, clock_monotonic() + microseconds);
}

/* A new request, after a thought. */
void fan_next(struct fan *fan, enum operation operation)
{
    int64_t think = chance_around(&fan->chance, fan->stage->settings->think);
    fan->operation = operation;
    fan->failures = 0;
    if (operation == OP_HOLD || operation == OP_CHARGE || operation == OP_PAY)
        fan->keys++;
    if (think > 0)
        later(fan, think);
    else
        ask_now(fan);
}

static void out_of_line(struct fan *fan)
{
    fan->stage->waiting -= fan->in_line;
    fan->stage->active -= fan->let_in;
    fan->in_line = fan->let_in = false;
}

void fan_end(struct fan *fan, enum outcome outcome)
{
    struct stage *stage = fan->stage;
    out_of_line(fan);
    timers_drop(&stage->timers, &fan->timer);
    stage->here--;
    stage->tally.outcomes[outcome]++;
    histogram_add(&stage->tally.requests_of_fan, fan->requests);
    if (outcome != OUTCOME_NO_SHOW && outcome != OUTCOME_STILL_HERE)
        histogram_add(&stage->tally.polls_of_fan, fan->polls);
    fan->outcome = outcome;
    fan->gone(fan);
}

/* Gives the place back, politely, and goes. */
void fan_leave(struct fan *fan, enum outcome outcome)
{
    fan->outcome = outcome;
    fan->operation = OP_LEAVE;
    fan->failures = 0;
    ask_now(fan);
}

/* ---- in the line ---- */

static void back_to_the_end(struct fan *fan)
{
    out_of_line(fan);
    fan->position = 0;
    if (++fan->returns > RETURNS_MAX) {
        fan_end(fan, OUTCOME_LOST_PLACE);
        return;
    }
    fan->operation = OP_JOIN;
    fan->failures = 0;
    later(fan, CLOCK_SECOND);
}

void fan_nonsense(struct fan *fan, const struct answer *answer)
{
    static const char text[] = "an answer that makes no sense";
    tally_error(&fan->stage->tally, fan->operation, answer->status, (struct span){text, sizeof text - 1}, false);
    fan_end(fan, OUTCOME_FAILED);
}

static void let_in(struct fan *fan)
{
    journal_active(&fan->stage->journal, fan->ticket);
    fan->stage->waiting -= fan->in_line;
    fan->in_line = false;
    fan->stage->active += !fan->let_in;
    fan->let_in = true;
    fan_next(fan, OP_CONCERTS);
}

static void still_waiting(struct fan *fan, struct span body)
{
    int64_t position, poll_after;
    if (!scan_int(body, "position", &position) || !scan_int(body, "poll_after_seconds", &poll_after) || position < 1 ||
        poll_after < 0) {
        fan_nonsense(fan, &(struct answer){.status = 200});
        return;
    }
    journal_waiting(&fan->stage->journal, &fan->view, fan->ticket, position, fan->position);
    fan->position = position;
    fan->stage->waiting += !fan->in_line;
    fan->in_line = true;
    if (fan->fate == FATE_LEAVES && fan->patience > 0 && fan->polls >= fan->patience) {
        fan_leave(fan, OUTCOME_LEFT);
        return;
    }
    fan->operation = OP_POLL;
    fan->failures = 0;
    later(fan, poll_after * CLOCK_SECOND);
}

/* What the answers to joining and polling have in common. */
static void read_place(struct fan *fan, const struct answer *answer, struct span body)
{
    struct span token, status;
    int64_t ticket;
    if (!scan_text(body, "token", &token) || token.length == 0 || token.length >= sizeof fan->token ||
        !scan_text(body, "status", &status) || !scan_int(body, "ticket", &ticket) || ticket < 1 ||
        (fan->operation == OP_POLL && ticket != fan->ticket)) {
        fan_nonsense(fan, answer);
        return;
    }
    memcpy(fan->token, token.at, token.length);
    fan->token[token.length] = '\0';
    fan->ticket = ticket;
    if (answer->status == 201)
        journal_ticket(&fan->stage->journal, &fan->view, ticket);
    if (fan->fate == FATE_NEVER_COMES)
        fan_end(fan, OUTCOME_NO_SHOW);
    else if (span_is(status, "active") && fan->polls < fan->stage->settings->polls)
        fan_next(fan, OP_POLL); /* as though it had waited */
    else if (span_is(status, "active"))
        let_in(fan);
    else if (span_is(status, "waiting"))
        still_waiting(fan, body);
    else
        fan_nonsense(fan, answer);
}

static void left(struct fan *fan, const struct answer *answer, struct span body)
{
    (void)answer;
    (void)body;
    fan_end(fan, fan->outcome);
}

/* ---- refusals ---- */

static void seats_taken(struct fan *fan)
{
    if (++fan->refusals > REFUSALS_MAX)
        fan_leave(fan, OUTCOME_REFUSED);
    else
        fan_next(fan, OP_SEATS);
}

static void turned_away(struct fan *fan)
{
    fan_leave(fan, OUTCOME_TURNED_AWAY);
}

static void hold_is_over(struct fan *fan)
{
    fan_next(fan, OP_SEATS);
}

static void needs_money(struct fan *fan)
{
    fan_next(fan, OP_CHARGE);
}

/* The refusals that happen in a proper shop, and what a fan does then. */
static const struct {
    enum operation operation; /* OPERATIONS: any */
    int status;
    const char *code;
    void (*then)(struct fan *fan);
} refusals[] = {
    {OP_HOLD, 409, "seat-unavailable", seats_taken},
    {OP_HOLD, 409, "seat-limit", turned_away},
    {OP_HOLD, 409, "sales-closed", turned_away},
    {OP_PAY, 409, "already-paid", fan_has_tickets}, /* an earlier answer was lost */
    {OP_PAY, 410, "reservation-expired", hold_is_over},
    {OP_PAY, 402, "insufficient-balance", needs_money},
    {OPERATIONS, 401, "queue-token-invalid", back_to_the_end},
    {OP_POLL, 404, "queue-token-invalid", back_to_the_end},
};

/* Busy, or not reached: the same request again, when told or with growing pauses. */
static bool is_passing(const struct answer *answer, struct span code)
{
    return answer->status == 0 || answer->status == 429 || answer->status == 503 ||
           (answer->status == 409 && (span_is(code, "idempotency-key-in-use") || span_is(code, "queue-paused")));
}

static void again(struct fan *fan, int64_t retry_after)
{
    int64_t pause = BACKOFF_MIN << (fan->failures < 5 ? fan->failures : 5);
    if (++fan->failures > FAILURES_MAX) {
        fan_end(fan, OUTCOME_FAILED);
        return;
    }
    pause = pause > BACKOFF_MAX ? BACKOFF_MAX : pause;
    if (retry_after >= 0) /* not all in the same moment */
        later(fan, retry_after * CLOCK_SECOND + chance_below(&fan->chance, CLOCK_SECOND / 4));
    else
        later(fan, chance_around(&fan->chance, pause));
}

static void refused(struct fan *fan, const struct answer *answer, struct span body)
{
    struct tally *tally = &fan->stage->tally;
    static const char none[] = "no problem code";
    struct span code = {none, sizeof none - 1};
    if (answer->status == 0)
        code = (struct span){answer->why, strlen(answer->why)};
    else if (!scan_text(body, "code", &code))
        code = (struct span){none, sizeof none - 1};
    if (is_passing(answer, code)) {
        tally_error(tally, fan->operation, answer->status, code, true);
        again(fan, answer->retry_after);
        return;
    }
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        if ((refusals[i].operation != OPERATIONS && refusals[i].operation != fan->operation) ||
            refusals[i].status != answer->status || !span_is(code, refusals[i].code))
            continue;
        tally_error(tally, fan->operation, answer->status, code, true);
        refusals[i].then(fan);
        return;
    }
    tally_error(tally, fan->operation, answer->status, code, false);
    if (answer->status >= 500)
        again(fan, answer->retry_after);
    else
        fan_end(fan, OUTCOME_FAILED);
}

/* ---- answers ---- */

static fan_step *const steps[OPERATIONS] = {
    [OP_JOIN] = read_place,
    [OP_POLL] = read_place,
    [OP_CONCERTS] = fan_saw_concerts,
    [OP_SCHEDULES] = fan_saw_schedules,
    [OP_SEATS] = fan_saw_seats,
    [OP_HOLD] = fan_held,
    [OP_CHARGE] = fan_charged,
    [OP_PAY] = fan_paid,
    [OP_LEAVE] = left,
};

static bool is_good(enum operation operation, int status)
{
    switch (operation) {
    case OP_JOIN:
        return status == 200 || status == 201;
    case OP_HOLD:
    case OP_CHARGE:
    case OP_PAY:
        return status == 201;
    case OP_LEAVE:
        return status == 204;
    default:
        return status == 200;
    }
}

static void write_request(struct ask *ask, struct buf *out)
{
    struct fan *fan = (struct fan *)((char *)ask - offsetof(struct fan, ask));
    fan->view = journal_view(&fan->stage->journal);
    fan_put_request(fan, out);
}

static void answered(struct ask *ask, const struct answer *answer)
{
    struct fan *fan = (struct fan *)((char *)ask - offsetof(struct fan, ask));
    struct tally *tally = &fan->stage->tally;
    struct span body = {answer->body, answer->length};
    tally->requests++;
    tally->again += ask->again;
    if (answer->status != 0) {
        histogram_add(&tally->took[fan->operation], answer->took);
        histogram_add(&tally->whole[fan->operation], answer->whole);
    }
    if (is_good(fan->operation, answer->status))
        steps[fan->operation](fan, answer, body);
    else
        refused(fan, answer, body);
}

void fan_make(struct fan *fan, struct stage *stage, int64_t number)
{
    const struct settings *settings = stage->settings;
    struct chance chance = chance_of((uint64_t)settings->seed, (uint64_t)number);
    double share = chance_share(&chance);
    *fan = (struct fan){
        .ask = {.write = write_request, .done = answered},
        .timer = {.fire = wake},
        .stage = stage,
        .number = number,
        .operation = OP_JOIN,
    };
    if (share < settings->no_shows)
        fan->fate = FATE_NEVER_COMES;
    else if (share < settings->no_shows + settings->leavers)
        fan->fate = FATE_LEAVES;
    else if (share < settings->no_shows + settings->leavers + settings->non_payers)
        fan->fate = FATE_NEVER_PAYS;
    fan->patience = (int)chance_below(&chance, 2 * LEAVER_POLLS);
    if (fan->patience > LEAVER_POLLS)
        fan->patience = 0;
    fan->venue = stage_choose_venue(stage, &chance);
    fan->chance = chance;
}

void fan_comes(struct fan *fan, int64_t time)
{
    timers_set(&fan->stage->timers, &fan->timer, time);
}
