/* buf: a growing byte string in an arena. Growing doubles and copies; the old bytes stay in the arena until its reset,
 * so a buf may be given a piece of itself. */
#include "base/buf.h"

#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN ((size_t)64)

/* Digits of INT64_MIN and its sign. */
#define INT_CHARACTERS ((size_t)20)

static const char digit_pairs[] = "00010203040506070809"
                                  "10111213141516171819"
                                  "20212223242526272829"
                                  "30313233343536373839"
                                  "40414243444546474849"
                                  "50515253545556575859"
                                  "60616263646566676869"
                                  "70717273747576777879"
                                  "80818283848586878889"
                                  "90919293949596979899";

void buf_init(struct buf *buf, struct arena *arena, size_t capacity)
{
    if (capacity < CAPACITY_MIN)
        capacity = CAPACITY_MIN;
    buf->arena = arena;
    buf->data = arena_alloc(arena, capacity);
    buf->data[0] = '\0';
    buf->length = 0;
    buf->capacity = capacity;
}

/* Room for length more bytes and the NUL. */
static void grow(struct buf *buf, size_t length) __attribute__((noinline, cold));

static void grow(struct buf *buf, size_t length)
{
    size_t capacity = 0;
    char *data;

    /* Twice what is needed now; when that does not fit a size_t, no allocator has it either. */
    if (__builtin_add_overflow(buf->length, length, &capacity) || __builtin_add_overflow(capacity, 1, &capacity) ||
        __builtin_mul_overflow(capacity, 2, &capacity))
        capacity = SIZE_MAX; /* arena_alloc says so and aborts */
    data = arena_alloc(buf->arena, capacity);
    memcpy(data, buf->data, buf->length + 1);
    buf->data = data;
    buf->capacity = capacity;
}

char *buf_reserve(struct buf *buf, size_t length)
{
    if (length >= buf->capacity - buf->length)
        grow(buf, length);
    return buf->data + buf->length;
}

void buf_wrote(struct buf *buf, size_t length)
{
    if (length >= buf->capacity - buf->length) {
        log_error("buf: %zu bytes written where %zu had room", length, buf->capacity - buf->length - 1);
        abort();
    }
    buf->length += length;
    buf->data[buf->length] = '\0';
}

void buf_add(struct buf *buf, const void *bytes, size_t length)
{
    char *to = buf_reserve(buf, length);

    if (length != 0)
        memcpy(to, bytes, length);
    buf->length += length;
    buf->data[buf->length] = '\0';
}

void buf_puts(struct buf *buf, const char *text)
{
    buf_add(buf, text, strlen(text));
}

void buf_putc(struct buf *buf, char c)
{
    *buf_reserve(buf, 1) = c;
    buf->data[++buf->length] = '\0';
}

void buf_put_int(struct buf *buf, int64_t value)
{
    char digits[INT_CHARACTERS];
    char *first = digits + sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    while (rest >= 100) {
        first -= 2;
        memcpy(first, digit_pairs + rest % 100 * 2, 2);
        rest /= 100;
    }
    if (rest >= 10) {
        first -= 2;
        memcpy(first, digit_pairs + rest * 2, 2);
    } else {
        *--first = (char)('0' + rest);
    }
    if (value < 0)
        *--first = '-';
    buf_add(buf, first, (size_t)(digits + sizeof digits - first));
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    size_t room = buf->capacity - buf->length;
    int length;

    va_start(args, format);
    length = vsnprintf(buf->data + buf->length, room, format, args);
    va_end(args);
    if (length >= 0 && (size_t)length >= room) {
        grow(buf, (size_t)length);
        va_start(args, format);
        length = vsnprintf(buf->data + buf->length, (size_t)length + 1, format, args);
        va_end(args);
    }
    if (length < 0) {
        log_error("format \"%s\" failed", format);
        abort();
    }
    buf->length += (size_t)length;
}
