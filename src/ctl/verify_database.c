/* verify_database: the invariants that PostgreSQL can tell by itself: each a view of sql/008_verify.sql, and the
 * rights. */
#include "ctl/verify.h"

#include "store/pg.h"

#include <string.h>

/* Room for sorting a million reservations. Rows lie about in the order of their ids, so sorting and merging them cost
 * half of what hashing every group does, which the planner does not see. */
static const char begin[] = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
                            "SET LOCAL work_mem = '256MB'; SET LOCAL jit = off;"
                            "SET LOCAL enable_hashagg = off; SET LOCAL random_page_cost = 1.1;"
                            "SET LOCAL lock_timeout = '5s'; SET LOCAL idle_in_transaction_session_timeout = 0";

static const char *const views[INVARIANT_COUNT] = {
#define VIEW_OF_PG(name)                          name
#define VIEW_OF_RIGHTS(name)                      NULL
#define VIEW_OF_LINE(name)                        NULL
#define VIEW_OF_HALL(name)                        NULL
#define INVARIANT_VIEW(symbol, where, name, says) [INVARIANT_##symbol] = VIEW_OF_##where(name),
    INVARIANT_TABLE(INVARIANT_VIEW)
#undef INVARIANT_VIEW
};

/* The functions that write run as the owner of the tables and name these without a schema: whoever calls them and can
 * create a table, a temporary one even, could have them write there. sql/007_grants.sql takes these rights away, but
 * those on the database are not in a dump of it: a copy restored into a new database has PostgreSQL's own again. What
 * everybody may is not said once more of the workers. */
static const char rights[] =
    "(WITH role (called, name) AS (VALUES ('PUBLIC', 'public'), ('usher', 'usher')),"
    " may (role, name, what, take) AS ("
    "  SELECT called, name, 'temporary tables', 'TEMPORARY ON DATABASE ' || quote_ident(current_database()) FROM role"
    "   WHERE has_database_privilege(name, current_database(), 'TEMPORARY')"
    "  UNION ALL SELECT called, name, 'schemas', 'CREATE ON DATABASE ' || quote_ident(current_database()) FROM role"
    "   WHERE has_database_privilege(name, current_database(), 'CREATE')"
    "  UNION ALL SELECT called, name, 'objects in schema ' || quote_ident(nspname), 'CREATE ON SCHEMA ' || "
    "quote_ident(nspname)"
    "   FROM role, pg_namespace WHERE nspname !~ '^pg_' AND has_schema_privilege(name, pg_namespace.oid, 'CREATE'))"
    " SELECT format('%s may create %s: REVOKE %s FROM %s', role, what, take, role) AS breach FROM may"
    " WHERE name = 'public' OR NOT EXISTS (SELECT FROM may AS everybody"
    "  WHERE everybody.name = 'public' AND everybody.take = may.take)) AS rights";

bool verify_query(struct verify *verify, struct arena *scratch, const char *sql, struct pg_rows **rows)
{
    const char *message = "";
    if (pg_run_text(verify->pg, scratch, sql, rows, &message))
        return true;
    const char *hint = strstr(message, "does not exist") ? " (has usherctl migrate been run?)" : "";
    return verify_trouble(verify, arena_printf(verify->arena, "%.*s%s", (int)strcspn(message, "\n"), message, hint));
}

bool verify_snapshot_begin(struct verify *verify)
{
    struct pg_rows *rows;
    return verify_query(verify, verify->arena, begin, &rows);
}

void verify_snapshot_end(struct verify *verify)
{
    pg_end_transaction(verify->pg);
}

static const char *view_name(struct arena *arena, const char *name)
{
    char *view = arena_printf(arena, "verify_%s", name);
    for (char *c = view; *c; c++)
        *c = *c == '-' ? '_' : *c;
    return view;
}

/* from: a view, or a query in its place, whose rows are breaches. */
static bool count_breaches(struct verify *verify, struct arena *scratch, enum invariant invariant, const char *from)
{
    struct pg_rows *rows;
    const char *sql =
        arena_printf(scratch, "SELECT count(*) OVER (), breach FROM %s ORDER BY breach LIMIT %d", from, EXAMPLES);
    if (!verify_query(verify, scratch, sql, &rows))
        return false;
    for (size_t row = 0; row < pg_count(rows); row++)
        verify_breach(verify, invariant, "%s", pg_get(rows, row, 1));
    struct finding *finding = &verify->findings[invariant];
    finding->breaches = pg_count(rows) ? pg_get_int(rows, 0, 0) : 0;
    finding->checked = true;
    return true;
}

bool verify_database(struct verify *verify)
{
    struct arena *scratch = arena_new(4096);
    bool good = true;
    for (int i = 0; good && i < INVARIANT_COUNT; i++) {
        good = !views[i] || count_breaches(verify, scratch, (enum invariant)i, view_name(scratch, views[i]));
        arena_reset(scratch);
    }
    good = good && count_breaches(verify, scratch, INVARIANT_NO_SHADOWS, rights);
    arena_free(scratch);
    return good;
}
