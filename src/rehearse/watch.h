/* watch: once a second: asks the server about the line, notes the moment for the timeline, shows how it goes. */
#ifndef USHER_REHEARSE_WATCH_H
#define USHER_REHEARSE_WATCH_H

#include "rehearse/client.h"
#include "rehearse/stage.h"
#include "rehearse/timers.h"

struct watch {
    struct ask ask;
    struct timer timer;
    struct stage *stage;
    bool asking;
    int64_t begun, last; /* clock_monotonic() of the beginning and the last moment */
    int64_t requests;    /* up to the last moment */
    bool shown;          /* a progress line is on the terminal */
};

/* Begins now; the watch must live as long as the stage plays. */
void watch_begin(struct watch *watch, struct stage *stage);
/* Notes the last moment and ends the progress line. */
void watch_end(struct watch *watch);
/* Reads the body of GET /v1/queue. */
bool watch_read_line(struct span body, struct line_view *line) __attribute__((warn_unused_result));

#endif
