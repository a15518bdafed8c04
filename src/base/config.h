/* config: every setting, in one table that drives the file parser, the environment, --print-config, the sample file and
 * the manual page's check. Order of precedence: default < file < environment (USHER_<KEY>) < option (-o key=value). */
#ifndef USHER_BASE_CONFIG_H
#define USHER_BASE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

// clang-format off
/* kinds: INT a decimal integer from min to max
 *        TIME a duration kept in milliseconds: "90" or "90s", "250ms", "5min", "24h"; min and max in milliseconds
 *        TEXT any text (NULL-free, at most 4096 bytes); CHOICE one of the words in `words` (kept as text)
 *        AUTO like INT, and "auto" which is kept as 0
 *
 *      kind    field                default            min      max          words / what it is */
#define CONFIG_TABLE(ROW)                                                                                                      \
    ROW(TEXT,   listen,              "/run/usher/usher.sock", 0, 0, NULL,                                                      \
        "Unix socket for nginx; not used when systemd passes sockets.")                                                        \
    ROW(TEXT,   listen_shop,         "",                0, 0, NULL,                                                            \
        "A second one, answered first, for everything but the line. Empty: everybody comes by listen.")                        \
    ROW(AUTO,   workers,             "auto",            1,       1024,        NULL,                                            \
        "Worker processes; auto is four for each processor.")                                                                  \
    ROW(TEXT,   database,            "dbname=usher user=usher", 0, 0, NULL,                                                    \
        "PostgreSQL connection string of the workers and the scheduler. Several hosts are allowed.")                           \
    ROW(TEXT,   database_owner,      "dbname=usher user=usher_owner", 0, 0, NULL,                                              \
        "Connection string of the owner of the tables: usherctl migrate, import, concert and verify use it.")                            \
    ROW(TIME,   statement_timeout,   "2s",              1,       60000,       NULL,                                            \
        "A statement that runs longer is cancelled and answered with 503.")                                                    \
    ROW(TIME,   lock_timeout,        "1s",              1,       60000,       NULL,                                            \
        "Waiting longer than this for a lock in PostgreSQL is answered with 503.")                                             \
    ROW(TEXT,   redis,               "/run/redis/redis-server.sock", 0, 0, NULL,                                               \
        "Redis: the path of its unix socket, or host:port.")                                                                   \
    ROW(TIME,   redis_timeout,       "200ms",           1,       60000,       NULL,                                            \
        "Limit for connecting to Redis and for each answer.")                                                                  \
    ROW(CHOICE, jwt_algorithm,       "HS256",           0, 0, "HS256 RS256 ES256 EdDSA",                                       \
        "The one signature algorithm that is accepted.")                                                                       \
    ROW(TEXT,   jwt_key_file,        "/etc/usher/jwt.key", 0, 0, NULL,                                                         \
        "HS256: the secret, at least 32 bytes. Otherwise the PEM public key.")                                                 \
    ROW(TEXT,   jwt_issuer,          "",                0, 0, NULL,                                                            \
        "When set, iss must be this.")                                                                                         \
    ROW(TEXT,   jwt_audience,        "",                0, 0, NULL,                                                            \
        "When set, aud must be or contain this.")                                                                              \
    ROW(TEXT,   queue_key_file,      "/etc/usher/queue.key", 0, 0, NULL,                                                       \
        "At least 16 random bytes from which queue tokens and page cursors are made; the same on every host.")                 \
    ROW(INT,    promote_batch,       "100",             1,       1000000,     NULL,                                            \
        "At most so many people are admitted in any promote_period.")                                                          \
    ROW(TIME,   promote_period,      "10s",             100,     3600000,     NULL,                                            \
        "The period of promote_batch; the timer must run as often.")                                                           \
    ROW(INT,    active_max,          "3000",            1,       10000000,    NULL,                                            \
        "Nobody is admitted while so many are active.")                                                                        \
    ROW(CHOICE, admission,           "fixed",           0, 0, "fixed adaptive",                                               \
        "adaptive lets in more for no-shows, and keeps the active between active_min and active_max by what the shop bears.")  \
    ROW(INT,    active_min,          "500",             1,       10000000,    NULL,                                            \
        "adaptive: never fewer may be active.")                                                                                \
    ROW(TIME,   latency_target,      "100ms",           1,       60000,       NULL,                                            \
        "adaptive: holds and payments slower than this, more than one in a hundred, are too slow.")                            \
    ROW(TIME,   claim_window,        "60s",             1,       86400000,    NULL,                                            \
        "An admitted person who does not come within this loses the place.")                                                   \
    ROW(TIME,   active_ttl,          "10min",           1,       86400000,    NULL,                                            \
        "How long a token lives from its first use.")                                                                          \
    ROW(TIME,   hold_ttl,            "5min",            1,       86400000,    NULL,                                            \
        "How long seats are held for payment.")                                                                                \
    ROW(INT,    seat_limit,          "4",               1,       100,         NULL,                                            \
        "Live seats that one user may have in one schedule.")                                                                  \
    ROW(INT,    balance_max,         "100000000",       1,       1000000000000000, NULL,                                       \
        "A charge that would lift a balance above this is refused.")                                                           \
    ROW(TEXT,   currency,            "KRW",             0, 0, NULL,                                                            \
        "ISO 4217 code of all amounts, which count its minor unit.")                                                           \
    ROW(TIME,   idempotency_ttl,     "24h",             1000,    2592000000,  NULL,                                            \
        "How long an Idempotency-Key is remembered.")                                                                          \
    ROW(TIME,   concert_cache_ttl,   "10s",             0,       3600000,     NULL,                                            \
        "How long a concert page is served from the cache; 0 turns the cache off.")                                            \
    ROW(TIME,   concert_cache_max,   "30s",             0,       3600000,     NULL,                                            \
        "Hits prolong a page's life up to this age.")                                                                          \
    ROW(INT,    concert_cache_pages, "5",               0,       1000,        NULL,                                            \
        "So many front pages of a cursor listing are cached.")                                                                 \
    ROW(CHOICE, log_level,           "info",            0, 0, "error warning notice info debug",                               \
        "info writes one line for each request.")
