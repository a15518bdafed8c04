-- Holding, cancelling and expiring seats.

-- Which of the seats are taken at p_now, as JSON text [[seat id, deadline in ms (0 when sold), holder], ...]; null when none.
CREATE FUNCTION usher_taken(p_schedule bigint, p_seats bigint[], p_now timestamptz) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN (
        SELECT '[' || string_agg(format('[%s,%s,%s]', t.seat_id,
                                        CASE r.status WHEN 'paid' THEN 0 ELSE usher_us(r.expires_at) / 1000 END, r.user_id),
                                 ',') || ']'
        FROM reservation_ticket t JOIN reservation r ON r.id = t.reservation_id
        WHERE t.schedule_id = p_schedule AND t.seat_id = ANY (p_seats) AND t.live
          AND (r.status = 'paid' OR r.expires_at > p_now)
    );
END
$$;

CREATE TYPE hold_result AS (
    outcome text, reservation_id bigint, total bigint, reserved_us bigint, expires_us bigint, tickets text, taken text
);

-- Holds p_seats (distinct, ascending) of p_schedule for p_user: all or none.
-- outcome: created | replayed (with the reservation), or the refusal: key-in-use, key-reused, not-found, foreign-seat,
-- sales-closed, seat-limit, seat-unavailable. With replayed and seat-unavailable, taken says which of the seats are taken
-- now: JSON text [[seat id, deadline in ms (0 when sold), holder], ...].
-- p_look false: the doorman knows of no earlier hold of the seats, so nobody looks whether there is one. A unique violation
-- (SQLSTATE 23505) means that there is, or that another hold won while this one ran: run it again with p_look and be told.
-- Two looks, then two rows: what a statement costs is mostly its start, so there is no aggregate where a loop over one or two
-- seats will do.
CREATE FUNCTION usher_hold(
    p_user bigint, p_schedule bigint, p_seats bigint[], p_hold_ms bigint, p_limit bigint, p_key text, p_hash bytea,
    p_look boolean DEFAULT true)
RETURNS hold_result
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
DECLARE
    v hold_result;
    v_locked boolean;
    v_now timestamptz;
    v_until timestamptz;
    v_open boolean;
    v_earlier boolean;
    v_seat bigint;
    v_seats bigint := cardinality(p_seats);
    v_of bigint;
    v_price bigint;
    v_location text;
    v_foreign boolean := false;
    v_prices bigint[];
    v_locations text[];
    v_ticket bigint;
    v_seen idempotency_key;
    v_total bigint := 0;
    v_tickets text := '';
BEGIN
    IF p_key IS NOT NULL AND NOT usher_lock_key(p_user, p_key) THEN
        v.outcome := 'key-in-use';
        RETURN v;
    END IF;
    v_locked := usher_lock_user(p_user);

    IF p_key IS NOT NULL THEN
        SELECT * INTO v_seen FROM idempotency_key k WHERE k.user_id = p_user AND k.key = p_key;
        IF FOUND THEN
            IF v_seen.request_hash <> p_hash OR v_seen.effect <> 'reservation' THEN
                v.outcome := 'key-reused';
                RETURN v;
            END IF;
            SELECT 'replayed', r.id, r.total_price, usher_us(r.reserved_at), usher_us(r.expires_at), usher_tickets(r.id)
                INTO v.outcome, v.reservation_id, v.total, v.reserved_us, v.expires_us, v.tickets
                FROM reservation r WHERE r.id = v_seen.effect_id;
            v.taken := usher_taken(p_schedule, p_seats, usher_clock());
            RETURN v;
        END IF;
    END IF;

    v_now := usher_clock();
    SELECT s.reservation_opens_at <= v_now AND v_now < s.reservation_closes_at,
           EXISTS (SELECT FROM reservation r WHERE r.user_id = p_user AND r.schedule_id = p_schedule AND r.live)
        INTO v_open, v_earlier
        FROM concert_schedule s WHERE s.id = p_schedule;
    IF NOT FOUND THEN
        v.outcome := 'not-found';
        RETURN v;
    END IF;
    FOREACH v_seat IN ARRAY p_seats LOOP
        SELECT c.schedule_id, c.price, c.location INTO v_of, v_price, v_location FROM concert_seat c WHERE c.id = v_seat;
        IF NOT FOUND THEN
            v.outcome := 'not-found';
            RETURN v;
        END IF;
        v_foreign := v_foreign OR v_of <> p_schedule;
        v_prices := v_prices || v_price;
        v_locations := v_locations || v_location;
        v_total := v_total + v_price;
    END LOOP;
    IF v_foreign OR NOT v_open THEN
        v.outcome := CASE WHEN v_foreign THEN 'foreign-seat' ELSE 'sales-closed' END;
        RETURN v;
    END IF;
    IF p_look THEN
        -- Live means paid, or held and not past its deadline. What has lapsed is closed here and now by whoever wants the seat.
        v.taken := usher_taken(p_schedule, p_seats, v_now);
        IF v.taken IS NOT NULL THEN
            v.outcome := 'seat-unavailable';
            RETURN v;
        END IF;
        UPDATE reservation SET status = 'expired'
            WHERE id IN (SELECT r.id FROM reservation_ticket t JOIN reservation r ON r.id = t.reservation_id
                         WHERE t.schedule_id = p_schedule AND t.seat_id = ANY (p_seats) AND t.live
                         ORDER BY r.id FOR UPDATE OF r)
              AND status = 'held' AND expires_at <= v_now;
    END IF;
    -- What the user has already, if anything.
    IF v_earlier THEN
        SELECT v_seats + count(*) INTO v_seats
            FROM reservation r JOIN reservation_ticket t ON t.reservation_id = r.id
            WHERE r.user_id = p_user AND r.schedule_id = p_schedule
              AND (r.status = 'paid' OR r.status = 'held' AND r.expires_at > v_now);
    END IF;
    IF v_seats > p_limit THEN
        v.outcome := 'seat-limit';
        RETURN v;
    END IF;

    v_until := v_now + p_hold_ms * interval '1 millisecond';
    INSERT INTO reservation (user_id, schedule_id, status, total_price, reserved_at, expires_at)
        VALUES (p_user, p_schedule, 'held', v_total, v_now, v_until)
        RETURNING id INTO v.reservation_id;
    FOR i IN 1 .. cardinality(p_seats) LOOP
        INSERT INTO reservation_ticket (reservation_id, schedule_id, live, seat_id, location, price)
            VALUES (v.reservation_id, p_schedule, true, p_seats[i], v_locations[i], v_prices[i])
            RETURNING id INTO v_ticket;
        v_tickets := v_tickets || CASE WHEN i > 1 THEN ',' ELSE '' END
            || usher_ticket(v_ticket, p_seats[i], v_locations[i], v_prices[i]);
    END LOOP;
    IF p_key IS NOT NULL THEN
        INSERT INTO idempotency_key (user_id, key, request_hash, effect, effect_id, created_at)
            VALUES (p_user, p_key, p_hash, 'reservation', v.reservation_id, v_now);
    END IF;
    v.outcome := 'created';
    v.total := v_total;
    v.tickets := '[' || v_tickets || ']';
    v.reserved_us := usher_us(v_now);
    v.expires_us := usher_us(v_until);
    RETURN v;
