//! Faults between, under and over a running task: lost answers, dead servers, cut and silent connections, stopped
//! workers, changed records. After each of them every change of the source is in the target once.
//!
//! `TIDEGATE_FAULTS` multiplies the counts of the tests that repeat a fault.

mod checkpoint;
mod commit;
mod my_target;
mod network;
mod points;
mod pressure;
mod reload;
mod rig;
mod server;
mod servers;
mod target;
mod zombie;
