//! Compiled code on disk, by module and engine.
//!
//! ```text
//!   DIR/key                       32 random bytes, readable by the owner alone
//!   DIR/<sha256 of what it is>    HMAC-SHA-256 (32 bytes), then the artefact
//! ```
//!
//! A file's name says which module it was made of and for which engine (version, settings, features of the CPU); its HMAC
//! says that this service made it, under that name. A file that is damaged, foreign or of another engine is
//! compiled anew; one of a module that is deleted, or of another engine, is deleted itself. What was used last stays in
//! memory too, up to a bound, so that a task that starts with it does not wait for the disk and the check.
#![allow(unsafe_code)]

use std::collections::{HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use crate::compile::{Compiled, digest_of, hex};
use crate::engine::Engine;
use crate::error::ModuleError;
use crate::helper::{self, HelperLimits};
use crate::threads::give_way;

const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 32;
/// Compiled code kept in memory. A Rust module has 0.3 MB, a Python or JavaScript one 35 to 37 MB; a task that runs a
/// module holds its code whatever this says.
const MEMORY_BYTES_MAX: usize = 256 << 20;
/// What nothing refers to is deleted when it is so old: a younger file may be of a module that somebody tries before the upload, or is being
/// written just now.
const KEPT_UNNAMED: Duration = Duration::from_secs(24 * 3600);

/// A directory of compiled modules, and the ones of them that were used last in memory.
pub struct ArtefactCache {
    dir: PathBuf,
    key: Vec<u8>,
    /// The last used one is last.
    recent: Mutex<VecDeque<Recent>>,
}

/// A module that is linked for an engine.
struct Recent {
    engine: Engine,
    compiled: Compiled,
    code_bytes: usize,
}

impl ArtefactCache {
    /// Opens a directory, and makes it and its key if need be. The directory belongs to this service alone.
    ///
    /// # Errors
    /// [`ModuleError::Cache`] when it cannot be made, read or written.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, ModuleError> {
        let dir = dir.into();
        let failed = |error: std::io::Error| ModuleError::Cache(format!("directory \"{}\": {error}", dir.display()));
        std::fs::create_dir_all(&dir).map_err(failed)?;
        let key = read_or_make_key(&dir.join("key")).map_err(failed)?;
        if key.len() != KEY_BYTES {
            let found = format!("its key has {} bytes, wanted {KEY_BYTES}", key.len());
            return Err(ModuleError::Cache(format!("directory \"{}\": {found}; delete the file \"key\"", dir.display())));
        }
        Ok(Self { dir, key, recent: Mutex::default() })
    }

    /// The compiled module, from the cache or by way of a helper process: `helper` is this program with the argument
    /// that leads to [`crate::helper_main`].
    ///
    /// # Errors
    /// [`ModuleError`] says what is wrong with the module, the helper or the directory.
    pub fn compile(&self, engine: &Engine, helper: &mut Command, limits: HelperLimits, bytes: &[u8]) -> Result<Compiled, ModuleError> {
        if limits.gives_way.is_some() {
            // Tens of megabytes are hashed, written and checked here, too.
            give_way();
        }
        let digest = digest_of(bytes);
        if let Some(compiled) = self.load(engine, &digest)? {
            return Ok(compiled);
        }
        let code = helper::compile(helper, limits, engine.settings(), bytes)?;
        let compiled = Compiled::link(engine, &deserialize(engine, &code)?, digest.clone())?;
        // Stored only now: code that this engine takes and that fits the contract.
        self.store(engine, &digest, &code)?;
        self.keep(engine, &compiled, code.len());
        Ok(compiled)
    }

    /// A module that was compiled before, by the digest of its upload.
    ///
    /// # Errors
    /// [`ModuleError::Cache`] when the directory cannot be read.
    pub fn load(&self, engine: &Engine, digest: &str) -> Result<Option<Compiled>, ModuleError> {
        if let Some(compiled) = self.find(engine, digest) {
            return Ok(Some(compiled));
        }
        let name = artefact_name(engine, digest);
        let path = self.dir.join(&name);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ModuleError::Cache(format!("file \"{}\": {error}", path.display()))),
        };
        let Some((tag, code)) = bytes.split_first_chunk::<TAG_BYTES>() else { return Ok(None) };
        if self.mac(&name, code).verify_slice(tag).is_err() {
            tracing::warn!(path = %path.display(), "compiled module fails its check and is made anew");
            return Ok(None);
        }
        let compiled = Compiled::link(engine, &deserialize(engine, code)?, digest.to_owned())?;
        self.keep(engine, &compiled, code.len());
        Ok(Some(compiled))
    }

    /// Deletes the compiled code of a module. Who runs it has it in memory and goes on.
    ///
    /// # Errors
    /// [`ModuleError::Cache`] when the file cannot be deleted.
    pub fn remove(&self, engine: &Engine, digest: &str) -> Result<(), ModuleError> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).retain(|one| one.compiled.digest() != digest);
        delete(&self.dir.join(artefact_name(engine, digest)))
    }

    /// Deletes the code of all modules but these, and of all of them for other engines, if it is more than a day old. Answers how many
    /// files that were.
    ///
    /// # Errors
    /// [`ModuleError::Cache`] when the directory cannot be read, or a file not deleted.
    pub fn sweep<'a>(&self, engine: &Engine, digests: impl IntoIterator<Item = &'a str>) -> Result<usize, ModuleError> {
        let kept: HashSet<String> = digests.into_iter().map(|digest| artefact_name(engine, digest)).collect();
        let failed = |error: std::io::Error| ModuleError::Cache(format!("directory \"{}\": {error}", self.dir.display()));
        let mut deleted = 0;
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let is_unwanted = name.ends_with(".part") || is_artefact(&name) && !kept.contains(&name);
            if is_unwanted && entry.metadata().and_then(|file| file.modified()).is_ok_and(is_old) {
                delete(&entry.path())?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    fn find(&self, engine: &Engine, digest: &str) -> Option<Compiled> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let place = recent.iter().position(|one| one.engine.is(engine) && one.compiled.digest() == digest)?;
        let found = recent.remove(place)?;
        let compiled = found.compiled.clone();
        recent.push_back(found);
        Some(compiled)
    }

    fn keep(&self, engine: &Engine, compiled: &Compiled, code_bytes: usize) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back(Recent { engine: engine.clone(), compiled: compiled.clone(), code_bytes });
        while recent.iter().map(|one| one.code_bytes).sum::<usize>() > MEMORY_BYTES_MAX && recent.len() > 1 {
            recent.pop_front();
        }
    }

    fn store(&self, engine: &Engine, digest: &str, code: &[u8]) -> Result<(), ModuleError> {
        let name = artefact_name(engine, digest);
        let tag = self.mac(&name, code).finalize().into_bytes();
        // Two processes may store the same module: each writes a file of its own and renames it.
        let part = self.dir.join(format!("{name}.{}.part", std::process::id()));
        let write = || -> std::io::Result<()> {
            let mut file = owner_only().create(true).truncate(true).open(&part)?;
            file.write_all(&tag)?;
            file.write_all(code)?;
            std::fs::rename(&part, self.dir.join(&name))
        };
        write().map_err(|error| ModuleError::Cache(format!("file \"{}\": {error}", part.display())))
    }

    fn mac(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(&self.key).expect("HMAC takes keys of every length");
        mac.update(name.as_bytes());
        mac.update(code);
        mac
    }
}

