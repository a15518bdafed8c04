/* stage: everything of one rehearsal: the settings, the fans, what carries their requests and what is noted about them.
 */
#ifndef USHER_REHEARSE_STAGE_H
#define USHER_REHEARSE_STAGE_H

#include "rehearse/chance.h"
#include "rehearse/client.h"
#include "rehearse/journal.h"
#include "rehearse/settings.h"
#include "rehearse/tally.h"
#include "rehearse/timers.h"

#include <signal.h>
#include <stdbool.h>

struct jwt;

/* A schedule that fans come for, as it was before they came. */
struct venue {
    int64_t concert, schedule;
    int64_t page; /* of GET /v1/concerts?size=100 on which the concert is */
    int64_t total, available;
};

/* The line as the server tells it (GET /v1/queue). */
struct line_view {
    bool known;
    int64_t serving, issued, waiting, active, active_max;
    double rate; /* admissions a second, as configured */
};

struct stage {
    struct settings *settings;
    struct client *client;
    struct timers timers;
    struct tally tally;
    struct journal journal;
    struct line_view line;

    /* Who the fans are: made from the key, or the lines of a file. */
    struct jwt *jwt;
    const char **tokens; /* in token_arena, which is never reset */
    struct arena *token_arena;
    int64_t token_count;
    int64_t expires; /* of what is made, seconds since 1970 */
    struct arena *arena;
    uint64_t run; /* in every Idempotency-Key, so that no two rehearsals share one */

    struct venue *venues;
    size_t venue_count;
    int64_t seats_offered; /* of all venues, free before the fans came */

    int64_t opened;                      /* clock_monotonic() when the first fan may come; 0 before */
    int64_t ended;                       /* when the rehearsal was over; 0 before */
    int64_t sold_out;                    /* when the last seat was paid; 0: not yet */
    int64_t came, here, waiting, active; /* fans: arrived so far, not gone, in the line, let in */
    bool interrupted;                    /* stopped by a signal */
    bool cut;                            /* stopped by --duration */
};

/* Beside those of base/options.h: there is no server, or nothing to buy; and stopped by a signal. */
enum { STAGE_EXIT_NO_SERVER = 69, STAGE_EXIT_INTERRUPTED = 130 };

/* Set by SIGINT and SIGTERM. */
extern volatile sig_atomic_t stage_stop;

/* Reads the key or the tokens and finds the server. An exit code; says what is wrong. */
int stage_open(struct stage *stage, struct settings *settings);
void stage_close(struct stage *stage);

/* The bearer token of fan number (from 0); valid until the arena of the stage is reset, or for ever from a file. */
const char *stage_bearer(struct stage *stage, int64_t number);
int64_t stage_user(const struct stage *stage, int64_t number);

/* Lets things happen until *done, the time until (clock_monotonic(); INT64_MAX: none), or a signal to stop. */
void stage_play(struct stage *stage, const bool *done, int64_t until);

/* What is wrong with the server, all findings added up: 0 is a good rehearsal. */
int64_t stage_breaches(const struct stage *stage);
/* Of a venue's popularity: the first ones are wanted most. */
const struct venue *stage_choose_venue(const struct stage *stage, struct chance *chance);

#endif
