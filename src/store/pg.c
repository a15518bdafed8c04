/* pg: libpq with deadlines, and what to do when the other side goes away. */
#include "store/pg.h"

#include "base/clock.h"
#include "base/crash.h"
#include "base/encode.h"
#include "base/log.h"
#include "base/random.h"
#include "store/pg_record.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How long statements fail at once after a failed connect: this, and up to as much again. */
#define BREAK_US (CLOCK_SECOND / 2)

/* The client gives up so much later than the server should have. */
#define GRACE_MS 500

struct pg {
    char *conninfo;
    int64_t statement_timeout_ms, lock_timeout_ms;
    PGconn *connection;   /* NULL: not connected */
    bool prepared;        /* the statement table is known to this connection */
    int64_t closed_until; /* clock_monotonic() before which nothing is tried */
};

struct statement_text {
    const char *name;
    bool twice;
    const char *text;
};

static const struct statement_text statements[STATEMENT_COUNT] = {
#define STATEMENT_ROW(symbol, twice, text) [STATEMENT_##symbol] = {#symbol, twice, text},
    STATEMENT_TABLE(STATEMENT_ROW)
#undef STATEMENT_ROW
};

/* ---- parameters and rows ---- */

void pg_text(struct pg_params *params, const char *text)
{
    if (params->count == PG_PARAMS_MAX)
        abort();
    params->values[params->count++] = text;
}

void pg_int(struct pg_params *params, int64_t value)
{
    pg_text(params, arena_printf(params->arena, "%" PRId64, value));
}

void pg_bool(struct pg_params *params, bool value)
{
    pg_text(params, value ? "t" : "f");
}

void pg_ids(struct pg_params *params, const int64_t *ids, size_t count)
{
    enum { ONE = 21 };
    size_t size = count * ONE + 3, used = 1;
    char *text = arena_alloc(params->arena, size);
    text[0] = '{';
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%" PRId64, i ? "," : "", ids[i]);
    text[used++] = '}';
    text[used] = '\0';
    pg_text(params, text);
}

void pg_hex(struct pg_params *params, const void *bytes, size_t length)
{
    char *text = NULL;
    if (bytes) {
        text = arena_alloc(params->arena, 2 * length + 3);
        text[0] = '\\';
        text[1] = 'x';
        hex_encode(bytes, length, text + 2);
    }
    pg_text(params, text);
}

static const PGresult *result_of(const struct pg_rows *rows)
{
    return (const PGresult *)rows;
}

size_t pg_count(const struct pg_rows *rows)
{
    return (size_t)PQntuples(result_of(rows));
}

bool pg_is_null(const struct pg_rows *rows, size_t row, int column)
{
    return PQgetisnull(result_of(rows), (int)row, column);
}

const char *pg_get(const struct pg_rows *rows, size_t row, int column)
{
    return PQgetvalue(result_of(rows), (int)row, column);
}

int64_t pg_get_int(const struct pg_rows *rows, size_t row, int column)
{
    int64_t value = 0;
    const char *text = pg_get(rows, row, column);
    return decimal_parse(text, strlen(text), INT64_MIN, INT64_MAX, &value) ? value : 0;
}

/* ---- the connection ---- */

struct pg *pg_new(const char *conninfo, int64_t statement_timeout_ms, int64_t lock_timeout_ms)
{
    struct pg *pg = calloc(1, sizeof *pg);
    if (!pg || !(pg->conninfo = strdup(conninfo))) {
        log_error("out of memory");
        abort();
    }
    pg->statement_timeout_ms = statement_timeout_ms;
    pg->lock_timeout_ms = lock_timeout_ms;
    return pg;
}

static void disconnect(struct pg *pg)
{
    PQfinish(pg->connection);
    pg->connection = NULL;
    pg->prepared = false;
}

void pg_free(struct pg *pg)
{
    if (!pg)
        return;
    disconnect(pg);
    free(pg->conninfo);
    free(pg);
}

/* A server's message without its line ends. */
static const char *one_line(const char *message)
{
    static char line[512];
    size_t length = strcspn(message, "\n");
    snprintf(line, sizeof line, "%.*s", (int)length, message);
    return line;
}

/* Notices ("relation already exists, skipping") are not for the operator. */
static void ignore_notice(void *unused, const PGresult *result)
{
    (void)unused;
    (void)result;
}

