/* report: where the reports go, and the findings they share. */
#include "rehearse/report.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

void report_findings(const struct stage *stage, struct finding findings[static FINDINGS])
{
    const struct journal *journal = &stage->journal;
    const struct finding all[FINDINGS] = {
        {"seats_sold_twice", "seats sold twice", journal->sold_twice},
        {"seats_held_twice", "seats held by two at a time", journal->held_twice},
        {"wrong_seats", "reservations of other seats or prices than asked for", journal->wrong_seats},
        {"wrong_money", "balances or prices that do not follow", journal->wrong_money},
        {"ticket_inversions", "tickets lower than one given out before", journal->ticket_inversions},
        {"admission_inversions", "waiting while a higher ticket was let in", journal->overtaken},
        {"pushed_back", "positions that grew", journal->pushed_back},
        {"unexpected_answers", "answers that no client should get", stage->tally.unexpected},
        {"failed_fans", "fans who gave up on the server", stage->tally.outcomes[OUTCOME_FAILED]},
    };
    memcpy(findings, all, sizeof all);
}

double report_sold_a_minute(const struct stage *stage)
{
    int64_t took = (stage->sold_out ? stage->sold_out : stage->ended) - stage->opened;
    return took > 0 ? (double)stage->journal.sold * 60 * (double)CLOCK_SECOND / (double)took : 0;
}

/* A kind of report; exactly one of the two writes it. */
struct form {
    const char *name;
    void (*rehearsal)(const struct stage *stage, FILE *out);
    void (*calibration)(const struct stage *stage, const struct calibration *calibration, FILE *out);
};

static bool put(const struct form *form, const struct stage *stage, const struct calibration *calibration, FILE *out)
{
    if (calibration)
        form->calibration(stage, calibration, out);
    else
        form->rehearsal(stage, out);
    return fflush(out) == 0 && !ferror(out);
}

static bool put_file(const struct form *form, const struct stage *stage, const struct calibration *calibration)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/%s", stage->settings->report, form->name);
    FILE *out = length < (int)sizeof path ? fopen(path, "we") : NULL;
    bool good = out && put(form, stage, calibration, out);
    if (!good)
        log_error("cannot write %s: %s", path, strerror(errno));
    if (out && fclose(out) != 0)
        good = false;
    return good;
}

bool report_write(const struct stage *stage, const struct calibration *calibration)
{
    static const struct form forms[] = {
        {"report.txt", report_text, report_calibration_text},
        {"report.json", report_json, report_calibration_json},
        {"timeline.html", report_html, NULL},
    };
    const char *folder = stage->settings->report;
    bool good = put(&forms[stage->settings->json ? 1 : 0], stage, calibration, stdout);
    if (!good)
        log_error("cannot write to standard output");
    if (!folder)
        return good;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
        log_error("--report: cannot make the folder %s: %s", folder, strerror(errno));
        return false;
    }
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (!calibration || forms[i].calibration)
            good = put_file(&forms[i], stage, calibration) && good;
    return good;
}
