//! Uploads that are no modules, want what a module cannot have, or cost too much: each is refused in its own words.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::{ENGINE, guest};
use tidegate_harness::upload::{importing, slow_to_compile, transformer_of, with_tables, with_tables_beside};
use tidegate_sandbox::{
    ArtefactCache, Engine, EngineSettings, HelperLimits, Limits, MODULE_BYTES_CEILING, ModuleError, Sandbox, digest_of,
};
use wasm_encoder::{
    ConstExpr, EntityType, GlobalSection, GlobalType, ImportSection, MemorySection, MemoryType, Module, TypeSection, ValType,
};

/// A core module that imports these functions.
fn core_module(imports: &[(&str, &str)]) -> Vec<u8> {
    let (mut module, mut types, mut section) = (Module::new(), TypeSection::new(), ImportSection::new());
    types.ty().function([], []);
    for (from, name) in imports {
        section.import(from, name, EntityType::Function(0));
    }
    module.section(&types);
    module.section(&section);
    module.finish()
}

fn refused(bytes: &[u8]) -> ModuleError {
    ENGINE.compile(bytes).expect_err("the host refuses these bytes")
}

#[test]
fn bytes_that_are_no_module_are_refused_with_the_reason() {
    let refused = |bytes: &[u8]| ENGINE.compile(bytes).expect_err("the host refuses these bytes");
    assert_eq!(refused(b"garbage"), ModuleError::NotWasm);
    assert_eq!(refused(b""), ModuleError::NotWasm);
    assert!(matches!(refused(b"\0asm\x01\0\0\0"), ModuleError::NotComponent(_)));
    assert!(matches!(refused(b"\0asm\x0d\0\x01\0"), ModuleError::NoTransformer(_)));
    assert!(matches!(refused(b"\0asm\x0d\0\x01\0\x07\xff"), ModuleError::Malformed(_)));
    assert!(matches!(refused(&vec![0; (24 << 20) + 1]), ModuleError::TooLarge { .. }));
    let whole = guest("hostile");
    assert!(ENGINE.compile(&whole[..whole.len() / 2]).is_err());
    assert_eq!(ENGINE.compile(&whole).unwrap().digest(), digest_of(&whole));
}

#[test]
fn every_foreign_import_is_named_with_what_to_do() {
    let error = refused(&importing(&["wasi:sockets/tcp@0.2.0", "tidegate:transform/host@1.0.0", "wasi:filesystem/types@0.2.0"]));
    let named = ["wasi:filesystem/types@0.2.0", "wasi:sockets/tcp@0.2.0"].map(str::to_owned);
    assert_eq!(error, ModuleError::Imports(named.to_vec()));
    assert!(error.to_string().contains("may import tidegate:transform/host@1 alone"), "{error}");
    assert!(error.hint().unwrap().contains("wasm32-wasip2"), "{:?}", error.hint());

    let error = refused(&core_module(&[("wasi_snapshot_preview1", "fd_read"), ("env", "getenv")]));
    assert_eq!(error, ModuleError::Imports(vec!["env.getenv".to_owned(), "wasi_snapshot_preview1.fd_read".to_owned()]));
    let hint = error.hint().unwrap();
    assert!(hint.contains("wasm32-wasip1") && hint.contains("linker did not find"), "{hint}");

    let error = refused(&importing(&["tidegate:transform/host@2.0.0"]));
    assert!(matches!(error, ModuleError::Contract { .. }) && error.hint().unwrap().contains("an SDK"), "{error}");
}

#[test]
fn a_core_module_is_told_how_it_becomes_a_component() {
    let error = refused(&core_module(&[]));
    assert!(matches!(error, ModuleError::NotComponent(_)));
    assert!(error.hint().unwrap().contains("wasm-tools component new"), "{:?}", error.hint());
}

#[test]
fn a_module_of_100_mb_is_refused_by_its_size_alone() {
    let engine = Engine::new(EngineSettings { module_bytes_max: MODULE_BYTES_CEILING, ..EngineSettings::default() }).unwrap();
    let mut bytes = guest("hostile");
    bytes.resize(100 << 20, 0);
    let since = Instant::now();
    let error = engine.compile(&bytes).unwrap_err();
    assert_eq!(error, ModuleError::TooLarge { bytes: 100 << 20, bytes_max: MODULE_BYTES_CEILING });
    assert!(error.hint().unwrap().contains("upload_mib") && since.elapsed() < Duration::from_secs(5));
}

