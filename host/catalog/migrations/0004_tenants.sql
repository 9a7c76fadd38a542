-- Tenants with their quotas, and keys. A row without a tenant is an operator's key.

CREATE TABLE tenants (
    name       TEXT   NOT NULL PRIMARY KEY,
    quotas     TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);
INSERT INTO tenants (name, quotas, created_at) VALUES ('default', '{}', 0);

-- A bearer key has the digest of its secret; a signing key its secret, sealed.
CREATE TABLE keys (
    id         TEXT   NOT NULL PRIMARY KEY,
    tenant     TEXT,
    kind       TEXT   NOT NULL,
    secret     BLOB   NOT NULL,
    created_at BIGINT NOT NULL,
    FOREIGN KEY (tenant) REFERENCES tenants (name)
);
