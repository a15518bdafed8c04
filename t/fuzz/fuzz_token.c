/* fuzz_token: queue tokens and page cursors. Input: a text to read as either; and as numbers, what is made, changed in
 * one place and read again. */
#include "fuzz.h"

#include "base/encode.h"

#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_house();
    return 0;
}

/* What is read is written the same way again: a token has one spelling. */
static void read_any(const char *text)
{
    struct token_key *key = fuzz_house()->key;
    struct pass pass;
    if (token_read(key, text, &pass)) {
        char again[TOKEN_SIZE];
        token_make(key, &pass, again);
        REQUIRE(strcmp(text, again) == 0, "a token has one spelling");
    }
    for (uint8_t list = 0; list < 3; list++) {
        struct cursor cursor = {.list = list};
        if (cursor_read(key, text, FUZZ_USER, &cursor)) {
            char again[CURSOR_SIZE];
            cursor_make(key, &cursor, FUZZ_USER, again);
            REQUIRE(strcmp(text, again) == 0 && cursor.list == list, "a cursor has one spelling");
        }
    }
}

static int64_t number(const uint8_t *data)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | data[i];
    return (int64_t)value;
}

static void change_token(const uint8_t *data)
{
    struct token_key *key = fuzz_house()->key;
    struct pass pass = {(number(data) & INT64_MAX) | 1, (number(data + 8) & ((INT64_C(1) << 48) - 1)) | 1}, read;
    char token[TOKEN_SIZE];
    token_make(key, &pass, token);
    REQUIRE(token_read(key, token, &read) && read.user == pass.user && read.ticket == pass.ticket, "what was made");
    char *place = &token[data[16] % (TOKEN_SIZE - 1)];
    if (*place == (char)data[17])
        return;
    *place = (char)data[17];
    if (token_read(key, token, &read))
        REQUIRE(read.user != pass.user || read.ticket != pass.ticket, "another token is another's");
}

static void change_cursor(const uint8_t *data)
{
    struct token_key *key = fuzz_house()->key;
    struct cursor cursor = {data[16], data[17], number(data)}, read = {.list = data[16]};
    int64_t owner = number(data + 8);
    char text[CURSOR_SIZE];
    cursor_make(key, &cursor, owner, text);
    REQUIRE(strlen(text) < CURSOR_SIZE && cursor_read(key, text, owner, &read), "what was made");
    REQUIRE(read.id == cursor.id && read.depth == cursor.depth, "says what it said");
    REQUIRE(!cursor_read(key, text, owner + (owner < INT64_MAX ? 1 : -1), &read), "is its owner's only");
    read.list = (uint8_t)(data[16] + 1);
    REQUIRE(!cursor_read(key, text, owner, &read), "is its listing's only");
    read.list = data[16];
    char *place = &text[data[18] % strlen(text)];
    if (*place != (char)data[19]) {
        *place = (char)data[19];
        REQUIRE(!cursor_read(key, text, owner, &read), "cannot be changed");
    }
}

/* base64url both ways. */
static void encode(const uint8_t *data, size_t size)
{
    struct arena *arena = fuzz_house()->arena;
    char *text = arena_alloc(arena, base64url_size(size) + 1), *back = arena_alloc(arena, size + 1);
    size_t length;
    base64url_encode(data, size, text);
    REQUIRE(strlen(text) == base64url_size(size), "as long as it says");
    REQUIRE(base64url_decode(text, strlen(text), back, size, &length) && length == size &&
                (size == 0 || memcmp(back, data, size) == 0),
            "decodes to what it was");
    const char *any = fuzz_text(data, size);
    char *bytes = arena_alloc(arena, size + 1), *again = arena_alloc(arena, size + 4);
    if (base64url_decode(any, size, bytes, size, &length)) {
        base64url_encode(bytes, length, again);
        REQUIRE(size == strlen(again) && memcmp(again, any, size) == 0, "bytes have one spelling");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_any(fuzz_text(data, size));
    encode(data, size);
    if (size >= 20) {
        change_token(data);
        change_cursor(data);
    }
    arena_reset(fuzz_house()->arena);
    return 0;
}
