# check.sh: the searching forms of `dev check`: under sanitizers, with coverage counters, read by static analysers.
#
# Sourced by dev. Each has a build of its own; what it prints is also in build/<name>.log or build/<name>/reports.

COVERAGE_MIN=85        # percent of the lines of src/
SOAK_REQUESTS=200000   # against the release build, whose memory must stay flat
SOAK_SANITIZED=10000   # against the sanitizers' build, so that a mixed load is searched, too

# check_prove NAME FILE...: runs the tests against build/NAME: all but those of the models and the fuzzers, which bring programs
# of their own.
check_prove() {
    prove_build=$1
    shift
    [ $# -gt 0 ] || set -- $(ls t/*.t | grep -vxE 't/(model|fuzz)\.t')
    # The tests choose every setting themselves.
    for name in $(env | sed -n 's/^\(USHER_[A-Z_]*\)=.*/\1/p'); do
        unset "$name"
    done
    USHER_SRCDIR=$SRC USHER_BUILDDIR=$BUILD/$prove_build
    export USHER_SRCDIR USHER_BUILDDIR
    say "Running prove on build/$prove_build"
    prove "$@"
}

# check_build NAME 'WHAT' ARGUMENT...: the programs and the unit tests.
check_build() {
    build "$@"
    printf '%s' "Building the unit tests ... "
    build_make unit >>"$BUILD/$build_name.log" 2>&1 || build_failed
    say "done"
}

# --- sanitizers

# Every process of the programs under test writes what it finds to a file of its own, whoever started it and wherever its
# standard error goes. A process that ends by itself or by TERM is searched for leaks; one that is killed cannot be.
check_sanitize() {
    deps_need build run check bench
    check_build sanitize "usher with sanitizers" --enable-werror --enable-test-hooks --enable-sanitize
    [ $# -gt 0 ] || build_release
    reports=$BUILD/sanitize/reports
    rm -rf "$reports"
    mkdir -p "$reports"
    export ASAN_OPTIONS="log_path=$reports/report:log_exe_name=1:exitcode=86:detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1:check_initialization_order=1"
    export UBSAN_OPTIONS="log_path=$reports/report:log_exe_name=1:print_stacktrace=1:halt_on_error=1:exitcode=86"
    status=0
    check_prove sanitize "$@" || status=1
    if [ $# -eq 0 ]; then
        say "A mixed load on the build with sanitizers"
        perl "$SRC/t/soak/soak.pl" --requests "$SOAK_SANITIZED" --any-growth || status=1
    fi
    check_reports || status=1
    if [ $# -eq 0 ]; then
        say "A soak of $SOAK_REQUESTS requests on the release build"
        USHER_BUILDDIR=$BUILD/release perl "$SRC/t/soak/soak.pl" --requests "$SOAK_REQUESTS" || status=1
    fi
    exit $status
}

# Shows what the sanitizers found; false when they found something.
check_reports() {
    # Warnings alone (a huge allocation that a test asks for) are no findings.
    found=$(grep -rlE 'ERROR: |SUMMARY: |runtime error: ' "$reports" | sort)
    if [ -z "$found" ]; then
        say "The sanitizers report nothing."
        return 0
    fi
    complain "the sanitizers report ($(printf '%s\n' "$found" | wc -l) processes; all are in ${reports#"$SRC/"}):"
    for report in $(printf '%s\n' "$found" | head -n 3); do
        printf '%s\n' "--- ${report##*/}" >&2
        head -n 40 "$report" >&2
    done
    return 1
}

# --- coverage

# Counters are written when a process ends by itself or by TERM; what a test kills is not counted.
check_coverage() {
    deps_need build run check
    check_build coverage "usher with coverage counters" --enable-werror --enable-test-hooks --enable-coverage
    find "$BUILD/coverage" -name '*.gcda' -delete
    status=0
    check_prove coverage "$@" || status=1
    perl "$SRC/build-aux/coverage" --source "$SRC" --build "$BUILD/coverage" --minimum "$COVERAGE_MIN" \
        --unreached "$BUILD/coverage/unreached.txt" || status=1
    say "Lines that nothing reached: build/coverage/unreached.txt"
    exit $status
}

# --- static analysis

check_analyze() {
    [ $# -eq 0 ] || usage_error "check --analyze takes no files."
    deps_need build analyze
    # An exception stands in the source, around its function and with its reason: src/base/analyzer.h.
    build analyze "usher under gcc -fanalyzer" --enable-werror --enable-test-hooks --without-tests \
        CFLAGS="-g -O1 -fanalyzer"
    printf '%s' "Reading the sources with cppcheck ... "
    mkdir -p "$BUILD/analyze/cppcheck"
    # An exception stands in the source, before its line: // cppcheck-suppress <id> with its reason above.
    cppcheck --quiet --std=c11 --platform=unix64 --enable=warning,performance,portability --inline-suppr \
        --suppress=missingIncludeSystem --suppress=unmatchedSuppression --error-exitcode=1 -j "$(nproc)" \
        --cppcheck-build-dir="$BUILD/analyze/cppcheck" -D_GNU_SOURCE -DUSHER_TEST_HOOKS=1 -DPACKAGE_VERSION='"0"' \
        -I src src >"$BUILD/cppcheck.log" 2>&1 || {
        say "failed"
        cat "$BUILD/cppcheck.log" >&2
        die "cppcheck has complaints; an exception needs its reason in the source"
    }
    say "done"
    say "gcc -fanalyzer and cppcheck have nothing to say."
}
