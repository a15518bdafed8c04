/* settings: the command line of usher-rehearse. */
#include "rehearse/settings.h"

#include "base/encode.h"
#include "base/log.h"
#include "base/options.h"
#include "rehearse/seats.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const char help[] =
    "Usage: usher-rehearse [OPTION]... --url URL (--jwt-key-file FILE | --tokens FILE)\n"
    "       usher-rehearse calibrate [OPTION]... --url URL (--jwt-key-file FILE | --tokens FILE)\n"
    "Play an on-sale against a running usher with many fans, and report what it did; or find how many transactions a\n"
    "minute it carries and what to configure for that (calibrate). Buys seats for real: for test systems only.\n"
    "\n"
    "The server and who the fans are:\n"
    "      --url URL              where usher answers: http://HOST[:PORT]\n"
    "      --jwt-key-file FILE    the server's HS256 secret, to make the fans' bearer tokens with\n"
    "      --tokens FILE          ready-made bearer tokens, one a line (usherctl token makes them)\n"
    "      --fans N               how many come [1000, or as many as there are tokens]\n"
    "      --first-user ID        their user ids count from here, with a key file [1]\n"
    "What they do:\n"
    "      --arrival CURVE        all (at once), ramp:SECONDS (more and more), trickle:RATE (a second, evenly) [all]\n"
    "      --think MS             time between a fan's steps, on the average [500]\n"
    "      --no-shows P           share from 0 to 1 that takes a place and never comes back [0]\n"
    "      --leavers P            share that gives its place back, in the line or before the seats [0]\n"
    "      --non-payers P         share that holds seats and never pays [0]\n"
    "      --schedule ID[,ID...]  what they come for [all that are open on the first page of concerts]\n"
    "      --concert ID           whose schedules those are [looked for]\n"
    "      --seats N              each wants 1 to N seats, at most 4 [1]\n"
    "      --skew X               how much they all want the same seats; 1 not at all [2]\n"
    "The rehearsal:\n"
    "      --connections MAX      connections at a time [1000]\n"
    "      --seed N               the same seed makes the same fans [1]\n"
    "      --duration SECONDS     stop after so long [when the last fan has gone]\n"
    "      --report DIR           write report.txt, report.json and timeline.html there\n"
    "      --json                 print the report as JSON\n"
    "  -q, --quiet                no progress on standard error\n"
    "calibrate:\n"
    "      --p99 MS               the slowest one in a hundred of every operation may take so long [100]\n"
    "      --step SECONDS         how long each rate is tried [5]\n"
    "Other:\n"
    "  -h, --help                 show this help and exit\n"
    "  -V, --version              show the version and exit\n"
    "\n"
    "Exit status: 0 the server did everything right; 1 it did not (the report says what); 64 wrong usage; 69 there is "
    "no\n"
    "server, or nothing to buy; 130 interrupted with everything right so far.\n";

/* Options without a letter. */
enum option_id {
    URL = 256,
    KEY_FILE,
    TOKENS,
    FANS,
    FIRST_USER,
    ARRIVAL,
    THINK,
    NO_SHOWS,
    LEAVERS,
    NON_PAYERS,
    SCHEDULE,
    CONCERT,
    SEATS,
    SKEW,
    CONNECTIONS,
    SEED,
    DURATION,
    REPORT,
    JSON,
    P99,
    STEP
};

// clang-format off
static const struct option long_options[] = {
    {"url", required_argument, NULL, URL},           {"jwt-key-file", required_argument, NULL, KEY_FILE},
    {"tokens", required_argument, NULL, TOKENS},     {"fans", required_argument, NULL, FANS},
    {"first-user", required_argument, NULL, FIRST_USER},
    {"arrival", required_argument, NULL, ARRIVAL},   {"think", required_argument, NULL, THINK},
    {"no-shows", required_argument, NULL, NO_SHOWS}, {"leavers", required_argument, NULL, LEAVERS},
    {"non-payers", required_argument, NULL, NON_PAYERS},
    {"schedule", required_argument, NULL, SCHEDULE}, {"concert", required_argument, NULL, CONCERT},
    {"seats", required_argument, NULL, SEATS},       {"skew", required_argument, NULL, SKEW},
    {"connections", required_argument, NULL, CONNECTIONS},
    {"seed", required_argument, NULL, SEED},         {"duration", required_argument, NULL, DURATION},
    {"report", required_argument, NULL, REPORT},     {"json", no_argument, NULL, JSON},
    {"p99", required_argument, NULL, P99},           {"step", required_argument, NULL, STEP},
    {"quiet", no_argument, NULL, 'q'},               {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},             {NULL, 0, NULL, 0},
};
// clang-format on

static void refuse(const char *text, const char *value) __attribute__((noreturn));

static void refuse(const char *text, const char *value)
{
    log_error("%s%s%s%s", text, value ? ", not \"" : "", value ? value : "", value ? "\"" : "");
    log_error("\"usher-rehearse --help\" shows the options");
    exit(EXIT_USAGE);
}

static int64_t number(const char *option, const char *text, int64_t min, int64_t max)
{
    char message[160];
    int64_t value;
    if (decimal_parse(text, strlen(text), min, max, &value))
        return value;
    snprintf(message, sizeof message, "--%s wants a number from %lld to %lld", option, (long long)min, (long long)max);
    refuse(message, text);
}

static double fraction(const char *option, const char *text, double min, double max)
{
    char message[160], *end;
    double value = strtod(text, &end);
    if (end > text && *end == '\0' && strspn(text, "0123456789.") == strlen(text) && value >= min && value <= max)
        return value;
    snprintf(message, sizeof message, "--%s wants a number from %g to %g", option, min, max);
    refuse(message, text);
}

