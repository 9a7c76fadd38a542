//! What a server gives to modules: the table `[modules]` of the configuration file.
//!
//! ```toml
//! [modules]
//! upload_mib = 24
//! [modules.ceilings]
//! memory_mib = 256
//! ```
//!
//! A module has the default limits until its tenant sets others; a server's ceilings hold for every tenant, and the
//! tighter of both wins. The reasons for the numbers stand in `docs/modules-limits.md`.

use std::time::Duration;

use serde::Deserialize;
use tidegate_api::ModuleRules;
use tidegate_catalog::ModuleLimits;
use tidegate_sandbox::{EngineSettings, HelperLimits, Limits, MODULE_BYTES_CEILING};

use crate::exit::Failure;

/// Limits of a module that has none of its own.
const DEFAULTS: ModuleLimits = ModuleLimits {
    memory_mib: Some(64),
    plan_cpu_ms: Some(1_000),
    batch_cpu_ms: Some(250),
    row_cpu_us: Some(100),
    output_mib: Some(16),
    instances: Some(32),
};

/// The most that a tenant can set, when the operator says nothing else.
const CEILINGS: ModuleLimits = ModuleLimits {
    memory_mib: Some(512),
    plan_cpu_ms: Some(5_000),
    batch_cpu_ms: Some(2_000),
    row_cpu_us: Some(10_000),
    output_mib: Some(64),
    instances: Some(64),
};

/// The table as it is written. An unknown key is refused by name.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ModulesForm {
    upload_mib: Option<u32>,
    compile_cpu_s: Option<u32>,
    compile_memory_mib: Option<u32>,
    sandboxes: Option<u32>,
    total_memory_mib: Option<u32>,
    stack_kib: Option<u32>,
    meter_fuel: Option<bool>,
    ceilings: ModuleLimits,
}

/// Checked settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ModuleSettings {
    pub(crate) engine: EngineSettings,
    pub(crate) helper: HelperLimits,
    pub(crate) rules: ModuleRules,
}

impl Default for ModuleSettings {
    fn default() -> Self {
        Self::new(ModulesForm::default()).expect("the defaults are within their bounds")
    }
}

impl ModuleSettings {
    /// # Errors
    /// A usage failure that names the setting.
    pub(crate) fn new(form: ModulesForm) -> Result<Self, Failure> {
        let engine = EngineSettings::default();
        let helper = HelperLimits::default();
        let mib = |bytes: u64| u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        let upload_max = mib(MODULE_BYTES_CEILING as u64);
        let upload_bytes_max =
            (bounded("upload_mib", form.upload_mib, mib(engine.module_bytes_max as u64), 1..=upload_max)? as usize) << 20;
        let total = bounded("total_memory_mib", form.total_memory_mib, mib(engine.total_memory_bytes_max as u64), 16..=1 << 20)?;
        let stack = bounded("stack_kib", form.stack_kib, 512, 64..=1024)?;
        Ok(Self {
            engine: EngineSettings {
                slots: bounded("sandboxes", form.sandboxes, engine.slots, 1..=1024)?,
                total_memory_bytes_max: (total as usize) << 20,
                module_bytes_max: upload_bytes_max,
                stack_bytes_max: (stack as usize) << 10,
                meters_fuel: form.meter_fuel.unwrap_or(engine.meters_fuel),
                ..engine
            },
            helper: HelperLimits {
                cpu_seconds: bounded("compile_cpu_s", form.compile_cpu_s, helper.cpu_seconds as u32, 1..=3600)?.into(),
                memory_bytes_max: u64::from(bounded(
                    "compile_memory_mib",
                    form.compile_memory_mib,
                    mib(helper.memory_bytes_max),
                    256..=1 << 16,
                )?) << 20,
                ..helper
            },
            rules: ModuleRules { upload_bytes_max, defaults: DEFAULTS, ceilings: form.ceilings.or(CEILINGS) },
        })
    }

    /// What a module with these limits of its own may use, when its tenant has these ceilings.
    pub(crate) fn limits(&self, own: ModuleLimits, of_tenant: ModuleLimits) -> Limits {
        let limits = self.rules.effective(own).tightest(of_tenant);
        let set = |number: Option<u32>| number.expect("defaults and ceilings set every limit");
        Limits {
            memory_bytes_max: (set(limits.memory_mib) as usize) << 20,
            plan_cpu: Duration::from_millis(set(limits.plan_cpu_ms).into()),
            transform_cpu: Duration::from_millis(set(limits.batch_cpu_ms).into()),
            transform_cpu_per_row: Duration::from_micros(set(limits.row_cpu_us).into()),
            result_bytes_max: (set(limits.output_mib) as usize) << 20,
            instances_max: set(limits.instances) as usize,
        }
    }
}

fn bounded(key: &str, given: Option<u32>, default: u32, range: std::ops::RangeInclusive<u32>) -> Result<u32, Failure> {
    let number = given.unwrap_or(default);
    if range.contains(&number) {
        return Ok(number);
    }
    Err(Failure::usage("module_settings", format!("modules.{key} is {number}, wanted {} to {}", range.start(), range.end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_sandboxs_own() {
        assert_eq!(ModuleSettings::default().limits(ModuleLimits::default(), ModuleLimits::default()), Limits::default());
    }

    #[test]
    fn the_tighter_of_tenant_and_server_wins() {
        let form: ModulesForm = toml::from_str("upload_mib = 64\nmeter_fuel = true\n[ceilings]\nmemory_mib = 32\nrow_cpu_us = 50").unwrap();
        let settings = ModuleSettings::new(form).unwrap();
        assert_eq!((settings.engine.module_bytes_max, settings.engine.meters_fuel), (64 << 20, true));
        let own = ModuleLimits { memory_mib: Some(256), output_mib: Some(1), ..ModuleLimits::default() };
        let of_tenant = ModuleLimits { instances: Some(2), memory_mib: Some(512), ..ModuleLimits::default() };
        let limits = settings.limits(own, of_tenant);
        assert_eq!(limits.instances_max, 2, "a tenant's ceiling holds for a module without limits of its own");
        assert_eq!(
            (limits.memory_bytes_max, limits.result_bytes_max, limits.transform_cpu_per_row),
            (32 << 20, 1 << 20, Duration::from_micros(50))
        );
    }

    #[test]
    fn settings_out_of_their_bounds_are_refused_by_name() {
        for (text, name) in [("upload_mib = 65", "upload_mib"), ("stack_kib = 1", "stack_kib"), ("sandboxes = 0", "sandboxes")] {
            let failure = ModuleSettings::new(toml::from_str(text).unwrap()).unwrap_err();
            assert!(failure.message.contains(name), "{}", failure.message);
        }
        assert!(toml::from_str::<ModulesForm>("upload = 1").is_err());
    }
}
