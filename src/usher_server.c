/* usher-server: the workers behind nginx. Reads options and configuration, opens the sockets, becomes the master. */
#include "base/config.h"
#include "base/log.h"
#include "base/options.h"
#include "server/listen.h"
#include "server/master.h"
#include "server/notify.h"

#include <stdio.h>

static const char usage[] = "usher-server [OPTION]...\n"
                            "\n"
                            "Answers FastCGI requests from nginx on unix sockets with pre-forked workers. Stays in "
                            "the foreground and logs to\n"
                            "standard error. Takes the sockets from systemd when it passes some.\n"
                            "\n"
                            "Signals to the master: TERM, QUIT, INT finish the current requests and end; HUP reads the "
                            "configuration again and\n"
                            "replaces the workers without losing a request.\n";

int main(int argc, char **argv)
{
    struct config config;
    struct listener listeners[LISTEN_COUNT];
    char message[CONFIG_MESSAGE_SIZE] = "";

    int first = options_read(argc, argv, "usher-server", usage, &config);
    if (first < argc) {
        fprintf(stderr, "usher-server: unexpected argument '%s'; see usher-server --help\n", argv[first]);
        config_free(&config);
        return EXIT_USAGE;
    }
    master_block_signals();
    notify_open();
    if (!listen_open(listeners, &config, message)) {
        log_error("%s", message);
        config_free(&config);
        return EXIT_FAILED;
    }
    int status = master_run(&config, listeners);
    listen_unlink(listeners);
    config_free(&config);
    return status;
}
