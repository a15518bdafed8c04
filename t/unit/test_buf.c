/* buf: growing, numbers at their limits, formatting across the end of the room. */
#include "base/buf.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static struct arena *arena;
static struct buf buf;

static void set_up(void)
{
    arena = arena_new(1024);
    buf_init(&buf, arena, 0);
}

static void tear_down(void)
{
    arena_free(arena);
}

TestSuite(buf, .init = set_up, .fini = tear_down);

/* What must hold after every call. */
static void expect(const char *text, size_t length)
{
    cr_assert_eq(buf.length, length);
    cr_assert_lt(buf.length, buf.capacity);
    cr_assert_eq(buf.data[buf.length], '\0');
    cr_assert_arr_eq(buf.data, text, length);
}

Test(buf, begins_empty)
{
    cr_assert_not_null(buf.data);
    expect("", 0);
}

Test(buf, bytes_with_nul)
{
    buf_add(&buf, "a\0b", 3);
    buf_add(&buf, NULL, 0);
    expect("a\0b", 3);
}

Test(buf, grows_byte_by_byte_and_keeps_all)
{
    for (int i = 0; i < 10000; i++)
        buf_putc(&buf, (char)('a' + i % 26));
    cr_assert_eq(buf.length, 10000);
    for (int i = 0; i < 10000; i++)
        cr_assert_eq(buf.data[i], 'a' + i % 26);
    cr_assert_eq(buf.data[10000], '\0');
}

Test(buf, grows_at_every_length_around_its_capacity)
{
    char text[200];

    memset(text, 'x', sizeof text);
    for (size_t length = 0; length < sizeof text; length++) {
        buf_init(&buf, arena, 64);
        buf_add(&buf, text, length);
        expect(text, length);
        buf_puts(&buf, "y");
        cr_assert_eq(buf.data[length], 'y');
    }
}

Test(buf, takes_a_piece_of_itself)
{
    buf_puts(&buf, "0123456789");
    for (int i = 0; i < 6; i++)
        buf_add(&buf, buf.data, buf.length);
    cr_assert_eq(buf.length, 640);
    for (size_t i = 0; i < 640; i++)
        cr_assert_eq(buf.data[i], (char)('0' + i % 10));
}

Test(buf, integers)
{
    static const int64_t numbers[] = {
        0,     1,      -1,        9,         10,         -10,           99,        100, -100,
        12345, 100000, INT64_MAX, INT64_MIN, 4294967296, -999999999999, 1000000000};

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char expected[32];

        snprintf(expected, sizeof expected, "%" PRId64, numbers[i]);
        buf_init(&buf, arena, 0);
        buf_put_int(&buf, numbers[i]);
        cr_assert_str_eq(buf.data, expected);
        expect(expected, strlen(expected));
    }
}

Test(buf, printf_at_every_length_around_the_room)
{
    char text[300];

    memset(text, 'z', sizeof text);
    for (int length = 0; length < 300; length++) {
        buf_init(&buf, arena, 64);
        buf_puts(&buf, "ab");
        buf_printf(&buf, "%.*s", length, text);
        cr_assert_eq(buf.length, (size_t)length + 2);
        cr_assert_eq(strlen(buf.data), (size_t)length + 2);
        cr_assert_arr_eq(buf.data, "ab", 2);
        cr_assert_eq(strspn(buf.data + 2, "z"), (size_t)length);
    }
}

Test(buf, printf_appends)
{
    buf_printf(&buf, "%s %d;", "seat", 7);
    buf_printf(&buf, "%s", "");
    buf_printf(&buf, "%" PRId64, INT64_MIN);
    cr_assert_str_eq(buf.data, "seat 7;-9223372036854775808");
}

Test(buf, reserve_and_wrote)
{
    char *room = buf_reserve(&buf, 500);

    memset(room, 'r', 500);
    buf_wrote(&buf, 400);
    cr_assert_eq(buf.length, 400);
    cr_assert_eq(strlen(buf.data), 400);
    buf_wrote(&buf, 0);
    buf_putc(&buf, '!');
    cr_assert_eq(buf.data[400], '!');
}

Test(buf, wrote_more_than_there_is_room_for_aborts, .signal = SIGABRT)
{
    buf_wrote(&buf, buf.capacity);
}

Test(buf, reserve_overflow_aborts, .signal = SIGABRT)
{
    buf_puts(&buf, "x");
    buf_reserve(&buf, SIZE_MAX - 1);
}
