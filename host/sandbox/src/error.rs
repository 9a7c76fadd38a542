//! What can go wrong with a module, in words for its author.

use std::time::Duration;

use crate::contract_version::{CONTRACT_PACKAGE, CONTRACT_VERSIONS};
use crate::engine::{CORE_INSTANCES, MEMORIES, TABLE_ELEMENTS, TABLES};

/// The versions of the contract that are taken, for messages.
fn accepted() -> String {
    CONTRACT_VERSIONS.iter().map(|version| format!("{CONTRACT_PACKAGE}@{version}")).collect::<Vec<_>>().join(", ")
}

/// What bounds a tenant's sandboxes: what it was given, or what it may have while others want some.
pub(crate) const QUOTA: &str = "quota";
pub(crate) const SHARE: &str = "share";

/// A module that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// Above the limit for uploads.
    #[error("the module has {bytes} bytes, more than {bytes_max}")]
    TooLarge {
        /// Size found.
        bytes: usize,
        /// Size allowed.
        bytes_max: usize,
    },
    /// Not WebAssembly at all.
    #[error("the module is not WebAssembly: it does not start with the bytes 00 61 73 6d")]
    NotWasm,
    /// A core module that no component can be made of.
    #[error("the module is not a component: {0}")]
    NotComponent(String),
    /// Bytes that do not parse.
    #[error("the module is not well-formed: {0}")]
    Malformed(String),
    /// Imports that the sandbox does not have, each of them.
    #[error("the module imports {}, and a module may import tidegate:transform/host@1 alone", quoted(.0))]
    Imports(Vec<String>),
    /// Built for another major version of the contract, or for none.
    #[error("the module is built for {}, and this host accepts {}", .found.join(", "), accepted())]
    Contract {
        /// What it is built for.
        found: Vec<String>,
    },
    /// The transformer interface is missing.
    #[error("the module does not export tidegate:transform/transformer@1; it exports {}", quoted(.0))]
    NoTransformer(Vec<String>),
    /// It declares more memories, tables, instances or globals than a sandbox has room for.
    #[error("the module declares more than a module may have: {0}")]
    DeclaresTooMuch(String),
    /// The code generator refused it, or its types differ from the contract's.
    #[error("the module does not compile: {0}")]
    Compile(String),
    /// The helper process found one of the above.
    #[error("{message}")]
    Refused {
        /// What it found and what is wanted.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The helper process used up what compiling may use.
    #[error("compiling the module took more than {0}")]
    TooCostly(String),
    /// The helper process could not be run, or broke down.
    #[error("compile the module in a helper process: {0}")]
    Helper(String),
    /// The artefact cache cannot be used.
    #[error("artefact cache: {0}")]
    Cache(String),
}

/// What the runtime says of a module for which a sandbox has no room; its type is not public. Source: wasmtime 48, `PoolingInstanceAllocator`;
/// the test of what a module declares notices another wording.
const ROOM_CAUSES: [&str; 2] = [" in the pooling allocator", "pooling allocator requirements: "];

impl ModuleError {
    /// What the runtime found wrong with a module's code.
    pub(crate) fn of_runtime(error: &wasmtime::Error) -> Self {
        let text = format!("{error:#}");
        let [after, before] = ROOM_CAUSES;
        // The rest of a long one is a table of bytes.
        let first_line = text.lines().next().unwrap_or_default();
        if let Some((cause, _)) = first_line.split_once(after) {
            return ModuleError::DeclaresTooMuch(cause.replacen("The component", "it", 1));
        }
        match first_line.split_once(before) {
            Some((_, cause)) => ModuleError::DeclaresTooMuch(cause.split("; breakdown").next().unwrap_or(cause).to_owned()),
            None => ModuleError::Compile(text),
        }
    }

    /// What the author can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            ModuleError::Imports(names) => Some(import_hint(names)),
            ModuleError::NotWasm => Some("upload the .wasm file itself, not a text, an archive or a native library".to_owned()),
            ModuleError::NotComponent(_) => Some(
                "build it with an SDK of tidegate:transform, or make it a component: `wasm-tools component new`, `jco componentize`, \
                 `componentize-py`"
                    .to_owned(),
            ),
            ModuleError::NoTransformer(_) => {
                Some("implement the world transform-module of tidegate:transform@1 (guest-transforms/wit)".to_owned())
            }
            ModuleError::Contract { .. } => Some("build it with an SDK of an accepted version".to_owned()),
            ModuleError::TooLarge { .. } => Some(
                "strip it (`wasm-tools strip`), leave out debug information, or ask the operator for a larger modules.upload_mib"
                    .to_owned(),
            ),
            ModuleError::DeclaresTooMuch(_) => Some(format!(
                "a module may have {MEMORIES} memories and {TABLES} tables, one of each in each of its core modules, {CORE_INSTANCES} \
                 instances of core modules, {TABLE_ELEMENTS} elements of tables, and 1 MiB of globals and functions in each instance"
            )),
            ModuleError::TooCostly(_) => Some("make its functions smaller: one huge function takes the compiler longest".to_owned()),
            ModuleError::Refused { hint, .. } => hint.clone(),
            ModuleError::Malformed(_) | ModuleError::Compile(_) | ModuleError::Helper(_) | ModuleError::Cache(_) => None,
        }
    }
}

