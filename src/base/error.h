/* error: every way an operation can end, as values. One table: name on the wire, HTTP status, title. */
#ifndef USHER_BASE_ERROR_H
#define USHER_BASE_ERROR_H

// clang-format off
/*      symbol                    code on the wire            status title */
#define ERROR_TABLE(ROW)                                                                                                 \
    ROW(INVALID_REQUEST,          "invalid-request",          400, "The request is not valid")                           \
    ROW(MALFORMED_JSON,           "malformed-json",           400, "The body is not valid JSON")                         \
    ROW(IDEMPOTENCY_KEY_REQUIRED, "idempotency-key-required", 400, "An Idempotency-Key header is required")              \
    ROW(UNAUTHENTICATED,          "unauthenticated",          401, "A valid bearer token is required")                   \
    ROW(QUEUE_TOKEN_REQUIRED,     "queue-token-required",     401, "A Queue-Token header is required")                   \
    ROW(QUEUE_TOKEN_INVALID,      "queue-token-invalid",      401, "The queue token is unknown, expired or used up")     \
    ROW(INSUFFICIENT_BALANCE,     "insufficient-balance",     402, "The balance does not cover the price")               \
    ROW(NOT_ADMITTED,             "not-admitted",             403, "It is not your turn yet")                            \
    ROW(QUEUE_TOKEN_MISMATCH,     "queue-token-mismatch",     403, "The queue token belongs to somebody else")           \
    ROW(NOT_FOUND,                "not-found",                404, "There is nothing here")                              \
    ROW(METHOD_NOT_ALLOWED,       "method-not-allowed",       405, "The method is not allowed here")                     \
    ROW(ALREADY_PAID,             "already-paid",             409, "The reservation is already paid")                    \
    ROW(BALANCE_LIMIT,            "balance-limit",            409, "The balance would exceed its limit")                 \
    ROW(IDEMPOTENCY_KEY_IN_USE,   "idempotency-key-in-use",   409, "The first request with this key is still running")   \
    ROW(QUEUE_PAUSED,             "queue-paused",             409, "The line is paused")                                 \
    ROW(RESERVATION_CANCELLED,    "reservation-cancelled",    409, "The reservation was cancelled")                      \
    ROW(SALES_CLOSED,             "sales-closed",             409, "The schedule is not open for reservation")           \
    ROW(SEAT_LIMIT,               "seat-limit",               409, "Too many seats for one person")                      \
    ROW(SEAT_UNAVAILABLE,         "seat-unavailable",         409, "A seat is already taken")                            \
    ROW(RESERVATION_EXPIRED,      "reservation-expired",      410, "The hold has expired")                               \
    ROW(CONTENT_TOO_LARGE,        "content-too-large",        413, "The body is too large")                              \
    ROW(UNSUPPORTED_MEDIA_TYPE,   "unsupported-media-type",   415, "The body must be application/json")                  \
    ROW(IDEMPOTENCY_KEY_REUSED,   "idempotency-key-reused",   422, "The key was used for another request")               \
    ROW(TOO_MANY_REQUESTS,        "too-many-requests",        429, "Too many requests")                                  \
    ROW(INTERNAL,                 "internal",                 500, "Something went wrong on our side")                   \
    ROW(UNAVAILABLE,              "unavailable",              503, "The service is temporarily unavailable")

enum error {
    OK = 0,
#define ERROR_SYMBOL(symbol, code, status, title) E_##symbol,
    ERROR_TABLE(ERROR_SYMBOL)
#undef ERROR_SYMBOL
    ERROR_COUNT
};
// clang-format on

/* A function that can fail returns enum error, and the caller must look. */
#define MUST_CHECK __attribute__((warn_unused_result))

const char *error_code(enum error error);  /* "seat-unavailable"; "ok" for OK */
int error_status(enum error error);        /* HTTP status; 200 for OK */
const char *error_title(enum error error); /* one sentence without a full stop */

#endif
