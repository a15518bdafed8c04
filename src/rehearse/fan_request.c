/* fan_request: a fan's requests as HTTP. What they say follows from the fan's state alone, so that a repeated request
 * is the same request. */
#include "rehearse/fan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { BEARER = 1, PASS = 2, KEY = 4 };

static const struct {
    const char *method;
    int headers;
} kinds[OPERATIONS] = {
    [OP_JOIN] = {"POST", BEARER},           [OP_POLL] = {"GET", PASS},
    [OP_CONCERTS] = {"GET", BEARER | PASS}, [OP_SCHEDULES] = {"GET", BEARER | PASS},
    [OP_SEATS] = {"GET", BEARER | PASS},    [OP_HOLD] = {"POST", BEARER | PASS | KEY},
    [OP_CHARGE] = {"POST", BEARER | KEY},   [OP_PAY] = {"POST", BEARER | PASS | KEY},
    [OP_LEAVE] = {"DELETE", PASS},          [OP_LINE] = {"GET", 0},
};

static void put_path(const struct fan *fan, struct buf *out)
{
    switch (fan->operation) {
    case OP_JOIN:
        buf_puts(out, "/v1/queue/tokens");
        break;
    case OP_CONCERTS:
        buf_printf(out, "/v1/concerts?page=%" PRId64 "&size=100", fan->venue ? fan->venue->page : 0);
        break;
    case OP_SCHEDULES:
        buf_printf(out, "/v1/concerts/%" PRId64 "/schedules", fan->venue->concert);
        break;
    case OP_SEATS:
        buf_printf(out, "/v1/schedules/%" PRId64 "/seats", fan->schedule);
        break;
    case OP_HOLD:
        buf_puts(out, "/v1/reservations");
        break;
    case OP_CHARGE:
        buf_puts(out, "/v1/balance/charges");
        break;
    case OP_PAY:
        buf_puts(out, "/v1/payments");
        break;
    case OP_LINE:
        buf_puts(out, "/v1/queue");
        break;
    default:
        buf_puts(out, "/v1/queue/tokens/me");
    }
}

static void put_body(const struct fan *fan, struct buf *out)
{
    switch (fan->operation) {
    case OP_HOLD:
        buf_printf(out, "{\"schedule_id\":%" PRId64 ",\"seat_ids\":[", fan->schedule);
        for (int i = 0; i < fan->wish_count; i++)
            buf_printf(out, "%s%" PRId64, i ? "," : "", fan->wishes[i].id);
        buf_puts(out, "]}");
        break;
    case OP_CHARGE:
        buf_printf(out, "{\"amount\":%" PRId64 "}", fan->price);
        break;
    case OP_PAY:
        buf_printf(out, "{\"reservation_id\":%" PRId64 "}", fan->reservation);
        break;
    default:
        break;
    }
}

void fan_put_request(const struct fan *fan, struct buf *out)
{
    const struct address *address = &fan->stage->settings->address;
    int headers = kinds[fan->operation].headers;
    struct buf body;
    buf_printf(out, "%s %s", kinds[fan->operation].method, address->prefix);
    put_path(fan, out);
    buf_printf(out, " HTTP/1.1\r\nHost: %s\r\nUser-Agent: usher-rehearse/" PACKAGE_VERSION "\r\n", address->host);
    if (headers & BEARER)
        buf_printf(out, "Authorization: Bearer %s\r\n", stage_bearer(fan->stage, fan->number));
    if (headers & PASS)
        buf_printf(out, "Queue-Token: %s\r\n", fan->token);
    if (headers & KEY)
        buf_printf(out, "Idempotency-Key: %016" PRIx64 "-%" PRId64 "-%d\r\n", fan->stage->run, fan->number, fan->keys);
    if (strcmp(kinds[fan->operation].method, "POST") == 0) {
        buf_init(&body, fan->stage->arena, 256);
        put_body(fan, &body);
        if (body.length > 0)
            buf_puts(out, "Content-Type: application/json\r\n");
        buf_printf(out, "Content-Length: %zu\r\n\r\n%s", body.length, body.data);
    } else {
        buf_puts(out, "\r\n");
    }
}
