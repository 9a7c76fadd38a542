//! What others put upon a table of the target: views and functions that depend on it, rights, indexes, policies. A table that
//! is dropped takes it along, or cannot be dropped.

use std::collections::{HashMap, HashSet};

use tidegate_connector::ConnectorError;
use tidegate_model::Fence;
use tokio_postgres::GenericClient;

use crate::connect::pg_error;

/// Whatever `DROP TABLE` refuses to take along, but for foreign keys. A view depends by its rule, a function by the row type.
const DEPENDENTS: &str = "select t.oid, case when r.oid is null then pg_describe_object(d.classid, d.objid, 0) \
       else pg_describe_object('pg_class'::regclass, r.ev_class, 0) end \
    from pg_class t left join pg_type y on y.oid = t.reltype cross join lateral ( \
        select classid, objid from pg_depend where refclassid = 'pg_class'::regclass and refobjid = t.oid and deptype = 'n' \
        union all \
        select classid, objid from pg_depend where refclassid = 'pg_type'::regclass and refobjid in (y.oid, y.typarray) and deptype = 'n') d \
    left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid \
    where t.oid = any($1) and d.classid in ('pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_class'::regclass) \
      and r.ev_class is distinct from t.oid \
    group by 1, 2 order by 1, 2";

/// What goes with a table and does not come again with it.
const ADDITIONS: &str = "select t.oid from pg_class t join pg_namespace n on n.oid = t.relnamespace where t.oid = any($1) and ( \
    exists (select from aclexplode(t.relacl) a where a.grantee <> t.relowner) \
    or exists (select from pg_attribute a where a.attrelid = t.oid and a.attacl is not null) \
    or exists (select from pg_policy p where p.polrelid = t.oid) \
    or exists (select from pg_trigger g where g.tgrelid = t.oid and not g.tgisinternal) \
    or exists (select from pg_publication_rel p where p.prrelid = t.oid) \
    or exists (select from pg_statistic_ext s where s.stxrelid = t.oid) \
    or exists (select from pg_index i join pg_class x on x.oid = i.indexrelid where i.indrelid = t.oid and not i.indisprimary \
        and not exists (select from tidegate.object o where o.task = $2 and o.schema_name = n.nspname and o.table_name = t.relname \
            and o.made_name = x.relname)))";

/// What depends on each of these tables, in the server's words.
pub(crate) async fn dependents(client: &impl GenericClient, oids: &[u32]) -> Result<HashMap<u32, Vec<String>>, ConnectorError> {
    let mut found: HashMap<u32, Vec<String>> = HashMap::new();
    if oids.is_empty() {
        return Ok(found);
    }
    for row in client.query(DEPENDENTS, &[&oids]).await.map_err(|error| pg_error("look for what depends on tables", error))? {
        found.entry(row.get(0)).or_default().push(row.get(1));
    }
    Ok(found)
}

/// Those of these tables on which somebody but the task put something.
pub(crate) async fn with_additions(client: &impl GenericClient, fence: &Fence, oids: &[u32]) -> Result<HashSet<u32>, ConnectorError> {
    let mut found: HashSet<u32> = dependents(client, oids).await?.into_keys().collect();
    if oids.is_empty() {
        return Ok(found);
    }
    let rows = client.query(ADDITIONS, &[&oids, &fence.task.as_str()]).await;
    found.extend(rows.map_err(|error| pg_error("look for what others put upon tables", error))?.iter().map(|row| row.get::<_, u32>(0)));
    Ok(found)
}
