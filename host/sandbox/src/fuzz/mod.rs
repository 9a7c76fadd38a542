//! Random input of the right shape for everything that the host reads from a module: answers, plans, uploads.
//!
//! Each round draws something a well-behaved module could send and damages it in zero to three places. What is accepted
//! must then be usable in full; nothing may panic. `TIDEGATE_FUZZ_ROUNDS` multiplies the rounds, `TIDEGATE_SEED` repeats
//! a run; a failure names the seed and the round.

mod answers;
mod plans;
mod uploads;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Runs `round` so many times, times `TIDEGATE_FUZZ_ROUNDS`, each with a generator of its own.
fn rounds(name: &str, count: u64, mut round: impl FnMut(&mut SmallRng)) {
    let seed = number("TIDEGATE_SEED").unwrap_or_else(|| rand::rng().random());
    let count = count * number("TIDEGATE_FUZZ_ROUNDS").unwrap_or(1);
    println!("{name}: TIDEGATE_SEED={seed}, {count} rounds");
    for index in 0..count {
        let mut rng = SmallRng::seed_from_u64(seed.wrapping_add(index));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| round(&mut rng)));
        assert!(done.is_ok(), "{name}: failed in a round that TIDEGATE_SEED={} begins with", seed.wrapping_add(index));
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// One of several.
fn pick<'a, T>(rng: &mut SmallRng, choices: &'a [T]) -> &'a T {
    &choices[rng.random_range(0..choices.len())]
}
