-- A node says that it is alive in one row, however many leases it holds: a lease is good as long as its own end or its owner's
-- is in the future.

CREATE TABLE nodes (
    name        TEXT   PRIMARY KEY,
    alive_until BIGINT NOT NULL
);
