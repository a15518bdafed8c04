/* listen: socket(), bind() and listen() on unix sockets, or the descriptors that systemd passes. */
#include "server/listen.h"

#include "base/log.h"
#include "server/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* The kernel caps it at net.core.somaxconn; a full queue is an instant 502 in nginx. */
#define BACKLOG 4096

/* sd_listen_fds(3): the first passed descriptor. */
#define SYSTEMD_FIRST_FD 3

static bool is_listening_unix_stream(int fd)
{
    int type = 0;
    int domain = 0;
    int listening = 0;
    socklen_t size = sizeof(int);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM &&
           getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening != 0;
}

static bool take_one_from_systemd(struct listener *listener, int fd, char *message)
{
    if (!is_listening_unix_stream(fd)) {
        snprintf(message, CONFIG_MESSAGE_SIZE,
                 "systemd passes no listening unix socket: the socket unit needs ListenStream=/path and Accept=no");
        return false;
    }
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) {
        snprintf(message, CONFIG_MESSAGE_SIZE, "cannot prepare the socket passed by systemd: %s", strerror(errno));
        return false;
    }
    listener->fd = fd;
    return true;
}

static bool take_from_systemd(struct listener *listeners, int64_t count, char *message)
{
    if (count > LISTEN_COUNT) {
        snprintf(message, CONFIG_MESSAGE_SIZE,
                 "systemd passes %lld sockets: the socket unit has at most %d ListenStream=, the line's and the shop's",
                 (long long)count, LISTEN_COUNT);
        return false;
    }
    for (int i = 0; i < count; i++) {
        if (!take_one_from_systemd(&listeners[i], SYSTEMD_FIRST_FD + i, message))
            return false;
    }
    log_info("listening sockets=systemd count=%lld", (long long)count);
    return true;
}

/* Whoever tests and replaces a socket file holds this lock on its folder, so that two servers started at once cannot
 * both find the file stale. Returns the descriptor to close, or -1. */
static int lock_folder(const char *path, char *message)
{
    char folder[sizeof((struct listener *)0)->path];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL)
        snprintf(folder, sizeof folder, ".");
    else if (slash == folder)
        folder[1] = '\0';
    else
        *slash = '\0';
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        snprintf(message, CONFIG_MESSAGE_SIZE, "cannot open the folder %s of the socket: %s", folder, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

/* Makes way for a new socket file: nothing there, or a socket that nobody listens on. */
static bool remove_stale(const struct sockaddr_un *address, char *message)
{
    struct stat info;
    if (lstat(address->sun_path, &info) != 0) {
        if (errno == ENOENT)
            return true;
        snprintf(message, CONFIG_MESSAGE_SIZE, "cannot look at %s: %s", address->sun_path, strerror(errno));
        return false;
    }
    if (!S_ISSOCK(info.st_mode)) {
        snprintf(message, CONFIG_MESSAGE_SIZE, "%s exists and is not a socket: remove it or set another path",
                 address->sun_path);
        return false;
    }
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0) {
        snprintf(message, CONFIG_MESSAGE_SIZE, "cannot make a socket: %s", strerror(errno));
        return false;
    }
    int result = connect(probe, (const struct sockaddr *)address, sizeof *address);
    int error = errno;
    close(probe);
    if (result == 0 || error != ECONNREFUSED) {
        snprintf(message, CONFIG_MESSAGE_SIZE, "%s is in use (%s): is another usher-server running? Stop it first",
                 address->sun_path, result == 0 ? "somebody answers" : strerror(error));
        return false;
    }
    if (unlink(address->sun_path) != 0) {
        snprintf(message, CONFIG_MESSAGE_SIZE, "cannot remove the stale socket %s: %s", address->sun_path,
                 strerror(errno));
        return false;
    }
    log_notice("removed stale socket path=%s", address->sun_path);
    return true;
}

