//! Statements on rows, with their values in them.
//!
//! Sources of the escapes: MySQL manual, "String Literals" and "LOAD DATA Statement".

use tidegate_connector::{ConnectorError, Image};

use super::fault::incomplete;
use super::form::Literal;
use super::json::Decimal;
use super::plan::{Put, TablePlan};

/// Appends a value as a literal.
pub(crate) fn put_literal(literal: Literal, raw: &[u8], out: &mut Vec<u8>) {
    match literal {
        Literal::Bare => return out.extend_from_slice(raw),
        Literal::Quoted => out.push(b'\''),
        Literal::Binary => out.extend_from_slice(b"_binary'"),
    }
    for byte in raw {
        match byte {
            b'\'' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            0 => out.extend_from_slice(b"\\0"),
            0x1a => out.extend_from_slice(b"\\Z"),
            _ => out.push(*byte),
        }
    }
    out.push(b'\'');
}

/// Appends a value as a field of LOAD DATA.
pub(crate) fn put_field(raw: &[u8], out: &mut Vec<u8>) {
    for byte in raw {
        match byte {
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0 => out.extend_from_slice(b"\\0"),
            _ => out.push(*byte),
        }
    }
}

/// Appends `(1, 'a', null)`.
pub(crate) fn put_row(plan: &TablePlan, image: &Image, out: &mut Vec<u8>) -> Result<(), ConnectorError> {
    let mut raw = Vec::new();
    out.push(b'(');
    for column in 0..plan.columns.len() {
        if column > 0 {
            out.push(b',');
        }
        put_column(plan, column, image, &mut raw, out)?;
    }
    out.push(b')');
    Ok(())
}

/// The session's variable for a value that travels apart.
fn apart(column: usize) -> String {
    format!("@tidegate_large_{column}")
}

/// `set @v = …`: the next piece of a value that is too large for its row's statement. The server joins them up to
/// `max_allowed_packet`.
pub(crate) fn piece(column: usize, is_first: bool, bytes: &[u8]) -> Vec<u8> {
    let name = apart(column);
    let head = if is_first { format!("set {name} = ") } else { format!("set {name} = concat({name}, ") };
    let mut sql = head.into_bytes();
    put_literal(Literal::Binary, bytes, &mut sql);
    sql.extend_from_slice(if is_first { b"" } else { b")" });
    sql
}

/// Empties the variables of these columns.
pub(crate) fn forget_pieces(columns: &[usize]) -> Vec<u8> {
    let all: Vec<String> = columns.iter().map(|column| format!("{} = null", apart(*column))).collect();
    format!("set {}", all.join(", ")).into_bytes()
}

fn put_column(plan: &TablePlan, column: usize, image: &Image, raw: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), ConnectorError> {
    if plan.apart(column, image).is_some() {
        let name = apart(column);
        let value = if plan.columns[column].literal == Literal::Binary { name } else { format!("convert({name} using utf8mb4)") };
        out.extend_from_slice(value.as_bytes());
        return Ok(());
    }
    if let Some((text, decimals)) = plan.decimal_document(column, image) {
        put_document(text, &decimals, out);
        return Ok(());
    }
    raw.clear();
    match plan.put_cell(column, image, raw)? {
        Put::Null => out.extend_from_slice(b"null"),
        Put::Unknown => return Err(incomplete(plan)),
        Put::Value => put_literal(plan.columns[column].literal, raw, out),
    }
    Ok(())
}

/// The document with each of its decimals put in its place as such: of its text alone the server would make doubles.
fn put_document(text: &str, decimals: &[Decimal<'_>], out: &mut Vec<u8>) {
    out.extend_from_slice(b"json_replace(cast(");
    put_literal(Literal::Quoted, text.as_bytes(), out);
    out.extend_from_slice(b" as json)");
    for Decimal { path, digits, precision, scale } in decimals {
        out.push(b',');
        put_literal(Literal::Quoted, path.as_bytes(), out);
        out.extend_from_slice(format!(",cast({digits} as decimal({precision},{scale}))").as_bytes());
    }
    out.push(b')');
}

/// `insert into t (…) values `.
pub(crate) fn insert_head(plan: &TablePlan) -> Vec<u8> {
    format!("insert into {} ({}) values ", plan.name_sql, names(plan)).into_bytes()
}

/// `load data …`, for a file of fields in the columns' order.
pub(crate) fn load_data(plan: &TablePlan) -> String {
    use super::form::Field;
    let (mut fields, mut sets) = (Vec::with_capacity(plan.columns.len()), Vec::new());
    for (index, column) in plan.columns.iter().enumerate() {
        let expression = match column.field {
            Field::Direct => {
                fields.push(column.name_sql.clone());
                continue;
            }
            Field::Converted => format!("convert(@v{index} using utf8mb4)"),
            Field::Number => format!("cast(@v{index} as unsigned)"),
        };
        fields.push(format!("@v{index}"));
        sets.push(format!("{} = {expression}", column.name_sql));
    }
    let sets = if sets.is_empty() { String::new() } else { format!(" set {}", sets.join(", ")) };
    format!(
        "load data local infile 'rows' into table {} character set binary fields terminated by '\\t' escaped by '\\\\' \
         lines terminated by '\\n' ({}){sets}",
        plan.name_sql,
        fields.join(", ")
    )
}

/// `delete from t where …` for rows of an identity.
pub(crate) struct DeleteSet<'a> {
    plan: &'a TablePlan,
    is_list: bool,
    pub(crate) sql: Vec<u8>,
    pub(crate) rows: u64,
}

