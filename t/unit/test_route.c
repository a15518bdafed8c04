/* route: every row of the table is found by its path and methods, and by nothing that only resembles it. */
#include "api/route.h"

#include "api/resources.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

enum { READ = METHOD_GET | METHOD_HEAD, GATED = NEEDS_USER | NEEDS_PASS };

static const enum method methods[] = {METHOD_GET, METHOD_HEAD, METHOD_POST, METHOD_DELETE, METHOD_OTHER};
#define METHOD_COUNT (sizeof methods / sizeof *methods)

/* The contract, written a second time: method by method as api.md lists it. */
static const struct {
    unsigned methods;
    const char *path;
    int64_t id;
    unsigned needs;
    handler *handler;
} operations[] = {
    {READ, "/v1/queue", 0, 0, queue_get},
    {METHOD_POST, "/v1/queue/tokens", 0, NEEDS_USER, tokens_post},
    {READ, "/v1/queue/tokens/me", 0, 0, tokens_get},
    {METHOD_DELETE, "/v1/queue/tokens/me", 0, 0, tokens_delete},
    {READ, "/v1/concerts", 0, GATED, concerts_list},
    {READ, "/v1/concerts/12", 12, GATED | NEEDS_GATE, concerts_get},
    {READ, "/v1/concerts/12/schedules", 12, GATED, concerts_schedules},
    {READ, "/v1/schedules/3/seats", 3, GATED, seats_list},
    {METHOD_POST, "/v1/reservations", 0, GATED | NEEDS_BODY, reservations_post},
    {READ, "/v1/reservations", 0, NEEDS_USER, reservations_list},
    {READ, "/v1/reservations/4", 4, NEEDS_USER, reservations_get},
    {METHOD_DELETE, "/v1/reservations/4", 4, NEEDS_USER, reservations_delete},
    {READ, "/v1/balance", 0, NEEDS_USER, balance_get},
    {READ, "/v1/balance/entries", 0, NEEDS_USER, balance_entries},
    {METHOD_POST, "/v1/balance/charges", 0, NEEDS_USER | NEEDS_BODY | NEEDS_KEY, balance_charge},
    {METHOD_POST, "/v1/payments", 0, GATED | NEEDS_BODY, payments_post},
    {READ, "/v1/payments/5", 5, NEEDS_USER, payments_get},
    {READ, "/healthz", 0, 0, health_alive},
    {READ, "/readyz", 0, 0, health_ready},
};
#define OPERATION_COUNT (sizeof operations / sizeof *operations)

Test(route, every_operation_is_found)
{
    for (size_t i = 0; i < OPERATION_COUNT; i++) {
        for (size_t m = 0; m < METHOD_COUNT; m++) {
            if (!(operations[i].methods & methods[m]))
                continue;
            int64_t id = 0;
            unsigned allow;
            const struct route *route = route_find(methods[m], operations[i].path, &id, &allow);
            cr_assert_not_null(route, "%s", operations[i].path);
            cr_assert_eq(route->handler, operations[i].handler, "%s", operations[i].path);
            cr_assert_eq(route->needs, operations[i].needs, "%s", operations[i].path);
            cr_assert_eq(id, operations[i].id, "%s", operations[i].path);
        }
    }
}

static unsigned allowed(const char *path)
{
    unsigned all = 0;
    for (size_t i = 0; i < OPERATION_COUNT; i++)
        if (strcmp(operations[i].path, path) == 0)
            all |= operations[i].methods;
    return all;
}

Test(route, other_methods_are_told_what_is_allowed)
{
    for (size_t i = 0; i < OPERATION_COUNT; i++) {
        for (size_t m = 0; m < METHOD_COUNT; m++) {
            int64_t id;
            unsigned allow, wanted = allowed(operations[i].path);
            if (wanted & methods[m])
                continue;
            cr_assert_null(route_find(methods[m], operations[i].path, &id, &allow));
            cr_assert_eq(allow, wanted, "%s: %u", operations[i].path, allow);
        }
    }
}

Test(route, ids_up_to_the_largest)
{
    static const struct {
        const char *path;
        int64_t id;
    } good[] = {
        {"/v1/concerts/1", 1},
        {"/v1/concerts/10", 10},
        {"/v1/payments/9223372036854775807", INT64_MAX},
        {"/v1/schedules/9223372036854775807/seats", INT64_MAX},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t id = 0;
        unsigned allow;
        cr_assert_not_null(route_find(METHOD_GET, good[i].path, &id, &allow), "%s", good[i].path);
        cr_assert_eq(id, good[i].id, "%s", good[i].path);
    }
}

Test(route, what_names_nothing)
{
    static const char *const paths[] = {
        "",
        "/",
        "//",
        "/v1",
        "/v1/",
        "/v2/queue",
        "v1/queue",
        "//v1/queue",
        "/v1//queue",
        "/v1/queue/",
        "/V1/queue",
        "/v1/Queue",
        "/v1/queue%2ftokens",
        "/v1/%71ueue",
        "/v1/queue/tokens/",
        "/v1/queue/tokens/you",
        "/v1/queue/tokens/me/",
        "/v1/concerts/",
        "/v1/concerts/{id}",
        "/v1/concerts/0",
        "/v1/concerts/-1",
        "/v1/concerts/+1",
        "/v1/concerts/01",
        "/v1/concerts/ 1",
        "/v1/concerts/1 ",
        "/v1/concerts/1.0",
        "/v1/concerts/1e3",
        "/v1/concerts/0x1",
        "/v1/concerts/%31",
        "/v1/concerts/9223372036854775808",
        "/v1/concerts/18446744073709551617",
        "/v1/concerts/99999999999999999999999999999999999999",
        "/v1/concerts/me",
        "/v1/concerts/1/",
        "/v1/concerts//schedules",
        "/v1/concerts/1/schedules/",
        "/v1/concerts/1/seats",
        "/v1/concerts/1/2",
        "/v1/schedules/1",
        "/v1/schedules/seats",
        "/v1/reservations/",
        "/v1/reservations/1/2",
        "/v1/payments/",
        "/v1/balance/",
        "/v1/balance/charges/1",
        "/healthz/",
        "/healthzz",
        "/readyz/..",
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        for (size_t m = 0; m < METHOD_COUNT; m++) {
            int64_t id;
            unsigned allow = 77;
            cr_assert_null(route_find(methods[m], paths[i], &id, &allow), "%s", paths[i]);
            cr_assert_eq(allow, 0, "%s", paths[i]);
        }
    }
}
