/* config: every kind with its limits and errors, the file's grammar, precedence, and printing that can be read again.
 */
#include "base/config.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct config config;
static char message[CONFIG_MESSAGE_SIZE];
static char path[64];

static void set_up(void)
{
    message[0] = '\0';
    config_init(&config);
    path[0] = '\0';
}

static void tear_down(void)
{
    if (path[0] != '\0')
        unlink(path);
    config_free(&config);
}

TestSuite(config, .init = set_up, .fini = tear_down);

/* A file with these bytes; its name is in path. */
static void write_file(const char *bytes, size_t length)
{
    int fd;

    snprintf(path, sizeof path, "/tmp/usher-config-XXXXXX");
    fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, bytes, length), (ssize_t)length);
    close(fd);
}

static bool read_text(const char *text)
{
    write_file(text, strlen(text));
    return config_read_file(&config, path, false, message);
}

static bool set(const char *key, const char *value)
{
    return config_set(&config, key, value, "test", message);
}

static void expect_message(const char *expected)
{
    cr_assert_not_null(strstr(message, expected), "\"%s\" is not in \"%s\"", expected, message);
}

static void expect_refused(const char *key, const char *value, const char *expected)
{
    message[0] = '\0';
    cr_assert_not(set(key, value), "%s = %s", key, value);
    expect_message(expected);
    expect_message("test: ");
}

Test(config, defaults)
{
    cr_assert_str_eq(config.listen, "/run/usher/usher.sock");
    cr_assert_eq(config.workers, 0, "auto is 0");
    cr_assert_eq(config.statement_timeout, 2000);
    cr_assert_eq(config.redis_timeout, 200);
    cr_assert_str_eq(config.jwt_algorithm, "HS256");
    cr_assert_str_eq(config.jwt_issuer, "");
    cr_assert_eq(config.promote_batch, 100);
    cr_assert_eq(config.promote_period, 10000);
    cr_assert_eq(config.active_max, 3000);
    cr_assert_eq(config.claim_window, 60000);
    cr_assert_eq(config.active_ttl, 600000);
    cr_assert_eq(config.hold_ttl, 300000);
    cr_assert_eq(config.idempotency_ttl, 86400000);
    cr_assert(config_check(&config, message), "%s", message);
}

Test(config, integers)
{
    cr_assert(set("promote_batch", "1"));
    cr_assert_eq(config.promote_batch, 1);
    cr_assert(set("promote_batch", "1000000"));
    cr_assert_eq(config.promote_batch, 1000000);
    cr_assert(set("balance_max", "1000000000000000"));
    cr_assert_eq(config.balance_max, INT64_C(1000000000000000));
    expect_refused("promote_batch", "0", "promote_batch must be a whole number from 1 to 1000000, not \"0\"");
    expect_refused("promote_batch", "1000001", "from 1 to 1000000");
    expect_refused("promote_batch", "99999999999999999999", "from 1 to 1000000");
    expect_refused("promote_batch", "-1", "from 1 to 1000000");
    expect_refused("promote_batch", "", "whole number");
    expect_refused("promote_batch", "1.5", "whole number");
    expect_refused("promote_batch", "010", "whole number");
    expect_refused("promote_batch", "ten", "not \"ten\"");
    expect_refused("promote_batch", "auto", "whole number");
    cr_assert_eq(config.promote_batch, 1000000, "a refusal changes nothing");
}

Test(config, auto_is_zero_or_a_number)
{
    cr_assert(set("workers", "3"));
    cr_assert_eq(config.workers, 3);
    cr_assert(set("workers", "auto"));
    cr_assert_eq(config.workers, 0);
    expect_refused("workers", "0", "workers must be auto or a whole number from 1 to 1024");
    expect_refused("workers", "Auto", "auto or");
}

