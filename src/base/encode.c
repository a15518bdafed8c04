/* encode: base64url, hex, decimal numbers and UTF-8, each as strict as its standard. */
#include "base/encode.h"

#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* The value of each character of the alphabet plus one; 0: not in the alphabet. */
// clang-format off
static const unsigned char values[256] = {
    ['A'] =  1, ['B'] =  2, ['C'] =  3, ['D'] =  4, ['E'] =  5, ['F'] =  6, ['G'] =  7, ['H'] =  8,
    ['I'] =  9, ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
    ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
    ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
    ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['-'] = 63, ['_'] = 64,
};
// clang-format on

void base64url_encode(const void *bytes, size_t length, char *text)
{
    const unsigned char *from = bytes;

    for (; length >= 3; length -= 3, from += 3) {
        uint32_t group = (uint32_t)from[0] << 16 | (uint32_t)from[1] << 8 | from[2];

        *text++ = alphabet[group >> 18];
        *text++ = alphabet[group >> 12 & 63];
        *text++ = alphabet[group >> 6 & 63];
        *text++ = alphabet[group & 63];
    }
    if (length > 0) {
        uint32_t group = (uint32_t)from[0] << 16 | (length == 2 ? (uint32_t)from[1] << 8 : 0);

        *text++ = alphabet[group >> 18];
        *text++ = alphabet[group >> 12 & 63];
        if (length == 2)
            *text++ = alphabet[group >> 6 & 63];
    }
    *text = '\0';
}

bool base64url_decode(const char *text, size_t text_length, void *bytes, size_t capacity, size_t *length)
{
    size_t size = text_length / 4 * 3 + (text_length % 4 * 3) / 4;
    unsigned char *to = bytes;
    uint32_t bits = 0;
    int count = 0; /* of the bits not yet written */

    if (text_length % 4 == 1 || size > capacity)
        return false;
    for (size_t i = 0; i < text_length; i++) {
        unsigned value = values[(unsigned char)text[i]];

        if (value == 0)
            return false;
        bits = bits << 6 | (value - 1);
        count += 6;
        if (count >= 8) {
            count -= 8;
            *to++ = (unsigned char)(bits >> count);
            bits &= (UINT32_C(1) << count) - 1;
        }
    }
    if (bits != 0)
        return false;
    *length = size;
    return true;
}

void hex_encode(const void *bytes, size_t length, char *text)
{
    const unsigned char *from = bytes;

    for (size_t i = 0; i < length; i++) {
        *text++ = "0123456789abcdef"[from[i] >> 4];
        *text++ = "0123456789abcdef"[from[i] & 15];
    }
    *text = '\0';
}

bool decimal_parse(const char *text, size_t length, int64_t min, int64_t max, int64_t *value)
{
    bool negative = length > 0 && text[0] == '-';
    const char *end = text + length;
    const char *digit = text + negative;
    int64_t result = 0;

    if (digit == end || (*digit == '0' && length > 1))
        return false;
    /* Counted downwards, because INT64_MIN has no positive counterpart. */
    for (; digit < end; digit++) {
        if (*digit < '0' || *digit > '9')
            return false;
        if (__builtin_mul_overflow(result, 10, &result) || __builtin_sub_overflow(result, *digit - '0', &result))
            return false;
    }
    if (!negative && __builtin_sub_overflow(0, result, &result))
        return false;
    if (result < min || result > max)
        return false;
    *value = result;
    return true;
}

/* Whether count bytes of text are continuation bytes. */
static bool continued(const unsigned char *text, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if ((text[i] & 0xC0) != 0x80)
            return false;
    return true;
}

size_t utf8_sequence(const char *text, size_t length)
{
    const unsigned char *byte = (const unsigned char *)text;
    unsigned lead, low = 0x80, high = 0xBF; /* the range of the second byte (Unicode, table 3-7) */
    size_t size;

    if (length == 0)
        return 0;
    lead = byte[0];
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (lead == 0xE0)
        low = 0xA0; /* shorter forms are overlong */
    else if (lead == 0xED)
        high = 0x9F; /* surrogates */
    else if (lead == 0xF0)
        low = 0x90;
    else if (lead == 0xF4)
        high = 0x8F; /* above U+10FFFF */
    if (length < size || byte[1] < low || byte[1] > high || !continued(byte + 2, size - 2))
        return 0;
    return size;
}

bool utf8_valid(const char *text, size_t length)
{
    while (length > 0) {
        size_t size = utf8_sequence(text, length);

        if (size == 0)
            return false;
        text += size;
        length -= size;
    }
    return true;
}
