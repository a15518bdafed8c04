/* reservations: holding seats, looking at one's own, giving them back. */
#include "api/resources.h"

#include "base/json.h"
#include "sale/pulse.h"
#include "sale/queue.h"
#include "sale/reservation.h"

#include <inttypes.h>

/* As many ids as a body can hold: more than seat_limit is 409, however many. */
enum { SEATS_IN_REQUEST_MAX = REQUEST_BODY_MAX / 2, LISTED_MAX = 1000 };

static void put_reservation(struct exchange *x, const struct reservation *reservation)
{
    struct buf *body = &x->reply->body;
    buf_printf(body,
               "{\"id\":%" PRId64 ",\"schedule_id\":%" PRId64 ",\"status\":\"%s\",\"total_price\":%" PRId64
               ",\"currency\":",
               reservation->id, reservation->schedule_id, reservation->status, reservation->total_price);
    json_put_string(body, x->config->currency);
    buf_puts(body, ",\"reserved_at\":");
    json_put_time(body, reservation->reserved_at);
    buf_puts(body, ",\"expires_at\":");
    json_put_time(body, reservation->expires_at);
    buf_printf(body, ",\"expires_in_seconds\":%" PRId64 ",\"completed_at\":", reservation->expires_in_seconds);
    json_put_time(body, reservation->completed_at);
    buf_puts(body, ",\"tickets\":");
    buf_puts(body, reservation->tickets);
    buf_putc(body, '}');
}

static enum error hold_and_note(struct exchange *x, int64_t schedule, const int64_t *seats, size_t count,
                                struct reservation *reservation, bool *replayed)
{
    enum error error = reservation_hold(x->sale, x->arena, &x->pass, schedule, seats, count, &x->idempotency,
                                        reservation, replayed, &x->refusal);
    pulse_hold(x->sale, x->arena, exchange_took(x), error == E_SEAT_UNAVAILABLE);
    return error;
}

enum error reservations_post(struct exchange *x)
{
    struct reservation reservation;
    bool replayed = false;
    int64_t *seats = NULL;
    int64_t schedule = exchange_body_int(x, "schedule_id", 1, INT64_MAX);
    size_t count = exchange_body_ids(x, "seat_ids", SEATS_IN_REQUEST_MAX, &seats);
    enum error error = exchange_valid(x);
    if (error != OK)
        return error;
    if (count > (size_t)x->config->seat_limit) { /* no need to touch the seats; but the gate comes first */
        error = queue_gate(x->sale, x->arena, &x->pass, false, &x->refusal);
        return error == OK ? E_SEAT_LIMIT : error;
    }
    error = hold_and_note(x, schedule, seats, count, &reservation, &replayed);
    if (error != OK)
        return error;
    reply_json(x, 201);
    reply_header(x, "Location", "/v1/reservations/%" PRId64, reservation.id);
    reply_header(x, "Cache-Control", "private, no-store");
    if (replayed)
        reply_header(x, "Idempotent-Replayed", "true");
    put_reservation(x, &reservation);
    return OK;
}

enum error reservations_list(struct exchange *x)
{
    struct reservation *items;
    size_t count;
    enum error error = reservation_list(x->sale, x->arena, x->user, LISTED_MAX, &items, &count);
    if (error != OK)
        return error;
    reply_json(x, 200);
    reply_header(x, "Cache-Control", "private, no-store");
    buf_puts(&x->reply->body, "{\"items\":[");
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_putc(&x->reply->body, ',');
        put_reservation(x, &items[i]);
    }
    buf_puts(&x->reply->body, "]}");
    return OK;
}

enum error reservations_get(struct exchange *x)
{
    struct reservation reservation;
    enum error error = reservation_get(x->sale, x->arena, x->user, x->id, &reservation);
    if (error != OK)
        return error;
    reply_json(x, 200);
    reply_header(x, "Cache-Control", "private, no-store");
    put_reservation(x, &reservation);
    return OK;
}

enum error reservations_delete(struct exchange *x)
{
    enum error error = reservation_cancel(x->sale, x->arena, x->user, x->id);
    if (error != OK)
        return error;
    x->reply->status = 204;
    reply_header(x, "Cache-Control", "private, no-store");
    return OK;
}
