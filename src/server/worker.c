/* worker: waits for a connection, answers its one request, waits again. Who has been let in comes first, but not so
 * that the line would stand still.
 *
 * Signals: TERM, QUIT, HUP and USR1 are blocked always but in epoll_pwait, so that none can interrupt libfcgi's reads
 * and cut a body short. INT stays blocked: Ctrl-C reaches the whole foreground group, and the master decides. */
#include "server/worker.h"

#include "api/api.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/options.h"
#include "server/fastcgi.h"
#include "server/listen.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

/* First block of the request arena: holds an ordinary request with its reply. */
#define ARENA_BLOCK ((size_t)64 * 1024)

/* So many of the shop's requests in a row, then one of the line's, if somebody waits there. */
#define SHOP_RUN 2

struct worker {
    const struct worker_options *options;
    struct fastcgi *fastcgi;
    struct api *api;
    struct arena *arena;
    int epoll;
    int shop_run;       /* the shop's requests since one of the line's */
    sigset_t wait_mask; /* in force while waiting: TERM, QUIT, HUP and USR1 open */
};

static volatile sig_atomic_t stop_wanted;

static void on_stop(int number)
{
    (void)number;
    stop_wanted = 1;
}

static void on_nothing(int number)
{
    (void)number;
}

static void handle(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

/* Before FCGX_Init, which leaves handlers alone that are neither default nor ignored. */
static void set_up_signals(sigset_t *wait_mask)
{
    handle(SIGTERM, on_stop);
    handle(SIGQUIT, on_stop);
    handle(SIGHUP, on_nothing);
    handle(SIGUSR1, on_nothing);
    handle(SIGPIPE, on_nothing);

    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    *wait_mask = mask;
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGQUIT);
    sigaddset(&mask, SIGHUP);
    sigaddset(&mask, SIGUSR1);
    sigprocmask(SIG_SETMASK, &mask, NULL);
}

static void beat(const struct worker *worker)
{
    atomic_store_explicit(&worker->options->slot->beat, clock_monotonic(), memory_order_relaxed);
}

static void beat_from_api(void *worker)
{
    beat(worker);
}

/* Told to stop by a signal that came in epoll_pwait, or by one that is pending: epoll_pwait delivers none as long as it
 * has events to report, so under load it would never end. */
static bool must_stop(void)
{
    sigset_t pending;
    return stop_wanted ||
           (sigpending(&pending) == 0 && (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGQUIT) == 1));
}

static bool open_epoll(struct worker *worker)
{
    worker->epoll = epoll_create1(EPOLL_CLOEXEC);
    bool good = worker->epoll >= 0;
    for (int i = 0; good && i < LISTEN_COUNT; i++) {
        /* EXCLUSIVE: a connection wakes one worker, not all of them. */
        struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.u32 = (uint32_t)i};
        int fd = worker->options->listen_fds[i];
        good = fd < 0 || epoll_ctl(worker->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
    }
    if (!good)
        log_error("worker cannot wait for connections: %s", strerror(errno));
    return good;
}

static int worker_open(struct worker *worker)
{
    char message[CONFIG_MESSAGE_SIZE] = "";
    worker->api = api_new(worker->options->config, message);
    if (worker->api == NULL) {
        log_error("worker cannot start: %s", message);
        return EXIT_CONFIG;
    }
    api_on_progress(worker->api, beat_from_api, worker);
    worker->arena = arena_new(ARENA_BLOCK);
    worker->fastcgi = fastcgi_new();
    if (worker->fastcgi == NULL) {
        log_error("worker cannot start: libfcgi does not initialise");
        return EXIT_FAILED;
    }
    return open_epoll(worker) ? EXIT_OK : EXIT_FAILED;
}

static void worker_close(struct worker *worker)
{
    if (worker->epoll >= 0)
        close(worker->epoll);
    fastcgi_free(worker->fastcgi);
    api_free(worker->api);
    arena_free(worker->arena);
}

static void log_request(const struct request *request, const struct reply *reply)
{
    char method[32];
    char route[128];
    char code[64];
    char user[24] = "-";
    if (reply->user != 0)
        snprintf(user, sizeof user, "%" PRId64, reply->user);
    log_info("request id=%s user=%s method=%s route=%s status=%d code=%s us=%" PRId64 " queue_us=%" PRId64, request->id,
             user, log_quote(request->method_name, method, sizeof method),
             log_quote(reply->route != NULL ? reply->route : "-", route, sizeof route), reply->status,
             log_quote(reply->code != NULL ? reply->code : "-", code, sizeof code),
             clock_monotonic() - request->started, request->queued);
}

