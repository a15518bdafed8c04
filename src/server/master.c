/* master: one loop around sigtimedwait. All signals are blocked; each round takes at most one and then does what is
 * due.
 *
 * Workers come in generations. HUP makes a new generation with the new configuration; when all of it are ready it is
 * put in force and the older one is told to end. If one of it dies before, the reload is given up and nothing has
 * changed. */
#include "server/master.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "server/children.h"
#include "server/notify.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MILLISECOND INT64_C(1000)

struct master {
    struct config *config;      /* in force */
    struct config next;         /* of the coming generation */
    struct listener *listeners; /* LISTEN_COUNT */
    struct children *children;
    unsigned generation; /* in force */
    unsigned coming;     /* 0: not reloading */
    unsigned last;       /* the highest number ever given to a generation */
    bool announced;      /* the first generation is ready, and systemd knows */
    bool reload_wanted;  /* a HUP came; also while starting or reloading */
    bool stopping;
    int status; /* exit status, once stopping */
    int64_t last_look;
    int64_t watchdog_due;
};

/* Four for each processor: while one waits for PostgreSQL's disk others work (measured: ARCHITECTURE.md). PostgreSQL
 * takes 100 connections unless told otherwise, and others want some. */
enum { WORKERS_EACH = 4, WORKERS_AUTO_MAX = 80 };

static int worker_count(const struct config *config)
{
    cpu_set_t processors;
    if (config->workers > 0)
        return (int)config->workers;
    if (sched_getaffinity(0, sizeof processors, &processors) != 0)
        return 2;
    int workers = WORKERS_EACH * CPU_COUNT(&processors);
    return workers < WORKERS_AUTO_MAX ? workers : WORKERS_AUTO_MAX;
}

/* Longer than any honest request takes, in microseconds: a statement or a script may be tried again after a lost
 * connection, and connecting takes time, too. */
static int64_t stuck_after(const struct config *config)
{
    return (3 * config->statement_timeout + 4 * config->redis_timeout + 3000) * MILLISECOND;
}

/* --- ending and reloading --- */

static void stop(struct master *master, int status, int64_t now)
{
    if (master->stopping)
        return;
    master->stopping = true;
    master->status = status;
    notify_send("STOPPING=1\nSTATUS=finishing requests");
    log_notice("stopping");
    /* systemd keeps its sockets and who waits there; ours die with us, so who waits is answered first. */
    if (master->listeners[LISTEN_LINE].ours) {
        listen_unlink(master->listeners);
        children_drain(master->children);
    }
    FOR_EACH_CHILD (master->children, child)
        child_end(child, now);
}

static void announce(struct master *master, int count, const char *what)
{
    master->announced = true;
    log_notice("%s workers=%d", what, count);
    notify_send("READY=1\nSTATUS=%d workers answer", count);
}

/* The generation that is coming is there: it is put in force, the older ones end. */
static void reload_finish(struct master *master, int count, int64_t now)
{
    config_free(master->config);
    *master->config = master->next;
    master->generation = master->coming;
    master->coming = 0;
    log_set_level(options_log_level(master->config));
    FOR_EACH_CHILD (master->children, child)
        if (child->generation != master->generation)
            child_end(child, now);
    announce(master, count, "reloaded");
}

static void reload_give_up(struct master *master, int64_t now)
{
    log_error("reload given up, the old configuration stays in force: a new worker did not start");
    FOR_EACH_CHILD (master->children, child)
        if (child->generation == master->coming)
            child_end(child, now);
    config_free(&master->next);
    master->coming = 0;
    notify_send("READY=1\nSTATUS=reload failed, the old configuration is in force");
}

static void reload_begin(struct master *master, int64_t now)
{
    char message[CONFIG_MESSAGE_SIZE] = "";
    master->reload_wanted = false;
    if (!options_reload(&master->next, message)) {
        log_error("reload refused, the old configuration stays in force: %s", message);
        return;
    }
    if (strcmp(master->next.listen, master->config->listen) != 0 ||
        strcmp(master->next.listen_shop, master->config->listen_shop) != 0)
        log_warning("listen or listen_shop has changed: that takes effect at the next start, not at a reload");
    log_notice("reloading");
    notify_send("RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=starting new workers", (long long)now);
    master->coming = ++master->last;
    if (!children_want(master->children, master->coming, worker_count(&master->next))) {
        log_error("there is no room for new workers: too many old ones are still ending");
        reload_give_up(master, now);
    }
}

/* Announces and reloads when it is time to. */
static void advance(struct master *master, int64_t now)
{
    bool all;
    int count;
    if (master->stopping)
        return;
    if (!master->announced) {
        count = children_count_ready(master->children, master->generation, &all);
        if (all)
            announce(master, count, "ready");
    } else if (master->coming != 0) {
        count = children_count_ready(master->children, master->coming, &all);
        if (all)
            reload_finish(master, count, now);
    } else if (master->reload_wanted) {
        reload_begin(master, now);
    }
}

