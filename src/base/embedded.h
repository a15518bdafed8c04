/* embedded: the Lua scripts and the SQL migrations, compiled into the programs.
 *
 * build-aux/embed writes the arrays from the files that Makefile.am lists, in the order of that list. name is the
 * file's name without folder and last suffix ("promote" for src/store/lua/promote.lua, "001_schema" for
 * sql/001_schema.sql). Each array ends with {NULL, NULL}. */
#ifndef USHER_BASE_EMBEDDED_H
#define USHER_BASE_EMBEDDED_H

struct embedded {
    const char *name;
    const char *text;
};

extern const struct embedded embedded_scripts[];
extern const struct embedded embedded_migrations[];

#endif
