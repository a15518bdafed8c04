/* settings: the command line of usher-rehearse. */
#include "rehearse/settings.h"

#include "base/encode.h"
#include "base/log.h"
#include "base/options.h"
#include "rehearse/seats.h"

#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

// clang-format off
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
    "      --p99 MS               the slowest one in a hundred of each transaction may take so long [100]\n"
    "      --step SECONDS         how long each rate is tried [5]\n"
    "      --polls N              each fan first asks N times for its place, for the crowd outside [17]\n"
    "Other:\n"
    "  -h, --help                 show this help and exit\n"
    "  -V, --version              show the version and exit\n"
    "\n"
    "Exit status: 0 the server did everything right; 1 it did not (the report says what); 64 wrong usage; 69 there is no\n"
    "server, or nothing to buy; 78 the key or the tokens do not fit; 130 interrupted with everything right so far.\n";

/* The options with a value: its kind, where it goes, and its limits (of the value as written). */
enum kind { WHOLE, MILLISECONDS, SECONDS, SHARE, TEXT, SPECIAL };

static const struct {
    const char *name;
    enum kind kind;
    size_t at;
    double min, max;
} valued[] = {
#define AT(field) offsetof(struct settings, field)
    {"url", SPECIAL, 0, 0, 0},
    {"arrival", SPECIAL, 0, 0, 0},
    {"schedule", SPECIAL, 0, 0, 0},
    {"jwt-key-file", TEXT, AT(jwt_key_file), 0, 0},
    {"tokens", TEXT, AT(tokens_file), 0, 0},
    {"report", TEXT, AT(report), 0, 0},
    {"fans", WHOLE, AT(fans), 1, 1e7},
    {"first-user", WHOLE, AT(first_user), 1, 4e18},
    {"concert", WHOLE, AT(concert), 1, 9e18},
    {"seats", WHOLE, AT(seats), 1, SEATS_MAX},
    {"connections", WHOLE, AT(connections), 1, 60000},
    {"seed", WHOLE, AT(seed), 0, 9e18},
    {"polls", WHOLE, AT(polls), 0, 1000},
    {"think", MILLISECONDS, AT(think), 0, 864e5},
    {"p99", MILLISECONDS, AT(p99), 1, 60000},
    {"duration", SECONDS, AT(duration), 0.1, 86400},
    {"step", SECONDS, AT(step), 1, 600},
    {"no-shows", SHARE, AT(no_shows), 0, 1},
    {"leavers", SHARE, AT(leavers), 0, 1},
    {"non-payers", SHARE, AT(non_payers), 0, 1},
    {"skew", SHARE, AT(skew), 1, 100},
#undef AT
};

enum { VALUED = sizeof valued / sizeof *valued, FIRST_VALUED = 256, OPTION_JSON = FIRST_VALUED + VALUED };
// clang-format on

static void refuse(const char *text, const char *value) __attribute__((noreturn));

static void refuse(const char *text, const char *value)
{
    log_error("%s%s%s%s", text, value ? ", not \"" : "", value ? value : "", value ? "\"" : "");
    log_error("\"usher-rehearse --help\" shows the options");
    exit(EXIT_USAGE);
}

static void refuse_value(int option, const char *text) __attribute__((noreturn));

static void refuse_value(int option, const char *text)
{
    char message[160];
    snprintf(message, sizeof message, "--%s wants a%s number from %.15g to %.15g", valued[option].name,
             valued[option].kind < SECONDS ? " whole" : "", valued[option].min, valued[option].max);
    refuse(message, text);
}

static int64_t whole(int option, const char *text)
{
    int64_t value;
    if (!decimal_parse(text, strlen(text), (int64_t)valued[option].min, (int64_t)valued[option].max, &value))
        refuse_value(option, text);
    return value;
}

static double fraction(int option, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || strspn(text, "0123456789.") != strlen(text) || value < valued[option].min ||
        value > valued[option].max)
        refuse_value(option, text);
    return value;
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

