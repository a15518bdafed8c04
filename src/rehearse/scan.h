/* scan: reads answers' JSON in place, without building objects: a rehearsal reads gigabytes of seat lists.
 *
 * A span is a part of the text. Strict about structure (RFC 8259), except that duplicate names are not looked for: the
 * first one counts. Depth is limited to 32. */
#ifndef USHER_REHEARSE_SCAN_H
#define USHER_REHEARSE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct span {
    const char *at;
    size_t length;
};

/* Whether the span is exactly one JSON value, white space around it allowed. */
bool scan_valid(struct span text) __attribute__((warn_unused_result));
/* The value of a member of the object that text is. False: no such member, or text is no object up to there. */
bool scan_member(struct span text, const char *name, struct span *value) __attribute__((warn_unused_result));
/* An integer member without fraction or exponent. */
bool scan_int(struct span object, const char *name, int64_t *value) __attribute__((warn_unused_result));
/* A string member, without its quotes and with escapes left as they are. */
bool scan_text(struct span object, const char *name, struct span *value) __attribute__((warn_unused_result));
/* The next element of an array: *rest begins as the array and shrinks. False at its end, or where it is malformed
 * (then rest->at is NULL). */
bool scan_next(struct span *rest, struct span *element) __attribute__((warn_unused_result));

bool span_is(struct span span, const char *text);

#endif
