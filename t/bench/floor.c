/* floor: what a request costs at least. A pre-forked libfcgi program that accepts as usher-server does, makes the Redis
 * and SQL round trips of the operation and answers with as many bytes; no identity, no routes, no log, no retries. It
 * writes through libfcgi, which copies a long answer in pieces of 8 KiB: usher itself does not, so where answers are
 * long (concerts, seats) it may come out above this floor.
 *
 * REQUEST_URI is /floor/OPERATION/NUMBER[/NUMBER...]: poll issue page seats refused hold pay charge. */
#include <errno.h>
#include <fcgiapp.h>
#include <getopt.h>
#include <hiredis/hiredis.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NUMBERS = 4, BODIES = 4, BODY_MAX = 1 << 20, SHA1_TEXT = 41 };

struct settings {
    const char *socket, *redis, *database, *scripts, *folder;
    int workers;
    bool quick;
};

struct script {
    const char *name;
    char sha1[SHA1_TEXT];
};

enum { SCRIPT_ISSUE, SCRIPT_HOLD, SCRIPT_GATE, SCRIPTS };
static struct script scripts[SCRIPTS] = {{.name = "issue"}, {.name = "hold"}, {.name = "gate"}};

/* What usher has said of a schedule's seats. */
struct body {
    long long schedule;
    char *text;
    int length;
};

struct floor {
    FCGX_Request request;
    redisContext *redis;
    PGconn *pg;
    const char *folder; /* of the bodies */
    struct body bodies[BODIES];
    long long numbers[NUMBERS];
    char head[512];
};

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "floor: %s: %s\n", what, why);
    exit(1);
}

/* ---- answers: as long as usher's own, whose length rows.pl compares ---- */

#define JSON(status) "Status: " status "\r\nContent-Type: application/json\r\nCache-Control: private, no-store\r\n"
#define WHEN         "2026-01-01T00:00:00.000Z"

/* Header lines but Content-Length, which is known when the body is. */
static void head(struct floor *floor, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void answer(struct floor *floor, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void head(struct floor *floor, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(floor->head, sizeof floor->head, format, args);
    va_end(args);
}

static void send_body(struct floor *floor, const char *body, int length)
{
    char last[40];
    int last_length = snprintf(last, sizeof last, "Content-Length: %d\r\n\r\n", length);
    FCGX_PutS(floor->head, floor->request.out);
    FCGX_PutStr(last, last_length, floor->request.out);
    FCGX_PutStr(body, length, floor->request.out);
}

static void answer(struct floor *floor, const char *format, ...)
{
    char body[2048];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(body, sizeof body, format, args);
    va_end(args);
    send_body(floor, body, length);
}

static void broken(struct floor *floor, const char *why)
{
    fprintf(stderr, "floor: %s\n", why);
    head(floor, "Status: 500 Internal Server Error\r\n");
    send_body(floor, "", 0);
}

/* ---- round trips ---- */

static redisReply *take(struct floor *floor)
{
    void *reply = NULL;
    if (redisGetReply(floor->redis, &reply) != REDIS_OK)
        fail("redis", floor->redis->errstr);
    return reply;
}

/* {whole numbers, ...} of a reply; an error or a nil is -1. */
static void read_numbers(const redisReply *reply, long long *first, long long *second)
{
    const redisReply *a = reply, *b = NULL;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2) {
        a = reply->element[0];
        b = reply->element[1];
    }
    *first = a->type == REDIS_REPLY_INTEGER ? a->integer : -1;
    *second = b && b->type == REDIS_REPLY_INTEGER ? b->integer : -1;
}

static long long run_redis(struct floor *floor, int count, const char **words, long long *second)
{
    size_t lengths[16];
    long long first;
    for (int i = 0; i < count; i++)
        lengths[i] = strlen(words[i]);
    redisAppendCommandArgv(floor->redis, count, words, lengths);
    redisReply *reply = take(floor);
    read_numbers(reply, &first, second);
    freeReplyObject(reply);
    return first;
}

/* One prepared statement with numbers in and one number out; -1 when it failed. */
static long long run_sql(struct floor *floor, const char *name, int count, const long long *numbers)
{
    char text[NUMBERS][24];
    const char *values[NUMBERS];
    for (int i = 0; i < count; i++) {
        snprintf(text[i], sizeof text[i], "%lld", numbers[i]);
        values[i] = text[i];
    }
    PGresult *result = PQexecPrepared(floor->pg, name, count, values, NULL, NULL, 0);
    long long number = -1;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1)
        number = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    else
        fprintf(stderr, "floor: %s", PQerrorMessage(floor->pg));
    PQclear(result);
    return number;
}

