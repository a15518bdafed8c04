-- The locks and small words that the functions share.

-- Serialises everything that one user does with money and seats. Always the first step: in READ COMMITTED each later
-- statement then sees what the lock's last owner committed. Always true. (This and the next two are plain expressions in
-- SQL, so that PostgreSQL puts them in place and an assignment costs no statement.)
CREATE FUNCTION usher_lock_user(p_user bigint) RETURNS boolean
LANGUAGE sql VOLATILE
AS $$
    SELECT true
        AND pg_advisory_xact_lock(hashint8extended(p_user, 1)) IS NOT NULL -- guard: user-lock
$$;

-- Waits a moment for a key that somebody else has; false: he still has it.
CREATE FUNCTION usher_wait_for_key(p_lock bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_timeout constant text := current_setting('lock_timeout');
BEGIN
    PERFORM set_config('lock_timeout', '250ms', true);
    BEGIN
        PERFORM pg_advisory_xact_lock(p_lock);
    EXCEPTION WHEN lock_not_available THEN
        RETURN false;
    END;
    PERFORM set_config('lock_timeout', v_timeout, true);
    RETURN true;
END
$$;

-- Holds an idempotency key for the length of the transaction. False: the first request with it is still running (it is
-- given a moment to end, so that a retry which crosses its original gets the original's answer).
CREATE FUNCTION usher_lock_key(p_user bigint, p_key text) RETURNS boolean
LANGUAGE sql VOLATILE
AS $$
    SELECT pg_try_advisory_xact_lock(hashtextextended(p_key, p_user))
        OR usher_wait_for_key(hashtextextended(p_key, p_user))
$$;

-- Microseconds since 1970, the unit in which times leave the database. A double has room for them until the year 2255.
-- STABLE, as date_part() is: a function that claims more than its body is not put in place.
CREATE FUNCTION usher_us(p_time timestamptz) RETURNS bigint
LANGUAGE sql STABLE STRICT PARALLEL SAFE
AS $$ SELECT (date_part('epoch', p_time) * 1000000)::bigint $$;

-- A ticket as JSON text of the API.
CREATE FUNCTION usher_ticket(p_id bigint, p_seat bigint, p_location text, p_price bigint) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
AS $$
    SELECT '{"id":' || p_id || ',"seat_id":' || p_seat || ',"location":' || to_json(p_location) || ',"price":' || p_price || '}'
$$;

-- A reservation's tickets as JSON text. (In plpgsql, whose plans last as long as the connection.)
CREATE FUNCTION usher_tickets(p_reservation bigint) RETURNS text
LANGUAGE plpgsql STABLE STRICT
AS $$
BEGIN
    RETURN (SELECT '[' || string_agg(usher_ticket(t.id, t.seat_id, t.location, t.price), ',' ORDER BY t.seat_id) || ']'
            FROM reservation_ticket t WHERE t.reservation_id = p_reservation);
END
$$;

-- A reservation's seat ids: "7,8".
CREATE FUNCTION usher_seat_ids(p_reservation bigint) RETURNS text
LANGUAGE plpgsql STABLE STRICT
AS $$
BEGIN
    RETURN (SELECT string_agg(t.seat_id::text, ',' ORDER BY t.seat_id)
            FROM reservation_ticket t WHERE t.reservation_id = p_reservation);
END
$$;
