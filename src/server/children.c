/* children: the processes behind the table, and the memory in which they beat. */
#include "server/children.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MILLISECOND INT64_C(1000)

#define START_PERIOD  (10 * MILLISECOND)    /* between two looks while somebody is starting */
#define ENDING_GRACE  (10000 * MILLISECOND) /* from TERM to KILL */
#define YOUNG_AGE     (2000 * MILLISECOND)  /* who dies younger is replaced with a delay */
#define RESPAWN_FIRST (100 * MILLISECOND)   /* the first such delay; it doubles with each young death in a row */
#define RESPAWN_LAST  (5000 * MILLISECOND)  /* and ends here */
#define BEAT_FRESH    (2 * WORKER_BEAT_PERIOD)

/* Child i writes its signs of life into slots[i]. */
struct children_shared {
    _Atomic bool drain;
    struct worker_slot slots[CHILD_MAX];
};

struct children *children_new(const struct listener listeners[static LISTEN_COUNT])
{
    struct children *children = calloc(1, sizeof *children);
    void *shared = mmap(NULL, sizeof(struct children_shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (children == NULL || shared == MAP_FAILED) {
        free(children);
        return NULL;
    }
    children->shared = shared;
    for (int i = 0; i < LISTEN_COUNT; i++)
        children->listen_fds[i] = listeners[i].fd;
    children->master = getpid();
    return children;
}

void children_free(struct children *children)
{
    munmap(children->shared, sizeof *children->shared);
    free(children);
}

static struct worker_slot *slot_of(struct children *children, const struct child *child)
{
    return &children->shared->slots[child - children->table];
}

static int64_t beat_of(struct children *children, const struct child *child)
{
    return atomic_load_explicit(&slot_of(children, child)->beat, memory_order_relaxed);
}

static struct child *free_place(struct children *children)
{
    for (int i = 0; i < CHILD_MAX; i++)
        if (children->table[i].state == CHILD_NONE) {
            if (i >= children->high)
                children->high = i + 1;
            return &children->table[i];
        }
    return NULL;
}

bool children_want(struct children *children, unsigned generation, int count)
{
    for (int i = 0; i < count; i++) {
        struct child *child = free_place(children);
        if (child == NULL)
            return false;
        *child = (struct child){.state = CHILD_WANTED, .generation = generation};
    }
    return true;
}

static bool is_among(const int *fds, int fd)
{
    for (int i = 0; i < LISTEN_COUNT; i++) {
        if (fds[i] == fd)
            return true;
    }
    return false;
}

static int largest(const int *fds)
{
    int fd = STDERR_FILENO;
    for (int i = 0; i < LISTEN_COUNT; i++)
        fd = fds[i] > fd ? fds[i] : fd;
    return fd;
}

/* In the new process: keeps nothing of the master's but the standard descriptors and the sockets. */
static void close_others(const int *listen_fds)
{
    for (int fd = STDERR_FILENO + 1; fd <= largest(listen_fds); fd++) {
        if (!is_among(listen_fds, fd))
            close(fd);
    }
    close_range((unsigned)largest(listen_fds) + 1, ~0U, 0);
}

static int run(struct children *children, const struct child *child, const struct config *config)
{
    struct worker_options options = {
        .config = config,
        .listen_fds = children->listen_fds,
        .master = children->master,
        .slot = slot_of(children, child),
        .drain = &children->shared->drain,
    };
    close_others(options.listen_fds);
    return worker_run(&options);
}

void child_start(struct children *children, struct child *child, const struct config *config, int64_t now)
{
    atomic_store(&slot_of(children, child)->beat, now);
    atomic_store(&slot_of(children, child)->ready, false);
    pid_t pid = fork();
    if (pid == 0)
        exit(run(children, child, config));
    if (pid < 0) {
        log_error("cannot start a worker: %s", strerror(errno));
        child->due = now + RESPAWN_LAST;
        return;
    }
    child->pid = pid;
    child->state = CHILD_RUNNING;
    child->ready = false;
    child->killed = false;
    child->started = now;
    log_info("worker started pid=%d generation=%u", (int)pid, child->generation);
}

void child_end(struct child *child, int64_t now)
{
    if (child->state == CHILD_WANTED)
        child->state = CHILD_NONE;
    if (child->state != CHILD_RUNNING)
        return;
    child->state = CHILD_ENDING;
    child->due = now + ENDING_GRACE;
    kill(child->pid, SIGTERM);
}

static void child_kill(struct child *child)
{
    child->killed = true;
    kill(child->pid, SIGKILL);
}

int64_t child_replace(struct child *child, int64_t now)
{
    int64_t delay = 0;
    child->young_deaths = now - child->started < YOUNG_AGE ? child->young_deaths + 1 : 0;
    if (child->young_deaths > 0)
        delay = RESPAWN_FIRST;
    for (unsigned i = 1; i < child->young_deaths && delay < RESPAWN_LAST; i++)
        delay *= 2;
    if (delay > RESPAWN_LAST)
        delay = RESPAWN_LAST;
    child->state = CHILD_WANTED;
    child->ready = false;
    child->due = now + delay;
    return delay;
}

struct child *children_reap(struct children *children, int *status)
{
    pid_t pid;
    while ((pid = waitpid(-1, status, WNOHANG)) > 0)
        FOR_EACH_CHILD (children, child)
            if (child->pid == pid && (child->state == CHILD_RUNNING || child->state == CHILD_ENDING))
                return child;
    return NULL;
}

static void look_at(struct children *children, struct child *child, int64_t limit, int64_t now)
{
    if (child->state == CHILD_RUNNING && atomic_load(&slot_of(children, child)->ready))
        child->ready = true;
    if (child->killed)
        return;
    if (child->state == CHILD_RUNNING && now - beat_of(children, child) > limit) {
        log_error("worker stuck pid=%d: no sign of life for %lld ms, killed", (int)child->pid,
                  (long long)(limit / MILLISECOND));
        child_kill(child);
    } else if (child->state == CHILD_ENDING && now >= child->due) {
        log_error("worker did not end pid=%d: killed", (int)child->pid);
        child_kill(child);
    }
}

void children_look(struct children *children, int64_t limit, int64_t now)
{
    FOR_EACH_CHILD (children, child)
        look_at(children, child, limit, now);
}

void children_forgive(struct children *children, int64_t now)
{
    FOR_EACH_CHILD (children, child)
        if (child->state == CHILD_RUNNING)
            atomic_store(&slot_of(children, child)->beat, now);
}

bool children_left(struct children *children)
{
    FOR_EACH_CHILD (children, child)
        if (child->state != CHILD_NONE)
            return true;
    return false;
}

int children_count_ready(struct children *children, unsigned generation, bool *all)
{
    int count = 0;
    *all = true;
    FOR_EACH_CHILD (children, child) {
        if (child->generation != generation || child->state == CHILD_NONE)
            continue;
        if (child->state == CHILD_RUNNING && child->ready)
            count++;
        else
            *all = false;
    }
    return count;
}

bool children_answering(struct children *children, int64_t now)
{
    FOR_EACH_CHILD (children, child)
        if (child->state == CHILD_RUNNING && child->ready && now - beat_of(children, child) < BEAT_FRESH)
            return true;
    return false;
}

int64_t children_due(struct children *children, int64_t now, int64_t latest)
{
    int64_t due = latest;
    FOR_EACH_CHILD (children, child) {
        if ((child->state == CHILD_WANTED || (child->state == CHILD_ENDING && !child->killed)) && child->due < due)
            due = child->due;
        if (child->state == CHILD_RUNNING && !child->ready && now + START_PERIOD < due)
            due = now + START_PERIOD;
    }
    return due > now ? due : now;
}

void children_drain(struct children *children)
{
    atomic_store(&children->shared->drain, true);
}