Test(config, durations)
{
    static const struct {
        const char *text;
        int64_t milliseconds;
    } rows[] = {{"90", 90000}, {"90s", 90000},      {"250ms", 250}, {"5min", 300000},        {"24h", 86400000},
                {"1", 1000},   {"86400", 86400000}, {"1ms", 1},     {"86400000ms", 86400000}};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cr_assert(set("hold_ttl", rows[i].text), "%s", message);
        cr_assert_eq(config.hold_ttl, rows[i].milliseconds, "%s", rows[i].text);
    }
    cr_assert(set("concert_cache_ttl", "0"));
    cr_assert_eq(config.concert_cache_ttl, 0);
}

Test(config, durations_refused)
{
    static const char *const shapes[] = {"",    "s",    "ms", "5m", "5 min",    "5 s", "1d",
                                         "-5s", "1.5s", "+5", "5S", "5minutes", "05",  "1h30min"};

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        expect_refused("hold_ttl", shapes[i], "hold_ttl wants a duration such as 250ms, 90s, 5min or 24h");
    expect_refused("hold_ttl", "0", "hold_ttl must be from 1ms to 24h, not \"0\"");
    expect_refused("hold_ttl", "25h", "from 1ms to 24h");
    expect_refused("hold_ttl", "86400001ms", "from 1ms to 24h");
    expect_refused("hold_ttl", "99999999999999999999h", "from 1ms to 24h");
    expect_refused("hold_ttl", "9223372036854775807h", "from 1ms to 24h");
    expect_refused("promote_period", "99ms", "from 100ms to 1h");
    cr_assert_eq(config.hold_ttl, 300000, "a refusal changes nothing");
}

Test(config, choices)
{
    cr_assert(set("jwt_algorithm", "EdDSA"));
    cr_assert_str_eq(config.jwt_algorithm, "EdDSA");
    cr_assert(set("log_level", "error"));
    expect_refused("jwt_algorithm", "none", "must be one of HS256 RS256 ES256 EdDSA, not \"none\"");
    expect_refused("jwt_algorithm", "hs256", "one of");
    expect_refused("jwt_algorithm", "HS", "one of");
    expect_refused("jwt_algorithm", "HS256 RS256", "one of");
    expect_refused("jwt_algorithm", "", "one of");
    cr_assert_str_eq(config.jwt_algorithm, "EdDSA");
}

Test(config, texts)
{
    char value[4098];

    memset(value, 'x', sizeof value);
    value[4096] = '\0';
    cr_assert(set("database", value));
    cr_assert_str_eq(config.database, value);
    value[4096] = 'x';
    value[4097] = '\0';
    expect_refused("database", value, "database is longer than 4096 bytes");
    expect_refused("database", "a\xff", "database is not valid UTF-8");
    expect_refused("database", "a\nb", "database holds a control character");
    cr_assert(set("jwt_issuer", ""));
    cr_assert(set("jwt_issuer", "발행 = #1"));
    cr_assert_str_eq(config.jwt_issuer, "발행 = #1");
}

Test(config, texts_are_copies)
{
    char value[] = "first";

    cr_assert(set("currency", value));
    value[0] = 'X';
    cr_assert_str_eq(config.currency, "first");
}

Test(config, a_refused_text_is_not_shown)
{
    expect_refused("database", "password=secret\n", "database");
    cr_assert_null(strstr(message, "secret"));
}

Test(config, unknown_keys_name_the_nearest)
{
    expect_refused("promote_bach", "1", "there is no key \"promote_bach\"; is \"promote_batch\" meant?");
    expect_refused("Workers", "1", "is \"workers\" meant?");
    expect_refused("worker", "1", "is \"workers\" meant?");
    expect_refused("hold-ttl", "1", "is \"hold_ttl\" meant?");
    expect_refused("lisen", "1", "is \"listen\" meant?");
    expect_refused("zebra_crossing", "1", "--print-config shows all keys");
    expect_refused("", "1", "--print-config");
    expect_refused("x", "1", "--print-config");
}

Test(config, a_very_long_unknown_key_is_cut)
{
    static char key[5000];

    memset(key, 'k', sizeof key - 1);
    cr_assert_not(set(key, "1"));
    cr_assert_lt(strlen(message), 200);
}

