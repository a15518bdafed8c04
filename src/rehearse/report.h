/* report: the findings of a rehearsal, for reading, for programs, and as a picture. */
#ifndef USHER_REHEARSE_REPORT_H
#define USHER_REHEARSE_REPORT_H

#include "rehearse/calibrate.h"
#include "rehearse/stage.h"

#include <stdbool.h>
#include <stdio.h>

/* What could be wrong, one count each; good is 0. */
struct finding {
    const char *name, *words;
    int64_t count;
};
enum { FINDINGS = 9 };
void report_findings(const struct stage *stage, struct finding findings[static FINDINGS]);

/* Seats paid for in a minute, until the last one was or, if seats are left, until the end. */
double report_sold_a_minute(const struct stage *stage);

void report_text(const struct stage *stage, FILE *out);
void report_json(const struct stage *stage, FILE *out);
void report_html(const struct stage *stage, FILE *out);
void report_calibration_text(const struct stage *stage, const struct calibration *calibration, FILE *out);
void report_calibration_json(const struct stage *stage, const struct calibration *calibration, FILE *out);

/* The files of --report, and the report on stdout; calibration NULL for a rehearsal. False, having said so, when
 * something cannot be written. */
bool report_write(const struct stage *stage, const struct calibration *calibration) __attribute__((warn_unused_result));

#endif
