-- Charging the wallet and paying from it. Both serialise on the user; both write all of their effect or nothing.

-- Adds p_amount to the wallet. outcome: created | replayed (with the ledger row), key-in-use, key-reused, balance-limit.
CREATE FUNCTION usher_charge(
    p_user bigint, p_amount bigint, p_max bigint, p_key text, p_hash bytea,
    OUT outcome text, OUT charge_id bigint, OUT amount bigint, OUT balance bigint, OUT charged_us bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
#variable_conflict use_column
DECLARE
    v_locked boolean;
    v_now timestamptz;
    v_balance bigint;
    v_seen record;
BEGIN
    IF NOT usher_lock_key(p_user, p_key) THEN
        outcome := 'key-in-use';
        RETURN;
    END IF;
    v_locked := usher_lock_user(p_user);

    SELECT a.balance, k.request_hash, k.charge_id INTO v_seen
        FROM (SELECT) AS one
        LEFT JOIN asset a ON a.user_id = p_user
        LEFT JOIN idempotency_key k ON k.user_id = p_user AND k.key = p_key;
    IF v_seen.request_hash IS NOT NULL THEN
        IF v_seen.request_hash <> p_hash OR v_seen.charge_id IS NULL THEN
            outcome := 'key-reused';
            RETURN;
        END IF;
        SELECT 'replayed', l.id, l.amount, l.balance, usher_us(l.created_at)
            INTO outcome, charge_id, amount, balance, charged_us
            FROM ledger l WHERE l.id = v_seen.charge_id;
        RETURN;
    END IF;

    IF coalesce(v_seen.balance, 0) + p_amount > p_max THEN
        outcome := 'balance-limit';
        RETURN;
    END IF;
    IF v_seen.balance IS NULL THEN
        INSERT INTO users (user_id) VALUES (p_user) ON CONFLICT DO NOTHING;
        INSERT INTO asset (user_id) VALUES (p_user) ON CONFLICT DO NOTHING;
    END IF;
    v_now := usher_clock();
    v_balance := coalesce(v_seen.balance, 0) + p_amount;
    UPDATE asset a SET balance = v_balance WHERE a.user_id = p_user;
    INSERT INTO ledger (user_id, kind, debit, credit, amount, balance, created_at)
        VALUES (p_user, 'charge', 0, p_user, p_amount, v_balance, v_now)
        RETURNING id INTO charge_id;
    INSERT INTO idempotency_key (user_id, key, request_hash, charge_id, created_at)
        VALUES (p_user, p_key, p_hash, usher_charge.charge_id, v_now);
    outcome := 'created';
    amount := p_amount;
    balance := v_balance;
    charged_us := usher_us(v_now);
END
$$;

-- Pays a held reservation. p_admitted false: the caller's queue token is no longer good, so nothing new may happen, but the
-- owner still learns what has happened.
-- outcome: created | replayed (with the payment), key-in-use, key-reused, not-found, already-paid, expired, reservation-cancelled,
-- insufficient (with balance and price), not-admitted. With created, replayed and already-paid: paid_us, schedule_id and
-- seats ("7,8") that are sold.
CREATE FUNCTION usher_pay(
    p_user bigint, p_reservation bigint, p_admitted boolean, p_key text, p_hash bytea,
    OUT outcome text, OUT payment_id bigint, OUT price bigint, OUT balance bigint, OUT paid_us bigint,
    OUT schedule_id bigint, OUT seats text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
#variable_conflict use_column
DECLARE
    v_locked boolean;
    v_now timestamptz;
    v_status reservation_status;
    v_expires timestamptz;
    v_wallet bigint;
    v_seats bigint[];
    v_seen idempotency_key;
BEGIN
    IF p_key IS NOT NULL AND NOT usher_lock_key(p_user, p_key) THEN
        outcome := 'key-in-use';
        RETURN;
    END IF;
    v_locked := usher_lock_user(p_user);

    IF p_key IS NOT NULL THEN
        SELECT * INTO v_seen FROM idempotency_key k WHERE k.user_id = p_user AND k.key = p_key;
        IF FOUND THEN
            IF v_seen.request_hash <> p_hash OR v_seen.payment_id IS NULL THEN
                outcome := 'key-reused';
                RETURN;
            END IF;
            SELECT 'replayed', p.id, p.price, l.balance, usher_us(p.paid_at), r.schedule_id, usher_seat_ids(r.id)
                INTO outcome, payment_id, price, balance, paid_us, schedule_id, seats
                FROM payment p JOIN ledger l ON l.payment_id = p.id JOIN reservation r ON r.id = p.reservation_id
                WHERE p.id = v_seen.payment_id;
            RETURN;
        END IF;
    END IF;

    v_now := usher_clock();
    SELECT r.status, r.expires_at, r.total_price, r.schedule_id, a.user_id, coalesce(a.balance, 0),
           ARRAY(SELECT t.seat_id FROM reservation_ticket t WHERE t.reservation_id = p_reservation)
        INTO v_status, v_expires, price, schedule_id, v_wallet, balance, v_seats
        FROM reservation r LEFT JOIN asset a ON a.user_id = r.user_id
        WHERE r.id = p_reservation AND r.user_id = p_user;
    outcome := CASE
        WHEN NOT FOUND THEN CASE WHEN p_admitted THEN 'not-found' ELSE 'not-admitted' END
        WHEN v_status = 'paid' THEN 'already-paid'
        WHEN NOT p_admitted THEN 'not-admitted'
        WHEN v_status = 'cancelled' THEN 'reservation-cancelled'
        WHEN v_status = 'expired' OR v_expires <= v_now THEN 'expired'
        WHEN balance < price THEN 'insufficient'
    END;
    IF outcome = 'already-paid' THEN
        SELECT usher_us(p.paid_at) INTO paid_us FROM payment p WHERE p.reservation_id = p_reservation;
        seats := array_to_string(v_seats, ',');
    END IF;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;

    -- Paying and expiring both begin with this conditional update of the same row: exactly one of them finds it held.
    UPDATE reservation r SET status = 'paid', completed_at = v_now
        WHERE r.id = p_reservation
          AND r.status = 'held' -- guard: pay-only-held
        ;
    IF NOT FOUND THEN
        SELECT CASE r.status WHEN 'cancelled' THEN 'reservation-cancelled' ELSE 'expired' END INTO outcome
            FROM reservation r WHERE r.id = p_reservation;
        RETURN;
    END IF;
    -- A user without a wallet pays nothing for a free seat, but the entry needs an account.
    IF v_wallet IS NULL THEN
        INSERT INTO asset (user_id) VALUES (p_user) ON CONFLICT DO NOTHING;
    END IF;
    UPDATE asset a SET balance = usher_pay.balance - usher_pay.price WHERE a.user_id = p_user
        RETURNING a.balance INTO STRICT balance;
    INSERT INTO payment (reservation_id, user_id, price, paid_at)
        VALUES (p_reservation, p_user, usher_pay.price, v_now)
        RETURNING id INTO payment_id;
    INSERT INTO ledger (user_id, kind, debit, credit, amount, balance, payment_id, created_at)
        VALUES (p_user, 'payment', p_user, -1, usher_pay.price, usher_pay.balance, usher_pay.payment_id, v_now);
    IF p_key IS NOT NULL THEN
        INSERT INTO idempotency_key (user_id, key, request_hash, payment_id, created_at)
            VALUES (p_user, p_key, p_hash, usher_pay.payment_id, v_now);
    END IF;
    seats := array_to_string(v_seats, ',');
    outcome := 'created';
    paid_us := usher_us(v_now);
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
