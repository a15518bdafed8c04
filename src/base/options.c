/* options: command line and configuration of all three programs, read in the same order everywhere. */
#include "base/options.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_FILE "/etc/usher/usher.conf"

/* Long options without a letter. */
enum { OPTION_PRINT_CONFIG = 256, OPTION_SAMPLE_CONFIG };

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"set", required_argument, NULL, 'o'},
    {"print-config", no_argument, NULL, OPTION_PRINT_CONFIG},
    {"sample-config", no_argument, NULL, OPTION_SAMPLE_CONFIG},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

struct given {
    const char *program;
    const char *file; /* NULL: the default one, which may be absent */
    char **settings;  /* "key=value" of each -o, in order */
    int setting_count;
    bool print_config;
};

/* Kept after options_read, so that options_reload finds the same sources. */
static struct given given;

static void end_with_usage_error(const char *program) __attribute__((noreturn));

static void end_with_usage_error(const char *program)
{
    log_error("\"%s --help\" shows the options", program);
    exit(EXIT_USAGE);
}

static void end_after_output(void) __attribute__((noreturn));

/* What was asked for on stdout must also arrive there. */
static void end_after_output(void)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        log_error("cannot write to stdout: %s", strerror(errno));
        exit(EXIT_FAILED);
    }
    exit(EXIT_OK);
}

static void print_help(const char *usage)
{
    size_t length = strlen(usage);

    printf("Usage: %s%s\nOptions:\n" OPTIONS_HELP, usage, length > 0 && usage[length - 1] == '\n' ? "" : "\n");
}

/* The defaults, whatever file and environment say. */
static void print_sample(void)
{
    struct config config;

    puts("# usher.conf: the settings of usher, each with its default. A line that is left out means the same.\n"
         "# The environment (USHER_<KEY>) and the option -o override this file; see usher.conf(5).\n");
    config_init(&config);
    config_print(&config, stdout, true);
    config_free(&config);
}

static void read_arguments(int argc, char **argv, const char *usage)
{
    int letter;

    optind = 1;
    opterr = 0; /* our own messages below go through the log */
    while ((letter = getopt_long(argc, argv, "+:c:o:hV", long_options, NULL)) != -1) {
        switch (letter) {
        case 'c':
            given.file = optarg;
            break;
        case 'o':
            given.settings[given.setting_count++] = optarg;
            break;
        case OPTION_PRINT_CONFIG:
            given.print_config = true;
            break;
        case OPTION_SAMPLE_CONFIG:
            print_sample();
            end_after_output();
        case 'h':
            print_help(usage);
            end_after_output();
        case 'V':
            printf("%s %s\n", given.program, PACKAGE_VERSION);
            end_after_output();
        case ':':
            log_error("option %s needs a value", argv[optind - 1]);
            end_with_usage_error(given.program);
        default:
            /* A known letter or none at all: a long option that is unknown or has a value that it does not take. */
            if (optopt > 0 && optopt < 256 && strchr("cohV", optopt) == NULL)
                log_error("there is no option -%c", optopt);
            else
                log_error("option %s is not understood", argv[optind - 1]);
            end_with_usage_error(given.program);
        }
    }
}

/* One -o. The key is copied out, because argv shows in ps and is not ours to cut. */
static bool apply_setting(struct config *config, const char *setting, char *message)
{
    const char *equals = strchr(setting, '=');
    char *key;
    bool good;

    if (equals == NULL || equals == setting) {
        log_error("option -o wants KEY=VALUE, not \"%s\"", setting);
        end_with_usage_error(given.program);
    }
    key = strndup(setting, (size_t)(equals - setting));
    if (key == NULL)
        abort();
    good = config_set(config, key, equals + 1, "option -o", message);
    free(key);
    return good;
}

static bool apply_settings(struct config *config, char *message)
{
    for (int i = 0; i < given.setting_count; i++)
        if (!apply_setting(config, given.settings[i], message))
            return false;
    return true;
}

/* default < file < environment < option */
static bool read_config(struct config *config, char message[static CONFIG_MESSAGE_SIZE])
{
    const char *file = given.file != NULL ? given.file : DEFAULT_FILE;

    config_init(config);
    return config_read_file(config, file, given.file == NULL, message) && config_read_environment(config, message) &&
           apply_settings(config, message) && config_check(config, message);
}

enum log_level options_log_level(const struct config *config)
{
    static const struct {
        const char *name;
        enum log_level level;
    } levels[] = {{"error", LOG_ERROR},
                  {"warning", LOG_WARNING},
                  {"notice", LOG_NOTICE},
                  {"info", LOG_INFO},
                  {"debug", LOG_DEBUG}};

    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strcmp(levels[i].name, config->log_level) == 0)
            return levels[i].level;
    return LOG_INFO;
}

#ifdef USHER_TEST_HOOKS
static void use_test_clock(void)
{
    const char *path = getenv("USHER_TEST_CLOCK");

    if (path != NULL && !clock_use_offset_file(path)) {
        log_error("environment USHER_TEST_CLOCK: %s: %s", path, strerror(errno));
        exit(EXIT_CONFIG);
    }
}
#endif

int options_read(int argc, char **argv, const char *program, const char *usage, struct config *config)
{
    char message[CONFIG_MESSAGE_SIZE];

    free(given.settings);
    given = (struct given){.program = program, .settings = calloc((size_t)argc + 1, sizeof(char *))};
    if (given.settings == NULL)
        abort();
    log_open(program, LOG_INFO);
    read_arguments(argc, argv, usage);
    if (!read_config(config, message)) {
        log_error("%s", message);
        exit(EXIT_CONFIG);
    }
    if (given.print_config) {
        config_print(config, stdout, false);
        end_after_output();
    }
    log_set_level(options_log_level(config));
#ifdef USHER_TEST_HOOKS
    use_test_clock();
#endif
    return optind;
}

bool options_reload(struct config *config, char message[static CONFIG_MESSAGE_SIZE])
{
    if (read_config(config, message))
        return true;
    config_free(config);
    return false;
}
