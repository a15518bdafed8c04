# rehearse.sh: `dev rehearse`: a dress rehearsal (usher-rehearse) on the running demo, then `usherctl verify`.
#
# Sourced by dev, after stack.sh. Unless --schedule names one, the fans get a hall of their own, made by SQL.

rehearse_usage() {
    cat <<'HELP'
Usage: ./dev rehearse [--hall SEATS[xHALLS]] [OPTION]...              an on-sale with many fans, then usherctl verify
       ./dev rehearse calibrate [--hall SEATS[xHALLS]] [OPTION]...    how much this machine carries, and what to configure

  --hall SEATS[xHALLS]   make so many new halls of so many seats for it [500; for calibrate 5000x4]
The other options are usher-rehearse's (usher-rehearse --help); --url, --jwt-key-file, new users and a report in
build/rehearsal/ are filled in. 20,000 fans for 5,000 seats, let in at 50 a second:
  USHER_PROMOTE_BATCH=500 ./dev run --detach && ./dev rehearse --hall 5000 --fans 20000
calibrate needs a line that lets in more than the machine can carry:
  USHER_PROMOTE_BATCH=20000 USHER_ACTIVE_MAX=100000 ./dev run --detach && ./dev rehearse calibrate
The exit status is usher-rehearse's, and if that is 0, verify's.
HELP
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
    hall='' has_schedule=no has_users=no has_report=no calibrate=no
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
        --report | --report=*) has_report=yes ;;
        --json) exec 3>&1 1>&2 ;; # our own words are not JSON
        calibrate) calibrate=yes ;;
        esac
        set -- "$@" "$word"
    done
    [ -z "$hall" ] || [ $has_schedule = no ] || usage_error "either --hall or --schedule."
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
    [ $has_report = yes ] || set -- "$@" --report "$BUILD/rehearsal"
    case " $* " in *' --tokens'*) ;; *) set -- "$@" --jwt-key-file "$RUN/jwt.key" ;; esac
    # Ctrl-C ends the rehearsal, whose report and verification still follow.
    trap : INT
    (cd "$HERE" && exec "$BUILD/release/usher-rehearse" --url "$URL" "$@" >&3 3>&-)
    status=$?
    trap - INT
    [ $has_report = yes ] || say "The report and its timeline.html are in build/rehearsal/."
    case $status in 0 | 1 | 130) ;; *) return $status ;; esac
    say "Verifying:"
    "$RUN/bin/usherctl" -c "$RUN/usher.conf" verify
    verified=$?
    [ $status -ne 0 ] || status=$verified
    return $status
}
