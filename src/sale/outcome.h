/* outcome: from what PostgreSQL answers to the domain's errors. */
#ifndef USHER_SALE_OUTCOME_H
#define USHER_SALE_OUTCOME_H

#include "base/error.h"
#include "store/pg.h"

#include <stdbool.h>

/* How a statement ended; PG_CONFLICT where nobody expects one is our fault. */
enum error outcome_of_run(enum pg_end end);

/* The `outcome` column of the functions in sql/: OK for created, replayed (sets *replayed), cancelled and over. */
enum error outcome_of_function(const char *outcome, bool *replayed);

#endif
