//! A database server as a task file describes it.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use tidegate_connector::{Secret, ServerSettings, TlsMode};
use tidegate_model::Engine;

use crate::exit::Failure;

/// An endpoint in a task file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointFile {
    engine: String,
    host: String,
    port: Option<u16>,
    username: String,
    password: Option<String>,
    password_env: Option<String>,
    password_file: Option<PathBuf>,
    database: Option<String>,
    tls: Option<String>,
    /// PEM file of the certificate authorities that `verify-ca` and `verify-full` trust; the system's without it.
    tls_ca_file: Option<PathBuf>,
}

impl fmt::Debug for EndpointFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndpointFile({} {}:{:?})", self.engine, self.host, self.port)
    }
}

impl EndpointFile {
    /// Checks the words and reads the files that are named. `role` is `source` or `target`, for messages.
    ///
    /// # Errors
    /// A usage failure that names the key.
    pub(crate) fn settings(self, role: &str) -> Result<ServerSettings, Failure> {
        let engine = parse_engine(&self.engine)
            .ok_or_else(|| Failure::usage("engine", format!("{role}: engine \"{}\" is none of postgres, mysql, mariadb", self.engine)))?;
        let password = self.read_password(role)?;
        let tls = self.read_tls(role)?;
        if engine == Engine::Postgres && self.database.is_none() {
            return Err(Failure::usage(
                "database",
                format!("{role}: key \"database\" is missing, and PostgreSQL has no connection without one"),
            ));
        }
        let port = self.port.unwrap_or(match engine {
            Engine::Postgres => 5432,
            Engine::Mysql | Engine::Mariadb => 3306,
        });
        Ok(ServerSettings { engine, host: self.host, port, user: self.username, password, database: self.database, tls })
    }

    fn read_password(&self, role: &str) -> Result<Secret, Failure> {
        let given = [self.password.is_some(), self.password_env.is_some(), self.password_file.is_some()];
        if given.iter().filter(|given| **given).count() > 1 {
            return Err(Failure::usage(
                "password",
                format!("{role}: more than one of password, password_env and password_file is given, wanted one"),
            ));
        }
        if let Some(name) = &self.password_env {
            return std::env::var(name).map(Secret::new).map_err(|_| {
                Failure::usage("password_env", format!("{role}: environment variable \"{name}\" of key \"password_env\" is not set"))
                    .hint(format!("export {name}=…"))
            });
        }
        if let Some(path) = &self.password_file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::usage("password_file", format!("{role}: read password file \"{}\": {error}", path.display())))?;
            // Editors end a file with a line break that belongs to no password.
            return Ok(Secret::new(text.trim_end_matches(['\r', '\n'])));
        }
        Ok(Secret::new(self.password.clone().unwrap_or_default()))
    }

    fn read_tls(&self, role: &str) -> Result<TlsMode, Failure> {
        let authorities_pem = match &self.tls_ca_file {
            Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
                Failure::usage("tls_ca_file", format!("{role}: read certificate file \"{}\": {error}", path.display()))
            })?),
            None => None,
        };
        match self.tls.as_deref().unwrap_or("verify-full") {
            "disable" => Ok(TlsMode::Disable),
            "require" => Ok(TlsMode::Require),
            "verify-ca" => Ok(TlsMode::VerifyCa { authorities_pem }),
            "verify-full" => Ok(TlsMode::VerifyFull { authorities_pem }),
            other => Err(Failure::usage("tls", format!("{role}: tls \"{other}\" is none of disable, require, verify-ca, verify-full"))),
        }
    }
}

/// The engine of a name; DMS's names too.
pub(crate) fn parse_engine(text: &str) -> Option<Engine> {
    match text {
        "postgres" | "postgresql" => Some(Engine::Postgres),
        "mysql" => Some(Engine::Mysql),
        "mariadb" => Some(Engine::Mariadb),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(json: &str) -> Result<ServerSettings, Failure> {
        serde_json::from_str::<EndpointFile>(json).unwrap().settings("source")
    }

    #[test]
    fn a_port_and_tls_have_safe_defaults() {
        let settings = endpoint(r#"{"engine":"postgres","host":"h","username":"u","database":"d"}"#).unwrap();
        assert_eq!((settings.port, settings.tls), (5432, TlsMode::VerifyFull { authorities_pem: None }));
        assert_eq!(endpoint(r#"{"engine":"mariadb","host":"h","username":"u"}"#).unwrap().port, 3306);
    }

    #[test]
    fn a_password_comes_from_one_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        std::fs::write(&path, "s e c\n").unwrap();
        let json = format!(r#"{{"engine":"mysql","host":"h","username":"u","password_file":{:?}}}"#, path.to_str().unwrap());
        assert_eq!(endpoint(&json).unwrap().password.reveal(), "s e c");

        let failure = endpoint(r#"{"engine":"mysql","host":"h","username":"u","password":"geheim","password_env":"X"}"#).unwrap_err();
        assert_eq!(failure.code, "password");
        assert!(!failure.message.contains("geheim"));
        let failure = endpoint(r#"{"engine":"mysql","host":"h","username":"u","password_env":"TIDEGATE_TEST_NOT_SET"}"#).unwrap_err();
        assert!(failure.message.contains("TIDEGATE_TEST_NOT_SET"), "{}", failure.message);
    }

    #[test]
    fn words_outside_the_lists_are_refused_with_the_list() {
        let failure = endpoint(r#"{"engine":"oracle","host":"h","username":"u"}"#).unwrap_err();
        assert!(failure.message.contains("oracle") && failure.message.contains("mariadb"), "{}", failure.message);
        let failure = endpoint(r#"{"engine":"mysql","host":"h","username":"u","tls":"maybe"}"#).unwrap_err();
        assert!(failure.message.contains("maybe") && failure.message.contains("verify-ca"), "{}", failure.message);
        assert_eq!(endpoint(r#"{"engine":"postgres","host":"h","username":"u"}"#).unwrap_err().code, "database");
    }
}
