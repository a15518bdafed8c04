-- What else of the line must outlive Redis, in one row: what the operator wants (Redis has a copy), and with which number the
-- last restore began.
CREATE TABLE line_setting (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    paused      boolean NOT NULL,
    last_ticket bigint NOT NULL DEFAULT 0
);
INSERT INTO line_setting (paused) VALUES (false);

CREATE FUNCTION usher_pause_line(p_paused boolean) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
AS $$ UPDATE line_setting SET paused = p_paused $$;

-- With which numbers a restored line goes on: last_ticket lies p_gap above every number that may have been given (a history
-- that knows none: 0, the line begins with 1), serving is the highest admitted one, paused 1 or 0. Written down, so that a
-- second loss does not give out again what people got after the first.
CREATE FUNCTION usher_resume_line(p_gap bigint, OUT last_ticket bigint, OUT serving bigint, OUT paused bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER
AS $$
    UPDATE line_setting s SET last_ticket = CASE h.given WHEN 0 THEN 0 ELSE h.given + p_gap END
    FROM (SELECT greatest((SELECT max(w.id) FROM waiting_token w), l.last_ticket) AS given,
                 coalesce((SELECT max(w.id) FROM waiting_token w WHERE w.activated_at IS NOT NULL), 0) AS serving
          FROM line_setting l) AS h
    RETURNING s.last_ticket, h.serving, s.paused::int::bigint
$$;

-- The line's history: a batch of events from Redis' stream, in the stream's order. Delivered at least once, so a repeated
-- event changes nothing: a token's state only moves forward (waiting < active < used, expired, left).
-- One at a time: ON CONFLICT looks out for the same ticket only, and who writes that at the same moment would be stopped by the
-- index of the user's live token.
CREATE FUNCTION usher_record_line(p_tickets bigint[], p_users bigint[], p_events text[], p_times_ms bigint[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
AS $$
    SELECT pg_advisory_xact_lock(1970496883, 0); -- guard: history-lock

    -- Who has a new ticket has no older one. Its end is told by its own event; should that be lost, it ends here.
    UPDATE waiting_token w SET status = 'expired', deleted_at = to_timestamp(n.ms / 1000.0)
    FROM unnest(p_tickets, p_users, p_events, p_times_ms) AS n (ticket, user_id, event, ms)
    WHERE n.event = 'issued' AND w.user_id = n.user_id AND w.id < n.ticket AND w.status IN ('waiting', 'active')
      AND NOT EXISTS (SELECT FROM unnest(p_tickets, p_events) AS e (ticket, event)
                      WHERE e.ticket = w.id AND e.event IN ('used', 'expired', 'left'));

    INSERT INTO waiting_token AS w (id, user_id, status, issued_at, activated_at, deleted_at)
    SELECT e.ticket, min(e.user_id), max(e.status),
           coalesce(min(e.at) FILTER (WHERE e.status = 'waiting'), min(e.at)),
           min(e.at) FILTER (WHERE e.status = 'active'),
           min(e.at) FILTER (WHERE e.status > 'active')
    FROM (SELECT u.ticket, u.user_id, to_timestamp(u.ms / 1000.0) AS at,
                 CASE u.event WHEN 'issued' THEN 'waiting' WHEN 'activated' THEN 'active' ELSE u.event END::waiting_status
                     AS status
          FROM unnest(p_tickets, p_users, p_events, p_times_ms) AS u (ticket, user_id, event, ms)) e
    GROUP BY e.ticket
    ORDER BY e.ticket -- a user's earlier ticket ends before the next one lives
    ON CONFLICT (id) DO UPDATE SET
        status = greatest(w.status, excluded.status),
        activated_at = coalesce(w.activated_at, excluded.activated_at),
        deleted_at = coalesce(w.deleted_at, excluded.deleted_at)
        WHERE w.user_id = excluded.user_id -- a ticket is one person's for ever
$$;
