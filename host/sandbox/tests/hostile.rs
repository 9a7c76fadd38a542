//! Modules that are wrong, slow, greedy or hostile: each costs its own call and is named in the error.

// Statics are not #[test] functions, where unwrap is allowed.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use support::{ENGINE, batch, guest, input, sandbox, schema};
use tidegate_model::Value;
use tidegate_sandbox::{Batch, Compiled, Engine, EngineSettings, Limits, ModuleError, Sandbox, SandboxError, digest_of};

static HOSTILE: LazyLock<Compiled> = LazyLock::new(|| ENGINE.compile(&guest("hostile")).unwrap());

fn two_rows() -> Batch {
    batch(schema().columns[0].sql_type.clone(), &[Value::Int(1), Value::Int(2)])
}

fn run(misdeed: &str) -> (Sandbox, SandboxError) {
    let mut sandbox = sandbox(&HOSTILE);
    sandbox.plan(0, &input(&schema()), misdeed).unwrap();
    let error = sandbox.transform(0, &two_rows()).unwrap_err();
    (sandbox, error)
}

#[test]
fn an_endless_loop_is_stopped_at_its_cpu_budget() {
    let start = Instant::now();
    let (mut sandbox, error) = run("loop");
    let SandboxError::Timeout { call: "transform", used, allowed, .. } = error else { panic!("{error}") };
    assert!(used >= allowed && start.elapsed() < Duration::from_secs(20), "{used:?} of {allowed:?}");
    assert!(matches!(sandbox.transform(0, &two_rows()), Err(SandboxError::Start(_))));
}

#[test]
fn a_loop_in_plan_is_stopped_too() {
    let error = sandbox(&HOSTILE).plan(0, &input(&schema()), "plan-loop").unwrap_err();
    assert!(matches!(error, SandboxError::Timeout { call: "plan", .. }), "{error}");
}

#[test]
fn a_cancelled_call_ends_soon() {
    let mut sandbox = Sandbox::new(&ENGINE, &HOSTILE, Limits { transform_cpu: Duration::from_secs(60), ..Limits::default() }).unwrap();
    sandbox.plan(0, &input(&schema()), "loop").unwrap();
    let flag = sandbox.cancel_flag();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        flag.store(true, Ordering::Relaxed);
    });
    assert_eq!(sandbox.transform(0, &two_rows()).unwrap_err(), SandboxError::Cancelled);
    killer.join().unwrap();
}

#[test]
fn memory_recursion_and_panics_end_in_their_own_errors() {
    let (_, error) = run("memory");
    assert_eq!(error, SandboxError::Memory { call: "transform", bytes_max: 64 << 20 });
    let (_, error) = run("recursion");
    assert!(matches!(&error, SandboxError::Trap { message, .. } if message.starts_with("wasm trap: ")), "{error}");
    let (_, error) = run("trap");
    assert!(matches!(&error, SandboxError::Trap { message, .. } if message.starts_with("wasm trap: wasm `unreachable`")), "{error}");
}

#[test]
fn malformed_answers_are_named_and_leave_the_sandbox_usable() {
    let cases = [
        ("no-columns", "0 columns, and the plan has 1"),
        ("short", "2 offsets, wanted 3"),
        ("bad-offsets", "do not rise"),
        ("bad-utf8", "not UTF-8"),
        ("wrong-layout", "layout int32, wanted Utf8"),
        ("bad-bitmap", "bitmap \"keep\" has 2 bytes"),
        ("far-error", "row 2 of 2"),
    ];
    for (misdeed, wanted) in cases {
        let (mut sandbox, error) = run(misdeed);
        assert!(matches!(&error, SandboxError::Malformed { what } if what.contains(wanted)), "{misdeed}: {error}");
        assert!(error.leaves_usable());
        sandbox.plan(0, &input(&schema()), "well-behaved").unwrap();
        assert!(sandbox.transform(0, &two_rows()).is_ok());
    }
    let (_, error) = run("refuse");
    assert_eq!(error, SandboxError::Module("not today".to_owned()));
}

#[test]
fn an_answer_of_20_mib_is_not_even_taken() {
    let (_, error) = run("huge");
    assert!(matches!(error, SandboxError::Trap { .. }), "{error}");
}

#[test]
fn a_plan_that_does_not_fit_is_refused() {
    let error = sandbox(&HOSTILE).plan(0, &input(&schema()), "unknown-input").unwrap_err();
    assert!(error.to_string().contains("input column \"no_such_column\" does not exist"), "{error}");
}

#[test]
fn logs_and_counters_are_bounded() {
    let mut sandbox = sandbox(&HOSTILE);
    sandbox.plan(0, &input(&schema()), "chatter").unwrap();
    sandbox.transform(0, &two_rows()).unwrap();
    let (lines, dropped) = sandbox.take_logs();
    assert_eq!((lines.len(), dropped), (100, 9_900));
    assert!(lines.iter().all(|line| line.message.len() == 1024));
    assert_eq!(sandbox.take_counts().len(), 32);
    assert_eq!(sandbox.take_counts(), []);
}

#[test]
fn a_full_pool_says_so() {
    let engine = Engine::new(EngineSettings { slots: 1, ..EngineSettings::default() }).unwrap();
    let module = engine.compile(&guest("hostile")).unwrap();
    let first = Sandbox::new(&engine, &module, Limits::default()).unwrap();
    assert!(matches!(Sandbox::new(&engine, &module, Limits::default()), Err(SandboxError::NoSlot)));
    drop(first);
    assert!(Sandbox::new(&engine, &module, Limits::default()).is_ok());
}

#[test]
fn bytes_that_are_no_module_are_refused_with_the_reason() {
    let refused = |bytes: &[u8]| ENGINE.compile(bytes).unwrap_err();
    assert_eq!(refused(b"garbage"), ModuleError::NotWasm);
    assert_eq!(refused(b""), ModuleError::NotWasm);
    assert!(matches!(refused(b"\0asm\x01\0\0\0"), ModuleError::NotComponent(_)));
    assert!(matches!(refused(b"\0asm\x0d\0\x01\0"), ModuleError::NoTransformer(_)));
    assert!(matches!(refused(b"\0asm\x0d\0\x01\0\x07\xff"), ModuleError::Malformed(_)));
    assert!(matches!(refused(&vec![0; (24 << 20) + 1]), ModuleError::TooLarge { .. }));
    let whole = guest("hostile");
    assert!(ENGINE.compile(&whole[..whole.len() / 2]).is_err());
    assert_eq!(HOSTILE.digest(), digest_of(&whole));
}

#[test]
fn a_foreign_import_is_named() {
    // A component with one type (an instance without exports) and one import of it.
    let name = b"wasi:cli/environment@0.2.0";
    let mut bytes = b"\0asm\x0d\0\x01\0\x07\x03\x01\x42\x00".to_vec();
    bytes.extend([10, name.len() as u8 + 5, 1, 0, name.len() as u8]);
    bytes.extend(name);
    bytes.extend([5, 0]);
    let error = ENGINE.compile(&bytes).unwrap_err();
    assert_eq!(error, ModuleError::Imports(vec!["wasi:cli/environment@0.2.0".to_owned()]));
    assert!(error.to_string().contains("may import tidegate:transform/host@1 alone"));
}
