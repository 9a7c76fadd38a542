//! For authors of Tidegate modules in Rust.
//!
//! A module is a struct that implements [`RowTransform`]: `plan` says once for each table which columns it reads and
//! which it makes, `row` does the work. Nothing else is visible of the contract between module and host.
//!
//! ```
//! use tidegate_transform_sdk::{Input, Output, Plan, PlanError, Rejection, Row, RowTransform, SqlType};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     column: String,
//! }
//!
//! /// Upper-cases a column and leaves out the rows in which it is empty.
//! struct Shout {
//!     column: Input,
//!     loud: Output,
//! }
//!
//! impl RowTransform for Shout {
//!     type Config = Config;
//!
//!     fn plan(plan: &mut Plan<'_>, config: Config) -> Result<Self, PlanError> {
//!         let column = plan.read(&config.column)?;
//!         plan.filters();
//!         Ok(Self { column, loud: plan.replace(column, SqlType::text()) })
//!     }
//!
//!     fn row(&mut self, row: &mut Row<'_>) -> Result<(), Rejection> {
//!         match row.text(self.column) {
//!             None => {}
//!             Some("") => row.discard(),
//!             Some(text) => row.set(self.loud, text.to_uppercase()),
//!         }
//!         Ok(())
//!     }
//! }
//!
//! tidegate_transform_sdk::export_module!(Shout);
//!
//! // A test of it needs no WebAssembly.
//! use tidegate_transform_sdk::testing::Table;
//! use serde_json::json;
//! let table = Table::new("shop", "customer").key("id", SqlType::int64()).column("name", SqlType::text());
//! let rows = json!([{"id": 1, "name": "ada"}, {"id": 2, "name": ""}, {"id": 3, "name": null}]);
//! let outcome = table.run::<Shout>(json!({"column": "name"}), rows).unwrap();
//! assert_eq!(outcome.kept(), [json!({"id": 1, "name": "ADA"}), json!({"id": 3, "name": null})]);
//! assert_eq!(outcome.dropped(), [1]);
//! ```
//!
//! Build with `cargo build --release --target wasm32-unknown-unknown` and crate type `cdylib`; upload the `.wasm` file.
//! Work that wants whole columns implements [`Transform`] instead, which sees the batch as it travels.

/// What is generated from the contract.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "transform-module",
        pub_export_macro: true,
        default_bindings_module: "tidegate_transform_sdk::bindings",
        generate_all,
    });
}

mod builder;
mod column;
mod config;
mod glue;
mod plan;
mod row;
mod schema;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use bindings::exports::tidegate::transform::transformer::ModuleInfo;
pub use bindings::tidegate::transform::host;
pub use bindings::tidegate::transform::types::*;
pub use builder::{Cell, ColumnBuilder, Misfit};
pub use column::{Keep, TextBuilder, Texts};
pub use config::parse_config;
pub use glue::{Planned, Tables, forget, plan, row_plan, transform, unchanged};
pub use plan::{Input, Output, Plan};
pub use row::{Kind, Rejection, Row, RowTransform, Rows};

/// A module that works on whole columns: the work on one table.
pub trait Transform: Sized + 'static {
    /// Who the module is.
    fn describe() -> ModuleInfo;

    /// What to do with a table. Must depend on its arguments alone. [`parse_config`] reads the configuration.
    ///
    /// # Errors
    /// [`PlanError`] when the configuration does not fit.
    fn plan(schema: &TableSchema, config: &str) -> Result<Planned<Self>, PlanError>;

    /// Looks at a batch with the columns that the plan asked for; never called for a plan without `rows`.
    ///
    /// # Errors
    /// A message fails the whole batch; use [`BatchResult::errors`] for single rows.
    fn transform(&mut self, batch: &Batch) -> Result<BatchResult, String>;
}

/// Writes a line that the tenant can read. Not for values of rows. In tests it goes to standard error.
pub fn log(level: host::Level, message: &str) {
    if cfg!(target_arch = "wasm32") {
        host::log(level, message);
    } else {
        eprintln!("{level:?}: {message}");
    }
}

/// Adds to a counter of the module; the host keeps the first 32 names. In tests it does nothing.
pub fn count(name: &str, delta: u64) {
    if cfg!(target_arch = "wasm32") {
        host::count(name, delta);
    }
}

/// Makes a type that implements [`RowTransform`] the module of this crate, under the crate's name and version.
#[macro_export]
macro_rules! export_module {
    ($module:ty) => {
        $crate::export_transform!(
            $crate::Rows<$module>,
            $crate::ModuleInfo {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                config_schema: <$module as $crate::RowTransform>::config_schema().map(str::to_owned),
            }
        );
    };
}

/// Makes a type that implements [`Transform`] the module of this crate.
#[macro_export]
macro_rules! export_transform {
    ($module:ty) => {
        $crate::export_transform!($module, <$module as $crate::Transform>::describe());
    };
    ($module:ty, $info:expr) => {
        // Symbol names of the component model are none that a native linker takes; tests run without them.
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct ExportedModule;

            thread_local! {
                static TABLES: $crate::Tables<$module> = const { $crate::Tables::new() };
            }

            impl $crate::bindings::exports::tidegate::transform::transformer::Guest for ExportedModule {
                fn describe() -> $crate::ModuleInfo {
                    $info
                }

                fn plan(table: u32, schema: $crate::TableSchema, config: String) -> Result<$crate::PlanOutcome, $crate::PlanError> {
                    TABLES.with(|tables| $crate::plan(tables, table, &schema, &config))
                }

                fn transform(table: u32, batch: $crate::Batch) -> Result<$crate::BatchResult, String> {
                    TABLES.with(|tables| $crate::transform(tables, table, &batch))
                }

                fn forget(table: u32) {
                    TABLES.with(|tables| $crate::forget(tables, table));
                }
            }

    $crate::bindings::export!(ExportedModule with_types_in $crate::bindings);
        };
    };
}
