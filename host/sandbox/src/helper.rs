//! Compiles uploads in a process of their own.
//!
//! A code generator is a large program, and an upload is a stranger's input to it: the helper has its own CPU and
//! address-space limits and is killed when it uses them up, and it works at a low priority. The module
//! goes in on stdin, the artefact comes out on stdout; exit code 2 means that stderr says why the module is refused (and,
//! after a line feed, what to do about it), anything else that the helper itself failed.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, setpriority_process, setrlimit};

use crate::compile::{MODULE_BYTES_MAX, as_component};
use crate::engine::{EngineSettings, config};
use crate::error::ModuleError;
use crate::threads::give_way_for_good;
use crate::told::cut;

const CPU_ENV: &str = "TIDEGATE_COMPILE_CPU_S";
const MEMORY_ENV: &str = "TIDEGATE_COMPILE_MEMORY_BYTES";
const MODULE_ENV: &str = "TIDEGATE_COMPILE_MODULE_BYTES";
const FUEL_ENV: &str = "TIDEGATE_COMPILE_FUEL";
const NICENESS_ENV: &str = "TIDEGATE_COMPILE_NICENESS";
/// Wall time for each second of CPU time: on a busy machine the lowest priority waits long.
const WALL_FACTOR: u64 = 10;
/// Exit code for a module that is refused.
const REFUSED: i32 = 2;
/// Bytes of compiled code that are taken: JavaScript and Python components have 35 to 37 MB.
const ARTEFACT_BYTES_MAX: u64 = 96 << 20;
/// Bytes of a refusal that are kept.
const MESSAGE_BYTES_MAX: u64 = 4096;

/// What the helper process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HelperLimits {
    /// CPU seconds of all its threads. The wall clock may show ten times as many.
    pub cpu_seconds: u64,
    /// Address space.
    pub memory_bytes_max: u64,
    /// Priority, 0 (as everybody) to 19 (only when nobody else wants the CPU).
    pub niceness: u8,
    /// At first the helper runs only while no other thread wants its processor. Where it is not done after this time, it is started again with
    /// `niceness`, since on a saturated machine it would never be.
    pub gives_way: Option<Duration>,
}

impl Default for HelperLimits {
    /// Compiling the largest guest tried, a JavaScript engine, takes 16 CPU seconds. The priority is low, so that tasks that
    /// replicate hardly notice, and not the lowest: with that, a server on a saturated machine was not ready within a
    /// minute, since it compiles its rules at the first start.
    fn default() -> Self {
        Self { cpu_seconds: 120, memory_bytes_max: 2 << 30, niceness: 5, gives_way: None }
    }
}

/// Runs `command` (this program with the argument that leads to [`helper_main`]) on a module; the artefact.
pub(crate) fn compile(
    command: &mut Command,
    limits: HelperLimits,
    settings: &EngineSettings,
    bytes: &[u8],
) -> Result<Vec<u8>, ModuleError> {
    if bytes.len() > settings.module_bytes_max {
        return Err(ModuleError::TooLarge { bytes: bytes.len(), bytes_max: settings.module_bytes_max });
    }
    if let Some(patience) = limits.gives_way {
        let giving_way = || {
            give_way_for_good();
            run(command, limits, settings, bytes, patience)
        };
        let done = std::thread::scope(|scope| scope.spawn(giving_way).join());
        if let Some(code) = done.unwrap_or_else(|_| Err(ModuleError::Helper("its thread panicked".to_owned())))? {
            return Ok(code);
        }
    }
    let patience = Duration::from_secs(limits.cpu_seconds.saturating_mul(WALL_FACTOR));
    run(command, limits, settings, bytes, patience)?.ok_or_else(|| too_much_time(limits))
}

