/* settings: what is to be rehearsed, from the command line. */
#ifndef USHER_REHEARSE_SETTINGS_H
#define USHER_REHEARSE_SETTINGS_H

#include "rehearse/address.h"
#include "rehearse/arrival.h"

#include <stdbool.h>
#include <stdint.h>

enum { SCHEDULES_MAX = 256 };

struct settings {
    bool calibrate; /* find the rate that the server carries, instead of playing an on-sale */
    struct address address;
    const char *url;
    const char *jwt_key_file, *tokens_file; /* exactly one of them */
    int64_t fans, first_user, seed;
    struct arrival arrival;
    const char *arrival_text;
    int64_t think;                        /* microseconds between a fan's steps, on the average */
    double no_shows, leavers, non_payers; /* shares of the fans, 0 to 1 */
    int64_t concert;                      /* 0: look for it */
    int64_t schedules[SCHEDULES_MAX];
    int schedule_count; /* 0: those that are open */
    int64_t seats;      /* each fan wants 1 to so many */
    double skew;        /* of the popularity of seats and concerts */
    int64_t connections;
    int64_t duration;   /* microseconds; 0: until the last fan has gone */
    const char *report; /* folder; NULL: none */
    bool json, quiet;
    int64_t p99;   /* microseconds: calibrate's target */
    int64_t step;  /* microseconds: how long calibrate tries a rate */
    int64_t polls; /* so often a fan asks for its place at least */
};

/* Reads argv; prints and exits by itself for --help, --version and errors. */
void settings_read(int argc, char **argv, struct settings *settings);

#endif