static bool bind_and_listen(struct listener *listener, const struct sockaddr_un *address, char *message)
{
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0) {
        snprintf(message, CONFIG_MESSAGE_SIZE, "cannot make a socket: %s", strerror(errno));
        return false;
    }
    mode_t mask = umask(0117); /* 0660 from the first moment on */
    int result = bind(listener->fd, (const struct sockaddr *)address, sizeof *address);
    int error = errno;
    umask(mask);
    if (result != 0) {
        snprintf(message, CONFIG_MESSAGE_SIZE, "cannot make the socket %s: %s", address->sun_path, strerror(error));
        return false;
    }
    struct stat info;
    if (listen(listener->fd, BACKLOG) != 0 || lstat(address->sun_path, &info) != 0) {
        snprintf(message, CONFIG_MESSAGE_SIZE, "cannot listen on %s: %s", address->sun_path, strerror(errno));
        return false;
    }
    listener->ours = true;
    listener->device = info.st_dev;
    listener->inode = info.st_ino;
    return true;
}

static void warn_short_queue(void)
{
    FILE *file = fopen("/proc/sys/net/core/somaxconn", "re");
    long value;
    if (file == NULL)
        return;
    if (fscanf(file, "%ld", &value) == 1 && value < BACKLOG)
        log_warning("short connection queue: set net.core.somaxconn to %d, it is %ld", BACKLOG, value);
    fclose(file);
}

static bool make_own(struct listener *listener, const char *path, char *message)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path[0] == '\0' || strlen(path) >= sizeof address.sun_path) {
        snprintf(message, CONFIG_MESSAGE_SIZE, "listen must be a path of 1 to %zu bytes, as listen_shop if it is set",
                 sizeof address.sun_path - 1);
        return false;
    }
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    snprintf(listener->path, sizeof listener->path, "%s", path);
    int lock = lock_folder(path, message);
    if (lock < 0)
        return false;
    bool made = remove_stale(&address, message) && bind_and_listen(listener, &address, message);
    close(lock);
    if (!made && listener->fd >= 0) {
        close(listener->fd);
        listener->fd = -1;
    }
    if (made)
        log_info("listening socket=%s", path);
    return made;
}

static bool make_all(struct listener *listeners, const struct config *config, char *message)
{
    warn_short_queue();
    bool shop = config->listen_shop[0] != '\0';
    if (shop && strcmp(config->listen, config->listen_shop) == 0) {
        snprintf(message, CONFIG_MESSAGE_SIZE, "listen_shop must be empty or another path than listen");
        return false;
    }
    if (!make_own(&listeners[LISTEN_LINE], config->listen, message))
        return false;
    if (!shop || make_own(&listeners[LISTEN_SHOP], config->listen_shop, message))
        return true;
    listen_unlink(listeners);
    close(listeners[LISTEN_LINE].fd);
    listeners[LISTEN_LINE].fd = -1;
    return false;
}

bool listen_open(struct listener listeners[static LISTEN_COUNT], const struct config *config,
                 char message[static CONFIG_MESSAGE_SIZE])
{
    for (int i = 0; i < LISTEN_COUNT; i++)
        listeners[i] = (struct listener){.fd = -1};
    int64_t pid = notify_environment("LISTEN_PID");
    int64_t count = notify_environment("LISTEN_FDS");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (pid == getpid() && count > 0)
        return take_from_systemd(listeners, count, message);
    return make_all(listeners, config, message);
}

static void unlink_own(struct listener *listener)
{
    struct stat info;
    if (!listener->ours)
        return;
    listener->ours = false;
    if (lstat(listener->path, &info) == 0 && info.st_dev == listener->device && info.st_ino == listener->inode)
        unlink(listener->path);
}

void listen_unlink(struct listener listeners[static LISTEN_COUNT])
{
    for (int i = 0; i < LISTEN_COUNT; i++)
        unlink_own(&listeners[i]);
}
