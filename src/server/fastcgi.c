/* fastcgi: libfcgi's stream functions between nginx and struct request / struct reply. */
#include "server/fastcgi.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/random.h"

#include <errno.h>
#include <fcgiapp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fastcgi {
    FCGX_Request connection;
};

/* Milliseconds that libfcgi waits for the first byte after accept, and for the peer to close; its own default is 2000.
 */
#define LIBFCGI_POLL_TIMEOUT "200"

/* nginx gives a request up long before; what claims to have waited longer comes from a clock that stepped. */
#define QUEUED_MAX (60 * CLOCK_SECOND)

/* "" stands for "absent" in CGI: nginx sends CONTENT_TYPE and CONTENT_LENGTH without a value when there is none. */
struct parameters {
    const char *method;
    const char *uri;
    const char *content_length;
    const char *content_type;
    const char *authorization;
    const char *queue_token;
    const char *idempotency_key;
    const char *if_none_match;
    const char *request_id;
    const char *msec;
};

static const struct parameter {
    const char *name;
    size_t length;
    size_t offset; /* of the const char * in struct parameters */
} parameter_table[] = {
#define PARAMETER(name, field)                                                                                         \
    {                                                                                                                  \
        name, sizeof name - 1, offsetof(struct parameters, field)                                                      \
    }
    PARAMETER("REQUEST_METHOD", method),
    PARAMETER("REQUEST_URI", uri),
    PARAMETER("CONTENT_LENGTH", content_length),
    PARAMETER("CONTENT_TYPE", content_type),
    PARAMETER("HTTP_AUTHORIZATION", authorization),
    PARAMETER("HTTP_QUEUE_TOKEN", queue_token),
    PARAMETER("HTTP_IDEMPOTENCY_KEY", idempotency_key),
    PARAMETER("HTTP_IF_NONE_MATCH", if_none_match),
    PARAMETER("HTTP_X_REQUEST_ID", request_id),
    PARAMETER("REQUEST_MSEC", msec),
#undef PARAMETER
};
#define PARAMETER_COUNT (sizeof parameter_table / sizeof parameter_table[0])

static const struct {
    enum method method;
    const char *name;
} method_table[] = {
    {METHOD_GET, "GET"},
    {METHOD_HEAD, "HEAD"},
    {METHOD_POST, "POST"},
    {METHOD_DELETE, "DELETE"},
};

