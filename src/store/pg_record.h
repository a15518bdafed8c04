/* pg_record: a row that came as one value.
 *
 * "SELECT f(...)" of a function that returns a type of our own gives one column, a record in text form. "SELECT * FROM
 * f(...)" gives its columns, and costs the server half again as much as the call itself; a function with OUT parameters
 * has PostgreSQL work out its columns for each call. */
#ifndef USHER_STORE_PG_RECORD_H
#define USHER_STORE_PG_RECORD_H

#include "base/error.h"

#include <libpq-fe.h>

/* Takes the result over: one with its records' fields as columns, or the same when it holds no record. NULL: out of
 * memory, or a text that is no record. */
PGresult *pg_record_open(PGresult *result) MUST_CHECK;

#endif
