/* token: queue tokens and cursors come back as they were made, and nothing else is taken for one. */
#include "sale/token.h"

#include "base/encode.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[64];
static char message[CONFIG_MESSAGE_SIZE];
static struct token_key *key, *other;

static struct token_key *key_of(const char *bytes, size_t length)
{
    snprintf(path, sizeof path, "/tmp/usher-token-XXXXXX");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, bytes, length), (ssize_t)length);
    close(fd);
    struct token_key *made = token_key_read(path, message);
    unlink(path);
    return made;
}

static void set_up(void)
{
    key = key_of("sixteen bytes...", 16);
    other = key_of("sixteen bytes..!", 16);
    cr_assert(key && other, "%s", message);
}

static void tear_down(void)
{
    token_key_free(key);
    token_key_free(other);
}

TestSuite(token, .init = set_up, .fini = tear_down);

/* ---- the secret ---- */

Test(token, secrets)
{
    cr_assert_null(key_of("fifteen bytes..", 15));
    cr_assert_not_null(strstr(message, "has 15 bytes and needs at least 16"), "%s", message);
    cr_assert_null(token_key_read("/nonexistent/queue.key", message));
    cr_assert_not_null(strstr(message, "queue_key_file: cannot read /nonexistent/queue.key: "), "%s", message);
    token_key_free(NULL);
}

Test(token, a_secret_is_all_its_bytes)
{
    char token[TOKEN_SIZE], same[TOKEN_SIZE];
    struct pass pass = {1, 1};
    struct token_key *zeros = key_of("sixteen bytes\0\0\0x", 17), *again = key_of("sixteen bytes\0\0\0x", 17),
                     *longer = key_of("sixteen bytes\0\0\0y", 17);
    token_make(zeros, &pass, token);
    token_make(again, &pass, same);
    cr_assert_str_eq(token, same, "the same on every host");
    token_make(longer, &pass, same);
    cr_assert_str_neq(token, same);
    token_key_free(zeros);
    token_key_free(again);
    token_key_free(longer);
}

/* ---- queue tokens ---- */

static const struct pass passes[] = {
    {1, 1}, {1, 2}, {2, 1}, {7, 1234567}, {INT64_MAX, 1}, {INT64_MAX, (INT64_C(1) << 48) - 1}, {4711, 290000},
};

Test(token, round_trip)
{
    for (size_t i = 0; i < sizeof passes / sizeof *passes; i++) {
        char token[TOKEN_SIZE];
        struct pass read = {0, 0};
        token_make(key, &passes[i], token);
        cr_assert_eq(strlen(token), 22, "%s", token);
        cr_assert(token_read(key, token, &read));
        cr_assert(read.user == passes[i].user && read.ticket == passes[i].ticket);
        for (size_t j = 0; j < i; j++) {
            char earlier[TOKEN_SIZE];
            token_make(key, &passes[j], earlier);
            cr_assert_str_neq(earlier, token);
        }
    }
}

/* A changed token decrypts to noise: whatever it reads as, it is never the same place, nor a neighbour's. Most are
 * refused without a look at the line. */
Test(token, changed_in_any_bit)
{
    unsigned char block[16];
    char token[TOKEN_SIZE];
    size_t length;
    int refused = 0;
    token_make(key, &passes[3], token);
    cr_assert(base64url_decode(token, 22, block, sizeof block, &length));
    for (int bit = 0; bit < 128; bit++) {
        char changed[TOKEN_SIZE];
        struct pass read = {0, 0};
        block[bit / 8] ^= (unsigned char)(1 << bit % 8);
        base64url_encode(block, sizeof block, changed);
        block[bit / 8] ^= (unsigned char)(1 << bit % 8);
        if (token_read(key, changed, &read))
            cr_assert(read.user != passes[3].user && read.ticket != passes[3].ticket, "bit %d", bit);
        else
            refused++;
    }
    cr_assert_geq(refused, 120, "%d", refused);
}

Test(token, of_another_key)
{
    int refused = 0;
    for (int64_t ticket = 1; ticket <= 200; ticket++) {
        char token[TOKEN_SIZE];
        struct pass read = {0, 0}, pass = {7, ticket};
        token_make(other, &pass, token);
        if (token_read(key, token, &read))
            cr_assert(read.user != 7, "another key's token was understood");
        else
            refused++;
    }
    cr_assert_geq(refused, 198, "%d", refused);
}

