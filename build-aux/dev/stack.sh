# stack.sh: the private stack of `dev run`: where it lives, how it starts, answers, and ends.
#
# Sourced by dev. Everything is in build/dev, or, where its path is too long for a unix socket or the servers' user cannot
# reach it, in a folder of /var/tmp that build/dev links to:
#   stack pids usher.conf nginx.conf jwt.key queue.key bin/ logs/    belong to the caller; the servers only read them
#   pgdata/ pg/ redis/ nginx/ server/                                data and sockets, of the servers' user
# pids has a line "NAME PID START" for each server, in the order of starting; START is the process' start time from /proc, so
# that a number which the kernel has given to another process since is never signalled. Every server leads its own session.

LINK=$BUILD/dev
MARK=.usher-dev       # in every folder that `run` made: nothing else is ever removed
ROOM_FOR_PATH=75      # longest folder: a unix socket's path has at most 107 bytes, and ours add up to 25
SERVER_USER=nobody    # runs the servers when the caller is root
SERVER_GROUP=nogroup
PG_PORT=5432          # only names the socket: nothing listens on TCP but nginx, as trust on TCP would let in every local user

# as_server COMMAND...: runs it as the servers' user. It execs, so that $! is the server itself.
if [ "$(id -u)" -eq 0 ]; then
    as_server() {
        exec env --default-signal=INT,QUIT HOME=/nonexistent LC_ALL=C.UTF-8 \
            setpriv --reuid="$SERVER_USER" --regid="$SERVER_GROUP" --clear-groups "$@"
    }
else
    as_server() { exec env --default-signal=INT,QUIT LC_ALL=C.UTF-8 "$@"; }
fi

# ---- processes

# proc_field PID N: the Nth field of /proc/PID/stat after the name: 2 parent, 4 session, 20 start time.
proc_field() {
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f "$2"
}

# Not a zombie, and still the one that was started.
proc_alive() {
    [ "$(proc_field "$1" 20)" = "$2" ] && [ "$(proc_field "$1" 1)" != Z ]
}

# stack_spawn LOG NAME COMMAND...: starts a server in its own session and notes it.
stack_spawn() {
    spawn_log=$1 spawn_name=$2
    shift 2
    (as_server setsid "$@") </dev/null >>"$RUN/logs/$spawn_log.log" 2>&1 9>&- &
    printf '%s %s %s\n' "$spawn_name" $! "$(proc_field $! 20)" >>"$RUN/pids"
}

stack_pid() { sed -n "s/^$1 \([0-9]*\) .*/\1/p" "$RUN/pids"; }

# stack_give_way NAME: a third of the others' share of the processor while all want it, as CPUWeight=33 in usher.service. By
# the kernel's groups, one for each session, where it has them.
stack_give_way() {
    if [ -w "/proc/$(stack_pid "$1")/autogroup" ]; then
        echo 5 >"/proc/$(stack_pid "$1")/autogroup"
    fi
}

# proc_session PID START: the processes of the session that PID leads or led. A leader that was killed can leave some behind
# (nginx' workers); their session keeps the number from being given to another process.
proc_session() {
    [ ! -d "/proc/$1" ] || [ "$(proc_field "$1" 20)" = "$2" ] || return 0
    grep -lE "^[0-9]+ \(.*\) [^Z] [0-9]+ [0-9]+ $1 " /proc/[0-9]*/stat 2>/dev/null | cut -d / -f 3
}

# The servers of which something is alive, "NAME PID START" a line, the last started first.
stack_living() {
    [ -r "$LINK/pids" ] || return 0
    [ "$(sed -n "s/^BOOT='\(.*\)'$/\1/p" "$LINK/stack" 2>/dev/null)" = "$(boot_id)" ] || return 0
    tac "$LINK/pids" | while read -r name pid start; do
        if proc_alive "$pid" "$start" || [ -n "$(proc_session "$pid" "$start")" ]; then
            echo "$name $pid $start"
        fi
    done
}

boot_id() { cat /proc/sys/kernel/random/boot_id; }

