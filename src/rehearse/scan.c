/* scan: a walk over JSON text. Every step returns where it ended, or NULL where the text is not JSON. */
#include "rehearse/scan.h"

#include "base/encode.h"

#include <string.h>

enum { DEPTH_MAX = 32 };

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* p is behind the backslash. */
static const char *skip_escape(const char *p, const char *end)
{
    if (p == end)
        return NULL;
    if (*p != 'u')
        return strchr("\"\\/bfnrt", *p) && *p != '\0' ? p + 1 : NULL;
    if (end - p < 5)
        return NULL;
    for (int i = 1; i <= 4; i++)
        if (!is_hex(p[i]))
            return NULL;
    return p + 5;
}

/* p is at the opening quote. */
static const char *skip_string(const char *p, const char *end)
{
    for (p++; p && p < end;) {
        if (*p == '"')
            return p + 1;
        if ((unsigned char)*p < 0x20)
            return NULL;
        p = *p == '\\' ? skip_escape(p + 1, end) : p + 1;
    }
    return NULL;
}

static const char *skip_digits(const char *p, const char *end)
{
    const char *begin = p;
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p > begin ? p : NULL;
}

static const char *skip_number(const char *p, const char *end)
{
    if (p < end && *p == '-')
        p++;
    bool zero = p < end && *p == '0';
    p = zero ? p + 1 : skip_digits(p, end);
    if (p && p < end && *p == '.')
        p = skip_digits(p + 1, end);
    if (p && p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        p = skip_digits(p, end);
    }
    return p;
}

static const char *skip_word(const char *p, const char *end)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t length = strlen(words[i]);
        if ((size_t)(end - p) >= length && memcmp(p, words[i], length) == 0)
            return p + length;
    }
    return NULL;
}

static const char *skip_value(const char *p, const char *end, int depth);

/* p is behind "name" of a member; returns the value's beginning. */
static const char *skip_colon(const char *p, const char *end)
{
    p = p ? skip_space(p, end) : NULL;
    return p && p < end && *p == ':' ? skip_space(p + 1, end) : NULL;
}

/* p is at { or [. */
static const char *skip_container(const char *p, const char *end, int depth)
{
    char close = *p == '{' ? '}' : ']';
    if (depth == 0)
        return NULL;
    p = skip_space(p + 1, end);
    if (p < end && *p == close)
        return p + 1;
    for (;;) {
        if (close == '}') {
            p = p < end && *p == '"' ? skip_string(p, end) : NULL;
            p = skip_colon(p, end);
        }
        p = p ? skip_value(p, end, depth - 1) : NULL;
        p = p ? skip_space(p, end) : NULL;
        if (!p || p == end)
            return NULL;
        if (*p == close)
            return p + 1;
        if (*p != ',')
            return NULL;
        p = skip_space(p + 1, end);
    }
}

static const char *skip_value(const char *p, const char *end, int depth)
{
    if (p == end)
        return NULL;
    switch (*p) {
    case '{':
    case '[':
        return skip_container(p, end, depth);
    case '"':
        return skip_string(p, end);
    case 't':
    case 'f':
    case 'n':
        return skip_word(p, end);
    default:
        return skip_number(p, end);
    }
}

bool scan_valid(struct span text)
{
    const char *end = text.at + text.length;
    const char *p = skip_value(skip_space(text.at, end), end, DEPTH_MAX);
    return p && skip_space(p, end) == end;
}

bool scan_member(struct span text, const char *name, struct span *value)
{
    const char *end = text.at + text.length;
    size_t length = strlen(name);
    const char *p = skip_space(text.at, end);
    if (p == end || *p != '{')
        return false;
    do {
        p = skip_space(p + 1, end);
        const char *key = p;
        p = p < end && *p == '"' ? skip_string(p, end) : NULL;
        bool wanted = p && (size_t)(p - key) == length + 2 && memcmp(key + 1, name, length) == 0;
        const char *begin = skip_colon(p, end);
        p = begin ? skip_value(begin, end, DEPTH_MAX) : NULL;
        if (p && wanted) {
            *value = (struct span){begin, (size_t)(p - begin)};
            return true;
        }
        p = p ? skip_space(p, end) : NULL;
    } while (p && p < end && *p == ',');
    return false;
}

bool scan_int(struct span object, const char *name, int64_t *value)
{
    struct span found;
    return scan_member(object, name, &found) && decimal_parse(found.at, found.length, INT64_MIN, INT64_MAX, value);
}

bool scan_text(struct span object, const char *name, struct span *value)
{
    struct span found;
    if (!scan_member(object, name, &found) || *found.at != '"')
        return false;
    *value = (struct span){found.at + 1, found.length - 2};
    return true;
}

bool scan_next(struct span *rest, struct span *element)
{
    const char *end = rest->at + rest->length;
    const char *p = skip_space(rest->at, end);
    bool first = p < end && *p == '[';
    if (p == end || (!first && *p != ',' && *p != ']'))
        goto malformed;
    if (*p == ']')
        return false;
    p = skip_space(p + 1, end);
    if (first && p < end && *p == ']')
        return false;
    const char *begin = p;
    p = skip_value(p, end, DEPTH_MAX);
    if (!p)
        goto malformed;
    *element = (struct span){begin, (size_t)(p - begin)};
    *rest = (struct span){p, (size_t)(end - p)};
    return true;
malformed:
    *rest = (struct span){NULL, 0};
    return false;
}

bool span_is(struct span span, const char *text)
{
    return strlen(text) == span.length && memcmp(span.at, text, span.length) == 0;
}
