/* report_json: the report for programs. Times in microseconds where the name says _us, otherwise seconds. */
#include "rehearse/report.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"

#include <inttypes.h>

static double seconds_between(int64_t from, int64_t to)
{
    return (double)(to - from) / (double)CLOCK_SECOND;
}

/* Text with quotes, escaped by base/json. */
static void put_text(const struct stage *stage, const char *text, FILE *out)
{
    struct buf buf;
    buf_init(&buf, stage->arena, 128);
    json_put_string(&buf, text);
    fwrite(buf.data, 1, buf.length, out);
}

static void put_counted(const char *name, const struct histogram *histogram, FILE *out)
{
    fprintf(out,
            "\"%s\":{\"mean\":%.2f,\"p50\":%" PRIu64 ",\"p90\":%" PRIu64 ",\"p99\":%" PRIu64 ",\"max\":%" PRIu64 "}",
            name, histogram_mean(histogram), histogram_at(histogram, 0.5), histogram_at(histogram, 0.9),
            histogram_at(histogram, 0.99), histogram->max);
}

static void put_operations(const struct tally *tally, FILE *out)
{
    const char *comma = "";
    fprintf(out, ",\n\"operations\":[");
    for (int i = 0; i < OPERATIONS; i++) {
        const struct histogram *took = &tally->took[i];
        if (took->count == 0)
            continue;
        fprintf(out,
                "%s\n{\"name\":\"%s\",\"count\":%" PRIu64 ",\"p50_us\":%" PRIu64 ",\"p90_us\":%" PRIu64
                ",\"p99_us\":%" PRIu64 ",\"max_us\":%" PRIu64 ",\"whole_p99_us\":%" PRIu64 "}",
                comma, operation_names[i], took->count, histogram_at(took, 0.5), histogram_at(took, 0.9),
                histogram_at(took, 0.99), took->max, histogram_at(&tally->whole[i], 0.99));
        comma = ",";
    }
    fprintf(out, "]");
}

static void put_errors(const struct stage *stage, FILE *out)
{
    fprintf(out, ",\n\"errors\":[");
    for (size_t i = 0; i < stage->tally.error_count; i++) {
        const struct error_count *error = &stage->tally.errors[i];
        fprintf(out, "%s\n{\"operation\":\"%s\",\"status\":%d,\"code\":", i ? "," : "",
                operation_names[error->operation], error->status);
        put_text(stage, error->code, out);
        fprintf(out, ",\"expected\":%s,\"count\":%" PRId64 "}", error->expected ? "true" : "false", error->count);
    }
    fprintf(out, "]");
}

static void put_findings(const struct stage *stage, FILE *out)
{
    struct finding findings[FINDINGS];
    report_findings(stage, findings);
    fprintf(out, ",\n\"findings\":{");
    for (int i = 0; i < FINDINGS; i++)
        fprintf(out, "%s\"%s\":%" PRId64, i ? "," : "", findings[i].name, findings[i].count);
    fprintf(out, "}");
}

static void put_timeline(const struct tally *tally, FILE *out)
{
    fprintf(out, ",\n\"timeline\":[");
    for (size_t i = 0; i < tally->moment_count; i++) {
        const struct moment *moment = &tally->moments[i];
        fprintf(out,
                "%s\n{\"second\":%.1f,\"waiting\":%" PRId64 ",\"active\":%" PRId64 ",\"sold\":%" PRId64
                ",\"requests_per_s\":%" PRId64 "}",
                i ? "," : "", moment->second, moment->waiting, moment->active, moment->sold, moment->requests);
    }
    fprintf(out, "]");
}

static void put_head(const struct stage *stage, const char *kind, FILE *out)
{
    const struct settings *settings = stage->settings;
    fprintf(out, "{\"kind\":\"%s\",\"version\":\"%s\",\"url\":", kind, PACKAGE_VERSION);
    put_text(stage, settings->url, out);
    fprintf(out, ",\"good\":%s,\"interrupted\":%s,\"cut\":%s,\"seconds\":%.3f,\"seed\":%" PRId64,
            stage_breaches(stage) ? "false" : "true", stage->interrupted ? "true" : "false",
            stage->cut ? "true" : "false", seconds_between(stage->opened, stage->ended), settings->seed);
}

void report_json(const struct stage *stage, FILE *out)
{
    const struct settings *settings = stage->settings;
    const struct tally *tally = &stage->tally;
    put_head(stage, "rehearsal", out);
    fprintf(out, ",\"fans\":%" PRId64 ",\"came\":%" PRId64 ",\"arrival\":\"%s\",\"think_ms\":%" PRId64, settings->fans,
            stage->came, settings->arrival_text, settings->think / 1000);
    fprintf(out, ",\n\"outcomes\":{");
    for (int i = 0; i < OUTCOMES; i++)
        fprintf(out, "%s\"%s\":%" PRId64, i ? "," : "", outcome_names[i], tally->outcomes[i]);
    fprintf(out,
            "},\n\"seats\":{\"offered\":%" PRId64 ",\"sold\":%" PRId64
            ",\"sold_per_minute\":%.1f,\"seconds_to_sell_out\":",
            stage->seats_offered, stage->journal.sold, report_sold_a_minute(stage));
    if (stage->sold_out)
        fprintf(out, "%.3f}", seconds_between(stage->opened, stage->sold_out));
    else
        fprintf(out, "null}");
    fprintf(out, ",\n\"requests\":%" PRId64 ",\"repeated_on_new_connection\":%" PRId64 ",", tally->requests,
            tally->again);
    put_counted("requests_for_each_fan", &tally->requests_of_fan, out);
    fputc(',', out);
    put_counted("polls_for_each_fan", &tally->polls_of_fan, out);
    fputc(',', out);
    put_counted("own_delay_us", &tally->own_delay, out);
    put_operations(tally, out);
    put_errors(stage, out);
    put_findings(stage, out);
    put_timeline(tally, out);
    fprintf(out, "}\n");
}

void report_calibration_json(const struct stage *stage, const struct calibration *calibration, FILE *out)
{
    put_head(stage, "calibration", out);
    fprintf(out, ",\"p99_target_us\":%" PRId64 ",\n\"steps\":[", stage->settings->p99);
    for (int i = 0; i < calibration->count; i++) {
        const struct calibrate_step *step = &calibration->steps[i];
        fprintf(out,
                "%s\n{\"offered_per_s\":%.2f,\"carried_per_s\":%.2f,\"transactions_per_minute\":%.0f,"
                "\"transactions_for_a_buyer\":%.2f,\"p99_us\":%" PRIu64 ",\"slowest\":\"%s\",\"good\":%s}",
                i ? "," : "", step->offered, step->carried, step->transactions * 60, step->a_buyer, step->p99,
                operation_names[step->slowest], step->good ? "true" : "false");
    }
    fprintf(out, "],\n\"limit\":");
    put_text(stage, calibration->limit, out);
    if (calibration->best)
        fprintf(out,
                ",\"transactions_per_minute\":%.0f,\"buyers_per_s\":%.2f,\"promote_batch\":%" PRId64
                ",\"promote_period_seconds\":%" PRId64,
                calibration->best->transactions * 60, calibration->best->carried, calibration->promote_batch,
                calibration->promote_period);
    else
        fprintf(out, ",\"transactions_per_minute\":0,\"buyers_per_s\":0,\"promote_batch\":null,"
                     "\"promote_period_seconds\":null");
    put_errors(stage, out);
    put_findings(stage, out);
    fprintf(out, "}\n");
}
