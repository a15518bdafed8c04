/* http: an HTTP/1.1 answer, read as it comes in, in whatever pieces. Knows nothing of sockets. */
#ifndef USHER_REHEARSE_HTTP_H
#define USHER_REHEARSE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_LINE_MAX = 8192, HTTP_HEADERS_MAX = 200 };
#define HTTP_BODY_MAX ((size_t)256 << 20)

enum http_progress { HTTP_MORE, HTTP_DONE, HTTP_BAD };

/* Parts of an answer; private but for tests. */
enum http_part {
    HTTP_STATUS_LINE,
    HTTP_HEADERS,
    HTTP_BODY,      /* `left` more bytes */
    HTTP_BODY_REST, /* until the other side closes */
    HTTP_CHUNK_SIZE,
    HTTP_CHUNK, /* `left` more bytes of this chunk */
    HTTP_CHUNK_END,
    HTTP_TRAILERS,
    HTTP_COMPLETE
};

struct http_answer {
    int status;
    bool close;          /* the connection ends with this answer */
    int64_t retry_after; /* seconds; -1: not said */
    char *body;          /* NULL when length is 0; not NUL-terminated */
    size_t length;

    size_t capacity;
    enum http_part part;
    bool chunked, has_length, http_1_0;
    uint64_t left;
    int headers;
    size_t line_length;
    char line[HTTP_LINE_MAX];
};

/* For the first answer of a connection, and for each one after it; keeps no body. */
void http_begin(struct http_answer *answer);
/* Reads on. *used: how many of the bytes belong to this answer. HTTP_BAD: this is not HTTP as it should be; the
 * connection is of no use any more. */
enum http_progress http_feed(struct http_answer *answer, const char *bytes, size_t length, size_t *used)
    __attribute__((warn_unused_result));
/* The other side has closed: HTTP_DONE if that ends the answer properly, else HTTP_BAD. */
enum http_progress http_closed(struct http_answer *answer) __attribute__((warn_unused_result));
/* Frees the body. */
void http_free(struct http_answer *answer);

#endif
