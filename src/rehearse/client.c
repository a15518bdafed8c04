/* client: connections, and which request goes over which. */
#include "rehearse/client.h"

#include "base/clock.h"
#include "base/log.h"
#include "rehearse/http.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { EVENTS = 256, READ_SIZE = 256 * 1024, REQUEST_SIZE = 16 * 1024 };

struct connection {
    int fd;          /* -1: closed, and in the list of closed ones */
    bool connecting; /* the other side has not taken it yet */
    bool used;       /* has brought an answer before */
    bool heard;      /* something of this answer has come */
    struct ask *ask; /* NULL: idle */
    char *unsent;    /* what the socket would not take; NULL: nothing */
    size_t unsent_at, unsent_length;
    struct http_answer answer;
    struct connection *next, *previous; /* in the list of the idle, of the closed (next only), or of those at work */
};

struct client {
    struct address address;
    int64_t timeout;
    int epoll;
    struct arena *arena; /* for writing a request */
    struct connection *connections;
    struct connection *idle, *closed;
    struct connection *oldest, *youngest; /* at work, in the order in which their requests went out */
    struct ask *first, *last;             /* the queue */
    struct client_state state;
    char *input;
};

/* ---- lists ---- */

static void work_begins(struct client *client, struct connection *connection)
{
    connection->previous = client->youngest;
    connection->next = NULL;
    *(client->youngest ? &client->youngest->next : &client->oldest) = connection;
    client->youngest = connection;
    client->state.working++;
}

static void work_ends(struct client *client, struct connection *connection)
{
    *(connection->previous ? &connection->previous->next : &client->oldest) = connection->next;
    *(connection->next ? &connection->next->previous : &client->youngest) = connection->previous;
    client->state.working--;
}

static void idle_begins(struct client *client, struct connection *connection)
{
    connection->previous = NULL;
    connection->next = client->idle;
    if (client->idle)
        client->idle->previous = connection;
    client->idle = connection;
}

static void idle_ends(struct client *client, struct connection *connection)
{
    *(connection->previous ? &connection->previous->next : &client->idle) = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
}

static void queue_at_end(struct client *client, struct ask *ask)
{
    ask->next = NULL;
    *(client->last ? &client->last->next : &client->first) = ask;
    client->last = ask;
    client->state.queued++;
}

static void queue_in_front(struct client *client, struct ask *ask)
{
    ask->next = client->first;
    client->first = ask;
    if (!client->last)
        client->last = ask;
    client->state.queued++;
}

static struct ask *queue_take(struct client *client)
{
    struct ask *ask = client->first;
    client->first = ask->next;
    if (!client->first)
        client->last = NULL;
    client->state.queued--;
    return ask;
}

/* ---- connections ---- */

static void watch(struct client *client, struct connection *connection, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(client->epoll, operation, connection->fd, &event) != 0) {
        log_error("epoll_ctl: %s", strerror(errno));
        abort();
    }
}

/* False with errno. */
static bool open_connection(struct client *client, struct connection *connection)
{
    const struct sockaddr *socket_address = (const struct sockaddr *)&client->address.socket;
    int one = 1;
    connection->fd = socket(socket_address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0)
        return false;
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connection->connecting = connect(connection->fd, socket_address, client->address.socket_length) != 0;
    if (connection->connecting && errno != EINPROGRESS) {
        int saved = errno;
        close(connection->fd);
        connection->fd = -1;
        errno = saved;
        return false;
    }
    connection->used = false;
    watch(client, connection, EPOLL_CTL_ADD, connection->connecting ? EPOLLIN | EPOLLOUT : EPOLLIN);
    client->state.open++;
    client->state.opened++;
    return true;
}

/* It must be in no list. */
static void close_connection(struct client *client, struct connection *connection)
{
    close(connection->fd);
    connection->fd = -1;
    free(connection->unsent);
    connection->unsent = NULL;
    http_free(&connection->answer);
    connection->next = client->closed;
    client->closed = connection;
    client->state.open--;
}

