/* catalog: concerts and their schedules. */
#ifndef USHER_SALE_CATALOG_H
#define USHER_SALE_CATALOG_H

#include "sale/sale.h"

struct concert {
    int64_t id;
    const char *name, *description;
};

struct concert_list {
    struct concert *items;
    size_t count;
    int64_t total; /* of all concerts; offset pages only */
    bool more;     /* something follows; cursor pages only */
};

/* Page number `page` (from 0) of `size` concerts, by id. */
enum error catalog_page(struct sale *sale, struct arena *arena, int64_t page, int64_t size,
                        struct concert_list *list) MUST_CHECK;
/* The `limit` concerts after id `after`. */
enum error catalog_after(struct sale *sale, struct arena *arena, int64_t after, int64_t limit,
                         struct concert_list *list) MUST_CHECK;
/* E_NOT_FOUND. */
enum error catalog_concert(struct sale *sale, struct arena *arena, int64_t id, struct concert *concert) MUST_CHECK;

/* Times in microseconds since 1970. */
struct schedule {
    int64_t id, concert_id;
    const char *place;
    int64_t concert_at, opens_at, closes_at;
    int64_t seats_total, seats_available;
};

/* Passes the gate; then the schedules of a concert that are open for reservation now (or all), by date. The gate's
 * errors; E_NOT_FOUND: no such concert. */
enum error catalog_schedules(struct sale *sale, struct arena *arena, const struct pass *pass, int64_t concert, bool all,
                             struct schedule **items, size_t *count, struct refusal *refusal) MUST_CHECK;

/* For the scheduler: the schedules that are, or in the last day were, on sale. */
enum error catalog_on_sale(struct sale *sale, struct arena *arena, int64_t **schedules, size_t *count) MUST_CHECK;

#endif
