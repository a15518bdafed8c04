/* options: the command-line options that all three programs share, and where the configuration comes from. */
#ifndef USHER_BASE_OPTIONS_H
#define USHER_BASE_OPTIONS_H

#include "base/config.h"
#include "base/log.h"

#include <stdbool.h>

// clang-format off
#define OPTIONS_HELP                                                                                                     \
    "  -c, --config FILE      read FILE instead of /etc/usher/usher.conf\n"                                              \
    "  -o, --set KEY=VALUE    set one configuration key (may be repeated)\n"                                             \
    "      --print-config     print the configuration in force and exit\n"                                               \
    "      --sample-config    print a file of all keys with explanations and defaults and exit\n"                        \
    "  -h, --help             show this help and exit\n"                                                                 \
    "  -V, --version          show the version and exit\n"
// clang-format on

/* Exit codes of all programs (a subset of sysexits): 0 done, 1 the work failed, 64 wrong usage, 69 a server that
 * is needed does not answer (usherctl verify), 78 wrong configuration. */
enum exit_code { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 64, EXIT_UNAVAILABLE = 69, EXIT_CONFIG = 78 };

/* Reads options and configuration (file, environment, -o) into config, opens the log at its level, and returns the
 * index of the first argument that is not an option. Prints and exits by itself for --help, --version, --print-config,
 * --sample-config and for errors. program: "usher-server"; usage: the text printed by --help before the options and
 * after "Usage: ". */
int options_read(int argc, char **argv, const char *program, const char *usage, struct config *config);

/* Reads the configuration anew into config (not initialised before) from where options_read found it: the same file,
 * environment and -o options. Exits never: false with a sentence for the operator in message, and config then needs no
 * config_free. The log's level is left alone. */
bool options_reload(struct config *config, char message[static CONFIG_MESSAGE_SIZE])
    __attribute__((warn_unused_result));

/* The log level that config->log_level names. */
enum log_level options_log_level(const struct config *config);

#endif
