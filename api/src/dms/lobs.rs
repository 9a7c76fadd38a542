//! `TargetMetadata`'s keys about LOBs.
//!
//! AWS cuts values above 32 KB unless told otherwise. Here a task that says nothing gets them whole, and its document shows
//! it: `FullLobMode` is true and `LimitedSizeLobMode` false. Who says `LimitedSizeLobMode` or `LobMaxSize` means AWS's
//! limited mode. Full values travel inline whatever their size, so `LobChunkSize` and `InlineLobMaxSize` have no effect.

use serde_json::{Map, Value, json};

/// Settles the two modes in `document` by what is `given` of them, before it is merged: whoever names one turns the other.
pub(super) fn settle_modes(document: &mut Value, given: Option<&Value>) {
    let empty = Map::new();
    let given = given.and_then(Value::as_object).unwrap_or(&empty);
    let said = |key: &str| given.get(key).and_then(Value::as_bool);
    let is_limited = match (said("LimitedSizeLobMode"), said("FullLobMode")) {
        (None, Some(full)) => !full,
        (Some(limited), None) => limited,
        // Both are merged as they are, and checked.
        (Some(_), Some(_)) => return,
        (None, None) if given.contains_key("LobMaxSize") => true,
        (None, None) => return,
    };
    document["TargetMetadata"]["LimitedSizeLobMode"] = is_limited.into();
    document["TargetMetadata"]["FullLobMode"] = (!is_limited).into();
}

/// What is wrong with the keys together; their types are checked.
pub(super) fn check(metadata: &Value) -> Result<(), String> {
    if metadata["SupportLobs"] == false {
        return Ok(());
    }
    if metadata["FullLobMode"] == metadata["LimitedSizeLobMode"] {
        return Err("exactly one of TargetMetadata.FullLobMode and TargetMetadata.LimitedSizeLobMode must be true".into());
    }
    if metadata["LimitedSizeLobMode"] == true && metadata["LobMaxSize"] == 0 {
        return Err("TargetMetadata.LobMaxSize must be at least 1 with TargetMetadata.LimitedSizeLobMode, found: 0".into());
    }
    Ok(())
}

/// The native setting `large_values`.
pub(super) fn native(metadata: &Value) -> Value {
    if metadata["SupportLobs"] == false {
        json!({"mode": "excluded"})
    } else if metadata["LimitedSizeLobMode"] == true {
        json!({"mode": "limited", "max_kib": metadata["LobMaxSize"]})
    } else {
        json!({"mode": "full"})
    }
}

/// Shows in `metadata` what the native API may have said since.
pub(super) fn show(metadata: &mut Value, large_values: &Value) {
    let mode = large_values["mode"].as_str();
    if mode.is_none() || native(metadata) == *large_values {
        return;
    }
    metadata["SupportLobs"] = (mode != Some("excluded")).into();
    metadata["LimitedSizeLobMode"] = (mode == Some("limited")).into();
    metadata["FullLobMode"] = (mode != Some("limited")).into();
    if mode == Some("limited") {
        metadata["LobMaxSize"] = large_values["max_kib"].clone();
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::{defaults, merge};
    use super::*;

    #[test]
    fn values_are_whole_until_a_limit_is_said() {
        let limited = |kib: u32| json!({"mode": "limited", "max_kib": kib});
        let cases = [
            ("{}", json!({"mode": "full"})),
            (r#"{"TargetMetadata": {"BatchApplyEnabled": false}}"#, json!({"mode": "full"})),
            (r#"{"TargetMetadata": {"FullLobMode": true, "LobChunkSize": 64, "InlineLobMaxSize": 16}}"#, json!({"mode": "full"})),
            (r#"{"TargetMetadata": {"LimitedSizeLobMode": true}}"#, limited(32)),
            (r#"{"TargetMetadata": {"FullLobMode": false}}"#, limited(32)),
            (r#"{"TargetMetadata": {"LobMaxSize": 64}}"#, limited(64)),
            (r#"{"TargetMetadata": {"FullLobMode": false, "LimitedSizeLobMode": true, "LobMaxSize": 8}}"#, limited(8)),
            (
                r#"{"TargetMetadata": {"SupportLobs": false, "FullLobMode": false, "LimitedSizeLobMode": false}}"#,
                json!({"mode": "excluded"}),
            ),
        ];
        for (given, wanted) in cases {
            let settings = merge(defaults(), Some(given)).expect(given);
            assert_eq!(settings.native["large_values"], wanted, "{given}");
            // What is echoed means the same when it is sent back.
            let again = merge(defaults(), Some(&settings.document.to_string())).expect(given);
            assert_eq!(again.native["large_values"], wanted, "{given}");
        }
    }

    #[test]
    fn a_limit_of_nothing_is_refused_by_name() {
        let error = merge(defaults(), Some(r#"{"TargetMetadata": {"LimitedSizeLobMode": true, "LobMaxSize": 0}}"#)).unwrap_err();
        assert!(String::from_utf8_lossy(&error.body()).contains("TargetMetadata.LobMaxSize must be at least 1"));
    }
}
