/* tally: names, and lists that grow. */
#include "rehearse/tally.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#define NAME(symbol, name, more) name,
#define MORE(symbol, name, more) more,
const char *const operation_names[OPERATIONS] = {OPERATION_TABLE(NAME)};
const bool operation_is_transaction[OPERATIONS] = {OPERATION_TABLE(MORE)};
const char *const outcome_names[OUTCOMES] = {OUTCOME_TABLE(NAME)};
const char *const outcome_words[OUTCOMES] = {OUTCOME_TABLE(MORE)};
#undef NAME
#undef MORE

/* What a server sends is shown only if it looks like a code or one of our own sentences. */
static void copy_code(char *to, struct span code)
{
    size_t length = code.length < CODE_SIZE - 1 ? code.length : CODE_SIZE - 1;
    for (size_t i = 0; i < length; i++) {
        char c = code.at[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == ' ';
        to[i] = plain ? c : '?';
    }
    to[length] = '\0';
}

void tally_error(struct tally *tally, enum operation operation, int status, struct span code, bool expected)
{
    struct error_count error = {.operation = operation, .status = status, .expected = expected};
    struct error_count *found = tally->errors, *end = found + tally->error_count;
    copy_code(error.code, code);
    tally->unexpected += !expected;
    while (found < end && (found->operation != operation || found->status != status || found->expected != expected ||
                           strcmp(found->code, error.code) != 0))
        found++;
    if (found == end) {
        if (tally->error_count == ERRORS_MAX)
            return; /* more kinds than anybody reads; those that matter are counted in `unexpected` */
        tally->error_count++;
        *found = error;
    }
    found->count++;
}

void tally_moment(struct tally *tally, const struct moment *moment)
{
    if (tally->moment_count == tally->moment_capacity) {
        tally->moment_capacity = tally->moment_capacity ? 2 * tally->moment_capacity : 256;
        tally->moments = reallocarray(tally->moments, tally->moment_capacity, sizeof *tally->moments);
        if (!tally->moments) {
            log_error("out of memory");
            abort();
        }
    }
    tally->moments[tally->moment_count++] = *moment;
}

void tally_free(struct tally *tally)
{
    free(tally->moments);
    tally->moments = NULL;
    tally->moment_count = tally->moment_capacity = 0;
}