/// `None` when it is not done after `patience`.
fn run(
    command: &mut Command,
    limits: HelperLimits,
    settings: &EngineSettings,
    bytes: &[u8],
    patience: Duration,
) -> Result<Option<Vec<u8>>, ModuleError> {
    let failed = |error: std::io::Error| ModuleError::Helper(error.to_string());
    let mut child = command
        .env(CPU_ENV, limits.cpu_seconds.to_string())
        .env(MEMORY_ENV, limits.memory_bytes_max.to_string())
        .env(MODULE_ENV, settings.module_bytes_max.to_string())
        .env(FUEL_ENV, u8::from(settings.meters_fuel).to_string())
        .env(NICENESS_ENV, limits.niceness.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let code = child.stdout.take().map(|pipe| read_all(pipe, ARTEFACT_BYTES_MAX));
    let message = child.stderr.take().map(|pipe| read_all(pipe, MESSAGE_BYTES_MAX));
    let status = std::thread::scope(|scope| {
        if let Some(mut pipe) = child.stdin.take() {
            // A helper that refuses early closes its end; its exit code tells.
            scope.spawn(move || drop(pipe.write_all(bytes)));
        }
        wait(&mut child, patience)
    })?;
    let Some(status) = status else { return Ok(None) };
    let (code, message) = (joined(code)?, joined(message)?);
    let message = cut(String::from_utf8_lossy(&message).trim(), MESSAGE_BYTES_MAX as usize);
    let refused = |message: &str, hint: Option<&str>| ModuleError::Refused { message: message.to_owned(), hint: hint.map(str::to_owned) };
    if status.success() {
        if code.len() as u64 > ARTEFACT_BYTES_MAX {
            return Err(refused(&format!("the compiled module has more than {ARTEFACT_BYTES_MAX} bytes"), None));
        }
        return Ok(Some(code));
    }
    if status.code() == Some(REFUSED) {
        return Err(message.split_once('\n').map_or_else(|| refused(&message, None), |(text, hint)| refused(text, Some(hint))));
    }
    let signal = |signal: Signal| status.signal() == Some(signal.as_raw());
    if signal(Signal::XCPU) || signal(Signal::KILL) {
        return Err(too_much_time(limits));
    }
    if message.contains("memory allocation of") {
        return Err(ModuleError::TooCostly(format!("{} bytes of memory", limits.memory_bytes_max)));
    }
    Err(ModuleError::Helper(format!("it ended with {status}")))
}

fn too_much_time(limits: HelperLimits) -> ModuleError {
    ModuleError::TooCostly(format!("{} CPU seconds", limits.cpu_seconds))
}

/// `None` when it was killed after `patience`.
fn wait(child: &mut Child, patience: Duration) -> Result<Option<std::process::ExitStatus>, ModuleError> {
    let failed = |error: std::io::Error| ModuleError::Helper(error.to_string());
    let end = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            child.kill().map_err(failed)?;
            child.wait().map_err(failed)?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn read_all(mut pipe: impl Read + Send + 'static, bytes_max: u64) -> JoinHandle<std::io::Result<Vec<u8>>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        (&mut pipe).take(bytes_max + 1).read_to_end(&mut bytes)?;
        // The rest is read and dropped, so that the helper never hangs on a full pipe.
        std::io::copy(&mut pipe, &mut std::io::sink())?;
        Ok(bytes)
    })
}

fn joined(reader: Option<JoinHandle<std::io::Result<Vec<u8>>>>) -> Result<Vec<u8>, ModuleError> {
    let bytes = reader.and_then(|reader| reader.join().ok()).unwrap_or_else(|| Ok(Vec::new()));
    bytes.map_err(|error| ModuleError::Helper(error.to_string()))
}

/// The helper process: what `tidegate compile-module` runs. Gives the process's exit code.
pub fn helper_main() -> i32 {
    match compile_stdin() {
        Ok(()) => 0,
        Err(error) => {
            match error.hint() {
                // The message ends at the first line feed.
                Some(hint) => eprintln!("{}\n{hint}", error.to_string().replace('\n', " ")),
                None => eprintln!("{}", error.to_string().replace('\n', " ")),
            }
            if matches!(error, ModuleError::Helper(_)) { 1 } else { REFUSED }
        }
    }
}

fn compile_stdin() -> Result<(), ModuleError> {
    let defaults = HelperLimits::default();
    // A system that forbids even this still compiles.
    let _ = setpriority_process(None, i32::try_from(number(NICENESS_ENV, u64::from(defaults.niceness))?).unwrap_or(19));
    limit(Resource::Cpu, number(CPU_ENV, defaults.cpu_seconds)?)?;
    limit(Resource::As, number(MEMORY_ENV, defaults.memory_bytes_max)?)?;
    let failed = |error: std::io::Error| ModuleError::Helper(error.to_string());
    let bytes_max = number(MODULE_ENV, MODULE_BYTES_MAX as u64)?;
    let mut bytes = Vec::new();
    std::io::stdin().take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    let component = as_component(&bytes, usize::try_from(bytes_max).unwrap_or(usize::MAX))?;
    // The same settings as the engine's, without its pool: nothing runs here.
    let engine = wasmtime::Engine::new(&config(number(FUEL_ENV, 0)? == 1)).map_err(|error| ModuleError::Helper(format!("{error:#}")))?;
    let code = engine.precompile_component(&component).map_err(|error| ModuleError::Compile(format!("{error:#}")))?;
    let mut out = std::io::stdout().lock();
    out.write_all(&code).and_then(|()| out.flush()).map_err(failed)
}

fn number(name: &str, default: u64) -> Result<u64, ModuleError> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|_| ModuleError::Helper(format!("{name} is not a number"))),
        Err(_) => Ok(default),
    }
}

fn limit(resource: Resource, wanted: u64) -> Result<(), ModuleError> {
    let limits = Rlimit { current: Some(wanted), maximum: Some(wanted) };
    setrlimit(resource, limits).map_err(|error| ModuleError::Helper(format!("set the limit {resource:?}: {error}")))
}
