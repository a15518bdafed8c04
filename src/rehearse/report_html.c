/* report_html: the timeline as one page without scripts, pictures or anything from elsewhere. */
#include "rehearse/report.h"

#include "base/clock.h"

#include <inttypes.h>
#include <math.h>

/* A chart's field in SVG units, and how many points a curve has at most. */
enum { WIDTH = 860, HEIGHT = 200, LEFT = 70, BOTTOM = 26, TOP = 14, POINTS_MAX = 1200, GRID = 4 };

struct curve {
    const char *name, *color;
    int64_t (*of)(const struct moment *moment);
};

static int64_t waiting_of(const struct moment *moment)
{
    return moment->waiting;
}
static int64_t active_of(const struct moment *moment)
{
    return moment->active;
}
static int64_t sold_of(const struct moment *moment)
{
    return moment->sold;
}
static int64_t requests_of(const struct moment *moment)
{
    return moment->requests;
}

/* The next of 1, 2, 4, 10, 20, 40, ... times GRID: grid lines at numbers that are easy to read. */
static double round_up(double highest)
{
    double unit = 1;
    while (unit * 10 * GRID <= highest)
        unit *= 10;
    while (unit * GRID < highest)
        unit *= 2;
    return unit * GRID;
}

static void put_escaped(const char *text, FILE *out)
{
    for (; *text; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '&':
            fputs("&amp;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            fputc(*text, out);
        }
    }
}

static void put_grid(double top, double seconds, FILE *out)
{
    for (int i = 0; i <= GRID; i++) {
        double y = TOP + HEIGHT * (1 - (double)i / GRID), x = LEFT + WIDTH * (double)i / GRID;
        fprintf(out, "<path class=grid d='M%d %.1fh%d'/><text class=y x=%d y=%.1f>%.0f</text>", LEFT, y, WIDTH,
                LEFT - 8, y + 4, top * i / GRID);
        fprintf(out, "<text class=x x=%.1f y=%d>%.*f s</text>\n", x, TOP + HEIGHT + 18, seconds < 40 ? 1 : 0,
                seconds * i / GRID);
    }
}

static void put_curve(const struct tally *tally, const struct curve *curve, double top, double seconds, FILE *out)
{
    size_t step = tally->moment_count / POINTS_MAX + 1;
    char letter = 'M';
    fprintf(out, "<path class=curve stroke='%s' d='", curve->color);
    for (size_t i = 0; i < tally->moment_count; i += step) {
        const struct moment *moment = &tally->moments[i];
        double value = curve->of(moment) > 0 ? (double)curve->of(moment) : 0;
        fprintf(out, "%c%.1f %.1f", letter, LEFT + WIDTH * moment->second / seconds, TOP + HEIGHT * (1 - value / top));
        letter = 'L';
    }
    fprintf(out, "'/>\n");
}

static void put_chart(const struct stage *stage, const struct curve *curve, FILE *out)
{
    const struct tally *tally = &stage->tally;
    double highest = 0, seconds = 1;
    for (size_t i = 0; i < tally->moment_count; i++) {
        highest = fmax(highest, (double)curve->of(&tally->moments[i]));
        seconds = fmax(seconds, tally->moments[i].second);
    }
    double top = round_up(highest);
    fprintf(out,
            "<h2><i style='background:%s'></i>%s</h2>\n<svg viewBox='0 0 %d %d' role=img aria-label='%s over time'>\n",
            curve->color, curve->name, LEFT + WIDTH + 30, TOP + HEIGHT + BOTTOM, curve->name);
    put_grid(top, seconds, out);
    put_curve(tally, curve, top, seconds, out);
    if (stage->sold_out) {
        double at = (double)(stage->sold_out - stage->opened) / (double)CLOCK_SECOND;
        fprintf(out, "<path class=mark d='M%.1f %dv%d'/>\n", LEFT + WIDTH * fmin(at / seconds, 1), TOP, HEIGHT);
    }
    fprintf(out, "</svg>\n");
}

