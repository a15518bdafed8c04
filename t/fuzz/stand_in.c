/* stand_in: PostgreSQL and Redis as the fuzzer would have them. The modules of src/store are taken in whole, so that
 * putting statements and calls together is the real thing; only sending is replaced, by answers made from the fuzzer's
 * bytes.
 *
 * An answer keeps to what the other side can say: a statement's columns have their types, a function of sql/ answers
 * with exactly one row, a script of the house with an integer, an array, a text or an error. Everything within that is
 * free. */
#include "store/pg.h"
#include "store/redis.h"

/* The real ones stay, under names that nobody calls. */
#define pg_run             unused_pg_run
#define pg_begin           unused_pg_begin
#define pg_end_transaction unused_pg_end_transaction
#define pg_count           unused_pg_count
#define pg_is_null         unused_pg_is_null
#define pg_get             unused_pg_get
#define pg_get_int         unused_pg_get_int
#define disconnect         disconnect_pg
#define run_once           run_once_pg
#define clear_result       clear_result_pg
enum pg_end unused_pg_run(struct pg *pg, struct arena *arena, enum statement statement, const struct pg_params *params,
                          bool twice, struct pg_rows **rows);
bool unused_pg_begin(struct pg *pg);
void unused_pg_end_transaction(struct pg *pg);
size_t unused_pg_count(const struct pg_rows *rows);
bool unused_pg_is_null(const struct pg_rows *rows, size_t row, int column);
const char *unused_pg_get(const struct pg_rows *rows, size_t row, int column);
int64_t unused_pg_get_int(const struct pg_rows *rows, size_t row, int column);
#include "store/pg.c" // NOLINT
#undef pg_run
#undef pg_begin
#undef pg_end_transaction
#undef pg_count
#undef pg_is_null
#undef pg_get
#undef pg_get_int
#undef disconnect
#undef run_once
#undef BREAK_US

#define redis_run  unused_redis_run
#define redis_post unused_redis_post
enum error unused_redis_run(struct redis *redis, struct arena *arena, struct redis_call *calls, size_t count,
                            struct redis_value **values);
void unused_redis_post(struct redis *redis, struct redis_call *call);
#define redis_run_one unused_redis_run_one
enum error unused_redis_run_one(struct redis *redis, struct arena *arena, struct redis_call *call,
                                struct redis_value **value);
#include "store/redis.c" // NOLINT
#undef redis_run
#undef redis_run_one
#undef redis_post

#include "fuzz.h"

bool stand_in_gave_page;

/* ---- the fuzzer's bytes ---- */

static const uint8_t *at, *end;

void stand_in_feed(const uint8_t *data, size_t size)
{
    at = data;
    end = data ? data + size : NULL;
    stand_in_gave_page = false;
}

static uint8_t take(void)
{
    return at < end ? *at++ : 0;
}

/* Small ones often; never beyond 2^53, which is what Lua can say. */
static int64_t take_int(void)
{
    uint8_t kind = take();
    uint64_t value = 0;
    if (kind < 240)
        return kind < 200 ? kind : -(int64_t)(kind - 199);
    for (int i = 0; i < (kind & 7) + 1; i++)
        value = value << 8 | take();
    value &= (UINT64_C(1) << 53) - 1;
    return kind & 8 ? -(int64_t)value : (int64_t)value;
}

static const char *take_text(struct arena *arena, size_t *length)
{
    size_t wanted = take(), there = (size_t)(end - at);
    *length = wanted < there ? wanted : there;
    const char *text = arena_strndup(arena, *length ? (const char *)at : "", *length);
    if (*length)
        at += *length;
    return text;
}

/* ---- Redis ---- */

enum { DEPTH_MAX_ANSWER = 3, ITEMS_MAX = 31 };

