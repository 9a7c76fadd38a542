//! Reads and checks what a user says about an endpoint. Nothing is connected to: that is what a test is for.

use axum::http::HeaderMap;
use serde_json::Value;
use tidegate_catalog::{EndpointSpec, Role, Secret, TlsChoice, TlsMode};
use tidegate_model::Engine;

use crate::fields::{Fields, key_problem, missing, one_of};
use crate::name::checked_name;
use crate::problem::Problem;

const ENGINES: [(&str, Engine); 3] = [("postgres", Engine::Postgres), ("mysql", Engine::Mysql), ("mariadb", Engine::Mariadb)];
const ROLES: [(&str, Role); 2] = [("source", Role::Source), ("target", Role::Target)];
const TLS_MODES: [(&str, TlsMode); 4] =
    [("disable", TlsMode::Disable), ("require", TlsMode::Require), ("verify-ca", TlsMode::VerifyCa), ("verify-full", TlsMode::VerifyFull)];

/// Longest host name that DNS allows.
const HOST_BYTES_MAX: usize = 253;

/// Longer than any server allows for users, passwords and databases.
const TEXT_BYTES_MAX: usize = 1_024;

/// A bundle of a few hundred authorities.
const PEM_BYTES_MAX: usize = 512 << 10;

/// The body of a creation.
pub(crate) fn new_spec(headers: &HeaderMap, body: &[u8]) -> Result<EndpointSpec, Problem> {
    let mut fields = Fields::of_body(headers, body)?;
    let name = checked_name("name", fields.required_text("name")?)?.as_str().to_owned();
    let role = one_of("role", &fields.required_text("role")?, &ROLES)?;
    let engine = one_of("engine", &fields.required_text("engine")?, &ENGINES)?;
    let spec = EndpointSpec {
        name,
        role,
        engine,
        host: fields.required_text("host")?,
        port: port(&mut fields)?.unwrap_or(default_port(engine)),
        username: fields.required_text("username")?,
        password: Secret::new(fields.text("password")?.unwrap_or_default()),
        database: fields.text("database")?,
        tls: tls(&mut fields)?.unwrap_or(TlsChoice { mode: TlsMode::VerifyFull, authorities_pem: None }),
        dms: Value::Null,
    };
    fields.finish()?;
    checked(spec)
}

/// The body of a change: keys that are absent stay as they are. Role and engine make an endpoint what it is and stay.
pub(crate) fn changed_spec(old: &EndpointSpec, headers: &HeaderMap, body: &[u8]) -> Result<EndpointSpec, Problem> {
    let mut fields = Fields::of_body(headers, body)?;
    let mut spec = old.clone();
    for key in ["host", "port", "username", "tls"] {
        if fields.is_null(key) {
            return Err(missing(key));
        }
    }
    if fields.is_null("database") {
        spec.database = None;
    }
    if fields.is_null("password") {
        spec.password = Secret::default();
    }
    if let Some(host) = fields.text("host")? {
        spec.host = host;
    }
    if let Some(port) = port(&mut fields)? {
        spec.port = port;
    }
    if let Some(username) = fields.text("username")? {
        spec.username = username;
    }
    if let Some(password) = fields.text("password")? {
        spec.password = Secret::new(password);
    }
    if let Some(database) = fields.text("database")? {
        spec.database = Some(database);
    }
    if let Some(tls) = tls(&mut fields)? {
        spec.tls = tls;
    }
    fields.finish()?;
    checked(spec)
}

fn checked(spec: EndpointSpec) -> Result<EndpointSpec, Problem> {
    // A comma would make a list of hosts, a slash a socket path, an at-sign a connection string with a password.
    let forbidden = |letter: char| letter.is_whitespace() || letter.is_control() || "/,@?#\\".contains(letter);
    if spec.host.is_empty() || spec.host.len() > HOST_BYTES_MAX || spec.host.contains(forbidden) {
        return Err(key_problem("host_form", "host", "\"host\" is not one host name or address"));
    }
    for (key, text) in
        [("username", &*spec.username), ("password", spec.password.reveal()), ("database", spec.database.as_deref().unwrap_or(""))]
    {
        if text.len() > TEXT_BYTES_MAX || text.contains('\0') {
            return Err(key_problem("text_form", key, format!("\"{key}\" has more than {TEXT_BYTES_MAX} bytes or a zero byte")));
        }
    }
    if spec.username.is_empty() {
        return Err(key_problem("text_form", "username", "\"username\" is empty"));
    }
    if spec.engine == Engine::Postgres && spec.database.as_deref().unwrap_or("").is_empty() {
        return Err(missing("database").hint("a PostgreSQL connection is to one database, for example \"postgres\""));
    }
    Ok(spec)
}

fn port(fields: &mut Fields) -> Result<Option<u16>, Problem> {
    let number = fields.number("port", 1, u64::from(u16::MAX))?;
    Ok(number.map(|number| u16::try_from(number).expect("the bounds are checked")))
}

fn default_port(engine: Engine) -> u16 {
    match engine {
        Engine::Postgres => 5432,
        Engine::Mysql | Engine::Mariadb => 3306,
    }
}

fn tls(fields: &mut Fields) -> Result<Option<TlsChoice>, Problem> {
    let Some(value) = fields.value("tls") else { return Ok(None) };
    // The mode alone is what most people write, and what task files have.
    if let Value::String(mode) = &value {
        return Ok(Some(TlsChoice { mode: one_of("tls", mode, &TLS_MODES)?, authorities_pem: None }));
    }
    let mut fields = Fields::of_value(value, "tls")?;
    let mode = one_of("tls.mode", &fields.required_text("mode")?, &TLS_MODES)?;
    let authorities_pem = fields.text("authorities_pem")?;
    fields.finish()?;
    if let Some(pem) = &authorities_pem {
        // A private key would be shown to everybody who lists endpoints.
        if pem.contains("PRIVATE KEY") || !pem.contains("-----BEGIN CERTIFICATE-----") || pem.len() > PEM_BYTES_MAX {
            return Err(key_problem(
                "certificate_form",
                "tls.authorities_pem",
                "\"tls.authorities_pem\" holds other things than certificates",
            ));
        }
    }
    Ok(Some(TlsChoice { mode, authorities_pem }))
}
