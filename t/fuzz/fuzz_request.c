/* fuzz_request: a whole request, from FastCGI parameters to the bytes of the reply, with answers of PostgreSQL and
 * Redis.
 *
 * Input: "METHOD TARGET", then header lines "Name: value", an empty line, the body; after two bytes FF the answers. A
 * value
 * "@" stands for a good one of the caller ("@@": somebody else's queue token). A line "=NAME=value" is a parameter as
 * it is. Content-Length is the body's unless it is given. */
#include "fuzz.h"

#include <ctype.h>
#include <string.h>

enum { PARAMETERS_MAX = 40 };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_house();
    return 0;
}

static const char *value_of(const char *name, const char *value)
{
    const struct fuzz_house *house = fuzz_house();
    if (strcmp(value, "@") == 0)
        return strcmp(name, "AUTHORIZATION") == 0 ? house->bearer : house->token;
    return strcmp(value, "@@") == 0 ? house->other : value;
}

/* "Queue-Token: x" as nginx hands it over: HTTP_QUEUE_TOKEN=x. */
static char *parameter(struct arena *arena, char *line)
{
    if (*line == '=')
        return line + 1;
    char *colon = strchr(line, ':');
    if (!colon)
        return line;
    *colon = '\0';
    for (char *c = line; *c; c++)
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    const char *value = value_of(line, colon + 1 + strspn(colon + 1, " "));
    bool plain = strcmp(line, "CONTENT_LENGTH") == 0 || strcmp(line, "CONTENT_TYPE") == 0;
    bool bearer = strcmp(line, "AUTHORIZATION") == 0 && value == fuzz_house()->bearer;
    return arena_printf(arena, "%s%s=%s%s", plain ? "" : "HTTP_", line, bearer ? "Bearer " : "", value);
}

/* The next line of the head, which ends at head_end. */
static char *next_line(char **at, char *head_end)
{
    char *line = *at, *line_end = memchr(line, '\n', (size_t)(head_end - line));
    *at = line_end ? line_end + 1 : head_end;
    if (line_end)
        *line_end = '\0';
    return line;
}

static size_t read_head(struct arena *arena, char *head, size_t length, char **parameters)
{
    size_t count = 0;
    char *at = head, *head_end = head + length;
    char *line = next_line(&at, head_end);
    size_t method = strcspn(line, " ");
    parameters[count++] = arena_printf(arena, "REQUEST_METHOD=%.*s", (int)method, line);
    parameters[count++] = arena_printf(arena, "REQUEST_URI=%s", line + method + (line[method] == ' '));
    while (at < head_end && count < PARAMETERS_MAX - 2)
        parameters[count++] = parameter(arena, next_line(&at, head_end));
    return count;
}

static size_t find(const uint8_t *data, size_t size, const char *mark)
{
    const uint8_t *found = size ? memmem(data, size, mark, 2) : NULL;
    return found ? (size_t)(found - data) : size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_house *house = fuzz_house();
    char *parameters[PARAMETERS_MAX];
    size_t request = find(data, size, "\xff\xff"), head = find(data, request, "\n\n");
    size_t body = head + 2 < request ? head + 2 : request, length = request - body;
    bool fed = request + 2 < size;

    size_t count = read_head(house->arena, fuzz_text(data, head), head, parameters);
    bool said = false;
    for (size_t i = 0; i < count; i++)
        said = said || strncmp(parameters[i], "CONTENT_LENGTH=", 15) == 0;
    if (!said)
        parameters[count++] = arena_printf(house->arena, "CONTENT_LENGTH=%zu", length);
    parameters[count] = NULL;

    stand_in_feed(fed ? data + request + 2 : NULL, fed ? size - request - 2 : 0);
    /* A copy: reading behind the body's end must be seen. */
    int status = fuzz_exchange(parameters, (const uint8_t *)fuzz_text(data + body, length), length);
    REQUIRE(fed || status != 500, "no request alone makes an internal error");
    arena_reset(house->arena);
    return 0;
}
