/* options: precedence, what ends the program and with which status. Where the
 * program ends, a child does it, and its output and status are looked at. */
#include "base/options.h"

#include "base/log.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct config config;
static char path[64];

static void set_up(void)
{
    snprintf(path, sizeof path, "/tmp/usher-options-XXXXXX");
}

static void tear_down(void)
{
    unlink(path);
}

TestSuite(options, .init = set_up, .fini = tear_down);

static int read_options(int argc, const char *const *argv)
{
    return options_read(argc, (char **)(uintptr_t)argv, "usher-test", "usher-test [OPTION]...\n\nTests options.\n",
                        &config);
}

/* options_read() with these arguments behind the program's name. */
#define READ(...)                                                                                                      \
    read_options((int)(sizeof((const char *[]){"usher-test", __VA_ARGS__}) / sizeof(char *)),                          \
                 (const char *[]){"usher-test", __VA_ARGS__})

static void write_file(const char *text)
{
    int fd = mkstemp(path);

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

Test(options, stops_at_the_first_argument)
{
    write_file("");
    cr_assert_eq(READ("-c", path, "token", "-o", "nonsense"), 3);
    config_free(&config);
}

Test(options, double_dash_ends_the_options)
{
    write_file("");
    cr_assert_eq(READ("-c", path, "--", "--help"), 4);
    config_free(&config);
}

Test(options, can_be_read_again)
{
    write_file("");
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(READ("-c", path, "-o", "workers=3", "x"), 5);
        cr_assert_eq(config.workers, 3);
        config_free(&config);
    }
}

Test(options, precedence)
{
    write_file("workers = 2\nseat_limit = 2\nactive_max = 2\n");
    setenv("USHER_SEAT_LIMIT", "3", 1);
    setenv("USHER_ACTIVE_MAX", "3", 1);
    cr_assert_eq(READ("--config", path, "-o", "active_max=4", "--set=active_max=5", "-ojwt_issuer=a=b"), 7);
    cr_assert_eq(config.workers, 2);
    cr_assert_eq(config.seat_limit, 3);
    cr_assert_eq(config.active_max, 5, "the last -o wins");
    cr_assert_str_eq(config.jwt_issuer, "a=b", "only the first = divides");
    config_free(&config);
}

/* What a child printed on stdout and stderr together. */
static char output[16384];

/* Calls options_read() in a child, logs a notice and a warning behind it, and returns the child's exit status; 99 when
 * options_read() came back. */
static int run(int argc, const char *const *argv)
{
    size_t length = 0;
    int fds[2];
    ssize_t got;
    int status;
    pid_t child;

    cr_assert_eq(pipe(fds), 0);
    fflush(NULL);
    child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        dup2(fds[1], STDOUT_FILENO);
        dup2(fds[1], STDERR_FILENO);
        read_options(argc, argv);
        log_notice("a notice");
        log_warning("a warning");
        _exit(99);
    }
    close(fds[1]);
    while ((got = read(fds[0], output + length, sizeof output - 1 - length)) > 0)
        length += (size_t)got;
    output[length] = '\0';
    close(fds[0]);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status), "ended by signal %d: %s", WTERMSIG(status), output);
    return WEXITSTATUS(status);
}

#define RUN(...)                                                                                                       \
    run((int)(sizeof((const char *[]){"usher-test", __VA_ARGS__}) / sizeof(char *)),                                   \
        (const char *[]){"usher-test", __VA_ARGS__})

static void expect_output(const char *expected)
{
    cr_assert_not_null(strstr(output, expected), "\"%s\" is not in \"%s\"", expected, output);
}

Test(options, opens_the_log_at_its_level)
{
    write_file("log_level = warning\n");
    cr_assert_eq(RUN("-c", path), 99);
    cr_assert_str_eq(output, "usher-test: a warning\n");
    cr_assert_eq(RUN("-c", path, "-o", "log_level=notice"), 99);
    cr_assert_str_eq(output, "usher-test: a notice\nusher-test: a warning\n");
    cr_assert_eq(RUN("-c", path, "-o", "log_level=error"), 99);
    cr_assert_str_eq(output, "");
}

Test(options, help)
{
    cr_assert_eq(RUN("--help"), EXIT_OK);
    expect_output("Usage: usher-test [OPTION]...\n\nTests options.\n\nOptions:\n  -c, --config FILE");
    expect_output("--print-config");
    cr_assert_eq(RUN("-c", "/nonexistent", "-h"), EXIT_OK);
    expect_output("Usage: ");
}

Test(options, version)
{
    cr_assert_eq(RUN("-V"), EXIT_OK);
    cr_assert_str_eq(output, "usher-test " PACKAGE_VERSION "\n");
    cr_assert_eq(RUN("--version"), EXIT_OK);
}

Test(options, print_config)
{
    write_file("workers = 2\n");
    setenv("USHER_SEAT_LIMIT", "3", 1);
    cr_assert_eq(RUN("--print-config", "-c", path, "-o", "hold_ttl=90s"), EXIT_OK);
    expect_output("listen = /run/usher/usher.sock\nlisten_shop = \nworkers = 2\n");
    expect_output("\nseat_limit = 3\n");
    expect_output("\nhold_ttl = 90s\n");
}

