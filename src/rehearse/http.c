/* http: line by line until the body, then by length, by chunks or to the end (RFC 9112). */
#include "rehearse/http.h"

#include "base/encode.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CHUNK_MAX HTTP_BODY_MAX

void http_begin(struct http_answer *answer)
{
    answer->status = 0;
    answer->close = false;
    answer->retry_after = -1;
    answer->body = NULL;
    answer->length = answer->capacity = 0;
    answer->part = HTTP_STATUS_LINE;
    answer->chunked = answer->has_length = answer->http_1_0 = false;
    answer->left = 0;
    answer->headers = 0;
    answer->line_length = 0;
}

void http_free(struct http_answer *answer)
{
    free(answer->body);
    answer->body = NULL;
    answer->length = answer->capacity = 0;
}

/* ---- lines ---- */

static bool read_status_line(struct http_answer *answer)
{
    const char *line = answer->line;
    int64_t status;
    answer->http_1_0 = strncmp(line, "HTTP/1.0 ", 9) == 0;
    if (!answer->http_1_0 && strncmp(line, "HTTP/1.1 ", 9) != 0)
        return false;
    if (!decimal_parse(line + 9, strcspn(line + 9, " "), 100, 599, &status))
        return false;
    answer->status = (int)status;
    answer->close = answer->http_1_0;
    answer->part = HTTP_HEADERS;
    return true;
}

static bool read_length(struct http_answer *answer, const char *value, size_t length)
{
    int64_t number;
    if (!decimal_parse(value, length, 0, (int64_t)HTTP_BODY_MAX, &number) ||
        (answer->has_length && answer->left != (uint64_t)number))
        return false;
    answer->has_length = true;
    answer->left = (uint64_t)number;
    return true;
}

static bool is(const char *text, size_t length, const char *wanted)
{
    return length == strlen(wanted) && strncasecmp(text, wanted, length) == 0;
}

static bool read_header(struct http_answer *answer)
{
    const char *line = answer->line, *colon = strchr(line, ':');
    const char *space = strpbrk(line, " \t"); /* must not be in the name */
    if (++answer->headers > HTTP_HEADERS_MAX || !colon || colon == line || (space && space < colon))
        return false;
    size_t name = (size_t)(colon - line);
    const char *value = colon + 1 + strspn(colon + 1, " \t");
    size_t length = strlen(value);
    while (length > 0 && (value[length - 1] == ' ' || value[length - 1] == '\t'))
        length--;
    if (is(line, name, "Content-Length"))
        return read_length(answer, value, length);
    if (is(line, name, "Transfer-Encoding"))
        return answer->chunked = is(value, length, "chunked");
    if (is(line, name, "Connection"))
        answer->close = is(value, length, "close") || (answer->http_1_0 && !is(value, length, "keep-alive"));
    else if (is(line, name, "Retry-After") && !decimal_parse(value, length, 0, 86400, &answer->retry_after))
        answer->retry_after = -1; /* a date, which usher never sends */
    return true;
}

/* After the empty line that ends the headers. */
static bool end_headers(struct http_answer *answer)
{
    if (answer->status < 200) { /* 100 Continue and its kin: the real answer follows */
        http_begin(answer);
        return true;
    }
    if (answer->chunked && answer->has_length)
        return false; /* two lengths: somebody on the way is confused */
    if (answer->status == 204 || answer->status == 304)
        answer->part = HTTP_COMPLETE;
    else if (answer->chunked)
        answer->part = HTTP_CHUNK_SIZE;
    else if (answer->has_length)
        answer->part = answer->left > 0 ? HTTP_BODY : HTTP_COMPLETE;
    else {
        answer->part = HTTP_BODY_REST;
        answer->close = true;
    }
    return true;
}

