//! The facts that hold for every target, on MySQL and MariaDB: with files (LOAD DATA LOCAL) and without.

mod target_support;

use target_support::Bench;
use tidegate_connector::conformance::{self as facts, net, note, notes};
use tidegate_connector::{NetChange, Strictness};
use tidegate_harness::MysqlFlavour;

/// From 11.8 on, a transaction of MariaDB that repeats its reads may not write rows that others changed since it began.
async fn rows_are_written_without_repeated_reads(bench: &Bench) {
    let table = notes("isolated");
    bench.prepare(&table).await.expect("the table can be made");
    let mut lane = bench.lane().await;
    lane.write_ahead(&[net(&table, Strictness::Strict, vec![NetChange::Insert(note(1, "a"))])]).await.expect("the row fits");
    let open = bench.server.rows("select distinct trx_isolation_level from information_schema.innodb_trx").await;
    assert_eq!(open, [[Some("READ COMMITTED".to_owned())]]);
    lane.roll_back().await;
}

async fn every_fact(flavour: MysqlFlavour, options: &[&str]) {
    let mut bench = Bench::start(flavour, options).await;
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
    rows_are_written_without_repeated_reads(&bench).await;
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

#[tokio::test]
async fn every_fact_holds_in_mysql_without_files() {
    every_fact(MysqlFlavour::Mysql97, &["--local-infile=0"]).await;
}

#[tokio::test]
async fn every_fact_holds_in_mysql_with_files() {
    every_fact(MysqlFlavour::Mysql97, &["--local-infile=1"]).await;
}

#[tokio::test]
async fn every_fact_holds_in_mariadb_10_11() {
    every_fact(MysqlFlavour::Mariadb1011, &[]).await;
}

#[tokio::test]
async fn every_fact_holds_in_mariadb_11_8() {
    every_fact(MysqlFlavour::Mariadb118, &[]).await;
}
