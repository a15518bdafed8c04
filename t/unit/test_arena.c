/* arena: alignment, growth, reset, deferred releases, and the end of the process when memory is gone. */
#include "base/arena.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdalign.h>
#include <stdint.h>
#include <string.h>

/* In sanitizer builds malloc must fail for what is too large, as it does elsewhere, and not end the process itself. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static struct arena *arena;

static void set_up(void)
{
    arena = arena_new(256);
}

static void tear_down(void)
{
    arena_free(arena);
}

TestSuite(arena, .init = set_up, .fini = tear_down);

Test(arena, every_pointer_is_aligned_and_unique)
{
    char *before = NULL;

    for (size_t size = 0; size < 100; size++) {
        char *memory = arena_alloc(arena, size);

        cr_assert_eq((uintptr_t)memory % alignof(max_align_t), 0, "size %zu", size);
        cr_assert_neq(memory, before, "size %zu", size);
        memset(memory, 0x5A, size);
        before = memory;
    }
}

Test(arena, objects_do_not_overlap)
{
    unsigned char *objects[200];

    for (int i = 0; i < 200; i++) {
        objects[i] = arena_alloc(arena, 50);
        memset(objects[i], i, 50);
    }
    for (int i = 0; i < 200; i++)
        for (int j = 0; j < 50; j++)
            cr_assert_eq(objects[i][j], i);
}

Test(arena, larger_than_a_block)
{
    char *small = arena_alloc(arena, 8);
    char *large = arena_alloc(arena, 100000);
    char *next;

    memset(large, 1, 100000);
    next = arena_alloc(arena, 8);
    cr_assert_eq(next, small + 16, "the first block's room is still used after a large object");
}

Test(arena, zalloc_and_array_are_zeroed_also_after_reset)
{
    memset(arena_alloc(arena, 256), 0xFF, 256);
    arena_reset(arena);
    for (int round = 0; round < 2; round++) {
        unsigned char *bytes = round == 0 ? arena_zalloc(arena, 256) : arena_array(arena, 16, 16);

        for (int i = 0; i < 256; i++)
            cr_assert_eq(bytes[i], 0);
        memset(bytes, 0xFF, 256);
        arena_reset(arena);
    }
}

Test(arena, array_of_nothing_is_valid)
{
    cr_assert_not_null(arena_array(arena, 0, 8));
    cr_assert_not_null(arena_array(arena, 8, 0));
}

Test(arena, array_overflow_aborts, .signal = SIGABRT)
{
    arena_array(arena, SIZE_MAX / 2, 3);
}

Test(arena, size_overflow_aborts, .signal = SIGABRT)
{
    arena_alloc(arena, SIZE_MAX);
}

Test(arena, more_than_there_is_aborts, .signal = SIGABRT)
{
    arena_alloc(arena, SIZE_MAX / 2);
}

Test(arena, reset_gives_the_first_block_again)
{
    char *first = arena_alloc(arena, 100);

    arena_alloc(arena, 5000);
    arena_reset(arena);
    cr_assert_eq(arena_used(arena), 0);
    cr_assert_eq((char *)arena_alloc(arena, 100), first);
}

Test(arena, used_counts_bytes_asked_for)
{
    arena_alloc(arena, 10);
    arena_alloc(arena, 1000);
    cr_assert_eq(arena_used(arena), 1010);
    arena_strdup(arena, "abc");
    cr_assert_eq(arena_used(arena), 1014);
    arena_defer(arena, free, NULL);
    cr_assert_eq(arena_used(arena), 1014, "a deferred release is no use of memory");
}

Test(arena, strings)
{
    const char unterminated[] = {'a', 'b', 'c', 'd'};

    cr_assert_str_eq(arena_strdup(arena, ""), "");
    cr_assert_str_eq(arena_strdup(arena, "seat"), "seat");
    cr_assert_str_eq(arena_strndup(arena, unterminated, 3), "abc");
    cr_assert_arr_eq(arena_strndup(arena, "a\0b", 3), "a\0b", 4);
}

Test(arena, printf_of_every_length_around_its_first_try)
{
    static const int lengths[] = {0, 1, 510, 511, 512, 513, 2000};

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char *text = arena_printf(arena, "%*s", lengths[i], "");

        cr_assert_eq(strlen(text), (size_t)lengths[i]);
        cr_assert_eq(strspn(text, " "), (size_t)lengths[i]);
    }
    cr_assert_str_eq(arena_printf(arena, "%s=%d", "seat", 7), "seat=7");
}

static char order[8];

static void note(void *object)
{
    size_t length = strlen(order);

    order[length] = *(char *)object;
    order[length + 1] = '\0';
}

Test(arena, releases_run_once_in_reverse_order)
{
    char objects[] = "abc";

    for (int i = 0; i < 3; i++)
        arena_defer(arena, note, &objects[i]);
    cr_assert_str_eq(order, "");
    arena_reset(arena);
    cr_assert_str_eq(order, "cba");
    arena_reset(arena);
    cr_assert_str_eq(order, "cba");
}

static void defer_again(void *object)
{
    note(object);
    arena_defer(arena, note, object);
}

Test(arena, a_release_may_defer)
{
    char object = 'x';

    arena_defer(arena, defer_again, &object);
    arena_reset(arena);
    cr_assert_str_eq(order, "xx");
}

Test(arena, free_releases_and_takes_null)
{
    struct arena *own = arena_new(0);
    char object = 'y';

    arena_defer(own, note, &object);
    arena_free(own);
    cr_assert_str_eq(order, "y");
    arena_free(NULL);
}

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>

Test(arena, sanitizer_builds_poison_what_is_not_handed_out)
{
    char *memory = arena_alloc(arena, 24);

    cr_assert_not(__asan_address_is_poisoned(memory + 23));
    cr_assert(__asan_address_is_poisoned(memory + 24), "behind an object");
    arena_reset(arena);
    cr_assert(__asan_address_is_poisoned(memory), "after a reset");
}
#endif