Test(config, file_grammar)
{
    cr_assert(read_text("# a comment\n"
                        "\n"
                        "   \t \n"
                        "workers=2\n"
                        "  promote_batch \t=\t 7  \r\n"
                        "  # indented comment = 1\n"
                        "jwt_issuer = \"quoted\" # not a comment\n"
                        "database = host=a port=1\n"
                        "jwt_audience =\n"
                        "hold_ttl = 90s"),
              "%s", message);
    cr_assert_eq(config.workers, 2);
    cr_assert_eq(config.promote_batch, 7);
    cr_assert_str_eq(config.jwt_issuer, "\"quoted\" # not a comment");
    cr_assert_str_eq(config.database, "host=a port=1");
    cr_assert_str_eq(config.jwt_audience, "");
    cr_assert_eq(config.hold_ttl, 90000, "a last line without its end counts");
}

Test(config, an_empty_file_is_fine)
{
    cr_assert(read_text(""), "%s", message);
}

static void expect_file_error(const char *text, size_t length, int line, const char *expected)
{
    char where[128];

    write_file(text, length);
    cr_assert_not(config_read_file(&config, path, false, message));
    snprintf(where, sizeof where, "%s:%d: ", path, line);
    expect_message(where);
    expect_message(expected);
    unlink(path);
}

#define FILE_ERROR(text, line, expected) expect_file_error(text, sizeof(text) - 1, line, expected)

Test(config, file_errors_name_file_and_line)
{
    FILE_ERROR("workers = 2\nworkers\n", 2, "a line must be \"key = value\" or begin with #");
    FILE_ERROR("= 2\n", 1, "a line must be");
    FILE_ERROR(" = 2\n", 1, "a line must be");
    FILE_ERROR("\n\nwokers = 2\n", 3, "is \"workers\" meant?");
    FILE_ERROR("workers = two\n", 1, "not \"two\"");
    FILE_ERROR("a = 1\0\n", 1, "the line holds a NUL byte");
    FILE_ERROR("#\n# \xff\n", 2, "the line is not valid UTF-8");
    FILE_ERROR("workers = 1\nhold_ttl = 1\x01\n", 2, "hold_ttl");
    FILE_ERROR("currency = a\x01z\n", 1, "control character");
}

Test(config, file_line_too_long)
{
    static char text[5000];

    memset(text, '#', sizeof text);
    expect_file_error(text, 4608, 1, "the line is longer than 4607 bytes");
    write_file(text, 4607);
    cr_assert(config_read_file(&config, path, false, message), "%s", message);
}

Test(config, file_that_is_missing_or_unreadable)
{
    cr_assert(config_read_file(&config, "/nonexistent/usher.conf", true, message));
    cr_assert_not(config_read_file(&config, "/nonexistent/usher.conf", false, message));
    expect_message("/nonexistent/usher.conf: cannot be opened: No such file");
    cr_assert_not(config_read_file(&config, "/dev/null/usher.conf", true, message), "only absence is forgiven");
    expect_message("/dev/null/usher.conf: cannot be opened: Not a directory");
    cr_assert_not(config_read_file(&config, "/tmp", true, message), "a folder is no file");
    expect_message("/tmp: cannot be read: Is a directory");
}

Test(config, environment)
{
    setenv("USHER_PROMOTE_BATCH", "5000", 1);
    setenv("USHER_JWT_ISSUER", "me", 1);
    setenv("USHER_URL", "http://example.test", 1);
    setenv("USHER_promote_period", "1h", 1);
    cr_assert(config_read_environment(&config, message), "%s", message);
    cr_assert_eq(config.promote_batch, 5000);
    cr_assert_str_eq(config.jwt_issuer, "me");
    cr_assert_eq(config.promote_period, 10000, "only capitals count");
}

Test(config, environment_errors_name_the_variable)
{
    setenv("USHER_HOLD_TTL", "soon", 1);
    cr_assert_not(config_read_environment(&config, message));
    expect_message("environment USHER_HOLD_TTL: hold_ttl wants a duration");
}

