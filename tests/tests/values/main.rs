//! What arrives, and what is refused: values of every type, names of every kind, changes that replicas get wrong, and
//! input that is not right. Real servers, the real binary as a child process, HTTP from outside.
//!
//! Apart from the scenarios, which take their time to kill and to compare, so that both can run at once.

mod bad_input;
mod elsewhere;
mod identifiers;
mod large_values;
mod mysql_values;
mod postgres_elsewhere;
mod postgres_extensions;
mod postgres_kinds;
mod postgres_values;
mod reload;
mod row_images;
mod unfit_values;
mod unread_values;
#[path = "../scenarios/world.rs"]
#[allow(dead_code, reason = "the scenarios use the rest")]
mod world;