static struct redis_value *take_value(struct arena *arena, int depth)
{
    static const char *const errors[] = {"ERR no", "OOM command not allowed", "LOADING", "WRONGTYPE Operation"};
    struct redis_value *value = arena_zalloc(arena, sizeof *value);
    uint8_t kind = take() & 15;
    if (kind == 0) {
        value->type = REDIS_NIL;
    } else if (kind == 1 && depth == 0) {
        value->type = REDIS_ERROR;
        value->text = errors[take() & 3];
        value->length = strlen(value->text);
    } else if (kind < 5) {
        value->type = REDIS_TEXT;
        value->text = take_text(arena, &value->length);
        stand_in_gave_page = stand_in_gave_page || depth == 0;
    } else if (kind < 9 || depth == DEPTH_MAX_ANSWER) {
        value->type = REDIS_INTEGER;
        value->integer = take_int();
    } else {
        value->type = REDIS_ARRAY;
        value->count = take() & ITEMS_MAX;
        value->items = arena_array(arena, value->count, sizeof *value->items);
        for (size_t i = 0; i < value->count; i++)
            value->items[i] = take_value(arena, depth + 1);
    }
    return value;
}

/* The words of a call must be there and be as long as they say. */
static void check_call(struct redis_call *call)
{
    static volatile char sum;
    redis_call_complete(call);
    for (size_t i = 0; i < call->count; i++) {
        for (size_t j = 0; j < call->lengths[i]; j++)
            sum = (char)(sum + call->words[i][j]);
    }
}

enum error redis_run(struct redis *redis, struct arena *arena, struct redis_call *calls, size_t count,
                     struct redis_value **values)
{
    enum error error = OK;
    (void)redis;
    for (size_t i = 0; i < count; i++)
        check_call(&calls[i]);
    if (at == end)
        return E_UNAVAILABLE;
    for (size_t i = 0; i < count; i++)
        values[i] = take_value(arena, 0);
    for (size_t i = 0; i < count && error == OK; i++)
        error = judge(&calls[i], values[i]);
    return error;
}

enum error redis_run_one(struct redis *redis, struct arena *arena, struct redis_call *call, struct redis_value **value)
{
    return redis_run(redis, arena, call, 1, value);
}

void redis_post(struct redis *redis, struct redis_call *call)
{
    struct arena *own = arena_new(1024);
    (void)redis;
    redis_call_complete(call);
    struct redis_call copy = redis_call_copy(call, own);
    check_call(&copy);
    arena_free(own);
}

/* ---- PostgreSQL ---- */

/* A column's type: i bigint, n bigint or null, t text, u text or null, o the outcome of a function, s a reservation's
 * status, k a ledger entry's kind, r its reference, j tickets as JSON, b boolean. */
struct shape {
    const char *columns;
    enum { ANY, ONE, SOME } rows; /* as many as may be; exactly one; at least one */
};

static const struct shape shapes[STATEMENT_COUNT] = {
    [STATEMENT_PING] = {"i", ONE},
    [STATEMENT_CONCERT_PAGE] = {"intt", SOME},
    [STATEMENT_CONCERTS_AFTER] = {"itt", ANY},
    [STATEMENT_CONCERT] = {"itt", ANY},
    [STATEMENT_SCHEDULES] = {"intiii", ANY},
    [STATEMENT_SEATS_COUNTED] = {"ii", ANY},
    [STATEMENT_SEATS] = {"intini", ANY},
    [STATEMENT_SEATS_TAKEN] = {"iii", ANY},
    [STATEMENT_SCHEDULES_ON_SALE] = {"i", ANY},
    [STATEMENT_HOLD] = {"oiiiiju", ONE},
    [STATEMENT_CANCEL] = {"oiuui", ONE},
    [STATEMENT_RESERVATION] = {"iisiiiiij", ANY},
    [STATEMENT_RESERVATIONS] = {"iisiiiiij", ANY},
    [STATEMENT_EXPIRE] = {"iiu", ANY},
    [STATEMENT_CHARGE] = {"oiiii", ONE},
    [STATEMENT_PAY] = {"oiiiiiu", ONE},
    [STATEMENT_PAYMENT] = {"iiiii", ANY},
    [STATEMENT_BALANCE] = {"i", ANY},
    [STATEMENT_ENTRIES] = {"ikiiri", ANY},
    [STATEMENT_FORGET_KEYS] = {"i", ONE},
    [STATEMENT_RECORD_LINE] = {"u", ONE},
    [STATEMENT_LINE_AFTER] = {"iitii", ANY},
    [STATEMENT_LINE_ENDED] = {"iitii", ANY},
    [STATEMENT_RESUME_LINE] = {"iii", ONE},
    [STATEMENT_PAUSE_LINE] = {"u", ONE},
    [STATEMENT_TRY_LOCK] = {"b", ONE},
};

