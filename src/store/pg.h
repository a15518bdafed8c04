/* pg: one connection to PostgreSQL and its prepared statements; nothing that waits for ever.
 *
 * Connects at the first statement. A statement is limited by statement_timeout in the server and, a little later, by
 * the client, so that a frozen server costs no more. A connection that was lost is opened again and the statement
 * repeated once when that is harmless. After a failed connect every statement fails at once for a short while. */
#ifndef USHER_STORE_PG_H
#define USHER_STORE_PG_H

#include "base/arena.h"
#include "base/error.h"
#include "store/statement.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pg;

struct pg *pg_new(const char *conninfo, int64_t statement_timeout_ms, int64_t lock_timeout_ms);
void pg_free(struct pg *pg);

/* Parameters in their text form. NULL is SQL's null. Texts must live until the statement has run. */
#define PG_PARAMS_MAX 8
struct pg_params {
    struct arena *arena;
    const char *values[PG_PARAMS_MAX];
    int count;
};

void pg_text(struct pg_params *params, const char *text);
void pg_int(struct pg_params *params, int64_t value);
void pg_bool(struct pg_params *params, bool value);
void pg_ids(struct pg_params *params, const int64_t *ids, size_t count); /* bigint[] */
void pg_hex(struct pg_params *params, const void *bytes, size_t length); /* bytea; bytes NULL is null */

/* A result: rows of texts, owned by the arena of the run. */
struct pg_rows;

size_t pg_count(const struct pg_rows *rows);
bool pg_is_null(const struct pg_rows *rows, size_t row, int column);
const char *pg_get(const struct pg_rows *rows, size_t row, int column); /* "" for null */
int64_t pg_get_int(const struct pg_rows *rows, size_t row, int column); /* 0 for null */

/* How a run ended. */
enum pg_end {
    PG_OK,
    PG_UNAVAILABLE, /* nothing was done: no connection, a timeout, or a conflict that repeating did not solve; try later
                     */
    PG_UNKNOWN,     /* the connection was lost before the answer: it may have been done */
    PG_CONFLICT,    /* 23505: a unique constraint decided against it */
    PG_FAILED,      /* anything else: our fault, logged */
};

/* Runs a statement. twice: it may be repeated after a lost connection although the table does not say so (it has an
 * idempotency key). */
enum pg_end pg_run(struct pg *pg, struct arena *arena, enum statement statement, const struct pg_params *params,
                   bool twice, struct pg_rows **rows) MUST_CHECK;

/* Opens or ends a transaction on this connection, for the schedulers' lock: nothing is written in it. When the server
 * does not answer in time, the connection is closed, which ends it too. */
bool pg_begin(struct pg *pg) MUST_CHECK;
void pg_end_transaction(struct pg *pg);

/* For usherctl: several statements as they are, without parameters; on failure the server's message is in *message. */
bool pg_run_text(struct pg *pg, struct arena *arena, const char *sql, struct pg_rows **rows,
                 const char **message) MUST_CHECK;
/* For usherctl: one statement with parameters. */
bool pg_run_sql(struct pg *pg, struct arena *arena, const char *sql, const struct pg_params *params,
                struct pg_rows **rows, const char **message) MUST_CHECK;

#endif