Test(config, later_sources_win)
{
    cr_assert(read_text("workers = 2\nseat_limit = 2\nactive_max = 2\n"));
    setenv("USHER_SEAT_LIMIT", "3", 1);
    setenv("USHER_ACTIVE_MAX", "3", 1);
    cr_assert(config_read_environment(&config, message));
    cr_assert(set("active_max", "4"));
    cr_assert_eq(config.workers, 2);
    cr_assert_eq(config.seat_limit, 3);
    cr_assert_eq(config.active_max, 4);
}

Test(config, check_what_no_key_shows_alone)
{
    cr_assert(set("concert_cache_max", "9s"));
    cr_assert_not(config_check(&config, message));
    expect_message("concert_cache_max (9s) must not be shorter than concert_cache_ttl (10s)");
    cr_assert(set("concert_cache_max", "10s"));
    cr_assert(config_check(&config, message));
    cr_assert(set("lock_timeout", "2001ms"));
    cr_assert_not(config_check(&config, message));
    expect_message("lock_timeout (2001ms) must not be longer than statement_timeout (2s)");
    cr_assert(set("lock_timeout", "2s"));
    cr_assert(config_check(&config, message));
}

/* What config_print writes, as a text in static memory. */
static const char *printed(bool comments)
{
    static char text[32768];
    FILE *out = fmemopen(text, sizeof text, "w");

    config_print(&config, out, comments);
    fclose(out);
    return text;
}

Test(config, print_shows_what_is_in_force)
{
    cr_assert(set("hold_ttl", "90s"));
    cr_assert(set("active_ttl", "7200s"));
    cr_assert(set("concert_cache_ttl", "0"));
    cr_assert(set("workers", "3"));
    cr_assert_not_null(strstr(printed(false), "\nworkers = 3\n"));
    cr_assert_not_null(strstr(printed(false), "\nhold_ttl = 90s\n"));
    cr_assert_not_null(strstr(printed(false), "\nactive_ttl = 2h\n"));
    cr_assert_not_null(strstr(printed(false), "\nconcert_cache_ttl = 0\n"));
    cr_assert_not_null(strstr(printed(false), "\nclaim_window = 60s\n"), "a default as the table writes it");
    cr_assert_null(strchr(printed(false), '#'));
}

Test(config, print_with_comments_is_the_sample_file)
{
    const char *text = printed(true);

    cr_assert_not_null(strstr(text, "# Worker processes; auto is four for each processor.\n"
                                    "# Default: auto; from 1 to 1024\n"
                                    "workers = auto\n"));
    cr_assert_not_null(strstr(text, "# Default: 10s; from 100ms to 1h\npromote_period = 10s\n"));
    cr_assert_not_null(strstr(text, "# Default: HS256; one of HS256 RS256 ES256 EdDSA\n"));
    cr_assert_not_null(strstr(text, "# When set, iss must be this.\n# Default: empty\njwt_issuer = \n"));
}

Test(config, print_can_be_read_again)
{
    char first[32768];

    cr_assert(set("workers", "5"));
    cr_assert(set("hold_ttl", "61001ms"));
    cr_assert(set("jwt_issuer", "발행 = #1"));
    for (int comments = 0; comments < 2; comments++) {
        snprintf(first, sizeof first, "%s", printed(comments));
        config_free(&config);
        config_init(&config);
        cr_assert(read_text(first), "%s", message);
        cr_assert_str_eq(printed(comments), first);
        unlink(path);
    }
    cr_assert_eq(config.hold_ttl, 61001);
}

Test(config, every_row_is_documented_and_sane)
{
    static const struct {
        const char *name, *what;
    } rows[] = {
#define ROW(kind, field, value, min, max, words, what) {#field, what},
        CONFIG_TABLE(ROW)
#undef ROW
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cr_assert_eq(strspn(rows[i].name, "abcdefghijklmnopqrstuvwxyz_"), strlen(rows[i].name));
        cr_assert_gt(strlen(rows[i].what), 10, "%s", rows[i].name);
        cr_assert_leq(strlen(rows[i].what), 118, "%s fits a line of the sample file", rows[i].name);
    }
}

Test(config, free_leaves_nothing_behind)
{
    config_free(&config);
    cr_assert_null(config.listen);
    config_free(&config);
}
