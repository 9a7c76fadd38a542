//! For authors of Tidegate modules in Rust.
//!
//! A module is a type that implements [`Transform`]: one value of it for each table, made by `plan` from the table's
//! description and the tenant's configuration, and asked by `transform` for each batch of rows.
//!
//! ```ignore
//! struct KeepPositive;
//!
//! impl Transform for KeepPositive {
//!     fn describe() -> ModuleInfo { ... }
//!     fn plan(schema: &TableSchema, _config: &str) -> Result<Planned<Self>, PlanError> {
//!         let mut plan = unchanged();
//!         plan.rows = Some(row_plan(["qty"], RowNeeds::FILTERS | RowNeeds::DETERMINISTIC));
//!         Ok(Planned::Include(plan, KeepPositive))
//!     }
//!     fn transform(&mut self, batch: &Batch) -> Result<BatchResult, String> {
//!         let mut keep = Keep::all(batch.rows);
//!         for row in batch.row_numbers().filter(|row| batch.columns[0].int(*row).is_some_and(|qty| qty <= 0)) {
//!             keep.drop_row(row);
//!         }
//!         Ok(BatchResult { keep: keep.into_bits(), columns: vec![], errors: vec![] })
//!     }
//! }
//!
//! tidegate_transform_sdk::export_transform!(KeepPositive);
//! ```
//!
//! Build with `cargo build --release --target wasm32-unknown-unknown` and crate type `cdylib`; upload the `.wasm` file.

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

mod column;
mod glue;

pub use bindings::exports::tidegate::transform::transformer::ModuleInfo;
pub use bindings::tidegate::transform::host;
pub use bindings::tidegate::transform::types::*;
pub use column::{Keep, TextBuilder};
pub use glue::{Planned, Tables, forget, plan, row_plan, transform, unchanged};

/// A module: the work on one table.
pub trait Transform: Sized + 'static {
    /// Who the module is.
    fn describe() -> ModuleInfo;

    /// What to do with a table. Must depend on its arguments alone.
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

/// Makes a type that implements [`Transform`] the module of this crate.
#[macro_export]
macro_rules! export_transform {
    ($module:ty) => {
        // Symbol names of the component model are none that a native linker takes; tests run without them.
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct ExportedModule;

            thread_local! {
                static TABLES: $crate::Tables<$module> = const { $crate::Tables::new() };
            }

            impl $crate::bindings::exports::tidegate::transform::transformer::Guest for ExportedModule {
                fn describe() -> $crate::ModuleInfo {
                    <$module as $crate::Transform>::describe()
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
