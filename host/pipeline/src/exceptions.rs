//! What DMS's control table of exceptions is told of a rejected row: the statement that the target refused, or which row it
//! was where no statement was made of it.
//!
//! A statement has the values as they go to the target, behind every rule and module, unlike the image in the error table. It
//! is for people to read and not to be run: values are spelled as in JSON.

use std::sync::Arc;

use serde_json::Value as Json;
use tidegate_connector::{
    CellDecoder, ColumnOrigin, ControlRow, ControlTable, ControlValue, Dialect, Image, NeutralDecoder, RejectedOperation, TargetColumn,
    TargetTable,
};
use tidegate_model::{Engine, Row, TableName};

use crate::rejection::{IMAGE_BYTES_MAX, json_value};

/// Bytes of a statement; a longer one is cut. The rows themselves are in the error table, this is for looking at.
const STATEMENT_BYTES_MAX: usize = 16 << 10;

/// Where exceptions are told, and in whose name.
#[derive(Debug, Clone)]
pub(crate) struct Exceptions {
    pub(crate) schema: Arc<str>,
    pub(crate) task_name: String,
    /// The table that is told of rows of loads.
    pub(crate) of_loads: ControlTable,
    pub(crate) engine: Engine,
}

/// What is told of one row.
pub(crate) struct Exception<'a> {
    pub(crate) table: &'a TableName,
    pub(crate) operation: RejectedOperation,
    /// As JSON; `None` for keyless tables.
    pub(crate) key: Option<&'a str>,
    pub(crate) code: &'a str,
    pub(crate) message: &'a str,
    /// What [`Exceptions::statement`] made; `None` where the target was not asked.
    pub(crate) statement: Option<String>,
}

impl Exceptions {
    /// The row of the control table.
    pub(crate) fn row(&self, exception: Exception<'_>) -> ControlRow {
        let Exception { table, operation, key, code, message, statement } = exception;
        let statement = statement.unwrap_or_else(|| {
            let row = key.map_or_else(|| "a row without a key".to_owned(), |key| format!("row {key}"));
            cut(format!("-- {} of {row}: no statement is shown", operation.as_str()))
        });
        let text = |text: &str| ControlValue::Text(text.to_owned());
        let values = vec![
            text(&self.task_name),
            text(&table.schema),
            text(&table.name),
            ControlValue::Now,
            ControlValue::Text(statement),
            ControlValue::Text(format!("{code}: {message}")),
        ];
        let table = match operation {
            RejectedOperation::Load => self.of_loads,
            RejectedOperation::Insert | RejectedOperation::Update | RejectedOperation::Delete => ControlTable::ApplyExceptions,
        };
        ControlRow { schema: self.schema.clone(), table, values }
    }

    /// What is asked of the target for an image; `None` for rows that are too large to be shown.
    pub(crate) fn statement(&self, table: &TargetTable, operation: RejectedOperation, image: &Image) -> Option<String> {
        if image.row.bytes_held() + image.computed.as_ref().map_or(0, Row::bytes_held) > IMAGE_BYTES_MAX {
            return None;
        }
        let dialect = match self.engine {
            Engine::Postgres => Dialect::POSTGRES,
            Engine::Mysql | Engine::Mariadb => Dialect::MYSQL,
        };
        let cells = Cells { table, image, dialect };
        let name = dialect.table(&table.name);
        let (mut values, mut key) = (Vec::new(), Vec::new());
        for (index, column) in table.columns.iter().enumerate() {
            let Some(value) = cells.literal(column) else { continue };
            let pair = (dialect.identifier(&column.name), value);
            if table.identity.contains(&index) {
                key.push(pair.clone());
            }
            values.push(pair);
        }
        let rows = if key.is_empty() { &values } else { &key };
        let place = rows.iter().map(|(column, value)| format!("{column} = {value}")).collect::<Vec<_>>().join(" AND ");
        Some(cut(match operation {
            RejectedOperation::Load | RejectedOperation::Insert => {
                let (columns, values): (Vec<String>, Vec<String>) = values.into_iter().unzip();
                format!("INSERT INTO {name} ({}) VALUES ({})", columns.join(", "), values.join(", "))
            }
            RejectedOperation::Update => {
                let sets: Vec<String> = values.iter().map(|(column, value)| format!("{column} = {value}")).collect();
                format!("UPDATE {name} SET {} WHERE {place}", sets.join(", "))
            }
            RejectedOperation::Delete => format!("DELETE FROM {name} WHERE {place}"),
        }))
    }
}

struct Cells<'a> {
    table: &'a TargetTable,
    image: &'a Image,
    dialect: Dialect,
}

impl Cells<'_> {
    /// The column's value in the image; `None` where the log does not tell it.
    fn literal(&self, column: &TargetColumn) -> Option<String> {
        let decoded = match &column.origin {
            ColumnOrigin::Constant(text) => text.as_ref().map_or(Json::Null, |text| Json::String(text.clone())),
            ColumnOrigin::Source(index) => {
                let cell = self.image.row.cell(*index).filter(tidegate_model::Cell::is_known)?;
                self.table.source.decoder.decode(*index, cell).map_or_else(|_| unreadable(), |value| json_value(&value))
            }
            ColumnOrigin::Computed(index) => {
                let cell = self.image.computed.as_ref()?.cell(*index).filter(tidegate_model::Cell::is_known)?;
                let sql_type = self.table.computed.get(*index).unwrap_or(&column.sql_type);
                let decoder = NeutralDecoder::new([(column.name.clone(), sql_type.clone())]);
                decoder.decode(0, cell).map_or_else(|_| unreadable(), |value| json_value(&value))
            }
        };
        Some(match decoded {
            Json::Null => "NULL".to_owned(),
            Json::Bool(flag) => flag.to_string(),
            Json::Number(number) => number.to_string(),
            Json::String(text) => self.dialect.literal(&text),
            list @ (Json::Array(_) | Json::Object(_)) => self.dialect.literal(&list.to_string()),
        })
    }
}

