-- Charging the wallet and paying from it. Both serialise on the user; both write all of their effect or nothing.

CREATE TYPE charge_result AS (
    outcome text, charge_id bigint, amount bigint, balance bigint, charged_us bigint
);

-- Adds p_amount to the wallet. outcome: created | replayed (with the ledger row), key-in-use, key-reused, balance-limit.
CREATE FUNCTION usher_charge(
    p_user bigint, p_amount bigint, p_max bigint, p_key text, p_hash bytea)
RETURNS charge_result
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
DECLARE
    v charge_result;
    v_locked boolean;
    v_now timestamptz;
BEGIN
    IF p_amount <= 0 THEN
        RAISE EXCEPTION 'a charge of %', p_amount USING ERRCODE = 'check_violation', CONSTRAINT = 'charge_of_something';
    END IF;
    IF NOT usher_lock_key(p_user, p_key) THEN
        v.outcome := 'key-in-use';
        RETURN v;
    END IF;
    v_locked := usher_lock_user(p_user);

    -- The key first: whoever has written it makes the charge.
    v_now := usher_clock();
    v.charge_id := nextval('ledger_id_seq');
    INSERT INTO idempotency_key (user_id, key, request_hash, effect, effect_id, created_at)
        VALUES (p_user, p_key, p_hash, 'charge', v.charge_id, v_now)
        ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        SELECT 'replayed', l.id, l.amount, l.balance, usher_us(l.created_at)
            INTO v.outcome, v.charge_id, v.amount, v.balance, v.charged_us
            FROM idempotency_key k JOIN ledger l ON l.id = k.effect_id AND l.user_id = k.user_id
            WHERE k.user_id = p_user AND k.key = p_key AND k.request_hash = p_hash AND k.effect = 'charge';
        v.outcome := coalesce(v.outcome, 'key-reused');
        RETURN v;
    END IF;
    UPDATE asset a SET balance = a.balance + p_amount
        WHERE a.user_id = p_user AND a.balance <= p_max - p_amount
        RETURNING a.balance INTO v.balance;
    IF NOT FOUND THEN
        IF p_amount > p_max OR EXISTS (SELECT FROM asset a WHERE a.user_id = p_user) THEN
            DELETE FROM idempotency_key k WHERE k.user_id = p_user AND k.key = p_key; -- a refusal is not kept
            v.outcome := 'balance-limit';
            RETURN v;
        END IF;
        INSERT INTO asset (user_id, balance) VALUES (p_user, p_amount);
        v.balance := p_amount;
    END IF;
    INSERT INTO ledger (id, user_id, amount, balance, created_at)
        OVERRIDING SYSTEM VALUE VALUES (v.charge_id, p_user, p_amount, v.balance, v_now);
    v.outcome := 'created';
    v.amount := p_amount;
    v.charged_us := usher_us(v_now);
    RETURN v;
END
$$;

CREATE TYPE pay_result AS (
    outcome text, payment_id bigint, price bigint, balance bigint, paid_us bigint, schedule_id bigint, seats text
);

-- Pays a held reservation. p_admitted false: the caller's queue token is no longer good, so nothing new may happen, but the
-- owner still learns what has happened.
-- outcome: created | replayed (with the payment), key-in-use, key-reused, not-found, already-paid, expired, reservation-cancelled,
-- insufficient (with balance and price), not-admitted. With created, replayed and already-paid: paid_us, schedule_id and
-- seats ("7,8") that are sold.
CREATE FUNCTION usher_pay(
    p_user bigint, p_reservation bigint, p_admitted boolean, p_key text, p_hash bytea)
RETURNS pay_result
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
DECLARE
    v pay_result;
    v_locked boolean;
    v_now timestamptz;
    v_status reservation_status;
    v_seats bigint[];
    v_seen idempotency_key;
