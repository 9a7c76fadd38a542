//! Compiles uploads in a process of their own.
//!
//! A code generator is a large program, and an upload is a stranger's input to it: the helper has its own CPU and
//! address-space limits and is killed when it uses them up. The module goes in on stdin, the artefact comes out on
//! stdout; exit code 2 means that stderr says why the module is refused, anything else that the helper itself failed.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::compile::{MODULE_BYTES_MAX, as_component};
use crate::engine::config;
use crate::error::ModuleError;
use crate::guest::cut;

const CPU_ENV: &str = "TIDEGATE_COMPILE_CPU_S";
const MEMORY_ENV: &str = "TIDEGATE_COMPILE_MEMORY_BYTES";
/// Exit code for a module that is refused.
const REFUSED: i32 = 2;
/// Bytes of compiled code that are taken: JavaScript and Python components have 35 to 37 MB.
const ARTEFACT_BYTES_MAX: u64 = 96 << 20;
/// Bytes of a refusal that are kept.
const MESSAGE_BYTES_MAX: u64 = 4096;

/// What the helper process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HelperLimits {
    /// CPU seconds. The wall clock may show twice as many.
    pub cpu_seconds: u64,
    /// Address space.
    pub memory_bytes_max: u64,
}

impl Default for HelperLimits {
    /// Compiling the largest guest tried, a JavaScript engine, takes 16 CPU seconds.
    fn default() -> Self {
        Self { cpu_seconds: 120, memory_bytes_max: 2 << 30 }
    }
}

/// Runs `command` (this program with the argument that leads to [`helper_main`]) on a module; the artefact.
pub(crate) fn compile(command: &mut Command, limits: HelperLimits, bytes: &[u8]) -> Result<Vec<u8>, ModuleError> {
    if bytes.len() > MODULE_BYTES_MAX {
        return Err(ModuleError::TooLarge { bytes: bytes.len(), bytes_max: MODULE_BYTES_MAX });
    }
    let failed = |error: std::io::Error| ModuleError::Helper(error.to_string());
    let mut child = command
        .env(CPU_ENV, limits.cpu_seconds.to_string())
        .env(MEMORY_ENV, limits.memory_bytes_max.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let code = child.stdout.take().map(|pipe| read_all(pipe, ARTEFACT_BYTES_MAX));
    let message = child.stderr.take().map(|pipe| read_all(pipe, MESSAGE_BYTES_MAX));
    let wall = Duration::from_secs(limits.cpu_seconds * 2);
    let status = std::thread::scope(|scope| {
        if let Some(mut pipe) = child.stdin.take() {
            // A helper that refuses early closes its end; its exit code tells.
            scope.spawn(move || drop(pipe.write_all(bytes)));
        }
        wait(&mut child, wall)
    })?;
    let (code, message) = (joined(code)?, joined(message)?);
    let message = cut(String::from_utf8_lossy(&message).trim().to_owned(), MESSAGE_BYTES_MAX as usize);
    if status.success() {
        if code.len() as u64 > ARTEFACT_BYTES_MAX {
            return Err(ModuleError::Refused(format!("the compiled module has more than {ARTEFACT_BYTES_MAX} bytes")));
        }
        return Ok(code);
    }
    if status.code() == Some(REFUSED) {
        return Err(ModuleError::Refused(message));
    }
    let allowed = format!("{} CPU seconds and {} bytes are allowed", limits.cpu_seconds, limits.memory_bytes_max);
    Err(ModuleError::Helper(format!("it ended with {status}; {allowed}")))
}

fn wait(child: &mut Child, wall: Duration) -> Result<std::process::ExitStatus, ModuleError> {
    let failed = |error: std::io::Error| ModuleError::Helper(error.to_string());
    let end = Instant::now() + wall;
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(status);
        }
        if Instant::now() >= end {
            child.kill().map_err(failed)?;
            return child.wait().map_err(failed);
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
            eprintln!("{error}");
            if matches!(error, ModuleError::Helper(_)) { 1 } else { REFUSED }
        }
    }
}

fn compile_stdin() -> Result<(), ModuleError> {
    let defaults = HelperLimits::default();
    limit(Resource::Cpu, CPU_ENV, defaults.cpu_seconds)?;
    limit(Resource::As, MEMORY_ENV, defaults.memory_bytes_max)?;
    let failed = |error: std::io::Error| ModuleError::Helper(error.to_string());
    let mut bytes = Vec::new();
    std::io::stdin().take(MODULE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    let component = as_component(&bytes)?;
    // The same settings as the engine's, without its pool: nothing runs here.
    let engine = wasmtime::Engine::new(&config()).map_err(|error| ModuleError::Helper(format!("{error:#}")))?;
    let code = engine.precompile_component(&component).map_err(|error| ModuleError::Compile(format!("{error:#}")))?;
    let mut out = std::io::stdout().lock();
    out.write_all(&code).and_then(|()| out.flush()).map_err(failed)
}

fn limit(resource: Resource, name: &str, default: u64) -> Result<(), ModuleError> {
    let wanted = match std::env::var(name) {
        Ok(text) => text.parse().map_err(|_| ModuleError::Helper(format!("{name} is not a number")))?,
        Err(_) => default,
    };
    let limits = Rlimit { current: Some(wanted), maximum: Some(wanted) };
    setrlimit(resource, limits).map_err(|error| ModuleError::Helper(format!("set the limit {name}: {error}")))
}
