//! The facts that hold for every target, on PostgreSQL.

mod target_support;

use target_support::Bench;
use tidegate_connector::conformance as facts;

#[tokio::test]
async fn every_fact_holds_in_postgresql() {
    let mut bench = Bench::new().await;
    facts::mixed_changes_have_the_same_effect_as_statements_and_as_sets(&bench).await;
    facts::unchanged_large_values_keep_what_the_target_has(&bench).await;
    facts::divergence_is_refused_and_leaves_nothing_behind(&bench).await;
    facts::changes_of_a_snapshots_window_may_have_happened_already(&bench).await;
    facts::identity_changes_of_a_snapshots_window_may_have_happened_already(&bench).await;
    facts::identity_changes_and_duplicates_without_key_are_applied_in_order(&bench).await;
    facts::large_group_in_parts_and_truncate_are_one_transaction(&bench).await;
    facts::computed_and_constant_columns_are_written_like_others(&bench).await;
    facts::computed_values_go_to_columns_of_another_type_in_loads_and_changes_alike(&bench).await;
    facts::computed_texts_of_loads_arrive(&bench).await;
    facts::unique_key_with_nulls_identifies_rows(&bench).await;
    facts::values_of_a_unique_key_may_be_exchanged(&bench).await;
    facts::rows_that_others_change_while_a_group_is_open_are_met_as_they_are(&bench).await;
    facts::groups_are_written_ahead_and_committed_in_their_turn(&bench).await;
    facts::a_connection_that_ends_between_the_parts_of_a_group_takes_the_whole_group_with_it(&bench).await;
    facts::control_tables_are_made_once_and_shared_by_tasks(&bench).await;
    facts::exceptions_arrive_with_their_group(&bench).await;
    facts::a_unique_index_goes_before_a_table_is_loaded_again_and_comes_back(&bench).await;
    facts::fence_holds_inside_an_open_transaction(&bench).await;
    bench.renew().await;
    facts::older_worker_can_do_nothing_after_a_take_over(&bench).await;
    bench.renew().await;
    facts::withheld_key_comes_back_behind_the_rows(&bench).await;
    facts::chunk_and_its_mark_arrive_together(&bench).await;
    bench.renew().await;
    facts::many_tables_are_prepared_and_planned_together(&bench).await;
}