END
$$;

-- Gives held seats back. outcome: cancelled (now), over (it was cancelled or expired before), already-paid, not-found.
-- schedule_id and seats ("7,8") name what became free with `cancelled`, or with an earlier one whose answer may have been cut
-- off; taken says which of them are taken now, as in usher_hold(). expires_us is until when they were held.
CREATE FUNCTION usher_cancel(
    p_user bigint, p_reservation bigint,
    OUT outcome text, OUT schedule_id bigint, OUT seats text, OUT taken text, OUT expires_us bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
DECLARE
    v_now timestamptz := usher_clock();
    v_status reservation_status;
BEGIN
    UPDATE reservation r SET status = CASE WHEN r.expires_at > v_now THEN 'cancelled' ELSE 'expired' END::reservation_status
        WHERE r.id = p_reservation AND r.user_id = p_user AND r.status = 'held'
        RETURNING r.status, r.schedule_id, usher_us(r.expires_at) INTO v_status, usher_cancel.schedule_id, expires_us;
    IF NOT FOUND THEN
        SELECT r.status, r.schedule_id, usher_us(r.expires_at) INTO v_status, usher_cancel.schedule_id, expires_us
            FROM reservation r WHERE r.id = p_reservation AND r.user_id = p_user;
        outcome := CASE WHEN v_status IS NULL THEN 'not-found' WHEN v_status = 'paid' THEN 'already-paid' ELSE 'over' END;
        IF v_status = 'cancelled' THEN
            seats := usher_seat_ids(p_reservation);
            taken := usher_taken(usher_cancel.schedule_id, string_to_array(seats, ',')::bigint[], v_now);
        END IF;
        RETURN;
    END IF;
    outcome := 'cancelled';
    seats := usher_seat_ids(p_reservation);
END
$$;

-- Ends up to p_batch holds whose deadline has passed, oldest first, leaving alone what somebody else is working on.
CREATE FUNCTION usher_expire(p_batch bigint)
RETURNS TABLE (reservation_id bigint, schedule_id bigint, seats text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := usher_clock();
BEGIN
    RETURN QUERY
        WITH due AS (
            SELECT r.id FROM reservation r
            WHERE r.status = 'held' AND r.expires_at <= v_now
            ORDER BY r.expires_at LIMIT p_batch
            FOR UPDATE SKIP LOCKED -- guard: expire-only-held
        ), ended AS (
            UPDATE reservation r SET status = 'expired' FROM due
            WHERE r.id = due.id
              AND r.status = 'held' -- guard: expire-only-held
            RETURNING r.id, r.schedule_id
        )
        SELECT e.id, e.schedule_id, usher_seat_ids(e.id) FROM ended e;
END
$$;
