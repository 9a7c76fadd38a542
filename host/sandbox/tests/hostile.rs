//! Modules that are wrong, slow, greedy or hostile: each costs its own call and is named in the error.

// Statics are not #[test] functions, where unwrap is allowed.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use support::{ENGINE, batch, guest, input, sandbox, schema};
use thread_priority::unix::thread_schedule_policy;
use thread_priority::{NormalThreadSchedulePolicy, ThreadSchedulePolicy};
use tidegate_model::Value;
use tidegate_sandbox::{Batch, Compiled, Engine, EngineSettings, Limits, PlanOutcome, Sandbox, SandboxError, run_on_guest_thread};

const GIVES_WAY: ThreadSchedulePolicy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);

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

/// A batch on a thread for guests: the sandbox, whether it answered, and whether the thread gave way.
fn batch_on_guest_thread(mut sandbox: Sandbox) -> (Sandbox, bool, bool) {
    let (told, answer) = std::sync::mpsc::channel();
    run_on_guest_thread(move || {
        let is_answered = sandbox.transform(0, &two_rows()).is_ok();
        told.send((sandbox, is_answered, thread_schedule_policy().unwrap() == GIVES_WAY)).unwrap();
    })
    .unwrap();
    answer.recv().unwrap()
}

#[test]
fn an_instance_gives_way_until_it_has_answered_a_batch() {
    let mut sandbox = sandbox(&HOSTILE);
    sandbox.plan(0, &input(&schema()), "well-behaved").unwrap();
    for gives_way in [true, false, false] {
        let (back, is_answered, gave_way) = batch_on_guest_thread(sandbox);
        assert_eq!((is_answered, gave_way), (true, gives_way));
        sandbox = back;
    }
}

#[test]
fn an_instance_that_takes_long_for_a_row_gives_way_from_its_next_batch_on() {
    let mut sandbox = sandbox(&HOSTILE);
    sandbox.plan(0, &input(&schema()), "log-bomb").unwrap();
    // On this thread, which gives way to nobody.
    sandbox.transform(0, &two_rows()).unwrap();
    for _ in 0..2 {
        let (back, is_answered, gave_way) = batch_on_guest_thread(sandbox);
        assert_eq!((is_answered, gave_way), (true, true));
        sandbox = back;
    }
}

#[test]
fn the_batch_after_one_that_used_up_its_time_gives_way_from_its_beginning_and_no_later_one() {
    let module = ENGINE.compile(&guest("hostile")).unwrap();
    let start = |config: &str| {
        let limits = Limits { transform_cpu: Duration::from_millis(1), ..Limits::default() };
        let mut sandbox = Sandbox::new(&ENGINE, &module, limits).unwrap();
        sandbox.plan(0, &input(&schema()), config).unwrap();
        sandbox
    };
    let mut known = start("well-behaved");
    known.transform(0, &two_rows()).unwrap();
    let (known, is_answered, gave_way) = batch_on_guest_thread(known);
    assert_eq!((is_answered, gave_way), (true, false));
    start("loop").transform(0, &two_rows()).unwrap_err();
    let (known, is_answered, gave_way) = batch_on_guest_thread(known);
    assert_eq!((is_answered, gave_way), (true, true));
    let (_, is_answered, gave_way) = batch_on_guest_thread(known);
    assert_eq!((is_answered, gave_way), (true, false));
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
    // The stack of a language in linear memory ends before that of the engine, unless frames are small.
    let (_, error) = run("recursion");
    assert!(matches!(&error, SandboxError::Trap { message, .. } if message.starts_with("wasm trap: out of bounds")), "{error}");
    let (_, error) = run("deep-recursion");
    assert_eq!(error, SandboxError::Stack { call: "transform", bytes_max: 512 << 10 });
    let (_, error) = run("trap");
    assert!(matches!(&error, SandboxError::Trap { message, .. } if message.starts_with("wasm trap: wasm `unreachable`")), "{error}");
}

