//! Compiled modules: the built-in rules, and tenants' modules from files or from the catalog.
//!
//! Uploads are compiled in a process of their own (this program again, see `Command::CompileModule`) and kept by
//! digest; a task that starts with a module that was used lately finds it in memory.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tidegate_catalog::{Catalog, CatalogError, ModuleRecord, ModuleState, ModuleVersion, TenantRecord};
use tidegate_model::TenantId;
use tidegate_pipeline::{ModuleReference, ModuleSet};
use tidegate_sandbox::{
    ArtefactCache, Compiled, Engine, HelperLimits, Limits, ModuleError, ModuleInfo, Sandbox, SandboxCount, SandboxError, TenantShare,
    builtin_rules, run_on_guest_thread,
};

use crate::cli::COMPILE_COMMAND;
use crate::exit::{Exit, Failure, chain};
use crate::module_settings::ModuleSettings;

/// The code of a failure that says nothing about the module: try again.
pub(crate) const BUSY: &str = "sandbox_busy";

/// How long what a tenant uploads is compiled only while nobody else wants the processor, so that nobody who replicates waits for it.
const UPLOAD_GIVES_WAY: Duration = Duration::from_secs(20);
/// Its priority afterwards.
const UPLOAD_NICENESS: u8 = 15;

/// The digests that a task uses where its rules say `latest`, by module name, or name an alias, by `module@alias`.
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
    settings: ModuleSettings,
    counts: Mutex<HashMap<CountKey, SandboxCount>>,
    shares: Mutex<HashMap<TenantId, TenantShare>>,
}

/// Whose sandboxes are counted together. Tenants who happen to have equal bytes share the code and not the number, and tests need not
/// wait for tasks, nor tasks for tests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct CountKey {
    tenant: TenantId,
    digest: String,
    is_test: bool,
}

impl ModuleStore {
    /// The store with default settings. `dir` keeps compiled code.
    ///
    /// # Errors
    /// As [`ModuleStore::open_with`].
    pub(crate) async fn open(dir: PathBuf) -> Result<Self, Failure> {
        Self::open_with(dir, ModuleSettings::default()).await
    }

    /// Starts the engine and makes the built-in rules ready. `dir` keeps compiled code.
    ///
    /// # Errors
    /// An environment failure.
    pub(crate) async fn open_with(dir: PathBuf, settings: ModuleSettings) -> Result<Self, Failure> {
        let environment = |error: &dyn std::error::Error| Failure::environment("sandbox", format!("start the sandbox: {}", chain(error)));
        // Here, since its clock, which ends calls, would else be as nice as the threads of the control plane, and late.
        let engine = Engine::new(settings.engine).map_err(|error| environment(&error))?;
        blocking(move || {
            crate::data_dir::make_private(&dir)?;
            let artefacts = ArtefactCache::open(dir).map_err(|error| environment(&error))?;
            let rules = compile(&artefacts, &engine, settings.helper, builtin_rules()).map_err(|error| environment(&error))?;
            // A ceiling is for tenants' modules. The rules run in every task, as often as there are sandboxes.
            let rules = rules.limited(Limits { instances_max: usize::MAX, ..Limits::default() });
            Ok(Self { shared: Arc::new(Shared { engine, artefacts, rules, settings, counts: Mutex::default(), shares: Mutex::default() }) })
        })
        .await
    }

    /// What the modules run in.
    pub(crate) fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// Compiles a module, or finds it compiled, and asks it who it is, within what its tenant may have of the process.
    ///
    /// # Errors
    /// A failure of code `module_rejected` that says what is wrong with it.
    pub(crate) async fn examine(&self, name: &str, tenant: &TenantId, bytes: Vec<u8>) -> Result<(Compiled, ModuleInfo), Failure> {
        let (shared, name, share) = (Arc::clone(&self.shared), name.to_owned(), self.share_of(tenant));
        on_guest_thread(move || {
            let rejected = |error: &dyn std::error::Error, hint: Option<String>| Failure {
                hint,
                ..Failure::failed("module_rejected", format!("module \"{name}\": {}", chain(error)))
            };
            let refused = |error: SandboxError| match error.is_transient() {
                true => Failure::failed(BUSY, format!("module \"{name}\": {error}")),
                false => rejected(&error, None),
            };
            let upload = HelperLimits { niceness: UPLOAD_NICENESS, gives_way: Some(UPLOAD_GIVES_WAY), ..shared.settings.helper };
            let compiled = compile(&shared.artefacts, &shared.engine, upload, &bytes).map_err(|error| rejected(&error, error.hint()))?;
            // Counted by itself: what runs of the rules, or of equal bytes, is no reason to refuse a look at them.
            let counted = compiled.clone().counted_with(&SandboxCount::default()).held_by(&share);
            let mut sandbox = Sandbox::new(&shared.engine, &counted, Limits::default()).map_err(refused)?;
            let info = sandbox.describe().map_err(refused)?;
            Ok((compiled, info))
        })
        .await
    }

