/* api: the one door between server/ and everything behind it. */
#ifndef USHER_API_API_H
#define USHER_API_API_H

#include "api/reply.h"
#include "api/request.h"
#include "base/config.h"

#include <stdbool.h>

/* One worker's connections, keys and caches. Not shared between processes: make it after the fork. */
struct api;

/* Reads the key files, and connects lazily: an absent PostgreSQL or Redis is no error here. NULL with a sentence for
 * the operator in message (CONFIG_MESSAGE_SIZE bytes) when a key is unusable. */
struct api *api_new(const struct config *config, char *message) __attribute__((warn_unused_result));
void api_free(struct api *api);

/* Long work (restoring the line) calls alive(context) now and then, so that it is not taken for being stuck. */
void api_on_progress(struct api *api, void (*alive)(void *context), void *context);

/* For moments without a request: reads answers that nobody waited for. */
void api_idle(struct api *api);

/* Answers one request: always fills reply (whose buffers are in request->arena), whatever happens. */
void api_handle(struct api *api, const struct request *request, struct reply *reply);

/* A problem reply for a request that server/ itself must refuse (a short body: E_INVALID_REQUEST, with detail). */
void api_refuse(struct api *api, const struct request *request, int error, const char *detail, struct reply *reply);

#endif
