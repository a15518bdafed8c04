/* office: the api as a worker has it, with keys of its own and no server behind it: neither PostgreSQL nor Redis
 * answers. For tests of everything that is decided before they are asked. */
#ifndef USHER_T_UNIT_OFFICE_H
#define USHER_T_UNIT_OFFICE_H

#include "api/api.h"
#include "api/exchange.h"
#include "base/config.h"

struct office {
    char folder[64];
    struct config config;
    struct arena *arena;
    struct api *api;
    struct request request; /* a GET of "/" without anything; a test changes it before office_ask() */
    struct reply reply;
};

#define OFFICE_SECRET "a secret of the unit tests, 32 bytes and more"

void office_open(struct office *office);
void office_close(struct office *office);

/* Writes a file into the office's folder; its path lives as long as the arena. */
const char *office_file(struct office *office, const char *name, const void *bytes, size_t length);

/* "Bearer ..." with a good token of user. */
const char *office_bearer(struct office *office, int64_t user);
/* A queue token that is ours. Whether it is in the line only Redis could tell. */
const char *office_queue_token(struct office *office, int64_t user, int64_t ticket);

/* office->request through api_handle(). */
void office_ask(struct office *office);
/* The same for a method and a path. */
void office_get(struct office *office, enum method method, const char *path);

/* The reply's header as a whole line without CRLF, or NULL. */
const char *office_header(struct office *office, const char *name);
/* The reply's body, which must be JSON. */
struct json_object *office_body(struct office *office);
/* Asserts a problem document: status, code, type, title, detail and the request's id. */
void office_expect_problem(struct office *office, int status, const char *code);
/* A member of the body. */
const char *office_text(struct office *office, const char *name);
int64_t office_int(struct office *office, const char *name);

#endif