BEGIN
    IF p_key IS NOT NULL AND NOT usher_lock_key(p_user, p_key) THEN
        v.outcome := 'key-in-use';
        RETURN v;
    END IF;
    v_locked := usher_lock_user(p_user);

    IF p_key IS NOT NULL THEN
        SELECT * INTO v_seen FROM idempotency_key k WHERE k.user_id = p_user AND k.key = p_key;
        IF FOUND THEN
            SELECT 'replayed', l.id, l.amount, l.balance, usher_us(l.created_at), r.schedule_id, usher_seat_ids(r.id)
                INTO v.outcome, v.payment_id, v.price, v.balance, v.paid_us, v.schedule_id, v.seats
                FROM ledger l JOIN reservation r ON r.id = l.reservation_id
                WHERE l.user_id = p_user AND l.id = v_seen.effect_id AND v_seen.request_hash = p_hash AND v_seen.effect = 'payment';
            v.outcome := coalesce(v.outcome, 'key-reused');
            RETURN v;
        END IF;
    END IF;

    v_now := usher_clock();
    -- Paying and expiring both begin with a conditional update of the same row: exactly one of them finds it held.
    UPDATE reservation r SET status = 'paid', completed_at = v_now
        WHERE r.id = p_reservation AND r.user_id = p_user AND p_admitted AND r.expires_at > v_now
          AND r.status = 'held' -- guard: pay-only-held
        RETURNING r.total_price, r.schedule_id, ARRAY(
            SELECT t.seat_id FROM reservation_ticket t WHERE t.reservation_id = p_reservation AND t.schedule_id = r.schedule_id)
        INTO v.price, v.schedule_id, v_seats;
    IF NOT FOUND THEN
        SELECT r.status, r.schedule_id, usher_us(r.completed_at) INTO v_status, v.schedule_id, v.paid_us
            FROM reservation r WHERE r.id = p_reservation AND r.user_id = p_user;
        v.outcome := CASE
            WHEN v_status = 'paid' THEN 'already-paid'
            WHEN NOT p_admitted THEN 'not-admitted'
            WHEN v_status IS NULL THEN 'not-found'
            WHEN v_status = 'cancelled' THEN 'reservation-cancelled'
            ELSE 'expired'
        END;
        IF v_status = 'paid' THEN
            v.seats := usher_seat_ids(p_reservation);
        END IF;
        RETURN v;
    END IF;
    UPDATE asset a SET balance = a.balance - v.price
        WHERE a.user_id = p_user AND a.balance >= v.price
        RETURNING a.balance INTO v.balance;
    IF NOT FOUND THEN
        -- Whoever has no wallet can pay what costs nothing; the entry needs one.
        IF v.price = 0 THEN
            INSERT INTO asset (user_id) VALUES (p_user);
            v.balance := 0;
        ELSE
            -- Nobody has seen it paid: it is held again.
            UPDATE reservation r SET status = 'held', completed_at = NULL WHERE r.id = p_reservation;
            v.balance := coalesce((SELECT a.balance FROM asset a WHERE a.user_id = p_user), 0);
            v.outcome := 'insufficient';
            RETURN v;
        END IF;
    END IF;
    INSERT INTO ledger (user_id, amount, balance, reservation_id, created_at)
        VALUES (p_user, v.price, v.balance, p_reservation, v_now)
        RETURNING id INTO v.payment_id;
    IF p_key IS NOT NULL THEN
        INSERT INTO idempotency_key (user_id, key, request_hash, effect, effect_id, created_at)
            VALUES (p_user, p_key, p_hash, 'payment', v.payment_id, v_now);
    END IF;
    v.outcome := 'created';
    v.paid_us := usher_us(v_now);
    v.seats := array_to_string(v_seats, ',');
    RETURN v;
END
$$;

-- Forgets up to p_batch idempotency keys older than p_age_ms; returns how many.
CREATE FUNCTION usher_forget_keys(p_age_ms bigint, p_batch bigint) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER
AS $$
    WITH old AS (
        SELECT k.ctid FROM idempotency_key k
        WHERE k.created_at < usher_clock() - p_age_ms * interval '1 millisecond'
        LIMIT p_batch FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM idempotency_key k USING old WHERE k.ctid = old.ctid RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
