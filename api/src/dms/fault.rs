//! What a DMS client is told when an operation does not succeed.
//!
//! A fault is an HTTP status, a code that clients match on (`client.exceptions.ResourceNotFoundFault` in boto3) and a
//! text for people. Codes that end in `Fault` are in the service's published model; those that end in `Exception` are
//! not, and arrive as a plain `ClientError`, exactly as from AWS.

use axum::http::StatusCode;
use serde::Serialize;
use tidegate_catalog::CatalogError;

/// A refused or failed operation.
#[derive(Debug)]
pub(crate) struct Fault {
    status: StatusCode,
    code: &'static str,
    message: String,
}

#[derive(Serialize)]
struct FaultBody<'a> {
    #[serde(rename = "__type")]
    code: &'a str,
    message: &'a str,
}

impl Fault {
    fn refused(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, message: message.into() }
    }

    /// The body is not JSON, or a member has another type than the model says.
    pub(crate) fn serialization(message: impl Into<String>) -> Self {
        Self::refused("SerializationException", message)
    }

    /// The target header names no operation of DMS.
    pub(crate) fn unknown_operation(operation: &str) -> Self {
        Self::refused("UnknownOperationException", format!("Unknown operation: {}", shortened(operation)))
    }

    /// An operation of DMS that has a meaning inside AWS only, or none here yet.
    pub(crate) fn unsupported(operation: &str) -> Self {
        Self::refused("InvalidOperationFault", format!("The operation {operation} is not supported by Tidegate"))
    }

    /// A parameter whose value cannot be.
    pub(crate) fn value(message: impl Into<String>) -> Self {
        Self::refused("InvalidParameterValueException", message)
    }

    /// Parameters, or a parameter and a state, that do not go together.
    pub(crate) fn combination(message: impl Into<String>) -> Self {
        Self::refused("InvalidParameterCombinationException", message)
    }

    /// Nothing of this name, or a filter that matches nothing.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::refused("ResourceNotFoundFault", message)
    }

    /// Something of this name exists.
    pub(crate) fn exists(message: impl Into<String>) -> Self {
        Self::refused("ResourceAlreadyExistsFault", message)
    }

    /// What was given as a certificate is none.
    pub(crate) fn invalid_certificate(message: impl Into<String>) -> Self {
        Self::refused("InvalidCertificateFault", message)
    }

    /// The resource is in a state that does not allow the operation.
    pub(crate) fn state(message: impl Into<String>) -> Self {
        Self::refused("InvalidResourceStateFault", message)
    }

    /// More than the tenant may have.
    pub(crate) fn quota(message: impl Into<String>) -> Self {
        Self::refused("ResourceQuotaExceededFault", message)
    }

    /// There is no signature.
    pub(crate) fn unsigned() -> Self {
        Self::forbidden("MissingAuthenticationTokenException", "The request must be signed with an access key of this server.")
    }

    /// The signature's header lacks a part.
    pub(crate) fn incomplete_signature(message: String) -> Self {
        Self::refused("IncompleteSignatureException", message)
    }

    /// The access key is none of this server's.
    pub(crate) fn unknown_key() -> Self {
        Self::forbidden("UnrecognizedClientException", "The access key is none of this server's.")
    }

    /// The signature is not the one that the key's secret gives.
    pub(crate) fn wrong_signature(message: String) -> Self {
        Self::forbidden("InvalidSignatureException", message)
    }

    fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, code, message: message.into() }
    }

    /// The server failed; the cause is logged, and not told.
    pub(crate) fn internal() -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: "InternalFailure",
            message: "The request processing has failed because of an internal error; the server's log has the cause".into(),
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// The JSON that the client gets.
    pub(crate) fn body(&self) -> Vec<u8> {
        let body = FaultBody { code: self.code, message: &self.message };
        serde_json::to_vec(&body).expect("two strings are always JSON")
    }
}

impl From<CatalogError> for Fault {
    fn from(error: CatalogError) -> Self {
        let text = error.to_string();
        match error {
            CatalogError::NotFound { .. } => Fault::not_found(text),
            CatalogError::AlreadyExists { .. } => Fault::exists(text),
            CatalogError::InUse { .. } | CatalogError::Conflict { .. } => Fault::state(text),
            CatalogError::Quota { .. } => Fault::quota(text),
            CatalogError::Corrupt { .. } | CatalogError::Key { .. } | CatalogError::File { .. } | CatalogError::Storage(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "answer a DMS request");
                Fault::internal()
            }
        }
    }
}

/// The value of a member that the model requires.
///
/// # Errors
/// A fault in DMS's words when it is absent or blank.
pub(crate) fn required(value: Option<String>, member: &str) -> Result<String, Fault> {
    match value {
        Some(text) if !text.trim().is_empty() => Ok(text),
        _ => Err(missing(member)),
    }
}

/// The fault for a required member that is not there.
pub(crate) fn missing(member: &str) -> Fault {
    Fault::value(format!("The parameter {member} must be provided and must not be blank."))
}

/// Enough of a caller's text to recognise it, never all of a long one.
pub(crate) fn shortened(text: &str) -> String {
    const SHOWN_CHARS: usize = 120;
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
