//! Certificates: authorities that `verify-ca` and `verify-full` endpoints trust instead of the system's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tidegate_catalog::{CatalogError, ResourceRecord, new_id};

use super::Call;
use super::arn::{Arn, Kind, identifier};
use super::fault::{Fault, required, shortened};
use super::page::{ListRequest, USUAL_PAGE, cut, filtered};
use super::shape::certificate::{Certificate, CertificateAnswer, CertificateRequest, CertificatesAnswer};
use super::shape::seconds;

/// The kind of the catalog's resources.
const RESOURCE: &str = "dms-certificate";
const IDENTIFIER_CHARS_MAX: usize = 255;

/// The document of a certificate. A certificate is public: it is stored in clear.
#[derive(Serialize, Deserialize)]
struct CertificateDocument {
    identifier: String,
    region: String,
    pem: String,
}

pub(crate) async fn import(call: &Call, request: CertificateRequest) -> Result<CertificateAnswer, Fault> {
    let name = required(request.certificate_identifier, "CertificateIdentifier")?;
    identifier(&name, "CertificateIdentifier", IDENTIFIER_CHARS_MAX)?;
    if request.certificate_wallet.is_some() {
        return Err(Fault::value("CertificateWallet is for Oracle, give CertificatePem"));
    }
    if request.tags.is_some_and(|tags| !tags.is_empty()) {
        return Err(Fault::value("Tags of certificates are not supported yet"));
    }
    let pem = required(request.certificate_pem, "CertificatePem")?;
    check_pem(&pem)?;
    let key = name.to_ascii_lowercase();
    let document = CertificateDocument { identifier: name, region: call.caller.region.clone(), pem };
    let stored = serde_json::to_value(&document).expect("the document has string keys only");
    let record = call.catalog.create_resource(RESOURCE, &new_id(), &key, &stored).await.map_err(|error| match error {
        CatalogError::AlreadyExists { .. } => Fault::exists(format!("Certificate {key} already exists.")),
        other => other.into(),
    })?;
    Ok(CertificateAnswer { certificate: shown(&record)? })
}

pub(crate) async fn delete(call: &Call, request: CertificateRequest) -> Result<CertificateAnswer, Fault> {
    let record = find(call, required(request.certificate_arn, "CertificateArn")?).await?;
    let certificate = shown(&record)?;
    let endpoints = call.catalog.list_endpoints().await?;
    let uses = |arn: &serde_json::Value| *arn == certificate.certificate_arn.as_str();
    if let Some(user) = endpoints.iter().find(|endpoint| endpoint.spec.dms.get("certificate_arn").is_some_and(uses)) {
        return Err(Fault::state(format!("Certificate {} is used by endpoint {}", certificate.certificate_identifier, user.spec.name)));
    }
    call.catalog.delete_resource(RESOURCE, &record.id).await?;
    Ok(CertificateAnswer { certificate })
}

pub(crate) async fn describe(call: &Call, request: ListRequest) -> Result<CertificatesAnswer, Fault> {
    let records = call.catalog.list_resources(RESOURCE).await?;
    let all = records.iter().map(shown).collect::<Result<Vec<_>, Fault>>()?;
    let kept = filtered(all, request.filters.as_deref(), &["certificate-arn", "certificate-id"], "Certificates", |certificate, name| {
        vec![if name == "certificate-arn" { certificate.certificate_arn.clone() } else { certificate.certificate_identifier.clone() }]
    })?;
    let page = cut(kept, &request, USUAL_PAGE)?;
    Ok(CertificatesAnswer { marker: page.marker, certificates: page.items })
}

/// The PEM behind an endpoint's `CertificateArn`.
pub(crate) async fn pem(call: &Call, arn: &str) -> Result<String, Fault> {
    Ok(read(&find(call, arn.to_owned()).await?)?.pem)
}

async fn find(call: &Call, text: String) -> Result<ResourceRecord, Fault> {
    let arn = Arn::parse_kind(&text, Kind::Certificate, "CertificateArn")?;
    match call.catalog.get_resource(RESOURCE, &arn.id).await {
        Err(CatalogError::NotFound { .. }) => Err(Fault::not_found(format!("Certificate {} not found.", shortened(&text)))),
        other => Ok(other?),
    }
}

fn read(record: &ResourceRecord) -> Result<CertificateDocument, Fault> {
    serde_json::from_value(record.document.clone()).map_err(|error| {
        tracing::error!(certificate = record.name, %error, "stored certificate does not read back");
        Fault::internal()
    })
}

fn shown(record: &ResourceRecord) -> Result<Certificate, Fault> {
    let document = read(record)?;
    Ok(Certificate {
        certificate_arn: Arn::new(&record.tenant, &document.region, Kind::Certificate, &record.id).to_string(),
        certificate_identifier: document.identifier,
        certificate_creation_date: seconds(record.created_at_us),
        certificate_pem: document.pem,
    })
}

/// At least one block of a certificate, and nothing but certificates: a private key does not belong here.
fn check_pem(pem: &str) -> Result<(), Fault> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let refused = || Fault::invalid_certificate("CertificatePem must hold one or more PEM blocks of type CERTIFICATE and nothing else");
    let mut blocks = pem.split(BEGIN);
    // Text before the first block is a comment, as bundles have it.
    if blocks.next().is_none_or(|head| head.contains("-----BEGIN")) {
        return Err(refused());
    }
    let mut count = 0;
    for block in blocks {
        let (body, rest) = block.split_once(END).ok_or_else(refused)?;
        let text: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        // DER of a certificate is a sequence.
        let der = STANDARD.decode(text).map_err(|_| refused())?;
        if der.first() != Some(&0x30) || rest.contains("-----BEGIN") {
            return Err(refused());
        }
        count += 1;
    }
    if count == 0 { Err(refused()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_are_taken() {
        let block = |kind: &str, body: &str| format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n");
        let good = block("CERTIFICATE", "MAMC\nAQA=");
        check_pem(&good).unwrap();
        check_pem(&format!("# a bundle\n{good}{good}")).unwrap();
        let key = block("PRIVATE KEY", "MAMCAQA=");
        for text in
            ["", "x", &block("CERTIFICATE", "?"), &block("CERTIFICATE", "AAAA"), &key, &format!("{good}{key}"), &format!("{key}{good}")]
        {
            assert!(check_pem(text).is_err(), "{text}");
        }
    }
}