static void read_schedules(struct settings *settings, const char *text)
{
    settings->schedule_count = 0;
    for (const char *at = text;; at++) {
        size_t length = strcspn(at, ",");
        if (settings->schedule_count == SCHEDULES_MAX ||
            !decimal_parse(at, length, 1, INT64_MAX, &settings->schedules[settings->schedule_count++]))
            refuse("--schedule wants ids, with commas between them", text);
        at += length;
        if (!*at)
            return;
    }
}

static void end_after_output(void) __attribute__((noreturn));

static void end_after_output(void)
{
    exit(fflush(stdout) != 0 || ferror(stdout) ? EXIT_FAILED : EXIT_OK);
}

static void read_option(struct settings *settings, int option, const char *value)
{
    char message[ADDRESS_MESSAGE_SIZE];
    const int64_t second = 1000000, day = 86400;
    switch (option) {
    case URL:
        settings->url = value;
        if (!address_parse(value, &settings->address, message))
            refuse(message, NULL);
        break;
    case KEY_FILE:
        settings->jwt_key_file = value;
        break;
    case TOKENS:
        settings->tokens_file = value;
        break;
    case FANS:
        settings->fans = number("fans", value, 1, 10000000);
        break;
    case FIRST_USER:
        settings->first_user = number("first-user", value, 1, INT64_MAX / 2);
        break;
    case ARRIVAL:
        settings->arrival_text = value;
        if (!arrival_parse(value, &settings->arrival))
            refuse("--arrival wants all, ramp:SECONDS or trickle:RATE", value);
        break;
    case THINK:
        settings->think = number("think", value, 0, day * 1000) * 1000;
        break;
    case NO_SHOWS:
        settings->no_shows = fraction("no-shows", value, 0, 1);
        break;
    case LEAVERS:
        settings->leavers = fraction("leavers", value, 0, 1);
        break;
    case NON_PAYERS:
        settings->non_payers = fraction("non-payers", value, 0, 1);
        break;
    case SCHEDULE:
        read_schedules(settings, value);
        break;
    case CONCERT:
        settings->concert = number("concert", value, 1, INT64_MAX);
        break;
    case SEATS:
        settings->seats = (int)number("seats", value, 1, SEATS_MAX);
        break;
    case SKEW:
        settings->skew = fraction("skew", value, 1, 100);
        break;
    case CONNECTIONS:
        settings->connections = (int)number("connections", value, 1, 60000);
        break;
    case SEED:
        settings->seed = (uint64_t)number("seed", value, 0, INT64_MAX);
        break;
    case DURATION:
        settings->duration = (int64_t)(fraction("duration", value, 0.1, (double)day) * (double)second);
        break;
    case REPORT:
        settings->report = value;
        break;
    case JSON:
        settings->json = true;
        break;
    case 'q':
        settings->quiet = true;
        break;
    case P99:
        settings->p99 = number("p99", value, 1, 60000) * 1000;
        break;
    case STEP:
        settings->step = (int64_t)(fraction("step", value, 1, 600) * (double)second);
        break;
    default:
        break;
    }
}

static void check(const struct settings *settings)
{
    if (!settings->url)
        refuse("--url is missing: where does usher answer?", NULL);
    if (!settings->jwt_key_file == !settings->tokens_file)
        refuse("give either --jwt-key-file or --tokens, so that the fans can say who they are", NULL);
    if (settings->no_shows + settings->leavers + settings->non_payers > 1.0000001)
        refuse("--no-shows, --leavers and --non-payers are more than all fans together", NULL);
    if (settings->calibrate && settings->no_shows + settings->leavers + settings->non_payers > 0)
        refuse("calibrate is about fans who buy: no --no-shows, --leavers or --non-payers", NULL);
}

/* As many descriptors as the connections need; fewer connections where the system does not give so many. */
static void raise_limit(struct settings *settings)
{
    enum { OTHERS = 32 };
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur != RLIM_INFINITY && (rlim_t)settings->connections + OTHERS > limit.rlim_cur) {
        settings->connections = (int)limit.rlim_cur - OTHERS;
        if (settings->connections < 1)
            refuse("too few file descriptors are allowed here (ulimit -n)", NULL);
        log_warning("only %d connections: the system allows no more descriptors (ulimit -n)", settings->connections);
    }
}

void settings_read(int argc, char **argv, struct settings *settings)
{
    int letter;
    *settings = (struct settings){.fans = 0,
                                  .first_user = 1,
                                  .arrival_text = "all",
                                  .think = -1,
                                  .seats = 1,
                                  .skew = 2,
                                  .connections = 1000,
                                  .seed = 1,
                                  .p99 = 100000,
                                  .step = 5000000};
    log_open("usher-rehearse", LOG_INFO);
    opterr = 0;
    while ((letter = getopt_long(argc, argv, ":qhV", long_options, NULL)) != -1) {
        if (letter == 'h') {
            fputs(help, stdout);
            end_after_output();
        }
        if (letter == 'V') {
            printf("usher-rehearse %s\n", PACKAGE_VERSION);
            end_after_output();
        }
        if (letter == ':')
            refuse("this option needs a value", argv[optind - 1]);
        if (letter == '?')
            refuse("every option should be a known one", argv[optind - 1]);
        read_option(settings, letter, optarg);
    }
    if (optind < argc && strcmp(argv[optind], "calibrate") == 0) {
        settings->calibrate = true;
        optind++;
    }
    if (optind < argc)
        refuse("the only word without dashes is calibrate", argv[optind]);
    if (settings->think < 0)
        settings->think = settings->calibrate ? 0 : 500000;
    check(settings);
    raise_limit(settings);
}