/* RFC 9110's phrases: without one nginx would send a status line that lacks the space after the number. */
static const struct {
    int status;
    const char *phrase;
} phrase_table[] = {
    {200, "OK"},
    {201, "Created"},
    {204, "No Content"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {409, "Conflict"},
    {410, "Gone"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {500, "Internal Server Error"},
    {503, "Service Unavailable"},
};

struct fastcgi *fastcgi_new(int listen_fd)
{
    setenv("LIBFCGI_OS_CLOSE_POLL_TIMEOUT", LIBFCGI_POLL_TIMEOUT, 0);
    setenv("LIBFCGI_IS_AF_UNIX_KEEPER_POLL_TIMEOUT", LIBFCGI_POLL_TIMEOUT, 0);
    struct fastcgi *fastcgi = calloc(1, sizeof *fastcgi);
    if (fastcgi == NULL)
        return NULL;
    if (FCGX_Init() != 0 || FCGX_InitRequest(&fastcgi->connection, listen_fd, FCGI_FAIL_ACCEPT_ON_INTR) != 0) {
        free(fastcgi);
        return NULL;
    }
    return fastcgi;
}

void fastcgi_free(struct fastcgi *fastcgi)
{
    if (fastcgi == NULL)
        return;
    FCGX_Free(&fastcgi->connection, 1);
    free(fastcgi);
}

enum fastcgi_accepted fastcgi_accept(struct fastcgi *fastcgi)
{
    int result = FCGX_Accept_r(&fastcgi->connection);
    if (result == 0)
        return FASTCGI_REQUEST;
    if (result == -EAGAIN || result == -EWOULDBLOCK || result == -EINTR)
        return FASTCGI_NONE;
    errno = result > -4096 ? -result : EIO;
    return FASTCGI_FAILED;
}

static const char **parameter_field(struct parameters *parameters, const struct parameter *parameter)
{
    return (const char **)(void *)((char *)parameters + parameter->offset);
}

/* Copies what parameter_table names out of envp ("NAME=value", ended by NULL). Headers that must occur once and occur
 * twice are refused; several If-None-Match make one list. */
static const char *read_parameters(char *const *envp, struct arena *arena, struct parameters *parameters)
{
    const char *refusal = NULL;
    for (; *envp != NULL; envp++) {
        for (size_t i = 0; i < PARAMETER_COUNT; i++) {
            const struct parameter *row = &parameter_table[i];
            if (strncmp(*envp, row->name, row->length) != 0 || (*envp)[row->length] != '=')
                continue;
            const char *value = *envp + row->length + 1;
            const char **field = parameter_field(parameters, row);
            if (*field == NULL)
                *field = arena_strdup(arena, value);
            else if (field == &parameters->if_none_match)
                *field = arena_printf(arena, "%s, %s", *field, value);
            else
                refusal = "A header that may occur only once was sent twice.";
            break;
        }
    }
    return refusal;
}

static enum method method_of(const char *name)
{
    for (size_t i = 0; i < sizeof method_table / sizeof method_table[0]; i++)
        if (strcmp(name, method_table[i].name) == 0)
            return method_table[i].method;
    return METHOD_OTHER;
}

static bool is_request_id(const char *text)
{
    static const char allowed[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-";
    size_t length = text != NULL ? strspn(text, allowed) : 0;
    return length >= 1 && length <= 64 && text[length] == '\0';
}

static const char *new_request_id(struct arena *arena)
{
    unsigned char bytes[16];
    char *text = arena_alloc(arena, 2 * sizeof bytes + 1);
    random_bytes(bytes, sizeof bytes);
    hex_encode(bytes, sizeof bytes, text);
    return text;
}

/* Splits REQUEST_URI at the first '?'. */
static void split_uri(struct arena *arena, const char *uri, struct request *request)
{
    const char *mark = strchr(uri, '?');
    request->path = mark == NULL ? uri : arena_strndup(arena, uri, (size_t)(mark - uri));
    request->query = mark == NULL ? "" : mark + 1;
}

/* Reads exactly content_length bytes and the end of the stream. Anything else means that the client went away or lied.
 */
static bool read_body(FCGX_Stream *in, struct arena *arena, struct request *request)
{
    size_t length = (size_t)request->content_length;
    char *body = arena_alloc(arena, length + 1);
    int got = FCGX_GetStr(body, (int)length + 1, in);
    if (got < 0 || (size_t)got != length || FCGX_GetError(in) != 0)
        return false;
    body[length] = '\0';
    request->body = body;
    request->body_length = length;
    return true;
}

static bool parse_content_length(const char *text, uint64_t *length)
{
    int64_t value = 0;
    if (text != NULL && text[0] != '\0' && !decimal_parse(text, strlen(text), 0, INT64_MAX, &value))
        return false;
    *length = (uint64_t)value;
    return true;
}

/* How long ago it was "seconds.milliseconds" since 1970, nginx' $msec when it handed the request over: it waits in the
 * socket until a worker is free, which a worker that measures only itself never sees. */
static int64_t time_since(const char *msec)
{
    const char *point = msec != NULL ? strchr(msec, '.') : NULL;
    int64_t seconds, milliseconds;
    if (point == NULL || strspn(point + 1, "0123456789") != 3 || point[4] != '\0' ||
        !decimal_parse(msec, (size_t)(point - msec), 0, INT64_MAX / CLOCK_SECOND - 1, &seconds))
        return 0;
    milliseconds = (point[1] - '0') * 100 + (point[2] - '0') * 10 + point[3] - '0';
    int64_t since = clock_wall() - seconds * CLOCK_SECOND - milliseconds * 1000;
    return since > 0 && since <= QUEUED_MAX ? since : 0;
}

static const char *decode(struct fastcgi *fastcgi, struct arena *arena, struct request *request)
{
    struct parameters parameters = {0};
    const char *refusal = read_parameters(fastcgi->connection.envp, arena, &parameters);

    request->method_name = parameters.method != NULL ? parameters.method : "";
    request->method = method_of(request->method_name);
    request->id = is_request_id(parameters.request_id) ? parameters.request_id : new_request_id(arena);
    request->authorization = parameters.authorization;
    request->queue_token = parameters.queue_token;
    request->idempotency_key = parameters.idempotency_key;
    request->if_none_match = parameters.if_none_match;
    request->queued = time_since(parameters.msec);
    request->content_type =
        parameters.content_type != NULL && parameters.content_type[0] != '\0' ? parameters.content_type : NULL;
    split_uri(arena, parameters.uri != NULL && parameters.uri[0] == '/' ? parameters.uri : "/", request);

    if (refusal != NULL)
        return refusal;
    if (request->method_name[0] == '\0')
        return "The request has no method.";
    if (parameters.uri == NULL || parameters.uri[0] != '/')
        return "The request's target must begin with '/'.";
    if (!parse_content_length(parameters.content_length, &request->content_length))
        return "Content-Length must be a decimal number.";
    if (request->content_length == 0)
        FCGX_GetChar(fastcgi->connection.in); /* the end of the stream, which is there already: see fastcgi_finish() */
    if (request->content_length == 0 || request->content_length > REQUEST_BODY_MAX)
        return NULL;
    return read_body(fastcgi->connection.in, arena, request) ? NULL : "The body is not as long as Content-Length says.";
}

const char *fastcgi_read(struct fastcgi *fastcgi, struct arena *arena, struct request *request)
{
    *request = (struct request){.arena = arena, .body = ""};
    const char *refusal = decode(fastcgi, arena, request);
    request->started = clock_monotonic();
    return refusal;
}

static const char *phrase_of(int status)
{
    for (size_t i = 0; i < sizeof phrase_table / sizeof phrase_table[0]; i++)
        if (phrase_table[i].status == status)
            return phrase_table[i].phrase;
    return "Unknown";
}

bool fastcgi_write(struct fastcgi *fastcgi, const struct request *request, const struct reply *reply)
{
    bool bodyless = reply->status == 204 || reply->status == 304;
    bool with_body = !bodyless && request->method != METHOD_HEAD;
    struct buf out;
    buf_init(&out, request->arena, reply->headers.length + (with_body ? reply->body.length : 0) + 128);
    buf_puts(&out, "Status: ");
    buf_put_int(&out, reply->status);
    buf_putc(&out, ' ');
    buf_puts(&out, phrase_of(reply->status));
    buf_puts(&out, "\r\n");
    buf_add(&out, reply->headers.data, reply->headers.length);
    if (!bodyless) {
        buf_puts(&out, "Content-Length: ");
        buf_put_int(&out, (int64_t)reply->body.length);
        buf_puts(&out, "\r\n");
    }
    buf_puts(&out, "\r\n");
    if (with_body)
        buf_add(&out, reply->body.data, reply->body.length);

    /* Closing err first leaves one write for the last of the reply and the end of the request together. */
    FCGX_Request *connection = &fastcgi->connection;
    bool sent = FCGX_PutStr(out.data, (int)out.length, connection->out) >= 0;
    sent = FCGX_FClose(connection->err) == 0 && sent;
    sent = FCGX_FClose(connection->out) == 0 && sent;
    return sent;
}

/* libfcgi would shut its side down, wait for the peer to close and read what is left: three system calls and a wait for
 * nginx. That is needed only where input is unread, since closing then resets the connection. */
void fastcgi_finish(struct fastcgi *fastcgi)
{
    FCGX_Request *connection = &fastcgi->connection;
    bool all_read = connection->in != NULL && FCGX_HasSeenEOF(connection->in) == EOF && connection->ipcFd >= 0;
    if (all_read) {
        close(connection->ipcFd);
        connection->ipcFd = -1;
    }
    FCGX_Free(connection, !all_read);
}