/// What to build differently, by what the imports tell about how the module was built.
fn import_hint(names: &[String]) -> String {
    let any = |prefix: &str| names.iter().any(|name| name.starts_with(prefix));
    let mut hints = Vec::new();
    if any("wasi_") {
        hints.push(
            "it was built for wasm32-wasip1, and the sandbox has no WASI (no files, sockets, clock or environment): build for \
             wasm32-unknown-unknown (Rust) or without the standard library's system calls (C: -nostdlib or stubs)",
        );
    }
    if any("wasi:") {
        hints.push(
            "it was built for wasm32-wasip2, and the sandbox has no WASI (no files, sockets, clock or environment): build for \
             wasm32-unknown-unknown (Rust), with `jco componentize --disable all` (JavaScript) or `componentize-py componentize \
             --stub-wasi` (Python)",
        );
    }
    if any("__wbindgen") || any("wbg") {
        hints.push(
            "it was made for JavaScript by wasm-bindgen: drop that dependency (often chrono, getrandom or uuid with the feature \"js\")",
        );
    }
    if any("env") {
        hints.push("\"env\" holds what the linker did not find: link it in, or remove the call");
    }
    if hints.is_empty() {
        hints.push("remove what needs these imports: a module has nothing but its arguments");
    }
    hints.join("; ")
}

fn quoted(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// A call of a module that did not go well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SandboxError {
    /// The module's code trapped (a panic, an out-of-bounds access, a stack overflow).
    #[error("the module trapped in {call}: {message}")]
    Trap {
        /// The function called.
        call: &'static str,
        /// The trap and where in the module it happened.
        message: String,
    },
    /// Its recursion was deeper than its stack.
    #[error("the module used up its stack of {bytes_max} bytes in {call}")]
    Stack {
        /// The function called.
        call: &'static str,
        /// Stack allowed.
        bytes_max: usize,
    },
    /// Its answer is larger than an answer may be.
    #[error("the module's answer to {call} takes more than {bytes_max} bytes")]
    Output {
        /// The function called.
        call: &'static str,
        /// Bytes allowed.
        bytes_max: usize,
    },
    /// It used up its time.
    #[error("the module was stopped in {call} after {} ms of {clock} time; {} ms are allowed", .used.as_millis(), .allowed.as_millis())]
    Timeout {
        /// The function called.
        call: &'static str,
        /// `CPU` or `wall clock`.
        clock: &'static str,
        /// Time used.
        used: Duration,
        /// Time allowed.
        allowed: Duration,
    },
    /// It asked for more memory than it may have.
    #[error("the module asked for more than {bytes_max} bytes of memory in {call}")]
    Memory {
        /// The function called.
        call: &'static str,
        /// Memory allowed.
        bytes_max: usize,
    },
    /// Its answer is not of the form that the contract asks for.
    #[error("the module's answer is malformed: {what}")]
    Malformed {
        /// What was found and what is wanted.
        what: String,
    },
    /// `plan` refused the configuration, or its plan does not fit the table.
    #[error("{}{message}", .config_path.as_ref().map(|path| format!("{path}: ")).unwrap_or_default())]
    Plan {
        /// Where in the configuration.
        config_path: Option<String>,
        /// What was found and what is wanted.
        message: String,
    },
    /// `transform` refused the whole batch with this message.
    #[error("the module refused the batch: {0}")]
    Module(String),
    /// The task is being stopped.
    #[error("the call was cancelled")]
    Cancelled,
    /// Every slot of the pool is taken by a sandbox at work: try again later.
    #[error("all sandboxes of this process are at work")]
    NoSlot,
    /// The tenant's sandboxes at work have its quota or its share of the slots: try again later.
    #[error("{sandboxes} sandboxes of the tenant's modules are at work in this process, which is its {bound}")]
    TenantSandboxes {
        /// Those that hold a slot.
        sandboxes: usize,
        /// `quota` or `share`.
        bound: &'static str,
    },
    /// The tenant's sandboxes hold its quota or its share of the memory: try again later.
    #[error("the sandboxes of the tenant's modules hold {bytes} bytes of memory in this process, and more is beyond its {bound}")]
    TenantMemory {
        /// Memory that they hold.
        bytes: usize,
        /// `quota` or `share`.
        bound: &'static str,
    },
    /// It asked for more memory than one sandbox can have here, whoever waits how long.
    #[error("the module asked for {bytes} bytes of memory in {call}, and a sandbox can never have more than {bytes_max} here: {bound}")]
    BeyondShare {
        /// The function called.
        call: &'static str,
        /// Memory asked for.
        bytes: usize,
        /// The most that there can be.
        bytes_max: usize,
        /// What bounds it, and the setting.
        bound: &'static str,
    },
    /// The tenant's quota allows its modules no sandbox at all.
    #[error("the tenant's quota allows its modules no sandbox in this process (`tidegate tenant set --sandboxes`)")]
    NoneAllowed,
    /// The module runs as often as it may: try again later.
    #[error("{instances_max} sandboxes of the module are at work in this process, as many as its limits allow")]
    Instances {
        /// Sandboxes allowed.
        instances_max: usize,
    },
    /// All modules of the process together have taken the memory that there is: try again later.
    #[error("the sandboxes of this process hold {bytes_max} bytes of memory together, as many as there are for them")]
    Crowded {
        /// Memory of all sandboxes.
        bytes_max: usize,
    },
    /// A fresh instance planned a table differently than the one before.
    #[error("the module planned table {table} of the sandbox differently than before; a plan must depend on its arguments alone")]
    Changed {
        /// The handle.
        table: u32,
    },
    /// The module could not be started, or an earlier call ended it.
    #[error("the module cannot be started: {0}")]
    Start(String),
    /// The caller asked for something that it did not plan.
    #[error("table {table} of the sandbox: {problem}")]
    Misuse {
        /// The handle.
        table: u32,
        /// What is wrong.
        problem: &'static str,
    },
}

