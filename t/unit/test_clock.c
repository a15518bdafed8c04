/* clock: calendar arithmetic against the C library, limits, and the test builds' offset. */
#include "base/clock.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LAST_SECOND INT64_C(253402300799) /* 9999-12-31T23:59:59Z */

static void expect(int64_t time, const char *text)
{
    char got[CLOCK_TEXT_SIZE];

    clock_format(time, got);
    cr_assert_str_eq(got, text, "%lld: %s, not %s", (long long)time, got, text);
}

Test(clock, format_known_times)
{
    expect(0, "1970-01-01T00:00:00.000Z");
    expect(INT64_C(951782400) * CLOCK_SECOND, "2000-02-29T00:00:00.000Z");
    expect(INT64_C(4107542399) * CLOCK_SECOND + 999999, "2100-02-28T23:59:59.999Z");
    expect(INT64_C(4107542400) * CLOCK_SECOND, "2100-03-01T00:00:00.000Z");
    expect(INT64_C(1795348800) * CLOCK_SECOND + 123456, "2026-11-22T12:00:00.123Z");
}

Test(clock, format_rounds_down_also_before_1970)
{
    expect(999, "1970-01-01T00:00:00.000Z");
    expect(1000, "1970-01-01T00:00:00.001Z");
    expect(-1, "1969-12-31T23:59:59.999Z");
    expect(-1001, "1969-12-31T23:59:59.998Z");
    expect(-86400 * CLOCK_SECOND, "1969-12-31T00:00:00.000Z");
}

Test(clock, format_stays_within_rfc_3339)
{
    expect(INT64_MAX, "9999-12-31T23:59:59.999Z");
    expect((LAST_SECOND + 1) * CLOCK_SECOND, "9999-12-31T23:59:59.999Z");
    expect(INT64_C(-62167219200) * CLOCK_SECOND, "0000-01-01T00:00:00.000Z");
    expect(INT64_MIN, "0000-01-01T00:00:00.000Z");
}

/* 100,003 times spread over all years, each against gmtime_r. */
Test(clock, format_agrees_with_the_c_library)
{
    const int64_t first = INT64_C(-62167219200);

    for (int64_t second = first; second <= LAST_SECOND; second += (LAST_SECOND - first) / 100003) {
        time_t time = (time_t)second;
        struct tm tm;
        char expected[64];

        cr_assert_not_null(gmtime_r(&time, &tm));
        snprintf(expected, sizeof expected, "%04d-%02d-%02dT%02d:%02d:%02d.000Z", tm.tm_year + 1900, tm.tm_mon + 1,
                 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        expect(second * CLOCK_SECOND, expected);
    }
}

Test(clock, now_is_the_system_time)
{
    int64_t before = (int64_t)time(NULL);
    int64_t now = clock_now() / CLOCK_SECOND;

    cr_assert(now >= before && now <= (int64_t)time(NULL) + 1);
    cr_assert_eq(clock_offset_ms(), 0);
}

Test(clock, monotonic_never_falls)
{
    int64_t last = clock_monotonic();

    for (int i = 0; i < 100000; i++) {
        int64_t next = clock_monotonic();

        cr_assert_geq(next, last);
        last = next;
    }
    usleep(3000);
    cr_assert_geq(clock_monotonic(), last + 3000, "microseconds");
}

#ifdef USHER_TEST_HOOKS
static char path[] = "/tmp/usher-clock-XXXXXX";

static int offset_file(size_t size)
{
    int fd = mkstemp(path);

    cr_assert_geq(fd, 0);
    cr_assert_eq(ftruncate(fd, (off_t)size), 0);
    return fd;
}

static void set_offset(int fd, int64_t offset)
{
    cr_assert_eq(pwrite(fd, &offset, sizeof offset, 0), (ssize_t)sizeof offset);
}

Test(clock, offset_file_moves_the_wall_clock_only)
{
    int fd = offset_file(8);
    int64_t wall = clock_now();
    int64_t monotonic = clock_monotonic();

    cr_assert(clock_use_offset_file(path));
    unlink(path);
    set_offset(fd, 3600 * CLOCK_SECOND);
    cr_assert_geq(clock_now(), wall + 3600 * CLOCK_SECOND);
    cr_assert_lt(clock_now(), wall + 3660 * CLOCK_SECOND);
    cr_assert_eq(clock_offset_ms(), 3600000);
    cr_assert_lt(clock_monotonic(), monotonic + 60 * CLOCK_SECOND);
    set_offset(fd, -1500);
    cr_assert_eq(clock_offset_ms(), -1);
    close(fd);
}

Test(clock, offset_file_errors)
{
    int fd = offset_file(7);

    cr_assert_not(clock_use_offset_file(path));
    cr_assert_eq(errno, EINVAL, "a file of 7 bytes");
    unlink(path);
    close(fd);
    cr_assert_not(clock_use_offset_file(path));
    cr_assert_eq(errno, ENOENT);
    cr_assert_eq(clock_offset_ms(), 0);
}
#else
Test(clock, offset_file_is_only_for_test_builds)
{
    cr_assert_not(clock_use_offset_file("/dev/zero"));
    cr_assert_eq(errno, ENOSYS);
}
#endif
