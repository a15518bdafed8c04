/* migrate: brings the schema up to date. Idempotent; two at once wait for each other. */
#include "ctl/command.h"

#include "base/embedded.h"
#include "base/options.h"
#include "store/pg.h"

#include <stdio.h>
#include <string.h>

static const char prepare[] = "SET client_min_messages = warning;"
                              "SELECT pg_advisory_lock(1970496882, 0);"
                              "CREATE TABLE IF NOT EXISTS schema_migration (name text PRIMARY KEY, applied_at "
                              "timestamptz NOT NULL DEFAULT now())";

static int failed(const char *what, const char *message)
{
    fprintf(stderr, "usherctl: %s: %s%s", what, message, message[strlen(message) - 1] == '\n' ? "" : "\n");
    return EXIT_FAILED;
}

static bool is_applied(const struct pg_rows *rows, const char *name)
{
    for (size_t row = 0; row < pg_count(rows); row++) {
        if (strcmp(pg_get(rows, row, 0), name) == 0)
            return true;
    }
    return false;
}

int command_migrate(struct command_call *call)
{
    struct pg_rows *applied, *rows;
    const char *message = "";
    int count = 0, status = EXIT_OK;
    if (call->argc)
        return command_usage("migrate");

    struct pg *pg = command_owner(call);
    if (!pg_run_text(pg, call->arena, prepare, &rows, &message) ||
        !pg_run_text(pg, call->arena, "SELECT name FROM schema_migration", &applied, &message))
        status = failed("migrate", message);
    for (const struct embedded *m = embedded_migrations; status == EXIT_OK && m->name; m++) {
        if (is_applied(applied, m->name))
            continue;
        /* One simple query: applied and noted, or neither. */
        const char *sql = arena_printf(
            call->arena, "BEGIN;\n%s\n;INSERT INTO schema_migration (name) VALUES ('%s'); COMMIT", m->text, m->name);
        if (!pg_run_text(pg, call->arena, sql, &rows, &message)) {
            status = failed(m->name, message);
        } else {
            printf("applied %s\n", m->name);
            count++;
        }
    }
    if (status == EXIT_OK && count == 0)
        puts("nothing to apply: the schema is up to date");
    pg_free(pg);
    return status;
}
