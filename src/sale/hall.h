/* hall: the seats of a schedule as this process knows them, kept current for the price of one version number.
 *
 * Which seats exist, where and for how much is read from PostgreSQL, and again when that is older than half a minute.
 * Which of them are taken comes from the doorman in Redis, whose version tells whether anything has
 * changed since the last look; a hold that passes its deadline makes its seat free without anybody's doing. So a look
 * at an unchanged hall costs the gate's round trip and nothing else. */
#ifndef USHER_SALE_HALL_H
#define USHER_SALE_HALL_H

#include "base/buf.h"
#include "sale/sale.h"

struct seat {
    int64_t id, price;
    const char *location;
    int64_t deadline; /* -1: available; 0: sold; otherwise held until then, in ms */
};

enum seat_status { SEAT_AVAILABLE, SEAT_HELD, SEAT_SOLD };

struct hall {
    int64_t schedule;
    struct seat *seats; /* by id */
    size_t count;
    char version[64]; /* another one for every other picture of the hall */
    int64_t now;      /* the time of the last look, in ms */
    size_t available; /* so many were free then */
};

enum seat_status seat_status(const struct hall *hall, const struct seat *seat);

struct hall_cache;
struct hall_cache *hall_cache_new(void);
void hall_cache_free(struct hall_cache *cache);

/* Passes the gate and brings the hall up to date. The hall is valid until the next look. The gate's errors,
 * E_NOT_FOUND. */
enum error hall_look(struct sale *sale, struct arena *arena, const struct pass *pass, int64_t schedule,
                     const struct hall **hall, struct refusal *refusal) MUST_CHECK;

/* The halls of a concert: passes the gate and brings those that this process knows up to date, all in one round trip.
 * After it, hall_of_concert() is the hall of one of the concert's schedules as it was then; one that the process did
 * not know is looked at now. Meant for HALLS_AT_ONCE halls at most. */
enum { HALLS_AT_ONCE = 16 };
enum error hall_look_concert(struct sale *sale, struct arena *arena, const struct pass *pass, int64_t concert,
                             struct refusal *refusal) MUST_CHECK;
enum error hall_of_concert(struct sale *sale, struct arena *arena, const struct pass *pass, int64_t concert,
                           int64_t schedule, const struct hall **hall, struct refusal *refusal) MUST_CHECK;

/* The texts of a hall's seats one behind the other, as they are while available: that of seats[i] ends at ends[i]. */
struct hall_items {
    const char *text;
    const size_t *ends;
};
typedef void hall_put_seat(const struct seat *seat, struct buf *out);

/* Writes a text of the hall's present picture to `to`, where there is room for all items and HALL_FRAME_MAX bytes more;
 * returns its length. which: 0 or 1. */
typedef size_t hall_render(const struct hall *hall, const struct hall_items *items, struct arena *arena, int which,
                           char *to);
enum { HALL_FRAME_MAX = 512 }; /* with a version that is escaped throughout */

/* Valid until the next look. The items are made once while PostgreSQL says the same of the seats, the text once for
 * each version. */
struct hall_text {
    const char *text;
    size_t length;
};
struct hall_text hall_text(const struct hall *hall, struct arena *arena, int which, hall_put_seat *put,
                           hall_render *render);

#endif
