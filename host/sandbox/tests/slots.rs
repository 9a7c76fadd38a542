//! Who gets a sandbox when there are fewer slots, or less memory, than sandboxes.

// Helpers outside of #[test] functions, where unwrap is allowed.
#![allow(clippy::unwrap_used)]

mod support;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use support::{batch, guest, input, schema};
use tidegate_model::Value;
use tidegate_sandbox::{
    Batch, Compiled, Engine, EngineSettings, Limits, PlanOutcome, Sandbox, SandboxCount, SandboxError, TenantShare, builtin_rules,
    waiting_by,
};

/// Long enough for what has to be refused, short enough to wait for it.
const PATIENCE: Duration = Duration::from_millis(50);

fn two_rows() -> Batch {
    batch(schema().columns[0].sql_type.clone(), &[Value::Int(1), Value::Int(2)])
}

fn engine(slots: u32, slot_patience: Duration) -> (Engine, Compiled) {
    let engine = Engine::new(EngineSettings { slots, slot_patience, ..EngineSettings::default() }).unwrap();
    let module = engine.compile(&guest("hostile")).unwrap();
    (engine, module)
}

fn planned(engine: &Engine, module: &Compiled, config: &str) -> Sandbox {
    try_planned(engine, module, config).unwrap()
}

fn try_planned(engine: &Engine, module: &Compiled, config: &str) -> Result<Sandbox, SandboxError> {
    // As long as a test takes.
    let limits = Limits { transform_cpu: Duration::from_secs(600), ..Limits::default() };
    let mut sandbox = Sandbox::new(engine, module, limits)?;
    sandbox.plan(0, &input(&schema()), config)?;
    Ok(sandbox)
}

thread_local! {
    static TOLD: Cell<u32> = const { Cell::new(0) };
}

fn told(wait: &mut dyn FnMut()) {
    TOLD.set(TOLD.get() + 1);
    wait();
}

/// A call that does not end before it is told to.
struct Busy {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<SandboxError>>,
}

impl Busy {
    /// Answers when the sandbox has its slot and is at work.
    fn start(engine: &Engine, module: &Compiled) -> Busy {
        let mut sandbox = planned(engine, module, "loop");
        let stop = sandbox.cancel_flag();
        let before = engine.calls();
        let thread = std::thread::spawn(move || sandbox.transform(0, &two_rows()).unwrap_err());
        while engine.calls() == before {
            std::thread::yield_now();
        }
        Busy { stop, thread: Some(thread) }
    }

    fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        assert_eq!(self.thread.take().unwrap().join().unwrap(), SandboxError::Cancelled);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn answers(sandbox: &mut Sandbox) {
    sandbox.transform(0, &two_rows()).unwrap();
}

#[test]
fn more_sandboxes_than_slots_answer_in_turn_and_lose_no_figures() {
    let (engine, module) = engine(2, PATIENCE);
    let mut sandboxes: Vec<_> = (0..5).map(|_| planned(&engine, &module, "well-behaved")).collect();
    for _ in 0..3 {
        sandboxes.iter_mut().for_each(answers);
        // Nobody is a tenant here, so the slot beside those of tenants counts, too.
        assert_eq!(engine.sandboxes(), (0, 3));
    }
    for sandbox in &sandboxes {
        let usage = sandbox.usage();
        assert_eq!((usage.batches, usage.rows, usage.instances, usage.failures), (3, 6, 4, 0));
        assert!(usage.memory_bytes_peak > 1 << 16 && usage.cpu > Duration::ZERO, "{usage:?}");
    }
    assert_eq!(sandboxes.iter().filter(|sandbox| sandbox.usage().memory_bytes > 0).count(), 3);
    assert_eq!(engine.given_up(), 5 * 4 - 3);
    drop(sandboxes);
    assert_eq!((engine.sandboxes(), engine.memory_bytes()), ((0, 0), 0));
}

#[test]
fn the_sandbox_that_was_idle_longest_gives_up_its_slot() {
    let (engine, module) = engine(2, PATIENCE);
    let mut sandboxes: Vec<_> = (0..3).map(|_| planned(&engine, &module, "well-behaved")).collect();
    answers(&mut sandboxes[0]);
    answers(&mut sandboxes[2]);
    let mut another = planned(&engine, &module, "well-behaved");
    [0, 2].iter().for_each(|kept: &usize| answers(&mut sandboxes[*kept]));
    assert_eq!(sandboxes.iter().map(|sandbox| sandbox.usage().instances).collect::<Vec<_>>(), [1, 1, 1]);
    answers(&mut sandboxes[1]);
    answers(&mut another);
    assert_eq!((sandboxes[1].usage().instances, another.usage().instances), (2, 2));
}

#[test]
fn what_a_module_told_before_it_gave_up_its_slot_is_heard() {
    let (engine, module) = engine(1, PATIENCE);
    let mut sandbox = planned(&engine, &module, "chatter");
    answers(&mut sandbox);
    let others: Vec<_> = (0..2).map(|_| planned(&engine, &module, "well-behaved")).collect();
    assert_eq!((sandbox.usage().memory_bytes, others.len()), (0, 2));
    let (lines, dropped) = sandbox.take_logs();
    assert_eq!((lines.len(), dropped, sandbox.take_counts().len()), (100, 9_900, 32));
    answers(&mut sandbox);
    assert_eq!(sandbox.take_logs().0.len(), 100);
}

#[test]
fn a_call_keeps_its_slot_and_who_finds_none_says_so() {
    let (engine, module) = engine(1, PATIENCE);
    let busy = [Busy::start(&engine, &module), Busy::start(&engine, &module)];
    // Its thread knows of the wait, and can have another one go on with what it has to do besides.
    let told = waiting_by(told, || try_planned(&engine, &module, "well-behaved").err());
    assert_eq!((told, TOLD.replace(0) > 0), (Some(SandboxError::NoSlot), true));
    busy.into_iter().for_each(Busy::end);
    assert!(waiting_by(self::told, || try_planned(&engine, &module, "well-behaved").is_ok()));
    assert_eq!(TOLD.get(), 0);
}

#[test]
fn who_waits_for_a_slot_gets_it_when_a_call_ends() {
    let (engine, module) = engine(1, Duration::from_secs(60));
    let busy = [Busy::start(&engine, &module), Busy::start(&engine, &module)];
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| planned(&engine, &module, "well-behaved").transform(0, &two_rows()).is_ok());
        // Whether it waits already or not, it gets the slot.
        busy.into_iter().for_each(Busy::end);
        assert!(waiting.join().unwrap());
    });
}

#[test]
fn threads_that_call_again_and_again_all_get_on_with_one_slot_between_them() {
    let (engine, module) = engine(1, Duration::from_secs(60));
    let share = TenantShare::default();
    let module = module.held_by(&share);
    std::thread::scope(|scope| {
        let calls = (0..4).map(|_| {
            let (engine, module) = (&engine, &module);
            scope.spawn(move || {
                let mut sandbox = planned(engine, module, "well-behaved");
                (0..50).for_each(|_| answers(&mut sandbox));
                sandbox.usage()
            })
        });
        let usages: Vec<_> = calls.collect::<Vec<_>>().into_iter().map(|call| call.join().unwrap()).collect();
        assert!(usages.iter().all(|usage| usage.batches == 50 && usage.failures == 0), "{usages:?}");
    });
    assert_eq!((engine.sandboxes(), share.sandboxes(), share.refusals()), ((0, 0), 0, 0));
}

#[test]
fn a_module_at_its_number_of_instances_waits_for_its_own_and_for_nobody_else() {
    let (engine, module) = engine(8, PATIENCE);
    let limited = module.clone().counted_with(&SandboxCount::default()).limited(Limits {
        instances_max: 1,
        transform_cpu: Duration::from_secs(600),
        ..Limits::default()
    });
    let mut idle = planned(&engine, &limited, "well-behaved");
    let busy = Busy::start(&engine, &limited);
    assert_eq!(idle.transform(0, &two_rows()).unwrap_err(), SandboxError::Instances { instances_max: 1 });
    answers(&mut planned(&engine, &module.counted_with(&SandboxCount::default()), "well-behaved"));
    busy.end();
    answers(&mut idle);
}

