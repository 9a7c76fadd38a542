//! From DMS's way to describe an endpoint to the catalog's, and back.
//!
//! A server's address and login may stand at the top of a request or in the engine's settings object; the top wins.
//! Modifying merges member by member, unless `ExactSettings` replaces the settings object as a whole.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_catalog::{EndpointRecord, EndpointSpec, Role, Secret, TlsChoice, TlsMode};
use tidegate_model::Engine;

use super::arn::{Arn, Kind};
use super::caller::Caller;
use super::fault::{Fault, missing, required, shortened};
use super::shape::endpoint::{Endpoint, EndpointRequest, MysqlSettings, PostgresSettings};
use super::task_echo::catalog_name;

/// The `dms` document of an endpoint.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct EndpointEcho {
    /// As the caller typed it.
    pub(crate) identifier: String,
    pub(crate) region: String,
    /// DMS's name: `aurora-postgresql` is a `postgres` here.
    pub(crate) engine_name: String,
    #[serde(default)]
    extra_connection_attributes: Option<String>,
    #[serde(default)]
    kms_key_id: Option<String>,
    /// Whose PEM is in the endpoint's TLS choice.
    #[serde(default)]
    certificate_arn: Option<String>,
    #[serde(default)]
    mysql_settings: Option<MysqlSettings>,
    #[serde(default)]
    postgres_settings: Option<PostgresSettings>,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
}

/// An engine of DMS that Tidegate has.
pub(crate) struct EngineName {
    pub(crate) name: &'static str,
    pub(crate) display_name: &'static str,
    pub(crate) engine: Engine,
}

/// Every engine name that endpoints may have.
pub(crate) const ENGINES: &[EngineName] = &[
    EngineName { name: "mysql", display_name: "MySQL", engine: Engine::Mysql },
    EngineName { name: "mariadb", display_name: "MariaDB", engine: Engine::Mariadb },
    EngineName { name: "postgres", display_name: "PostgreSQL", engine: Engine::Postgres },
    EngineName { name: "aurora", display_name: "Amazon Aurora MySQL", engine: Engine::Mysql },
    EngineName { name: "aurora-postgresql", display_name: "Amazon Aurora PostgreSQL", engine: Engine::Postgres },
];

fn engine_named(name: &str) -> Result<&'static EngineName, Fault> {
    ENGINES.iter().find(|engine| engine.name == name).ok_or_else(|| {
        let known: Vec<&str> = ENGINES.iter().map(|engine| engine.name).collect();
        Fault::value(format!("The engine {} is not supported, EngineName must be one of {}", shortened(name), known.join(", ")))
    })
}

impl EndpointEcho {
    /// What was stored, or what an endpoint of the native API would have.
    pub(crate) fn of(record: &EndpointRecord, caller: &Caller) -> Self {
        serde_json::from_value(record.spec.dms.clone()).unwrap_or_else(|_| Self {
            identifier: record.spec.name.clone(),
            region: caller.region.clone(),
            engine_name: record.spec.engine.as_str().to_owned(),
            extra_connection_attributes: None,
            kms_key_id: None,
            certificate_arn: None,
            mysql_settings: None,
            postgres_settings: None,
            tags: BTreeMap::new(),
        })
    }

    pub(crate) fn arn(&self, record: &EndpointRecord) -> String {
        Arn::new(&record.tenant, &self.region, Kind::Endpoint, &record.id).to_string()
    }

    pub(crate) fn document(&self) -> Value {
        serde_json::to_value(self).expect("the echo has string keys only")
    }
}

/// The endpoint that a CreateEndpoint describes.
///
/// # Errors
/// A fault that names the member.
pub(crate) fn created(
    request: EndpointRequest,
    identifier: String,
    region: &str,
    tags: BTreeMap<String, String>,
    authorities_pem: Option<String>,
) -> Result<EndpointSpec, Fault> {
    let role = role(&required(request.endpoint_type.clone(), "EndpointType")?)?;
    let engine = engine_named(&required(request.engine_name.clone(), "EngineName")?)?;
    let echo = EndpointEcho {
        identifier,
        region: region.to_owned(),
        engine_name: engine.name.to_owned(),
        extra_connection_attributes: None,
        kms_key_id: None,
        certificate_arn: None,
        mysql_settings: None,
        postgres_settings: None,
        tags,
    };
    let blank = EndpointSpec {
        name: String::new(),
        role,
        engine: engine.engine,
        host: String::new(),
        port: default_port(engine.engine),
        username: String::new(),
        password: Secret::default(),
        database: None,
        tls: TlsChoice { mode: TlsMode::Disable, authorities_pem: None },
        dms: Value::Null,
    };
    changed(blank, echo, request, authorities_pem)
}

