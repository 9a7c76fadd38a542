//! Whole-product scenarios: real servers, the real binary as a child process, HTTP from outside.
//!
//! Each test has private servers and a data directory of its own, so they run in any order and in parallel.

mod column_order;
mod crash;
mod deletion;
mod dms;
mod fence;
mod full_disk;
mod huge_value;
mod lanes;
mod large_value;
mod least_rights;
mod live_tables;
mod many_tables;
mod memory;
mod metering;
mod modules;
mod neighbour;
mod newcomers;
mod registry;
mod reload;
mod row_errors;
mod schema_changes;
mod shares;
mod sleep;
mod swap;
mod target_additions;
mod tenants;
mod whole_transactions;
mod world;
mod xa;