    /// Deletes the code of modules that are none of these (`sha256:…`), of deleted ones and of other engines: for a start, before anything
    /// is compiled. What cannot be deleted is told and holds nothing up.
    pub(crate) async fn sweep(&self, digests: Vec<String>) {
        let shared = Arc::clone(&self.shared);
        let swept = blocking(move || {
            let wanted = digests.iter().map(|digest| hex_of(digest)).chain([shared.rules.digest()]);
            shared.artefacts.sweep(&shared.engine, wanted).map_err(|error| Failure::environment("artefacts", chain(&error)))
        });
        match swept.await {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "compiled code of deleted modules and of other engines is deleted"),
            Err(failure) => tracing::warn!(code = failure.code, "delete compiled code: {}", failure.message),
        }
    }

    /// Deletes the code of a module (`sha256:…`) that nothing names any more.
    pub(crate) async fn forget(&self, digest: &str) {
        let (shared, hex) = (Arc::clone(&self.shared), hex_of(digest).to_owned());
        if hex == shared.rules.digest() {
            return;
        }
        let removed = blocking(move || {
            shared.artefacts.remove(&shared.engine, &hex).map_err(|error| Failure::environment("artefacts", chain(&error)))
        });
        if let Err(failure) = removed.await {
            tracing::warn!(digest, code = failure.code, "delete compiled code: {}", failure.message);
        }
    }

    /// What a tenant's module may use on this server.
    ///
    /// # Errors
    /// The catalog's.
    pub(crate) async fn limits(&self, name: &str, catalog: &Catalog) -> Result<Limits, CatalogError> {
        let of_tenant = catalog.quotas().await?.module_ceilings;
        Ok(self.shared.settings.limits(catalog.module_limits(name).await?, of_tenant))
    }

    /// A module whose sandboxes are those of a tenant's tests.
    pub(crate) fn counted_as_test(&self, module: Compiled, tenant: &TenantId) -> Compiled {
        let key = CountKey { tenant: tenant.clone(), digest: module.digest().to_owned(), is_test: true };
        module.counted_with(&self.count(key)).held_by(&self.share_of(tenant))
    }

    /// Tells what tenants may have of the process's sandboxes, and hears what they have.
    pub(crate) fn share_out(&self, tenants: &[TenantRecord]) -> Vec<TenantShare> {
        let share = |tenant: &TenantRecord| {
            let share = self.share_of(&tenant.name);
            let quotas = &tenant.quotas;
            let memory_bytes = quotas.sandbox_memory_mib.map(|mib| (mib as usize) << 20);
            share.set_quotas(quotas.sandboxes.map(|sandboxes| sandboxes as usize), memory_bytes);
            share
        };
        let shares = tenants.iter().map(share).collect();
        // Those of tenants that were deleted, once nothing of theirs runs.
        self.shares().retain(|name, share| !share.is_unused() || tenants.iter().any(|tenant| tenant.name == *name));
        shares
    }

    fn share_of(&self, tenant: &TenantId) -> TenantShare {
        self.shares().entry(tenant.clone()).or_default().clone()
    }

    fn shares(&self) -> MutexGuard<'_, HashMap<TenantId, TenantShare>> {
        self.shared.shares.lock().expect("no holder of this lock panics")
    }

    fn count(&self, key: CountKey) -> SandboxCount {
        let mut counts = self.shared.counts.lock().expect("no holder of this lock panics");
        counts.retain(|_, count| !count.is_done());
        counts.entry(key).or_default().clone()
    }

    /// A version that was examined before: from memory, or else from disk, or else compiled again.
    async fn ready(&self, record: &ModuleRecord, catalog: &Catalog) -> Result<Compiled, Failure> {
        let (shared, digest) = (Arc::clone(&self.shared), hex_of(&record.digest).to_owned());
        let found = blocking(move || {
            let failed = |error: ModuleError| Failure::environment("artefacts", chain(&error));
            shared.artefacts.load(&shared.engine, &digest).map_err(failed)
        });
        match found.await? {
            Some(compiled) if record.state == ModuleState::Ready => Ok(compiled),
            _ => Ok(self.examine(&record.name, &record.tenant, catalog.module_bytes(&record.digest).await?).await?.0),
        }
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
            let (compiled, _) = self.examine(&reference.name, &TenantId::default(), read(&reference.name, path).await?).await?;
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

    /// The modules of a mapping, from the catalog. `latest` and aliases are the versions that `pinned` has, or else what they
    /// stand for now; `pinned` is brought up to date.
    ///
    /// # Errors
    /// A failure that names the module when it does not exist or was rejected.
    pub(crate) async fn of_catalog(&self, mappings: &str, catalog: &Catalog, pinned: &mut Pins) -> Result<ModuleSet, Failure> {
        let mut modules = HashMap::new();
        let mut used = Pins::new();
        for reference in references(mappings)? {
            let pin = pin_of(&reference);
            let pinned = pin.as_ref().and_then(|pin| pinned.get(pin)).cloned();
            let version = pinned.map_or_else(|| ModuleVersion::new(&reference.version), ModuleVersion::Digest);
            let (record, compiled) = self.of_version(&reference.name, &version, catalog).await?;
            used.extend(pin.map(|pin| (pin, record.digest)));
            modules.insert(reference, compiled);
        }
        *pinned = used;
        self.set(mappings, &modules)
    }

    /// One version of a tenant's module, with the module's limits.
    ///
    /// # Errors
    /// A failure that names the module when it does not exist or was rejected.
    pub(crate) async fn of_version(
        &self,
        name: &str,
        version: &ModuleVersion,
        catalog: &Catalog,
    ) -> Result<(ModuleRecord, Compiled), Failure> {
        let record = catalog.get_module(name, version).await?;
        if let ModuleState::Rejected { message, hint } = record.state {
            return Err(Failure { hint, ..Failure::failed("module_rejected", format!("module \"{name}\" was rejected: {message}")) });
        }
        let limits = self.limits(name, catalog).await?;
        let count = self.count(CountKey { tenant: record.tenant.clone(), digest: record.digest.clone(), is_test: false });
        let compiled = self.ready(&record, catalog).await?.limited(limits).counted_with(&count).held_by(&self.share_of(&record.tenant));
        Ok((record, compiled))
    }

    fn set(&self, mappings: &str, modules: &HashMap<ModuleReference, Compiled>) -> Result<ModuleSet, Failure> {
        let shared = &self.shared;
        ModuleSet::new(shared.engine.clone(), Limits::default(), shared.rules.clone(), modules, mappings).map_err(|error| (&error).into())
    }
}

