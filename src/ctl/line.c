/* line: looking at the line, pausing and resuming it. */
#include "ctl/command.h"

#include "base/clock.h"
#include "base/options.h"
#include "sale/queue.h"

#include <inttypes.h>
#include <stdio.h>

static int no_answer(void)
{
    fprintf(stderr,
            "usherctl: Redis does not answer, or it has lost the line and PostgreSQL cannot give it back just now"
            " (see the keys redis and database in the configuration)\n");
    return EXIT_FAILED;
}

int command_line(struct command_call *call)
{
    struct line line;
    char updated[CLOCK_TEXT_SIZE];
    if (call->argc)
        return command_usage("line");
    struct sale *sale = sale_open_without_key(call->config);
    enum error error = queue_line(sale, call->arena, &line);
    sale_close(sale);
    if (error != OK)
        return no_answer();
    clock_format(line.updated * 1000, updated);
    printf("state      %s\nserving    %" PRId64 "\nissued     %" PRId64 "\nwaiting    %" PRId64 "\nactive     %" PRId64
           " of at most %" PRId64 "\nupdated_at %s\n",
           line.paused ? "paused" : "open", line.serving, line.issued, line.waiting, line.active, line.active_max,
           updated);
    return EXIT_OK;
}

static int set_paused(struct command_call *call, bool paused)
{
    bool before, kept;
    if (call->argc)
        return command_usage(paused ? "pause" : "resume");
    struct sale *sale = sale_open_without_key(call->config);
    enum error error = queue_pause(sale, call->arena, paused, &before, &kept);
    sale_close(sale);
    if (error != OK)
        return no_answer();
    if (!kept) {
        fprintf(stderr,
                "usherctl: the line is now paused, but PostgreSQL does not answer: should Redis lose the line or"
                " restart, it comes back as it was before; repeat the command\n");
        return EXIT_FAILED;
    }
    printf("the line %s %s\n", before == paused ? "was already" : "is now", paused ? "paused" : "open");
    return EXIT_OK;
}

int command_pause(struct command_call *call)
{
    return set_paused(call, true);
}

int command_resume(struct command_call *call)
{
    return set_paused(call, false);
}
