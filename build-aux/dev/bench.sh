# bench.sh: `dev bench`: a private stack of its own in build/bench, beside it the floor, and the measurements of t/bench.
#
# Sourced by dev, after stack.sh, whose functions it uses with another folder. BENCH_SECONDS is the length of a run (5),
# BENCH_RUNS how many of them (3), BENCH_MILLION how many people a million are (1000000). USHER_<KEY> reaches the workers
# as in run; USHER_WORKERS also sets the floor's number.

bench_usage() {
    cat <<'HELP'
Usage: ./dev bench [ROW ...]     usher beside its floor: queue poll issue concerts seats refused hold payment charge,
                                 and seats50 keyed booking; all when none is named
       ./dev bench cache         a page of concerts without cache, with it, and by cursor
       ./dev bench locks         seat holds and charges under four ways of locking
       ./dev bench workers [ROW ...]  1 to 4 workers for each processor: poll concerts hold payment, unless rows are named
       ./dev bench million       a million people in the line: joining, memory, poll, promotion, rebuilding

The table also goes to build/dev/bench.json, where rows of earlier benches stay until they are measured again. BENCH_SECONDS=5 and BENCH_RUNS=3 are the defaults.
The floor writes and closes as libfcgi does, so that long answers (concerts, seats) may be cheaper than there, and its tables
have no foreign keys. BENCH_FLOOR=quick: it closes as usher does, which is less work; BENCH_FLOOR=keys: with the foreign keys of
the requirements' ERD; BENCH_FLOOR=quick,keys: both. Nothing else should be busy.
HELP
}

verb_bench() {
    for bench_word; do
        case $bench_word in
        -h | --help)
            bench_usage
            return 0
            ;;
        -*) usage_error "bench does not know '$bench_word'." ;;
        esac
    done
    for bench_word in "${BENCH_SECONDS:-5}" "${BENCH_RUNS:-3}"; do
        case $bench_word in '' | *[!0-9]* | 0*) usage_error "BENCH_SECONDS and BENCH_RUNS must be whole numbers." ;; esac
    done
    case ${1-} in cache | locks | million) [ $# -eq 1 ] || usage_error "bench $1 goes alone." ;; esac
    forget_postgres_environment
    deps_need build run bench
    PG=$(postgres_folder)
    [ -n "$PG" ] || die "there is no PostgreSQL server in /usr/lib/postgresql"
    build_release
    build_make t/bench/floor t/bench/passes t/bench/locks >>"$BUILD/release.log" 2>&1 || build_failed
    bench_stack
    case ${1-} in
    cache | locks | million) bench_run "$1" ;;
    workers) bench_run "$@" ;;
    *) bench_run rows "$@" ;;
    esac
    bench_status=$?
    bench_keep
    stack_end_all
    exit $bench_status
}

# The first free port from $1 on.
bench_port() {
    bench_free=$1
    while port_taken "$bench_free"; do
        bench_free=$((bench_free + 1))
    done
    echo "$bench_free"
}

bench_stack() {
    LINK=$BUILD/bench
    bench_lock
    [ -z "$(stack_living)" ] || stack_end_all # of a bench that was killed
    stack_folder no
    mkdir "$RUN/work" && chmod 755 "$RUN/work"
    BENCH_PORT=$(bench_port 18080)
    BENCH_FLOOR_PORT=$(bench_port $((BENCH_PORT + 1)))
    printf '%s\n' "URL='http://127.0.0.1:$BENCH_PORT'" "KEEP='no'" "BOOT='$(boot_id)'" >"$RUN/stack"
    trap interrupted INT TERM HUP
    stack_ignore_environment
    stack_configure "$BENCH_PORT"
    start_postgres
    start_redis
    load_data
    super_psql -d postgres -c 'GRANT pg_checkpoint TO usher_owner' # so that no checkpoint falls into a measurement
    bench_usher
    start_nginx "http://127.0.0.1:$BENCH_PORT"
    bench_floor
}

bench_lock() {
    mkdir -p "$BUILD"
    exec 9>>"$BUILD/bench.lock"
    flock -n 9 || die "another './dev bench' is at work here"
}

# Without the scheduler: what a row measures must not be promoted or drained away meanwhile.
bench_usher() {
    step "Starting usher-server"
    stack_spawn usher-server usher-server "$RUN/bin/usher-server" -c "$RUN/usher.conf"
    await usher-server usher-server test -S "$RUN/server/usher.sock"
    stack_give_way usher-server
    say "done"
}

