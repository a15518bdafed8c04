/* log: one line an event to stderr, key=value, with the journal's priority prefix (<6>) when stderr is the journal.
 * Never a token, a key, a cookie or a body. */
#ifndef USHER_BASE_LOG_H
#define USHER_BASE_LOG_H

#include <stddef.h>

enum log_level { LOG_ERROR = 3, LOG_WARNING = 4, LOG_NOTICE = 5, LOG_INFO = 6, LOG_DEBUG = 7 };

/* program goes in front of every line outside the journal; lines above level are not written. */
void log_open(const char *program, enum log_level level);
void log_set_level(enum log_level level);

/* One line, written with one write(2); a journal that does not read is not waited for, and told afterwards how many
 * lines were lost. Control characters in it are replaced by '?', so that no value forges a line. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...)   log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...)  log_line(LOG_NOTICE, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_DEBUG, __VA_ARGS__)

/* A value for a key=value line: bare when it has only [A-Za-z0-9._:/@+-], otherwise in double quotes, with \" \\ and
 * \xHH for control characters and what is not UTF-8; NULL is written as -. Cut at size bytes, the closing quote and the
 * NUL included. Returns out. */
const char *log_quote(const char *value, char *out, size_t size);

/* The same as an argument of log_error and its like: LOG_QUOTED(message) for error=%s. */
#define LOG_QUOTED_SIZE   512
#define LOG_QUOTED(value) log_quote(value, (char[LOG_QUOTED_SIZE]){0}, LOG_QUOTED_SIZE)

#endif