struct pg_rows {
    size_t rows;
    int columns;
    const char **cells; /* NULL: null */
};

static const char *take_word(const char *const *words, size_t count)
{
    return words[take() % count];
}

static const char *take_cell(struct arena *arena, char type)
{
    static const char *const outcomes[] = {"created",
                                           "replayed",
                                           "cancelled",
                                           "over",
                                           "already-paid",
                                           "balance-limit",
                                           "expired",
                                           "foreign-seat",
                                           "insufficient",
                                           "key-in-use",
                                           "key-reused",
                                           "not-admitted",
                                           "not-found",
                                           "seat-limit",
                                           "seat-unavailable",
                                           "sales-closed",
                                           "reservation-cancelled",
                                           "?"};
    static const char *const statuses[] = {"held", "paid", "expired", "cancelled"};
    static const char *const kinds[] = {"charge", "payment"};
    static const char *const references[] = {"charges/1", "payments/22"};
    size_t length;
    if ((type == 'n' || type == 'u') && (take() & 3) == 0)
        return NULL;
    switch (type) {
    case 'i':
    case 'n':
        return arena_printf(arena, "%" PRId64, take_int());
    case 'o':
        return take_word(outcomes, sizeof outcomes / sizeof *outcomes);
    case 's':
        return take_word(statuses, sizeof statuses / sizeof *statuses);
    case 'k':
        return take_word(kinds, sizeof kinds / sizeof *kinds);
    case 'r':
        return take_word(references, sizeof references / sizeof *references);
    case 'j':
        return "[{\"id\":1,\"seat_id\":2,\"location\":\"A1\",\"price\":3}]";
    case 'b':
        return take() & 1 ? "t" : "f";
    default:
        return take_text(arena, &length);
    }
}

static void check_params(const struct pg_params *params)
{
    for (int i = 0; i < params->count; i++)
        REQUIRE(!params->values[i] || strlen(params->values[i]) < 1000000, "parameters are texts");
}

enum pg_end pg_run(struct pg *pg, struct arena *arena, enum statement statement, const struct pg_params *params,
                   bool twice, struct pg_rows **rows)
{
    const struct shape *shape = &shapes[statement];
    enum { ROWS_MAX = 7, BAD = 250 };
    (void)pg;
    (void)twice;
    check_params(params);
    REQUIRE(shape->columns, "stand_in.c must know every statement's columns");
    if (at == end)
        return PG_UNAVAILABLE;
    uint8_t how = take();
    if (how >= BAD)
        return how == BAD ? PG_CONFLICT : how == BAD + 1 ? PG_UNKNOWN : how == BAD + 2 ? PG_FAILED : PG_UNAVAILABLE;
    struct pg_rows *made = arena_zalloc(arena, sizeof *made);
    made->rows = shape->rows == ONE ? 1 : how & ROWS_MAX;
    if (shape->rows == SOME && made->rows == 0)
        made->rows = 1;
    made->columns = (int)strlen(shape->columns);
    made->cells = arena_array(arena, made->rows * (size_t)made->columns + 1, sizeof *made->cells);
    for (size_t i = 0; i < made->rows * (size_t)made->columns; i++)
        made->cells[i] = take_cell(arena, shape->columns[i % (size_t)made->columns]);
    *rows = made;
    return PG_OK;
}

size_t pg_count(const struct pg_rows *rows)
{
    return rows->rows;
}

static const char *cell(const struct pg_rows *rows, size_t row, int column)
{
    REQUIRE(row < rows->rows && column >= 0 && column < rows->columns, "only cells that there are are read");
    return rows->cells[row * (size_t)rows->columns + (size_t)column];
}

bool pg_is_null(const struct pg_rows *rows, size_t row, int column)
{
    return cell(rows, row, column) == NULL;
}

const char *pg_get(const struct pg_rows *rows, size_t row, int column)
{
    const char *text = cell(rows, row, column);
    return text ? text : "";
}

int64_t pg_get_int(const struct pg_rows *rows, size_t row, int column)
{
    int64_t value = 0;
    const char *text = pg_get(rows, row, column);
    return decimal_parse(text, strlen(text), INT64_MIN, INT64_MAX, &value) ? value : 0;
}

bool pg_begin(struct pg *pg)
{
    (void)pg;
    return at < end;
}

void pg_end_transaction(struct pg *pg)
{
    (void)pg;
}
