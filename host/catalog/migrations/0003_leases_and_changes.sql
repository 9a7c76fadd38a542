-- Leases in a table of their own: they are renewed every few seconds, all of a node's in one statement, and a task's row is long.

CREATE TABLE leases (
    tenant      TEXT   NOT NULL,
    task_id     TEXT   NOT NULL,
    owner       TEXT,
    lease_until BIGINT NOT NULL,
    generation  BIGINT NOT NULL,
    PRIMARY KEY (tenant, task_id),
    FOREIGN KEY (tenant, task_id) REFERENCES tasks (tenant, id) ON DELETE CASCADE
);
INSERT INTO leases (tenant, task_id, owner, lease_until, generation) SELECT tenant, id, owner, lease_until, generation FROM tasks;
ALTER TABLE tasks DROP COLUMN owner;
ALTER TABLE tasks DROP COLUMN lease_until;
ALTER TABLE tasks DROP COLUMN generation;

-- Which tasks changed in a way that the host must look at, in order: a number is never given twice. Progress and renewals
-- are no such changes. Removed first and not replaced: within a trigger, the statement outside says what a conflict does.

CREATE TABLE task_changes (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant  TEXT NOT NULL,
    task_id TEXT NOT NULL,
    UNIQUE (tenant, task_id),
    FOREIGN KEY (tenant, task_id) REFERENCES tasks (tenant, id) ON DELETE CASCADE
);
INSERT INTO task_changes (tenant, task_id) SELECT tenant, id FROM tasks;

CREATE TRIGGER task_created AFTER INSERT ON tasks BEGIN
    DELETE FROM task_changes WHERE tenant = NEW.tenant AND task_id = NEW.id;
    INSERT INTO task_changes (tenant, task_id) VALUES (NEW.tenant, NEW.id);
END;
CREATE TRIGGER task_changed AFTER UPDATE OF
    name, source_id, target_id, definition, revision, desired, run_request, start_kind, run_begun, status ON tasks BEGIN
    DELETE FROM task_changes WHERE tenant = NEW.tenant AND task_id = NEW.id;
    INSERT INTO task_changes (tenant, task_id) VALUES (NEW.tenant, NEW.id);
END;
CREATE TRIGGER lease_created AFTER INSERT ON leases BEGIN
    DELETE FROM task_changes WHERE tenant = NEW.tenant AND task_id = NEW.task_id;
    INSERT INTO task_changes (tenant, task_id) VALUES (NEW.tenant, NEW.task_id);
END;
CREATE TRIGGER lease_changed AFTER UPDATE OF owner, generation ON leases BEGIN
    DELETE FROM task_changes WHERE tenant = NEW.tenant AND task_id = NEW.task_id;
    INSERT INTO task_changes (tenant, task_id) VALUES (NEW.tenant, NEW.task_id);
END;

-- The host asks twice a second which kinds of requests wait; mostly none do.
CREATE INDEX requests_waiting ON requests (kind) WHERE state = 'waiting';
