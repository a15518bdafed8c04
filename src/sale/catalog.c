/* catalog: reads concerts and schedules from PostgreSQL, and counts the schedules' seats. */
#include "sale/catalog.h"

#include "sale/hall.h"
#include "sale/outcome.h"
#include "store/pg.h"

static struct concert read_concert(const struct pg_rows *rows, size_t row, int column)
{
    return (struct concert){
        .id = pg_get_int(rows, row, column),
        .name = pg_get(rows, row, column + 1),
        .description = pg_get(rows, row, column + 2),
    };
}

enum error catalog_page(struct sale *sale, struct arena *arena, int64_t page, int64_t size, struct concert_list *list)
{
    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;
    pg_int(&params, size);
    pg_int(&params, page * size);
    enum error error = outcome_of_run(pg_run(sale->pg, arena, STATEMENT_CONCERT_PAGE, &params, true, &rows));
    if (error != OK)
        return error;
    *list = (struct concert_list){.total = pg_get_int(rows, 0, 0)};
    list->items = arena_array(arena, pg_count(rows), sizeof *list->items);
    for (size_t row = 0; row < pg_count(rows); row++) {
        if (!pg_is_null(rows, row, 1))
            list->items[list->count++] = read_concert(rows, row, 1);
    }
    return OK;
}

enum error catalog_after(struct sale *sale, struct arena *arena, int64_t after, int64_t limit,
                         struct concert_list *list)
{
    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;
    pg_int(&params, after);
    pg_int(&params, limit + 1);
    enum error error = outcome_of_run(pg_run(sale->pg, arena, STATEMENT_CONCERTS_AFTER, &params, true, &rows));
    if (error != OK)
        return error;
    size_t count = pg_count(rows);
    *list = (struct concert_list){.more = count > (size_t)limit};
    list->count = list->more ? (size_t)limit : count;
    list->items = arena_array(arena, count, sizeof *list->items);
    for (size_t row = 0; row < list->count; row++)
        list->items[row] = read_concert(rows, row, 0);
    return OK;
}

enum error catalog_concert(struct sale *sale, struct arena *arena, int64_t id, struct concert *concert)
{
    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;
    pg_int(&params, id);
    enum error error = outcome_of_run(pg_run(sale->pg, arena, STATEMENT_CONCERT, &params, true, &rows));
    if (error != OK)
        return error;
    if (pg_count(rows) == 0)
        return E_NOT_FOUND;
    *concert = read_concert(rows, 0, 0);
    return OK;
}

/* Without their seats. */
static enum error read_schedules(struct sale *sale, struct arena *arena, int64_t concert, bool all,
                                 struct schedule **items, size_t *count)
{
    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;
    pg_int(&params, concert);
    pg_bool(&params, all);
    enum error error = outcome_of_run(pg_run(sale->pg, arena, STATEMENT_SCHEDULES, &params, true, &rows));
    if (error != OK)
        return error;
    if (pg_count(rows) == 0)
        return E_NOT_FOUND;
    *items = arena_array(arena, pg_count(rows), sizeof **items);
    *count = 0;
    for (size_t row = 0; row < pg_count(rows); row++) {
        if (pg_is_null(rows, row, 1))
            continue;
        (*items)[(*count)++] = (struct schedule){
            .id = pg_get_int(rows, row, 1),
            .concert_id = concert,
            .place = pg_get(rows, row, 2),
            .concert_at = pg_get_int(rows, row, 3),
            .opens_at = pg_get_int(rows, row, 4),
            .closes_at = pg_get_int(rows, row, 5),
        };
    }
    return OK;
}

/* The seats of few schedules, as the lists of seats have them: from memory, kept current by the doorman. */
static enum error count_in_halls(struct sale *sale, struct arena *arena, const struct pass *pass,
                                 struct schedule *items, size_t count, struct refusal *refusal)
{
    const struct hall *hall;
    for (size_t i = 0; i < count; i++) {
        enum error error = hall_of_concert(sale, arena, pass, items[i].concert_id, items[i].id, &hall, refusal);
        if (error != OK)
            return error;
        items[i].seats_total = (int64_t)hall->count;
        items[i].seats_available = (int64_t)hall->available;
    }
    return OK;
}

/* Of many, whose halls would not all be kept: PostgreSQL counts. */
static enum error count_in_database(struct sale *sale, struct arena *arena, struct schedule *items, size_t count)
{
    enum { TOTAL, TAKEN };
    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;
    int64_t *ids = arena_array(arena, count, sizeof *ids);
    for (size_t i = 0; i < count; i++)
        ids[i] = items[i].id;
    pg_ids(&params, ids, count);
    enum error error = outcome_of_run(pg_run(sale->pg, arena, STATEMENT_SEATS_COUNTED, &params, true, &rows));
    for (size_t i = 0; error == OK && i < count && i < pg_count(rows); i++) {
        items[i].seats_total = pg_get_int(rows, i, TOTAL);
        items[i].seats_available = items[i].seats_total - pg_get_int(rows, i, TAKEN);
    }
    return error;
}

enum error catalog_schedules(struct sale *sale, struct arena *arena, const struct pass *pass, int64_t concert, bool all,
                             struct schedule **items, size_t *count, struct refusal *refusal)
{
    enum error error = hall_look_concert(sale, arena, pass, concert, refusal);
    if (error == OK)
        error = read_schedules(sale, arena, concert, all, items, count);
    if (error != OK)
        return error;
    return *count > HALLS_AT_ONCE ? count_in_database(sale, arena, *items, *count)
                                  : count_in_halls(sale, arena, pass, *items, *count, refusal);
}

enum error catalog_on_sale(struct sale *sale, struct arena *arena, int64_t **schedules, size_t *count)
{
    struct pg_params none = {.arena = arena};
    struct pg_rows *rows;
    enum error error = outcome_of_run(pg_run(sale->pg, arena, STATEMENT_SCHEDULES_ON_SALE, &none, true, &rows));
    if (error != OK)
        return error;
    *count = pg_count(rows);
    *schedules = arena_array(arena, *count, sizeof **schedules);
    for (size_t row = 0; row < *count; row++)
        (*schedules)[row] = pg_get_int(rows, row, 0);
    return OK;
}
