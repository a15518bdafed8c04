# storm.sh: `dev storm`: t/storm/storm.pl on the programs as they are installed, without test hooks.
#
# Sourced by dev, after deps.sh and build.sh.

verb_storm() {
    storm_keep=yes
    for word; do
        case $word in
        --help) exec perl "$SRC/t/storm/storm.pl" --help ;;
        --folder*) storm_keep=no ;;
        esac
    done
    forget_postgres_environment
    deps_need build run check
    build_release
    if [ $storm_keep = yes ]; then
        rm -rf "${BUILD:?}/storm"
        set -- "$@" --folder "$BUILD/storm"
    fi
    # Every setting is the storm's own.
    for name in $(env | sed -n 's/^\(USHER_[A-Z_]*\)=.*/\1/p'); do
        unset "$name"
    done
    USHER_SRCDIR=$SRC USHER_BUILDDIR=$BUILD/release
    export USHER_SRCDIR USHER_BUILDDIR
    cd "$HERE" && exec perl "$SRC/t/storm/storm.pl" "$@"
}
