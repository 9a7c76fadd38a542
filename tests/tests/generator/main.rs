//! Random schemas and workloads, and what became of them in each target.
//!
//! One server of each kind is source and target at once: nine pairs. A round makes tables of random columns and keys at each
//! source, starts the three tasks, and lets a seeded list of transactions and changed definitions run, first while the
//! load runs. Twice in a round everything that is at the source must be in each target, cell by cell by the
//! conversions of `docs/types.md` as the harness knows them, with the columns in their order, and tables that were
//! dropped gone. What a pair refuses goes only where it is taken: the name of a table says where it goes.
//!
//! Meanwhile tasks are stopped and started, tables loaded again, and in every second round the host is killed.
//!
//! The suite runs three short rounds of fixed seeds. `cargo xtask generator` makes longer runs and repeats one, by
//! `TIDEGATE_ROUNDS`, `TIDEGATE_STEPS`, `TIDEGATE_SEED` and `TIDEGATE_PAIRS`: see `docs/testing.md`.

mod beside;
mod definitions;
mod disturb;
mod history;
mod kinds;
mod plan;
mod reshape;
mod rig;
mod round;
mod tables;
mod text;
mod values;

use rig::Rig;
use round::Round;

/// Rounds when `TIDEGATE_ROUNDS` does not say, and the seed of the first: rounds that are known to end equal, so that
/// a failure is news about the product. Longer runs begin where the clock is.
const ROUNDS: u64 = 3;
const SEED: u64 = 1;

/// Steps of a round at each source when `TIDEGATE_STEPS` does not say: what fits into the suite.
const STEPS: u64 = 16;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[tokio::test(flavor = "multi_thread")]
async fn random_schemas_and_workloads_end_equal_in_all_nine_pairs() {
    let clock = || std::time::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_secs();
    let rounds = number("TIDEGATE_ROUNDS").unwrap_or(ROUNDS);
    let seed = number("TIDEGATE_SEED").unwrap_or_else(|| if rounds == ROUNDS { SEED } else { clock() });
    let steps = number("TIDEGATE_STEPS").unwrap_or(STEPS).try_into().expect("TIDEGATE_STEPS is no large number");
    println!("seed {seed}, {rounds} rounds of {steps} steps");
    let rig = Rig::start().await;
    for round in 0..rounds {
        // A round is repeated by its own seed.
        Round::new(&rig, seed.wrapping_add(round), steps).run().await;
    }
}
