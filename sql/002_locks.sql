-- The locks and small words that the functions share.

-- Serialises everything that one user does with money and seats. Always the first statement: in READ COMMITTED each later
-- statement then sees what the lock's last owner committed.
CREATE FUNCTION usher_lock_user(p_user bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashint8extended(p_user, 1)); -- guard: user-lock
END
$$;

-- Holds an idempotency key for the length of the transaction. False: the first request with it is still running (it is
-- given a moment to end, so that a retry which crosses its original gets the original's answer).
CREATE FUNCTION usher_lock_key(p_user bigint, p_key text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_lock constant bigint := hashtextextended(p_key, p_user);
    v_timeout text;
BEGIN
    IF pg_try_advisory_xact_lock(v_lock) THEN
        RETURN true;
    END IF;
    v_timeout := current_setting('lock_timeout');
    PERFORM set_config('lock_timeout', '250ms', true);
    BEGIN
        PERFORM pg_advisory_xact_lock(v_lock);
    EXCEPTION WHEN lock_not_available THEN
        RETURN false;
    END;
    PERFORM set_config('lock_timeout', v_timeout, true);
    RETURN true;
END
$$;

-- Microseconds since 1970, the unit in which times leave the database.
CREATE FUNCTION usher_us(p_time timestamptz) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT (extract(epoch FROM p_time) * 1000000)::bigint $$;

-- A reservation's tickets as the JSON text of the API.
CREATE FUNCTION usher_tickets(p_reservation bigint) RETURNS text
LANGUAGE sql STABLE STRICT
AS $$
    SELECT '[' || string_agg('{"id":' || id || ',"seat_id":' || seat_id || ',"location":' || to_json(location)
                             || ',"price":' || price || '}', ',' ORDER BY seat_id) || ']'
    FROM reservation_ticket WHERE reservation_id = p_reservation
$$;

-- A reservation's seat ids: "7,8".
CREATE FUNCTION usher_seat_ids(p_reservation bigint) RETURNS text
LANGUAGE sql STABLE STRICT
AS $$ SELECT string_agg(seat_id::text, ',' ORDER BY seat_id) FROM reservation_ticket WHERE reservation_id = p_reservation $$;