/// The endpoint after a ModifyEndpoint. A new identifier is the caller's business, and so is the PEM of `CertificateArn`.
///
/// # Errors
/// A fault that names the member.
pub(crate) fn changed(
    mut spec: EndpointSpec,
    mut echo: EndpointEcho,
    request: EndpointRequest,
    authorities_pem: Option<String>,
) -> Result<EndpointSpec, Fault> {
    if let Some(text) = &request.endpoint_type {
        spec.role = role(text)?;
    }
    if let Some(name) = &request.engine_name {
        let engine = engine_named(name)?;
        spec.engine = engine.engine;
        echo.engine_name = engine.name.to_owned();
    }
    refuse_unsupported(&request)?;
    let login = login(&request, spec.engine);
    spec.host = login.host.unwrap_or(spec.host);
    spec.username = login.username.unwrap_or(spec.username);
    spec.database = login.database.or(spec.database);
    if let Some(port) = login.port {
        spec.port = u16::try_from(port)
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| Fault::value(format!("Port must be between 1 and 65535, found: {port}")))?;
    }
    if let Some(password) = login.password {
        spec.password = Secret::new(password);
    }
    if let Some(mode) = &request.ssl_mode {
        spec.tls.mode = tls_mode(mode)?;
    }
    if let Some(attributes) = request.extra_connection_attributes {
        check_attributes(&attributes)?;
        echo.extra_connection_attributes = Some(attributes);
    }
    if let Some(arn) = request.certificate_arn {
        spec.tls.authorities_pem = authorities_pem;
        echo.certificate_arn = Some(arn).filter(|arn| !arn.is_empty());
    }
    echo.kms_key_id = request.kms_key_id.or(echo.kms_key_id);
    let exact = request.exact_settings.unwrap_or(false);
    echo.mysql_settings = merged(echo.mysql_settings, request.mysql_settings, exact);
    echo.postgres_settings = merged(echo.postgres_settings, request.postgres_settings, exact);

    let members = [("ServerName", spec.host.as_str()), ("Username", spec.username.as_str())];
    if let Some((member, _)) = members.iter().find(|(_, value)| value.trim().is_empty()) {
        return Err(missing(member));
    }
    if spec.engine == Engine::Postgres && spec.database.as_deref().is_none_or(str::is_empty) {
        return Err(missing("DatabaseName"));
    }
    spec.name = catalog_name(&echo.identifier).to_string();
    spec.dms = echo.document();
    Ok(spec)
}

/// How the answer shows an endpoint.
pub(crate) fn shown(record: &EndpointRecord, caller: &Caller, status: &'static str) -> Endpoint {
    let echo = EndpointEcho::of(record, caller);
    let spec = &record.spec;
    Endpoint {
        endpoint_arn: echo.arn(record),
        endpoint_type: spec.role.as_str(),
        engine_display_name: engine_named(&echo.engine_name).map_or("", |engine| engine.display_name),
        engine_name: echo.engine_name,
        endpoint_identifier: echo.identifier,
        username: spec.username.clone(),
        server_name: spec.host.clone(),
        port: spec.port,
        database_name: spec.database.clone(),
        extra_connection_attributes: echo.extra_connection_attributes,
        status,
        kms_key_id: echo.kms_key_id,
        certificate_arn: echo.certificate_arn,
        ssl_mode: match spec.tls.mode {
            TlsMode::Disable => "none",
            TlsMode::Require => "require",
            TlsMode::VerifyCa => "verify-ca",
            TlsMode::VerifyFull => "verify-full",
        },
        is_read_only: false,
        mysql_settings: echo.mysql_settings,
        postgres_settings: echo.postgres_settings,
    }
}

