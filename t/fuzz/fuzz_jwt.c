/* fuzz_jwt: bearer tokens. Input: one byte, then a token as it is (even), or header and claims, a line each, which are
 * then signed with the right key (odd). An accepted token is read again by json-c alone. */
#include "fuzz.h"

#include "api/jwt.h"
#include "base/clock.h"
#include "base/encode.h"

#include <json-c/json.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_house();
    return 0;
}

static char *encoded(const void *bytes, size_t length)
{
    char *text = arena_alloc(fuzz_house()->arena, base64url_size(length) + 1);
    base64url_encode(bytes, length, text);
    return text;
}

static char *sign(const char *header, size_t header_length, const char *claims, size_t claims_length)
{
    static const char secret[] = "0123456789abcdef0123456789abcdef";
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_length;
    char *text =
        arena_printf(fuzz_house()->arena, "%s.%s", encoded(header, header_length), encoded(claims, claims_length));
    HMAC(EVP_sha256(), secret, (int)sizeof secret - 1, (const unsigned char *)text, strlen(text), mac, &mac_length);
    return arena_printf(fuzz_house()->arena, "%s.%s", text, encoded(mac, mac_length));
}

static struct json_object *part(const char *text, size_t length)
{
    char *json = arena_zalloc(fuzz_house()->arena, length + 1);
    size_t size;
    REQUIRE(base64url_decode(text, length, json, length, &size), "a part is base64url");
    json[size] = '\0';
    struct json_object *object = json_tokener_parse(json);
    REQUIRE(json_object_is_type(object, json_type_object), "a part is an object");
    return object;
}

static const char *text_of(struct json_object *object, const char *name)
{
    struct json_object *value;
    bool found = json_object_object_get_ex(object, name, &value) && json_object_is_type(value, json_type_string);
    return found ? json_object_get_string(value) : "";
}

static bool meant_for_us(struct json_object *claims)
{
    struct json_object *audience;
    bool found = strcmp(text_of(claims, "aud"), "usher") == 0;
    if (!json_object_object_get_ex(claims, "aud", &audience) || !json_object_is_type(audience, json_type_array))
        return found;
    for (size_t i = 0; i < json_object_array_length(audience); i++)
        found = found || strcmp(json_object_get_string(json_object_array_get_idx(audience, i)), "usher") == 0;
    return found;
}

static void check_accepted(const char *token, int64_t user)
{
    const char *first = strchr(token, '.'), *second = strchr(first + 1, '.');
    struct json_object *header = part(token, (size_t)(first - token)), *value;
    struct json_object *claims = part(first + 1, (size_t)(second - first - 1));
    REQUIRE(strcmp(text_of(header, "alg"), "HS256") == 0, "the one algorithm");
    REQUIRE(!json_object_object_get_ex(header, "crit", &value), "nothing critical");
    REQUIRE(strcmp(text_of(claims, "iss"), "https://issuer.example") == 0, "our issuer");
    REQUIRE(meant_for_us(claims), "for us");
    REQUIRE(json_object_object_get_ex(claims, "exp", &value) && json_object_is_type(value, json_type_int) &&
                json_object_get_int64(value) > clock_now() / CLOCK_SECOND,
            "not expired");
    if (json_object_object_get_ex(claims, "nbf", &value))
        REQUIRE(json_object_is_type(value, json_type_int) && json_object_get_int64(value) <= clock_now() / CLOCK_SECOND,
                "valid already");
    char *subject_end;
    const char *subject = text_of(claims, "sub");
    REQUIRE(user > 0 && strtoll(subject, &subject_end, 10) == user && *subject && *subject_end == '\0', "the user");
    json_object_put(header);
    json_object_put(claims);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_house *house = fuzz_house();
    int64_t user = 0;
    const char *why = NULL;
    if (size == 0)
        return 0;
    char *token = fuzz_text(data + 1, size - 1);
    bool signed_by_us = data[0] & 1;
    if (signed_by_us) {
        const char *claims = memchr(token, '\n', size - 1);
        size_t header_length = claims ? (size_t)(claims - token) : size - 1;
        token = sign(token, header_length, claims ? claims + 1 : "", claims ? size - 2 - header_length : 0);
    }
    bool good = jwt_verify(house->jwt, house->arena, token, &user, &why);
    REQUIRE(good || (why && *why && strlen(why) < 100), "a refusal says why");
    REQUIRE(!good || signed_by_us || strstr(token, "."), "only what is signed");
    if (good)
        check_accepted(token, user);
    arena_reset(house->arena);
    return 0;
}
