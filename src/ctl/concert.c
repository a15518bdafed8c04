/* concert: bringing concerts in and changing them; the pages that show them are evicted at once. */
#include "ctl/command.h"

#include "base/encode.h"
#include "base/options.h"
#include "sale/page_cache.h"
#include "sale/sale.h"
#include "store/pg.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A season of some hundred halls fits. */
enum { FILE_MAX = 256 * 1024 * 1024 };

static int evict(struct command_call *call)
{
    struct sale *sale = sale_open_without_key(call->config);
    enum error error = page_cache_evict(sale, call->arena);
    sale_close(sale);
    if (error != OK) {
        fprintf(stderr,
                "usherctl: Redis does not answer, so cached pages stay until they expire (run usherctl evict later)\n");
        return EXIT_FAILED;
    }
    puts("cached pages are evicted");
    return EXIT_OK;
}

int command_evict(struct command_call *call)
{
    return call->argc ? command_usage("evict") : evict(call);
}

static char *read_whole(struct arena *arena, const char *path)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    size_t size = 65536, length = 0, got;
    char *text = arena_alloc(arena, size);
    if (!file)
        return NULL;
    while ((got = fread(text + length, 1, size - length - 1, file)) > 0) {
        length += got;
        if (length + 1 == size) {
            if (size >= FILE_MAX) {
                errno = EFBIG;
                text = NULL;
                break;
            }
            char *larger = arena_alloc(arena, size * 2);
            memcpy(larger, text, length);
            text = larger;
            size *= 2;
        }
    }
    if (text)
        text[length] = '\0';
    if (file != stdin)
        fclose(file);
    return text;
}

static int change(struct command_call *call, const char *sql, const struct pg_params *params, struct pg_rows **rows)
{
    const char *message = "";
    struct pg *pg = command_owner(call);
    bool good = pg_run_sql(pg, call->arena, sql, params, rows, &message);
    pg_free(pg);
    if (!good)
        fprintf(stderr, "usherctl: nothing was changed: %s\n", message);
    return good ? EXIT_OK : EXIT_FAILED;
}

int command_import(struct command_call *call)
{
    struct pg_params params = {.arena = call->arena};
    struct pg_rows *rows = NULL;
    if (call->argc != 1)
        return command_usage("import FILE.json (- for standard input)");
    const char *text = read_whole(call->arena, call->argv[0]);
    if (!text) {
        fprintf(stderr, "usherctl: cannot read %s: %s\n", call->argv[0], strerror(errno));
        return EXIT_FAILED;
    }
    pg_text(&params, text);
    int status = change(call, "SELECT * FROM usher_import($1::jsonb)", &params, &rows);
    if (status != EXIT_OK)
        return status;
    printf("imported %s concerts, %s schedules, %s seats\n", pg_get(rows, 0, 0), pg_get(rows, 0, 1),
           pg_get(rows, 0, 2));
    return evict(call);
}

/* set ID [--name TEXT] [--description TEXT] */
int command_concert(struct command_call *call)
{
    static const char form[] = "concert set ID [--name TEXT] [--description TEXT]";
    const char *name = NULL, *description = NULL;
    struct pg_params params = {.arena = call->arena};
    struct pg_rows *rows = NULL;
    int64_t id;

    if (call->argc < 4 || call->argc % 2 || strcmp(call->argv[0], "set") != 0 ||
        !decimal_parse(call->argv[1], strlen(call->argv[1]), 1, INT64_MAX, &id))
        return command_usage(form);
    for (int i = 2; i < call->argc; i += 2) {
        if (strcmp(call->argv[i], "--name") == 0)
            name = call->argv[i + 1];
        else if (strcmp(call->argv[i], "--description") == 0)
            description = call->argv[i + 1];
        else
            return command_usage(form);
    }
    pg_int(&params, id);
    pg_text(&params, name);
    pg_text(&params, description);
    int status = change(call,
                        "UPDATE concert SET name = coalesce($2, name), description = coalesce($3, description)"
                        " WHERE id = $1 RETURNING id",
                        &params, &rows);
    if (status == EXIT_OK && pg_count(rows) == 0) {
        fprintf(stderr, "usherctl: there is no concert %" PRId64 "\n", id);
        status = EXIT_FAILED;
    }
    return status == EXIT_OK ? evict(call) : status;
}
