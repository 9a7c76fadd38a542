//! The rules of the source tree that the compiler does not know: who may import whom, how long a file may be, which
//! names and words are not used. They are explained in `ARCHITECTURE.md`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Files longer than this hide a second idea, unless their head says why not.
const LINES_MAX: usize = 500;

/// What such a head says, within the first lines.
const LONG_FILE_REASON: &str = "Longer than 500 lines because";

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 9] = ["utils", "util", "common", "helpers", "manager", "misc", "stuff", "shared", "lib_common"];

/// A package: its directory, which of ours it may import, and which others it must not.
struct Package {
    dir: &'static str,
    may_import: &'static [&'static str],
    never: &'static [&'static str],
}

/// Crates that talk to a database.
const DRIVERS: [&str; 5] = ["tokio-postgres", "postgres-protocol", "mysql_async", "mysql_common", "sqlx"];

const PACKAGES: [Package; 13] = [
    Package { dir: "host/model", may_import: &[], never: &["tokio", "serde", "serde_json", "async-trait", "DRIVERS"] },
    Package { dir: "host/connector", may_import: &["model"], never: &["tokio", "serde", "DRIVERS"] },
    Package { dir: "host/postgres", may_import: &["model", "connector"], never: &["mysql_async", "sqlx"] },
    Package { dir: "host/mysql", may_import: &["model", "connector"], never: &["tokio-postgres", "postgres-protocol", "sqlx"] },
    Package { dir: "host/sandbox", may_import: &["model"], never: &["tokio", "DRIVERS"] },
    Package { dir: "host/pipeline", may_import: &["model", "connector", "sandbox"], never: &["DRIVERS", "axum", "hyper", "wasmtime"] },
    Package { dir: "host/catalog", may_import: &["model", "capacity"], never: &["tokio-postgres", "mysql_async", "axum", "hyper"] },
    Package { dir: "capacity", may_import: &[], never: &["tokio", "rand", "async-trait", "DRIVERS"] },
    Package { dir: "api", may_import: &["model", "catalog", "capacity"], never: &["DRIVERS", "wasmtime"] },
    Package {
        dir: "host",
        may_import: &["model", "connector", "postgres", "mysql", "sandbox", "pipeline", "catalog", "capacity", "api"],
        never: &["DRIVERS", "wasmtime"],
    },
    // Neither the harness nor the tools of the tree are imported by the product; they drive it from outside.
    Package { dir: "tests", may_import: &["harness"], never: &["wasmtime", "sqlx"] },
    Package {
        dir: "benches",
        may_import: &["harness", "model", "connector", "postgres", "mysql", "sandbox", "pipeline", "capacity"],
        never: &[],
    },
    Package { dir: "xtask", may_import: &["harness"], never: &["wasmtime", "sqlx"] },
];

/// The tree's root; the variable is read when the test runs, so that the built test can look at another tree.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package.parent().expect("the package lies in the workspace").to_owned()
}

/// The keys under `[dependencies]` of a manifest, and under the development and build ones when asked for.
fn dependencies(manifest: &str, development: bool) -> BTreeSet<String> {
    let mut wanted = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            let development_section = section.ends_with("dev-dependencies") || section.ends_with("build-dependencies");
            wanted = section.ends_with("dependencies") && (development || !development_section);
        } else if wanted
            && !line.starts_with('#')
            && let Some((name, _)) = line.split_once(['.', '=', ' '])
        {
            names.insert(name.trim_matches('"').to_owned());
        }
    }
    names
}

#[test]
fn every_package_imports_only_what_it_may() {
    let mut faults = Vec::new();
    for package in &PACKAGES {
        let path = root().join(package.dir).join("Cargo.toml");
        let manifest = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let names = dependencies(&manifest, false);
        for ours in names.iter().filter_map(|name| name.strip_prefix("tidegate-")) {
            if !package.may_import.contains(&ours) {
                faults.push(format!("{} imports tidegate-{ours}", package.dir));
            }
        }
        let never = package.never.iter().flat_map(|name| if *name == "DRIVERS" { DRIVERS.to_vec() } else { vec![*name] });
        for name in never.filter(|name| names.contains(*name)) {
            faults.push(format!("{} imports {name}", package.dir));
        }
        if package.dir != "host" && names.contains("tidegate") {
            faults.push(format!("{} imports the binary", package.dir));
        }
    }
    assert!(faults.is_empty(), "imports outside the table:\n{}", faults.join("\n"));
}

#[test]
fn every_member_of_the_workspace_stands_in_the_table() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, rest) = manifest.split_once("members = [").unwrap();
    let (list, _) = rest.split_once(']').unwrap();
    let members: BTreeSet<&str> =
        list.split(',').map(|member| member.trim().trim_matches('"')).filter(|member| !member.is_empty()).collect();
    let table: BTreeSet<&str> = PACKAGES.iter().map(|package| package.dir).collect();
    assert_eq!(members, table);
}

#[test]
fn files_are_short_or_say_why_not() {
    let faults: Vec<String> = sources()
        .into_iter()
        .filter_map(|(path, text)| {
            let lines = text.lines().count();
            let explained = text.lines().take(40).any(|line| line.contains(LONG_FILE_REASON));
            (lines > LINES_MAX && !explained).then(|| format!("{path}: {lines} lines"))
        })
        .collect();
    assert!(faults.is_empty(), "files over {LINES_MAX} lines without \"{LONG_FILE_REASON} …\":\n{}", faults.join("\n"));
}

