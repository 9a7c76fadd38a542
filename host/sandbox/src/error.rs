//! What can go wrong with a module, in words for its author.

use std::time::Duration;

use crate::contract_version::{CONTRACT_PACKAGE, CONTRACT_VERSIONS};

/// The versions of the contract that are taken, for messages.
fn accepted() -> String {
    CONTRACT_VERSIONS.iter().map(|version| format!("{CONTRACT_PACKAGE}@{version}")).collect::<Vec<_>>().join(", ")
}

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
    /// Imports that the sandbox does not have.
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
    /// The code generator refused it, or its types differ from the contract's.
    #[error("the module does not compile: {0}")]
    Compile(String),
    /// The helper process found one of the above.
    #[error("{0}")]
    Refused(String),
    /// The helper process used up its limits or could not be run.
    #[error("compile the module in a helper process: {0}")]
    Helper(String),
    /// The artefact cache cannot be used.
    #[error("artefact cache: {0}")]
    Cache(String),
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
    /// Every slot of the pool is taken: wait until another sandbox is dropped.
    #[error("all sandbox slots of this process are taken")]
    NoSlot,
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
    /// True when the sandbox can be called again.
    pub fn leaves_usable(&self) -> bool {
        match self {
            SandboxError::Malformed { .. } | SandboxError::Plan { .. } | SandboxError::Module(_) | SandboxError::Misuse { .. } => true,
            SandboxError::Trap { .. }
            | SandboxError::Timeout { .. }
            | SandboxError::Memory { .. }
            | SandboxError::Cancelled
            | SandboxError::NoSlot
            | SandboxError::Start(_) => false,
        }
    }

    /// A short code for the error table and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            SandboxError::Trap { .. } => "transform-trap",
            SandboxError::Timeout { .. } => "transform-timeout",
            SandboxError::Memory { .. } => "transform-memory",
            SandboxError::Malformed { .. } => "transform-malformed",
            SandboxError::Plan { .. } => "transform-plan",
            SandboxError::Module(_) => "transform-refused",
            SandboxError::Cancelled => "cancelled",
            SandboxError::NoSlot => "no-slot",
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