fn with_memories(count: u32) -> Module {
    let (mut module, mut memories) = (Module::new(), MemorySection::new());
    for _ in 0..count {
        memories.memory(MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None });
    }
    module.section(&memories);
    module
}

fn with_globals(count: u32) -> Module {
    let (mut module, mut globals) = (Module::new(), GlobalSection::new());
    for number in 0..count {
        globals.global(GlobalType { val_type: ValType::I64, mutable: true, shared: false }, &ConstExpr::i64_const(number.into()));
    }
    module.section(&globals);
    module
}

#[test]
fn modules_that_declare_too_much_are_refused_before_they_start() {
    let dir = tempfile::tempdir().unwrap();
    let cache = ArtefactCache::open(dir.path()).unwrap();
    for (bytes, wanted) in [
        (transformer_of(&with_memories(5), 1), "memories count of 5"),
        (transformer_of(&with_memories(1), 5), "5 Wasm linear memories"),
        (transformer_of(&with_tables(21, 1), 1), "tables count of 21"),
        (transformer_of(&with_tables(1, 1), 21), "21 tables"),
        (transformer_of(&with_tables(1, 100_001), 1), "element size of 100001"),
        (transformer_of(&Module::new(), 101), "101 core module instances"),
        (transformer_of(&with_globals(100_000), 1), "requires 1600176 bytes"),
    ] {
        let error = refused(&bytes);
        assert!(
            matches!(&error, ModuleError::DeclaresTooMuch(what) if what.contains(wanted) && !what.contains("pool")),
            "{wanted}: {error}"
        );
        assert!(error.hint().unwrap().contains("a module may have 4 memories and 20 tables"), "{error}");
        // An upload is compiled in a process of its own.
        let mut helper = Command::new(env!("CARGO_BIN_EXE_compile-module"));
        assert_eq!(cache.compile(&ENGINE, &mut helper, HelperLimits::default(), &bytes).unwrap_err(), error);
    }
    // As many as it may have are no fault.
    for bytes in [transformer_of(&with_memories(1), 4), transformer_of(&with_tables(1, 1), 20), transformer_of(&Module::new(), 100)] {
        assert!(matches!(refused(&bytes), ModuleError::Compile(what) if what.contains("does not have export `describe`")));
    }
}

/// Compiling looks at each table by itself; the tables of all instances are known when they are made, which belongs to the look at an upload.
#[test]
fn tables_that_have_too_many_elements_only_together_are_refused_at_the_start() {
    let start =
        |elements| Sandbox::new(&ENGINE, &ENGINE.compile(&with_tables_beside(guest("hostile"), 2, elements)).unwrap(), Limits::default());
    assert_eq!(start(40_000).unwrap().describe().unwrap().name, "hostile");
    let error = start(60_000).err().unwrap();
    let wanted = "the module cannot be started: its tables have more than 100000 elements together, and a module may have no more";
    assert_eq!(error.to_string(), wanted);
}

#[test]
fn a_module_that_is_slow_to_compile_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let cache = ArtefactCache::open(dir.path()).unwrap();
    let mut helper = Command::new(env!("CARGO_BIN_EXE_compile-module"));
    let limits = HelperLimits { cpu_seconds: 1, ..HelperLimits::default() };
    let bytes = slow_to_compile(16);
    let error = cache.compile(&ENGINE, &mut helper, limits, &bytes).unwrap_err();
    assert_eq!(error, ModuleError::TooCostly("1 CPU seconds".to_owned()));
    assert!(cache.load(&ENGINE, &digest_of(&bytes)).unwrap().is_none());
}

#[test]
fn a_helper_that_gave_way_in_vain_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = ArtefactCache::open(dir.path()).unwrap();
    let mut helper = Command::new(env!("CARGO_BIN_EXE_compile-module"));
    let mut compile = |gives_way, bytes: &[u8]| {
        let limits = HelperLimits { cpu_seconds: 1, gives_way: Some(Duration::from_millis(gives_way)), ..HelperLimits::default() };
        cache.compile(&ENGINE, &mut helper, limits, bytes).unwrap_err()
    };
    assert_eq!(compile(1, &slow_to_compile(16)), ModuleError::TooCostly("1 CPU seconds".to_owned()));
    for gives_way in [1, 60_000] {
        assert!(matches!(compile(gives_way, b"garbage"), ModuleError::Refused { .. }));
    }
}