static bool read_chunk_size(struct http_answer *answer)
{
    size_t digits = strspn(answer->line, "0123456789abcdefABCDEF");
    char after = answer->line[digits];
    if (digits == 0 || digits > 8 || (after != '\0' && after != ';' && after != ' '))
        return false;
    answer->left = strtoull(answer->line, NULL, 16);
    answer->part = answer->left > 0 ? HTTP_CHUNK : HTTP_TRAILERS;
    return answer->left <= CHUNK_MAX;
}

static bool read_line(struct http_answer *answer)
{
    bool empty = answer->line[0] == '\0';
    switch (answer->part) {
    case HTTP_STATUS_LINE:
        return read_status_line(answer);
    case HTTP_HEADERS:
        return empty ? end_headers(answer) : read_header(answer);
    case HTTP_CHUNK_SIZE:
        return read_chunk_size(answer);
    case HTTP_CHUNK_END:
        answer->part = HTTP_CHUNK_SIZE;
        return empty;
    default: /* trailers, which say nothing to us */
        if (empty)
            answer->part = HTTP_COMPLETE;
        return ++answer->headers <= HTTP_HEADERS_MAX;
    }
}

/* Collects a line that may come in pieces; reads it when it is complete. */
static bool feed_line(struct http_answer *answer, const char *bytes, size_t length, size_t *used)
{
    const char *end = memchr(bytes, '\n', length);
    size_t part = end ? (size_t)(end - bytes) : length;
    *used += end ? part + 1 : part;
    if (answer->line_length + part >= HTTP_LINE_MAX || memchr(bytes, '\0', part))
        return false;
    memcpy(answer->line + answer->line_length, bytes, part);
    answer->line_length += part;
    if (!end)
        return true;
    if (answer->line_length > 0 && answer->line[answer->line_length - 1] == '\r')
        answer->line_length--;
    answer->line[answer->line_length] = '\0';
    answer->line_length = 0;
    return read_line(answer);
}

/* ---- bodies ---- */

static bool add_to_body(struct http_answer *answer, const char *bytes, size_t length)
{
    size_t wanted = answer->length + length;
    if (wanted > HTTP_BODY_MAX)
        return false;
    if (wanted > answer->capacity) {
        size_t grown = answer->part == HTTP_BODY ? answer->length + (size_t)answer->left : 2 * wanted;
        answer->body = realloc(answer->body, grown);
        if (!answer->body) {
            log_error("out of memory");
            abort();
        }
        answer->capacity = grown;
    }
    memcpy(answer->body + answer->length, bytes, length);
    answer->length = wanted;
    return true;
}

static bool feed_body(struct http_answer *answer, const char *bytes, size_t length, size_t *used)
{
    bool rest = answer->part == HTTP_BODY_REST;
    size_t part = !rest && answer->left < length ? (size_t)answer->left : length;
    *used += part;
    if (!add_to_body(answer, bytes, part))
        return false;
    if (rest)
        return true;
    answer->left -= part;
    if (answer->left == 0)
        answer->part = answer->part == HTTP_CHUNK ? HTTP_CHUNK_END : HTTP_COMPLETE;
    return true;
}

enum http_progress http_feed(struct http_answer *answer, const char *bytes, size_t length, size_t *used)
{
    bool good = true;
    *used = 0;
    while (good && *used < length && answer->part != HTTP_COMPLETE) {
        bool body = answer->part == HTTP_BODY || answer->part == HTTP_BODY_REST || answer->part == HTTP_CHUNK;
        const char *at = bytes + *used;
        good = body ? feed_body(answer, at, length - *used, used) : feed_line(answer, at, length - *used, used);
    }
    if (!good)
        return HTTP_BAD;
    return answer->part == HTTP_COMPLETE ? HTTP_DONE : HTTP_MORE;
}

enum http_progress http_closed(struct http_answer *answer)
{
    if (answer->part != HTTP_BODY_REST)
        return HTTP_BAD;
    answer->part = HTTP_COMPLETE;
    return HTTP_DONE;
}
