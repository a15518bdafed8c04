/* transport: a FastCGI request without a socket. The code under test is src/server/fastcgi.c itself; only libfcgi's
 * streams are ours, over memory. */
#include "server/fastcgi.c" // NOLINT: its struct is needed, and nothing else opens it

#include "fuzz.h"

#include "base/error.h"
#include "base/json.h"

#include <ctype.h>
#include <strings.h>

enum { WINDOW = 8192 };

/* ---- streams ---- */

/* All bytes are there from the beginning. */
static void end_of_input(FCGX_Stream *stream)
{
    stream->isClosed = 1;
}

struct sink {
    struct buf bytes;
    unsigned char window[WINDOW];
};

static void take_window(FCGX_Stream *stream, int closing)
{
    struct sink *sink = stream->data;
    (void)closing;
    buf_add(&sink->bytes, sink->window, (size_t)(stream->wrNext - sink->window));
    stream->wrNext = sink->window;
    stream->stop = stream->rdNext = sink->window + sizeof sink->window;
}

static FCGX_Stream reader(const uint8_t *bytes, size_t length)
{
    static unsigned char none[1];
    unsigned char *at = bytes ? (unsigned char *)(uintptr_t)bytes : none;
    return (FCGX_Stream){
        .rdNext = at,
        .wrNext = at + length,
        .stop = at + length,
        .stopUnget = at,
        .isReader = 1,
        .fillBuffProc = end_of_input,
    };
}

static FCGX_Stream writer(struct sink *sink, struct arena *arena)
{
    buf_init(&sink->bytes, arena, 1024);
    FCGX_Stream stream = {.emptyBuffProc = take_window, .data = sink, .wrNext = sink->window};
    stream.stop = stream.rdNext = sink->window + sizeof sink->window;
    return stream;
}

/* ---- what a request must have become ---- */

static void check_text(const char *text, const char *what)
{
    REQUIRE(!text || strlen(text) < SIZE_MAX, what); /* reads to the NUL, which must be in bounds */
}

static void check_request(const struct request *request, const char *refusal)
{
    REQUIRE(request->path && request->path[0] == '/' && !strchr(request->path, '?'), "path");
    REQUIRE(request->query && request->body && request->method_name, "absent texts are empty");
    REQUIRE(is_request_id(request->id), "request id");
    REQUIRE(refusal || request->content_length > REQUEST_BODY_MAX || request->body_length == request->content_length,
            "a body that is cut off is refused");
    check_text(request->authorization, "authorization");
    check_text(request->queue_token, "queue token");
    check_text(request->idempotency_key, "idempotency key");
    check_text(request->if_none_match, "if-none-match");
    REQUIRE(request->body[request->body_length] == '\0', "the body ends in a NUL");
}

/* ---- what a reply must be ---- */

/* One header line at `at`, which ends at a CRLF; returns the next. */
static const char *check_header(const char *at, const char *end)
{
    const char *name = at;
    while (at < end && (isalnum((unsigned char)*at) || *at == '-'))
        at++;
    REQUIRE(at > name && at + 1 < end && at[0] == ':' && at[1] == ' ', "a header is \"Name: value\"");
    while (at < end && *at != '\r' && *at != '\n' && *at != '\0')
        at++;
    REQUIRE(at + 1 < end && at[0] == '\r' && at[1] == '\n', "no header holds a control character");
    return at + 2;
}

static size_t header_count(const char *head, size_t length, const char *name)
{
    size_t count = 0, name_length = strlen(name);
    for (const char *at = head; at + name_length < head + length;) {
        count += strncasecmp(at, name, name_length) == 0 && at[name_length] == ':';
        const char *line_end = memchr(at, '\n', (size_t)(head + length - at));
        at = line_end ? line_end + 1 : head + length;
    }
    return count;
}

static void check_body(const struct reply *reply, const struct request *request, const char *body, size_t length)
{
    struct json_object *object;
    bool none = reply->status == 204 || reply->status == 304 || request->method == METHOD_HEAD;
    REQUIRE(none == (length == 0), "a body where there must be one, and only there");
    if (none || stand_in_gave_page)
        return;
    REQUIRE(json_parse(request->arena, body, length, &object) == OK, "a body is a JSON object");
    if (reply->status >= 400) {
        int64_t status;
        const char *code;
        size_t code_length;
        REQUIRE(json_get_int(object, "status", 400, 599, &status) == JSON_FOUND && status == reply->status, "status");
        REQUIRE(json_get_string(object, "code", &code, &code_length) == JSON_FOUND && strcmp(code, reply->code) == 0,
                "code");
    }
}

static void check_reply(const struct reply *reply, const struct request *request, const struct buf *sent)
{
    const char *head = sent->data, *end = sent->data + sent->length;
    REQUIRE(strcmp(phrase_of(reply->status), "Unknown") != 0, "a status that has a phrase");
    const char *at = head;
    while (end - at >= 2 && memcmp(at, "\r\n", 2) != 0)
        at = check_header(at, end);
    REQUIRE(end - at >= 2, "an empty line ends the head");
    size_t head_length = (size_t)(at - head);
    REQUIRE(header_count(head, head_length, "Status") == 1, "one Status");
    REQUIRE(header_count(head, head_length, "Content-Type") <= 1, "one Content-Type");
    REQUIRE(header_count(head, head_length, "Content-Length") <= 1, "one Content-Length");
    check_body(reply, request, at + 2, (size_t)(end - at - 2));
}

int fuzz_exchange(char **parameters, const uint8_t *body, size_t length)
{
    struct fuzz_house *house = fuzz_house();
    static struct sink out, err;
    FCGX_Stream in = reader(body, length), to_client = writer(&out, house->arena), to_log = writer(&err, house->arena);
    struct fastcgi fastcgi = {
        .connection = {.in = &in, .out = &to_client, .err = &to_log, .envp = parameters},
    };
    struct request request;
    struct reply reply;

    const char *refusal = fastcgi_read(&fastcgi, house->arena, &request);
    check_request(&request, refusal);
    if (refusal)
        api_refuse(house->api, &request, E_INVALID_REQUEST, refusal, &reply);
    else
        api_handle(house->api, &request, &reply);
    REQUIRE(fastcgi_write(&fastcgi, &request, &reply), "the reply is sent");
    check_reply(&reply, &request, &out.bytes);
    return reply.status;
}