static void put_operations(const struct tally *tally, FILE *out)
{
    fprintf(out, "<table><tr><th>operation<th>count<th>p50 ms<th>p90 ms<th>p99 ms<th>longest ms\n");
    for (int i = 0; i < OPERATIONS; i++) {
        const struct histogram *took = &tally->took[i];
        if (took->count > 0)
            fprintf(out, "<tr><td>%s<td>%" PRIu64 "<td>%.1f<td>%.1f<td>%.1f<td>%.1f\n", operation_names[i], took->count,
                    (double)histogram_at(took, 0.5) / 1000, (double)histogram_at(took, 0.9) / 1000,
                    (double)histogram_at(took, 0.99) / 1000, (double)took->max / 1000);
    }
    fprintf(out, "</table>\n");
}

static void put_counted(const char *what, const struct histogram *histogram, FILE *out)
{
    fprintf(out, "<tr><td>%s<td>%.1f<td>%" PRIu64 "\n", what, histogram_mean(histogram), histogram->max);
}

static void put_counts(const struct stage *stage, FILE *out)
{
    struct finding findings[FINDINGS];
    report_findings(stage, findings);
    fprintf(out, "<h2>Fans</h2>\n<table>");
    for (int i = 0; i < OUTCOMES; i++)
        if (stage->tally.outcomes[i] > 0)
            fprintf(out, "<tr><td>%s<td>%" PRId64 "\n", outcome_words[i], stage->tally.outcomes[i]);
    fprintf(out, "</table>\n<h2>Requests</h2>\n<table><tr><th><th>on the average<th>at most\n");
    put_counted("requests for each fan", &stage->tally.requests_of_fan, out);
    put_counted("polls in the line for each fan", &stage->tally.polls_of_fan, out);
    fprintf(out, "</table>\n<h2>Must all be zero</h2>\n<table>");
    for (int i = 0; i < FINDINGS; i++)
        fprintf(out, "<tr%s><td>%s<td>%" PRId64 "\n", findings[i].count ? " class=bad" : "", findings[i].words,
                findings[i].count);
    fprintf(out, "</table>\n");
}

static const char style[] = ":root{color-scheme:light dark}body{font:15px/1.45 "
                            "system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
                            "h1{font-size:1.4em}h2{font-size:1em;margin:1.6em 0 .3em}h2 "
                            "i{display:inline-block;width:.8em;height:.8em;margin-right:.5em}"
                            "svg{width:100%;height:auto}.grid{stroke:#8884;fill:none}.curve{fill:none;stroke-width:2}"
                            ".mark{stroke:#8889;stroke-dasharray:4 "
                            "4}text{font-size:12px;fill:currentColor}.y{text-anchor:end}.x{text-anchor:middle}"
                            "table{border-collapse:collapse}td,th{padding:.15em 1em .15em "
                            "0;text-align:right}td:first-child,th:first-child{text-align:left}"
                            ".bad{color:#c0392b;font-weight:bold}";

void report_html(const struct stage *stage, FILE *out)
{
    static const struct curve curves[] = {{"Waiting", "#2471a3", waiting_of},
                                          {"Active", "#d68910", active_of},
                                          {"Seats sold", "#1e8449", sold_of},
                                          {"Requests a second", "#7d3c98", requests_of}};
    fprintf(
        out,
        "<!DOCTYPE html>\n<html lang=en><meta charset=utf-8><title>usher: dress rehearsal</title>\n<style>%s</style>\n",
        style);
    fprintf(out, "<h1>Dress rehearsal: %" PRId64 " fans, %" PRId64 " of %" PRId64 " seats sold", stage->came,
            stage->journal.sold, stage->seats_offered);
    if (stage->sold_out)
        fprintf(out, " in %.1f s", (double)(stage->sold_out - stage->opened) / (double)CLOCK_SECOND);
    fprintf(out, ", %.0f a minute", report_sold_a_minute(stage));
    fprintf(out, "</h1>\n<p>");
    put_escaped(stage->settings->url, out);
    fprintf(out, ", arrival %s. %s%s</p>\n", stage->settings->arrival_text,
            stage_breaches(stage) ? "The server did not do everything right." : "The server did everything right.",
            stage->sold_out ? " The dashed line is where the last seat was sold." : "");
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++)
        put_chart(stage, &curves[i], out);
    fprintf(out, "<h2>How long answers took</h2>\n");
    put_operations(&stage->tally, out);
    put_counts(stage, out);
    fprintf(out, "</html>\n");
}
