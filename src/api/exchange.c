/* exchange: reading bodies and queries strictly, writing headers. */
#include "api/exchange.h"

#include "base/clock.h"
#include "base/encode.h"
#include "base/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void exchange_bad_field(struct exchange *x, const char *field, const char *message)
{
    if (x->fields.length)
        buf_putc(&x->fields, ',');
    buf_puts(&x->fields, "{\"field\":");
    json_put_string(&x->fields, field);
    buf_puts(&x->fields, ",\"message\":");
    json_put_string(&x->fields, message);
    buf_putc(&x->fields, '}');
}

enum error exchange_valid(struct exchange *x)
{
    return x->fields.length ? E_INVALID_REQUEST : OK;
}

/* ---- body ---- */

int64_t exchange_body_int(struct exchange *x, const char *name, int64_t min, int64_t max)
{
    int64_t value = 0;
    switch (json_get_int(x->body, name, min, max, &value)) {
    case JSON_FOUND:
        return value;
    case JSON_MISSING:
        exchange_bad_field(x, name, "is required");
        break;
    case JSON_WRONG_TYPE:
        exchange_bad_field(x, name, "must be an integer");
        break;
    case JSON_OUT_OF_RANGE:
        exchange_bad_field(x, name, arena_printf(x->arena, "must be from %" PRId64 " to %" PRId64, min, max));
        break;
    }
    return 0;
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

size_t exchange_body_ids(struct exchange *x, const char *name, size_t max_count, int64_t **ids)
{
    size_t count = 0;
    switch (json_get_ids(x->arena, x->body, name, 1, max_count, ids, &count)) {
    case JSON_FOUND:
        break;
    case JSON_MISSING:
        exchange_bad_field(x, name, "is required");
        return 0;
    case JSON_WRONG_TYPE:
        exchange_bad_field(x, name, "must be an array of integers");
        return 0;
    case JSON_OUT_OF_RANGE:
        exchange_bad_field(
            x, name, arena_printf(x->arena, "must be 1 to %zu ids, each from 1 to %" PRId64, max_count, INT64_MAX));
        return 0;
    }
    qsort(*ids, count, sizeof **ids, ascending);
    for (size_t i = 1; i < count; i++) {
        if ((*ids)[i] == (*ids)[i - 1]) {
            exchange_bad_field(x, name, "must not name an id twice");
            return 0;
        }
    }
    return count;
}

/* ---- query ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* application/x-www-form-urlencoded; NULL for a broken escape or a NUL. */
static const char *percent_decode(struct arena *arena, const char *text, size_t length)
{
    char *out = arena_alloc(arena, length + 1), *end = out;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (c == '%') {
            int high = i + 2 < length ? hex_digit(text[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
            if (low < 0 || (high == 0 && low == 0))
                return NULL;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        *end++ = c;
    }
    *end = '\0';
    return out;
}

int64_t exchange_took(const struct exchange *x)
{
    return x->request->queued + clock_monotonic() - x->request->started;
}

const char *exchange_query(struct exchange *x, const char *name)
{
    const char *found = NULL;
    for (const char *pair = x->request->query; *pair;) {
        size_t length = strcspn(pair, "&"), key_length = strcspn(pair, "=&");
        const char *key = percent_decode(x->arena, pair, key_length);
        if (key && strcmp(key, name) == 0) {
            bool has_value = key_length < length;
            const char *value =
                has_value ? percent_decode(x->arena, pair + key_length + 1, length - key_length - 1) : "";
            if (found || !value)
                exchange_bad_field(x, name, found ? "must be given once" : "is not encoded correctly");
            found = value ? value : "";
        }
        pair += length;
        pair += *pair == '&';
    }
    return found;
}

int64_t exchange_query_int(struct exchange *x, const char *name, int64_t min, int64_t max, int64_t otherwise)
{
    int64_t value = otherwise;
    const char *text = exchange_query(x, name);
    if (text && !decimal_parse(text, strlen(text), min, max, &value))
        exchange_bad_field(x, name,
                           arena_printf(x->arena, "must be an integer from %" PRId64 " to %" PRId64, min, max));
    return value;
}

bool exchange_query_bool(struct exchange *x, const char *name)
{
    const char *text = exchange_query(x, name);
    bool yes = text && strcmp(text, "true") == 0;
    if (text && !yes && strcmp(text, "false") != 0)
        exchange_bad_field(x, name, "must be true or false");
    return yes;
}

/* ---- conditional requests ---- */

bool exchange_client_has(const struct exchange *x, const char *tag)
{
    size_t length = strlen(tag);
    for (const char *p = x->request->if_none_match; p && *p;) {
        p += strspn(p, " \t,");
        if (*p == '*')
            return true;
        if (strncmp(p, "W/", 2) == 0)
            p += 2;
        size_t one = *p == '"' ? strcspn(p + 1, "\"") + 2 : strcspn(p, ",");
        if (one == length && strncmp(p, tag, length) == 0)
            return true;
        p += strnlen(p, one);
    }
    return false;
}

/* ---- reply ---- */

/* No value ends its line early, wherever it comes from: control characters become '?'. */
void reply_header(struct exchange *x, const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *value = arena_vprintf(x->arena, format, args);
    va_end(args);
    for (char *c = value; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
    buf_puts(&x->reply->headers, name);
    buf_puts(&x->reply->headers, ": ");
    buf_puts(&x->reply->headers, value);
    buf_puts(&x->reply->headers, "\r\n");
}

void reply_json(struct exchange *x, int status)
{
    x->reply->status = status;
    buf_puts(&x->reply->headers, "Content-Type: application/json\r\n");
}

void reply_json_kept(struct exchange *x, int status, const char *text, size_t length)
{
    reply_json(x, status);
    x->reply->kept = text;
    x->reply->kept_length = length;
}