#[test]
fn a_tenant_at_its_share_is_held_and_another_one_and_the_rules_go_on() {
    let (engine, module) = engine(4, PATIENCE);
    let (greedy, modest) = (TenantShare::default(), TenantShare::default());
    let (of_greedy, of_modest) = (module.clone().held_by(&greedy), module.held_by(&modest));
    let mut busy: Vec<_> = (0..3).map(|_| Busy::start(&engine, &of_greedy)).collect();
    let refused = try_planned(&engine, &of_greedy, "well-behaved").err().unwrap();
    assert_eq!(refused, SandboxError::TenantSandboxes { sandboxes: 3, bound: "share" });
    assert!(refused.is_transient() && refused.is_of_tenant());
    assert_eq!((greedy.sandboxes(), greedy.refusals(), modest.refusals()), (3, 1, 0));
    answers(&mut planned(&engine, &of_modest, "well-behaved"));

    // Even where tenants have every slot that is theirs.
    busy.push(Busy::start(&engine, &of_modest));
    let none_left = module_of_nobody_else(&engine);
    assert_eq!(try_planned(&engine, &none_left, "well-behaved").err(), Some(SandboxError::NoSlot));
    let rules = engine.compile(builtin_rules()).unwrap();
    let filter = r#"{"rules":[{"rule-type":"selection","rule-id":"1","rule-action":"include",
        "object-locator":{"schema-name":"shop","table-name":"customers"},
        "filters":[{"filter-type":"source","column-name":"id","filter-conditions":[{"filter-operator":"gte","value":"2"}]}]}]}"#;
    // As many tasks as one likes, one after the other.
    let mut tasks: Vec<_> = (0..3).map(|_| Sandbox::new(&engine, &rules, Limits::default()).unwrap()).collect();
    for task in &mut tasks {
        assert!(matches!(task.plan(0, &input(&schema()), filter).unwrap(), PlanOutcome::Include(_)));
    }
    for task in &mut tasks {
        assert_eq!(task.transform(0, &two_rows()).unwrap().dropped(), 1);
    }
    busy.into_iter().for_each(Busy::end);
}

fn module_of_nobody_else(engine: &Engine) -> Compiled {
    engine.compile(&guest("hostile")).unwrap().held_by(&TenantShare::default())
}

#[test]
fn a_quota_of_sandboxes_holds_though_slots_are_free() {
    let (engine, module) = engine(8, PATIENCE);
    let share = TenantShare::default();
    share.set_quotas(Some(1), None);
    let module = module.held_by(&share);
    let busy = Busy::start(&engine, &module);
    let refused = try_planned(&engine, &module, "well-behaved").err();
    assert_eq!(refused, Some(SandboxError::TenantSandboxes { sandboxes: 1, bound: "quota" }));
    busy.end();
    // Its own idle ones give way to each other.
    let mut two = [planned(&engine, &module, "well-behaved"), planned(&engine, &module, "well-behaved")];
    two.iter_mut().for_each(answers);
    assert_eq!(share.sandboxes(), 1);
}

#[test]
fn idle_sandboxes_give_their_memory_to_who_needs_it() {
    let settings = EngineSettings { total_memory_bytes_max: 6 << 20, ..EngineSettings::default() };
    let engine = Engine::new(settings).unwrap();
    let module = engine.compile(&guest("hostile")).unwrap();
    let mut sandboxes: Vec<_> = (0..12).map(|_| planned(&engine, &module, "well-behaved")).collect();
    sandboxes.iter_mut().for_each(answers);
    assert!(engine.memory_bytes() <= 6 << 20 && engine.given_up() > 0);
}

fn with_memory(bytes: usize) -> (Engine, Compiled) {
    let engine = Engine::new(EngineSettings { total_memory_bytes_max: bytes, ..EngineSettings::default() }).unwrap();
    let module = engine.compile(&guest("hostile")).unwrap();
    (engine, module)
}

