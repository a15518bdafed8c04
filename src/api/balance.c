/* balance: the wallet and its history. */
#include "api/resources.h"

#include "base/json.h"
#include "sale/token.h"
#include "sale/wallet.h"

#include <inttypes.h>

enum { CHARGE_MAX = 10000000, LIMIT_MAX = 100, LIST_ENTRIES = 2 };

enum error balance_get(struct exchange *x)
{
    int64_t balance;
    enum error error = wallet_balance(x->sale, x->arena, x->user, &balance);
    if (error != OK)
        return error;
    reply_json(x, 200);
    reply_header(x, "Cache-Control", "private, no-store");
    buf_printf(&x->reply->body, "{\"balance\":%" PRId64 ",\"currency\":", balance);
    json_put_string(&x->reply->body, x->config->currency);
    buf_putc(&x->reply->body, '}');
    return OK;
}

static void put_entry(struct buf *out, const struct entry *entry)
{
    buf_printf(
        out, "{\"id\":%" PRId64 ",\"kind\":\"%s\",\"amount\":%" PRId64 ",\"balance\":%" PRId64 ",\"reference\":\"%s\"",
        entry->id, entry->kind, entry->amount, entry->balance, entry->reference);
    buf_puts(out, ",\"created_at\":");
    json_put_time(out, entry->created_at);
    buf_putc(out, '}');
}

enum error balance_entries(struct exchange *x)
{
    struct cursor cursor = {.list = LIST_ENTRIES, .id = INT64_MAX};
    struct entry *items;
    size_t count;
    bool more;
    int64_t limit = exchange_query_int(x, "limit", 1, LIMIT_MAX, LIMIT_MAX);
    const char *after = exchange_query(x, "after");
    if (after && !cursor_read(x->sale->key, after, x->user, &cursor))
        exchange_bad_field(x, "after", "is not a cursor of this listing");
    enum error error = exchange_valid(x);
    if (error == OK)
        error = wallet_entries(x->sale, x->arena, x->user, cursor.id, limit, &items, &count, &more);
    if (error != OK)
        return error;

    struct buf *body = &x->reply->body;
    reply_json(x, 200);
    reply_header(x, "Cache-Control", "private, no-store");
    buf_puts(body, "{\"items\":[");
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_putc(body, ',');
        put_entry(body, &items[i]);
    }
    if (more) {
        char text[CURSOR_SIZE];
        struct cursor next = {.list = LIST_ENTRIES, .id = items[count - 1].id};
        cursor_make(x->sale->key, &next, x->user, text);
        buf_printf(body, "],\"next\":\"%s\"}", text);
    } else {
        buf_puts(body, "],\"next\":null}");
    }
    return OK;
}

enum error balance_charge(struct exchange *x)
{
    struct charge charge;
    int64_t amount = exchange_body_int(x, "amount", 1, CHARGE_MAX);
    enum error error = exchange_valid(x);
    if (error == OK)
        error = wallet_charge(x->sale, x->arena, x->user, amount, &x->idempotency, &charge);
    if (error != OK)
        return error;
    struct buf *body = &x->reply->body;
    reply_json(x, 201);
    reply_header(x, "Cache-Control", "private, no-store");
    if (charge.replayed)
        reply_header(x, "Idempotent-Replayed", "true");
    buf_printf(body, "{\"id\":%" PRId64 ",\"amount\":%" PRId64 ",\"balance\":%" PRId64 ",\"currency\":", charge.id,
               charge.amount, charge.balance);
    json_put_string(body, x->config->currency);
    buf_puts(body, ",\"charged_at\":");
    json_put_time(body, charge.charged_at);
    buf_putc(body, '}');
    return OK;
}
