//! Who calls: the credential scope of a Signature Version 4 header.
//!
//! The region of an AWS request stands nowhere but in this scope, and ARNs need it. Without keys the server accepts any
//! signature, and none at all; with keys `signature` checks it.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use tidegate_model::TenantId;

/// The account of the default tenant.
const ACCOUNT: &str = "123456789012";

/// The account in a tenant's ARNs: AWS clients want twelve digits, which here say no more than that tenants differ.
pub(crate) fn account_of(tenant: &TenantId) -> String {
    if *tenant == TenantId::default() {
        return ACCOUNT.to_owned();
    }
    let digest = Sha256::digest(tenant.as_str().as_bytes());
    let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{:012}", number % 1_000_000_000_000)
}

/// Used for unsigned requests, and where the scope has no region of a plausible form.
const DEFAULT_REGION: &str = "us-east-1";

/// What the credential scope says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Region for the ARNs of the answer.
    pub(crate) region: String,
    /// The access key's id; `None` when the request is unsigned.
    pub(crate) access_key: Option<String>,
}

impl Caller {
    /// Reads `Credential=<access key>/<date>/<region>/dms/aws4_request` from the `Authorization` header.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("");
        let scope = header.split_once("Credential=").map(|(_, rest)| rest.split(',').next().unwrap_or(rest).trim());
        // The key may hold slashes, the four parts after it may not.
        let mut parts = scope.unwrap_or("").rsplitn(5, '/').skip(2);
        let region = parts.next().filter(|region| is_region(region)).unwrap_or(DEFAULT_REGION).to_owned();
        let access_key = parts.nth(1).filter(|key| !key.is_empty()).map(str::to_owned);
        Self { region, access_key }
    }
}

fn is_region(text: &str) -> bool {
    let allowed = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    allowed && (1..=32).contains(&text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(header: &str) -> Caller {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, header.parse().unwrap());
        Caller::from_headers(&headers)
    }

    #[test]
    fn region_and_key_come_from_the_credential_scope() {
        let found = caller("AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/dms/aws4_request, SignedHeaders=host, Signature=00");
        assert_eq!(found, Caller { region: "eu-west-1".into(), access_key: Some("AKID".into()) });
    }

    #[test]
    fn tenants_have_accounts_of_twelve_digits_of_their_own() {
        let account = |name: &str| account_of(&TenantId::new(name).unwrap());
        assert_eq!(account("default"), ACCOUNT);
        assert!(account("acme") != account("globex") && account("acme") != ACCOUNT);
        assert!(account("acme").len() == 12 && account("acme").bytes().all(|byte| byte.is_ascii_digit()));
    }

    #[test]
    fn other_headers_give_the_default_region_and_no_key() {
        let nobody = Caller { region: DEFAULT_REGION.into(), access_key: None };
        assert_eq!(Caller::from_headers(&HeaderMap::new()), nobody);
        for header in ["", "Bearer abc", "AWS4-HMAC-SHA256 Credential=", "AWS4-HMAC-SHA256 Credential=a/b", "Basic a/b/c/d/e"] {
            assert_eq!(caller(header), nobody, "{header}");
        }
    }
}
