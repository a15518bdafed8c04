/* fuzz_body: the body of each operation that has one. Input: one byte that chooses the operation, the body. The caller
 * is good and the servers are away, so 503 says that the body was accepted; then it must be what it has to be, read
 * again by nothing but json-c and strtoll(). */
#include "fuzz.h"

#include "api/exchange.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

static const struct operation {
    const char *uri;
    const char *number; /* a member that must be an integer from 1 to max */
    int64_t max;
    const char *numbers; /* one that must be an array of distinct ones, or NULL */
} operations[] = {
    {"/v1/reservations", "schedule_id", INT64_MAX, "seat_ids"},
    {"/v1/balance/charges", "amount", 10000000, NULL},
    {"/v1/payments", "reservation_id", INT64_MAX, NULL},
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_house();
    return 0;
}

/* As it is written, not as json-c has read it. */
static void check_number(struct json_object *value, int64_t max)
{
    REQUIRE(json_object_is_type(value, json_type_int), "an integer");
    const char *text = json_object_to_json_string(value);
    char *text_end;
    errno = 0;
    long long number = strtoll(text, &text_end, 10);
    REQUIRE(errno == 0 && *text_end == '\0' && number >= 1 && number <= max, "in range");
}

static void check_accepted(const struct operation *operation, const char *body)
{
    struct json_object *object = json_tokener_parse(body), *value;
    REQUIRE(object && json_object_is_type(object, json_type_object), "an object");
    REQUIRE(json_object_object_get_ex(object, operation->number, &value), "the member is there");
    check_number(value, operation->max);
    if (operation->numbers) {
        REQUIRE(json_object_object_get_ex(object, operation->numbers, &value), "the array is there");
        REQUIRE(json_object_is_type(value, json_type_array), "an array");
        size_t count = json_object_array_length(value);
        REQUIRE(count >= 1 && count <= 100, "as many as may be");
        for (size_t i = 0; i < count; i++) {
            check_number(json_object_array_get_idx(value, i), INT64_MAX);
            for (size_t j = 0; j < i; j++)
                REQUIRE(json_object_get_int64(json_object_array_get_idx(value, i)) !=
                            json_object_get_int64(json_object_array_get_idx(value, j)),
                        "none twice");
        }
    }
    json_object_put(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_house *house = fuzz_house();
    if (size == 0)
        return 0;
    const struct operation *operation = &operations[data[0] % (sizeof operations / sizeof *operations)];
    const char *body = fuzz_text(data + 1, size - 1);
    char method[] = "REQUEST_METHOD=POST", type[] = "CONTENT_TYPE=application/json", key[] = "HTTP_IDEMPOTENCY_KEY=k";
    char id[] = "HTTP_X_REQUEST_ID=0123456789abcdef";
    char *parameters[] = {
        method,
        arena_printf(house->arena, "REQUEST_URI=%s", operation->uri),
        type,
        key,
        arena_printf(house->arena, "CONTENT_LENGTH=%zu", size - 1),
        arena_printf(house->arena, "HTTP_AUTHORIZATION=Bearer %s", house->bearer),
        arena_printf(house->arena, "HTTP_QUEUE_TOKEN=%s", house->token),
        id,
        NULL,
    };
    stand_in_feed(NULL, 0);
    int status = fuzz_exchange(parameters, (const uint8_t *)body, size - 1);
    REQUIRE(status == 400 || status == 413 || status == 503, "refused or accepted, nothing else");
    if (status == 503)
        check_accepted(operation, body);
    arena_reset(house->arena);
    return 0;
}
