//! A module for Tidegate: leaves out rows whose column has one of the listed values, and trims the column of the others.
//!
//! Configuration: `{"column": "status", "without": ["test", "spam"]}`. Tables without the column are taken as they are.

use serde::Deserialize;
use tidegate_transform_sdk::{Input, Output, Plan, PlanError, Rejection, Row, RowTransform, SqlType};

/// What a tenant writes under `config` in a rule of the type `module`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    column: String,
    without: Vec<String>,
}

/// The work on one table: which column it reads, which it makes.
pub struct Module {
    column: Option<(Input, Output)>,
    without: Vec<String>,
}

impl RowTransform for Module {
    type Config = Config;

    /// Asked once for each table.
    fn plan(plan: &mut Plan<'_>, config: Config) -> Result<Self, PlanError> {
        let mut column = None;
        if plan.table().column(&config.column).is_some() {
            let input = plan.read_text(&config.column).map_err(|error| error.at("column"))?;
            plan.filters();
            column = Some((input, plan.replace(input, SqlType::text())));
        }
        Ok(Self { column, without: config.without })
    }

    /// Asked for each row. An error sets the row aside; `row.discard()` leaves it out.
    fn row(&mut self, row: &mut Row<'_>) -> Result<(), Rejection> {
        let Some((input, output)) = self.column else { return Ok(()) };
        // `None` is NULL.
        let Some(text) = row.text(input).map(str::trim) else { return Ok(()) };
        if self.without.iter().any(|unwanted| unwanted == text) {
            row.discard();
        }
        row.set(output, text);
        Ok(())
    }
}

tidegate_transform_sdk::export_module!(Module);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_transform_sdk::testing::Table;

    use super::*;

    #[test]
    fn listed_values_are_left_out_and_others_trimmed() {
        let table = Table::new("shop", "orders").key("id", SqlType::int64()).column("status", SqlType::text());
        let rows = json!([{"id": 1, "status": " paid "}, {"id": 2, "status": "test"}, {"id": 3, "status": null}]);

        let outcome = table.run::<Module>(json!({"column": "status", "without": ["test"]}), rows).unwrap();

        assert_eq!(outcome.kept(), [json!({"id": 1, "status": "paid"}), json!({"id": 3, "status": null})]);
        assert_eq!(outcome.dropped(), [1]);
    }

    #[test]
    fn a_column_of_numbers_is_refused() {
        let table = Table::new("shop", "orders").column("status", SqlType::int64());
        let error = table.run::<Module>(json!({"column": "status", "without": []}), json!([])).unwrap_err();
        assert_eq!(error.config_path.as_deref(), Some("column"));
    }
}
