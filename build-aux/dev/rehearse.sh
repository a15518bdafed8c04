# rehearse.sh: `dev rehearse`: a dress rehearsal (usher-rehearse) on the running demo, then `usherctl verify`, whose verdict
# goes into the report; and `dev rehearse admission`, which compares settings on stacks that it starts.
#
# Sourced by dev, after stack.sh and bench.sh. Unless --schedule names one, the fans get a hall of their own, made by SQL.

rehearse_usage() {
    cat <<'HELP'
Usage: ./dev rehearse [--hall SEATS[xHALLS]] [OPTION]...              an on-sale with many fans, then usherctl verify
       ./dev rehearse calibrate [--hall SEATS[xHALLS]] [OPTION]...    how much this machine carries, and what to configure
       ./dev rehearse admission [--hall SEATS] [OPTION]...            fixed beside adaptive with 0, 30 and 50 % no-shows

  --hall SEATS[xHALLS]   make so many new halls of so many seats for it [500; calibrate: 5000x4; admission: 3000]
The other options are usher-rehearse's (usher-rehearse --help); --url, --jwt-key-file, new users and a report in
build/rehearsal/ are filled in. 20,000 fans for 5,000 seats, let in at 50 a second:
  USHER_PROMOTE_BATCH=500 ./dev run --detach && ./dev rehearse --hall 5000 --fans 20000
calibrate needs a line that lets in more than the machine can carry:
  USHER_PROMOTE_BATCH=20000 USHER_ACTIVE_MAX=100000 ./dev run --detach && ./dev rehearse calibrate
admission starts a fresh demo for each of its six rehearsals, lets 100 in every 2 s with 5 s to claim (USHER_<KEY> changes
that), and prints a table of paid tickets a minute and the time to sell out.
The exit status is usher-rehearse's, and if that is 0, verify's.
HELP
}

# rehearse_verify FOLDER: verifies; the verdict is printed and ends the reports in the folder. Its status is verify's.
rehearse_verify() {
    say "Verifying:"
    verdict=$("$RUN/bin/usherctl" -c "$RUN/usher.conf" verify)
    verified=$?
    say "$verdict"
    if [ -w "$1/report.txt" ]; then
        printf '\nusherctl verify\n%s\n' "$verdict" >>"$1/report.txt"
    fi
    if [ -w "$1/report.json" ]; then
        verdict=$("$RUN/bin/usherctl" -c "$RUN/usher.conf" verify --json)
        sed -i '$ s/}$//' "$1/report.json"
        printf ',\n"verify":%s}\n' "${verdict:-null}" >>"$1/report.json"
    fi
    return $verified
}

# ---- fixed beside adaptive

# rehearse_value FILE NAME: a number of a report, "-" for null.
rehearse_value() {
    rehearse_number=$(sed -n "s/.*\"$2\":\([0-9.]*\).*/\1/p" "$1" | head -n 1)
    echo "${rehearse_number:--}"
}

# rehearse_one ADMISSION NO-SHOWS SEATS FOLDER OPTION...: one rehearsal on a stack of its own, with a fifth more buyers than
# seats; adds its line to FOLDER/table.txt.
rehearse_one() {
    one_admission=$1 one_share=$2 one_seats=$3 one_table=$4/table.txt one_folder=$4/$1-$2
    shift 4
    say "admission = $one_admission, $one_share % no-shows:"
    USHER_ADMISSION=$one_admission "$SRC/dev" run --detach --port "$REHEARSE_PORT" >"$BUILD/rehearse-stack.log" 2>&1 || {
        tail -n 5 "$BUILD/rehearse-stack.log" >&2
        die "the demo does not start"
    }
    "$SRC/dev" rehearse --hall "$one_seats" --fans $((one_seats * 120 / (100 - one_share))) --no-shows "0.$one_share" \
        --report "$one_folder" "$@" >"$BUILD/rehearse-one.log"
    one_status=$?
    "$SRC/dev" stop >/dev/null
    [ $one_status -eq 0 ] || {
        tail -n 40 "$BUILD/rehearse-one.log" >&2
        return $one_status
    }
    printf '%8s %%  %-9s %6s %16s %12s\n' "$one_share" "$one_admission" \
        "$(rehearse_value "$one_folder/report.json" sold)" "$(rehearse_value "$one_folder/report.json" sold_per_minute)" \
        "$(rehearse_value "$one_folder/report.json" seconds_to_sell_out)" | tee -a "$one_table"
}

rehearse_admission() {
    [ -z "$(stack_living)" ] || die "admission starts demos of its own; end the one that runs with ./dev stop"
    rehearse_whole_number "$1"
    admission_folder=$BUILD/rehearsal/admission
    mkdir -p "$admission_folder" || die "cannot make $admission_folder"
    REHEARSE_PORT=$(bench_port 18180)
    export USHER_PROMOTE_BATCH="${USHER_PROMOTE_BATCH-100}" USHER_PROMOTE_PERIOD="${USHER_PROMOTE_PERIOD-2s}" \
        USHER_CLAIM_WINDOW="${USHER_CLAIM_WINDOW-5s}"
    trap '"$SRC/dev" stop >/dev/null; exit 130' INT TERM HUP
    printf '%10s  %-9s %6s %16s %12s\n' no-shows admission sold 'tickets/minute' 'sold out, s' >"$admission_folder/table.txt"
    for admission_share in 0 30 50; do
        for admission_mode in fixed adaptive; do
            rehearse_one $admission_mode $admission_share "$@" || return
        done
    done
    say "$USHER_PROMOTE_BATCH let in every $USHER_PROMOTE_PERIOD, $USHER_CLAIM_WINDOW to claim:"
    cat "$admission_folder/table.txt"
    say "Reports and this table are in build/rehearsal/admission/."
}

