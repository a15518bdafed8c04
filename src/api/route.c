/* route: the table. To add an operation: a row here, a handler in resources.h, and its file. */
#include "api/route.h"

#include "api/resources.h"
#include "base/encode.h"

#include <string.h>

#define READ (METHOD_GET | METHOD_HEAD)

// clang-format off
static const struct route routes[] = {
    {READ,          "/v1/queue",                   0,                                              queue_get},
    {METHOD_POST,   "/v1/queue/tokens",            NEEDS_USER,                                     tokens_post},
    {READ,          "/v1/queue/tokens/me",         0,                                              tokens_get},
    {METHOD_DELETE, "/v1/queue/tokens/me",         0,                                              tokens_delete},
    {READ,          "/v1/concerts",                NEEDS_USER | NEEDS_PASS,                        concerts_list},
    {READ,          "/v1/concerts/{id}",           NEEDS_USER | NEEDS_PASS | NEEDS_GATE,           concerts_get},
    {READ,          "/v1/concerts/{id}/schedules", NEEDS_USER | NEEDS_PASS,                        concerts_schedules},
    {READ,          "/v1/schedules/{id}/seats",    NEEDS_USER | NEEDS_PASS,                        seats_list},
    {METHOD_POST,   "/v1/reservations",            NEEDS_USER | NEEDS_PASS | NEEDS_BODY,           reservations_post},
    {READ,          "/v1/reservations",            NEEDS_USER,                                     reservations_list},
    {READ,          "/v1/reservations/{id}",       NEEDS_USER,                                     reservations_get},
    {METHOD_DELETE, "/v1/reservations/{id}",       NEEDS_USER,                                     reservations_delete},
    {READ,          "/v1/balance",                 NEEDS_USER,                                     balance_get},
    {READ,          "/v1/balance/entries",         NEEDS_USER,                                     balance_entries},
    {METHOD_POST,   "/v1/balance/charges",         NEEDS_USER | NEEDS_BODY | NEEDS_KEY,            balance_charge},
    {METHOD_POST,   "/v1/payments",                NEEDS_USER | NEEDS_PASS | NEEDS_BODY,           payments_post},
    {READ,          "/v1/payments/{id}",           NEEDS_USER,                                     payments_get},
    {READ,          "/healthz",                    0,                                              health_alive},
    {READ,          "/readyz",                     0,                                              health_ready},
};
// clang-format on

static bool match(const char *pattern, const char *path, int64_t *id)
{
    for (; *pattern && *path; pattern++, path++) {
        if (*pattern == '{') {
            size_t length = strcspn(path, "/");
            if (!decimal_parse(path, length, 1, INT64_MAX, id))
                return false;
            path += length - 1;
            pattern += strlen("{id}") - 1;
        } else if (*pattern != *path) {
            return false;
        }
    }
    return *pattern == '\0' && *path == '\0';
}

const struct route *route_find(enum method method, const char *path, int64_t *id, unsigned *allow)
{
    *allow = 0;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (!match(routes[i].pattern, path, id))
            continue;
        *allow |= routes[i].methods;
        if (routes[i].methods & method)
            return &routes[i];
    }
    return NULL;
}
