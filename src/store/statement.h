/* statement: the table of all SQL that runs outside sql/. Each is prepared right after connecting.
 *
 * `twice`: running it again after a lost answer does no harm and tells the truth. Functions with an idempotency key are
 * repeated too, when a key was given (see pg_run). */
#ifndef USHER_STORE_STATEMENT_H
#define USHER_STORE_STATEMENT_H

// clang-format off
#define RESERVATION_COLUMNS                                                                                              \
    "SELECT id, schedule_id, CASE WHEN status = 'held' AND expires_at <= c.now THEN 'expired' ELSE status::text END,"    \
    " total_price, usher_us(reserved_at), usher_us(expires_at), coalesce(usher_us(completed_at), 0),"                    \
    " greatest(0, ceil(extract(epoch FROM expires_at - c.now)))::bigint, usher_tickets(id)"                              \
    " FROM reservation, (SELECT usher_clock() AS now) AS c "

#define TICKET_IS_LIVE                                                                                                   \
    "t.live AND (r.status = 'paid' OR r.expires_at > c.now)"

/*      symbol         twice  text */
#define STATEMENT_TABLE(ROW)                                                                                             \
    ROW(PING, true, "SELECT 1")                                                                                          \
                                                                                                                         \
    /* limit, offset -> total, id, name, description; id is null when the page is empty */                               \
    ROW(CONCERT_PAGE, true,                                                                                              \
        "SELECT t.total, c.id, c.name, c.description FROM (SELECT count(*) AS total FROM concert) AS t"                  \
        " LEFT JOIN (SELECT id, name, description FROM concert ORDER BY id LIMIT $1 OFFSET $2) AS c ON true"             \
        " ORDER BY c.id")                                                                                                \
    /* after, limit -> id, name, description */                                                                          \
    ROW(CONCERTS_AFTER, true,                                                                                            \
        "SELECT id, name, description FROM concert WHERE id > $1 ORDER BY id LIMIT $2")                                  \
    ROW(CONCERT, true, "SELECT id, name, description FROM concert WHERE id = $1")                                        \
    /* concert, all -> concert id, then null or the schedule */                                                          \
    ROW(SCHEDULES, true,                                                                                                 \
        "SELECT k.id, s.id, s.place, usher_us(s.concert_at), usher_us(s.reservation_opens_at),"                          \
        " usher_us(s.reservation_closes_at)"                                                                             \
        " FROM concert k CROSS JOIN (SELECT usher_clock() AS now) AS c"                                                  \
        " LEFT JOIN concert_schedule s ON s.concert_id = k.id"                                                           \
        "  AND ($2::boolean OR s.reservation_opens_at <= c.now AND c.now < s.reservation_closes_at)"                     \
        " WHERE k.id = $1 ORDER BY s.concert_at, s.id")                                                                  \
    /* schedules -> seats, and those taken, of each in turn. All live tickets are counted by themselves, less those of   \
     * holds that are over and not tidied up, of which there are few: no join with the reservations of everybody */      \
    ROW(SEATS_COUNTED, true,                                                                                             \
        "SELECT (SELECT count(*) FROM concert_seat e WHERE e.schedule_id = s.id),"                                       \
        " (SELECT count(*) FROM reservation_ticket t WHERE t.schedule_id = s.id AND t.live)"                             \
        " - (SELECT coalesce(sum((SELECT count(*) FROM reservation_ticket t"                                             \
        "      WHERE t.reservation_id = r.id AND t.schedule_id = r.schedule_id)), 0)::bigint"                            \
        "    FROM reservation r WHERE r.status = 'held' AND r.expires_at <= c.now AND r.schedule_id = s.id)"             \
        " FROM unnest($1::bigint[]) WITH ORDINALITY AS s (id, nth), (SELECT usher_clock() AS now) AS c ORDER BY s.nth")  \
    /* schedule -> schedule id, seat or null, location, price, deadline in ms (0 sold, null free), holder */             \
    ROW(SEATS, true,                                                                                                     \
        "SELECT s.id, e.id, e.location, e.price, x.deadline, x.user_id FROM concert_schedule s"                          \
        " LEFT JOIN concert_seat e ON e.schedule_id = s.id"                                                              \
        " LEFT JOIN (SELECT t.seat_id, r.user_id,"                                                                       \
        "   CASE r.status WHEN 'paid' THEN 0 ELSE usher_us(r.expires_at) / 1000 END AS deadline"                         \
        "   FROM reservation_ticket t JOIN reservation r ON r.id = t.reservation_id,"                                    \
        "    (SELECT usher_clock() AS now) AS c"                                                                         \
        "   WHERE t.schedule_id = $1 AND " TICKET_IS_LIVE ") AS x ON x.seat_id = e.id"                                   \
        " WHERE s.id = $1 ORDER BY e.id")                                                                                \
    /* schedule, seat ids -> seat id, deadline in ms (0 sold), holder: of those that are taken */                        \
    ROW(SEATS_TAKEN, true,                                                                                               \
        "SELECT t.seat_id, CASE r.status WHEN 'paid' THEN 0 ELSE usher_us(r.expires_at) / 1000 END, r.user_id"           \
        " FROM reservation_ticket t JOIN reservation r ON r.id = t.reservation_id, (SELECT usher_clock() AS now) AS c"   \
        " WHERE t.schedule_id = $1 AND t.seat_id = ANY ($2::bigint[]) AND " TICKET_IS_LIVE                               \
        " ORDER BY t.seat_id")                                                                                           \
    /* -> ids of the schedules that are or were just on sale */                                                          \
    ROW(SCHEDULES_ON_SALE, true,                                                                                         \
        "SELECT id FROM concert_schedule, (SELECT usher_clock() AS now) AS c"                                            \
        " WHERE reservation_opens_at <= c.now AND c.now < reservation_closes_at + interval '1 day' ORDER BY id")         \
                                                                                                                         \
    /* user, schedule, seats, hold ms, limit, key, hash, look */                                                         \
    ROW(HOLD, false, "SELECT usher_hold($1, $2, $3, $4, $5, $6, $7, $8)")                                                \
    /* user, reservation */                                                                                              \
    ROW(CANCEL, true, "SELECT * FROM usher_cancel($1, $2)")                                                              \
    ROW(RESERVATION, true, RESERVATION_COLUMNS "WHERE user_id = $1 AND id = $2")                                         \
    ROW(RESERVATIONS, true, RESERVATION_COLUMNS "WHERE user_id = $1 ORDER BY id DESC LIMIT $2")                          \
    /* batch -> reservation, schedule, seats */                                                                          \
    ROW(EXPIRE, true, "SELECT * FROM usher_expire($1)")                                                                  \
                                                                                                                         \
    /* user, amount, max, key, hash */                                                                                   \
    ROW(CHARGE, true, "SELECT usher_charge($1, $2, $3, $4, $5)")                                                         \
    /* user, reservation, admitted, key, hash */                                                                         \
    ROW(PAY, true, "SELECT usher_pay($1, $2, $3, $4, $5)")                                                               \
    ROW(PAYMENT, true,                                                                                                   \
        "SELECT id, reservation_id, amount, balance, usher_us(created_at)"                                               \
        " FROM ledger WHERE user_id = $1 AND id = $2 AND reservation_id IS NOT NULL")                                    \
    ROW(BALANCE, true, "SELECT balance FROM asset WHERE user_id = $1")                                                   \
    /* user, below id, limit -> id, kind, signed amount, balance, reference, created */                                  \
    ROW(ENTRIES, true,                                                                                                   \
        "SELECT id, kind, CASE kind WHEN 'payment' THEN -amount ELSE amount END, balance,"                               \
        " kind || 's/' || id, usher_us(created_at)"                                                                      \
        " FROM (SELECT *, CASE WHEN reservation_id IS NULL THEN 'charge' ELSE 'payment' END AS kind"                     \
        "  FROM ledger WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3) AS entry ORDER BY id DESC")             \
    ROW(FORGET_KEYS, true, "SELECT usher_forget_keys($1, $2)")                                                           \
                                                                                                                         \
    /* tickets, users, events, times in ms */                                                                            \
    ROW(RECORD_LINE, true, "SELECT usher_record_line($1, $2, $3, $4)")                                                   \
    /* after ticket, limit -> ticket, user, state, issued and activated in ms: everybody who is in the line; "used" for  \
     * a payment since the admission, of which the line was not told. Only the few who are active are asked about. */    \
    ROW(LINE_AFTER, true,                                                                                                \
        "SELECT id, user_id, CASE WHEN status = 'active' AND EXISTS (SELECT FROM reservation r"                          \
        "  WHERE r.user_id = w.user_id AND r.status = 'paid' AND r.completed_at >= w.activated_at)"                      \
        " THEN 'used' ELSE status::text END,"                                                                            \
        " usher_us(issued_at) / 1000, coalesce(usher_us(activated_at) / 1000, 0)"                                        \
        " FROM waiting_token w WHERE status IN ('waiting', 'active') AND id > $1 ORDER BY id LIMIT $2")                  \
    /* -> the same columns of whose time in the line ended in the last minute that the history has seen */                \
    ROW(LINE_ENDED, true,                                                                                                \
        "SELECT id, user_id, 'over', 0, 0 FROM waiting_token"                                                            \
        " WHERE deleted_at > (SELECT max(deleted_at) FROM waiting_token) - interval '1 minute'")                         \
    /* gap -> the number from which on a restored line goes on, the highest admitted one, 1 if it is paused */           \
    ROW(RESUME_LINE, true, "SELECT * FROM usher_resume_line($1)")                                                        \
    /* paused */                                                                                                         \
    ROW(PAUSE_LINE, true, "SELECT usher_pause_line($1)")                                                                 \
                                                                                                                         \
    /* lock's number -> whether this transaction has it now */                                                           \
    ROW(TRY_LOCK, false, "SELECT pg_try_advisory_xact_lock(1970496882, $1)")
// clang-format on

enum statement {
#define STATEMENT_SYMBOL(symbol, twice, text) STATEMENT_##symbol,
    STATEMENT_TABLE(STATEMENT_SYMBOL)
#undef STATEMENT_SYMBOL
        STATEMENT_COUNT
};

#endif
