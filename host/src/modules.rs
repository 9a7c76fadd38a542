//! Compiled modules: the built-in rules, and tenants' modules from files or from the catalog.
//!
//! Uploads are compiled in a process of their own (this program again, see `Command::CompileModule`) and kept by
//! digest; a task that starts with a known module only maps a file.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tidegate_catalog::{Catalog, ModuleState, ModuleVersion};
use tidegate_pipeline::{ModuleReference, ModuleSet};
use tidegate_sandbox::{
    ArtefactCache, Compiled, Engine, EngineSettings, HelperLimits, Limits, ModuleError, ModuleInfo, Sandbox, builtin_rules,
};

use crate::cli::COMPILE_COMMAND;
use crate::exit::{Exit, Failure, chain};

/// The digests that a task uses where its rules say `latest`, by module name.
pub(crate) type Pins = BTreeMap<String, String>;

/// The engine with what was compiled for it. Clones share it.
#[derive(Clone)]
pub(crate) struct ModuleStore {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    artefacts: ArtefactCache,
    rules: Compiled,
}

impl ModuleStore {
    /// Starts the engine and makes the built-in rules ready. `dir` keeps compiled code.
    ///
    /// # Errors
    /// An environment failure.
    pub(crate) async fn open(dir: PathBuf) -> Result<Self, Failure> {
        blocking(move || {
            let environment =
                |error: &dyn std::error::Error| Failure::environment("sandbox", format!("start the sandbox: {}", chain(error)));
            crate::data_dir::make_private(&dir)?;
            let engine = Engine::new(EngineSettings::default()).map_err(|error| environment(&error))?;
            let artefacts = ArtefactCache::open(dir).map_err(|error| environment(&error))?;
            let rules = compile(&artefacts, &engine, builtin_rules()).map_err(|error| environment(&error))?;
            Ok(Self { shared: Arc::new(Shared { engine, artefacts, rules }) })
        })
        .await
    }

    /// What the modules run in.
    pub(crate) fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// Compiles a module, or finds it compiled, and asks it who it is.
    ///
    /// # Errors
    /// A failure of code `module_rejected` that says what is wrong with it.
    pub(crate) async fn examine(&self, name: &str, bytes: Vec<u8>) -> Result<(Compiled, ModuleInfo), Failure> {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        blocking(move || {
            let rejected =
                |error: &dyn std::error::Error| Failure::failed("module_rejected", format!("module \"{name}\": {}", chain(error)));
            let compiled = compile(&shared.artefacts, &shared.engine, &bytes).map_err(|error| rejected(&error))?;
            let mut sandbox = Sandbox::new(&shared.engine, &compiled, Limits::default()).map_err(|error| rejected(&error))?;
            let info = sandbox.describe().map_err(|error| rejected(&error))?;
            Ok((compiled, info))
        })
        .await
    }

    /// The modules of a mapping, from files.
    ///
    /// # Errors
    /// A usage failure for a name without a file or a file that cannot be read; otherwise as [`ModuleStore::examine`].
    pub(crate) async fn of_files(&self, mappings: &str, files: &BTreeMap<String, PathBuf>) -> Result<ModuleSet, Failure> {
        let mut modules = HashMap::new();
        for reference in references(mappings)? {
            let path = files.get(&reference.name).ok_or_else(|| {
                Failure::usage(
                    "module_missing",
                    format!("a rule names module \"{}\", which the key \"modules\" does not have", reference.name),
                )
                .hint(format!("add \"modules\": {{\"{}\": \"FILE.wasm\"}}", reference.name))
            })?;
            let (compiled, _) = self.examine(&reference.name, read(&reference.name, path).await?).await?;
            let found = format!("sha256:{}", compiled.digest());
            if reference.version != "latest" && reference.version != found {
                let message =
                    format!("module \"{}\": file \"{}\" is {found}, wanted {}", reference.name, path.display(), reference.version);
                return Err(Failure::usage("module_version", message));
            }
            modules.insert(reference, compiled);
        }
        self.set(mappings, &modules)
    }

    /// The modules of a mapping, from the catalog. `latest` is the version that `pinned` has, or else the latest now;
    /// `pinned` is brought up to date.
    ///
    /// # Errors
    /// A failure that names the module when it does not exist or was rejected.
    pub(crate) async fn of_catalog(&self, mappings: &str, catalog: &Catalog, pinned: &mut Pins) -> Result<ModuleSet, Failure> {
        let mut modules = HashMap::new();
        let mut used = Pins::new();
        for reference in references(mappings)? {
            let version = match (reference.version.as_str(), pinned.get(&reference.name)) {
                ("latest", None) => ModuleVersion::Latest,
                ("latest", Some(digest)) => ModuleVersion::Digest(digest.clone()),
                (digest, _) => ModuleVersion::Digest(digest.to_owned()),
            };
            let record = catalog.get_module(&reference.name, &version).await?;
            if let ModuleState::Rejected { message } = record.state {
                return Err(Failure::failed("module_rejected", format!("module \"{}\" was rejected: {message}", reference.name)));
            }
            let bytes = catalog.module_bytes(&record.digest).await?;
            let (compiled, _) = self.examine(&reference.name, bytes).await?;
            if reference.version == "latest" {
                used.insert(reference.name.clone(), record.digest);
            }
            modules.insert(reference, compiled);
        }
        *pinned = used;
        self.set(mappings, &modules)
    }

    fn set(&self, mappings: &str, modules: &HashMap<ModuleReference, Compiled>) -> Result<ModuleSet, Failure> {
        let shared = &self.shared;
        ModuleSet::new(shared.engine.clone(), Limits::default(), shared.rules.clone(), modules, mappings).map_err(|error| (&error).into())
    }
}

/// Compiles in a child process that gets nothing of this one's environment, where passwords may be.
fn compile(artefacts: &ArtefactCache, engine: &Engine, bytes: &[u8]) -> Result<Compiled, ModuleError> {
    // The running program, even when its file has been replaced meanwhile.
    let mut helper = Command::new("/proc/self/exe");
    helper.arg(COMPILE_COMMAND).env_clear();
    artefacts.compile(engine, &mut helper, HelperLimits::default(), bytes)
}

fn references(mappings: &str) -> Result<Vec<ModuleReference>, Failure> {
    ModuleSet::references(mappings).map_err(|error| Failure { exit: Exit::Usage, ..Failure::from(&error) })
}

async fn read(name: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    tokio::fs::read(path)
        .await
        .map_err(|error| Failure::usage("module_file", format!("module \"{name}\": read file \"{}\": {error}", path.display())))
}

/// Compiling takes seconds: it must not hold up the threads that do I/O.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Failure::failed("bug", "compiling a module panicked (this is a fault of tidegate: please report it)")),
    }
}
