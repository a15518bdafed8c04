/* crash: places in a test build where a process can be killed, to prove that being cut off anywhere does no harm.
 *
 * A point is named "phase:step": the phase is before, sent or after (a call to PostgreSQL or Redis), the step is the
 * name of the statement or script. So every step that reaches a server has its points by itself. In other builds there
 * are none. */
#ifndef USHER_BASE_CRASH_H
#define USHER_BASE_CRASH_H

#ifdef USHER_TEST_HOOKS
/* Kills this process with SIGKILL when the file named by USHER_TEST_CRASH holds this point's name; the file is removed
 * first, so that it happens once. With "phase:step pause" in the file the process stops (SIGSTOP) instead. Before that
 * the point's name is appended, as a line, to the file named by USHER_TEST_CRASH_TRACE if that exists. */
void crash_point(const char *phase, const char *step);
#else
static inline void crash_point(const char *phase, const char *step)
{
    (void)phase;
    (void)step;
}
#endif

#endif
