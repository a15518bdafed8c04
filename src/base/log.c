/* log: a line is put together on the stack, cleaned, and written with one write(2), so that lines of several workers
 * never mix. The journal is never waited for: when it does not read (it hangs, or its disk does), lines are dropped and
 * counted rather than the sale stopped. */
#include "base/log.h"

#include "base/encode.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Longer lines are cut and end in "..."; below PIPE_BUF (4096), so that a write to a pipe is atomic. */
#define LINE_SIZE ((size_t)4000)
#define CUT_MARK  "..."

/* A program's name in front of each line takes at most so many bytes of it. */
#define PROGRAM_SIZE 64

static struct {
    char program[PROGRAM_SIZE];
    enum log_level level;
    bool journal;
    unsigned long lost; /* lines that the journal did not take, since it last took one */
} state = {.program = "usher", .level = LOG_INFO, .journal = false, .lost = 0};

/* Whether stderr is the stream that systemd connected to the journal: $JOURNAL_STREAM is its "device:inode". */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat status;
    char expected[64];

    if (stream == NULL || fstat(STDERR_FILENO, &status) != 0 || !S_ISSOCK(status.st_mode))
        return false;
    snprintf(expected, sizeof expected, "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
    return strcmp(stream, expected) == 0;
}

void log_open(const char *program, enum log_level level)
{
    snprintf(state.program, sizeof state.program, "%s", program);
    state.level = level;
    state.journal = stderr_is_journal();
    state.lost = 0;
}

void log_set_level(enum log_level level)
{
    state.level = level;
}

/* Control characters, also those of C1 that terminals take for line ends, become '?'. */
static void clean(char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c < 0x20 || c == 0x7F) {
            text[i] = '?';
        } else if (c == 0xC2 && i + 1 < length && (unsigned char)text[i + 1] < 0xA0) {
            text[i] = '?';
            text[i + 1] = '?';
        }
    }
}

/* Where to cut text so that CUT_MARK fits behind it and no UTF-8 character is split. */
static size_t cut(char *line)
{
    size_t length = LINE_SIZE - sizeof CUT_MARK;

    while (length > 0 && ((unsigned char)line[length] & 0xC0) == 0x80)
        length--;
    memcpy(line + length, CUT_MARK, sizeof CUT_MARK - 1);
    return length + sizeof CUT_MARK - 1;
}

/* Sends a line to the journal, if it takes it at once: a unix socket takes a line whole or not at all. */
static bool send_line(const char *line, size_t length)
{
    ssize_t sent;

    do
        sent = send(STDERR_FILENO, line, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

/* A line for the journal, and before it how many it did not take. */
static void write_journal(const char *line, size_t length)
{
    char gap[128];

    if (state.lost > 0) {
        int size = snprintf(gap, sizeof gap, "<%d>the journal took nothing for a while, lines lost=%lu\n", LOG_WARNING,
                            state.lost);

        if (!send_line(gap, (size_t)size)) {
            state.lost++;
            return;
        }
        state.lost = 0;
    }
    if (!send_line(line, length))
        state.lost++;
}

/* What cannot be written is lost: there is nowhere to say so. */
static void write_all(const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = write(STDERR_FILENO, text, length);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return;
        text += written;
        length -= (size_t)written;
    }
}

void log_line(enum log_level level, const char *format, ...)
{
    char line[LINE_SIZE];
    int saved_errno = errno;
    size_t start, length;
    va_list args;
    int size;

    if (level > state.level)
        return;
    if (state.journal)
        size = snprintf(line, sizeof line, "<%d>", (int)level);
    else
        size = snprintf(line, sizeof line, "%s: ", state.program);
    start = (size_t)size;

    errno = saved_errno; /* for %m */
    va_start(args, format);
    size = vsnprintf(line + start, sizeof line - start, format, args);
    va_end(args);
    if (size < 0)
        size = snprintf(line + start, sizeof line - start, "unprintable message \"%s\"", format);
    length = start + (size_t)size;
    if (length >= sizeof line)
        length = cut(line);
    clean(line + start, length - start);
    line[length++] = '\n';
    if (state.journal)
        write_journal(line, length);
    else
        write_all(line, length);
    errno = saved_errno;
}

static bool is_bare(const char *value)
{
    static const char bare[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/@+-";

    return value[0] != '\0' && value[strspn(value, bare)] == '\0';
}

/* The quoted form of the next character of value into piece (at least 5 bytes); *taken bytes of value are in it. */
static size_t quote_one(const char *value, char *piece, size_t *taken)
{
    unsigned char c = (unsigned char)value[0];
    size_t size;

    *taken = 1;
    if (c == '"' || c == '\\') {
        piece[0] = '\\';
        piece[1] = (char)c;
        return 2;
    }
    if (c >= 0x20 && c < 0x7F) {
        piece[0] = (char)c;
        return 1;
    }
    size = c < 0x80 ? 0 : utf8_sequence(value, strnlen(value, 4));
    if (size == 0 || (c == 0xC2 && (unsigned char)value[1] < 0xA0)) {
        piece[0] = '\\';
        piece[1] = 'x';
        hex_encode(&c, 1, piece + 2);
        return 4;
    }
    memcpy(piece, value, size);
    *taken = size;
    return size;
}

const char *log_quote(const char *value, char *out, size_t size)
{
    size_t length = 1;

    if (size < sizeof "\"\"") {
        if (size > 0)
            out[0] = '\0';
        return out;
    }
    if (value == NULL)
        value = "-";
    if (is_bare(value) && strlen(value) < size) {
        memcpy(out, value, strlen(value) + 1);
        return out;
    }
    out[0] = '"';
    while (*value != '\0') {
        char piece[8];
        size_t taken;
        size_t piece_size = quote_one(value, piece, &taken);

        if (length + piece_size + sizeof "\"" > size)
            break;
        memcpy(out + length, piece, piece_size);
        length += piece_size;
        value += taken;
    }
    out[length++] = '"';
    out[length] = '\0';
    return out;
}