/* ---- operations ---- */

static void put_place(struct floor *floor, long long ticket, long long position)
{
    answer(floor,
           "{\"token\":\"0123456789012345678901\",\"status\":\"waiting\",\"ticket\":%lld,\"position\":%lld,"
           "\"estimated_wait_seconds\":%lld,\"poll_after_seconds\":60,\"issued_at\":\"" WHEN
           "\",\"active_until\":null}",
           ticket, position, position / 10);
}

static void poll_place(struct floor *floor)
{
    char user[24];
    long long none;
    snprintf(user, sizeof user, "%lld", floor->numbers[0]);
    const char *words[] = {"ZRANK", "q:{main}:waiting", user};
    long long rank = run_redis(floor, 3, words, &none);
    if (rank < 0) {
        broken(floor, "not in the line");
        return;
    }
    head(floor, JSON("200 OK") "Retry-After: 60\r\n");
    put_place(floor, floor->numbers[0], rank);
}

static void issue(struct floor *floor)
{
    char user[24];
    long long waiting;
    snprintf(user, sizeof user, "%lld", floor->numbers[0]);
    const char *words[] = {"EVALSHA",
                           scripts[SCRIPT_ISSUE].sha1,
                           "5",
                           "q:{main}:tokens",
                           "q:{main}:waiting",
                           "q:{main}:admission",
                           "q:{main}:events",
                           "q:{main}:seq",
                           user};
    long long ticket = run_redis(floor, 9, words, &waiting);
    if (ticket < 0) {
        broken(floor, "no ticket");
        return;
    }
    head(floor, JSON("201 Created") "Location: /v1/queue/tokens/me\r\nRetry-After: 60\r\n");
    put_place(floor, ticket, waiting);
}

static void send_read(struct floor *floor, const char *body, int length)
{
    head(floor, JSON("200 OK"));
    send_body(floor, body, length);
}

/* The check and the page in one pipeline. */
static void page(struct floor *floor)
{
    redisAppendCommand(floor->redis, "ZSCORE q:{main}:active %lld", floor->numbers[0]);
    redisAppendCommand(floor->redis, "GET floor:page");
    redisReply *score = take(floor), *body = take(floor);
    if (score->type != REDIS_REPLY_STRING || body->type != REDIS_REPLY_STRING)
        broken(floor, "not admitted, or no page");
    else
        send_read(floor, body->str, (int)body->len);
    freeReplyObject(score);
    freeReplyObject(body);
}

static char *read_file(const char *path, int *length)
{
    FILE *file = fopen(path, "re");
    char *text = malloc(BODY_MAX);
    if (!file || !text)
        fail(path, strerror(errno));
    *length = (int)fread(text, 1, BODY_MAX - 1, file);
    text[*length] = '\0';
    fclose(file);
    return text;
}

/* From FOLDER/SCHEDULE.body, read once. */
static const struct body *body_of(struct floor *floor, long long schedule)
{
    char path[4096];
    struct body *body = floor->bodies;
    while (body < floor->bodies + BODIES && body->schedule && body->schedule != schedule)
        body++;
    if (body == floor->bodies + BODIES)
        fail("seats", "too many schedules");
    if (!body->schedule) {
        snprintf(path, sizeof path, "%s/%lld.body", floor->folder, schedule);
        body->text = read_file(path, &body->length);
        body->schedule = schedule;
    }
    return body;
}

static void seats(struct floor *floor)
{
    const struct body *body = body_of(floor, floor->numbers[1]);
    redisReply *score = redisCommand(floor->redis, "ZSCORE q:{main}:active %lld", floor->numbers[0]);
    if (!score || score->type != REDIS_REPLY_STRING)
        broken(floor, "not admitted");
    else
        send_read(floor, body->text, body->length);
    freeReplyObject(score);
}

static long long claim(struct floor *floor)
{
    char user[24], key[64], seat[24];
    long long none;
    snprintf(user, sizeof user, "%lld", floor->numbers[0]);
    snprintf(key, sizeof key, "floor:%lld:seats", floor->numbers[1]);
    snprintf(seat, sizeof seat, "%lld", floor->numbers[2]);
    const char *words[] = {"EVALSHA", scripts[SCRIPT_HOLD].sha1, "2", "q:{main}:active", key, user, seat};
    return run_redis(floor, 7, words, &none);
}

