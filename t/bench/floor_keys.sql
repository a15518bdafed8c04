-- floor_keys.sql: the floor with the foreign keys that the requirements' ERD draws, for BENCH_FLOOR=keys: what a hold and a
-- payment cost when each row's references are looked up, and nothing else is done. (A schedule has no row in the floor.)
ALTER TABLE floor.reservation ADD FOREIGN KEY (user_id) REFERENCES floor.asset;
ALTER TABLE floor.reservation_ticket ADD FOREIGN KEY (reservation_id) REFERENCES floor.reservation,
    ADD FOREIGN KEY (seat_id) REFERENCES floor.seat;
ALTER TABLE floor.payment ADD FOREIGN KEY (reservation_id) REFERENCES floor.reservation;
