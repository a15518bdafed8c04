-- What the workers' role may do: read, and call the functions above. It cannot write a table, edit the ledger or alter
-- anything. The functions run as the owner; nobody can shadow their tables with temporary ones.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
DO $$
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END
$$;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO usher;
GRANT SELECT ON users, asset, concert, concert_schedule, concert_seat, reservation, reservation_ticket, payment, ledger,
    ledger_entry, idempotency_key, waiting_token, line_setting TO usher;
GRANT EXECUTE ON FUNCTION usher_clock(), usher_us(timestamptz), usher_ticket(bigint, bigint, text, bigint), usher_tickets(bigint),
    usher_seat_ids(bigint) TO usher;
GRANT EXECUTE ON FUNCTION usher_hold(bigint, bigint, bigint[], bigint, bigint, text, bytea, boolean) TO usher;
GRANT EXECUTE ON FUNCTION usher_cancel(bigint, bigint) TO usher;
GRANT EXECUTE ON FUNCTION usher_expire(bigint) TO usher;
GRANT EXECUTE ON FUNCTION usher_charge(bigint, bigint, bigint, text, bytea) TO usher;
GRANT EXECUTE ON FUNCTION usher_pay(bigint, bigint, boolean, text, bytea) TO usher;
GRANT EXECUTE ON FUNCTION usher_forget_keys(bigint, bigint) TO usher;
GRANT EXECUTE ON FUNCTION usher_record_line(bigint[], bigint[], text[], bigint[]) TO usher;
GRANT EXECUTE ON FUNCTION usher_pause_line(boolean), usher_resume_line(bigint) TO usher;
