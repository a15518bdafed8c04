/* buf: a growing byte string in an arena, for replies and commands. Always NUL-terminated, may hold NULs. */
#ifndef USHER_BASE_BUF_H
#define USHER_BASE_BUF_H

#include "base/arena.h"

#include <stddef.h>
#include <stdint.h>

struct buf {
    struct arena *arena;
    char *data; /* never NULL after buf_init */
    size_t length;
    size_t capacity; /* bytes at data, the NUL included */
};

void buf_init(struct buf *buf, struct arena *arena, size_t capacity);
void buf_add(struct buf *buf, const void *bytes, size_t length);
void buf_puts(struct buf *buf, const char *text);
void buf_putc(struct buf *buf, char c);
void buf_put_int(struct buf *buf, int64_t value); /* decimal */
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Room for length more bytes; returns where to write them. Call buf_wrote() with what was written. */
char *buf_reserve(struct buf *buf, size_t length) __attribute__((returns_nonnull));
void buf_wrote(struct buf *buf, size_t length);

#endif
