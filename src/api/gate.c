/* gate: see the header. */
#include "api/gate.h"

#include "sale/queue.h"

#include <string.h>
#include <strings.h>

enum error gate_identify(struct exchange *x)
{
    static const char scheme[] = "Bearer ";
    const char *text = x->request->authorization, *why = NULL;
    if (!text || strncasecmp(text, scheme, sizeof scheme - 1) != 0)
        return E_UNAUTHENTICATED;
    text += sizeof scheme - 1;
    text += strspn(text, " ");
    if (jwt_verify(x->api->jwt, x->arena, text, &x->user, &why))
        return OK;
    x->detail = arena_printf(x->arena, "The bearer token is refused: %s.", why);
    return E_UNAUTHENTICATED;
}

enum error gate_read_pass(struct exchange *x)
{
    if (!x->request->queue_token)
        return E_QUEUE_TOKEN_REQUIRED;
    if (!token_read(x->sale->key, x->request->queue_token, &x->pass))
        return E_QUEUE_TOKEN_INVALID;
    if (x->pass.user == x->user)
        return OK;
    /* Somebody else's: a live one is told apart from one that is over. */
    enum error error = gate_look(x);
    return error == OK || error == E_NOT_ADMITTED ? E_QUEUE_TOKEN_MISMATCH : error;
}

enum error gate_look(struct exchange *x)
{
    return queue_gate(x->sale, x->arena, &x->pass, true, &x->refusal);
}

enum error gate_pass(struct exchange *x)
{
    return queue_gate(x->sale, x->arena, &x->pass, false, &x->refusal);
}