#[test]
fn malformed_answers_are_named_and_leave_the_sandbox_usable() {
    let cases = [
        ("no-columns", "0 columns, and the plan has 1"),
        ("extra-column", "2 columns, and the plan has 1"),
        ("endless-offset", "do not rise"),
        ("long-text", "1048576 bytes of values"),
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
    assert_eq!(error, SandboxError::Output { call: "transform", bytes_max: 16 << 20 });
    let error = sandbox(&HOSTILE).plan(0, &input(&schema()), "huge-plan").unwrap_err();
    assert_eq!(error, SandboxError::Output { call: "plan", bytes_max: 2 << 20 });
    let error = sandbox(&describing(b'2')).describe().unwrap_err();
    assert_eq!(error, SandboxError::Output { call: "describe", bytes_max: 2 << 20 });
}

/// The module with another answer of `describe`.
fn describing(behaviour: u8) -> Compiled {
    let mut bytes = guest("hostile");
    let marker = b"hostile-describes:";
    let at: Vec<usize> = (0..bytes.len() - marker.len()).filter(|at| bytes[*at..].starts_with(marker)).collect();
    assert_eq!(at.len(), 1, "the marker stands in the module's data once");
    bytes[at[0] + marker.len()] = behaviour;
    ENGINE.compile(&bytes).unwrap()
}

#[test]
fn a_schema_of_the_configuration_that_is_too_large_to_keep_is_refused() {
    assert_eq!(sandbox(&describing(b'0')).describe().unwrap().config_schema.unwrap().len(), 4);
    let error = sandbox(&describing(b'1')).describe().unwrap_err();
    assert!(matches!(&error, SandboxError::Malformed { what } if what.contains("102400 bytes, more than 65536")), "{error}");
}

#[test]
fn what_a_plan_says_is_bounded_in_length_and_in_number() {
    let mut sandbox = sandbox(&HOSTILE);
    let PlanOutcome::Include(plan) = sandbox.plan(0, &input(&schema()), "many-notes").unwrap() else { panic!("the table is left out") };
    assert_eq!((plan.notes.len(), plan.notes[99].len(), plan.notes[100].as_str()), (101, 1024, "and 100 more notes"));
    let error = sandbox.plan(0, &input(&schema()), "long-name").unwrap_err().to_string();
    assert!(error.ends_with("a target name has 1000000 bytes, more than 1024"), "{error}");
    let error = sandbox.plan(0, &input(&schema()), "long-name-twice").unwrap_err().to_string();
    assert!(error.contains("stands twice"), "{error}");
    let error = sandbox.plan(0, &input(&schema()), "long-error").unwrap_err();
    let SandboxError::Plan { config_path: Some(path), message } = error else { panic!("{error}") };
    assert_eq!((path.len(), path.capacity(), message.len(), message.capacity()), (4096, 4096, 4096, 4096));
    // Two plans of half a MiB are in what is free for all, a third one is not, unless it takes the place of another.
    sandbox.plan(1, &input(&schema()), "many-names").unwrap();
    sandbox.plan(1, &input(&schema()), "many-names").unwrap();
    let error = sandbox.plan(2, &input(&schema()), "many-names").unwrap_err();
    assert!(error.leaves_usable() && error.to_string().contains("all plans of the module together"), "{error}");
    sandbox.plan(2, &input(&schema()), "well-behaved").unwrap();
}

#[test]
fn a_process_keeps_little_of_what_modules_log_count_and_plan() {
    let limits = Limits { transform_cpu: Duration::from_secs(120), ..Limits::default() };
    let before = resident_bytes();
    let kept: Vec<Sandbox> = ["log-bomb", "counter-bomb", "many-notes"]
        .into_iter()
        .map(|misdeed| {
            let mut sandbox = Sandbox::new(&ENGINE, &HOSTILE, limits).unwrap();
            for table in 0..300 {
                sandbox.plan(table, &input(&schema()), misdeed).unwrap();
            }
            sandbox.transform(0, &two_rows()).unwrap();
            sandbox
        })
        .collect();
    // 800 MiB of lines, 256 MiB of names and 515 MiB of notes passed by. Other tests of this program run beside it.
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < (64 + 128) << 20, "grew by {} MiB", grown >> 20);
    assert_eq!(
        kept.into_iter().map(|mut sandbox| (sandbox.take_logs().0.len(), sandbox.take_counts().len())).collect::<Vec<_>>(),
        [(100, 0), (0, 32), (0, 0)]
    );
}

