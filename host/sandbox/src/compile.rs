//! From uploaded bytes to a module that can be started.
//!
//! The bytes are looked at before the code generator sees them: size, form, and the names of imports and exports, so
//! that an author reads what is wrong rather than a linker's message. A core module that carries the contract's types
//! in a custom section (what `cargo build` makes with the SDK) is made a component here; everything else must come
//! as a component.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload};
use wasmtime::component::Component;

use crate::contract::TransformModulePre;
use crate::contract_version;
use crate::engine::Engine;
use crate::error::ModuleError;
use crate::guest::{Guest, Limits};
use crate::share::TenantShare;

/// Most bytes of an upload when nothing else is set: Python's interpreter with its library has 18.4 MB.
pub const MODULE_BYTES_MAX: usize = 24 << 20;
/// The most that can be set: an upload is held in memory, and compiling takes about 20 bytes for each of its bytes.
pub const MODULE_BYTES_CEILING: usize = 64 << 20;

const PACKAGE: &str = "tidegate:transform/";
const TRANSFORMER: &str = "tidegate:transform/transformer@1.";

/// A module that was compiled for this process's engine. Cloning shares the code.
#[derive(Clone)]
pub struct Compiled {
    pre: TransformModulePre<Guest>,
    digest: String,
    limits: Option<Limits>,
    instances: SandboxCount,
    share: Option<TenantShare>,
}

/// A module that used up its time or memory is remembered for so long when it has no sandbox any more.
const SUSPECT_FOR: Duration = Duration::from_secs(900);

/// Sandboxes of a module that somebody has in this process and that have an instance, and how their last batch went. Clones share both.
#[derive(Debug, Clone, Default)]
pub struct SandboxCount(Arc<Instances>);

#[derive(Debug, Default)]
struct Instances {
    count: AtomicUsize,
    /// The last batch used up its time or its memory: the next one is not taken for an ordinary one.
    is_suspect: AtomicBool,
    /// When it last did.
    exhausted_at: Mutex<Option<Instant>>,
}

impl SandboxCount {
    /// True when nobody else counts with it, and there is nothing to remember.
    pub fn is_done(&self) -> bool {
        let exhausted_at = *self.0.exhausted_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_forgotten = !self.0.is_suspect.load(Ordering::Relaxed) || exhausted_at.is_none_or(|at| at.elapsed() >= SUSPECT_FOR);
        is_forgotten && Arc::strong_count(&self.0) == 1
    }

    /// Sandboxes that have an instance.
    pub(crate) fn sandboxes(&self) -> usize {
        self.0.count.load(Ordering::Relaxed)
    }

    pub(crate) fn is(&self, other: &SandboxCount) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// One more; the lock of the slots is held.
    pub(crate) fn add(&self) {
        self.0.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// A call used up its time or its memory.
    pub(crate) fn exhausted(&self) {
        *self.0.exhausted_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.0.is_suspect.store(true, Ordering::Relaxed);
    }

    /// A batch was answered.
    pub(crate) fn answered(&self) {
        self.0.is_suspect.store(false, Ordering::Relaxed);
    }

    /// True when the last batch of the module's sandboxes used up its time or its memory.
    pub(crate) fn is_suspect(&self) -> bool {
        self.0.is_suspect.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl Compiled {
    /// SHA-256 of the uploaded bytes, in lower-case hexadecimal: the module's identity.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The same code with limits of its own, which stand in place of those that a sandbox is started with.
    #[must_use]
    pub fn limited(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// The same code, whose sandboxes are counted with `count` and apart from those of anybody else who has equal bytes.
    #[must_use]
    pub fn counted_with(mut self, count: &SandboxCount) -> Self {
        self.instances = count.clone();
        self
    }

    /// Its own limits, or else `others`.
    pub(crate) fn limits_or(&self, others: Limits) -> Limits {
        self.limits.unwrap_or(others)
    }

    /// The same code, whose sandboxes are a tenant's, and no more than its share. What nobody has is built in.
    #[must_use]
    pub fn held_by(mut self, share: &TenantShare) -> Self {
        self.share = Some(share.clone());
        self
    }

    pub(crate) fn count(&self) -> &SandboxCount {
        &self.instances
    }

    pub(crate) fn share(&self) -> Option<&TenantShare> {
        self.share.as_ref()
    }

    pub(crate) fn pre(&self) -> &TransformModulePre<Guest> {
        &self.pre
    }

    pub(crate) fn link(engine: &Engine, component: &Component, digest: String) -> Result<Self, ModuleError> {
        let refuse = |error: wasmtime::Error| ModuleError::Compile(format!("{error:#}"));
        let pre = engine.linker().instantiate_pre(component).map_err(refuse)?;
        Ok(Self {
            pre: TransformModulePre::new(pre).map_err(refuse)?,
            digest,
            limits: None,
            instances: SandboxCount::default(),
            share: None,
        })
    }
}

impl Engine {
    /// Checks and compiles a module in this process: for the built-in module and for tests. Uploads are compiled by
    /// [`crate::ArtefactCache::compile`] in a process of their own.
    ///
    /// # Errors
    /// [`ModuleError`] says what is wrong with the module.
    pub fn compile(&self, bytes: &[u8]) -> Result<Compiled, ModuleError> {
        let component = as_component(bytes, self.settings().module_bytes_max)?;
        let component = Component::from_binary(self.wasm(), &component).map_err(|error| ModuleError::of_runtime(&error))?;
        Compiled::link(self, &component, digest_of(bytes))
    }
}

/// SHA-256 in lower-case hexadecimal.
pub fn digest_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])).collect()
}

