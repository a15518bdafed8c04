# fuzz.sh: `dev fuzz`: the libFuzzer targets of t/fuzz, built with clang and its sanitizers in build/fuzz.
#
# Sourced by dev. What a target has learned stays in build/fuzz/corpus/TARGET and is where the next run goes on; t/fuzz/seeds is
# where it begins. An input that breaks something is kept in build/fuzz/findings; when its cause is repaired, it belongs into
# t/fuzz/regressions/TARGET, where t/fuzz.t tries it for ever.

fuzz_targets() {
    for source in "$SRC"/t/fuzz/fuzz_*.c; do
        source=${source##*/fuzz_}
        echo "${source%.c}"
    done
}

build_fuzz() {
    build_name=fuzz
    build fuzz "usher with sanitizers for fuzzing" --enable-sanitize --enable-test-hooks --without-tests CC=clang \
        "CFLAGS=-g -O2 -fsanitize=fuzzer-no-link"
    printf '%s' "Building the fuzzing targets ... "
    build_make fuzz >>"$BUILD/fuzz.log" 2>&1 || build_failed
    say "done"
}

# fuzz_one TARGET SECONDS: 0 when nothing was found. Says what it did.
fuzz_one() {
    one_corpus=$BUILD/fuzz/corpus/$1 one_log=$BUILD/fuzz/$1.log one_findings=$BUILD/fuzz/findings
    mkdir -p "$one_corpus" "$one_findings" || die "cannot make folders in $BUILD/fuzz"
    one_options=
    [ ! -r "$SRC/t/fuzz/$1.dict" ] || one_options=-dict=$SRC/t/fuzz/$1.dict
    one_status=0
    # shellcheck disable=SC2086 # none or one option
    "$BUILD/fuzz/t/fuzz/fuzz_$1" $one_options -max_total_time="$2" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="$one_findings/$1-" "$one_corpus" "$SRC/t/fuzz/seeds/$1" >"$one_log" 2>&1 || one_status=$?
    one_runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$one_log" | tail -n 1)
    if [ $one_status -eq 0 ]; then
        say "$1: ${one_runs:-no} executions, nothing found"
        return 0
    fi
    one_file=$(sed -n 's/.*Test unit written to //p' "$one_log" | tail -n 1)
    say "$1: ${one_runs:-no} executions, FOUND: ${one_file:-no input; see $one_log}"
    sed -n '/ERROR\|runtime error\|does not hold/p' "$one_log" | head -n 3
    say "  once more:  $BUILD/fuzz/t/fuzz/fuzz_$1 ${one_file:-}"
    return 1
}

# fuzz_run SECONDS TARGET...: one after the other; exits 1 when anything was found.
fuzz_run() {
    run_seconds=$1 run_found=0
    shift
    say "Fuzzing $# targets for $run_seconds s each: $(($# * run_seconds)) s. Ctrl-C ends it; what was learned is kept."
    for target; do
        fuzz_one "$target" "$run_seconds" || run_found=$((run_found + 1))
    done
    [ $run_found -eq 0 ] || die "$run_found of $# targets found something; the inputs are in build/fuzz/findings"
}