# stack_end NAME PID START: asks it to end, waits up to 15 s, then insists; leaves nothing of its session.
stack_end() {
    signal=TERM
    [ "$1" != PostgreSQL ] || signal=INT # fast shutdown: does not wait for clients
    if proc_alive "$2" "$3"; then
        kill -s "$signal" "$2" 2>/dev/null || return 1
    fi
    end_tries=150
    while proc_alive "$2" "$3" && [ $end_tries -gt 0 ]; do
        sleep 0.1
        end_tries=$((end_tries - 1))
    done
    end_tries=50
    while left=$(proc_session "$2" "$3") && [ -n "$left" ]; do
        for member in $left; do
            kill -s KILL "$member" 2>/dev/null
        done
        end_tries=$((end_tries - 1))
        [ $end_tries -gt 0 ] || return 1
        sleep 0.1
    done
}

# Ends all servers, the last started first. Progress on standard output.
stack_end_all() {
    touch "$LINK/stopping" 2>/dev/null
    living=$(stack_living)
    [ -n "$living" ] || return 0
    # In the shell itself, not in a pipe's: its status counts.
    while read -r name pid start; do
        printf '%s' "Stopping $name ... "
        if stack_end "$name" "$pid" "$start"; then say "done"; else
            say "failed"
            die "cannot end $name (process $pid): are you the user who started it?"
        fi
    done <<LIVING
$living
LIVING
}

# ---- the folder

# Removes what an earlier run left, wherever build/dev leads, and only if a run made it.
stack_remove() {
    if [ -d "$LINK/." ]; then
        old=$(readlink -f "$LINK")
        [ -e "$old/$MARK" ] || die "$old was not made by './dev run'; move it away"
        rm -rf "$old" || die "cannot remove $old: go on as the user who made it"
    fi
    rm -f "$LINK" || die "cannot remove $LINK"
}

# After the end: with --keep only what is of no use without processes goes, otherwise everything but the logs.
stack_tidy() {
    if [ "$(sed -n "s/^KEEP='\(.*\)'$/\1/p" "$LINK/stack" 2>/dev/null)" = yes ]; then
        rm -f "$LINK/pids" "$LINK/stack" "$LINK/stopping"
        return
    fi
    kept=$(mktemp -d "$BUILD/logs.XXXXXX") || die "cannot make a folder in $BUILD"
    chmod 755 "$kept"
    mv "$LINK/logs" "$kept/" 2>/dev/null
    : >"$kept/$MARK"
    stack_remove
    mv "$kept" "$LINK"
}

# stack_folder KEEP: makes the folder, or with KEEP=yes takes the one that is there; sets RUN and FRESH.
stack_folder() {
    FRESH=yes
    if [ "$1" = yes ] && [ -d "$LINK/pgdata" ]; then
        FRESH=no
    else
        stack_remove
        RUN=$LINK
        if [ "${#LINK}" -gt "$ROOM_FOR_PATH" ] || ! (as_server test -x "$BUILD") 2>/dev/null; then
            RUN=$(mktemp -d /var/tmp/usher-dev.XXXXXX) && ln -s "$RUN" "$LINK" || die "cannot make a folder in /var/tmp"
        else
            mkdir "$RUN" || die "cannot make $RUN"
        fi
        : >"$RUN/$MARK"
        mkdir "$RUN/bin" "$RUN/logs" "$RUN/pgdata" "$RUN/pg" "$RUN/redis" "$RUN/nginx" "$RUN/server" ||
            die "cannot make the folders in $RUN"
        chmod 700 "$RUN/pgdata" "$RUN/pg" "$RUN/redis" "$RUN/nginx" "$RUN/server"
        if [ "$(id -u)" -eq 0 ]; then
            chmod 711 "$RUN"
            chown "$SERVER_USER:$SERVER_GROUP" "$RUN/pgdata" "$RUN/pg" "$RUN/redis" "$RUN/nginx" "$RUN/server"
        else
            chmod 700 "$RUN"
        fi
    fi
    RUN=$(readlink -f "$LINK")
    rm -f "$RUN/stopping" "$RUN/pids"
    : >"$RUN/pids"
}

