//! A task's word on large values and on values without a place in the target, as files and the API spell it.

use serde::Deserialize;
use tidegate_connector::{UnfitAction, UnfitPolicy};
use tidegate_pipeline::LargeValues;

use crate::exit::Failure;

/// The key `large_values` of a task's settings; nothing said is `full`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LargeValuesForm {
    mode: Option<LargeMode>,
    /// For `limited`: the most that a value may have, in units of 1024 bytes.
    max_kib: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LargeMode {
    Full,
    Limited,
    Excluded,
}

/// The key `unfit_values`; what is left out has [`UnfitPolicy`]'s default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnfitValuesForm {
    zero_dates: Option<UnfitForm>,
    not_finite: Option<UnfitForm>,
    moments: Option<UnfitForm>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum UnfitForm {
    Error,
    Null,
}

impl LargeValuesForm {
    /// # Errors
    /// A usage failure that names the setting: a limit without its size, or a size without a limit.
    pub(crate) fn setting(&self) -> Result<LargeValues, Failure> {
        let usage = |text: &str| Err(Failure::usage("settings", format!("setting \"large_values.max_kib\" {text}")));
        match (self.mode.unwrap_or(LargeMode::Full), self.max_kib) {
            (LargeMode::Limited, None) => usage("is missing, wanted a number with the mode limited"),
            (LargeMode::Limited, Some(0)) => usage("is 0, wanted at least 1"),
            (LargeMode::Limited, Some(kib)) => {
                Ok(LargeValues::Limited { bytes_max: usize::try_from(kib).unwrap_or(usize::MAX).saturating_mul(1024) })
            }
            (_, Some(_)) => usage("is for the mode limited alone"),
            (LargeMode::Full, None) => Ok(LargeValues::Full),
            (LargeMode::Excluded, None) => Ok(LargeValues::Excluded),
        }
    }
}

impl UnfitValuesForm {
    /// Fills in defaults.
    pub(crate) fn policy(&self) -> UnfitPolicy {
        let action = |form: Option<UnfitForm>| match form {
            Some(UnfitForm::Null) => UnfitAction::Null,
            Some(UnfitForm::Error) | None => UnfitAction::Error,
        };
        UnfitPolicy { zero_dates: action(self.zero_dates), not_finite: action(self.not_finite), moments: action(self.moments) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large(text: &str) -> Result<LargeValues, String> {
        serde_json::from_str::<LargeValuesForm>(text).unwrap().setting().map_err(|failure| failure.message)
    }

    #[test]
    fn a_limit_needs_its_size_and_nothing_else_has_one() {
        assert_eq!(large("{}"), Ok(LargeValues::Full));
        assert_eq!(large(r#"{"mode": "limited", "max_kib": 64}"#), Ok(LargeValues::Limited { bytes_max: 65_536 }));
        assert_eq!(large(r#"{"mode": "excluded"}"#), Ok(LargeValues::Excluded));
        for wrong in [r#"{"mode": "limited"}"#, r#"{"mode": "limited", "max_kib": 0}"#, r#"{"max_kib": 9}"#] {
            assert!(large(wrong).unwrap_err().contains("large_values.max_kib"), "{wrong}");
        }
    }

    #[test]
    fn values_without_a_place_are_errors_until_said_otherwise() {
        let policy = |text: &str| serde_json::from_str::<UnfitValuesForm>(text).unwrap().policy();
        assert_eq!(policy("{}"), UnfitPolicy::default());
        let given = policy(r#"{"zero_dates": "null", "moments": "error"}"#);
        assert_eq!(given, UnfitPolicy { zero_dates: UnfitAction::Null, ..UnfitPolicy::default() });
    }
}
