//! Uploads: real modules with damaged bytes.

use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::SmallRng;

use super::{pick, rounds};
use crate::builtin::builtin_rules;
use crate::compile::{MODULE_BYTES_MAX, as_component};
use crate::engine::{Engine, EngineSettings};
use crate::error::ModuleError;

/// The longest that looking at one upload may take, in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn damage(rng: &mut SmallRng, bytes: &mut Vec<u8>) {
    if bytes.len() < 9 {
        return;
    }
    let place = rng.random_range(8..bytes.len());
    let length = rng.random_range(1..=64.min(bytes.len() - place));
    match rng.random_range(0..7) {
        0 => bytes[place] ^= 1 << rng.random_range(0..8),
        1 => bytes[place] = rng.random(),
        2 => bytes.truncate(place),
        3 => drop(bytes.drain(place..place + length)),
        // The longest LEB128 numbers: counts and sizes far beyond the end.
        4 => drop(bytes.splice(place..place, [0xff, 0xff, 0xff, 0xff, 0x0f])),
        5 => {
            let copied = bytes[place..place + length].to_vec();
            let to = rng.random_range(8..bytes.len());
            drop(bytes.splice(to..to, copied));
        }
        // Sections and names lie near the beginning and the end.
        _ => {
            let place = rng.random_range(8..64.min(bytes.len()));
            bytes[place] = rng.random();
        }
    }
}

#[test]
fn no_upload_breaks_the_checks() {
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    rounds("uploads", 300, |rng| {
        let mut bytes = builtin_rules().to_vec();
        let damages = rng.random_range(0..4);
        (0..damages).for_each(|_| damage(rng, &mut bytes));
        let since = Instant::now();
        match as_component(&bytes, MODULE_BYTES_MAX) {
            Ok(_) => accepted += 1,
            Err(error) => {
                refused += 1;
                assert!(damages > 0, "the rules module is refused: {error}");
                assert!(!error.to_string().is_empty());
            }
        }
        assert!(since.elapsed() < PATIENCE, "took {:?}", since.elapsed());
    });
    assert!(accepted > 10 && refused > 10, "{accepted} accepted, {refused} refused");
}

#[test]
fn core_modules_of_any_bytes_are_refused_or_made_components() {
    rounds("core modules", 2_000, |rng| {
        let mut bytes = b"\0asm\x01\0\0\0".to_vec();
        for _ in 0..rng.random_range(0..6) {
            let id = rng.random_range(0..14_u8);
            let mut body: Vec<u8> = (0..rng.random_range(0..40)).map(|_| rng.random_range(0..8)).collect();
            if id == 0 {
                // A custom section like those in which an SDK leaves the contract's types.
                body.splice(0..0, b"\x18component-type:transform".iter().copied());
            }
            bytes.extend([id, body.len() as u8]);
            bytes.extend(body);
        }
        (0..rng.random_range(0..2)).for_each(|_| damage(rng, &mut bytes));
        assert!(as_component(&bytes, MODULE_BYTES_MAX).is_err());
    });
}

#[test]
fn damaged_code_compiles_or_is_refused() {
    let engine = Engine::new(EngineSettings { slots: 1, ..EngineSettings::default() }).expect("the engine starts");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/guests/hostile.wasm");
    let small = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}; run `cargo xtask guests`"));
    rounds("code", 12, |rng| {
        let mut bytes = small.clone();
        // In the code, where the sections' frame stays whole.
        for _ in 0..rng.random_range(1..3) {
            let place = rng.random_range(bytes.len() / 4..bytes.len() * 3 / 4);
            bytes[place] = *pick(rng, &[0x00, 0x01, 0x0b, 0x20, 0x41, 0x6a, 0x7f]);
        }
        match engine.compile(&bytes) {
            Ok(_) => {}
            Err(ModuleError::Helper(problem) | ModuleError::Cache(problem)) => panic!("{problem}"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}
