/* script: puts prelude and body together and names them by their SHA-1, once in each process. */
#include "store/script.h"

#include "base/embedded.h"
#include "base/encode.h"
#include "base/log.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct script_text scripts[SCRIPT_COUNT] = {
#define SCRIPT_ROW(symbol, file, again) [SCRIPT_##symbol] = {.name = file, .twice = again},
    SCRIPT_TABLE(SCRIPT_ROW)
#undef SCRIPT_ROW
};

static const char *embedded_text(const char *name)
{
    for (const struct embedded *e = embedded_scripts; e->name; e++) {
        if (strcmp(e->name, name) == 0)
            return e->text;
    }
    log_error("the script %s is not in this build", name);
    abort();
}

#ifdef USHER_TEST_HOOKS
/* A test's own version of a script: <USHER_TEST_LUA_DIR>/<name>.lua, where that exists. Good until the call after the
 * next one: prelude and body are needed together. */
static const char *overriding_text(const char *name)
{
    enum { LARGEST = 65536 };
    static char texts[2][LARGEST];
    static unsigned turn;
    const char *folder = getenv("USHER_TEST_LUA_DIR");
    char path[4096];
    if (!folder || snprintf(path, sizeof path, "%s/%s.lua", folder, name) >= (int)sizeof path)
        return NULL;
    FILE *file = fopen(path, "re");
    if (!file)
        return NULL;
    char *text = texts[turn++ % 2];
    text[fread(text, 1, LARGEST - 1, file)] = '\0';
    fclose(file);
    return text;
}
#endif

static const char *body_text(const char *name)
{
#ifdef USHER_TEST_HOOKS
    const char *text = overriding_text(name);
    if (text)
        return text;
#endif
    return embedded_text(name);
}

static void prepare(struct script_text *script)
{
    const char *prelude = body_text("prelude");
    const char *body = body_text(script->name);
    size_t length = strlen(prelude) + strlen(body);
    char *text = malloc(length + 1);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_length = 0;

    if (!text || snprintf(text, length + 1, "%s%s", prelude, body) != (int)length ||
        !EVP_Digest(text, length, digest, &digest_length, EVP_sha1(), NULL)) {
        log_error("cannot prepare the script %s", script->name);
        abort();
    }
    hex_encode(digest, digest_length, script->sha1);
    script->length = length;
    script->text = text;
}

const struct script_text *script_get(enum script script)
{
    if (!scripts[script].text)
        prepare(&scripts[script]);
    return &scripts[script];
}