bench_floor() {
    step "Starting the floor"
    install -m 755 "$BUILD/release/t/bench/floor" "$RUN/bin/" || fail "cannot copy the floor to $RUN/bin"
    install -d -m 755 "$RUN/floor" && install -m 644 t/bench/floor/*.lua "$RUN/floor/" || fail "cannot copy the scripts"
    owner_psql -d usher -f t/bench/floor.sql >"$RUN/logs/floor.sql.log" 2>&1 || fail "t/bench/floor.sql failed." floor.sql
    bench_quick=
    for bench_word in $(printf '%s' "${BENCH_FLOOR:-}" | tr , ' '); do
        case $bench_word in
            quick) bench_quick=-q ;;
            keys) owner_psql -d usher -f t/bench/floor_keys.sql >>"$RUN/logs/floor.sql.log" 2>&1 || fail "t/bench/floor_keys.sql failed." floor.sql ;;
            *) die "BENCH_FLOOR: there is no '$bench_word'; it knows quick and keys" ;;
        esac
    done
    BENCH_WORKERS=$(cat "/proc/$(stack_pid usher-server)/task/$(stack_pid usher-server)/children" | wc -w)
    stack_spawn floor floor "$RUN/bin/floor" -s "$RUN/server/floor.sock" -w "$BENCH_WORKERS" -r "$RUN/redis/redis.sock" \
        -d "host=$RUN/pg port=$PG_PORT dbname=usher user=usher" -l "$RUN/floor" -b "$RUN/work" \
        $bench_quick
    await floor floor test -S "$RUN/server/floor.sock"
    stack_give_way floor
    # The same nginx, with a second server in front of the floor.
    curl -s -o "$RUN/work/line" "http://127.0.0.1:$BENCH_PORT/v1/queue" || fail "usher does not answer"
    sed -i '$d' "$RUN/nginx.conf"
    bench_floor_server >>"$RUN/nginx.conf"
    bench_old=$(cat "/proc/$(stack_pid nginx)/task/$(stack_pid nginx)/children")
    kill -HUP "$(stack_pid nginx)"
    await nginx nginx curl -sf -o /dev/null "http://127.0.0.1:$BENCH_FLOOR_PORT/v1/queue"
    # Its old workers would break connections that they had accepted when they end.
    await nginx nginx bench_gone "$bench_old"
    say "done"
}

# bench_gone 'PID ...': none of these processes is there any more.
bench_gone() {
    for bench_gone_pid in $1; do
        [ ! -d "/proc/$bench_gone_pid" ] || return 1
    done
}

# Everything that the API's server has, with its locations' settings, and the floor behind it.
bench_floor_server() {
    cat <<NGINX
    upstream floor {
        server "unix:$RUN/server/floor.sock" max_fails=0;
    }
$(awk '/^    server \{/ { on = 1 } on && /^        (error_page|location)/ { exit } on' "$RUN/nginx.conf" |
        sed "s/127.0.0.1:$BENCH_PORT/127.0.0.1:$BENCH_FLOOR_PORT/")
        location = /v1/queue {
            default_type application/json;
$(grep -v '^ *#\|^$' nginx/snippets/usher-headers.conf)
            add_header Cache-Control "public, max-age=1";
            return 200 '$(cat "$RUN/work/line")';
        }
        location /floor/ {
$(grep -hv '^ *#\|^$' nginx/snippets/usher-fastcgi.conf nginx/snippets/usher-params.conf)
            fastcgi_ignore_client_abort on;
            limit_req zone=usher_address burst=1000000 nodelay;
            limit_req zone=usher_caller burst=1000000 nodelay;
            fastcgi_pass floor;
        }
    }
}
NGINX
}

bench_run() {
    bench_program=$1
    shift
    BENCH_RUN=$RUN BENCH_HERE=$SRC/t/bench BENCH_BUILD=$BUILD/release BENCH_PIDS=$RUN/pids \
        BENCH_URL=http://127.0.0.1:$BENCH_PORT BENCH_FLOOR_URL=http://127.0.0.1:$BENCH_FLOOR_PORT \
        BENCH_KEPT=$BUILD/dev/bench.json BENCH_WORKERS=$BENCH_WORKERS BENCH_SERVER_PID=$(stack_pid usher-server) perl "t/bench/$bench_program.pl" "$@" 9>&-
}

# The results go to build/dev, which may be the running demo's folder; it is marked as `run` marks it.
bench_keep() {
    ls "$RUN"/bench*.json >/dev/null 2>&1 || return 0
    if [ ! -d "$BUILD/dev/." ]; then
        rm -f "$BUILD/dev"
        mkdir "$BUILD/dev" && : >"$BUILD/dev/$MARK"
    fi
    for bench_file in "$RUN"/bench*.json; do
        cp "$bench_file" "$BUILD/dev/" && say "Written: build/dev/${bench_file##*/}"
    done
}
