#!/bin/sh
# autogen.sh: makes ./configure from configure.ac and Makefile.am; needed once after a fresh clone.
set -eu
cd "$(dirname "$0")"
if ! command -v autoreconf >/dev/null 2>&1; then
    echo "autogen.sh: autoreconf is missing: install autoconf and automake" >&2
    exit 1
fi
autoreconf --force --install --warnings=all
