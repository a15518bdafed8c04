/* log: what reaches stderr, and that no value can forge a line. */
#include "base/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int saved_stderr = -1;
static int capture_fd = -1;
static char captured[16384];

/* stderr goes to a nameless file; the tests read it there. */
static void begin_capture(void)
{
    char path[] = "/tmp/usher-log-XXXXXX";

    capture_fd = mkstemp(path);
    cr_assert_geq(capture_fd, 0);
    unlink(path);
    saved_stderr = dup(STDERR_FILENO);
    dup2(capture_fd, STDERR_FILENO);
}

/* What was written since begin_capture(); stderr is itself again, so that failures can be reported. */
static const char *end_capture(void)
{
    ssize_t length = pread(capture_fd, captured, sizeof captured - 1, 0);

    dup2(saved_stderr, STDERR_FILENO);
    captured[length < 0 ? 0 : length] = '\0';
    return captured;
}

TestSuite(log, .init = begin_capture);

Test(log, a_line_has_the_program_in_front)
{
    log_open("usher-test", LOG_INFO);
    log_info("route=%s status=%d", "/v1/queue", 200);
    cr_assert_str_eq(end_capture(), "usher-test: route=/v1/queue status=200\n");
}

Test(log, levels_filter)
{
    log_open("t", LOG_WARNING);
    log_error("error");
    log_warning("warning");
    log_notice("notice");
    log_info("info");
    log_debug("debug");
    log_set_level(LOG_DEBUG);
    log_debug("second debug");
    cr_assert_str_eq(end_capture(), "t: error\nt: warning\nt: second debug\n");
}

Test(log, the_journal_gets_priorities)
{
    struct stat status;
    char stream[64];

    fstat(STDERR_FILENO, &status);
    snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_open("t", LOG_DEBUG);
    log_error("a");
    log_debug("b");
    cr_assert_str_eq(end_capture(), "<3>a\n<7>b\n");
}

Test(log, a_journal_elsewhere_is_not_ours)
{
    setenv("JOURNAL_STREAM", "1:1", 1);
    log_open("t", LOG_INFO);
    log_info("a");
    cr_assert_str_eq(end_capture(), "t: a\n");
}

Test(log, control_characters_cannot_forge_a_line)
{
    log_open("t", LOG_INFO);
    log_info("%s", "a\nt: forged\r\x1b[31m\x7f\xc2\x85"
                   "b\xc2\xa0 공\t");
    cr_assert_str_eq(end_capture(), "t: a?t: forged??[31m???b\xc2\xa0 공?\n");
}

Test(log, long_lines_are_cut_and_say_so)
{
    static char text[20000];
    const char *line;
    size_t length;

    memset(text, 'x', sizeof text - 1);
    log_open("t", LOG_INFO);
    log_info("%s", text);
    line = end_capture();
    length = strlen(line);
    cr_assert_lt(length, 4096, "one write to a pipe stays whole");
    cr_assert_gt(length, 3900);
    cr_assert_str_eq(line + length - 5, "x...\n");
}

Test(log, every_length_around_the_limit_is_one_line)
{
    static char text[4100];

    memset(text, 'x', sizeof text - 1);
    log_open("t", LOG_INFO);
    for (int length = 3980; length < 4010; length++) {
        const char *line;

        cr_assert_eq(ftruncate(capture_fd, 0), 0);
        lseek(capture_fd, 0, SEEK_SET);
        dup2(capture_fd, STDERR_FILENO);
        log_info("%.*s", length, text);
        line = end_capture();
        cr_assert_eq(strcspn(line, "\n"), strlen(line) - 1, "length %d", length);
        cr_assert_leq(strlen(line), 4000, "length %d", length);
        cr_assert_eq(strstr(line, "...") == NULL, length + 3 < 4000, "length %d", length);
    }
}

Test(log, a_cut_does_not_split_a_character)
{
    static char text[6001];
    const char *line;

    for (size_t i = 0; i < 6000; i += 3)
        memcpy(text + i, "공", 3);
    for (int indent = 0; indent < 3; indent++) {
        begin_capture();
        log_open("t", LOG_INFO);
        log_info("%*s%s", indent, "", text);
        line = end_capture();
        cr_assert_eq((strlen(line) - (size_t)indent - strlen("t: ...\n")) % 3, 0, "indent %d", indent);
    }
}

Test(log, errno_survives)
{
    log_open("t", LOG_INFO);
    close(STDERR_FILENO);
    errno = ENOENT;
    log_info("lost");
    cr_assert_eq(errno, ENOENT);
    end_capture();
}

static void expect_quote(const char *value, size_t size, const char *expected)
{
    char out[64];

    memset(out, '#', sizeof out);
    cr_assert_eq(log_quote(value, out, size), out);
    cr_assert_str_eq(out, expected);
    cr_assert(size == 0 || strlen(out) < size);
    cr_assert_eq(out[size], '#', "nothing is written behind size");
}

Test(log, quote)
{
    end_capture();
    expect_quote("/v1/concerts/7", 40, "/v1/concerts/7");
    expect_quote("a.b_c:d@e+f-1", 40, "a.b_c:d@e+f-1");
    expect_quote("", 40, "\"\"");
    expect_quote(NULL, 40, "-");
    expect_quote("a b", 40, "\"a b\"");
    expect_quote("k=v", 40, "\"k=v\"");
    expect_quote("say \"hi\" \\", 40, "\"say \\\"hi\\\" \\\\\"");
    expect_quote("a\nb\x7f", 40, "\"a\\x0ab\\x7f\"");
    expect_quote("공연", 40, "\"공연\"");
    expect_quote("\xff\xc2\x85", 40, "\"\\xff\\xc2\\x85\"");
}

Test(log, quote_is_cut_at_size)
{
    end_capture();
    expect_quote("abcdef", 7, "abcdef");
    expect_quote("abcdef", 6, "\"abc\"");
    expect_quote("ab cdef", 6, "\"ab \"");
    expect_quote("a\"\"\"\"", 6, "\"a\\\"\"");
    expect_quote("a\"\"\"\"", 5, "\"a\"");
    expect_quote("공연", 8, "\"공\"");
    expect_quote("abc", 3, "\"\"");
    expect_quote("abc", 2, "");
    expect_quote("abc", 1, "");
    expect_quote("\xf0\x9f", 11, "\"\\xf0\\x9f\"");
    expect_quote("\xf0\x9f", 10, "\"\\xf0\"");
}
