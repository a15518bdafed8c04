/* clock: the system's clocks, and in test builds an offset that a test writes into a shared file. */
#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#ifdef USHER_TEST_HOOKS
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#define DAY           (INT64_C(86400) * CLOCK_SECOND)
#define DAYS_TO_EPOCH 719468 /* from 0000-03-01 to 1970-01-01 */
#define DAYS_PER_ERA  146097 /* the Gregorian calendar repeats after 400 years */

/* What RFC 3339 can write: years 0000 to 9999. */
#define TIME_MIN (INT64_C(-62167219200) * CLOCK_SECOND)
#define TIME_MAX (INT64_C(253402300800) * CLOCK_SECOND - 1)

#ifdef USHER_TEST_HOOKS
static const int64_t *test_offset; /* the mapped file; NULL: not moved */

static int64_t offset(void)
{
    return test_offset == NULL ? 0 : __atomic_load_n(test_offset, __ATOMIC_RELAXED);
}

bool clock_use_offset_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *map = MAP_FAILED;
    struct stat status;
    int error;

    if (fd < 0)
        return false;
    if (fstat(fd, &status) == 0) {
        if (status.st_size < (off_t)sizeof *test_offset)
            errno = EINVAL;
        else
            map = mmap(NULL, sizeof *test_offset, PROT_READ, MAP_SHARED, fd, 0);
    }
    error = errno;
    close(fd);
    errno = error;
    if (map == MAP_FAILED)
        return false;
    test_offset = map;
    return true;
}
#else
static int64_t offset(void)
{
    return 0;
}

bool clock_use_offset_file(const char *path)
{
    (void)path;
    errno = ENOSYS;
    return false;
}
#endif

/* clock_gettime cannot fail for these two clocks on Linux; a failure is a broken sandbox, and no time is no service. */
static int64_t read_clock(clockid_t id)
{
    struct timespec now;

    if (clock_gettime(id, &now) != 0)
        abort();
    return (int64_t)now.tv_sec * CLOCK_SECOND + now.tv_nsec / 1000;
}

int64_t clock_wall(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t clock_now(void)
{
    return clock_wall() + offset();
}

int64_t clock_monotonic(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t clock_offset_ms(void)
{
    return offset() / 1000;
}

static char *put_digits(char *to, unsigned value, int count)
{
    for (int i = count - 1; i >= 0; i--) {
        to[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return to + count;
}

/* The civil date of a day number, by years that begin in March so that the leap day comes last (Howard Hinnant's
 * days_from_civil, the other way round). */
static char *put_date(char *to, int64_t days_since_epoch)
{
    unsigned days =
        (unsigned)(days_since_epoch + DAYS_TO_EPOCH + DAYS_PER_ERA); /* one era more: not negative in year 0 */
    unsigned era = days / DAYS_PER_ERA;
    unsigned day_of_era = days % DAYS_PER_ERA;
    unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned shifted_month = (5 * day_of_year + 2) / 153; /* 0 is March */
    unsigned month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
    unsigned year = era * 400 + year_of_era + (month <= 2) - 400;

    to = put_digits(to, year, 4);
    *to++ = '-';
    to = put_digits(to, month, 2);
    *to++ = '-';
    return put_digits(to, day_of_year - (153 * shifted_month + 2) / 5 + 1, 2);
}

void clock_format(int64_t time, char text[static CLOCK_TEXT_SIZE])
{
    int64_t days;
    unsigned milliseconds;
    char *to = text;

    if (time < TIME_MIN)
        time = TIME_MIN;
    if (time > TIME_MAX)
        time = TIME_MAX;
    days = time / DAY - (time % DAY < 0);
    milliseconds = (unsigned)((time - days * DAY) / 1000);

    to = put_date(to, days);
    *to++ = 'T';
    to = put_digits(to, milliseconds / 3600000, 2);
    *to++ = ':';
    to = put_digits(to, milliseconds / 60000 % 60, 2);
    *to++ = ':';
    to = put_digits(to, milliseconds / 1000 % 60, 2);
    *to++ = '.';
    to = put_digits(to, milliseconds % 1000, 3);
    *to++ = 'Z';
    *to = '\0';
}