static void tell(struct ask *ask, struct answer *answer)
{
    int64_t now = clock_monotonic();
    answer->took = now - ask->sent;
    answer->whole = now - ask->wished;
    ask->done(ask, answer);
}

static void tell_failure(struct ask *ask, const char *why)
{
    struct answer answer = {.why = why, .retry_after = -1};
    tell(ask, &answer);
}

/* The connection is of no use any more; what it was working on fails, or goes out again. */
static void fail(struct client *client, struct connection *connection, const char *why, bool may_repeat)
{
    struct ask *ask = connection->ask;
    bool repeat = may_repeat && connection->used && !connection->heard && ask && !ask->again;
    if (ask)
        work_ends(client, connection);
    else
        idle_ends(client, connection);
    connection->ask = NULL;
    close_connection(client, connection);
    if (repeat) {
        ask->again = true;
        queue_in_front(client, ask);
    } else if (ask) {
        tell_failure(ask, why);
    }
}

/* ---- sending ---- */

static void send_unsent(struct client *client, struct connection *connection)
{
    while (connection->unsent_at < connection->unsent_length) {
        ssize_t sent = send(connection->fd, connection->unsent + connection->unsent_at,
                            connection->unsent_length - connection->unsent_at, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0) {
            fail(client, connection, strerror(errno), true);
            return;
        }
        connection->unsent_at += (size_t)sent;
    }
    free(connection->unsent);
    connection->unsent = NULL;
    watch(client, connection, EPOLL_CTL_MOD, EPOLLIN);
}

