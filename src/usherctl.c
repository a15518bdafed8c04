/* usherctl: the operator's hand. Finds the command in the table and runs it. */
#include "base/log.h"
#include "base/options.h"
#include "ctl/command.h"
#include "store/pg.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usherctl [OPTION]... COMMAND [ARGUMENT]...\n"
    "Set usher up and look after it.\n\n"
    "  migrate                       create or update the tables (as database_owner); safe to repeat\n"
    "  import FILE.json              add concerts with schedules and seats\n"
    "  concert set ID [--name TEXT] [--description TEXT]\n"
    "                                change a concert; pages that show it change at once\n"
    "  line                          show the waiting line\n"
    "  pause, resume                 stop and go on giving out places and admitting\n"
    "  evict                         throw away cached pages\n"
    "  verify [--json] [--settle SECONDS]\n"
    "                                check every invariant of the sale and the line, read-only, also while it runs;\n"
    "                                exits with 0 when all hold, 1 when one is broken, 69 when it cannot be told\n"
    "  token USER [COUNT]            print JWTs for COUNT users from USER on, valid for a day (HS256 only)\n\n";

static const struct {
    const char *name;
    command *run;
} commands[] = {
    {"migrate", command_migrate}, {"import", command_import}, {"concert", command_concert},
    {"line", command_line},       {"pause", command_pause},   {"resume", command_resume},
    {"evict", command_evict},     {"token", command_token},   {"verify", command_verify},
};

struct pg *command_owner(const struct command_call *call)
{
    return pg_new(call->config->database_owner, 0, 0);
}

int command_usage(const char *text)
{
    fprintf(stderr, "usherctl: usage: usherctl %s\n", text);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    struct config config;
    int first = options_read(argc, argv, "usherctl", usage, &config);
    const char *name = first < argc ? argv[first] : "";
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        struct command_call call = {&config, arena_new(65536), argc - first - 1, argv + first + 1};
        int status = commands[i].run(&call);
        arena_free(call.arena);
        config_free(&config);
        return status;
    }
    if (*name)
        fprintf(stderr, "usherctl: there is no command %s (see usherctl --help)\n", name);
    else
        fprintf(stderr, "usherctl: say what to do (see usherctl --help)\n");
    config_free(&config);
    return EXIT_USAGE;
}