# rehearse_hall SEATS HALLS: makes them, for one new concert; sets CONCERT and SCHEDULES.
rehearse_hall() {
    step "Making $2 hall(s) of $1 seats"
    made=$(owner_psql -d usher -At -F ' ' -v seats="$1" -v halls="$2" <<'SQL'
WITH concert AS (
    INSERT INTO concert (name, description) VALUES ('Dress rehearsal', 'Made by ./dev rehearse.') RETURNING id
), schedule AS (
    INSERT INTO concert_schedule (concert_id, place, concert_at, reservation_opens_at, reservation_closes_at)
    SELECT id, 'Rehearsal hall ' || n, now() + interval '60 days' + n * interval '1 hour', now() - interval '1 hour',
           now() + interval '30 days'
    FROM concert, generate_series(1, :halls) AS n
    RETURNING id, concert_id
), seat AS (
    INSERT INTO concert_seat (schedule_id, location, price)
    SELECT id, 'R' || 1 + n / 50 || '-' || 1 + n % 50, 50000
    FROM schedule, generate_series(0, :seats - 1) AS n
    ORDER BY id, n
)
SELECT concert_id, string_agg(id::text, ',' ORDER BY id) FROM schedule GROUP BY concert_id
SQL
    ) && owner_psql -d usher -c 'ANALYZE concert_schedule, concert_seat' &&
        "$RUN/bin/usherctl" -c "$RUN/usher.conf" evict >/dev/null || {
        say "failed"
        die "cannot make the hall"
    }
    CONCERT=${made% *} SCHEDULES=${made#* }
    say "done: concert $CONCERT, schedule $SCHEDULES"
}

# rehearse_whole_number TEXT: one that SQL may see.
rehearse_whole_number() {
    case $1 in '' | 0* | *[!0-9]* | ????????*) usage_error "--hall wants SEATS or SEATSxHALLS, such as 5000 or 5000x4." ;; esac
}

verb_rehearse() {
    exec 3>&1
    hall='' has_schedule=no has_users=no report='' calibrate=no admission=no
    left=$#
    while [ "$left" -gt 0 ]; do
        word=$1
        shift
        left=$((left - 1))
        case $word in
        -h | --help)
            rehearse_usage
            return 0
            ;;
        --hall)
            [ "$left" -gt 0 ] || usage_error "--hall wants SEATS or SEATSxHALLS."
            hall=$1
            shift
            left=$((left - 1))
            continue
            ;;
        --hall=*)
            hall=${word#--hall=}
            continue
            ;;
        --schedule | --schedule=*) has_schedule=yes ;;
        --first-user | --first-user=* | --tokens | --tokens=*) has_users=yes ;;
        --report)
            [ "$left" -gt 0 ] || usage_error "--report wants a folder."
            report=$1
            shift
            left=$((left - 1))
            continue
            ;;
        --report=*)
            report=${word#--report=}
            continue
            ;;
        --json) exec 3>&1 1>&2 ;; # our own words are not JSON
        calibrate) calibrate=yes ;;
        admission)
            admission=yes
            continue
            ;;
        esac
        set -- "$@" "$word"
    done
    [ -z "$hall" ] || [ $has_schedule = no ] || usage_error "either --hall or --schedule."
    if [ $admission = yes ]; then
        [ "$has_schedule$has_users$calibrate" = nonono ] && [ -z "$report" ] ||
            usage_error "admission chooses halls, fans and reports itself."
        rehearse_admission "${hall:-3000}" "$BUILD/rehearsal/admission" "$@"
        return
    fi
    stack_load
    build_release
    if [ $has_schedule = no ]; then
        [ -n "$hall" ] || { [ $calibrate = yes ] && hall=5000x4 || hall=500; }
        case $hall in *x*) halls=${hall#*x} ;; *) halls=1 ;; esac
        rehearse_whole_number "${hall%%x*}"
        rehearse_whole_number "$halls"
        rehearse_hall "${hall%%x*}" "$halls"
        set -- "$@" --concert "$CONCERT" --schedule "$SCHEDULES"
    fi
    # Fans who never were here before: ids from the time on.
    [ $has_users = yes ] || set -- "$@" --first-user "$(date +%s)0000000"
    case $report in
    '') report=$BUILD/rehearsal ;;
    /*) ;;
    *) report=$HERE/$report ;;
    esac
    set -- "$@" --report "$report"
    case " $* " in *' --tokens'*) ;; *) set -- "$@" --jwt-key-file "$RUN/jwt.key" ;; esac
    # Ctrl-C ends the rehearsal, whose report and verification still follow.
    trap : INT
    (cd "$HERE" && exec "$BUILD/release/usher-rehearse" --url "$URL" "$@" >&3 3>&-)
    status=$?
    trap - INT
    case $status in 0 | 1 | 130) ;; *) return $status ;; esac
    rehearse_verify "$report"
    verified=$?
    say "The report and its timeline.html are in $report."
    [ $status -ne 0 ] || status=$verified
    return $status
}
