# storm.sh: `dev storm`: t/storm/storm.pl on a build of its own kind, the one that is installed (without test hooks).
#
# Sourced by dev, after deps.sh and build.sh.

verb_storm() {
    forget_postgres_environment
    case " $* " in
    *" --help "*) ;;
    *)
        deps_need build run check
        build_release
        ;;
    esac
    case $* in
    *--folder*) ;;
    *)
        storm_folder=$BUILD/storm
        rm -rf "$storm_folder"
        set -- "$@" --folder "$storm_folder"
        ;;
    esac
    # Every setting is the storm's own.
    for name in $(env | sed -n 's/^\(USHER_[A-Z_]*\)=.*/\1/p'); do
        unset "$name"
    done
    USHER_SRCDIR=$SRC USHER_BUILDDIR=$BUILD/release
    export USHER_SRCDIR USHER_BUILDDIR
    cd "$HERE" && exec perl "$SRC/t/storm/storm.pl" "$@"
}
