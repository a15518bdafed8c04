/* script: the table of Redis scripts, embedded at build from lua/.
 *
 * `twice` says that running a script again after a lost answer does no harm and gives the same answer, so it may be
 * retried. */
#ifndef USHER_STORE_SCRIPT_H
#define USHER_STORE_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>

// clang-format off
/*      symbol        file            twice */
#define SCRIPT_TABLE(ROW)               \
    ROW(GATE,         "gate",         true)  \
    ROW(JOIN,         "join",         true)  \
    ROW(POLL,         "poll",         true)  \
    ROW(LEAVE,        "leave",        true)  \
    ROW(LINE,         "line",         true)  \
    ROW(RESTORING,    "restoring",    true)  \
    ROW(RESTORE,      "restore",      true)  \
    ROW(RESTORED,     "restored",     true)  \
    ROW(PAUSE,        "pause",        true)  \
    ROW(PROMOTE,      "promote",      false) \
    ROW(PULSE,        "pulse",        true)  \
    ROW(LAPSE,        "lapse",        true)  \
    ROW(HOLD,         "hold",         false) \
    ROW(RELEASE,      "release",      true)  \
    ROW(SETTLE,       "settle",       true)  \
    ROW(SEATS,        "seats",        true)  \
    ROW(SEATS_CHANGES, "seats_changes", true) \
    ROW(SEATS_FORGET, "seats_forget", true) \
    ROW(SEATS_LOAD,   "seats_load",   true)  \
    ROW(SEATS_DOUBTFUL, "seats_doubtful", true) \
    ROW(CACHE_CLAIM,  "cache_claim",  false) \
    ROW(CACHE_FILL,   "cache_fill",   true)  \
    ROW(CACHE_TOUCH,  "cache_touch",  true)
// clang-format on

enum script {
#define SCRIPT_SYMBOL(symbol, file, twice) SCRIPT_##symbol,
    SCRIPT_TABLE(SCRIPT_SYMBOL)
#undef SCRIPT_SYMBOL
        SCRIPT_COUNT
};

#define SCRIPT_SHA1_SIZE 41

struct script_text {
    const char *name;
    bool twice;
    const char *text; /* prelude and body */
    size_t length;
    char sha1[SCRIPT_SHA1_SIZE]; /* as EVALSHA wants it */
};

/* The script, ready to send. Texts are put together at the first call in a process. */
const struct script_text *script_get(enum script script);

#endif