#[test]
fn a_tenant_at_its_share_of_memory_is_named_and_another_one_gets_its_part() {
    let (engine, module) = with_memory(64 << 20);
    let (greedy, modest) = (TenantShare::default(), TenantShare::default());
    let mut neighbours: Vec<_> = (0..8).map(|_| planned(&engine, &module.clone().held_by(&modest), "well-behaved")).collect();
    let error = planned(&engine, &module.held_by(&greedy), "memory").transform(0, &two_rows()).unwrap_err();
    assert!(matches!(error, SandboxError::TenantMemory { bytes, bound: "share" } if bytes > 20 << 20 && bytes <= 42 << 20), "{error:?}");
    assert!(error.is_transient(), "when the neighbour has gone there is more");
    assert_eq!((greedy.refusals(), modest.refusals(), greedy.memory_bytes()), (1, 0, 0));
    neighbours.iter_mut().for_each(answers);
}

#[test]
fn more_memory_than_a_tenant_can_ever_have_is_not_waited_for() {
    let (engine, module) = with_memory(64 << 20);
    let share = TenantShare::default();
    let module = module.held_by(&share);
    let refused = || planned(&engine, &module, "memory").transform(0, &two_rows()).unwrap_err();
    let error = refused();
    assert!(matches!(error, SandboxError::BeyondShare { call: "transform", bytes, bytes_max, .. } if bytes > bytes_max), "{error:?}");
    assert!(!error.is_transient() && error.to_string().contains("the tenant's share"), "{error}");
    assert!(error.to_string().contains("`modules.total_memory_mib`"), "{error}");

    share.set_quotas(None, Some(8 << 20));
    let error = refused();
    assert!(matches!(error, SandboxError::BeyondShare { bytes_max, .. } if bytes_max == 8 << 20), "{error:?}");
    assert!(error.to_string().contains("the tenant's quota (`tidegate tenant set --sandbox-memory-mib`)"), "{error}");
    // A start is none, either.
    share.set_quotas(None, Some(1 << 16));
    let error = try_planned(&engine, &module, "well-behaved").err().unwrap();
    assert!(matches!(error, SandboxError::BeyondShare { call: "start", .. }), "{error:?}");
    share.set_quotas(Some(0), None);
    assert_eq!(try_planned(&engine, &module, "well-behaved").err(), Some(SandboxError::NoneAllowed));
    share.set_quotas(None, None);
    answers(&mut planned(&engine, &module, "well-behaved"));
}

#[test]
fn what_others_hold_is_waited_for() {
    let (engine, module) = with_memory(3 << 20);
    let share = TenantShare::default();
    share.set_quotas(None, Some(3 << 20));
    let (roomy, of_tenant) = with_memory(64 << 20);
    for (engine, module) in [(engine, module), (roomy, of_tenant.held_by(&share))] {
        // At work, so that they give nothing up; a bit more than 1 MiB each.
        let busy = [(); 2].map(|()| Busy::start(&engine, &module));
        let error = try_planned(&engine, &module, "well-behaved").err().unwrap();
        assert!(
            matches!(error, SandboxError::Crowded { bytes_max } if bytes_max == 3 << 20)
                || matches!(error, SandboxError::TenantMemory { bound: "quota", .. }),
            "{error:?}"
        );
        assert!(error.is_transient());
        busy.into_iter().for_each(Busy::end);
        answers(&mut planned(&engine, &module, "well-behaved"));
    }
}

/// Python's interpreter with its library leaks, and so may others; a hundred thousand batches of a small module take a second.
#[test]
fn an_instance_is_replaced_after_a_hundred_thousand_batches() {
    let (engine, module) = engine(1, PATIENCE);
    let mut sandbox = planned(&engine, &module, "well-behaved");
    let batch = two_rows();
    for _ in 0..100_000 {
        sandbox.transform(0, &batch).unwrap();
    }
    assert!(sandbox.is_worn());
    assert_eq!(sandbox.usage().instances, 1);
    sandbox.transform(0, &batch).unwrap();
    assert!(!sandbox.is_worn());
    assert_eq!((sandbox.usage().instances, sandbox.usage().batches), (2, 100_001));
}
