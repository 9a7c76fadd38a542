//! `tidegate module …`: new projects, tests, uploads, lists.
//!
//! A test of a file runs here, in this process's sandbox, so that an author needs no server; rows of a table come from a
//! server all the same, which knows the endpoints. A test of an uploaded module runs on the server.

use std::path::Path;

use serde_json::{Value as Json, json};
use tidegate_model::TenantId;
use tidegate_pipeline::RULES;
use tidegate_sandbox::Limits;
use ureq::http::Method;

use crate::cli::{ModuleArgs, ModuleCommand, ModuleTestArgs};
use crate::client::{Server, escaped, line};
use crate::exit::{Exit, Failure};
use crate::module_test::{self, Bench, Stop, table};
use crate::modules::ModuleStore;
use crate::run::work_dir;
use crate::{module_project, runtime};

/// Takes every table as it is: what the built-in rules are told when only their rows are wanted.
const EVERYTHING: &str = r#"{"rules":[{"rule-type":"selection","rule-id":"1","rule-name":"1","rule-action":"include","object-locator":{"schema-name":"%","table-name":"%"}}]}"#;

/// Carries out a `module` command.
///
/// # Errors
/// When a file cannot be read or written, the server cannot be reached, or the module is refused.
pub(crate) fn module(args: ModuleArgs) -> Result<Exit, Failure> {
    let server = Server::new(&args.server);
    match &args.command {
        ModuleCommand::New { name, language } => {
            let folder = module_project::create(name, *language)?;
            server.print(&json!({"name": name, "folder": folder}), || vec![format!("{folder}\tread {folder}/README.md")]);
            Ok(Exit::Ok)
        }
        ModuleCommand::Test(test) => {
            let report = if is_file(&test.module) { here(&server, test)? } else { on_server(&server, test)? };
            server.print(&report, || module_test::lines(&report));
            Ok(if report["failed"] == 0 { Exit::Ok } else { Exit::Failed })
        }
        ModuleCommand::List => {
            let answer = server.call(Method::GET, "/v1/modules", None)?;
            let modules = answer["modules"].as_array();
            server.print(&answer, || modules.into_iter().flatten().map(|module| line(&[&module["name"], &module["latest"]])).collect());
            Ok(Exit::Ok)
        }
        ModuleCommand::Push { name, file } => {
            let answer = server.call(Method::PUT, &format!("/v1/modules/{}", escaped(name)), Some(read_file(file)?))?;
            server.print(&answer, || vec![line(&[&answer["name"], &answer["digest"], &answer["state"]])]);
            Ok(Exit::Ok)
        }
    }
}

/// Names of modules have neither dots nor slashes.
fn is_file(module: &str) -> bool {
    module.contains(['.', '/', '\\']) && !module.contains("@sha256:")
}

fn here(server: &Server<'_>, args: &ModuleTestArgs) -> Result<Json, Failure> {
    let bytes = read_file(Path::new(&args.module))?;
    let config = config(args)?;
    let target = module_test::target_engine(&args.target)?;
    let (description, rows) = match &args.rows {
        Some(file) => (description(args)?, read_json(file)?),
        None => sampled(server, args)?,
    };
    let sample = table::given(&description, &rows)?;
    runtime("module")?.block_on(async {
        let store = ModuleStore::open(work_dir(args.data_dir.clone())?.join("artefacts")).await?;
        let (module, info) = store.examine(&args.module, &TenantId::default(), bytes).await?;
        let bench =
            Bench { engine: store.engine(), module: &module, limits: Limits::default(), target, config: &config, stop: Stop::default() };
        // Nothing else runs in this process that the work could hold up.
        let report = module_test::run(&bench, info, &sample)?;
        serde_json::to_value(report).map_err(|error| Failure::failed("bug", error.to_string()))
    })
}

fn on_server(server: &Server<'_>, args: &ModuleTestArgs) -> Result<Json, Failure> {
    let (name, version) = args.module.split_once('@').unwrap_or((&args.module, "latest"));
    let mut body = json!({"version": version, "config": parse(&config(args)?, "the configuration")?, "target": args.target});
    match &args.rows {
        Some(file) => {
            body["rows"] = read_json(file)?;
            body["table"] = description(args)?;
        }
        None => body["source"] = source(args)?,
    }
    server.post_json(&format!("/v1/modules/{}/test", escaped(name)), &body)
}

/// The table's description and rows, from the server: the built-in rules show them as they are.
fn sampled(server: &Server<'_>, args: &ModuleTestArgs) -> Result<(Json, Json), Failure> {
    let body = json!({"config": parse(EVERYTHING, "the mapping")?, "target": args.target, "source": source(args)?});
    let report = server.post_json(&format!("/v1/modules/{RULES}/test"), &body)?;
    let rows: Vec<Json> =
        report["rows"].as_array().into_iter().flatten().map(|row| row["before"].clone()).filter(Json::is_object).collect();
    Ok((report["table"].clone(), Json::Array(rows)))
}

fn source(args: &ModuleTestArgs) -> Result<Json, Failure> {
    let name = args.table.as_deref().unwrap_or_default();
    let (schema, table) = name.split_once('.').ok_or_else(|| Failure::usage("table", format!("--table {name}: wanted SCHEMA.TABLE")))?;
    Ok(json!({"endpoint": args.source, "schema": schema, "table": table, "limit": args.limit}))
}

fn description(args: &ModuleTestArgs) -> Result<Json, Failure> {
    match &args.columns {
        None => Ok(Json::Null),
        Some(text) => parse(&inline_or_file(text)?, "the table's description"),
    }
}

fn config(args: &ModuleTestArgs) -> Result<String, Failure> {
    let text = inline_or_file(&args.config)?;
    parse(&text, "the configuration")?;
    Ok(text)
}

/// JSON begins with a bracket, and no file that one would name here does.
fn inline_or_file(text: &str) -> Result<String, Failure> {
    if text.trim_start().starts_with(['{', '[']) {
        return Ok(text.to_owned());
    }
    String::from_utf8(read_file(Path::new(text))?).map_err(|_| Failure::usage("test_file", format!("file \"{text}\" is not UTF-8")))
}

fn read_json(file: &Path) -> Result<Json, Failure> {
    let text = read_file(file)?;
    serde_json::from_slice(&text).map_err(|error| not_json(&format!("file \"{}\"", file.display()), &error))
}

fn parse(text: &str, what: &str) -> Result<Json, Failure> {
    serde_json::from_str(text).map_err(|error| not_json(what, &error))
}

/// serde's own message may quote what it found.
fn not_json(what: &str, error: &serde_json::Error) -> Failure {
    Failure::usage("json_syntax", format!("{what} is not JSON at line {}, column {}", error.line(), error.column()))
}

fn read_file(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| Failure::usage("module_file", format!("read file \"{}\": {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_names_are_told_apart() {
        for file in ["module.wasm", "./mask", "target/x/mask.wasm"] {
            assert!(is_file(file), "{file}");
        }
        for name in ["mask", "mask-email", "mask@latest", "mask@sha256:00"] {
            assert!(!is_file(name), "{name}");
        }
    }
}
