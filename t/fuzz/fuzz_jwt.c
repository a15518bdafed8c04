/* fuzz_jwt: bearer tokens. Input: one byte, then a token as it is, or header and claims, a line each, which are then
 * signed. Bit 0 of the byte: sign; bits 1 and 2: the verifier's algorithm; bits 3 and 4, when not 0: another
 * algorithm's key signs; bit 5, of what is signed: the next three bytes are a place and a character to be put there. An
 * accepted token is read again by json-c alone; what is not signed as the verifier wants must be refused. */
#include "fuzz.h"

#include "api/jwt.h"
#include "base/clock.h"
#include "base/encode.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_house();
    fuzz_verifier(FUZZ_HS256);
    return 0;
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
    bool found = strcmp(text_of(claims, "aud"), FUZZ_AUDIENCE) == 0;
    if (!json_object_object_get_ex(claims, "aud", &audience) || !json_object_is_type(audience, json_type_array))
        return found;
    for (size_t i = 0; i < json_object_array_length(audience); i++)
        found = found || strcmp(json_object_get_string(json_object_array_get_idx(audience, i)), FUZZ_AUDIENCE) == 0;
    return found;
}

static void check_accepted(const char *token, const char *algorithm, int64_t user)
{
    const char *first = strchr(token, '.'), *second = strchr(first + 1, '.');
    struct json_object *header = part(token, (size_t)(first - token)), *value;
    struct json_object *claims = part(first + 1, (size_t)(second - first - 1));
    REQUIRE(strcmp(text_of(header, "alg"), algorithm) == 0, "the one algorithm");
    REQUIRE(!json_object_object_get_ex(header, "crit", &value), "nothing critical");
    REQUIRE(strcmp(text_of(claims, "iss"), FUZZ_ISSUER) == 0, "our issuer");
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

/* The first byte. */
struct plan {
    bool sign, spoil;
    int verifier, signer;
};

static struct plan plan_of(uint8_t byte)
{
    int verifier = byte >> 1 & 3;
    return (struct plan){
        .sign = byte & 1, .spoil = byte & 32, .verifier = verifier, .signer = verifier ^ (byte >> 3 & 3)};
}

static char *sign(struct plan plan, const char *text, size_t length)
{
    const char *line_end = memchr(text, '\n', length);
    struct fuzz_part header = {text, line_end ? (size_t)(line_end - text) : length};
    struct fuzz_part claims = {line_end ? line_end + 1 : "", line_end ? length - header.length - 1 : 0};
    return fuzz_sign(plan.signer, plan.verifier, header, claims);
}

/* Whether the token is another one now. */
static bool spoil(char *token, const uint8_t where[static 3])
{
    char *at = token + (size_t)(where[0] << 8 | where[1]) % strlen(token);
    bool other = where[2] != '\0' && *at != (char)where[2];
    if (other)
        *at = (char)where[2];
    return other;
}

/* Once more: the header is known now, when the signature was good, and that must make no difference. */
static void check_again(struct plan plan, const char *token, bool good, int64_t user)
{
    const char *why = NULL;
    int64_t again = 0;
    bool good_again = jwt_verify(fuzz_verifier(plan.verifier), fuzz_house()->arena, token, &again, &why);
    REQUIRE(good_again == good && (!good || again == user), "a token says the same twice");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *arena = fuzz_house()->arena;
    int64_t user = 0;
    const char *why = NULL;
    if (size == 0)
        return 0;
    struct plan plan = plan_of(data[0]);
    size_t used = plan.sign && plan.spoil && size >= 4 ? 4 : 1;
    char *token = fuzz_text(data + used, size - used);
    if (plan.sign)
        token = sign(plan, token, size - used);
    bool spoiled = used == 4 && spoil(token, data + 1);
    bool good = jwt_verify(fuzz_verifier(plan.verifier), arena, token, &user, &why);
    REQUIRE(good || (why && *why && strlen(why) < 100), "a refusal says why");
    REQUIRE(!good || !spoiled, "no character can be another");
    REQUIRE(!good || !plan.sign || plan.signer == plan.verifier, "only the one key");
    REQUIRE(!good || plan.sign || plan.verifier == FUZZ_HS256, "nobody guesses a signature");
    if (good)
        check_accepted(token, fuzz_algorithm(plan.verifier), user);
    if (plan.sign)
        check_again(plan, token, good, user);
    arena_reset(arena);
    return 0;
}
