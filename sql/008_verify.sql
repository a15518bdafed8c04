-- What usherctl verify looks at in PostgreSQL: one view for each invariant, empty while it holds, otherwise one row for each
-- breach in words. Most of these states are impossible as long as the constraints of 001_schema.sql stand; here they are
-- counted from the rows themselves, so that a lost constraint, a restored dump or a hand in the tables shows.
--
-- Written for a million reservations: joins and sorts of whole tables, nothing called for each row.

CREATE VIEW verify_one_live_ticket AS
SELECT format('seat %s: %s live tickets, %s to %s', seat_id, count(*), min(id), max(id)) AS breach
FROM reservation_ticket WHERE live
GROUP BY seat_id HAVING count(*) > 1;

CREATE VIEW verify_ticket_state AS
SELECT format('ticket %s: %s in schedule %s, but reservation %s is %s in schedule %s and seat %s is in schedule %s', t.id,
              CASE WHEN t.live THEN 'live' ELSE 'over' END, t.schedule_id, t.reservation_id,
              coalesce(r.status::text, 'nowhere'), r.schedule_id, t.seat_id, c.schedule_id) AS breach
FROM reservation_ticket t
LEFT JOIN reservation r ON r.id = t.reservation_id
LEFT JOIN concert_seat c ON c.id = t.seat_id
WHERE (r.status IN ('held', 'paid')) IS DISTINCT FROM t.live OR r.schedule_id IS DISTINCT FROM t.schedule_id
   OR c.schedule_id IS DISTINCT FROM t.schedule_id;

CREATE VIEW verify_reservation_state AS
SELECT format('reservation %s: %s, reserved %s, expires %s, completed %s, user %s', id, status, reserved_at, expires_at,
              coalesce(completed_at::text, 'never'), user_id) AS breach
FROM reservation
WHERE (status = 'paid') <> (completed_at IS NOT NULL) OR completed_at >= expires_at OR reserved_at >= expires_at
   OR user_id <= 0
UNION ALL
SELECT format('reservation %s: %s times', id, count(*)) FROM reservation GROUP BY id HAVING count(*) > 1;

CREATE VIEW verify_reservation_total AS
SELECT format('reservation %s: total %s, %s tickets of %s', r.id, r.total_price, coalesce(t.tickets, 0),
              coalesce(t.price, 0)) AS breach
FROM reservation r
LEFT JOIN (SELECT reservation_id, count(*) AS tickets, sum(price) AS price FROM reservation_ticket GROUP BY reservation_id) t
    ON t.reservation_id = r.id
WHERE t.price IS DISTINCT FROM r.total_price;

CREATE VIEW verify_payment AS
SELECT CASE
           WHEN p.id IS NULL THEN format('reservation %s: paid without a payment', r.id)
           WHEN r.id IS NULL THEN format('payment %s: reservation %s is not paid', p.id, p.reservation_id)
           ELSE format('payment %s: %s by user %s at %s, but reservation %s is %s of user %s, completed at %s', p.id, p.price,
                       p.user_id, p.paid_at, r.id, r.total_price, r.user_id, coalesce(r.completed_at::text, 'no time'))
       END AS breach
FROM (SELECT id, user_id, total_price, completed_at FROM reservation WHERE status = 'paid') r
FULL JOIN payment p ON p.reservation_id = r.id
WHERE r.id IS NULL OR p.id IS NULL OR p.user_id <> r.user_id OR p.price <> r.total_price
   OR p.paid_at IS DISTINCT FROM r.completed_at
UNION ALL
SELECT format('reservation %s: %s payments', reservation_id, count(*))
FROM payment GROUP BY reservation_id HAVING count(*) > 1;

CREATE VIEW verify_balance AS
SELECT format('user %s: balance %s, ledger entries %s', coalesce(a.user_id, l.user_id),
              coalesce(a.balance::text, 'missing'), coalesce(l.amount, 0)) AS breach
FROM asset a
FULL JOIN (SELECT user_id, sum(CASE WHEN reservation_id IS NULL THEN amount ELSE -amount END) AS amount FROM ledger GROUP BY user_id) l
    ON l.user_id = a.user_id
WHERE a.user_id IS NULL OR a.balance IS DISTINCT FROM coalesce(l.amount, 0);

CREATE VIEW verify_balance_not_negative AS
SELECT format('user %s: balance %s', user_id, min(balance)) AS breach
FROM (SELECT user_id, balance FROM asset WHERE balance < 0
      UNION ALL
      SELECT user_id, balance FROM ledger WHERE balance < 0) b
GROUP BY user_id;

CREATE VIEW verify_running_balance AS
SELECT format('ledger entry %s: balance %s, but user %s''s entries make %s', id, balance, user_id, running) AS breach
FROM (SELECT id, user_id, balance,
             sum(CASE WHEN reservation_id IS NULL THEN amount ELSE -amount END) OVER (PARTITION BY user_id ORDER BY id
                 ROWS UNBOUNDED PRECEDING) AS running
      FROM ledger) l
WHERE balance IS DISTINCT FROM running;

-- What came in is what was earned and what is in the wallets; nobody charges nothing, or less.
CREATE VIEW verify_ledger_zero AS
SELECT format('charged %s, earned %s, in the wallets %s', charged, earned, wallets) AS breach
FROM (SELECT coalesce(sum(amount) FILTER (WHERE reservation_id IS NULL), 0) AS charged,
             coalesce(sum(amount) FILTER (WHERE reservation_id IS NOT NULL), 0) AS earned FROM ledger) l,
     (SELECT coalesce(sum(balance), 0) AS wallets FROM asset) a
WHERE charged <> earned + wallets
UNION ALL
SELECT format('ledger entry %s: amount %s', id, coalesce(amount::text, 'none')) FROM ledger
WHERE (amount < 0 OR amount = 0 AND reservation_id IS NULL) IS NOT FALSE;

CREATE VIEW verify_idempotency AS
SELECT format('user %s, key "%s" of %s: %s %s', k.user_id, regexp_replace(left(k.key, 40), '[^[:print:]]', '?', 'g'), k.created_at,
              k.effect, k.effect_id) AS breach
FROM idempotency_key k
LEFT JOIN reservation r ON k.effect = 'reservation' AND r.id = k.effect_id AND r.user_id = k.user_id
LEFT JOIN ledger l ON k.effect <> 'reservation' AND l.id = k.effect_id AND l.user_id = k.user_id
    AND (k.effect = 'charge') = (l.reservation_id IS NULL)
WHERE num_nonnulls(r.id, l.id) <> 1;

CREATE VIEW verify_history_state AS
SELECT format('ticket %s: user %s, %s, activated %s, deleted %s', id, user_id, status, coalesce(activated_at::text, 'never'),
              coalesce(deleted_at::text, 'never')) AS breach
FROM waiting_token
WHERE (status IN ('used', 'expired', 'left')) <> (deleted_at IS NOT NULL)
   OR status = 'active' AND activated_at IS NULL
   OR status = 'waiting' AND activated_at IS NOT NULL
UNION ALL
SELECT format('user %s: %s live tickets, %s to %s', user_id, count(*), min(id), max(id))
FROM waiting_token WHERE status IN ('waiting', 'active')
GROUP BY user_id HAVING count(*) > 1;