/// Bytes that are not of the column's form.
fn unreadable() -> Json {
    Json::String("?".to_owned())
}

fn cut(mut statement: String) -> String {
    const MARK: &str = "...";
    if statement.len() <= STATEMENT_BYTES_MAX {
        return statement;
    }
    let mut end = STATEMENT_BYTES_MAX - MARK.len();
    while !statement.is_char_boundary(end) {
        end -= 1;
    }
    statement.truncate(end);
    statement + MARK
}

#[cfg(test)]
mod tests {
    use tidegate_model::{Cell, RowBuilder, SqlType, Value};

    use super::*;
    use crate::test_tables::source_table;

    fn exceptions(engine: Engine) -> Exceptions {
        Exceptions { schema: "ops".into(), task_name: "shop".into(), of_loads: ControlTable::ApplyExceptions, engine }
    }

    /// `id` and `mail` of the source, of which `mail` is masked; `origin` is a constant.
    fn table() -> TargetTable {
        let text = SqlType::Text { chars_max: None };
        let source = source_table(&[("id", SqlType::Int64), ("mail", text.clone())]);
        let column = |name: &str, sql_type: SqlType, origin| TargetColumn { name: name.into(), sql_type, nullable: true, origin };
        TargetTable {
            name: TableName::new("copy", "t\"s"),
            columns: vec![
                column("number", SqlType::Int64, ColumnOrigin::Source(0)),
                column("mail", text.clone(), ColumnOrigin::Computed(0)),
                column("origin", text, ColumnOrigin::Constant(Some("o'shop".into()))),
            ],
            primary_key: vec![0],
            identity: vec![0],
            source: Arc::new(source),
            objects: Arc::default(),
            unfit: Default::default(),
            computed: vec![SqlType::Text { chars_max: None }],
        }
    }

    fn row(cells: &[Option<Value<'_>>]) -> Row {
        let mut builder = RowBuilder::default();
        for cell in cells {
            match cell {
                Some(value) => builder.push_with(|out| value.write_neutral(out)),
                None => builder.push(Cell::Unchanged),
            }
        }
        builder.finish()
    }

    fn image() -> Image {
        Image::new(row(&[Some(Value::Int(7)), Some(Value::Text("ann@example.org"))]), Some(row(&[Some(Value::Text("***"))])))
    }

    #[test]
    fn a_statement_shows_what_goes_to_the_target_and_not_what_a_mask_hides() {
        let shown = |engine, operation| exceptions(engine).statement(&table(), operation, &image()).unwrap();
        let insert = shown(Engine::Postgres, RejectedOperation::Load);
        assert_eq!(insert, r#"INSERT INTO "copy"."t""s" ("number", "mail", "origin") VALUES (7, '***', 'o''shop')"#);
        let update = shown(Engine::Mariadb, RejectedOperation::Update);
        assert_eq!(update, "UPDATE `copy`.`t\"s` SET `number` = 7, `mail` = '***', `origin` = 'o''shop' WHERE `number` = 7");
        let delete = shown(Engine::Mysql, RejectedOperation::Delete);
        assert_eq!(delete, "DELETE FROM `copy`.`t\"s` WHERE `number` = 7");
    }

    #[test]
    fn what_the_log_does_not_tell_is_left_out_and_what_is_too_large_is_not_shown() {
        let exceptions = exceptions(Engine::Postgres);
        let unchanged = Image::new(row(&[Some(Value::Int(7)), None]), None);
        let update = exceptions.statement(&table(), RejectedOperation::Update, &unchanged).unwrap();
        assert_eq!(update, r#"UPDATE "copy"."t""s" SET "number" = 7, "origin" = 'o''shop' WHERE "number" = 7"#);
        let note = "é".repeat(STATEMENT_BYTES_MAX);
        let long = Image::new(row(&[Some(Value::Int(7)), None]), Some(row(&[Some(Value::Text(&note))])));
        let long = exceptions.statement(&table(), RejectedOperation::Insert, &long).unwrap();
        assert!((STATEMENT_BYTES_MAX - 1..=STATEMENT_BYTES_MAX).contains(&long.len()) && long.ends_with("é..."), "{}", long.len());
        let note = "x".repeat(IMAGE_BYTES_MAX + 1);
        let huge = Image::new(row(&[Some(Value::Int(7)), Some(Value::Text(&note))]), None);
        assert_eq!(exceptions.statement(&table(), RejectedOperation::Insert, &huge), None);
    }

    #[test]
    fn a_row_that_the_target_never_saw_is_told_by_its_key() {
        let name = TableName::new("app", "t");
        let operation = RejectedOperation::Insert;
        let told = |key| {
            let exception = Exception { table: &name, operation, key, code: "refused", message: "by a module", statement: None };
            exceptions(Engine::Postgres).row(exception).values
        };
        let text = |text: &str| ControlValue::Text(text.into());
        let statement = text("-- insert of row {\"id\":7}: no statement is shown");
        let wanted = [text("shop"), text("app"), text("t"), ControlValue::Now, statement, text("refused: by a module")];
        assert_eq!(told(Some(r#"{"id":7}"#)), wanted);
        assert_eq!(told(None)[4], text("-- insert of a row without a key: no statement is shown"));
    }
}
