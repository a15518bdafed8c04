/* crash: see the header. Nothing of it is in a production build. */
#include "base/crash.h"

#ifdef USHER_TEST_HOOKS

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void crash_point(const char *phase, const char *step)
{
    const char *path = getenv("USHER_TEST_CRASH");
    FILE *file = path ? fopen(path, "re") : NULL;
    char wanted[128] = "", here[128];
    if (!file)
        return;
    if (!fgets(wanted, sizeof wanted, file))
        wanted[0] = '\0';
    fclose(file);
    wanted[strcspn(wanted, "\n")] = '\0';
    snprintf(here, sizeof here, "%s:%s", phase, step);
    size_t length = strlen(here);
    if (strncmp(wanted, here, length) != 0 || (wanted[length] != '\0' && wanted[length] != ' '))
        return;
    if (unlink(path) != 0)
        return; /* another process was quicker */
    kill(getpid(), wanted[length] == ' ' ? SIGSTOP : SIGKILL);
}

#else
typedef int crash_is_not_in_this_build;
#endif
