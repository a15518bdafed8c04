/* log: what reaches stderr, and that no value can forge a line. */
#include "base/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

/* stderr becomes a journal's stream; the journal's end of it is the result. */
static int become_journal(void)
{
    int ends[2];
    struct stat status;
    char stream[64];

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    dup2(ends[0], STDERR_FILENO);
    close(ends[0]);
    fstat(STDERR_FILENO, &status);
    snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_open("t", LOG_DEBUG);
    return ends[1];
}

/* What has come to the journal. */
static const char *read_journal(int journal)
{
    size_t length = 0;
    ssize_t got;

    while (length < sizeof captured - 1 &&
           (got = recv(journal, captured + length, sizeof captured - 1 - length, MSG_DONTWAIT)) > 0)
        length += (size_t)got;
    captured[length] = '\0';
    return captured;
}

Test(log, the_journal_gets_priorities)
{
    int journal = become_journal();

    log_error("a");
    log_debug("b");
    dup2(saved_stderr, STDERR_FILENO);
    cr_assert_str_eq(read_journal(journal), "<3>a\n<7>b\n");
}

/* A line that waited would be the end of the test: its time is over after five seconds. */
Test(log, a_journal_that_does_not_read_is_not_waited_for, .timeout = 5)
{
    static char text[3000];
    int journal = become_journal();
    const char *rest, *line;

    memset(text, 'x', sizeof text - 1);
    for (int i = 0; i < 10000; i++)
        log_info("%d %s", i, text);
    do
        rest = read_journal(journal);
    while (strlen(rest) == sizeof captured - 1);
    log_info("after");
    log_info("again");
    dup2(saved_stderr, STDERR_FILENO);
    rest = read_journal(journal);
    line = "<4>the journal took nothing for a while, lines lost=";
    cr_assert_eq(strncmp(rest, line, strlen(line)), 0, "%s", rest);
    cr_assert_gt(strtol(rest + strlen(line), NULL, 10), 1000);
    cr_assert_str_eq(strchr(rest, '\n'), "\n<6>after\n<6>again\n", "said once, and the lines after it are whole");
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
