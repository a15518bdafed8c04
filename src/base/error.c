/* error: the error table of error.h, looked up by value. */
#include "base/error.h"

#include <stddef.h>

static const struct {
    const char *code;
    const char *title;
    int status;
} errors[ERROR_COUNT] = {[OK] = {"ok", "Done", 200},
#define ERROR_ROW(symbol, code, status, title) [E_##symbol] = {code, title, status},
                         ERROR_TABLE(ERROR_ROW)
#undef ERROR_ROW
};

/* A value outside the enum can only come from a bug of ours: the client sees an internal error, not a crash. */
static enum error known(enum error error)
{
    return (size_t)error < ERROR_COUNT ? error : E_INTERNAL;
}

const char *error_code(enum error error)
{
    return errors[known(error)].code;
}

int error_status(enum error error)
{
    return errors[known(error)].status;
}

const char *error_title(enum error error)
{
    return errors[known(error)].title;
}
