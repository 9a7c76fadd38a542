//! Compiling in a helper process, and the cache of what it made.

mod support;

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use support::{ENGINE, guest, sandbox};
use tidegate_sandbox::{ArtefactCache, Engine, EngineSettings, HelperLimits, ModuleError, digest_of};

fn helper() -> Command {
    Command::new(env!("CARGO_BIN_EXE_compile-module"))
}

#[test]
fn a_compiled_module_is_found_again_and_a_damaged_one_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let cache = ArtefactCache::open(dir.path()).unwrap();
    let bytes = guest("hostile");
    assert!(cache.load(&ENGINE, &digest_of(&bytes)).unwrap().is_none());
    let compiled = cache.compile(&ENGINE, &mut helper(), HelperLimits::default(), &bytes).unwrap();
    assert_eq!(sandbox(&compiled).describe().unwrap().name, "hostile");

    let again = ArtefactCache::open(dir.path()).unwrap();
    let loaded = again.load(&ENGINE, compiled.digest()).unwrap().unwrap();
    assert_eq!(sandbox(&loaded).describe().unwrap().name, "hostile");

    let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let artefact = files.into_iter().find(|path| !path.ends_with("key")).unwrap();
    let mut damaged = std::fs::read(&artefact).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&artefact, damaged).unwrap();
    // A process that has it in memory does not look at the file again.
    assert!(again.load(&ENGINE, compiled.digest()).unwrap().is_some());
    assert!(ArtefactCache::open(dir.path()).unwrap().load(&ENGINE, compiled.digest()).unwrap().is_none());
}

#[test]
fn code_of_deleted_modules_and_of_other_engines_goes_and_what_is_wanted_stays() {
    let dir = tempfile::tempdir().unwrap();
    let cache = ArtefactCache::open(dir.path()).unwrap();
    let compile = |engine, name: &str| cache.compile(engine, &mut helper(), HelperLimits::default(), &guest(name)).unwrap();
    let other = Engine::new(EngineSettings { meters_fuel: true, ..*ENGINE.settings() }).unwrap();
    let (kept, deleted, removed) = (compile(&ENGINE, "hostile"), compile(&ENGINE, "picky"), compile(&ENGINE, "mask-email"));
    compile(&other, "hostile");
    std::fs::write(dir.path().join("0.part"), "of another process").unwrap();
    let files = || std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files(), 6);

    cache.remove(&ENGINE, removed.digest()).unwrap();
    cache.remove(&ENGINE, removed.digest()).unwrap();
    assert!(cache.load(&ENGINE, removed.digest()).unwrap().is_none());
    assert_eq!(sandbox(&removed).describe().unwrap().name, "tidegate-mask-email", "who has it goes on");

    assert_eq!(cache.sweep(&ENGINE, [kept.digest()]).unwrap(), 0, "somebody may have tried it before the upload");
    let two_days_ago = SystemTime::now() - Duration::from_secs(48 * 3600);
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        File::options().append(true).open(entry.unwrap().path()).unwrap().set_modified(two_days_ago).unwrap();
    }
    assert_eq!(cache.sweep(&ENGINE, [kept.digest()]).unwrap(), 3);
    assert_eq!(files(), 2, "the key and the code that is wanted");
    let again = ArtefactCache::open(dir.path()).unwrap();
    assert!(again.load(&ENGINE, kept.digest()).unwrap().is_some());
    assert!(again.load(&ENGINE, deleted.digest()).unwrap().is_none());
    assert!(again.load(&other, kept.digest()).unwrap().is_none());
}

#[test]
fn a_module_in_memory_is_ready_within_the_bar() {
    let dir = tempfile::tempdir().unwrap();
    let cache = ArtefactCache::open(dir.path()).unwrap();
    let compiled = cache.compile(&ENGINE, &mut helper(), HelperLimits::default(), &guest("hostile")).unwrap();
    // The best of several: this asks for what the code does, not for what the machine does meanwhile.
    let ready = || {
        let since = Instant::now();
        let loaded = cache.load(&ENGINE, compiled.digest()).unwrap().unwrap();
        let sandbox = sandbox(&loaded);
        let time = since.elapsed();
        drop(sandbox);
        time
    };
    let best = (0..20).map(|_| ready()).min().unwrap();
    assert!(best < Duration::from_millis(5), "{best:?}");
}

#[test]
fn the_helper_refuses_what_is_no_module_and_dies_at_its_limits() {
    let dir = tempfile::tempdir().unwrap();
    let cache = ArtefactCache::open(dir.path()).unwrap();
    let compile = |limits, bytes: &[u8]| cache.compile(&ENGINE, &mut helper(), limits, bytes).unwrap_err();
    let error = compile(HelperLimits::default(), b"garbage");
    assert_eq!(error, ModuleError::Refused { message: ModuleError::NotWasm.to_string(), hint: ModuleError::NotWasm.hint() });
    let tight = HelperLimits { memory_bytes_max: 24 << 20, ..HelperLimits::default() };
    assert!(matches!(compile(tight, &guest("rules")), ModuleError::Helper(_) | ModuleError::TooCostly(_)));
}