static bool connect_pg(struct pg *pg)
{
    if (pg->connection && PQstatus(pg->connection) == CONNECTION_OK)
        return true;
    disconnect(pg);
    int64_t now = clock_monotonic();
    if (now < pg->closed_until)
        return false;

    /* Plans are made once: with arrays as parameters PostgreSQL would plan anew for each call. And what is to be quick
     * (it has a timeout) looks things up in indexes: a plan that was made while a table was empty, as all are when a
     * sale begins, would read the whole of it for as long as the connection lasts. */
    char options[256];
    snprintf(options, sizeof options,
             "-c statement_timeout=%" PRId64 " -c lock_timeout=%" PRId64
             " -c plan_cache_mode=force_generic_plan -c jit=off%s",
             pg->statement_timeout_ms, pg->lock_timeout_ms,
             pg->statement_timeout_ms > 0 ? " -c enable_seqscan=off" : "");
    const char *const keys[] = {"connect_timeout", "application_name", "client_encoding", "dbname", "options", NULL};
    const char *const values[] = {"2", "usher", "UTF8", pg->conninfo, options, NULL};
    pg->connection = PQconnectdbParams(keys, values, 1);
    if (PQstatus(pg->connection) != CONNECTION_OK) {
        log_warning("postgresql unavailable error=%s", LOG_QUOTED(one_line(PQerrorMessage(pg->connection))));
        disconnect(pg);
        pg->closed_until = now + BREAK_US + random_jitter((uint32_t)BREAK_US);
        return false;
    }
    PQsetNoticeReceiver(pg->connection, ignore_notice, NULL);
    return true;
}

/* ---- running ---- */

/* Waits until the answer is complete. False: the deadline has passed or the connection is lost. */
static bool wait_for_answer(struct pg *pg, int64_t deadline)
{
    while (PQisBusy(pg->connection)) {
        int64_t left = (deadline - clock_monotonic()) / 1000;
        struct pollfd waiting = {.fd = PQsocket(pg->connection), .events = POLLIN};
        if (left <= 0 || poll(&waiting, 1, (int)left) < 0 || !PQconsumeInput(pg->connection))
            return false;
    }
    return true;
}

/* The last result of what was sent; NULL when the connection is of no more use. */
static PGresult *take_result(struct pg *pg, int64_t timeout_ms)
{
    int64_t deadline = clock_monotonic() + (timeout_ms + GRACE_MS) * 1000;
    PGresult *last = NULL;
    for (;;) {
        if (!wait_for_answer(pg, deadline)) {
            PQclear(last);
            return NULL;
        }
        PGresult *result = PQgetResult(pg->connection);
        if (!result)
            return last;
        PQclear(last);
        last = result;
    }
}

static bool is_good(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
}

static bool prepare_all(struct pg *pg)
{
    for (size_t i = 0; i < STATEMENT_COUNT && !pg->prepared; i++) {
        if (!PQsendPrepare(pg->connection, statements[i].name, statements[i].text, 0, NULL))
            return false;
        PGresult *result = take_result(pg, pg->statement_timeout_ms);
        bool good = result && is_good(result);
        if (!good)
            log_error("postgresql cannot prepare %s error=%s (has usherctl migrate been run?)", statements[i].name,
                      LOG_QUOTED(one_line(PQerrorMessage(pg->connection))));
        PQclear(result);
        if (!good)
            return false;
    }
    pg->prepared = true;
    return true;
}

/* SQLSTATEs that say: the server is going or not ready (57P), the connection broke (08), no room (53). */
static bool is_lost(const PGconn *connection, const char *state)
{
    return PQstatus(connection) != CONNECTION_OK || strncmp(state, "57P", 3) == 0 || strncmp(state, "08", 2) == 0;
}

static bool is_any_of(const char *state, const char *const *states)
{
    for (; *states; states++) {
        if (strncmp(state, *states, strlen(*states)) == 0)
            return true;
    }
    return false;
}

/* One attempt. *lost: the connection is gone and the outcome unknown. *again: the server asks to repeat it. */
static enum pg_end run_once(struct pg *pg, enum statement statement, const struct pg_params *params, PGresult **result,
                            bool *lost, bool *again)
{
    /* out of time, out of room, disk full, read-only standby */
    static const char *const busy[] = {"55P03", "57014", "53", "58030", "25006", NULL};
    static const char *const repeatable[] = {"40001", "40P01", NULL};

    const char *name = statements[statement].name;
    *lost = *again = false;
    crash_point("before", name);
    if (!PQsendQueryPrepared(pg->connection, name, params->count, params->values, NULL, NULL, 0)) {
        *lost = true;
        return PG_UNKNOWN;
    }
    crash_point("sent", name);
    *result = take_result(pg, pg->statement_timeout_ms);
    crash_point("after", name);
    if (*result && is_good(*result))
        return PG_OK;

    const char *state = *result ? PQresultErrorField(*result, PG_DIAG_SQLSTATE) : NULL;
    state = state ? state : "";
    *lost = !*result || is_lost(pg->connection, state);
    *again = is_any_of(state, repeatable);
    if (strcmp(state, "23505") == 0)
        return PG_CONFLICT;
    log_warning("postgresql refused %s sqlstate=%s error=%s", statements[statement].name, *state ? state : "-",
                LOG_QUOTED(one_line(PQerrorMessage(pg->connection))));
    if (*lost)
        return PG_UNKNOWN;
    return *again || is_any_of(state, busy) ? PG_UNAVAILABLE : PG_FAILED;
}

