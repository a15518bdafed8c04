/* fastcgi: libfcgi between nginx and struct request; struct reply goes back in records of our own. */
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
#include <sys/uio.h>
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

struct fastcgi *fastcgi_new(void)
{
    setenv("LIBFCGI_OS_CLOSE_POLL_TIMEOUT", LIBFCGI_POLL_TIMEOUT, 0);
    setenv("LIBFCGI_IS_AF_UNIX_KEEPER_POLL_TIMEOUT", LIBFCGI_POLL_TIMEOUT, 0);
    struct fastcgi *fastcgi = calloc(1, sizeof *fastcgi);
    if (fastcgi == NULL)
        return NULL;
    if (FCGX_Init() != 0 || FCGX_InitRequest(&fastcgi->connection, -1, FCGI_FAIL_ACCEPT_ON_INTR) != 0) {
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

enum fastcgi_accepted fastcgi_accept(struct fastcgi *fastcgi, int listen_fd)
{
    fastcgi->connection.listen_sock = listen_fd;
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

/* ---- the reply, in records of our own: libfcgi would copy it once more and write it in pieces of 8 KiB ---- */

/* FastCGI 1.0, section 3.3. A record's content is at most 65535 bytes; this is the next multiple of 8 below. */
enum { FASTCGI_VERSION = 1, TYPE_END_REQUEST = 3, TYPE_STDOUT = 6, CONTENT_MAX = 65528, HEADER_SIZE = 8, RECORDS = 16 };

/* Records on their way: each is a header and up to two pieces of content. */
struct sender {
    int fd, request_id;
    bool good;
    int records, pieces;
    unsigned char headers[RECORDS][HEADER_SIZE];
    struct iovec parts[3 * RECORDS];
};

static void flush(struct sender *sender)
{
    struct iovec *part = sender->parts, *end = part + sender->pieces;
    while (sender->good && part < end) {
        ssize_t written = writev(sender->fd, part, (int)(end - part));
        if (written < 0 && errno == EINTR)
            continue;
        sender->good = written > 0;
        for (; part < end && written >= (ssize_t)part->iov_len; part++)
            written -= (ssize_t)part->iov_len;
        if (sender->good && part < end) {
            part->iov_base = (char *)part->iov_base + written;
            part->iov_len -= (size_t)written;
        }
    }
    sender->records = sender->pieces = 0;
}

static void add_piece(struct sender *sender, const void *bytes, size_t length)
{
    if (length > 0)
        sender->parts[sender->pieces++] = (struct iovec){(void *)(uintptr_t)bytes, length};
}

static void add_record(struct sender *sender, int type, const void *first, size_t first_length, const void *second,
                       size_t second_length)
{
    size_t length = first_length + second_length;
    if (sender->records == RECORDS)
        flush(sender);
    unsigned char *header = sender->headers[sender->records++];
    header[0] = FASTCGI_VERSION;
    header[1] = (unsigned char)type;
    header[2] = (unsigned char)(sender->request_id >> 8);
    header[3] = (unsigned char)sender->request_id;
    header[4] = (unsigned char)(length >> 8);
    header[5] = (unsigned char)length;
    header[6] = header[7] = 0; /* no padding */
    add_piece(sender, header, HEADER_SIZE);
    add_piece(sender, first, first_length);
    add_piece(sender, second, second_length);
}

/* head and body as one stream, and the end of the request. */
static bool send_reply(const FCGX_Request *connection, const struct buf *head, const char *body, size_t length)
{
    static const unsigned char complete[8] = {0}; /* application status 0, FCGI_REQUEST_COMPLETE */
    struct sender sender = {.fd = connection->ipcFd, .request_id = connection->requestId, .good = true};
    size_t head_sent = 0, body_sent = 0;
    while (head_sent < head->length || body_sent < length) {
        size_t of_head = head->length - head_sent, of_body = length - body_sent;
        of_head = of_head < CONTENT_MAX ? of_head : CONTENT_MAX;
        of_body = of_body < CONTENT_MAX - of_head ? of_body : CONTENT_MAX - of_head;
        add_record(&sender, TYPE_STDOUT, head->data + head_sent, of_head, body + body_sent, of_body);
        head_sent += of_head;
        body_sent += of_body;
    }
    add_record(&sender, TYPE_STDOUT, NULL, 0, NULL, 0);
    add_record(&sender, TYPE_END_REQUEST, complete, sizeof complete, NULL, 0);
    flush(&sender);
    return sender.good;
}

bool fastcgi_write(struct fastcgi *fastcgi, const struct request *request, const struct reply *reply)
{
    bool bodyless = reply->status == 204 || reply->status == 304;
    const char *body = reply->kept != NULL ? reply->kept : reply->body.data;
    size_t length = reply->kept != NULL ? reply->kept_length : reply->body.length;
    struct buf head;
    buf_init(&head, request->arena, reply->headers.length + 128);
    buf_puts(&head, "Status: ");
    buf_put_int(&head, reply->status);
    buf_putc(&head, ' ');
    buf_puts(&head, phrase_of(reply->status));
    buf_puts(&head, "\r\n");
    buf_add(&head, reply->headers.data, reply->headers.length);
    if (!bodyless) {
        buf_puts(&head, "Content-Length: ");
        buf_put_int(&head, (int64_t)length);
        buf_puts(&head, "\r\n");
    }
    buf_puts(&head, "\r\n");
    return send_reply(&fastcgi->connection, &head, body, bodyless || request->method == METHOD_HEAD ? 0 : length);
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
