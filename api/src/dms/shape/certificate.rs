//! Certificates.

use serde::{Deserialize, Serialize};

use super::Tag;

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CertificateRequest {
    pub(crate) certificate_arn: Option<String>,
    pub(crate) certificate_identifier: Option<String>,
    pub(crate) certificate_pem: Option<String>,
    pub(crate) certificate_wallet: Option<String>,
    pub(crate) tags: Option<Vec<Tag>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Certificate {
    pub(crate) certificate_identifier: String,
    pub(crate) certificate_creation_date: f64,
    pub(crate) certificate_pem: String,
    pub(crate) certificate_arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CertificateAnswer {
    pub(crate) certificate: Certificate,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CertificatesAnswer {
    pub(crate) marker: Option<String>,
    pub(crate) certificates: Vec<Certificate>,
}
