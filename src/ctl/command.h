/* command: usherctl's commands, one function each. */
#ifndef USHER_CTL_COMMAND_H
#define USHER_CTL_COMMAND_H

#include "base/arena.h"
#include "base/config.h"

struct pg;

/* What a command gets: its own arguments without its name, and the configuration. Returns an enum exit_code; says on
 * stderr what went wrong, on stdout what was asked for. */
struct command_call {
    const struct config *config;
    struct arena *arena;
    int argc;
    char **argv;
};

typedef int command(struct command_call *call);

command command_migrate, command_import, command_concert, command_token, command_line, command_pause, command_resume,
    command_evict, command_verify;

/* A connection as the owner of the tables, without time limits. */
struct pg *command_owner(const struct command_call *call);
/* Says that the arguments are wrong. */
int command_usage(const char *text);

#endif