fn deserialize(engine: &Engine, code: &[u8]) -> Result<Component, ModuleError> {
    // SAFETY: `deserialize` runs what it is given, so the bytes must come from wasmtime's own compiler, unchanged. They
    // come from one of two places: the standard output of a helper process that is this very program and writes
    // nothing there but `Engine::precompile_component`'s result, or a file whose HMAC under this service's
    // secret key has just been verified over these bytes in memory (they are copied, not mapped, so nobody can change
    // them afterwards). Tenants can upload modules but never artefacts. wasmtime itself refuses another version or settings.
    let component = unsafe { Component::deserialize(engine.wasm(), code) };
    component.map_err(|error| ModuleError::of_runtime(&error))
}

/// Digest of module, engine version, settings and CPU features.
fn artefact_name(engine: &Engine, digest: &str) -> String {
    let mut hasher = Sha256Hasher(Sha256::new());
    digest.hash(&mut hasher);
    engine.wasm().precompile_compatibility_hash().hash(&mut hasher);
    hex(&hasher.0.finalize())
}

fn delete(path: &Path) -> Result<(), ModuleError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(ModuleError::Cache(format!("file \"{}\": {error}", path.display()))),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// True for a name that [`artefact_name`] makes.
fn is_artefact(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_old(modified: std::time::SystemTime) -> bool {
    modified.elapsed().is_ok_and(|age| age > KEPT_UNNAMED)
}

/// The standard library's hasher has 64 bits, too few for a name.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        u64::from_le_bytes(digest[..8].try_into().expect("a SHA-256 has 32 bytes"))
    }
}

fn owner_only() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn read_or_make_key(path: &Path) -> std::io::Result<Vec<u8>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        found => return found,
    }
    let mut key = vec![0; KEY_BYTES];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    // Written aside and linked into place: of two processes that start at once, one wins and both read its whole key.
    let part = path.with_extension(format!("{}.part", std::process::id()));
    owner_only().create(true).truncate(true).open(&part)?.write_all(&key)?;
    let linked = std::fs::hard_link(&part, path);
    std::fs::remove_file(&part)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => std::fs::read(path),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where its setup fails")]

    use wasmtime::ModuleVersionStrategy;

    use super::*;
    use crate::EngineSettings;
    use crate::engine::config;

    #[test]
    fn code_of_another_version_of_the_engine_is_not_loaded_under_any_name() {
        let dir = tempfile::tempdir().unwrap();
        let cache = ArtefactCache::open(dir.path()).unwrap();
        let settings = EngineSettings { slots: 1, ..EngineSettings::default() };
        let this = Engine::new(settings).unwrap();
        let mut of_other = config(settings.meters_fuel);
        of_other.module_version(ModuleVersionStrategy::Custom("another".to_owned())).unwrap();
        let other = Engine::with(settings, of_other).unwrap();
        let digest = digest_of(crate::builtin_rules());
        let component = crate::compile::as_component(crate::builtin_rules(), settings.module_bytes_max).unwrap();
        let code = other.wasm().precompile_component(&component).unwrap();

        cache.store(&other, &digest, &code).unwrap();
        assert!(cache.load(&this, &digest).unwrap().is_none(), "it is compiled anew");
        assert!(cache.load(&other, &digest).unwrap().is_some());
        // Somebody with this service's key gave it this engine's name: the runtime itself refuses it.
        cache.store(&this, &digest, &code).unwrap();
        assert!(matches!(cache.load(&this, &digest), Err(ModuleError::Compile(_))));
    }
}