Test(token, texts_that_are_none)
{
    char token[TOKEN_SIZE], longer[TOKEN_SIZE + 1];
    struct pass read, none = {0, 1}, negative = {-1, 1}, zero = {1, 0}, far = {1, INT64_C(1) << 48};
    static const char *const bad[] = {"",
                                      " ",
                                      "a",
                                      "AAAAAAAAAAAAAAAAAAAAA",
                                      "AAAAAAAAAAAAAAAAAAAAAAA",
                                      "AAAAAAAAAAAAAAAAAAAAA=",
                                      "AAAAAAAAAA AAAAAAAAAAA",
                                      "AAAAAAAAAA+AAAAAAAAAAA",
                                      "AAAAAAAAAA/AAAAAAAAAAA",
                                      "AAAAAAAAAA\nAAAAAAAAAAA",
                                      ("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
                                       "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
                                      "AAAAAAAAAAAAAAAAAAAAAB" /* left-over bits */};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_not(token_read(key, bad[i], &read), "%s", bad[i]);
    token_make(key, &passes[0], token);
    for (size_t length = 0; length < 22; length++) {
        char cut[TOKEN_SIZE];
        snprintf(cut, sizeof cut, "%.*s", (int)length, token);
        cr_assert_not(token_read(key, cut, &read), "%s", cut);
    }
    snprintf(longer, sizeof longer, "%sA", token);
    cr_assert_not(token_read(key, longer, &read));
    const struct pass *outside[] = {&none, &negative, &zero, &far};
    for (size_t i = 0; i < 4; i++) {
        token_make(key, outside[i], token);
        cr_assert_not(token_read(key, token, &read), "nobody has such a place");
    }
}

/* ---- cursors ---- */

static bool reads(struct token_key *with, const char *text, int64_t owner, uint8_t list, struct cursor *cursor)
{
    *cursor = (struct cursor){.list = list};
    return cursor_read(with, text, owner, cursor);
}

Test(token, cursor_round_trip)
{
    static const struct cursor cursors[] = {{1, 0, 0}, {1, 255, INT64_MAX}, {2, 7, 1}, {255, 1, INT64_MIN}, {0, 0, -1}};
    for (size_t i = 0; i < sizeof cursors / sizeof *cursors; i++) {
        char text[CURSOR_SIZE];
        struct cursor read;
        cursor_make(key, &cursors[i], 7, text);
        cr_assert_eq(strlen(text), 32);
        cr_assert(reads(key, text, 7, cursors[i].list, &read));
        cr_assert(read.id == cursors[i].id && read.depth == cursors[i].depth);
    }
}

Test(token, cursor_of_somebody_or_something_else)
{
    char text[CURSOR_SIZE];
    struct cursor read, cursor = {2, 0, 99};
    cursor_make(key, &cursor, 7, text);
    cr_assert(reads(key, text, 7, 2, &read));
    cr_assert_not(reads(key, text, 8, 2, &read), "another owner");
    cr_assert_not(reads(key, text, 0, 2, &read), "nobody's");
    cr_assert_not(reads(key, text, 7, 1, &read), "another listing");
    cr_assert_not(reads(other, text, 7, 2, &read), "another key");
}

Test(token, cursor_changed_in_any_bit)
{
    unsigned char bytes[24];
    char text[CURSOR_SIZE];
    size_t length;
    struct cursor read, cursor = {1, 3, 4711};
    cursor_make(key, &cursor, 0, text);
    cr_assert(base64url_decode(text, strlen(text), bytes, sizeof bytes, &length) && length == sizeof bytes);
    for (int bit = 0; bit < 8 * 24; bit++) {
        char changed[CURSOR_SIZE];
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        base64url_encode(bytes, sizeof bytes, changed);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        for (int list = 0; list < 256; list++)
            cr_assert_not(reads(key, changed, 0, (uint8_t)list, &read), "bit %d", bit);
    }
}

Test(token, cursor_texts_that_are_none)
{
    char text[CURSOR_SIZE], longer[CURSOR_SIZE + 4];
    struct cursor read, cursor = {1, 0, 1};
    cursor_make(key, &cursor, 0, text);
    for (size_t length = 0; length < 32; length++) {
        snprintf(longer, sizeof longer, "%.*s", (int)length, text);
        cr_assert_not(reads(key, longer, 0, 1, &read), "%s", longer);
    }
    snprintf(longer, sizeof longer, "%sA", text);
    cr_assert_not(reads(key, longer, 0, 1, &read));
    snprintf(longer, sizeof longer, "%s====", text);
    cr_assert_not(reads(key, longer, 0, 1, &read));
    cr_assert_not(reads(key, "1", 0, 1, &read));
    cr_assert_not(reads(key, "' OR 1=1 --", 0, 1, &read));
}