impl SandboxError {
    /// True when the sandbox can be called again; else [`crate::Sandbox::replace`] it or drop it.
    pub fn leaves_usable(&self) -> bool {
        match self {
            SandboxError::Malformed { .. }
            | SandboxError::Plan { .. }
            | SandboxError::Module(_)
            | SandboxError::Changed { .. }
            | SandboxError::Misuse { .. } => true,
            SandboxError::Trap { .. }
            | SandboxError::Stack { .. }
            | SandboxError::Output { .. }
            | SandboxError::Timeout { .. }
            | SandboxError::Memory { .. }
            | SandboxError::Cancelled
            | SandboxError::NoSlot
            | SandboxError::TenantSandboxes { .. }
            | SandboxError::TenantMemory { .. }
            | SandboxError::BeyondShare { .. }
            | SandboxError::NoneAllowed
            | SandboxError::Instances { .. }
            | SandboxError::Crowded { .. }
            | SandboxError::Start(_) => false,
        }
    }

    /// True when the call used up something that it may have a bounded part of.
    pub fn exhausts(&self) -> bool {
        matches!(
            self,
            SandboxError::Timeout { .. }
                | SandboxError::Memory { .. }
                | SandboxError::BeyondShare { .. }
                | SandboxError::Stack { .. }
                | SandboxError::Output { .. }
        )
    }

    /// True when the process, not the module, lacked something: the same call may do later.
    pub fn is_transient(&self) -> bool {
        matches!(self, SandboxError::NoSlot | SandboxError::Instances { .. } | SandboxError::Crowded { .. }) || self.is_of_tenant()
    }

    /// True when the tenant has what it may have of the process, whatever others have.
    pub fn is_of_tenant(&self) -> bool {
        matches!(self, SandboxError::TenantSandboxes { .. } | SandboxError::TenantMemory { .. })
    }

    /// A short code for the error table and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            SandboxError::Trap { .. } => "transform-trap",
            SandboxError::Stack { .. } => "transform-stack",
            SandboxError::Output { .. } => "transform-output",
            SandboxError::Timeout { .. } => "transform-timeout",
            SandboxError::Memory { .. } => "transform-memory",
            SandboxError::Malformed { .. } => "transform-malformed",
            SandboxError::Plan { .. } => "transform-plan",
            SandboxError::Module(_) => "transform-refused",
            SandboxError::Cancelled => "cancelled",
            SandboxError::NoSlot => "no-slot",
            SandboxError::Instances { .. } => "no-instance",
            SandboxError::Crowded { .. } => "no-memory",
            SandboxError::TenantSandboxes { .. } => "tenant-sandboxes",
            SandboxError::TenantMemory { .. } => "tenant-memory",
            SandboxError::BeyondShare { .. } => "beyond-share",
            SandboxError::NoneAllowed => "no-sandbox-allowed",
            SandboxError::Changed { .. } => "plan-not-deterministic",
            SandboxError::Start(_) => "transform-start",
            SandboxError::Misuse { .. } => "bug",
        }
    }

    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        SandboxError::Malformed { what: what.into() }
    }

    pub(crate) fn plan(message: impl Into<String>) -> Self {
        SandboxError::Plan { config_path: None, message: message.into() }
    }
}