// clang-format on

struct config {
// clang-format off
#define CONFIG_INT    int64_t
#define CONFIG_AUTO   int64_t
#define CONFIG_TIME   int64_t /* milliseconds */
#define CONFIG_TEXT   const char *
#define CONFIG_CHOICE const char *
// clang-format on
#define CONFIG_FIELD(kind, field, value, min, max, words, what) CONFIG_##kind field;
    CONFIG_TABLE(CONFIG_FIELD)
#undef CONFIG_FIELD
};

/* Where an error message goes: a sentence for the operator, naming file, line and key. */
#define CONFIG_MESSAGE_SIZE 512

/* Fills config with the defaults. */
void config_init(struct config *config);
/* Releases the texts. */
void config_free(struct config *config);
/* Sets one key; source ("option -o", "/etc/usher/usher.conf:12") is for the message. */
bool config_set(struct config *config, const char *key, const char *value, const char *source,
                char message[static CONFIG_MESSAGE_SIZE]) __attribute__((warn_unused_result));
/* key = value lines; '#' starts a comment line; blank lines; values are trimmed, quotes are not special.
 * missing_ok: a file that does not exist is no error. */
bool config_read_file(struct config *config, const char *path, bool missing_ok,
                      char message[static CONFIG_MESSAGE_SIZE]) __attribute__((warn_unused_result));
/* Every USHER_<KEY> of the environment; an unknown USHER_ name is not an error (USHER_URL is ours, too). */
bool config_read_environment(struct config *config, char message[static CONFIG_MESSAGE_SIZE])
    __attribute__((warn_unused_result));
/* What no single key shows: concert_cache_max >= concert_cache_ttl, lock_timeout <= statement_timeout. */
bool config_check(const struct config *config, char message[static CONFIG_MESSAGE_SIZE])
    __attribute__((warn_unused_result));
/* "key = value" lines of what is in force; with comments also the explanation and default of each (the sample file). */
void config_print(const struct config *config, FILE *out, bool comments);

#endif
