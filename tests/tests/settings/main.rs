//! Task settings on real servers: each does what `docs/task-settings.md` says. The tests of a source share its servers.

#[path = "../scenarios/world.rs"]
#[allow(dead_code, reason = "the scenarios use the rest")]
mod world;

mod conflicts;
mod control_tables;
mod keys;
mod loopback;
mod pair;
mod policies;
mod positions;
mod ranges;
mod rings;
mod runs;
