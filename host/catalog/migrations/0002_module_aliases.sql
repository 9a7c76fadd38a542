-- Names that point to a version of a module, and what a module may use.

CREATE TABLE module_aliases (
    tenant      TEXT   NOT NULL,
    module_name TEXT   NOT NULL,
    alias       TEXT   NOT NULL,
    digest      TEXT   NOT NULL,
    moved_at    BIGINT NOT NULL,
    PRIMARY KEY (tenant, module_name, alias),
    FOREIGN KEY (tenant, module_name, digest) REFERENCES modules (tenant, name, digest)
);

CREATE TABLE module_limits (
    tenant      TEXT NOT NULL,
    module_name TEXT NOT NULL,
    document    TEXT NOT NULL,
    PRIMARY KEY (tenant, module_name)
);
