/* notify: one datagram to $NOTIFY_SOCKET for each message; '@' at its beginning stands for the abstract namespace. */
#include "server/notify.h"

#include "base/encode.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_un address;
static socklen_t address_length; /* 0: nobody listens */
static int64_t watchdog_period;

int64_t notify_environment(const char *name)
{
    const char *text = getenv(name);
    int64_t value;
    return text != NULL && decimal_parse(text, strlen(text), 1, INT64_MAX, &value) ? value : 0;
}

void notify_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t length = path != NULL ? strlen(path) : 0;
    if (length > 1 && length < sizeof address.sun_path && (path[0] == '/' || path[0] == '@')) {
        address.sun_family = AF_UNIX;
        memcpy(address.sun_path, path, length);
        if (path[0] == '@')
            address.sun_path[0] = '\0';
        address_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    }
    int64_t pid = notify_environment("WATCHDOG_PID");
    if (pid == 0 || pid == getpid())
        watchdog_period = notify_environment("WATCHDOG_USEC") / 2;
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

int64_t notify_watchdog_period(void)
{
    return watchdog_period;
}

void notify_send(const char *format, ...)
{
    if (address_length == 0)
        return;
    char text[512];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= sizeof text)
        return;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    (void)sendto(fd, text, (size_t)length, MSG_NOSIGNAL, (const struct sockaddr *)&address, address_length);
    close(fd);
}