/* Whatever file and environment say: it is what a new file begins with. */
Test(options, sample_config)
{
    setenv("USHER_SEAT_LIMIT", "3", 1);
    cr_assert_eq(RUN("--sample-config", "-c", "/nonexistent"), EXIT_OK);
    expect_output("# usher.conf: ");
    expect_output("\n# Default: 4; from 1 to 100\nseat_limit = 4\n");
    write_file(output);
    cr_assert_eq(RUN("-c", path, "--print-config"), EXIT_OK);
    expect_output("\nseat_limit = 3\n");
}

Test(options, wrong_usage)
{
    write_file("");
    cr_assert_eq(RUN("--nonsense"), EXIT_USAGE);
    cr_assert_str_eq(output, "usher-test: option --nonsense is not understood\n"
                             "usher-test: \"usher-test --help\" shows the options\n");
    cr_assert_eq(RUN("-x"), EXIT_USAGE);
    expect_output("there is no option -x\n");
    cr_assert_eq(RUN("-c"), EXIT_USAGE);
    expect_output("option -c needs a value\n");
    cr_assert_eq(RUN("--set"), EXIT_USAGE);
    expect_output("option --set needs a value\n");
    cr_assert_eq(RUN("--help=yes"), EXIT_USAGE);
    expect_output("option --help=yes is not understood\n");
    cr_assert_eq(RUN("-c", path, "-o", "workers"), EXIT_USAGE);
    expect_output("option -o wants KEY=VALUE, not \"workers\"\n");
    cr_assert_eq(RUN("-c", path, "-o", "=1"), EXIT_USAGE);
}

Test(options, wrong_configuration)
{
    write_file("workers = many\n");
    cr_assert_eq(RUN("-c", path), EXIT_CONFIG);
    expect_output(":1: workers must be auto or a whole number");
    cr_assert_eq(RUN("-c", "/nonexistent/usher.conf"), EXIT_CONFIG);
    expect_output("usher-test: /nonexistent/usher.conf: cannot be opened: No such file or directory\n");
    cr_assert_eq(RUN("-c", "/dev/null", "-o", "wokers=1"), EXIT_CONFIG);
    expect_output("option -o: there is no key \"wokers\"; is \"workers\" meant?\n");
    cr_assert_eq(RUN("-c", "/dev/null", "-o", "lock_timeout=3s"), EXIT_CONFIG);
    expect_output("lock_timeout (3s) must not be longer than statement_timeout (2s)\n");
    cr_assert_eq(RUN("-c", "/dev/null", "-o", "wokers=1", "--print-config"), EXIT_CONFIG);
    setenv("USHER_WORKERS", "none", 1);
    cr_assert_eq(RUN("-c", "/dev/null"), EXIT_CONFIG);
    expect_output("environment USHER_WORKERS: workers must be");
}

#ifdef USHER_TEST_HOOKS
Test(options, test_clock)
{
    setenv("USHER_TEST_CLOCK", "/nonexistent", 1);
    cr_assert_eq(RUN("-c", "/dev/null"), EXIT_CONFIG);
    expect_output("USHER_TEST_CLOCK: /nonexistent: No such file or directory\n");
}
#endif

static char message[CONFIG_MESSAGE_SIZE];

Test(options, reload_without_its_file_fails)
{
    struct config next;

    write_file("workers = 2\nseat_limit = 2\n");
    READ("-c", path, "-o", "active_max=4");
    unlink(path);
    config_free(&config);
    cr_assert_not(options_reload(&next, message), "the named file is gone");
    cr_assert_not_null(strstr(message, "cannot be opened"), "%s", message);
}

Test(options, reload_sees_a_changed_file)
{
    struct config next;
    FILE *file;

    write_file("workers = 2\nseat_limit = 2\n");
    READ("-c", path, "-o", "active_max=4");
    file = fopen(path, "w");
    fputs("workers = 3\n", file);
    fclose(file);
    cr_assert(options_reload(&next, message), "%s", message);
    cr_assert_eq(next.workers, 3);
    cr_assert_eq(next.seat_limit, 4, "a line that is gone leaves the default");
    cr_assert_eq(next.active_max, 4, "-o stays in force");
    cr_assert_eq(config.workers, 2, "what is in use is not touched");
    config_free(&next);

    file = fopen(path, "w");
    fputs("workers = many\n", file);
    fclose(file);
    cr_assert_not(options_reload(&next, message));
    cr_assert_not_null(strstr(message, ":1: workers must be"), "%s", message);
    config_free(&config);
}

Test(options, log_levels)
{
    static const char *const names[] = {"error", "warning", "notice", "info", "debug"};

    config_init(&config);
    for (int i = 0; i < 5; i++) {
        cr_assert(config_set(&config, "log_level", names[i], "test", message));
        cr_assert_eq(options_log_level(&config), (enum log_level)(LOG_ERROR + i), "%s", names[i]);
    }
    config_free(&config);
}