static void read_special(struct settings *settings, const char *name, const char *value)
{
    char message[ADDRESS_MESSAGE_SIZE];
    if (strcmp(name, "url") == 0) {
        settings->url = value;
        if (!address_parse(value, &settings->address, message))
            refuse(message, NULL);
    } else if (strcmp(name, "arrival") == 0) {
        settings->arrival_text = value;
        if (!arrival_parse(value, &settings->arrival))
            refuse("--arrival wants all, ramp:SECONDS or trickle:RATE", value);
    } else {
        read_schedules(settings, value);
    }
}

static void read_valued(struct settings *settings, int option, const char *value)
{
    void *field = (char *)settings + valued[option].at;
    switch (valued[option].kind) {
    case WHOLE:
        *(int64_t *)field = whole(option, value);
        break;
    case MILLISECONDS:
        *(int64_t *)field = whole(option, value) * 1000;
        break;
    case SECONDS:
        *(int64_t *)field = (int64_t)(fraction(option, value) * 1e6);
        break;
    case SHARE:
        *(double *)field = fraction(option, value);
        break;
    case TEXT:
        *(const char **)field = value;
        break;
    case SPECIAL:
        read_special(settings, valued[option].name, value);
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
        settings->connections = (int64_t)limit.rlim_cur - OTHERS;
        if (settings->connections < 1)
            refuse("too few file descriptors are allowed here (ulimit -n)", NULL);
        log_warning("only %lld connections: the system allows no more descriptors (ulimit -n)",
                    (long long)settings->connections);
    }
}

static void end_after_output(void) __attribute__((noreturn));

static void end_after_output(void)
{
    exit(fflush(stdout) != 0 || ferror(stdout) ? EXIT_FAILED : EXIT_OK);
}

static void read_options(int argc, char **argv, struct settings *settings)
{
    struct option options[VALUED + 5] = {{"quiet", no_argument, NULL, 'q'},
                                         {"help", no_argument, NULL, 'h'},
                                         {"version", no_argument, NULL, 'V'},
                                         {"json", no_argument, NULL, OPTION_JSON}};
    int letter;
    for (int i = 0; i < VALUED; i++)
        options[4 + i] = (struct option){valued[i].name, required_argument, NULL, FIRST_VALUED + i};
    opterr = 0;
    while ((letter = getopt_long(argc, argv, ":qhV", options, NULL)) != -1) {
        switch (letter) {
        case 'h':
            fputs(help, stdout);
            end_after_output();
        case 'V':
            printf("usher-rehearse %s\n", PACKAGE_VERSION);
            end_after_output();
        case 'q':
            settings->quiet = true;
            break;
        case OPTION_JSON:
            settings->json = true;
            break;
        case ':':
            refuse("an option wants a value and got none", argv[optind - 1]);
        case '?':
            refuse("an option should be a known one", argv[optind - 1]);
        default:
            read_valued(settings, letter - FIRST_VALUED, optarg);
        }
    }
}

/* While one goes in, a line in which one waits for 100 s asks 4 (1 + ln (100 / 4)) times: whoever has w seconds to wait
 * asks each w / 4, and those who come next each second (queue_poll_after() in sale/queue.h). */
enum { CROWD_POLLS = 17 };

void settings_read(int argc, char **argv, struct settings *settings)
{
    *settings = (struct settings){.first_user = 1,
                                  .arrival_text = "all",
                                  .think = -1,
                                  .polls = -1,
                                  .seats = 1,
                                  .skew = 2,
                                  .connections = 1000,
                                  .seed = 1,
                                  .p99 = 100000,
                                  .step = 5000000};
    log_open("usher-rehearse", LOG_INFO);
    read_options(argc, argv, settings);
    if (optind < argc && strcmp(argv[optind], "calibrate") == 0) {
        settings->calibrate = true;
        optind++;
    }
    if (optind < argc)
        refuse("the only word without dashes is calibrate", argv[optind]);
    if (settings->think < 0)
        settings->think = settings->calibrate ? 0 : 500000;
    if (settings->polls < 0)
        settings->polls = settings->calibrate ? CROWD_POLLS : 0;
    check(settings);
    raise_limit(settings);
}
