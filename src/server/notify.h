/* notify: what systemd wants to hear (sd_notify(3)), without libsystemd. */
#ifndef USHER_SERVER_NOTIFY_H
#define USHER_SERVER_NOTIFY_H

#include <stdint.h>

/* Takes NOTIFY_SOCKET and WATCHDOG_USEC out of the environment. Without them the functions below do nothing. */
void notify_open(void);

/* Microseconds between two WATCHDOG=1, half of what systemd waits; 0: nobody waits. */
int64_t notify_watchdog_period(void);

/* Sends one datagram of newline-separated assignments: "READY=1\nSTATUS=...". Losing one is no error. */
void notify_send(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A number that systemd put into the environment (LISTEN_FDS and the like); 0 when absent or not a number. */
int64_t notify_environment(const char *name);

#endif