#[test]
fn a_plan_that_lies_is_refused_by_the_thing_that_it_invents() {
    let cases = [
        ("unknown-input", "input column \"no_such_column\" does not exist"),
        ("unknown-key", "primary key column \"no_such_column\" does not exist"),
        ("unknown-rename", "renamed column \"no_such_column\" does not exist"),
        ("duplicate-columns", "output column \"extra\" stands twice"),
        ("computed-without-rows", "is computed, but the plan has no rows"),
        ("host-mask", "table \"shop.customers\": column \"id\" is to be masked by the host, which this host does not do"),
    ];
    for (lie, wanted) in cases {
        let mut sandbox = sandbox(&HOSTILE);
        let error = sandbox.plan(0, &input(&schema()), lie).unwrap_err();
        assert!(error.to_string().contains(wanted), "{lie}: {error}");
        assert!(error.leaves_usable() && sandbox.plan(0, &input(&schema()), "well-behaved").is_ok(), "{lie}");
    }
}

#[test]
fn a_replaced_sandbox_answers_again_and_goes_on_counting() {
    let (mut sandbox, error) = run("trap");
    assert!(!error.leaves_usable());
    sandbox.plan(1, &input(&schema()), "well-behaved").unwrap_err();
    sandbox.replace().unwrap();
    sandbox.plan(1, &input(&schema()), "well-behaved").unwrap();
    assert!(sandbox.transform(1, &two_rows()).is_ok());
    // Table 0 is planned again by itself, and misbehaves again.
    assert!(matches!(sandbox.transform(0, &two_rows()), Err(SandboxError::Trap { .. })));
    let usage = sandbox.usage();
    assert_eq!((usage.instances, usage.batches, usage.rows, usage.failures), (2, 3, 6, 2));
    assert!(usage.memory_bytes == 0 && usage.memory_bytes_peak > 1 << 16 && usage.cpu > Duration::ZERO, "{usage:?}");
}

#[test]
fn modules_share_the_memory_that_the_process_has_for_them() {
    let settings = EngineSettings { total_memory_bytes_max: 8 << 20, ..EngineSettings::default() };
    let engine = Engine::new(settings).unwrap();
    let module = engine.compile(&guest("hostile")).unwrap();
    let mut greedy = Sandbox::new(&engine, &module, Limits::default()).unwrap();
    greedy.plan(0, &input(&schema()), "memory").unwrap();
    let error = greedy.transform(0, &two_rows()).unwrap_err();
    assert!(matches!(error, SandboxError::BeyondShare { call: "transform", bytes_max, .. } if bytes_max == 8 << 20), "{error}");
    assert!(!error.is_transient() && error.to_string().contains("`modules.total_memory_mib`"), "{error}");
    // What the bomb held is free again.
    assert_eq!(engine.memory_bytes(), 0);
    greedy.replace().unwrap();
    assert!(engine.memory_bytes() > 0);
    drop(greedy);
    assert_eq!(engine.memory_bytes(), 0);
}

