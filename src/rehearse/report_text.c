/* report_text: the report for people. */
#include "rehearse/report.h"

#include "base/clock.h"

#include <inttypes.h>

static double seconds_between(int64_t from, int64_t to)
{
    return (double)(to - from) / (double)CLOCK_SECOND;
}

static double ms(uint64_t microseconds)
{
    return (double)microseconds / 1000;
}

static void put_operations(const struct tally *tally, FILE *out)
{
    fprintf(
        out,
        "\nMilliseconds       count       p50       p90       p99       max   p99 with the wait for a connection\n");
    for (int i = 0; i < OPERATIONS; i++) {
        const struct histogram *took = &tally->took[i];
        if (took->count > 0)
            fprintf(out, "  %-10s %11" PRIu64 " %9.1f %9.1f %9.1f %9.1f %9.1f\n", operation_names[i], took->count,
                    ms(histogram_at(took, 0.5)), ms(histogram_at(took, 0.9)), ms(histogram_at(took, 0.99)),
                    ms(took->max), ms(histogram_at(&tally->whole[i], 0.99)));
    }
    fprintf(out, "  The rehearsal's own timers were late by %.1f ms at p99.\n",
            ms(histogram_at(&tally->own_delay, 0.99)));
}

static void put_errors(const struct tally *tally, FILE *out)
{
    if (tally->error_count == 0)
        return;
    fprintf(out, "\nAnswers that were not the hoped-for ones\n");
    for (size_t i = 0; i < tally->error_count; i++) {
        const struct error_count *error = &tally->errors[i];
        char status[16] = "none";
        if (error->status)
            snprintf(status, sizeof status, "%d", error->status);
        fprintf(out, "  %-10s %5s %-34s %9" PRId64 "%s\n", operation_names[error->operation], status, error->code,
                error->count, error->expected ? "" : "  <- must not happen");
    }
}

static void put_fans(const struct stage *stage, FILE *out)
{
    const struct tally *tally = &stage->tally;
    fprintf(out, "\nFans: %" PRId64 " of %" PRId64 " came\n", stage->came, stage->settings->fans);
    for (int i = 0; i < OUTCOMES; i++)
        if (tally->outcomes[i] > 0)
            fprintf(out, "  %9" PRId64 "  %s\n", tally->outcomes[i], outcome_words[i]);
    fprintf(out,
            "  Requests for each: %.1f on the average, %" PRIu64 " at most; polls in the line: %.1f, %" PRIu64
            " at most\n",
            histogram_mean(&tally->requests_of_fan), tally->requests_of_fan.max, histogram_mean(&tally->polls_of_fan),
            tally->polls_of_fan.max);
}

static void put_seats(const struct stage *stage, FILE *out)
{
    fprintf(out, "\nSeats: %" PRId64 " of %" PRId64 " sold", stage->journal.sold, stage->seats_offered);
    if (stage->sold_out)
        fprintf(out, ", the last one after %.1f s", seconds_between(stage->opened, stage->sold_out));
    fprintf(out, ", %.0f a minute\n", report_sold_a_minute(stage));
}

static void put_findings(const struct stage *stage, FILE *out)
{
    struct finding findings[FINDINGS];
    report_findings(stage, findings);
    fprintf(out, "\nMust all be zero\n");
    for (int i = 0; i < FINDINGS; i++)
        fprintf(out, "  %9" PRId64 "  %s\n", findings[i].count, findings[i].words);
}

void report_text(const struct stage *stage, FILE *out)
{
    const struct settings *settings = stage->settings;
    double seconds = seconds_between(stage->opened, stage->ended);
    fprintf(out, "Rehearsal at %s: %" PRId64 " fans, arrival %s, seed %" PRId64 "\n", settings->url, settings->fans,
            settings->arrival_text, settings->seed);
    fprintf(out, "%.1f s%s, %" PRId64 " requests, %.0f a second\n", seconds,
            stage->interrupted ? " (interrupted)"
            : stage->cut       ? " (ended by --duration)"
                               : "",
            stage->tally.requests, (double)stage->tally.requests / (seconds > 0 ? seconds : 1));
    put_fans(stage, out);
    put_seats(stage, out);
    put_operations(&stage->tally, out);
    put_errors(&stage->tally, out);
    put_findings(stage, out);
    fprintf(out, "\n%s\n",
            stage_breaches(stage) ? "The server did NOT do everything right." : "The server did everything right.");
}

void report_calibration_text(const struct stage *stage, const struct calibration *calibration, FILE *out)
{
    fprintf(out, "Calibration at %s: p99 of each of a buyer's six transactions within %.0f ms\n\n",
            stage->settings->url, ms((uint64_t)stage->settings->p99));
    fprintf(out, "  offered/s  through/s  transactions/min  for a buyer  p99 ms  slowest\n");
    for (int i = 0; i < calibration->count; i++) {
        const struct calibrate_step *step = &calibration->steps[i];
        fprintf(out, "  %9.1f  %9.1f  %16.0f  %11.1f  %6.1f  %s%s%s\n", step->offered, step->carried,
                step->transactions * 60, step->a_buyer, ms(step->p99), operation_names[step->slowest],
                step->good ? "" : ": ", step->good ? "" : calibrate_word(step));
    }
    if (calibration->limit)
        fprintf(out, "\nNo higher rate was tried: %s.\n", calibration->limit);
    if (!calibration->best) {
        fprintf(out, "\nNo rate was carried within the target.\n");
    } else {
        double a_minute = calibration->best->transactions * 60;
        double a_buyer =
            calibration->best->a_buyer > SEED_TRANSACTIONS ? calibration->best->a_buyer : SEED_TRANSACTIONS;
        fprintf(out,
                "\nCarried: %.0f transactions a minute%s.\n"
                "Less %d %% to spare: %.0f; at %.1f transactions for a buyer: %.0f buyers a minute.\n"
                "Configure:\n  promote_batch = %" PRId64 "\n  promote_period = %" PRId64 "s\n",
                a_minute, calibration->limit ? " at least" : "", SPARE_PERCENT, a_minute * (100 - SPARE_PERCENT) / 100,
                a_buyer, a_minute * (100 - SPARE_PERCENT) / 100 / a_buyer, calibration->promote_batch,
                calibration->promote_period);
    }
    put_errors(&stage->tally, out);
    put_findings(stage, out);
}