impl<'a> DeleteSet<'a> {
    pub(crate) fn new(plan: &'a TablePlan) -> DeleteSet<'a> {
        // A list of one column's values is one range scan; NULL is in no list.
        let is_list = matches!(plan.identity[..], [only] if !plan.columns[only].is_nullable);
        DeleteSet { plan, is_list, sql: Vec::new(), rows: 0 }
    }

    /// Rows that one statement may have: servers plan lists of values in their stride, alternatives of several columns
    /// less so.
    pub(crate) fn rows_max(&self) -> u64 {
        if self.is_list { 1_000 } else { 200 }
    }

    pub(crate) fn add(&mut self, image: &Image) -> Result<(), ConnectorError> {
        let plan = self.plan;
        if self.rows == 0 {
            self.sql = format!("delete from {} where ", plan.name_sql).into_bytes();
            if self.is_list {
                self.sql.extend_from_slice(format!("{} in (", plan.columns[plan.identity[0]].name_sql).as_bytes());
            }
        } else {
            self.sql.extend_from_slice(if self.is_list { b"," } else { b" or " });
        }
        if self.is_list {
            put_column(plan, plan.identity[0], image, &mut Vec::new(), &mut self.sql)?;
        } else {
            self.sql.push(b'(');
            put_identity(plan, image, &mut self.sql)?;
            self.sql.push(b')');
        }
        self.rows += 1;
        Ok(())
    }

    /// The statement and its count of rows.
    pub(crate) fn take(&mut self) -> (Vec<u8>, u64) {
        if self.is_list && self.rows > 0 {
            self.sql.push(b')');
        }
        (std::mem::take(&mut self.sql), std::mem::take(&mut self.rows))
    }
}

/// `update t set … where …`: the columns `set` from `new`, in the row that `old` identifies; `None` when there is nothing
/// to set.
pub(crate) fn update_row(plan: &TablePlan, set: &[usize], new: &Image, old: &Image) -> Result<Option<Vec<u8>>, ConnectorError> {
    if set.is_empty() {
        return Ok(None);
    }
    let mut sql = format!("update {} set ", plan.name_sql).into_bytes();
    let mut raw = Vec::new();
    for (place, column) in set.iter().enumerate() {
        if place > 0 {
            sql.push(b',');
        }
        sql.extend_from_slice(format!("{} = ", plan.columns[*column].name_sql).as_bytes());
        put_column(plan, *column, new, &mut raw, &mut sql)?;
    }
    for name in plan.bumped.iter().filter(|name| !set.iter().any(|column| plan.columns[*column].name_sql == **name)) {
        sql.extend_from_slice(format!(", {name} = {name}").as_bytes());
    }
    sql.extend_from_slice(b" where ");
    put_finding(plan, old, &mut sql)?;
    Ok(Some(sql))
}

/// `delete from t where …` for the row that `old` identifies; one of several equal rows of a keyless table.
pub(crate) fn delete_row(plan: &TablePlan, old: &Image) -> Result<Vec<u8>, ConnectorError> {
    let mut sql = format!("delete from {} where ", plan.name_sql).into_bytes();
    put_finding(plan, old, &mut sql)?;
    Ok(sql)
}

/// Returns the row that `old` identifies, and locks it.
pub(crate) fn lock_row(plan: &TablePlan, old: &Image) -> Result<Vec<u8>, ConnectorError> {
    let mut sql = format!("select 1 from {} where ", plan.name_sql).into_bytes();
    put_finding(plan, old, &mut sql)?;
    sql.extend_from_slice(b" for update");
    Ok(sql)
}

/// The session's variable for a column's value of a row that was put aside.
fn variable(number: usize, column: usize) -> String {
    format!("@tidegate_{number}_{column}")
}

/// Keeps what the image does not know of its row in variables; `None` when it knows everything.
pub(crate) fn keep_row(plan: &TablePlan, image: &Image, number: usize) -> Result<Option<Vec<u8>>, ConnectorError> {
    let unknown: Vec<usize> = (0..plan.columns.len()).filter(|column| !plan.knows(*column, image)).collect();
    if unknown.is_empty() {
        return Ok(None);
    }
    let names: Vec<&str> = unknown.iter().map(|column| plan.columns[*column].name_sql.as_str()).collect();
    let variables: Vec<String> = unknown.iter().map(|column| variable(number, *column)).collect();
    let mut sql = format!("select {} into {} from {} where ", names.join(", "), variables.join(", "), plan.name_sql).into_bytes();
    put_finding(plan, image, &mut sql)?;
    Ok(Some(sql))
}

/// Inserts a row out of its image and the variables; and the statement that empties these.
pub(crate) fn insert_kept(plan: &TablePlan, image: &Image, number: usize) -> Result<(Vec<u8>, Option<Vec<u8>>), ConnectorError> {
    let mut sql = insert_head(plan);
    let (mut raw, mut used) = (Vec::new(), Vec::new());
    for column in 0..plan.columns.len() {
        sql.push(if column == 0 { b'(' } else { b',' });
        if plan.knows(column, image) {
            put_column(plan, column, image, &mut raw, &mut sql)?;
        } else {
            sql.extend_from_slice(variable(number, column).as_bytes());
            used.push(format!("{} = null", variable(number, column)));
        }
    }
    sql.push(b')');
    Ok((sql, (!used.is_empty()).then(|| format!("set {}", used.join(", ")).into_bytes())))
}

fn put_finding(plan: &TablePlan, old: &Image, out: &mut Vec<u8>) -> Result<(), ConnectorError> {
    if !plan.identity.is_empty() {
        return put_identity(plan, old, out);
    }
    let mut raw = Vec::new();
    for column in 0..plan.columns.len() {
        if column > 0 {
            out.extend_from_slice(b" and ");
        }
        if plan.is_error_value(column, old) {
            out.extend_from_slice(format!("{} + 0 = 0", plan.columns[column].name_sql).as_bytes());
            continue;
        }
        if let Some((text, decimals)) = plan.decimal_document(column, old) {
            out.extend_from_slice(format!("{} = ", plan.columns[column].name_sql).as_bytes());
            put_document(text, &decimals, out);
            continue;
        }
        raw.clear();
        let (text, literal) = plan.equality(column);
        match plan.put_cell(column, old, &mut raw)? {
            Put::Null => out.extend_from_slice(format!("{} is null", plan.columns[column].name_sql).as_bytes()),
            Put::Unknown => return Err(incomplete(plan)),
            Put::Value => {
                out.extend_from_slice(text.as_bytes());
                // A JSON column is compared with a document, not with a text.
                let is_json = plan.is_json(column);
                out.extend_from_slice(if is_json { b"cast(" } else { b"" });
                put_literal(literal, &raw, out);
                out.extend_from_slice(if is_json { b" as json)" } else { b"" });
            }
        }
    }
    out.extend_from_slice(b" limit 1");
    Ok(())
}

fn put_identity(plan: &TablePlan, image: &Image, out: &mut Vec<u8>) -> Result<(), ConnectorError> {
    let mut raw = Vec::new();
    for (place, column) in plan.identity.iter().enumerate() {
        if place > 0 {
            out.extend_from_slice(b" and ");
        }
        let column_plan = &plan.columns[*column];
        out.extend_from_slice(column_plan.name_sql.as_bytes());
        out.extend_from_slice(if column_plan.is_nullable { b" <=> " } else { b" = " });
        put_column(plan, *column, image, &mut raw, out)?;
    }
    Ok(())
}

pub(crate) fn names(plan: &TablePlan) -> String {
    plan.columns.iter().map(|column| column.name_sql.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(kind: Literal, raw: &[u8]) -> String {
        let mut out = Vec::new();
        put_literal(kind, raw, &mut out);
        String::from_utf8(out).expect("the raw bytes are text")
    }

    #[test]
    fn values_cannot_leave_their_literals_or_fields() {
        assert_eq!(literal(Literal::Quoted, b"o'clock \\"), r"'o\'clock \\'");
        assert_eq!(literal(Literal::Binary, b"\0'\x1a"), r"_binary'\0\'\Z'");
        assert_eq!(literal(Literal::Bare, b"-12.5"), "-12.5");
        let mut out = Vec::new();
        put_field(b"a\tb\nc\\N\0", &mut out);
        assert_eq!(out, br"a\tb\nc\\N\0");
    }
}
