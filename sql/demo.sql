-- The demo season: 1,000 concerts. The first 24 are on sale, each with an evening in a club of 50 seats and one in a hall
-- of 1,000; the others have dates whose sale has ended or not begun. The same rows every time; running it again only
-- fills what is missing.
BEGIN;

INSERT INTO concert (id, name, description)
SELECT n,
       (ARRAY['Aurora', 'Night Ferry', 'Glass Harbour', 'The Paper Lanterns', 'Seoul Strings', 'Velvet Tram', 'Low Tide',
              'Hanok Quartet', 'Copper Wire', 'Winter Radio'])[1 + (n - 1) % 10]
           || (ARRAY[': First Light', ': Homecoming', ': Live', ': Unplugged', ': The Encore', ': Season Finale',
                     ': One Night Only'])[1 + (n - 1) / 10 % 7]
           || ' No. ' || n,
       'Concert ' || n || ' of the demo season. Doors open one hour before the first song.'
FROM generate_series(1, 1000) AS n
ON CONFLICT DO NOTHING;

-- Schedule ids: 2n-1 is the club evening of concert n, 2n the hall evening.
INSERT INTO concert_schedule (id, concert_id, place, concert_at, reservation_opens_at, reservation_closes_at)
SELECT 2 * n - 1 + h, n, (ARRAY['Club Mapo', 'Olympic Hall'])[1 + h],
       today + interval '60 days' + n * interval '1 day' + interval '19 hours' + h * interval '1 day',
       CASE WHEN n <= 24 THEN today - interval '1 day'
            WHEN n % 2 = 0 THEN today + interval '30 days'
            ELSE today - interval '30 days' END,
       CASE WHEN n <= 24 THEN today + interval '45 days'
            WHEN n % 2 = 0 THEN today + interval '45 days'
            ELSE today - interval '1 day' END
FROM generate_series(1, 1000) AS n, generate_series(0, 1) AS h,
     (SELECT date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS today) AS t
ON CONFLICT DO NOTHING;

-- Seat ids follow from the schedule: 50 or 1,000 from (schedule's first) on, row letter and number as the location.
INSERT INTO concert_seat (id, schedule_id, location, price)
SELECT (n - 1) * 1050 + h * 50 + s + 1, 2 * n - 1 + h,
       (CASE WHEN s / w < 26 THEN chr(65 + s / w) ELSE 'A' || chr(65 + s / w - 26) END) || '-' || (s % w + 1),
       CASE h WHEN 0 THEN 30000 ELSE 150000 - 2000 * (s / w) END
FROM generate_series(1, 24) AS n, generate_series(0, 1) AS h,
     LATERAL (SELECT CASE h WHEN 0 THEN 10 ELSE 25 END AS w, CASE h WHEN 0 THEN 50 ELSE 1000 END AS size) AS hall,
     LATERAL generate_series(0, size - 1) AS s
ON CONFLICT DO NOTHING;

SELECT setval(pg_get_serial_sequence('concert', 'id'), (SELECT max(id) FROM concert));
SELECT setval(pg_get_serial_sequence('concert_schedule', 'id'), (SELECT max(id) FROM concert_schedule));
SELECT setval(pg_get_serial_sequence('concert_seat', 'id'), (SELECT max(id) FROM concert_seat));
COMMIT;
ANALYZE concert, concert_schedule, concert_seat;
