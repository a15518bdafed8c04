/* crash: see the header. Nothing of it is in a production build. */
#include "base/crash.h"

#ifdef USHER_TEST_HOOKS

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One write, so that processes which trace into the same file do not mix their lines. */
static void trace(const char *here, size_t length)
{
    const char *path = getenv("USHER_TEST_CRASH_TRACE");
    int file = path ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
    char line[130];
    if (file < 0)
        return;
    memcpy(line, here, length);
    line[length] = '\n';
    if (write(file, line, length + 1) != (ssize_t)length + 1)
        abort(); /* a trace with holes would prove nothing */
    close(file);
}

static void crash(const char *here, size_t length)
{
    const char *path = getenv("USHER_TEST_CRASH");
    FILE *file = path ? fopen(path, "re") : NULL;
    char wanted[128] = "";
    if (!file)
        return;
    if (!fgets(wanted, sizeof wanted, file))
        wanted[0] = '\0';
    fclose(file);
    wanted[strcspn(wanted, "\n")] = '\0';
    if (strncmp(wanted, here, length) != 0 || (wanted[length] != '\0' && wanted[length] != ' '))
        return;
    if (unlink(path) != 0)
        return; /* another process was quicker */
    kill(getpid(), wanted[length] == ' ' ? SIGSTOP : SIGKILL);
}

void crash_point(const char *phase, const char *step)
{
    char here[128];
    int length = snprintf(here, sizeof here, "%s:%s", phase, step);
    if (length < 0 || (size_t)length >= sizeof here)
        abort();
    trace(here, (size_t)length);
    crash(here, (size_t)length);
}

#else
typedef int crash_is_not_in_this_build;
#endif
