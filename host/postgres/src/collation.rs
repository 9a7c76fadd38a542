//! Collations that hold different texts equal: those that are not deterministic.

/// SQL for what defines collation `k`, and not its name, which is each database's own: the locale, and a digest of rules. The columns
/// have other names in PostgreSQL 14, 15 and 17, and rules came with 16.
macro_rules! collation_definition {
    () => {
        "coalesce(pg_catalog.to_jsonb(k) ->> 'colllocale', pg_catalog.to_jsonb(k) ->> 'colliculocale', k.collcollate::pg_catalog.text) \
         || coalesce(' with rules ' || pg_catalog.md5(pg_catalog.to_jsonb(k) ->> 'collicurules'), '')"
    };
}
pub(crate) use collation_definition;
