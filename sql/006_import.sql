-- Bringing concerts in, for usherctl import. Not for the workers.

-- {"concerts": [{"name", "description", "schedules": [{"place", "concert_at", "reservation_opens_at",
-- "reservation_closes_at", "seats": [{"location", "price"}]}]}]}. All or nothing; returns what was made.
CREATE FUNCTION usher_import(p_season jsonb, OUT concerts bigint, OUT schedules bigint, OUT seats bigint)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_concert record;
    v_schedule record;
    v_id bigint;
    v_count bigint;
BEGIN
    concerts := 0;
    schedules := 0;
    seats := 0;
    IF jsonb_typeof(p_season -> 'concerts') IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'the file has no array "concerts"' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR v_concert IN SELECT c ->> 'name' AS name, coalesce(c ->> 'description', '') AS description,
                            coalesce(c -> 'schedules', '[]') AS schedules
                     FROM jsonb_array_elements(p_season -> 'concerts') AS c
    LOOP
        INSERT INTO concert (name, description) VALUES (v_concert.name, v_concert.description) RETURNING id INTO v_id;
        concerts := concerts + 1;
        FOR v_schedule IN SELECT s FROM jsonb_array_elements(v_concert.schedules) AS s
        LOOP
            WITH made AS (
                INSERT INTO concert_schedule (concert_id, place, concert_at, reservation_opens_at, reservation_closes_at)
                VALUES (v_id, v_schedule.s ->> 'place', (v_schedule.s ->> 'concert_at')::timestamptz,
                        (v_schedule.s ->> 'reservation_opens_at')::timestamptz,
                        (v_schedule.s ->> 'reservation_closes_at')::timestamptz)
                RETURNING id
            )
            INSERT INTO concert_seat (schedule_id, location, price)
            SELECT made.id, e ->> 'location', (e ->> 'price')::bigint
            FROM made, jsonb_array_elements(coalesce(v_schedule.s -> 'seats', '[]')) AS e;
            GET DIAGNOSTICS v_count = ROW_COUNT;
            schedules := schedules + 1;
            seats := seats + v_count;
        END LOOP;
    END LOOP;
END
$$;
