-- When one of a tenant's requests was taken last, as a number that rises from turn to turn: who waits longest is next.

ALTER TABLE tenants ADD COLUMN last_turn BIGINT NOT NULL DEFAULT 0;
