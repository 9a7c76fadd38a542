//! ARNs, and the identifiers that callers choose.

use std::fmt;

use tidegate_model::TenantId;

use super::caller::account_of;
use super::fault::{Fault, shortened};

/// What an ARN names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Endpoint,
    Instance,
    Config,
    Task,
    Certificate,
}

impl Kind {
    /// The sixth part of the ARN.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Endpoint => "endpoint",
            Kind::Instance => "rep",
            Kind::Config => "replication-config",
            Kind::Task => "task",
            Kind::Certificate => "cert",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "endpoint" => Some(Kind::Endpoint),
            "rep" => Some(Kind::Instance),
            "replication-config" => Some(Kind::Config),
            "task" => Some(Kind::Task),
            "cert" => Some(Kind::Certificate),
            _ => None,
        }
    }

    /// The word for people.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Kind::Endpoint => "Endpoint",
            Kind::Instance => "Replication instance",
            Kind::Config => "Replication config",
            Kind::Task => "Replication task",
            Kind::Certificate => "Certificate",
        }
    }
}

/// `arn:aws:dms:<region>:<account>:<kind>:<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Arn {
    account: String,
    pub(crate) region: String,
    pub(crate) kind: Kind,
    pub(crate) id: String,
}

impl Arn {
    /// An ARN of a tenant's account.
    pub(crate) fn new(tenant: &TenantId, region: &str, kind: Kind, id: &str) -> Self {
        Self { account: account_of(tenant), region: region.to_owned(), kind, id: id.to_owned() }
    }

    /// # Errors
    /// A fault that names the member when the text is not an ARN of one of the kinds here.
    pub(crate) fn parse(text: &str, member: &str) -> Result<Self, Fault> {
        let parts: Vec<&str> = text.splitn(7, ':').collect();
        if let ["arn", partition, "dms", region, account, kind, id] = parts[..]
            && partition.starts_with("aws")
            && !id.is_empty()
            && let Some(kind) = Kind::parse(kind)
        {
            return Ok(Self { account: account.to_owned(), region: region.to_owned(), kind, id: id.to_owned() });
        }
        Err(Fault::value(format!("Invalid ARN in {member}: {}", shortened(text))))
    }

    /// The same, but only of one kind.
    ///
    /// # Errors
    /// As [`Arn::parse`], and when the ARN is of another kind.
    pub(crate) fn parse_kind(text: &str, kind: Kind, member: &str) -> Result<Self, Fault> {
        let arn = Self::parse(text, member)?;
        if arn.kind == kind {
            return Ok(arn);
        }
        Err(Fault::value(format!("{member} must be the ARN of a {}, found: {}", kind.noun().to_lowercase(), shortened(text))))
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arn:aws:dms:{}:{}:{}:{}", self.region, self.account, self.kind.as_str(), self.id)
    }
}

/// An identifier in DMS's rules: a letter first, then ASCII letters, digits and single hyphens, none at the end.
///
/// # Errors
/// A fault that names the member and the rule.
pub(crate) fn identifier(text: &str, member: &str, chars_max: usize) -> Result<(), Fault> {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if first && rest && !text.contains("--") && !text.ends_with('-') && text.len() <= chars_max {
        return Ok(());
    }
    Err(Fault::value(format!(
        "The parameter {member} must begin with a letter, contain only ASCII letters, digits and hyphens, \
         not end with a hyphen, not contain two consecutive hyphens, and have at most {chars_max} characters; found: {}",
        shortened(text)
    )))
}

/// The optional `ResourceIdentifier`: the caller's own last part of the ARN.
///
/// # Errors
/// As [`identifier`].
pub(crate) fn resource_identifier(text: Option<String>) -> Result<Option<String>, Fault> {
    const CHARS_MAX: usize = 31;
    if let Some(text) = &text {
        identifier(text, "ResourceIdentifier", CHARS_MAX)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arn_reads_back_what_it_wrote() {
        let arn = Arn::new(&TenantId::default(), "eu-west-1", Kind::Config, "ABC");
        assert_eq!(Arn::parse_kind(&arn.to_string(), Kind::Config, "ReplicationConfigArn").unwrap(), arn);
        assert!(Arn::parse_kind(&arn.to_string(), Kind::Endpoint, "EndpointArn").is_err());
    }

    #[test]
    fn other_texts_are_no_arns() {
        for text in
            ["", "shop", "arn:aws:dms:eu-west-1:1:endpoint", "arn:aws:s3:::b", "arn:aws:dms:r:1:subgrp:X", "arn:aws:dms:r:1:endpoint:"]
        {
            assert!(Arn::parse(text, "EndpointArn").is_err(), "{text}");
        }
    }

    #[test]
    fn identifiers_follow_the_rules_of_dms() {
        for text in ["a", "Shop-1", "x9"] {
            assert!(identifier(text, "EndpointIdentifier", 255).is_ok(), "{text}");
        }
        for text in ["", "1a", "-a", "a-", "a--b", "a_b", "a b", "é", "abcdef"] {
            assert!(identifier(text, "EndpointIdentifier", 5).is_err(), "{text}");
        }
    }
}
