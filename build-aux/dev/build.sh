# build.sh: how `dev` builds: out of the tree, in build/release (for run) and build/check (for check).
#
# Sourced by dev. What the tools print goes to build/<name>.log; a failure shows the end of it.

CLANG_FORMAT_VERSION=14 # Debian 12's

# build NAME 'WHAT' CONFIGURE-ARGUMENT...: brings build/NAME up to date.
build() {
    build_name=$1 build_what=$2
    shift 2
    build_begun=$(date +%s)
    case $SRC in *[[:space:]]*) die "autoconf cannot build in a folder with a space in its path: $SRC" ;; esac
    mkdir -p "$BUILD" 2>/dev/null && [ -w "$BUILD" ] && [ -w "$SRC" ] ||
        die "cannot write in $BUILD; it belongs to $(stat -c %U "$BUILD" 2>/dev/null || stat -c %U "$SRC"): go on as that user, or remove it"
    printf '%s' "Building $build_what in build/$build_name ... "
    build_configure "$@" >"$BUILD/$build_name.log" 2>&1 &&
        build_make all >>"$BUILD/$build_name.log" 2>&1 || build_failed
    say "done ($(($(date +%s) - build_begun)) s)"
}

build_configure() {
    if [ ! -e configure ] || [ ! -e Makefile.in ]; then
        autoreconf -fi || return 1
    fi
    # Configured otherwise, or for a tree in another place: begin anew.
    build_want="$SRC $*"
    if [ "$(cat "$BUILD/$build_name/.configured" 2>/dev/null)" != "$build_want" ]; then
        rm -rf "${BUILD:?}/$build_name"
        mkdir -p "$BUILD/$build_name" || return 1
        (cd "$BUILD/$build_name" && "$SRC/configure" "$@") || return 1
        printf '%s\n' "$build_want" >"$BUILD/$build_name/.configured"
    fi
}

build_make() {
    make -C "$BUILD/$build_name" -j "$(nproc)" --no-print-directory "$@"
}

build_failed() {
    say "failed"
    tail -n 40 "$BUILD/$build_name.log" >&2
    die "the build failed; its whole output is in build/$build_name.log"
}

build_release() {
    build release "usher" --prefix=/usr --sysconfdir=/etc --without-tests
}

# Both compilers, warnings as errors.
build_check() {
    build check "usher for the tests" --enable-werror --enable-test-hooks
    printf '%s' "Building the unit tests ... "
    build_make unit >>"$BUILD/check.log" 2>&1 || build_failed
    say "done"
    build_clang
}

# clang only reads the sources, with the flags of build/check: its warnings need no code; clang-format looks at their layout.
# Not again while nothing changes.
build_clang() {
    build_name=clang build_stamp=$BUILD/check/.clang-clean
    if [ -e "$build_stamp" ] && [ -z "$(find src t/unit t/fuzz t/bench .clang-format "$BUILD/check/Makefile" -newer "$build_stamp" -type f -print | head -n 1)" ]
    then
        return
    fi
    printf '%s' "Reading the sources with clang ... "
    rm -f "$build_stamp"
    # A rule of make's, for the quoting in its flags; the xargs is for the number of processors.
    printf 'include Makefile\nread:\n\t@find $(FOLDERS) -name "*.c" -print0 | xargs -0 -P %s -n 8 clang %s %s\n' "$(nproc)" \
        '-std=gnu11 -fsyntax-only $(DEFS) $(DEFAULT_INCLUDES) $(AM_CPPFLAGS) $(CRITERION_CFLAGS) $(WARN_CFLAGS)' \
        '-Wno-unknown-warning-option -Werror' |
        make -s --no-print-directory -C "$BUILD/check" -f - "FOLDERS=$SRC/src $SRC/t/unit" read >"$BUILD/clang.log" 2>&1 ||
        build_failed
    # Another version lays some things out otherwise.
    if clang-format --version | grep -q " version $CLANG_FORMAT_VERSION\."; then
        make -s --no-print-directory -C "$BUILD/check" format-check >"$BUILD/clang.log" 2>&1 || build_failed
    fi
    touch "$build_stamp"
    say "done"
}
