-- locks.sql: one hold of a seat and one charge of a wallet, each written under every way of locking. Functions return 1 done,
-- 0 the seat is taken, -1 somebody else was faster: try again. A hold of a seat lasts p_ms; the journals `hold` and `entry` tell
-- afterwards whether something was done twice or lost. Run again it begins afresh.
DROP SCHEMA IF EXISTS locks CASCADE;
CREATE SCHEMA locks;
SET search_path = locks;

CREATE TABLE seat (
    id         bigint PRIMARY KEY,
    held_until timestamptz NOT NULL DEFAULT '-infinity',
    holder     bigint,
    version    bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);
CREATE TABLE hold (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, seat_id bigint, holder bigint, at timestamptz, until timestamptz);
CREATE TABLE live (seat_id bigint PRIMARY KEY, until timestamptz NOT NULL) WITH (fillfactor = 70);
CREATE TABLE wallet (
    id      bigint PRIMARY KEY,
    balance bigint NOT NULL DEFAULT 0,
    version bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);
CREATE TABLE entry (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, wallet_id bigint, amount bigint, balance bigint);

INSERT INTO seat (id) SELECT generate_series(1, 100000);
INSERT INTO wallet (id) SELECT generate_series(1, 100000);

-- What follows once the seat may be taken: it is taken and the journal written.
CREATE FUNCTION take(p_seat bigint, p_user bigint, p_ms bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    UPDATE locks.seat SET held_until = v_now + p_ms * interval '1 ms', holder = p_user, version = version + 1 WHERE id = p_seat;
    INSERT INTO locks.hold (seat_id, holder, at, until) VALUES (p_seat, p_user, v_now, v_now + p_ms * interval '1 ms');
END
$$;

-- Without any lock; also what runs behind a lock in Redis.
CREATE FUNCTION hold_bare(p_seat bigint, p_user bigint, p_ms bigint) RETURNS int
LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT held_until > clock_timestamp() FROM locks.seat WHERE id = p_seat) THEN RETURN 0; END IF;
    PERFORM locks.take(p_seat, p_user, p_ms);
    RETURN 1;
END
$$;

CREATE FUNCTION hold_version(p_seat bigint, p_user bigint, p_ms bigint) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_seat locks.seat;
    v_now timestamptz := clock_timestamp();
BEGIN
    SELECT * INTO v_seat FROM locks.seat WHERE id = p_seat;
    IF v_seat.held_until > v_now THEN RETURN 0; END IF;
    UPDATE locks.seat SET held_until = v_now + p_ms * interval '1 ms', holder = p_user, version = version + 1
        WHERE id = p_seat AND version = v_seat.version;
    IF NOT FOUND THEN RETURN -1; END IF;
    INSERT INTO locks.hold (seat_id, holder, at, until) VALUES (p_seat, p_user, v_now, v_now + p_ms * interval '1 ms');
    RETURN 1;
END
$$;

CREATE FUNCTION hold_row(p_seat bigint, p_user bigint, p_ms bigint) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_until timestamptz;
BEGIN
    SELECT held_until INTO v_until FROM locks.seat WHERE id = p_seat FOR UPDATE;
    IF v_until > clock_timestamp() THEN RETURN 0; END IF;
    PERFORM locks.take(p_seat, p_user, p_ms);
    RETURN 1;
END
$$;

CREATE FUNCTION hold_advisory(p_seat bigint, p_user bigint, p_ms bigint) RETURNS int
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(p_seat);
    RETURN locks.hold_bare(p_seat, p_user, p_ms);
END
$$;

-- usher's way, behind its doorman in Redis: a unique index decides.
CREATE FUNCTION hold_unique(p_seat bigint, p_user bigint, p_ms bigint) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    DELETE FROM locks.live WHERE seat_id = p_seat AND until <= v_now;
    INSERT INTO locks.live VALUES (p_seat, v_now + p_ms * interval '1 ms') ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN RETURN 0; END IF;
    INSERT INTO locks.hold (seat_id, holder, at, until) VALUES (p_seat, p_user, v_now, v_now + p_ms * interval '1 ms');
    RETURN 1;
END
$$;

CREATE FUNCTION charge_bare(p_wallet bigint, p_amount bigint, p_unused bigint) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_balance bigint;
BEGIN
    SELECT balance + p_amount INTO v_balance FROM locks.wallet WHERE id = p_wallet;
    UPDATE locks.wallet SET balance = v_balance WHERE id = p_wallet;
    INSERT INTO locks.entry (wallet_id, amount, balance) VALUES (p_wallet, p_amount, v_balance);
    RETURN 1;
END
$$;

CREATE FUNCTION charge_version(p_wallet bigint, p_amount bigint, p_unused bigint) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_wallet locks.wallet;
BEGIN
    SELECT * INTO v_wallet FROM locks.wallet WHERE id = p_wallet;
    UPDATE locks.wallet SET balance = v_wallet.balance + p_amount, version = version + 1
        WHERE id = p_wallet AND version = v_wallet.version;
    IF NOT FOUND THEN RETURN -1; END IF;
    INSERT INTO locks.entry (wallet_id, amount, balance) VALUES (p_wallet, p_amount, v_wallet.balance + p_amount);
    RETURN 1;
END
$$;

CREATE FUNCTION charge_row(p_wallet bigint, p_amount bigint, p_unused bigint) RETURNS int
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM locks.wallet WHERE id = p_wallet FOR UPDATE;
    RETURN locks.charge_bare(p_wallet, p_amount, 0);
END
$$;

CREATE FUNCTION charge_advisory(p_wallet bigint, p_amount bigint, p_unused bigint) RETURNS int
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(p_wallet);
    RETURN locks.charge_bare(p_wallet, p_amount, 0);
END
$$;

-- How often a seat was given to somebody while somebody else had it, since the journal was emptied.
CREATE FUNCTION wrong_holds() RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM (SELECT at < lag(until) OVER (PARTITION BY seat_id ORDER BY at) AS twice FROM locks.hold) AS h WHERE twice
$$;

-- How many charges are missing in the balances.
CREATE FUNCTION wrong_charges() RETURNS bigint LANGUAGE sql AS $$
    SELECT coalesce((SELECT sum(amount) FROM locks.entry), 0)::bigint - (SELECT sum(balance) FROM locks.wallet)::bigint
$$;

CREATE FUNCTION begin_anew() RETURNS void LANGUAGE sql AS $$
    TRUNCATE locks.hold, locks.entry, locks.live;
    UPDATE locks.seat SET held_until = '-infinity' WHERE held_until <> '-infinity';
    UPDATE locks.wallet SET balance = 0 WHERE balance <> 0;
$$;
