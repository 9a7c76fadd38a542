//! The whole schema arrives: defaults, counters, indexes, constraints, foreign keys, sequences; and changes go on being
//! applied exactly while they are there.

mod my_rich;
mod my_targets;
mod mysql;
mod postgres;
mod rich;
#[path = "../scenarios/world.rs"]
#[allow(dead_code, reason = "the scenarios use the rest")]
mod world;