struct Login {
    host: Option<String>,
    port: Option<i64>,
    username: Option<String>,
    password: Option<String>,
    database: Option<String>,
}

fn login(request: &EndpointRequest, engine: Engine) -> Login {
    let settings = match engine {
        Engine::Postgres => request.postgres_settings.clone().map(|settings| Login {
            host: settings.server_name,
            port: settings.port,
            username: settings.username,
            password: settings.password,
            database: settings.database_name,
        }),
        Engine::Mysql | Engine::Mariadb => request.mysql_settings.clone().map(|settings| Login {
            host: settings.server_name,
            port: settings.port,
            username: settings.username,
            password: settings.password,
            database: settings.database_name,
        }),
    };
    let settings = settings.unwrap_or(Login { host: None, port: None, username: None, password: None, database: None });
    Login {
        host: request.server_name.clone().or(settings.host),
        port: request.port.or(settings.port),
        username: request.username.clone().or(settings.username),
        password: request.password.clone().or(settings.password),
        database: request.database_name.clone().or(settings.database),
    }
}

/// Logins that need AWS.
fn refuse_unsupported(request: &EndpointRequest) -> Result<(), Fault> {
    let mysql = request.mysql_settings.as_ref();
    let postgres = request.postgres_settings.as_ref();
    let secret = mysql.and_then(|s| s.secrets_manager_secret_id.as_ref()).or(postgres.and_then(|s| s.secrets_manager_secret_id.as_ref()));
    if secret.is_some() {
        return Err(Fault::value("SecretsManagerSecretId is not supported, give Username and Password"));
    }
    let method = mysql.and_then(|s| s.authentication_method.as_deref()).or(postgres.and_then(|s| s.authentication_method.as_deref()));
    if method.is_some_and(|method| method != "password") {
        return Err(Fault::value("AuthenticationMethod can only be password"));
    }
    Ok(())
}

/// `key=value;key=value`. Keys that mean nothing here are kept and echoed. They are stored in clear, so no secrets.
fn check_attributes(text: &str) -> Result<(), Fault> {
    for (index, part) in text.split(';').enumerate().filter(|(_, part)| !part.trim().is_empty()) {
        // Only the count of a malformed part is told: it could be half of a password.
        let Some((key, _)) = part.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
            return Err(Fault::value(format!(
                "ExtraConnectionAttributes must have the form key=value;key=value, part {} has not",
                index + 1
            )));
        };
        if key.to_ascii_lowercase().contains("password") {
            return Err(Fault::value(format!(
                "ExtraConnectionAttributes must not hold secrets: give Password instead of {}",
                shortened(key.trim())
            )));
        }
    }
    Ok(())
}

/// Settings objects are flat: what the new one has replaces the member of the old one.
fn merged<S: Serialize + DeserializeOwned>(old: Option<S>, new: Option<S>, exact: bool) -> Option<S> {
    let (Some(old), Some(new), false) = (&old, &new, exact) else { return new.or(old) };
    let flat = |settings: &S| serde_json::to_value(settings).expect("settings have string keys only");
    let mut members = flat(old);
    if let (Value::Object(members), Value::Object(new)) = (&mut members, flat(new)) {
        members.extend(new.into_iter().filter(|(_, value)| !value.is_null()));
    }
    Some(serde_json::from_value(members).expect("members come from two objects of this type"))
}

fn role(text: &str) -> Result<Role, Fault> {
    match text.to_ascii_lowercase().as_str() {
        "source" => Ok(Role::Source),
        "target" => Ok(Role::Target),
        _ => Err(Fault::value(format!("EndpointType must be source or target, found: {}", shortened(text)))),
    }
}

fn tls_mode(text: &str) -> Result<TlsMode, Fault> {
    match text {
        "none" => Ok(TlsMode::Disable),
        "require" => Ok(TlsMode::Require),
        "verify-ca" => Ok(TlsMode::VerifyCa),
        "verify-full" => Ok(TlsMode::VerifyFull),
        other => Err(Fault::value(format!("SslMode must be none, require, verify-ca or verify-full, found: {}", shortened(other)))),
    }
}

fn default_port(engine: Engine) -> u16 {
    match engine {
        Engine::Postgres => 5432,
        Engine::Mysql | Engine::Mariadb => 3306,
    }
}
