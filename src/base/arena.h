/* arena: memory that lives as long as one request.
 *
 * Bump allocation from chained blocks; everything is released together by arena_reset(). Allocation never returns
 * NULL: when memory is gone the process says so and aborts, and the master starts a fresh worker. */
#ifndef USHER_BASE_ARENA_H
#define USHER_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

struct arena;

/* A new arena whose first block holds block_size bytes; later blocks are at least as large. */
struct arena *arena_new(size_t block_size) __attribute__((warn_unused_result));

/* Runs the deferred releases and frees everything. NULL is fine. */
void arena_free(struct arena *arena);

/* Runs the deferred releases in reverse order and makes all memory available again. Keeps the first block only, so
 * that one huge request does not stay resident. Freed bytes are poisoned in sanitizer builds. */
void arena_reset(struct arena *arena);

/* size bytes, aligned for any type, uninitialised / zeroed. size 0 gives a valid unique pointer. */
void *arena_alloc(struct arena *arena, size_t size) __attribute__((malloc, returns_nonnull));
void *arena_zalloc(struct arena *arena, size_t size) __attribute__((malloc, returns_nonnull));

/* count * size zeroed bytes; aborts on overflow. */
void *arena_array(struct arena *arena, size_t count, size_t size) __attribute__((malloc, returns_nonnull));

/* NUL-terminated copies. */
char *arena_strdup(struct arena *arena, const char *text) __attribute__((malloc, returns_nonnull));
char *arena_strndup(struct arena *arena, const char *text, size_t length) __attribute__((malloc, returns_nonnull));
char *arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3), malloc, returns_nonnull));
char *arena_vprintf(struct arena *arena, const char *format, va_list args)
    __attribute__((format(printf, 2, 0), malloc, returns_nonnull));

/* Calls release(object) at the next reset or free: for objects that libraries own (PGresult, redisReply). */
void arena_defer(struct arena *arena, void (*release)(void *), void *object);

/* Bytes handed out since the last reset. */
size_t arena_used(const struct arena *arena);

#endif