static void answer(struct worker *worker)
{
    struct request request;
    struct reply reply = {.route = "-", .code = "-"};
    beat(worker);
    const char *refusal = fastcgi_read(worker->fastcgi, worker->arena, &request);
    if (refusal == NULL)
        api_handle(worker->api, &request, &reply);
    else
        api_refuse(worker->api, &request, E_INVALID_REQUEST, refusal, &reply);
    if (!fastcgi_write(worker->fastcgi, &request, &reply))
        log_debug("client gone before the end of its reply id=%s", request.id);
    log_request(&request, &reply);
    fastcgi_finish(worker->fastcgi);
    arena_reset(worker->arena);
    beat(worker);
}

static enum fastcgi_accepted answer_from(struct worker *worker, int which)
{
    if (worker->options->listen_fds[which] < 0)
        return FASTCGI_NONE;
    enum fastcgi_accepted accepted = fastcgi_accept(worker->fastcgi, worker->options->listen_fds[which]);
    if (accepted == FASTCGI_REQUEST) {
        worker->shop_run = which == LISTEN_SHOP ? worker->shop_run + 1 : 0;
        answer(worker);
    } else if (accepted == FASTCGI_FAILED) {
        log_error("worker cannot accept connections: %s", strerror(errno));
    }
    return accepted;
}

/* Answers one of those who wait at the sockets, if there is one. */
static enum fastcgi_accepted answer_next(struct worker *worker)
{
    int first = worker->shop_run < SHOP_RUN ? LISTEN_SHOP : LISTEN_LINE;
    enum fastcgi_accepted accepted = answer_from(worker, first);
    if (accepted == FASTCGI_NONE)
        accepted = answer_from(worker, first == LISTEN_SHOP ? LISTEN_LINE : LISTEN_SHOP);
    return accepted;
}

/* Sleeps until somebody comes, a signal does, or it is time for a sign of life; and answers who came.
 *
 * A connection wakes one sleeper and counts on it. So what woke this one comes first, whichever socket it is at: were
 * it passed over for another that came meanwhile (and woke somebody else), it would wait in its queue beside workers
 * that sleep. Who was awake owes nothing to anybody and may choose. */
static enum fastcgi_accepted wait_and_answer(struct worker *worker)
{
    int timeout = (int)(WORKER_BEAT_PERIOD / 1000);
    struct epoll_event first;
    int events = epoll_pwait(worker->epoll, &first, 1, timeout, &worker->wait_mask);
    if (events > 0)
        return answer_from(worker, (int)first.data.u32);
    if (events == 0)
        api_idle(worker->api);
    if (events == 0 || errno == EINTR)
        return FASTCGI_NONE;
    log_error("worker cannot wait for connections: %s", strerror(errno));
    return FASTCGI_FAILED;
}

static int serve(struct worker *worker)
{
    while (!must_stop()) {
        beat(worker);
        enum fastcgi_accepted accepted = answer_next(worker);
        if (accepted == FASTCGI_NONE)
            accepted = wait_and_answer(worker);
        if (accepted == FASTCGI_FAILED)
            return EXIT_FAILED;
    }
    /* Nobody leaves without having looked: a connection may have woken it together with the signal. */
    for (int i = 0; i < LISTEN_COUNT; i++) {
        if (answer_from(worker, i) == FASTCGI_FAILED)
            return EXIT_FAILED;
    }
    while (atomic_load(worker->options->drain))
        if (answer_next(worker) != FASTCGI_REQUEST)
            break;
    return EXIT_OK;
}

int worker_run(const struct worker_options *options)
{
    struct worker worker = {.options = options, .epoll = -1};
    set_up_signals(&worker.wait_mask);
    prctl(PR_SET_NAME, "usher-worker");
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != options->master)
        return EXIT_FAILED; /* the master went before prctl */
    beat(&worker);
    int status = worker_open(&worker);
    if (status == EXIT_OK) {
        atomic_store(&options->slot->ready, true);
        status = serve(&worker);
    }
    worker_close(&worker);
    return status;
}
