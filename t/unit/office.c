/* office: see the header. */
#include "office.h"

#include "base/json.h"
#include "sale/token.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

static void set(struct office *office, const char *key, const char *value)
{
    char message[CONFIG_MESSAGE_SIZE];
    cr_assert(config_set(&office->config, key, value, "test", message), "%s", message);
}

const char *office_file(struct office *office, const char *name, const void *bytes, size_t length)
{
    const char *path = arena_printf(office->arena, "%s/%s", office->folder, name);
    FILE *file = fopen(path, "we");
    cr_assert_not_null(file, "%s", path);
    cr_assert_eq(fwrite(bytes, 1, length, file), length);
    cr_assert_eq(fclose(file), 0);
    return path;
}

void office_open(struct office *office)
{
    char message[CONFIG_MESSAGE_SIZE] = "";
    *office = (struct office){.arena = arena_new(4096)};
    snprintf(office->folder, sizeof office->folder, "/tmp/usher-unit-XXXXXX");
    cr_assert_not_null(mkdtemp(office->folder));
    config_init(&office->config);
    set(office, "jwt_key_file", office_file(office, "jwt.key", OFFICE_SECRET, strlen(OFFICE_SECRET)));
    set(office, "queue_key_file", office_file(office, "queue.key", "sixteen random bytes or more", 28));
    set(office, "redis", arena_printf(office->arena, "%s/redis.sock", office->folder));
    set(office, "database", arena_printf(office->arena, "host=%s dbname=usher user=usher", office->folder));
    office->api = api_new(&office->config, message);
    cr_assert_not_null(office->api, "%s", message);
    office->request = (struct request){
        .arena = office->arena,
        .method = METHOD_GET,
        .method_name = "GET",
        .path = "/",
        .query = "",
        .id = "request-7",
        .body = "",
    };
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

void office_close(struct office *office)
{
    api_free(office->api);
    config_free(&office->config);
    arena_free(office->arena);
    cr_assert_eq(nftw(office->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

const char *office_bearer(struct office *office, int64_t user)
{
    char *token = jwt_mint(office->api->jwt, office->arena, user, time(NULL) + 60);
    cr_assert_not_null(token);
    return arena_printf(office->arena, "Bearer %s", token);
}

const char *office_queue_token(struct office *office, int64_t user, int64_t ticket)
{
    char token[TOKEN_SIZE];
    struct pass pass = {user, ticket};
    token_make(office->api->sale->key, &pass, token);
    return arena_strdup(office->arena, token);
}

void office_ask(struct office *office)
{
    api_handle(office->api, &office->request, &office->reply);
}

void office_get(struct office *office, enum method method, const char *path)
{
    office->request.method = method;
    office->request.path = path;
    office_ask(office);
}

const char *office_header(struct office *office, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = office->reply.headers.data; *line; line = strstr(line, "\r\n") + 2) {
        if (strncasecmp(line, name, length) == 0 && line[length] == ':')
            return arena_strndup(office->arena, line, (size_t)(strstr(line, "\r\n") - line));
    }
    return NULL;
}

struct json_object *office_body(struct office *office)
{
    struct json_object *object = NULL;
    enum error error = json_parse(office->arena, office->reply.body.data, office->reply.body.length, &object);
    cr_assert_eq(error, OK, "not JSON: %s", office->reply.body.data);
    return object;
}

const char *office_text(struct office *office, const char *name)
{
    const char *text = NULL;
    size_t length;
    cr_assert_eq(json_get_string(office_body(office), name, &text, &length), JSON_FOUND, "%s in %s", name,
                 office->reply.body.data);
    return text;
}

int64_t office_int(struct office *office, const char *name)
{
    int64_t value = 0;
    cr_assert_eq(json_get_int(office_body(office), name, INT64_MIN + 1, INT64_MAX, &value), JSON_FOUND, "%s in %s",
                 name, office->reply.body.data);
    return value;
}

void office_expect_problem(struct office *office, int status, const char *code)
{
    cr_assert_str_eq(office->reply.code, code, "%s", office->reply.body.data);
    cr_assert_eq(office->reply.status, status, "%d", office->reply.status);
    cr_assert_str_eq(office_header(office, "Content-Type"), "Content-Type: application/problem+json");
    cr_assert_str_eq(office_header(office, "Cache-Control"), "Cache-Control: private, no-store");
    cr_assert_str_eq(office_text(office, "code"), code);
    cr_assert_str_eq(office_text(office, "type"), arena_printf(office->arena, "/problems/%s", code));
    cr_assert_eq(office_int(office, "status"), status);
    cr_assert_str_eq(office_text(office, "trace_id"), office->request.id);
    cr_assert_gt(strlen(office_text(office, "title")), 0);
    cr_assert_gt(strlen(office_text(office, "detail")), 0);
}