static void refused(struct floor *floor)
{
    if (claim(floor) != 0) {
        broken(floor, "not admitted, or the seat was free");
        return;
    }
    head(floor,
         "Status: 409 Conflict\r\nContent-Type: application/problem+json\r\nCache-Control: private, no-store\r\n");
    answer(floor,
           "{\"type\":\"/problems/seat-unavailable\",\"title\":\"A seat is already taken\",\"status\":409,"
           "\"detail\":\"A seat is already taken.\",\"code\":\"seat-unavailable\","
           "\"trace_id\":\"01234567890123456789012345678901\",\"conflicting_seat_ids\":[%lld]}",
           floor->numbers[2]);
}

static void hold(struct floor *floor)
{
    long long id = claim(floor) == 1 ? run_sql(floor, "hold", 3, floor->numbers) : -1;
    if (id < 0) {
        broken(floor, "no hold");
        return;
    }
    head(floor, JSON("201 Created") "Location: /v1/reservations/%lld\r\n", id);
    answer(floor,
           "{\"id\":%lld,\"schedule_id\":%lld,\"status\":\"held\",\"total_price\":50000,\"currency\":\"KRW\","
           "\"reserved_at\":\"" WHEN "\",\"expires_at\":\"" WHEN "\",\"expires_in_seconds\":300,\"completed_at\":null,"
           "\"tickets\":[{\"id\":%lld,\"seat_id\":%lld,\"location\":\"A-123\",\"price\":50000}]}",
           id, floor->numbers[1], id, floor->numbers[2]);
}

static void pay(struct floor *floor)
{
    char user[24];
    long long none;
    snprintf(user, sizeof user, "%lld", floor->numbers[0]);
    const char *words[] = {"EVALSHA", scripts[SCRIPT_GATE].sha1, "1", "q:{main}:active", user};
    long long balance = run_redis(floor, 5, words, &none) == 1 ? run_sql(floor, "pay", 2, floor->numbers) : -1;
    if (balance < 0) {
        broken(floor, "no payment");
        return;
    }
    head(floor, JSON("201 Created") "Location: /v1/payments/%lld\r\n", floor->numbers[1]);
    answer(floor,
           "{\"id\":%lld,\"reservation_id\":%lld,\"price\":50000,\"currency\":\"KRW\",\"balance\":%lld,"
           "\"paid_at\":\"" WHEN "\"}",
           floor->numbers[1], floor->numbers[1], balance);
}

static void charge(struct floor *floor)
{
    long long numbers[] = {floor->numbers[0], 100};
    long long balance = run_sql(floor, "charge", 2, numbers);
    if (balance < 0) {
        broken(floor, "no charge");
        return;
    }
    head(floor, JSON("201 Created"));
    answer(floor, "{\"id\":%lld,\"amount\":100,\"balance\":%lld,\"currency\":\"KRW\",\"charged_at\":\"" WHEN "\"}",
           floor->numbers[0], balance);
}

static const struct operation {
    const char *name;
    void (*run)(struct floor *floor);
} operations[] = {
    {"poll", poll_place}, {"issue", issue}, {"page", page}, {"seats", seats},
    {"refused", refused}, {"hold", hold},   {"pay", pay},   {"charge", charge},
};

/* ---- the worker ---- */

static void handle(struct floor *floor)
{
    static const char prefix[] = "/floor/";
    char body[16385];
    const char *uri = FCGX_GetParam("REQUEST_URI", floor->request.envp);
    FCGX_GetStr(body, sizeof body, floor->request.in); /* all, and that it is all: see finish() */
    if (!uri || strncmp(uri, prefix, sizeof prefix - 1) != 0) {
        broken(floor, "not a floor's address");
        return;
    }
    uri += sizeof prefix - 1;
    size_t name = strcspn(uri, "/");
    const char *rest = uri + name;
    for (int i = 0; i < NUMBERS && *rest == '/'; i++)
        floor->numbers[i] = strtoll(rest + 1, (char **)(void *)&rest, 10);
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        if (strlen(operations[i].name) == name && memcmp(uri, operations[i].name, name) == 0) {
            operations[i].run(floor);
            return;
        }
    }
    broken(floor, "no such operation");
}

/* As libfcgi does it: it shuts down, waits for nginx and reads on. With -q as usher-server (src/server/fastcgi.c),
 * which closes at once where all input is read: a floor below the floor. */
