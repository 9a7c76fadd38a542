//! Who calls: the credential scope of a Signature Version 4 header.
//!
//! The region of an AWS request stands nowhere but in this scope, and ARNs need it. Without API keys the server
//! listens on loopback only and accepts any signature, and none at all.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

/// The account in every ARN. AWS clients want twelve digits; which ones says nothing here.
pub(crate) const ACCOUNT: &str = "123456789012";

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
    fn other_headers_give_the_default_region_and_no_key() {
        let nobody = Caller { region: DEFAULT_REGION.into(), access_key: None };
        assert_eq!(Caller::from_headers(&HeaderMap::new()), nobody);
        for header in ["", "Bearer abc", "AWS4-HMAC-SHA256 Credential=", "AWS4-HMAC-SHA256 Credential=a/b", "Basic a/b/c/d/e"] {
            assert_eq!(caller(header), nobody, "{header}");
        }
    }
}
