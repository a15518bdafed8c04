/* verify: usherctl verify: runs the checks in the order that verify.h tells, and reports. */
#include "ctl/verify.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/json.h"
#include "base/options.h"
#include "ctl/command.h"
#include "store/pg.h"
#include "store/redis.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SETTLE_DEFAULT_S = 2, SETTLE_MAX_S = 600, REDIS_TIMEOUT_MS = 5000 };

static const struct {
    const char *name, *says;
} invariants[INVARIANT_COUNT] = {
#define INVARIANT_WORDS(symbol, where, name, says) {name, says},
    INVARIANT_TABLE(INVARIANT_WORDS)
#undef INVARIANT_WORDS
};

void verify_breach(struct verify *verify, enum invariant invariant, const char *format, ...)
{
    struct finding *finding = &verify->findings[invariant];
    finding->breaches++;
    if (finding->example_count == EXAMPLES)
        return;
    va_list args;
    va_start(args, format);
    finding->examples[finding->example_count++] = arena_vprintf(verify->arena, format, args);
    va_end(args);
}

bool verify_trouble(struct verify *verify, const char *text)
{
    if (!verify->trouble)
        verify->trouble = text;
    return false;
}

bool verify_no_redis(struct verify *verify)
{
    return verify_trouble(verify, "Redis does not answer (see the key redis in the configuration)");
}

/* ---- the checks, in their order ---- */

static void check(struct verify *verify)
{
    struct places places = {.count = 0}, suspects = {.count = 0};
    struct seats *seats = NULL;
    bool redis = verify_line(verify, &places);
    bool pg = verify_snapshot_begin(verify) && verify_database(verify);
    bool history = pg && redis && verify_history_compare(verify, &places, &suspects);
    bool halls = pg && redis && verify_doorman_compare(verify, &seats);
    verify_snapshot_end(verify);

    if (pg && redis)
        verify_numbers(verify, &places);
    if (history)
        verify_history_confirm(verify, &suspects);
    if (halls)
        verify_doorman_confirm(verify, seats);
    places_free(&places);
    places_free(&suspects);
    verify_doorman_free(seats);
}

/* ---- the report ---- */

struct sum {
    size_t unchecked, broken;
};

static struct sum sum_up(const struct verify *verify)
{
    struct sum sum = {0, 0};
    for (size_t i = 0; i < INVARIANT_COUNT; i++) {
        sum.unchecked += !verify->findings[i].checked;
        sum.broken += verify->findings[i].breaches > 0;
    }
    return sum;
}

static void report_text(const struct verify *verify, const struct sum *sum, double seconds)
{
    for (size_t i = 0; i < INVARIANT_COUNT; i++) {
        const struct finding *finding = &verify->findings[i];
        const char *word = finding->breaches ? "BREACH" : finding->checked ? "ok" : "-";
        printf("%-7s %-21s %s", word, invariants[i].name, invariants[i].says);
        if (finding->breaches)
            printf(": %" PRId64 " breach%s", finding->breaches, finding->breaches == 1 ? "" : "es");
        puts(finding->checked || finding->breaches ? "" : " (not checked)");
        for (size_t e = 0; e < finding->example_count; e++)
            printf("        %s\n", finding->examples[e]);
        if (finding->breaches > (int64_t)finding->example_count && finding->example_count > 1)
            puts("        ...");
    }
    if (verify->line_lost)
        puts("note: Redis has lost the line; the next request or usher-scheduler promote restores it from the history");
    if (verify->unsettled)
        printf("note: %" PRId64
               " sold seats are still their buyers' claims at the doorman; usher-scheduler expire sells them"
               " when the claims lapse\n",
               verify->unsettled);
    printf("%zu invariants: %zu hold, %zu broken, %zu not checked; %.1f s\n", (size_t)INVARIANT_COUNT,
           INVARIANT_COUNT - sum->broken - sum->unchecked, sum->broken, sum->unchecked, seconds);
}

static void report_json(const struct verify *verify, const struct sum *sum, double seconds)
{
    struct buf out;
    buf_init(&out, verify->arena, 8192);
    buf_printf(&out, "{\"ok\":%s,\"seconds\":%.3f,\"line_lost\":%s,\"unsettled\":%" PRId64 ",\"trouble\":",
               sum->broken || sum->unchecked ? "false" : "true", seconds, verify->line_lost ? "true" : "false",
               verify->unsettled);
    json_put_string(&out, verify->trouble);
    buf_puts(&out, ",\"invariants\":[");
    for (size_t i = 0; i < INVARIANT_COUNT; i++) {
        const struct finding *finding = &verify->findings[i];
        buf_puts(&out, i ? ",\n {\"name\":" : "\n {\"name\":");
        json_put_string(&out, invariants[i].name);
        buf_puts(&out, ",\"says\":");
        json_put_string(&out, invariants[i].says);
        buf_printf(&out, ",\"checked\":%s,\"breaches\":%" PRId64 ",\"examples\":[", finding->checked ? "true" : "false",
                   finding->breaches);
        for (size_t e = 0; e < finding->example_count; e++) {
            buf_puts(&out, e ? "," : "");
            json_put_string(&out, finding->examples[e]);
        }
        buf_puts(&out, "]}");
    }
    buf_puts(&out, "\n]}");
    puts(out.data);
}

static bool read_arguments(struct command_call *call, bool *json, int64_t *settle_s)
{
    for (int i = 0; i < call->argc; i++) {
        const char *next = i + 1 < call->argc ? call->argv[i + 1] : "";
        if (strcmp(call->argv[i], "--json") == 0) {
            *json = true;
        } else if (strcmp(call->argv[i], "--settle") == 0 &&
                   decimal_parse(next, strlen(next), 0, SETTLE_MAX_S, settle_s)) {
            i++;
        } else {
            return false;
        }
    }
    return true;
}

/* [--json] [--settle SECONDS] */
int command_verify(struct command_call *call)
{
    bool json = false;
    int64_t settle_s = SETTLE_DEFAULT_S, started = clock_monotonic();
    if (!read_arguments(call, &json, &settle_s))
        return command_usage("verify [--json] [--settle SECONDS]");

    struct verify verify = {
        .config = call->config,
        .arena = call->arena,
        .pg = command_owner(call),
        .redis = redis_new(call->config->redis, REDIS_TIMEOUT_MS),
        .settle_ms = settle_s * 1000,
    };
    check(&verify);
    pg_free(verify.pg);
    redis_free(verify.redis);

    struct sum sum = sum_up(&verify);
    double seconds = (double)(clock_monotonic() - started) / CLOCK_SECOND;
    if (json)
        report_json(&verify, &sum, seconds);
    else
        report_text(&verify, &sum, seconds);
    if (sum.unchecked)
        fprintf(stderr, "usherctl: verify: not everything could be checked: %s\n",
                verify.trouble ? verify.trouble : "an earlier check failed");
    return sum.broken ? EXIT_FAILED : sum.unchecked ? EXIT_UNAVAILABLE : EXIT_OK;
}
