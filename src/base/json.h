/* json: strict reading of small request bodies (json-c underneath) and writing of replies.
 *
 * Reading accepts one UTF-8 object of at most 16 levels and nothing after it, and refuses what json-c's parser lets
 * through: single quotes, NaN and Infinity, comments, duplicate keys; and \u0000, where C strings would end. An integer
 * outside int64_t is JSON like any other, so it is refused where it is read: JSON_OUT_OF_RANGE, never clamped. */
#ifndef USHER_BASE_JSON_H
#define USHER_BASE_JSON_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object; /* json-c's */

/* OK with *object (released with the arena), or E_MALFORMED_JSON. Text that is valid JSON but not an object at the top
 * is malformed too. */
enum error json_parse(struct arena *arena, const char *text, size_t length, struct json_object **object) MUST_CHECK;

enum json_find { JSON_FOUND, JSON_MISSING, JSON_WRONG_TYPE, JSON_OUT_OF_RANGE };

/* A member that must be an integer (written without fraction or exponent) from min to max. INT64_MIN itself is always
 * JSON_OUT_OF_RANGE, because json-c reads smaller numbers as that. *value is set only when JSON_FOUND. */
enum json_find json_get_int(struct json_object *object, const char *name, int64_t min, int64_t max,
                            int64_t *value) MUST_CHECK;
/* A member that must be a string; *value stays valid as long as the object. */
enum json_find json_get_string(struct json_object *object, const char *name, const char **value,
                               size_t *length) MUST_CHECK;
/* A member that must be an array of min_count to max_count integers from 1 to INT64_MAX, copied into the arena.
 * JSON_OUT_OF_RANGE for a wrong count or a number out of range, JSON_WRONG_TYPE for anything else. */
enum json_find json_get_ids(struct arena *arena, struct json_object *object, const char *name, size_t min_count,
                            size_t max_count, int64_t **ids, size_t *count) MUST_CHECK;

/* "text" with its quotes, escaped; text must be UTF-8 (invalid bytes become U+FFFD). text NULL writes null. */
void json_put_string(struct buf *buf, const char *text);
void json_put_string_n(struct buf *buf, const char *text, size_t length);
/* "2026-11-22T12:00:00.123Z" with quotes from microseconds; null for 0. */
void json_put_time(struct buf *buf, int64_t time);

#endif