static void clear_result(void *result)
{
    PQclear(result);
}

static void pause_with_jitter(void)
{
    struct timespec pause = {.tv_nsec = 1000000 + random_jitter(9000000)};
    nanosleep(&pause, NULL);
}

/* result NULL: it could not be read, but what was asked for is done. */
static enum pg_end hand_rows(struct arena *arena, PGresult *result, struct pg_rows **rows)
{
    if (!result) {
        log_error("postgresql gave an answer that cannot be read");
        return PG_UNKNOWN;
    }
    arena_defer(arena, clear_result, result);
    *rows = (struct pg_rows *)result;
    return PG_OK;
}

enum pg_end pg_run(struct pg *pg, struct arena *arena, enum statement statement, const struct pg_params *params,
                   bool twice, struct pg_rows **rows)
{
    enum pg_end without_connection = PG_UNAVAILABLE;
    for (int attempt = 0;; attempt++) {
        PGresult *result = NULL;
        bool lost, again;
        if (!connect_pg(pg))
            return without_connection;
        if (!pg->prepared && !prepare_all(pg)) {
            disconnect(pg);
            pg->closed_until = clock_monotonic() + BREAK_US;
            return without_connection;
        }
        int64_t started = clock_monotonic();
        enum pg_end end = run_once(pg, statement, params, &result, &lost, &again);
        if (end == PG_OK)
            return hand_rows(arena, pg_record_open(result), rows);
        PQclear(result);
        bool timed_out = lost && clock_monotonic() - started > pg->statement_timeout_ms * 1000;
        if (lost)
            disconnect(pg);
        if (timed_out)
            pg->closed_until = clock_monotonic() + BREAK_US;
        bool repeat = again || (lost && !timed_out && (twice || statements[statement].twice));
        if (!repeat || attempt > 0)
            return end;
        without_connection = end;
        if (again)
            pause_with_jitter();
    }
}

/* ---- transactions and texts, for the scheduler and usherctl ---- */

/* For usherctl, whose migrations and imports take as long as they take: somebody sits in front of it. */
#define A_DAY_MS ((int64_t)24 * 3600 * 1000)

static bool run_simple(struct pg *pg, const char *sql, int64_t timeout_ms, PGresult **result)
{
    if (!connect_pg(pg))
        return false;
    if (!PQsendQuery(pg->connection, sql))
        return false;
    *result = take_result(pg, timeout_ms);
    return *result && is_good(*result);
}

bool pg_begin(struct pg *pg)
{
    PGresult *result = NULL;
    bool good = run_simple(pg, "BEGIN", pg->statement_timeout_ms, &result);
    PQclear(result);
    return good;
}

void pg_end_transaction(struct pg *pg)
{
    PGresult *result = NULL;
    /* No longer than GRACE_MS: it has written nothing, and ends with the connection as well. */
    if (pg->connection && !run_simple(pg, "COMMIT", 0, &result))
        disconnect(pg);
    PQclear(result);
}

static bool hand_over(struct pg *pg, struct arena *arena, bool good, PGresult *result, struct pg_rows **rows,
                      const char **message)
{
    if (result)
        arena_defer(arena, clear_result, result);
    if (!good)
        *message =
            pg->connection ? arena_strdup(arena, PQerrorMessage(pg->connection)) : "PostgreSQL cannot be reached";
    else
        *rows = (struct pg_rows *)result;
    return good;
}

bool pg_run_text(struct pg *pg, struct arena *arena, const char *sql, struct pg_rows **rows, const char **message)
{
    PGresult *result = NULL;
    bool good = run_simple(pg, sql, A_DAY_MS, &result);
    return hand_over(pg, arena, good, result, rows, message);
}

bool pg_run_sql(struct pg *pg, struct arena *arena, const char *sql, const struct pg_params *params,
                struct pg_rows **rows, const char **message)
{
    PGresult *result = NULL;
    bool good =
        connect_pg(pg) && PQsendQueryParams(pg->connection, sql, params->count, NULL, params->values, NULL, NULL, 0);
    if (good) {
        result = take_result(pg, A_DAY_MS);
        good = result && is_good(result);
    }
    return hand_over(pg, arena, good, result, rows, message);
}
