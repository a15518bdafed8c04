/* fuzz_target: path and query. Input: the request's target. Every operation that reads a query is also asked with it.
 */
#include "fuzz.h"

#include "api/exchange.h"
#include "api/route.h"
#include "base/encode.h"

#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_house();
    return 0;
}

static int ask(const char *prefix, const char *target)
{
    struct fuzz_house *house = fuzz_house();
    char method[] = "REQUEST_METHOD=GET", id[] = "HTTP_X_REQUEST_ID=0123456789abcdef";
    char *parameters[] = {
        method,
        arena_printf(house->arena, "REQUEST_URI=%s%s", prefix, target),
        arena_printf(house->arena, "HTTP_AUTHORIZATION=Bearer %s", house->bearer),
        arena_printf(house->arena, "HTTP_QUEUE_TOKEN=%s", house->token),
        id,
        NULL,
    };
    stand_in_feed(NULL, 0);
    return fuzz_exchange(parameters, NULL, 0);
}

/* The one place of {id} in a path that was found: its digits are the number, from 1 on. */
static void check_route(const char *path)
{
    static const enum method methods[] = {METHOD_GET, METHOD_HEAD, METHOD_POST, METHOD_DELETE, METHOD_OTHER};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        int64_t id = -1, again;
        unsigned allow;
        const struct route *route = route_find(methods[i], path, &id, &allow);
        REQUIRE(!route || (route->methods & methods[i]), "a row that has the method");
        if (!route)
            continue;
        const char *brace = strchr(route->pattern, '{');
        if (!brace) {
            REQUIRE(strcmp(route->pattern, path) == 0, "the path itself");
            continue;
        }
        const char *digits = path + (brace - route->pattern);
        size_t length = strcspn(digits, "/");
        REQUIRE(strncmp(path, route->pattern, (size_t)(brace - route->pattern)) == 0, "the same beginning");
        REQUIRE(strcmp(digits + length, brace + strlen("{id}")) == 0, "the same end");
        REQUIRE(decimal_parse(digits, length, 1, INT64_MAX, &again) && again == id, "the number");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const readers[] = {"/v1/concerts?", "/v1/concerts/1/schedules?", "/v1/schedules/1/seats?",
                                          "/v1/balance/entries?"};
    char *target = fuzz_text(data, size);
    int status = ask("", target);
    REQUIRE(status == 200 || status == 400 || status == 401 || status == 404 || status == 405 || status == 503,
            "what a GET without servers can be");
    size_t mark = strcspn(target, "?");
    const char *query = target[mark] ? target + mark + 1 : target;
    status = ask(readers[size % (sizeof readers / sizeof *readers)], query);
    REQUIRE(status == 400 || status == 503, "a query is refused or accepted");
    target[mark] = '\0';
    check_route(target);
    arena_reset(fuzz_house()->arena);
    return 0;
}