fn hex_of(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

/// Under which key of [`Pins`] the version of a reference is kept; `None` for one that names a digest.
pub(crate) fn pin_of(reference: &ModuleReference) -> Option<String> {
    match ModuleVersion::new(&reference.version) {
        ModuleVersion::Digest(_) => None,
        ModuleVersion::Latest => Some(reference.name.clone()),
        ModuleVersion::Alias(alias) => Some(format!("{}@{alias}", reference.name)),
    }
}

/// Compiles in a child process that gets nothing of this one's environment, where passwords may be.
fn compile(artefacts: &ArtefactCache, engine: &Engine, limits: HelperLimits, bytes: &[u8]) -> Result<Compiled, ModuleError> {
    // The running program, even when its file has been replaced meanwhile.
    let mut helper = Command::new("/proc/self/exe");
    helper.arg(COMPILE_COMMAND).env_clear();
    artefacts.compile(engine, &mut helper, limits, bytes)
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
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(panicked()))
}

/// The same for what calls a module that nobody knows: where it takes long, it gives way to everybody else.
pub(crate) async fn on_guest_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    let (done, result) = tokio::sync::oneshot::channel();
    run_on_guest_thread(move || drop(done.send(work())))
        .map_err(|error| Failure::environment("sandbox", format!("start a thread: {error}")))?;
    result.await.unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> Failure {
    Failure::failed("bug", "the work with a module panicked (this is a fault of tidegate: please report it)")
}
