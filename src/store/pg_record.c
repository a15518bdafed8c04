/* pg_record: the text form of a composite value, "(created,42,,"[{""id"":7}]")": fields between commas, nothing for
 * null, quoted where they hold anything special, with quotes and backslashes doubled inside. */
#include "store/pg_record.h"

#include <stdbool.h>
#include <string.h>

/* Types from here on were made by somebody (FirstNormalObjectId in PostgreSQL's access/transam.h): here, those that the
 * functions of sql/ return. */
enum { FIRST_MADE_TYPE = 16384 };

enum { FIELDS_MAX = 16 };

struct field {
    char *text;
    int length; /* -1: null */
};

/* Reads the field at *at into the place where it stands, which is never shorter, and moves on behind it. */
static bool read_field(char **at, struct field *field)
{
    char *from = *at, *to = *at;
    bool quoted = false, any = false;
    field->text = to;
    for (; *from && (quoted || (*from != ',' && *from != ')')); from++) {
        any = true;
        if (*from == '"' && quoted && from[1] == '"')
            *to++ = *++from;
        else if (*from == '"')
            quoted = !quoted;
        else if (*from == '\\' && from[1])
            *to++ = *++from;
        else
            *to++ = *from;
    }
    field->length = any ? (int)(to - field->text) : -1;
    *at = from;
    return *from != '\0';
}

/* The number of fields; 0 when the text is not a record of at most FIELDS_MAX. */
static int read_fields(char *text, struct field fields[FIELDS_MAX])
{
    int count = 0;
    if (*text != '(')
        return 0;
    do {
        text++;
        if (count == FIELDS_MAX || !read_field(&text, &fields[count++]))
            return 0;
    } while (*text == ',');
    return text[1] == '\0' ? count : 0;
}

static bool set_row(PGresult *opened, int row, char *text)
{
    struct field fields[FIELDS_MAX];
    int count = read_fields(text, fields);
    if (count == 0)
        return false;
    if (row == 0) {
        static char name[] = "field";
        PGresAttDesc columns[FIELDS_MAX];
        for (int i = 0; i < count; i++)
            columns[i] = (PGresAttDesc){.name = name, .typlen = -1};
        if (!PQsetResultAttrs(opened, count, columns))
            return false;
    }
    for (int i = 0; i < count; i++) {
        if (!PQsetvalue(opened, row, i, fields[i].length < 0 ? NULL : fields[i].text, fields[i].length))
            return false;
    }
    return true;
}

PGresult *pg_record_open(PGresult *result)
{
    if (PQnfields(result) != 1 || PQftype(result, 0) < FIRST_MADE_TYPE)
        return result;
    PGresult *opened = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    bool good = opened;
    /* A result's memory is ours until it is cleared: the fields are put together where they stand. */
    for (int row = 0; good && row < PQntuples(result); row++)
        good = set_row(opened, row, PQgetvalue(result, row, 0));
    PQclear(result);
    if (!good) {
        PQclear(opened);
        return NULL;
    }
    return opened;
}
