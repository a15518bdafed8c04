/* encode: base64url and hex, strict; bounded decimal numbers; UTF-8. */
#ifndef USHER_BASE_ENCODE_H
#define USHER_BASE_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* base64url without padding (RFC 4648 section 5). Writes base64url_size(length) characters and a NUL. */
#define base64url_size(length) (((length)*4 + 2) / 3)
void base64url_encode(const void *bytes, size_t length, char *text);
/* False for a character outside the alphabet, a length of 4n+1, nonzero left-over bits, or more than capacity bytes;
 * bytes may then hold a part. */
bool base64url_decode(const char *text, size_t text_length, void *bytes, size_t capacity, size_t *length)
    __attribute__((warn_unused_result));

/* Lower-case hex of length bytes and a NUL. */
void hex_encode(const void *bytes, size_t length, char *text);

/* The whole of text as a decimal integer from min to max: an optional '-', then digits; no spaces, no '+', no leading
 * zeros but "0" itself, no "-0". */
bool decimal_parse(const char *text, size_t length, int64_t min, int64_t max, int64_t *value)
    __attribute__((warn_unused_result));

/* Bytes of the UTF-8 character at text, 1 to 4; 0 when there is none: bad or cut short, overlong, a surrogate, length
 * 0. */
size_t utf8_sequence(const char *text, size_t length) __attribute__((warn_unused_result));
bool utf8_valid(const char *text, size_t length) __attribute__((warn_unused_result));

#endif