# stack_key FILE: 32 random bytes in hex, readable by the servers' user and nobody else.
stack_key() {
    (umask 077 && od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n' >"$1") || die "cannot write $1"
    [ "$(id -u)" -ne 0 ] || { chgrp "$SERVER_GROUP" "$1" && chmod 640 "$1"; }
}

# ---- starting

step() { printf '%s' "$* ... "; }

# fail 'WHAT' [LOG]: shows the log's end, ends what was started, exits 1.
fail() {
    say "failed"
    if [ $# -gt 1 ]; then
        complain "the end of $LINK/logs/$2.log:"
        tail -n 25 "$RUN/logs/$2.log" >&2
    fi
    complain "$1"
    trap '' INT TERM HUP
    stack_end_all
    stack_tidy
    exit 1
}

interrupted() {
    trap '' INT TERM HUP
    say ""
    say "Interrupted."
    stack_end_all
    stack_tidy
    exit 130
}

# await NAME LOG COMMAND...: until the command succeeds, while the server NAME lives, at most 30 s.
await() {
    await_name=$1 await_log=$2 await_tries=300
    shift 2
    read -r _ await_pid await_start <<LINE
$(grep "^$await_name " "$RUN/pids")
LINE
    until "$@" >/dev/null 2>&1; do
        proc_alive "$await_pid" "$await_start" || fail "$await_name ended while it was starting." "$await_log"
        await_tries=$((await_tries - 1))
        [ $await_tries -gt 0 ] || fail "$await_name does not answer after 30 s." "$await_log"
        sleep 0.1
    done
}

# port_taken PORT: somebody listens on it, on loopback or on every address.
port_taken() {
    awk -v port="$(printf %04X "$1")" '
        FNR > 1 && $4 == "0A" { n = split($2, a, ":"); if (a[n] == port) found = 1 }
        END { exit !found }' /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

postgres_folder() {
    ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5n | tail -n 1
}

# As in an installation: postgres made the cluster, usher_owner owns the database and nothing else.
super_psql() { psql -X -q -v ON_ERROR_STOP=1 -h "$RUN/pg" -p "$PG_PORT" -U postgres "$@"; }
owner_psql() { psql -X -q -v ON_ERROR_STOP=1 -h "$RUN/pg" -p "$PG_PORT" -U usher_owner "$@"; }

# milliseconds DURATION: of a configuration value: 90 90s 250ms 5min 24h
milliseconds() {
    echo "$1" | awk '{ n = $1 + 0; u = $1; sub(/^[0-9]+/, "", u)
        print n * (u == "ms" ? 1 : u == "min" ? 60000 : u == "h" ? 3600000 : 1000) }'
}

setting() { sed -n "s/^$1 *= *//p" "$RUN/logs/configuration.log"; }

# What `run` decides itself.
stack_ignore_environment() {
    for key in listen listen_shop database database_owner redis jwt_algorithm jwt_key_file queue_key_file; do
        name=USHER_$(echo $key | tr '[:lower:]' '[:upper:]')
        if env | grep -q "^$name="; then
            complain "$name is set, but 'run' chooses $key itself: ignored"
            unset "$name"
        fi
    done
}

stack_configure() {
    step "Writing and checking the configuration"
    install -m 755 "$BUILD/release/usher-server" "$BUILD/release/usher-scheduler" "$BUILD/release/usherctl" \
        build-aux/dev/scheduler.sh "$RUN/bin/" || fail "cannot copy the programs to $RUN/bin"
    # Its name decides what it is: redis-tools carries the server's binary under the name of its checking tool.
    ln -sf "$(command -v redis-server || command -v redis-check-rdb)" "$RUN/bin/redis-server"
    if [ "$FRESH" = yes ]; then
        stack_key "$RUN/jwt.key"
        stack_key "$RUN/queue.key"
    fi
    cat >"$RUN/usher.conf" <<CONF
# Written by ./dev run. The environment (USHER_<KEY>) overrides it.
listen = $RUN/server/usher.sock
listen_shop = $RUN/server/shop.sock
database = host=$RUN/pg port=$PG_PORT dbname=usher user=usher
database_owner = host=$RUN/pg port=$PG_PORT dbname=usher user=usher_owner
redis = $RUN/redis/redis.sock
jwt_key_file = $RUN/jwt.key
queue_key_file = $RUN/queue.key
CONF
    "$RUN/bin/usherctl" -c "$RUN/usher.conf" --print-config >"$RUN/logs/configuration.log" 2>&1 ||
        fail "the configuration is not valid." configuration
    build-aux/nginx-conf --dir "$RUN/nginx" --listen "127.0.0.1:$1" --socket "$RUN/server/usher.sock" \
        --shop-socket "$RUN/server/shop.sock" --workers auto \
        --access-log "$RUN/logs/nginx-access.log" --error-log stderr --rate-address 1000000r/s --burst-address 1000000 \
        --rate-token 1000000r/s --burst-token 1000000 --connections 50000 >"$RUN/nginx.conf" || fail "cannot write nginx.conf"
    : >>"$RUN/logs/nginx-access.log"
    [ "$(id -u)" -ne 0 ] || chown "$SERVER_USER" "$RUN/logs/nginx-access.log"
    say "done"
}

start_postgres() {
    step "Starting PostgreSQL"
    if [ "$FRESH" = yes ]; then
        (as_server "$PG/initdb" -D "$RUN/pgdata" -U postgres -A trust --no-locale -E UTF8 --no-sync --no-instructions) \
            >"$RUN/logs/initdb.log" 2>&1 9>&- </dev/null || fail "initdb failed." initdb
    fi
    # Durable as in production: fsync and synchronous_commit stay on. Autovacuum, checkpoints: as they are.
    stack_spawn postgresql PostgreSQL "$PG/postgres" -D "$RUN/pgdata" -k "$RUN/pg" -p "$PG_PORT" -c listen_addresses= \
        -c unix_socket_permissions=0700 -c max_connections=200 -c shared_buffers=256MB -c max_wal_size=2GB -c jit=off \
        -c log_line_prefix='%m [%p] %u ' -c timezone=UTC -c log_timezone=UTC
    await PostgreSQL postgresql "$PG/pg_isready" -q -h "$RUN/pg" -p "$PG_PORT"
    say "done"
}

start_redis() {
    step "Starting Redis"
    stack_spawn redis Redis "$RUN/bin/redis-server" --port 0 --unixsocket "$RUN/redis/redis.sock" --unixsocketperm 700 \
        --dir "$RUN/redis" --appendonly yes --appendfsync everysec --maxmemory-policy noeviction --save '' --daemonize no
    await Redis redis sh -c 'redis-cli -s "$1" ping | grep -q PONG' sh "$RUN/redis/redis.sock"
    say "done"
}

load_data() {
    step "Creating the tables"
    if [ "$FRESH" = yes ]; then
        super_psql -d postgres -c 'CREATE ROLE usher LOGIN' -c 'CREATE ROLE usher_owner LOGIN' \
            -c 'CREATE DATABASE usher OWNER usher_owner' >"$RUN/logs/migrate.log" 2>&1 ||
            fail "cannot create the roles and the database." migrate
    fi
    "$RUN/bin/usherctl" -c "$RUN/usher.conf" migrate >>"$RUN/logs/migrate.log" 2>&1 || fail "usherctl migrate failed." migrate
    say "done"
    [ "$FRESH" = yes ] || return 0
    step "Loading the demo season"
    owner_psql -d usher -f sql/demo.sql >"$RUN/logs/demo.log" 2>&1 || fail "sql/demo.sql failed." demo
    say "done"
}

start_usher() {
    step "Starting usher-server"
    stack_spawn usher-server usher-server "$RUN/bin/usher-server" -c "$RUN/usher.conf"
    await usher-server usher-server test -S "$RUN/server/usher.sock"
    stack_give_way usher-server
    say "done"
    step "Starting the scheduler (promote every $(setting promote_period), expire every minute)"
    stack_spawn scheduler promote "$RUN/bin/scheduler.sh" "promote aligned" "$(milliseconds "$(setting promote_period)")" \
        "$RUN/bin/usher-scheduler" "$RUN/usher.conf"
    stack_spawn scheduler expire "$RUN/bin/scheduler.sh" expire 60000 "$RUN/bin/usher-scheduler" "$RUN/usher.conf"
    say "done"
}

start_nginx() {
    step "Starting nginx"
    stack_spawn nginx nginx "$(command -v nginx || echo /usr/sbin/nginx)" -p "$RUN/nginx" -c "$RUN/nginx.conf" -e stderr
    await nginx nginx curl -s -o /dev/null "$1/healthz"
    await nginx nginx curl -sf -o /dev/null "$1/readyz"
    say "done"
}

# stack_lock FLOCK-OPTION...: one `run` or `stop` at a time. Held as descriptor 9, which no server gets.
stack_lock() {
    # Tried in a subshell: a redirection that fails would end this one without a word.
    (: >>"$BUILD/dev.lock") 2>/dev/null ||
        die "cannot write in $BUILD: go on as $(stat -c %U "$BUILD" 2>/dev/null || stat -c %U "$SRC"), or remove it"
    exec 9>>"$BUILD/dev.lock"
    flock "$@" 9
}

# stack_run DETACH PORT KEEP
stack_run() {
    deps_need build run
    PG=$(postgres_folder)
    [ -n "$PG" ] || die "there is no PostgreSQL server in /usr/lib/postgresql"
    mkdir -p "$BUILD" 2>/dev/null
    stack_lock -n || die "another './dev run' or './dev stop' is at work here"
    [ -z "$(stack_living)" ] || die "the stack is running here already, or a part of it; end it with ./dev stop"
    ! port_taken "$2" || die "port $2 is taken by another program; choose one with --port"
    build_release
    URL=http://127.0.0.1:$2
    stack_folder "$3"
    trap interrupted INT TERM HUP
    trap 'exec >/dev/null; interrupted' PIPE # whoever read our output has gone
    if [ "$FRESH" = yes ]; then say "A fresh demo in build/dev."; else say "Going on with the data in build/dev."; fi
    printf '%s\n' "URL='$URL'" "KEEP='$3'" "BOOT='$(boot_id)'" >"$RUN/stack"
    stack_ignore_environment
    stack_configure "$2"
    start_postgres
    start_redis
    load_data
    start_usher
    start_nginx "$URL"
    exec 9>&-
    stack_welcome
    if [ "$1" = yes ]; then
        say "It runs in the background. End it with: ./dev stop"
    else
        say "It runs until you press Ctrl-C (or ./dev stop)."
        stack_watch
    fi
}

# Stays while all servers live; ends the rest when one dies, or all at a signal.
stack_watch() {
    trap 'trap "" INT TERM HUP; say ""; stack_end_all; stack_tidy; exit 0' INT TERM HUP
    while :; do
        sleep 1 &
        wait $!
        if [ -e "$RUN/stopping" ] || [ ! -e "$RUN/pids" ]; then
            say "Stopped by ./dev stop."
            exit 0
        fi
        while read -r name pid start; do
            proc_alive "$pid" "$start" && continue
            [ ! -e "$RUN/stopping" ] && [ -e "$RUN/pids" ] || continue 2
            log=$(case $name in PostgreSQL) echo postgresql ;; Redis) echo redis ;; promote | expire) echo scheduler ;;
                *) echo "$name" ;; esac)
            say ""
            step "Running"
            fail "$name has died." "$log"
        done <"$RUN/pids"
    done
}