/* --- deaths --- */

static void log_death(const struct child *child, int status)
{
    if (WIFSIGNALED(status))
        log_error("worker died pid=%d signal=%d", (int)child->pid, WTERMSIG(status));
    else if (WEXITSTATUS(status) != 0)
        log_error("worker died pid=%d status=%d", (int)child->pid, WEXITSTATUS(status));
    else
        log_info("worker ended pid=%d", (int)child->pid);
}

static void bury(struct master *master, struct child *child, int status, int64_t now)
{
    log_death(child, status);
    if (child->state == CHILD_ENDING) {
        child->state = CHILD_NONE;
    } else if (child->generation == master->coming) {
        child->state = CHILD_NONE;
        reload_give_up(master, now);
    } else if (!master->announced && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_CONFIG) {
        child->state = CHILD_NONE;
        stop(master, EXIT_CONFIG, now);
    } else {
        int64_t delay = child_replace(child, now);
        if (delay > 0)
            log_warning("worker died young: the next one starts in %lld ms", (long long)(delay / MILLISECOND));
    }
}

static void reap(struct master *master, int64_t now)
{
    struct child *child;
    int status;
    while ((child = children_reap(master->children, &status)) != NULL)
        bury(master, child, status, now);
}

/* --- the loop --- */

static void start_due(struct master *master, int64_t now)
{
    FOR_EACH_CHILD (master->children, child)
        if (child->state == CHILD_WANTED && child->due <= now)
            child_start(master->children, child, child->generation == master->coming ? &master->next : master->config,
                        now);
}

static void look(struct master *master, int64_t now)
{
    if (now - master->last_look > 4 * CHILDREN_LOOK_PERIOD)
        children_forgive(master->children, now);
    master->last_look = now;
    children_look(master->children, stuck_after(master->config), now);
}

static void feed_watchdog(struct master *master, int64_t now)
{
    if (notify_watchdog_period() == 0 || now < master->watchdog_due)
        return;
    if (master->stopping || children_answering(master->children, now))
        notify_send("WATCHDOG=1");
    master->watchdog_due = now + notify_watchdog_period();
}

/* The signal that came, or 0 when something is due before one came. */
static int wait_signal(const struct master *master, const sigset_t *signals, int64_t now)
{
    int64_t latest = now + CHILDREN_LOOK_PERIOD;
    if (notify_watchdog_period() != 0 && master->watchdog_due < latest)
        latest = master->watchdog_due;
    int64_t duration = children_due(master->children, now, latest) - now;
    struct timespec timeout = {.tv_sec = duration / CLOCK_SECOND, .tv_nsec = duration % CLOCK_SECOND * 1000};
    int number = sigtimedwait(signals, NULL, &timeout);
    return number > 0 ? number : 0;
}

static void act_on(struct master *master, int number, int64_t now)
{
    if (number == SIGTERM || number == SIGQUIT || number == SIGINT)
        stop(master, EXIT_OK, now);
    else if (number == SIGHUP)
        master->reload_wanted = true;
    else if (number == SIGCHLD)
        reap(master, now);
}

static void loop(struct master *master, const sigset_t *signals)
{
    while (!master->stopping || children_left(master->children)) {
        int64_t now = clock_monotonic();
        start_due(master, now);
        look(master, now);
        advance(master, now);
        feed_watchdog(master, now);
        act_on(master, wait_signal(master, signals, now), clock_monotonic());
    }
}

/* --- beginning --- */

static const int blocked[] = {SIGTERM, SIGQUIT, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD};
#define BLOCKED_COUNT (sizeof blocked / sizeof blocked[0])

static void blocked_set(sigset_t *signals)
{
    sigemptyset(signals);
    for (size_t i = 0; i < BLOCKED_COUNT; i++)
        sigaddset(signals, blocked[i]);
}

/* Whoever started us may have left signals ignored or blocked. */
void master_block_signals(void)
{
    sigset_t signals;
    blocked_set(&signals);
    for (size_t i = 0; i < BLOCKED_COUNT; i++)
        signal(blocked[i], SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_SETMASK, &signals, NULL);
}

int master_run(struct config *config, struct listener listeners[static LISTEN_COUNT])
{
    struct master master = {
        .config = config,
        .listeners = listeners,
        .children = children_new(listeners),
        .generation = 1,
        .last = 1,
        .last_look = clock_monotonic(),
    };
    int count = worker_count(config);
    sigset_t signals;
    if (master.children == NULL || !children_want(master.children, master.generation, count)) {
        log_error("cannot start: no memory for the table of workers");
        return EXIT_FAILED;
    }
    blocked_set(&signals);
    log_notice("starting workers=%d pid=%d", count, (int)getpid());
    loop(&master, &signals);
    if (master.coming != 0)
        config_free(&master.next);
    children_free(master.children);
    log_notice("stopped");
    return master.status;
}
