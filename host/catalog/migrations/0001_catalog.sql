-- One catalog for all tenants: every table starts with the tenant. Times are microseconds since 1970, documents are JSON text.
-- Plain SQL that PostgreSQL reads too, but for AUTOINCREMENT and BLOB.

CREATE TABLE facts (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
);

CREATE TABLE endpoints (
    tenant     TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    spec       TEXT   NOT NULL,
    password   BLOB   NOT NULL,
    revision   BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name)
);

CREATE TABLE modules (
    tenant      TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    digest      TEXT   NOT NULL,
    bytes_len   BIGINT NOT NULL,
    state       TEXT   NOT NULL,
    info        TEXT   NOT NULL,
    uploaded_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, name, digest)
);

CREATE TABLE tasks (
    tenant      TEXT   NOT NULL,
    id          TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    source_id   TEXT   NOT NULL,
    target_id   TEXT   NOT NULL,
    definition  TEXT   NOT NULL,
    revision    BIGINT NOT NULL,
    desired     TEXT   NOT NULL,
    run_request BIGINT NOT NULL,
    start_kind  TEXT   NOT NULL,
    run_begun   BIGINT NOT NULL,
    status      TEXT   NOT NULL,
    progress    TEXT,
    owner       TEXT,
    lease_until BIGINT NOT NULL,
    generation  BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    started_at  BIGINT,
    stopped_at  BIGINT,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name),
    FOREIGN KEY (tenant, source_id) REFERENCES endpoints (tenant, id),
    FOREIGN KEY (tenant, target_id) REFERENCES endpoints (tenant, id)
);

CREATE TABLE task_modules (
    tenant      TEXT NOT NULL,
    task_id     TEXT NOT NULL,
    module_name TEXT NOT NULL,
    PRIMARY KEY (tenant, task_id, module_name),
    FOREIGN KEY (tenant, task_id) REFERENCES tasks (tenant, id) ON DELETE CASCADE
);

CREATE TABLE table_statuses (
    tenant      TEXT NOT NULL,
    task_id     TEXT NOT NULL,
    schema_name TEXT NOT NULL,
    table_name  TEXT NOT NULL,
    document    TEXT NOT NULL,
    PRIMARY KEY (tenant, task_id, schema_name, table_name),
    FOREIGN KEY (tenant, task_id) REFERENCES tasks (tenant, id) ON DELETE CASCADE
);

-- Events outlive their task, so they name it and do not refer to it.
CREATE TABLE events (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant   TEXT   NOT NULL,
    at       BIGINT NOT NULL,
    task     TEXT,
    category TEXT   NOT NULL,
    severity TEXT   NOT NULL,
    message  TEXT   NOT NULL
);
CREATE INDEX events_by_task ON events (tenant, task, seq);

CREATE TABLE requests (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant      TEXT   NOT NULL,
    kind        TEXT   NOT NULL,
    subject     TEXT   NOT NULL,
    payload     TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    result      TEXT,
    created_at  BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX requests_by_subject ON requests (tenant, kind, subject, id);
CREATE INDEX requests_by_state ON requests (tenant, state, id);

CREATE TABLE resources (
    tenant     TEXT   NOT NULL,
    kind       TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    document   TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, kind, id),
    UNIQUE (tenant, kind, name)
);