static void keep_unsent(struct client *client, struct connection *connection, const char *bytes, size_t length)
{
    char *copy = malloc(length);
    if (!copy) {
        log_error("out of memory");
        abort();
    }
    memcpy(copy, bytes, length);
    connection->unsent_at = 0;
    connection->unsent_length = length;
    connection->unsent = copy;
    watch(client, connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

/* Over a connection that is in no list. */
static void send_ask(struct client *client, struct connection *connection, struct ask *ask)
{
    struct buf request;
    buf_init(&request, client->arena, REQUEST_SIZE);
    ask->sent = clock_monotonic();
    ask->write(ask, &request);
    connection->ask = ask;
    connection->heard = false;
    http_begin(&connection->answer);
    work_begins(client, connection);
    ssize_t sent = 0;
    if (!connection->connecting) {
        sent = send(connection->fd, request.data, request.length, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
            sent = 0;
    }
    if (sent < 0)
        fail(client, connection, strerror(errno), true);
    else if ((size_t)sent < request.length)
        keep_unsent(client, connection, request.data + sent, request.length - (size_t)sent);
    arena_reset(client->arena);
}

/* Sends from the queue over whatever is free. */
static void serve_queue(struct client *client)
{
    while (client->first && (client->idle || client->closed)) {
        struct ask *ask = queue_take(client);
        struct connection *connection = client->idle;
        if (connection && !ask->again) {
            idle_ends(client, connection);
        } else if (client->closed) {
            connection = client->closed;
            client->closed = connection->next;
            if (!open_connection(client, connection)) {
                const char *why = strerror(errno);
                connection->next = client->closed;
                client->closed = connection;
                ask->sent = clock_monotonic();
                tell_failure(ask, why);
                continue;
            }
        } else {
            idle_ends(client, connection);
        }
        send_ask(client, connection, ask);
    }
}

void client_ask(struct client *client, struct ask *ask)
{
    ask->wished = clock_monotonic();
    ask->again = false;
    queue_at_end(client, ask);
    serve_queue(client);
}

/* ---- receiving ---- */

/* The answer is complete. The connection is free for others before whoever asked hears of it and asks again. */
static void complete(struct client *client, struct connection *connection)
{
    struct http_answer *http = &connection->answer;
    struct ask *ask = connection->ask;
    char *body = http->body;
    struct answer answer = {
        .status = http->status, .retry_after = http->retry_after, .body = body, .length = http->length};
    bool keep = !http->close;
    http->body = NULL;
    connection->ask = NULL;
    connection->used = true;
    work_ends(client, connection);
    if (keep)
        idle_begins(client, connection);
    else
        close_connection(client, connection);
    serve_queue(client);
    if (!answer.body)
        answer.body = "";
    tell(ask, &answer);
    free(body);
}

static void receive(struct client *client, struct connection *connection)
{
    size_t used;
    ssize_t got = recv(connection->fd, client->input, READ_SIZE, 0);
    if (got < 0) {
        if (errno != EAGAIN && errno != EINTR)
            fail(client, connection, strerror(errno), true);
        return;
    }
    if (!connection->ask) { /* closed by the server, or an answer that nobody asked for */
        fail(client, connection, "", false);
        return;
    }
    if (got == 0) {
        if (connection->heard && http_closed(&connection->answer) == HTTP_DONE)
            complete(client, connection);
        else
            fail(client, connection, "the server closed the connection without an answer", true);
        return;
    }
    connection->heard = true;
    enum http_progress progress = http_feed(&connection->answer, client->input, (size_t)got, &used);
    if (progress == HTTP_BAD || (progress == HTTP_DONE && used < (size_t)got))
        fail(client, connection, "the answer is not proper HTTP", false);
    else if (progress == HTTP_DONE)
        complete(client, connection);
}

static void finish_connecting(struct client *client, struct connection *connection)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        fail(client, connection, strerror(error), false);
        return;
    }
    connection->connecting = false;
    connection->ask->sent = clock_monotonic(); /* the way there is not the server's time */
    send_unsent(client, connection);
}

static void handle(struct client *client, struct connection *connection, uint32_t events)
{
    if (connection->fd < 0)
        return; /* closed by what came before it in the same batch */
    if (connection->connecting) {
        if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
            finish_connecting(client, connection);
        return;
    }
    if (events & EPOLLOUT && connection->unsent) {
        send_unsent(client, connection);
        if (connection->fd < 0)
            return;
    }
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
        receive(client, connection);
}

static void end_overdue(struct client *client)
{
    int64_t limit = clock_monotonic() - client->timeout;
    while (client->oldest && client->oldest->ask->sent < limit)
        fail(client, client->oldest, "no answer in time", false);
}

void client_wait(struct client *client, int64_t microseconds)
{
    struct epoll_event events[EVENTS];
    int64_t ms = microseconds <= 0 ? 0 : (microseconds + 999) / 1000;
    int count = epoll_wait(client->epoll, events, EVENTS, ms > 1000 ? 1000 : (int)ms);
    for (int i = 0; i < count; i++)
        handle(client, events[i].data.ptr, events[i].events);
    end_overdue(client);
    serve_queue(client);
}

void client_forget_queue(struct client *client)
{
    client->first = client->last = NULL;
    client->state.queued = 0;
}

struct client_state client_state(const struct client *client)
{
    return client->state;
}

/* ---- beginning and end ---- */

struct client *client_new(const struct address *address, int connections, int64_t timeout)
{
    struct client *client = calloc(1, sizeof *client);
    if (!client)
        return NULL;
    *client = (struct client){.address = *address, .timeout = timeout, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    client->connections = calloc((size_t)connections, sizeof *client->connections);
    client->input = malloc(READ_SIZE);
    client->arena = arena_new((size_t)2 * REQUEST_SIZE);
    if (client->epoll < 0 || !client->connections || !client->input) {
        client_free(client);
        return NULL;
    }
    for (int i = connections - 1; i >= 0; i--) {
        client->connections[i].fd = -1;
        client->connections[i].next = client->closed;
        client->closed = &client->connections[i];
    }
    return client;
}

void client_free(struct client *client)
{
    if (!client)
        return;
    for (struct connection *next, *connection = client->oldest; connection; connection = next) {
        next = connection->next;
        close_connection(client, connection);
    }
    for (struct connection *next, *connection = client->idle; connection; connection = next) {
        next = connection->next;
        close_connection(client, connection);
    }
    if (client->epoll >= 0)
        close(client->epoll);
    arena_free(client->arena);
    free(client->input);
    free(client->connections);
    free(client);
}