#[test]
fn names_of_files_and_modules_say_what_is_inside() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let empty =
            Path::new(&path).iter().filter_map(|part| Path::new(part).file_stem()?.to_str()).any(|part| EMPTY_NAMES.contains(&part));
        if empty {
            faults.push(path.clone());
        }
        for line in text.lines() {
            let name = line.trim().trim_start_matches("pub ").trim_start_matches("pub(crate) ").strip_prefix("mod ");
            if let Some(name) = name
                && EMPTY_NAMES.contains(&name.trim_end_matches([';', '{', ' ']))
            {
                faults.push(format!("{path}: {line}"));
            }
        }
    }
    assert!(faults.is_empty(), "names that say nothing:\n{}", faults.join("\n"));
}

#[test]
fn nothing_is_left_to_do() {
    // Written in pieces, so that this file does not find itself.
    let words = [["to", "do!("], ["unimple", "mented!("], ["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].map(|pieces| pieces.concat());
    let faults = lines_with(|line| words.iter().any(|word| contains_word(line, word)));
    assert!(faults.is_empty(), "work left behind:\n{}", faults.join("\n"));
}

#[test]
fn unsafe_code_stands_in_one_file() {
    let word = ["un", "safe"].concat();
    let files: BTreeSet<String> = sources()
        .into_iter()
        .filter(|(_, text)| text.lines().any(|line| !line.trim_start().starts_with("//") && opens_block(line, &word)))
        .map(|(path, _)| path)
        .collect();
    let outside: Vec<&String> = files.iter().filter(|path| !path.starts_with("host/sandbox/src/")).collect();
    assert!(outside.is_empty(), "unsafe outside the sandbox: {outside:?}");
    assert!(files.len() <= 1, "unsafe in more than one file: {files:?}");
}

/// The page links each test by its name to its file. A fact of the connectors' conformance is run by name on each target. Behind the link of
/// a test that takes more time or room than the suite has, which runs all others, it says "on request".
#[test]
fn every_test_that_the_page_of_edge_cases_names_exists_and_runs() {
    let page = std::fs::read_to_string(root().join("docs/edge-cases.md")).expect("the page is there");
    fn link(text: &str) -> Option<(&str, &str, bool)> {
        let (name, rest) = text.split_once("`](../")?;
        let (path, rest) = rest.split_once(')')?;
        Some((name, path, rest.starts_with(" on request")))
    }
    let named: BTreeSet<(&str, &str, bool)> = page.split("[`").skip(1).filter_map(link).collect();
    assert!(named.len() > 150, "the page names {} tests", named.len());
    let sources: std::collections::HashMap<String, String> = sources().into_iter().collect();
    let runs = |name: &str, path: &str, on_request: bool| {
        let Some(text) = sources.get(path) else { return false };
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let Some(place) = lines.iter().position(|line| line.contains(&format!("fn {name}("))) else { return false };
        if path.starts_with("host/connector/src/conformance/") {
            let call = format!("facts::{name}(");
            return ["host/postgres", "host/mysql"].iter().all(|of| sources[&format!("{of}/tests/target_facts.rs")].contains(&call));
        }
        let attributes: Vec<&&str> =
            lines[..place].iter().rev().take_while(|line| line.starts_with('#') || line.starts_with("//")).collect();
        attributes.iter().any(|line| line.contains("test")) && attributes.iter().any(|line| line.starts_with("#[ignore")) == on_request
    };
    let faults: Vec<String> = named
        .iter()
        .filter(|(name, path, on_request)| !runs(name, path, *on_request))
        .map(|(name, path, _)| format!("{path}: {name}"))
        .collect();
    assert!(faults.is_empty(), "tests that the page names and nobody runs:\n{}", faults.join("\n"));
}

/// True for `unsafe {`, `unsafe fn`, `unsafe impl`, `unsafe extern`: not for names of lints that contain the word.
fn opens_block(line: &str, word: &str) -> bool {
    ["{", "fn", "impl", "extern", "trait"].iter().any(|next| line.contains(&format!("{word} {next}")))
}

/// True when the word stands alone, not within a longer one.
fn contains_word(line: &str, word: &str) -> bool {
    let letter = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    line.match_indices(word).any(|(start, _)| {
        let open = word.ends_with('(');
        !letter(line[..start].chars().next_back()) && (open || !letter(line[start + word.len()..].chars().next()))
    })
}

fn lines_with(fault: impl Fn(&str) -> bool) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        for (index, line) in text.lines().enumerate().filter(|(_, line)| fault(line)) {
            faults.push(format!("{path}:{}: {}", index + 1, line.trim()));
        }
    }
    faults
}

/// Every Rust source file of the tree with its path from the root; build output and checked-in generated code left out.
fn sources() -> Vec<(String, String)> {
    let (root, mut files) = (root(), Vec::new());
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
            let path = entry.expect("the folder can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Cargo marks its build folders; a source folder may well be called `target`.
            let built = path.join("CACHEDIR.TAG").exists() || path == root.join("target") || name == "node_modules";
            if path.is_dir() && !built && !name.starts_with('.') {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file is readable text");
                files.push((path.strip_prefix(&root).expect("it lies below").display().to_string(), text));
            }
        }
    }
    files.sort();
    assert!(files.len() > 20, "the tree has more files than {}", files.len());
    files
}

#[test]
fn manifests_are_read_by_section() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\ntokio.workspace = true\nserde = { version = \"1\" }\n# sqlx = 1\n\
                    [dev-dependencies]\nsqlx.workspace = true\n[lints]\nworkspace = true\n";
    assert_eq!(dependencies(manifest, false).into_iter().collect::<Vec<_>>(), ["serde", "tokio"]);
    assert_eq!(dependencies(manifest, true).into_iter().collect::<Vec<_>>(), ["serde", "sqlx", "tokio"]);
}
