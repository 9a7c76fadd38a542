//! What the assembler does with changes of whole tables, which stand in the log beside those of rows.

use std::sync::Arc;

use tidegate_model::change::RelationId;
use tidegate_model::{Change, Upheaval};

use crate::assemble::{Assembler, From};
use crate::evolution::{truncated, upheaved};
use crate::header::TransactionHeader;
use crate::settings::DdlAction;
use crate::tables::Route;
use crate::task::TaskError;

impl Assembler {
    /// # Errors
    /// [`TaskError::Definition`] where something must follow before the next row of the table.
    pub(crate) async fn unlogged(
        &mut self,
        relation: RelationId,
        upheaval: Upheaval,
        transaction: &Arc<TransactionHeader>,
        number: u64,
        from: From,
    ) -> Result<(), TaskError> {
        match self.route(relation, &transaction.mark, from).await? {
            Route::Skip => Ok(()),
            Route::Aside(table) => self.set_aside(&table, transaction, number, &Change::Unlogged { relation, upheaval }),
            Route::Apply(table, _) => upheaved(&table.source.schema.name, upheaval, self.tables.policy()).map_or(Ok(()), Err),
        }
    }

    /// # Errors
    /// [`TaskError::Definition`] where the policy is to suspend the table or to stop.
    pub(crate) async fn truncate(
        &mut self,
        relations: Vec<RelationId>,
        transaction: &Arc<TransactionHeader>,
        number: u64,
        from: From,
    ) -> Result<(), TaskError> {
        self.transform().await?;
        let mut tables = Vec::new();
        for relation in relations {
            match self.route(relation, &transaction.mark, from).await? {
                Route::Skip => {}
                // Tables that are emptied together are not while one of them loads.
                Route::Aside(table) => self.set_aside(&table, transaction, number, &Change::Truncate { relations: vec![relation] })?,
                Route::Apply(table, _) => {
                    let name = &table.source.schema.name;
                    match self.tables.policy().truncate_table {
                        DdlAction::Ignore => {}
                        DdlAction::Apply => {
                            self.error_log.empty(name);
                            self.row_errors.forget_table(name);
                            tables.push(table.target.clone());
                        }
                        action @ (DdlAction::SuspendTable | DdlAction::Stop) => return Err(truncated(name, action)),
                    }
                }
            }
        }
        if !tables.is_empty() {
            self.net.truncate(tables);
        }
        Ok(())
    }
}
