/* pg_record: records as PostgreSQL writes them are taken apart, all others are refused. */
#include "store/pg_record.h"

#include <criterion/criterion.h>
#include <string.h>

enum { MADE_TYPE = 16400 };

/* A result of one column of this type and the texts as its rows. */
static PGresult *result_of(Oid type, const char *const *texts)
{
    char name[] = "f";
    PGresAttDesc column = {.name = name, .typid = type, .typlen = -1};
    PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    cr_assert(PQsetResultAttrs(result, 1, &column));
    for (int row = 0; texts[row]; row++)
        cr_assert(PQsetvalue(result, row, 0, (char *)texts[row], (int)strlen(texts[row])));
    return result;
}

static PGresult *opened(const char *text)
{
    return pg_record_open(result_of(MADE_TYPE, (const char *const[]){text, NULL}));
}

static void expect_field(const PGresult *result, int row, int column, const char *text)
{
    cr_assert_eq(PQgetisnull(result, row, column), text == NULL);
    if (text)
        cr_assert_str_eq(PQgetvalue(result, row, column), text);
}

Test(pg_record, fields_nulls_and_quotes)
{
    PGresult *result = opened("(created,-42,,\"\",\"a b\",\"[{\"\"l\"\":\"\"A,\\\\u0041)\"\"}]\")");
    cr_assert_eq(PQntuples(result), 1);
    cr_assert_eq(PQnfields(result), 6);
    expect_field(result, 0, 0, "created");
    expect_field(result, 0, 1, "-42");
    expect_field(result, 0, 2, NULL);
    expect_field(result, 0, 3, "");
    expect_field(result, 0, 4, "a b");
    expect_field(result, 0, 5, "[{\"l\":\"A,\\u0041)\"}]");
    PQclear(result);
}

Test(pg_record, every_row)
{
    PGresult *result = pg_record_open(result_of(MADE_TYPE, (const char *const[]){"(1,a)", "(2,)", NULL}));
    cr_assert_eq(PQntuples(result), 2);
    expect_field(result, 0, 1, "a");
    expect_field(result, 1, 0, "2");
    expect_field(result, 1, 1, NULL);
    PQclear(result);
}

Test(pg_record, other_results_stay_as_they_are)
{
    enum { TYPE_TEXT = 25 };
    PGresult *text = result_of(TYPE_TEXT, (const char *const[]){"(1,a)", NULL});
    cr_assert_eq(pg_record_open(text), text);
    expect_field(text, 0, 0, "(1,a)");
    PQclear(text);
}

Test(pg_record, what_is_no_record_is_refused)
{
    const char *const wrong[] = {
        "", "(", ")", "1,2", "(1,2", "(1,\"2)", "(1)2", "(\"\\)", "(1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17)"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        cr_assert_null(opened(wrong[i]), "%s", wrong[i]);
}
