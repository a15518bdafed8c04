/* usher-server: the workers behind nginx. Reads options and configuration, opens the socket, and becomes the master. */
#include "base/config.h"
#include "base/log.h"
#include "base/options.h"
#include "server/listen.h"
#include "server/master.h"
#include "server/notify.h"

#include <stdio.h>

static const char usage[] = "usher-server [OPTION]...\n"
                            "\n"
                            "Answers FastCGI requests from nginx on a unix socket with pre-forked workers. Stays in "
                            "the foreground and logs to\n"
                            "standard error. Takes the socket from systemd when it passes one.\n"
                            "\n"
                            "Signals to the master: TERM, QUIT, INT finish the current requests and end; HUP reads the "
                            "configuration again and\n"
                            "replaces the workers without losing a request.\n";

int main(int argc, char **argv)
{
    struct config config;
    struct listener listener;
    char message[CONFIG_MESSAGE_SIZE] = "";

    int first = options_read(argc, argv, "usher-server", usage, &config);
    if (first < argc) {
        fprintf(stderr, "usher-server: unexpected argument '%s'; see usher-server --help\n", argv[first]);
        config_free(&config);
        return EXIT_USAGE;
    }
    master_block_signals();
    notify_open();
    if (!listen_open(&listener, config.listen, message)) {
        log_error("%s", message);
        config_free(&config);
        return EXIT_FAILED;
    }
    int status = master_run(&config, &listener);
    listen_unlink(&listener);
    config_free(&config);
    return status;
}
