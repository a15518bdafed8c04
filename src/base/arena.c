/* arena: bump allocation from chained blocks, as nginx's pools do it.
 *
 * The first block lives as long as the arena; blocks that one request needed beyond it are freed at reset. */
#include "base/arena.h"

#include "base/log.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISON 1
#endif
#endif

#ifdef ARENA_POISON
#include <sanitizer/asan_interface.h>
#define poison(memory, size)   ASAN_POISON_MEMORY_REGION(memory, size)
#define unpoison(memory, size) ASAN_UNPOISON_MEMORY_REGION(memory, size)
#else
#define poison(memory, size)   ((void)(memory), (void)(size))
#define unpoison(memory, size) ((void)(memory), (void)(size))
#endif

#define ALIGNMENT alignof(max_align_t)

/* Most formatted texts are shorter than this and are formatted once. */
#define PRINTF_FIRST_TRY ((size_t)512)

struct block {
    struct block *next;
    size_t size;
    alignas(max_align_t) char data[];
};

struct deferred {
    struct deferred *next;
    void (*release)(void *);
    void *object;
};

struct arena {
    char *cursor; /* next free byte of the block in use */
    size_t room;  /* bytes left there */
    size_t used;
    struct block *first;
    struct block *later; /* every block but the first, in no order */
    struct deferred *deferred;
};

static void out_of_memory(size_t size) __attribute__((noreturn, cold));

static void out_of_memory(size_t size)
{
    log_error("out of memory: %zu bytes wanted", size);
    abort();
}

static struct block *block_new(size_t size)
{
    struct block *block = NULL;

    if (size <= SIZE_MAX - sizeof *block)
        block = malloc(sizeof *block + size);
    if (block == NULL)
        out_of_memory(size);
    block->next = NULL;
    block->size = size;
    poison(block->data, size);
    return block;
}

static void block_free(struct block *block)
{
    unpoison(block->data, block->size);
    free(block);
}

/* size rounded up to the alignment, and at least one unit, so that every pointer is unique. */
static inline size_t rounded(size_t size)
{
    if (size == 0)
        return ALIGNMENT;
    if (size > SIZE_MAX - ALIGNMENT)
        out_of_memory(size);
    return (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
}

struct arena *arena_new(size_t block_size)
{
    struct arena *arena = calloc(1, sizeof *arena);

    if (arena == NULL)
        out_of_memory(sizeof *arena);
    arena->first = block_new(rounded(block_size));
    arena->cursor = arena->first->data;
    arena->room = arena->first->size;
    return arena;
}

void arena_reset(struct arena *arena)
{
    /* A release may defer again, so the list is read anew each time. */
    while (arena->deferred != NULL) {
        struct deferred *deferred = arena->deferred;

        arena->deferred = deferred->next;
        deferred->release(deferred->object);
    }
    while (arena->later != NULL) {
        struct block *block = arena->later;

        arena->later = block->next;
        block_free(block);
    }
    arena->cursor = arena->first->data;
    arena->room = arena->first->size;
    arena->used = 0;
    poison(arena->first->data, arena->first->size);
}

void arena_free(struct arena *arena)
{
    if (arena == NULL)
        return;
    arena_reset(arena);
    block_free(arena->first);
    free(arena);
}

/* From a new block. A block made for one large object does not replace a block in use that has more room left. */
static void *alloc_slow(struct arena *arena, size_t size) __attribute__((noinline, cold));

static void *alloc_slow(struct arena *arena, size_t size)
{
    struct block *block = block_new(size > arena->first->size ? size : arena->first->size);

    block->next = arena->later;
    arena->later = block;
    if (block->size - size > arena->room) {
        arena->cursor = block->data + size;
        arena->room = block->size - size;
    }
    return block->data;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    size_t need = rounded(size);
    void *memory;

    if (need <= arena->room) {
        memory = arena->cursor;
        arena->cursor += need;
        arena->room -= need;
    } else {
        memory = alloc_slow(arena, need);
    }
    arena->used += size;
    unpoison(memory, size);
    return memory;
}

void *arena_zalloc(struct arena *arena, size_t size)
{
    return memset(arena_alloc(arena, size), 0, size);
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(count, size, &total))
        out_of_memory(SIZE_MAX);
    return arena_zalloc(arena, total);
}

char *arena_strndup(struct arena *arena, const char *text, size_t length)
{
    char *copy;

    if (length == SIZE_MAX)
        out_of_memory(length);
    copy = arena_alloc(arena, length + 1);
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *arena_strdup(struct arena *arena, const char *text)
{
    return arena_strndup(arena, text, strlen(text));
}

char *arena_vprintf(struct arena *arena, const char *format, va_list args)
{
    char first_try[PRINTF_FIRST_TRY];
    va_list again;
    int length;
    char *text;

    va_copy(again, args);
    length = vsnprintf(first_try, sizeof first_try, format, args);
    if (length < 0) {
        log_error("format \"%s\" failed", format);
        abort();
    }
    text = arena_alloc(arena, (size_t)length + 1);
    if ((size_t)length < sizeof first_try)
        memcpy(text, first_try, (size_t)length + 1);
    else
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    text = arena_vprintf(arena, format, args);
    va_end(args);
    return text;
}

void arena_defer(struct arena *arena, void (*release)(void *), void *object)
{
    struct deferred *deferred = arena_alloc(arena, sizeof *deferred);

    arena->used -= sizeof *deferred;
    deferred->release = release;
    deferred->object = object;
    deferred->next = arena->deferred;
    arena->deferred = deferred;
}

size_t arena_used(const struct arena *arena)
{
    return arena->used;
}