#[test]
fn memory_bombs_on_every_thread_stay_below_the_ceiling() {
    let settings = EngineSettings { total_memory_bytes_max: 96 << 20, ..EngineSettings::default() };
    let engine = Engine::new(settings).unwrap();
    let module = engine.compile(&guest("hostile")).unwrap();
    let before = resident_bytes();
    let highest = std::thread::scope(|scope| {
        let bombs: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut highest = 0;
                    for _ in 0..5 {
                        let mut sandbox = Sandbox::new(&engine, &module, Limits::default()).unwrap();
                        sandbox.plan(0, &input(&schema()), "memory").unwrap();
                        let error = sandbox.transform(0, &two_rows()).unwrap_err();
                        assert!(matches!(error, SandboxError::Memory { .. } | SandboxError::Crowded { .. }), "{error}");
                        highest = highest.max(resident_bytes());
                    }
                    highest
                })
            })
            .collect();
        bombs.into_iter().map(|bomb| bomb.join().unwrap()).max().unwrap()
    });
    // Other tests of this program run beside it: 64 MiB for a bomb of theirs and as much for the rest.
    let grown = highest.saturating_sub(before);
    assert!(grown < (96 + 128) << 20, "grew by {} MiB", grown >> 20);
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
}

#[test]
fn a_modules_own_limits_stand_in_place_of_the_callers() {
    let own = Limits { memory_bytes_max: 4 << 20, instances_max: 0, ..Limits::default() };
    let module = ENGINE.compile(&guest("hostile")).unwrap();
    let none = module.clone().limited(own);
    assert!(matches!(Sandbox::new(&ENGINE, &none, Limits::default()), Err(SandboxError::Instances { instances_max: 0 })));
    let mut one = Sandbox::new(&ENGINE, &module.limited(Limits { instances_max: 1, ..own }), Limits::default()).unwrap();
    one.plan(0, &input(&schema()), "memory").unwrap();
    assert_eq!(one.transform(0, &two_rows()).unwrap_err(), SandboxError::Memory { call: "transform", bytes_max: 4 << 20 });
}

#[test]
fn fuel_is_counted_where_it_is_metered() {
    let engine = Engine::new(EngineSettings { meters_fuel: true, ..EngineSettings::default() }).unwrap();
    let module = engine.compile(&guest("hostile")).unwrap();
    let mut sandbox = Sandbox::new(&engine, &module, Limits::default()).unwrap();
    sandbox.plan(0, &input(&schema()), "well-behaved").unwrap();
    let planned = sandbox.usage();
    let used = || {
        let before = sandbox.usage();
        sandbox.transform(0, &two_rows()).unwrap();
        sandbox.usage().since(&before).fuel.unwrap()
    };
    let mut used = used;
    let (first, second, third) = (used(), used(), used());
    assert!(planned.fuel.unwrap() > 0 && first > 0);
    // The same work costs the same fuel, once the allocator has what it needs.
    assert_eq!(second, third);
    assert_eq!(support::sandbox(&HOSTILE).usage().fuel, None);
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
fn a_module_is_told_to_forget_tables_that_its_instance_knows_and_no_others() {
    let forgotten = |sandbox: &mut Sandbox| sandbox.take_counts().into_iter().map(|(_, count)| count).sum::<u64>();
    let mut sandbox = sandbox(&HOSTILE);
    for table in 0..3 {
        sandbox.plan(table, &input(&schema()), "counts-forgotten").unwrap();
    }
    sandbox.forget(0).unwrap();
    assert_eq!(forgotten(&mut sandbox), 1);
    assert!(matches!(sandbox.transform(0, &two_rows()), Err(SandboxError::Misuse { .. })));
    // A fresh instance knows a table from its first batch on.
    sandbox.replace().unwrap();
    sandbox.transform(1, &two_rows()).unwrap();
    for table in [1, 2] {
        sandbox.forget(table).unwrap();
    }
    assert_eq!(forgotten(&mut sandbox), 1);
}

#[test]
fn a_module_that_fails_when_it_is_to_forget_loses_its_instance() {
    let mut sandbox = sandbox(&HOSTILE);
    sandbox.plan(0, &input(&schema()), "traps-when-forgotten").unwrap();
    let error = sandbox.forget(0).unwrap_err();
    assert!(matches!(error, SandboxError::Trap { call: "forget", .. }), "{error}");
    // There is no instance that could know anything.
    sandbox.forget(0).unwrap();
    assert_eq!((sandbox.usage().instances, sandbox.usage().failures), (1, 1));
}