stack_stop() {
    [ -d "$LINK/." ] || { say "Nothing is running." && return 0; }
    stack_lock -w 60 || die "another './dev run' is still starting here; press Ctrl-C there"
    if [ -z "$(stack_living)" ]; then
        [ ! -e "$LINK/pids" ] || stack_tidy
        say "Nothing is running."
        return 0
    fi
    trap '' INT TERM HUP
    stack_end_all
    stack_tidy
    say "Stopped. The logs stay in build/dev/logs."
}

# ---- talking about it

# Sets RUN and URL of the running stack, or says that there is none.
stack_load() {
    [ -n "$(stack_living)" ] || die "nothing is running here; start it with: ./dev run --detach"
    RUN=$(readlink -f "$LINK")
    URL=$(sed -n "s/^URL='\(.*\)'$/\1/p" "$RUN/stack")
}

quoted() { printf "%s='%s'\n" "$1" "$(printf '%s' "$2" | sed "s/'/'\\\\''/g")"; }

stack_env() {
    quoted USHER_URL "$URL"
    quoted PGHOST "$RUN/pg"
    quoted PGPORT "$PG_PORT"
    quoted PGUSER usher_owner
    quoted PGDATABASE usher
    quoted REDIS_SOCKET "$RUN/redis/redis.sock"
    quoted USHER_CONFIG "$RUN/usher.conf"
    quoted USHER_LOGS "$RUN/logs"
    echo "export USHER_URL PGHOST PGPORT PGUSER PGDATABASE REDIS_SOCKET USHER_CONFIG USHER_LOGS"
}

