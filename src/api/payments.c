/* payments: paying a held reservation, and looking at one's own payments. */
#include "api/resources.h"

#include "base/json.h"
#include "sale/payment.h"
#include "sale/pulse.h"

#include <inttypes.h>

static void put_payment(struct exchange *x, const struct payment *payment)
{
    struct buf *body = &x->reply->body;
    reply_header(x, "Cache-Control", "private, no-store");
    buf_printf(body,
               "{\"id\":%" PRId64 ",\"reservation_id\":%" PRId64 ",\"price\":%" PRId64 ",\"currency\":", payment->id,
               payment->reservation_id, payment->price);
    json_put_string(body, x->config->currency);
    buf_printf(body, ",\"balance\":%" PRId64 ",\"paid_at\":", payment->balance);
    json_put_time(body, payment->paid_at);
    buf_putc(body, '}');
}

enum error payments_post(struct exchange *x)
{
    struct payment payment = {.replayed = false};
    int64_t reservation = exchange_body_int(x, "reservation_id", 1, INT64_MAX);
    enum error error = exchange_valid(x);
    if (error == OK)
        error = payment_pay(x->sale, x->arena, &x->pass, reservation, &x->idempotency, &payment, &x->refusal);
    pulse_payment(x->sale, x->arena, exchange_took(x), error == OK && !payment.replayed);
    if (error != OK)
        return error;
    reply_json(x, 201);
    reply_header(x, "Location", "/v1/payments/%" PRId64, payment.id);
    if (payment.replayed)
        reply_header(x, "Idempotent-Replayed", "true");
    put_payment(x, &payment);
    return OK;
}

enum error payments_get(struct exchange *x)
{
    struct payment payment;
    enum error error = payment_get(x->sale, x->arena, x->user, x->id, &payment);
    if (error != OK)
        return error;
    reply_json(x, 200);
    put_payment(x, &payment);
    return OK;
}
