/* encode: test vectors of RFC 4648, round trips, and everything that strict decoders must refuse. */
#include "base/encode.h"

#include <criterion/criterion.h>
#include <string.h>

static void expect_base64(const char *bytes, size_t length, const char *text)
{
    char encoded[64];
    char decoded[64];
    size_t decoded_length = 99;

    base64url_encode(bytes, length, encoded);
    cr_assert_str_eq(encoded, text);
    cr_assert_eq(strlen(text), base64url_size(length));
    cr_assert(base64url_decode(text, strlen(text), decoded, sizeof decoded, &decoded_length));
    cr_assert_eq(decoded_length, length);
    cr_assert_arr_eq(decoded, bytes, length);
}

Test(encode, base64url_vectors)
{
    expect_base64("", 0, "");
    expect_base64("f", 1, "Zg");
    expect_base64("fo", 2, "Zm8");
    expect_base64("foo", 3, "Zm9v");
    expect_base64("foob", 4, "Zm9vYg");
    expect_base64("fooba", 5, "Zm9vYmE");
    expect_base64("foobar", 6, "Zm9vYmFy");
    expect_base64("\xfb\xff\xfe", 3, "-__-");
    expect_base64("\0\0\0\0", 4, "AAAAAA");
}

Test(encode, base64url_round_trip_of_every_byte)
{
    unsigned char bytes[256], back[256];
    char text[base64url_size(256) + 1];
    size_t length;

    for (int i = 0; i < 256; i++)
        bytes[i] = (unsigned char)i;
    for (size_t size = 0; size <= 256; size++) {
        base64url_encode(bytes, size, text);
        cr_assert(base64url_decode(text, strlen(text), back, size, &length));
        cr_assert_eq(length, size);
        cr_assert_arr_eq(back, bytes, size);
    }
}

static bool decodes(const char *text, size_t length, size_t capacity)
{
    unsigned char out[16];
    size_t size;

    return base64url_decode(text, length, out, capacity, &size);
}

Test(encode, base64url_takes_only_its_alphabet)
{
    for (int c = 0; c < 256; c++) {
        char text[4] = {'A', (char)c, 'A', 'A'};
        bool letter =
            (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';

        cr_assert_eq(decodes(text, 4, 16), letter, "byte %d", c);
    }
}

Test(encode, base64url_refusals)
{
    cr_assert_not(decodes("A", 1, 16), "4n+1");
    cr_assert_not(decodes("Zm9vY", 5, 16), "4n+1");
    cr_assert_not(decodes("Zg==", 4, 16), "padding");
    cr_assert_not(decodes("Zh", 2, 16), "left-over bits");
    cr_assert_not(decodes("Zm9", 3, 16), "left-over bits");
    cr_assert_not(decodes("Zm 9v", 5, 16), "space");
    cr_assert_not(decodes("Zm9v", 4, 2), "longer than capacity");
    cr_assert(decodes("Zm9v", 4, 3));
}

Test(encode, hex)
{
    char text[11];

    hex_encode("\x00\x0f\xa5\xff\x10", 5, text);
    cr_assert_str_eq(text, "000fa5ff10");
    hex_encode("", 0, text);
    cr_assert_str_eq(text, "");
}

static void expect_decimal(const char *text, int64_t expected)
{
    int64_t value = 42;

    cr_assert(decimal_parse(text, strlen(text), INT64_MIN, INT64_MAX, &value), "%s", text);
    cr_assert_eq(value, expected, "%s", text);
}

Test(encode, decimal_values)
{
    expect_decimal("0", 0);
    expect_decimal("7", 7);
    expect_decimal("-7", -7);
    expect_decimal("10", 10);
    expect_decimal("9223372036854775807", INT64_MAX);
    expect_decimal("-9223372036854775808", INT64_MIN);
    expect_decimal("-9223372036854775807", -INT64_MAX);
}

Test(encode, decimal_refusals)
{
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "01",
                                      "-0",
                                      "-01",
                                      "00",
                                      "1.0",
                                      "1e3",
                                      "0x1",
                                      "1\n",
                                      "--1",
                                      "1-",
                                      "\xc2\xb2",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "99999999999999999999",
                                      "18446744073709551616"};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t value = 42;

        cr_assert_not(decimal_parse(bad[i], strlen(bad[i]), INT64_MIN, INT64_MAX, &value), "\"%s\"", bad[i]);
        cr_assert_eq(value, 42, "\"%s\" leaves the value alone", bad[i]);
    }
}

Test(encode, decimal_range_and_length)
{
    int64_t value;

    cr_assert(decimal_parse("100", 3, 1, 100, &value));
    cr_assert(decimal_parse("1", 1, 1, 100, &value));
    cr_assert_not(decimal_parse("101", 3, 1, 100, &value));
    cr_assert_not(decimal_parse("0", 1, 1, 100, &value));
    cr_assert(decimal_parse("12345", 2, 0, 100, &value));
    cr_assert_eq(value, 12, "only length bytes are read");
    cr_assert_not(decimal_parse("1\0", 2, 0, 100, &value), "a NUL is no digit");
    cr_assert_not(decimal_parse(NULL, 0, 0, 100, &value));
}

Test(encode, utf8_sequence_lengths)
{
    cr_assert_eq(utf8_sequence("a", 1), 1);
    cr_assert_eq(utf8_sequence("\0", 1), 1);
    cr_assert_eq(utf8_sequence("\xc2\x80", 2), 2);
    cr_assert_eq(utf8_sequence("\xdf\xbf", 2), 2);
    cr_assert_eq(utf8_sequence("\xe0\xa0\x80", 3), 3);
    cr_assert_eq(utf8_sequence("\xed\x9f\xbf", 3), 3);
    cr_assert_eq(utf8_sequence("\xee\x80\x80", 3), 3);
    cr_assert_eq(utf8_sequence("\xef\xbf\xbf", 3), 3);
    cr_assert_eq(utf8_sequence("\xf0\x90\x80\x80", 4), 4);
    cr_assert_eq(utf8_sequence("\xf4\x8f\xbf\xbf", 4), 4);
}

Test(encode, utf8_refusals)
{
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc2",
        "\xc2\x7f",
        "\xc2\xc0",
        "\xe0\x9f\xbf",
        "\xe1\x80",
        "\xe1\x80\x7f",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf0\x8f\xbf\xbf",
        "\xf0\x90\x80",
        "\xf0\x90\x80\xc0",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xfe",
        "\xff",
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(utf8_sequence(bad[i], strlen(bad[i])), 0, "row %zu", i);
        cr_assert_not(utf8_valid(bad[i], strlen(bad[i])), "row %zu", i);
    }
    cr_assert_eq(utf8_sequence("", 0), 0);
    cr_assert_eq(utf8_sequence("\xe2\x82\xac", 2), 0, "cut short");
}

Test(encode, utf8_valid_texts)
{
    cr_assert(utf8_valid("", 0));
    cr_assert(utf8_valid("공연 \xf0\x9f\x8e\xab", strlen("공연 \xf0\x9f\x8e\xab")));
    cr_assert_not(utf8_valid("abc\xff", 4));
    cr_assert(utf8_valid("abc\xff", 3));
}