stack_welcome() {
    concert=$(owner_psql -d usher -At -c "SELECT concert_id FROM concert_schedule
        WHERE reservation_opens_at <= now() AND reservation_closes_at > now() ORDER BY 1 LIMIT 1" 2>/dev/null)
    dev=$(printf '%s' "$SRC/dev" | sed "s/'/'\\\\''/g")
    cat <<WELCOME

usher answers at $URL

From a place in the line to a paid ticket: paste these lines one by one into another shell.

Who you are, user 1:
  URL=$URL JWT=\$('$dev' token 1)
A place in the line:
  R=\$(curl -sS -X POST "\$URL/v1/queue/tokens" -H "Authorization: Bearer \$JWT"); echo "\$R"; TOKEN=\$(echo "\$R" | sed -n 's/.*"token": *"\([^"]*\)".*/\1/p')
Wait until it is your turn, at most $(setting promote_period) here; then go on within $(setting claim_window):
  until R=\$(curl -sS "\$URL/v1/queue/tokens/me" -H "Queue-Token: \$TOKEN"); echo "\$R"; echo "\$R" | grep -q '"status": *"active"'; do sleep 1; done
What is on:
  curl -sS "\$URL/v1/concerts?limit=5" -H "Authorization: Bearer \$JWT" -H "Queue-Token: \$TOKEN"; echo
When it plays:
  R=\$(curl -sS "\$URL/v1/concerts/${concert:-1}/schedules" -H "Authorization: Bearer \$JWT" -H "Queue-Token: \$TOKEN"); echo "\$R"; SCHEDULE=\$(echo "\$R" | sed -n 's/.*"items": *\[{"id": *\([0-9]*\).*/\1/p')
The free seats:
  R=\$(curl -sS "\$URL/v1/schedules/\$SCHEDULE/seats" -H "Authorization: Bearer \$JWT" -H "Queue-Token: \$TOKEN"); echo "\$R" | cut -c1-300; SEAT=\$(echo "\$R" | sed -n 's/.*"items": *\[{"id": *\([0-9]*\).*/\1/p')
Hold the first of them:
  R=\$(curl -sS "\$URL/v1/reservations" -H "Authorization: Bearer \$JWT" -H "Queue-Token: \$TOKEN" -H "Content-Type: application/json" -d "{\"schedule_id\":\$SCHEDULE,\"seat_ids\":[\$SEAT]}"); echo "\$R"; RESERVATION=\$(echo "\$R" | sed -n 's/^{"id": *\([0-9]*\).*/\1/p') PRICE=\$(echo "\$R" | sed -n 's/.*"total_price": *\([0-9]*\).*/\1/p')
Charge your balance with its price:
  curl -sS "\$URL/v1/balance/charges" -H "Authorization: Bearer \$JWT" -H "Idempotency-Key: charge-\$RESERVATION" -H "Content-Type: application/json" -d "{\"amount\":\$PRICE}"; echo
Pay:
  curl -sS "\$URL/v1/payments" -H "Authorization: Bearer \$JWT" -H "Queue-Token: \$TOKEN" -H "Idempotency-Key: pay-\$RESERVATION" -H "Content-Type: application/json" -d "{\"reservation_id\":\$RESERVATION}"; echo
Your ticket:
  curl -sS "\$URL/v1/reservations/\$RESERVATION" -H "Authorization: Bearer \$JWT"; echo

Logs: build/dev/logs    More: ./dev env, ./dev psql, ./dev redis-cli, ./dev help

WELCOME
}
