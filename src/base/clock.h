/* clock: what time it is, in one place, so that tests can move it.
 *
 * Times are microseconds since 1970-01-01T00:00:00Z in an int64_t. Redis and PostgreSQL keep their own clocks for what
 * they decide (deadlines); clock_offset_ms() is added to Redis' clock inside the scripts. Outside test builds the
 * offset is always 0. */
#ifndef USHER_BASE_CLOCK_H
#define USHER_BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLOCK_SECOND INT64_C(1000000)

/* Bytes for clock_format(): "2026-11-22T12:00:00.123Z" and the NUL. */
#define CLOCK_TEXT_SIZE 32

int64_t clock_now(void);       /* wall clock, offset included */
int64_t clock_wall(void);      /* wall clock, never moved: to compare with what other programs read from theirs */
int64_t clock_monotonic(void); /* for measuring; never moved, never steps */
int64_t clock_offset_ms(void);

/* Test builds (USHER_TEST_HOOKS): maps the file, whose first 8 bytes are the offset in microseconds as a native
 * int64_t; every process that maps the same file sees a change at once. The file must be written in place, never cut.
 * Returns false with errno. In other builds: false, ENOSYS. */
bool clock_use_offset_file(const char *path) __attribute__((warn_unused_result));

/* RFC 3339 in UTC with milliseconds (rounded down) and Z. Times outside the years 0000 to 9999 read as the nearest in
 * them. */
void clock_format(int64_t time, char text[static CLOCK_TEXT_SIZE]);

#endif