/// The module as a component with acceptable imports and exports.
pub(crate) fn as_component(bytes: &[u8], bytes_max: usize) -> Result<Cow<'_, [u8]>, ModuleError> {
    if bytes.len() > bytes_max {
        return Err(ModuleError::TooLarge { bytes: bytes.len(), bytes_max });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(ModuleError::NotWasm);
    }
    let component = if Parser::is_component(bytes) { Cow::Borrowed(bytes) } else { Cow::Owned(componentize(bytes)?) };
    check_surface(&component)?;
    Ok(component)
}

fn componentize(bytes: &[u8]) -> Result<Vec<u8>, ModuleError> {
    let (mut has_types, mut foreign) = (false, BTreeSet::new());
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(malformed)? {
            Payload::CustomSection(section) => has_types |= section.name().starts_with("component-type"),
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(malformed)?;
                    // "[export]…" and the like are how the encoder spells what it adds itself.
                    if !is_ours(import.module) && !import.module.starts_with('[') {
                        foreign.insert(format!("{}.{}", import.module, import.name));
                    }
                }
            }
            _ => {}
        }
    }
    if !foreign.is_empty() {
        return Err(ModuleError::Imports(foreign.into_iter().collect()));
    }
    if !has_types {
        return Err(ModuleError::NotComponent("it is a core module without a component-type section".to_owned()));
    }
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(bytes)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| ModuleError::NotComponent(format!("{error:#}")))
}

/// Lists every import that the sandbox does not have, and looks for the transformer.
fn check_surface(bytes: &[u8]) -> Result<(), ModuleError> {
    let (mut foreign, mut exports) = (BTreeSet::new(), Vec::new());
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(malformed)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let name = import.map_err(malformed)?.name.name;
                    if !is_ours(name) {
                        foreign.insert(name.to_owned());
                    }
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(malformed)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    contract_version::check(foreign.iter().chain(&exports).map(String::as_str))?;
    if !foreign.is_empty() {
        return Err(ModuleError::Imports(foreign.into_iter().collect()));
    }
    if !exports.iter().any(|name| name.starts_with(TRANSFORMER)) {
        return Err(ModuleError::NoTransformer(exports));
    }
    Ok(())
}

fn is_ours(name: &str) -> bool {
    let Some((interface, version)) = name.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@')) else { return false };
    matches!(interface, "host" | "types") && version.starts_with("1.")
}

fn malformed(error: wasmparser::BinaryReaderError) -> ModuleError {
    ModuleError::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_used_up_its_time_is_remembered_without_sandboxes_until_it_answers() {
        let count = SandboxCount::default();
        assert!(count.is_done());
        count.exhausted();
        assert!(!count.is_done());
        count.answered();
        assert!(count.is_done());
    }
}
