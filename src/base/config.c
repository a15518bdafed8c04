/* config: the table of config.h, turned into rows that the parser, the environment and the printer walk. */
#include "base/config.h"

#include "base/analyzer.h"
#include "base/encode.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX      4096 /* bytes of a TEXT value */
#define FILE_LINE_MAX 4608 /* bytes of a line of the file: a TEXT of full length with its key */
#define NAME_MAX      64   /* more than any key has; unknown keys are shown and compared up to this */

enum kind { INT, AUTO, TIME, TEXT, CHOICE };

struct row {
    const char *name;
    const char *value; /* the default, as it would be written */
    const char *words; /* CHOICE: separated by single spaces */
    const char *what;
    int64_t min;
    int64_t max;
    size_t offset; /* in struct config */
    enum kind kind;
};

static const struct row rows[] = {
#define CONFIG_ROW(kind, field, value, min, max, words, what)                                                          \
    {#field, value, words, what, min, max, offsetof(struct config, field), kind},
    CONFIG_TABLE(CONFIG_ROW)
#undef CONFIG_ROW
};

#define ROW_COUNT (sizeof rows / sizeof *rows)

static int64_t *number_of(const struct config *config, const struct row *row)
{
    return (int64_t *)(void *)((char *)(uintptr_t)config + row->offset);
}

static char **text_of(const struct config *config, const struct row *row)
{
    return (char **)(void *)((char *)(uintptr_t)config + row->offset);
}

static bool is_text(const struct row *row)
{
    return row->kind == TEXT || row->kind == CHOICE;
}

static bool fail(char *message, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes the message, cut if need be, and returns false. */
static bool fail(char *message, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(message, CONFIG_MESSAGE_SIZE, format, args);
    va_end(args);
    return false;
}

static char *copy_text(const char *text, size_t length)
{
    char *copy = malloc(length + 1);

    if (copy == NULL)
        abort();
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

/* --- durations --- */

/* Smallest first. */
static const struct unit {
    const char *name;
    int64_t milliseconds;
} units[] = {{"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}};

#define UNIT_COUNT (sizeof units / sizeof *units)

enum parsed { PARSED, NOT_A_NUMBER, TOO_SMALL_OR_LARGE };

static enum parsed parse_number(const char *text, size_t length, int64_t min, int64_t max, int64_t *value)
{
    if (decimal_parse(text, length, min, max, value))
        return PARSED;
    for (size_t i = 0; i < length; i++)
        if (!isdigit((unsigned char)text[i]) && !(i == 0 && length > 1 && text[0] == '-'))
            return NOT_A_NUMBER;
    return length == 0 || (length > 1 && text[0] == '0') ? NOT_A_NUMBER : TOO_SMALL_OR_LARGE;
}

/* Digits, then one of the units, or none for seconds. */
static enum parsed parse_time(const char *text, int64_t min, int64_t max, int64_t *value)
{
    size_t digits = strspn(text, "0123456789");
    const char *unit = text[digits] == '\0' ? "s" : text + digits;

    for (size_t i = 0; i < UNIT_COUNT; i++) {
        int64_t factor = units[i].milliseconds;
        int64_t number;
        enum parsed parsed;

        if (strcmp(unit, units[i].name) != 0)
            continue;
        parsed = parse_number(text, digits, 0, max / factor, &number);
        if (parsed != PARSED)
            return parsed;
        if (number * factor < min)
            return TOO_SMALL_OR_LARGE;
        *value = number * factor;
        return PARSED;
    }
    return NOT_A_NUMBER;
}

#define TIME_TEXT_SIZE 32

/* In the largest unit that has no remainder. */
static const char *format_time(int64_t milliseconds, char text[static TIME_TEXT_SIZE])
{
    size_t unit = UNIT_COUNT - 1;

    if (milliseconds == 0)
        return "0";
    while (milliseconds % units[unit].milliseconds != 0)
        unit--;
    snprintf(text, TIME_TEXT_SIZE, "%lld%s", (long long)(milliseconds / units[unit].milliseconds), units[unit].name);
    return text;
}

/* --- one key --- */

static const struct row *find_row(const char *key)
{
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (strcmp(rows[i].name, key) == 0)
            return &rows[i];
    return NULL;
}

/* Levenshtein's distance; both at most NAME_MAX long. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NAME_MAX + 1];
    size_t length = strlen(b);

    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= length; j++) {
            size_t best = diagonal + (tolower((unsigned char)a[i - 1]) != b[j - 1]);

            diagonal = row[j];
            if (best > row[j] + 1)
                best = row[j] + 1;
            if (best > row[j - 1] + 1)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[length];
}

static bool fail_unknown(const char *key, const char *source, char *message)
{
    size_t length = strlen(key);
    size_t nearest = length < 9 ? 3 : length / 3; /* as many letters may differ; beyond it is another word */
    const char *name = NULL;

    for (size_t i = 0; i < ROW_COUNT && length <= NAME_MAX; i++) {
        size_t d = distance(key, rows[i].name);

        if (d < nearest || (d == nearest && name == NULL)) {
            nearest = d;
            name = rows[i].name;
        }
    }
    if (name != NULL && nearest < length)
        return fail(message, "%s: there is no key \"%s\"; is \"%s\" meant?", source, key, name);
    return fail(message, "%s: there is no key \"%.*s\"; --print-config shows all keys", source, NAME_MAX, key);
}

static bool fail_number(const struct row *row, const char *value, const char *source, enum parsed why, char *message)
{
    char min[TIME_TEXT_SIZE], max[TIME_TEXT_SIZE];

    if (row->kind == TIME && why == NOT_A_NUMBER)
        return fail(message, "%s: %s wants a duration such as 250ms, 90s, 5min or 24h, not \"%.*s\"", source, row->name,
                    NAME_MAX, value);
    if (row->kind == TIME)
        return fail(message, "%s: %s must be from %s to %s, not \"%.*s\"", source, row->name,
                    format_time(row->min, min), format_time(row->max, max), NAME_MAX, value);
    return fail(message, "%s: %s must be %sa whole number from %lld to %lld, not \"%.*s\"", source, row->name,
                row->kind == AUTO ? "auto or " : "", (long long)row->min, (long long)row->max, NAME_MAX, value);
}

static bool set_number(struct config *config, const struct row *row, const char *value, const char *source,
                       char *message)
{
    int64_t number = 0;
    enum parsed parsed;

    if (row->kind == AUTO && strcmp(value, "auto") == 0)
        parsed = PARSED;
    else if (row->kind == TIME)
        parsed = parse_time(value, row->min, row->max, &number);
    else
        parsed = parse_number(value, strlen(value), row->min, row->max, &number);
    if (parsed != PARSED)
        return fail_number(row, value, source, parsed, message);
    *number_of(config, row) = number;
    return true;
}

/* Whether value is one of the space-separated words. */
static bool has_word(const char *words, const char *value)
{
    size_t length = strlen(value);

    while (*words != '\0') {
        size_t word = strcspn(words, " ");

        if (word == length && memcmp(words, value, length) == 0)
            return true;
        words += word + (words[word] == ' ');
    }
    return false;
}

static bool has_control(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7F)
            return true;
    return false;
}

/* Messages about a TEXT do not show it: it may hold a password. The copy is kept in *config, at an offset from the
 * table, where gcc does not look for it; config_free() frees it. */
ANALYZER_LOSES_MEMORY_BEGIN
static bool set_text(struct config *config, const struct row *row, const char *value, const char *source, char *message)
{
    size_t length = strlen(value);
    char **text = text_of(config, row);

    if (row->kind == CHOICE && !has_word(row->words, value))
        return fail(message, "%s: %s must be one of %s, not \"%.*s\"", source, row->name, row->words, NAME_MAX, value);
    if (length > TEXT_MAX)
        return fail(message, "%s: %s is longer than %d bytes", source, row->name, TEXT_MAX);
    if (!utf8_valid(value, length))
        return fail(message, "%s: %s is not valid UTF-8", source, row->name);
    if (has_control(value))
        return fail(message, "%s: %s holds a control character", source, row->name);
    free(*text);
    *text = copy_text(value, length);
    return true;
}
ANALYZER_LOSES_MEMORY_END

bool config_set(struct config *config, const char *key, const char *value, const char *source,
                char message[static CONFIG_MESSAGE_SIZE])
{
    const struct row *row = find_row(key);

    if (row == NULL)
        return fail_unknown(key, source, message);
    if (is_text(row))
        return set_text(config, row, value, source, message);
    return set_number(config, row, value, source, message);
}

void config_init(struct config *config)
{
    char message[CONFIG_MESSAGE_SIZE];

    memset(config, 0, sizeof *config);
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (!config_set(config, rows[i].name, rows[i].value, "default", message)) {
            fprintf(stderr, "config.h: %s\n", message);
            abort();
        }
}

void config_free(struct config *config)
{
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (is_text(&rows[i])) {
            free(*text_of(config, &rows[i]));
            *text_of(config, &rows[i]) = NULL;
        }
}

/* --- the file --- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* text without blanks at both ends, shortened in place. */
static char *trim(char *text)
{
    char *end = text + strlen(text);

    while (end > text && is_blank(end[-1]))
        end--;
    *end = '\0';
    while (is_blank(*text))
        text++;
    return text;
}

static bool set_from_line(struct config *config, char *line, const char *source, char *message)
{
    char *text = trim(line);
    char *equals = strchr(text, '=');

    if (*text == '\0' || *text == '#')
        return true;
    if (equals == NULL || equals == text)
        return fail(message, "%s: a line must be \"key = value\" or begin with #", source);
    *equals = '\0';
    return config_set(config, trim(text), trim(equals + 1), source, message);
}

/* One line without its end into line. -1 at the end of the file; FILE_LINE_MAX when it is longer. */
static long read_line(FILE *file, char line[static FILE_LINE_MAX])
{
    long length = 0;
    int c;

    while ((c = getc(file)) != EOF && c != '\n') {
        if (length == FILE_LINE_MAX - 1)
            return FILE_LINE_MAX;
        line[length++] = (char)c;
    }
    line[length] = '\0';
    return c == EOF && length == 0 ? -1 : length;
}

static bool read_lines(struct config *config, FILE *file, const char *path, char *message)
{
    char line[FILE_LINE_MAX];
    char source[256];
    long length;

    for (unsigned long number = 1; (length = read_line(file, line)) >= 0; number++) {
        snprintf(source, sizeof source, "%.200s:%lu", path, number);
        if (length == FILE_LINE_MAX)
            return fail(message, "%s: the line is longer than %d bytes", source, FILE_LINE_MAX - 1);
        if (memchr(line, '\0', (size_t)length) != NULL)
            return fail(message, "%s: the line holds a NUL byte", source);
        if (!utf8_valid(line, (size_t)length))
            return fail(message, "%s: the line is not valid UTF-8", source);
        if (!set_from_line(config, line, source, message))
            return false;
    }
    if (ferror(file))
        return fail(message, "%.200s: cannot be read: %s", path, strerror(errno));
    return true;
}

bool config_read_file(struct config *config, const char *path, bool missing_ok,
                      char message[static CONFIG_MESSAGE_SIZE])
{
    FILE *file = fopen(path, "re");
    bool good;

    if (file == NULL && errno == ENOENT && missing_ok)
        return true;
    if (file == NULL)
        return fail(message, "%.200s: cannot be opened: %s", path, strerror(errno));
    good = read_lines(config, file, path, message);
    fclose(file);
    return good;
}

/* --- the environment --- */

bool config_read_environment(struct config *config, char message[static CONFIG_MESSAGE_SIZE])
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        char name[sizeof "USHER_" + NAME_MAX];
        char source[sizeof name + sizeof "environment "];
        const char *value;
        size_t length = (size_t)snprintf(name, sizeof name, "USHER_%s", rows[i].name);

        for (size_t j = 0; j < length; j++)
            name[j] = (char)toupper((unsigned char)name[j]);
        value = getenv(name);
        snprintf(source, sizeof source, "environment %s", name);
        if (value != NULL && !config_set(config, rows[i].name, value, source, message))
            return false;
    }
    return true;
}

/* --- the whole --- */

bool config_check(const struct config *config, char message[static CONFIG_MESSAGE_SIZE])
{
    char a[TIME_TEXT_SIZE], b[TIME_TEXT_SIZE];

    if (config->concert_cache_max < config->concert_cache_ttl)
        return fail(message, "concert_cache_max (%s) must not be shorter than concert_cache_ttl (%s)",
                    format_time(config->concert_cache_max, a), format_time(config->concert_cache_ttl, b));
    if (config->lock_timeout > config->statement_timeout)
        return fail(message, "lock_timeout (%s) must not be longer than statement_timeout (%s)",
                    format_time(config->lock_timeout, a), format_time(config->statement_timeout, b));
    return true;
}

static void print_value(const struct config *config, const struct row *row, FILE *out)
{
    char text[TIME_TEXT_SIZE];
    int64_t value, standard;

    if (is_text(row)) {
        fputs(*text_of(config, row), out);
        return;
    }
    value = *number_of(config, row);
    if (row->kind == TIME && parse_time(row->value, row->min, row->max, &standard) == PARSED && value == standard)
        fputs(row->value, out); /* "60s" stays as the table writes it */
    else if (row->kind == TIME)
        fputs(format_time(value, text), out);
    else if (row->kind == AUTO && value == 0)
        fputs("auto", out);
    else
        fprintf(out, "%lld", (long long)value);
}

static void print_comment(const struct row *row, FILE *out)
{
    char min[TIME_TEXT_SIZE], max[TIME_TEXT_SIZE];

    fprintf(out, "# %s\n# Default: %s", row->what, row->value[0] == '\0' ? "empty" : row->value);
    if (row->kind == TIME)
        fprintf(out, "; from %s to %s", format_time(row->min, min), format_time(row->max, max));
    else if (row->kind == CHOICE)
        fprintf(out, "; one of %s", row->words);
    else if (row->kind != TEXT)
        fprintf(out, "; from %lld to %lld", (long long)row->min, (long long)row->max);
    fputc('\n', out);
}

void config_print(const struct config *config, FILE *out, bool comments)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (comments && i > 0)
            fputc('\n', out);
        if (comments)
            print_comment(&rows[i], out);
        fprintf(out, "%s = ", rows[i].name);
        print_value(config, &rows[i], out);
        fputc('\n', out);
    }
}