static void finish(FCGX_Request *request, bool quick)
{
    if (!quick) {
        FCGX_Finish_r(request);
        return;
    }
    FCGX_FClose(request->err);
    FCGX_FClose(request->out);
    bool all_read = FCGX_HasSeenEOF(request->in) == EOF && request->ipcFd >= 0;
    if (all_read) {
        close(request->ipcFd);
        request->ipcFd = -1;
    }
    FCGX_Free(request, !all_read);
}

static void load_script(struct floor *floor, const char *folder, struct script *script)
{
    char path[4096];
    int length;
    snprintf(path, sizeof path, "%s/%s.lua", folder, script->name);
    char *text = read_file(path, &length);
    redisReply *reply = redisCommand(floor->redis, "SCRIPT LOAD %s", text);
    if (!reply || reply->type != REDIS_REPLY_STRING)
        fail(path, reply ? reply->str : floor->redis->errstr);
    snprintf(script->sha1, sizeof script->sha1, "%s", reply->str);
    freeReplyObject(reply);
    free(text);
}

static void open_stores(struct floor *floor, const struct settings *settings)
{
    static const char *const statements[][2] = {
        {"hold", "SELECT floor.hold($1, $2, $3)"},
        {"pay", "SELECT floor.pay($1, $2)"},
        {"charge", "SELECT floor.charge($1, $2)"},
    };
    floor->redis = redisConnectUnix(settings->redis);
    if (!floor->redis || floor->redis->err)
        fail(settings->redis, "cannot connect");
    for (int i = 0; i < SCRIPTS; i++)
        load_script(floor, settings->scripts, &scripts[i]);
    floor->pg = PQconnectdb(settings->database);
    if (PQstatus(floor->pg) != CONNECTION_OK)
        fail("database", PQerrorMessage(floor->pg));
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        PGresult *result = PQprepare(floor->pg, statements[i][0], statements[i][1], 0, NULL);
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
            fail(statements[i][1], PQerrorMessage(floor->pg));
        PQclear(result);
    }
    floor->folder = settings->folder;
}

/* As usher-server: epoll with EXCLUSIVE, signals only while waiting. */
static void serve(int listener, const struct settings *settings)
{
    struct floor *floor = calloc(1, sizeof *floor);
    if (!floor)
        fail("memory", strerror(errno));
    open_stores(floor, settings);
    FCGX_Init();
    FCGX_InitRequest(&floor->request, listener, FCGI_FAIL_ACCEPT_ON_INTR);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE};
    sigset_t open;
    sigemptyset(&open);
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        epoll_pwait(epoll, &event, 1, 1000, &open);
        if (FCGX_Accept_r(&floor->request) != 0)
            continue;
        handle(floor);
        finish(&floor->request, settings->quick);
    }
}

static void end(int number)
{
    (void)number;
    _exit(0);
}

static int open_listener(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    umask(0117);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4096) != 0)
        fail(path, strerror(errno));
    return fd;
}

static bool read_settings(int argc, char **argv, struct settings *settings)
{
    for (int option; (option = getopt(argc, argv, "s:w:r:d:l:b:q")) != -1;) {
        if (option == 'w')
            settings->workers = (int)strtol(optarg, NULL, 10);
        else if (option == 'q')
            settings->quick = true;
        else if (option == '?')
            return false;
        else
            *(option == 's'   ? &settings->socket
              : option == 'r' ? &settings->redis
              : option == 'd' ? &settings->database
              : option == 'l' ? &settings->scripts
                              : &settings->folder) = optarg;
    }
    return settings->socket && settings->redis && settings->database && settings->scripts && settings->folder;
}

int main(int argc, char **argv)
{
    struct settings settings = {.workers = 2};
    if (!read_settings(argc, argv, &settings)) {
        fputs("Usage: floor [-q] -s SOCKET -w WORKERS -r REDIS-SOCKET -d DATABASE -l FOLDER-OF-SCRIPTS -b "
              "FOLDER-OF-BODIES\n",
              stderr);
        return 64;
    }
    setenv("LIBFCGI_OS_CLOSE_POLL_TIMEOUT", "200", 0);
    setenv("LIBFCGI_IS_AF_UNIX_KEEPER_POLL_TIMEOUT", "200", 0);
    int listener = open_listener(settings.socket);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, end);
    for (int i = 0; i < settings.workers; i++) {
        pid_t child = fork();
        if (child < 0)
            fail("fork", strerror(errno));
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGTERM);
            serve(listener, &settings);
        }
    }
    int status;
    pid_t gone = wait(&status);
    fprintf(stderr, "floor: worker %d ended\n", (int)gone);
    return 1;
}
