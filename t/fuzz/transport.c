/* transport: a FastCGI request without a socket. The code under test is src/server/fastcgi.c itself; only what it
 * reads from and writes to is in memory. */
#include "server/fastcgi.c" // NOLINT: its struct is needed, and nothing else opens it

#include "fuzz.h"

#include "base/error.h"
#include "base/json.h"

#include <ctype.h>
#include <strings.h>
#include <sys/mman.h>

/* ---- what comes in: all bytes are there from the beginning ---- */

static void end_of_input(FCGX_Stream *stream)
{
    stream->isClosed = 1;
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

/* ---- what goes out: records, into a file in memory ---- */

enum { REQUEST_ID = 258 };

static int open_sink(void)
{
    static int fd = -1;
    if (fd < 0)
        fd = memfd_create("reply", MFD_CLOEXEC);
    REQUIRE(fd >= 0 && ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0, "a file in memory");
    return fd;
}

/* The content of all records of STDOUT: a stream, ended by an empty one, and then the end of the request. */
static void read_records(int fd, struct arena *arena, struct buf *stream)
{
    size_t size = (size_t)lseek(fd, 0, SEEK_CUR), at = 0, content = 1;
    unsigned char *bytes = arena_alloc(arena, size + 1);
    REQUIRE(pread(fd, bytes, size, 0) == (ssize_t)size, "what was written can be read");
    buf_init(stream, arena, size);
    while (content > 0) {
        REQUIRE(size - at >= HEADER_SIZE, "a record has a header");
        const unsigned char *header = bytes + at;
        content = (size_t)header[4] << 8 | header[5];
        REQUIRE(header[0] == 1 && header[1] == 6 && header[2] == 1 && header[3] == 2, "of the request's STDOUT");
        REQUIRE(header[6] == 0 && size - at - HEADER_SIZE >= content, "as long as it says");
        buf_add(stream, header + HEADER_SIZE, content);
        at += HEADER_SIZE + content;
    }
    static const unsigned char end[] = {1, 3, 1, 2, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    REQUIRE(size - at == sizeof end && memcmp(bytes + at, end, sizeof end) == 0, "the request's end is the last");
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
    FCGX_Stream in = reader(body, length);
    struct fastcgi fastcgi = {
        .connection = {.in = &in, .envp = parameters, .requestId = REQUEST_ID, .ipcFd = open_sink()},
    };
    struct buf sent;
    struct request request;
    struct reply reply;

    const char *refusal = fastcgi_read(&fastcgi, house->arena, &request);
    check_request(&request, refusal);
    if (refusal)
        api_refuse(house->api, &request, E_INVALID_REQUEST, refusal, &reply);
    else
        api_handle(house->api, &request, &reply);
    REQUIRE(fastcgi_write(&fastcgi, &request, &reply), "the reply is sent");
    read_records(fastcgi.connection.ipcFd, house->arena, &sent);
    check_reply(&reply, &request, &sent);
    return reply.status;
}
