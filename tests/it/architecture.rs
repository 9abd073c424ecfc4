//! Keeps the module table of ARCHITECTURE.md: who may know whom, no cycles, a caption on each file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Module → modules of the same crate that it may name. Kept in the order in which they depend on each other: a
/// module may only name modules further down, so there can be no cycles.
const SERVER: &[(&str, &[&str])] = &[
    (
        "app",
        &[
            "config",
            "http",
            "acme",
            "admission",
            "delivery",
            "upload",
            "jobs",
            "cache",
            "media",
            "origin",
            "store",
        ],
    ),
    (
        "config",
        &["http", "acme", "admission", "delivery", "upload", "jobs", "cache", "media", "origin", "store"],
    ),
    ("http", &["acme", "admission", "delivery", "upload", "jobs"]),
    ("acme", &[]),
    ("admission", &[]),
    ("upload", &["jobs", "store"]),
    ("delivery", &["jobs", "cache", "media", "origin"]),
    ("jobs", &["media", "store"]),
    ("cache", &[]),
    ("media", &[]),
    ("origin", &[]),
    ("store", &[]),
];

/// A straight line: each may name all below it. `scaling` and `notify` do not know each other.
const SIDECAR: &[(&str, &[&str])] = &[
    (
        "app",
        &[
            "unit_test",
            "config",
            "http",
            "scaling",
            "notify",
            "rules",
            "promql",
            "series",
            "collect",
            "scrape",
            "discovery",
            "relabel",
            "durable",
            "events",
            "model",
        ],
    ),
    ("unit_test", &["config", "rules", "promql", "series", "scrape", "model"]),
    (
        "config",
        &[
            "http",
            "scaling",
            "notify",
            "rules",
            "promql",
            "series",
            "collect",
            "scrape",
            "discovery",
            "relabel",
            "durable",
            "model",
        ],
    ),
    (
        "http",
        &[
            "scaling",
            "notify",
            "rules",
            "promql",
            "series",
            "collect",
            "scrape",
            "discovery",
            "relabel",
            "durable",
            "events",
            "model",
        ],
    ),
    ("scaling", &["rules", "promql", "series", "scrape", "discovery", "relabel", "durable", "model"]),
    ("notify", &["rules", "promql", "series", "scrape", "discovery", "relabel", "durable", "model"]),
    ("rules", &["promql", "series", "scrape", "discovery", "relabel", "durable", "model"]),
    ("promql", &["series", "scrape", "discovery", "relabel", "durable", "model"]),
    ("series", &["scrape", "discovery", "relabel", "durable", "model"]),
    ("collect", &["scrape"]),
    ("scrape", &["discovery", "relabel", "model"]),
    ("discovery", &["relabel", "model"]),
    ("relabel", &["model"]),
    ("durable", &[]),
    ("events", &[]),
    ("model", &[]),
];

#[test]
fn tables_have_no_cycles() {
    for table in [SERVER, SIDECAR] {
        let place: BTreeMap<_, _> =
            table.iter().enumerate().map(|(place, (module, _))| (*module, place)).collect();
        for (module, known) in table {
            for other in *known {
                assert!(place[other] > place[module], "{module} may know {other}, which stands above it");
            }
        }
    }
}

#[test]
fn the_server_keeps_its_table() {
    keeps("src", SERVER);
}

#[test]
fn the_sidecar_keeps_its_table() {
    keeps("sidecar/src", SIDECAR);
}

#[test]
fn only_the_http_face_knows_actix() {
    for file in rust_files(&root().join("src")) {
        let module = module_of(&root().join("src"), &file);
        let text = fs::read_to_string(&file).unwrap();
        assert!(module == "http" || !text.contains("actix_web"), "{} names actix", file.display());
    }
}

#[test]
fn every_file_has_a_caption() {
    for dir in ["src", "kit/src", "sidecar/src", "tests", "sidecar/tests", "benches"] {
        for file in rust_files(&root().join(dir)) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("//! "), "{} does not begin with a //! caption", file.display());
        }
    }
}

#[test]
fn references_are_found_in_every_form() {
    let text = "use crate::cache::Key;\nuse crate::{\n    media::{image, pool},\n    origin,\n};\nlet x = crate::config::y();";
    let found: Vec<_> = references(text).into_iter().collect();
    assert_eq!(found, ["cache", "config", "media", "origin"]);
}

fn keeps(dir: &str, table: &[(&str, &[&str])]) {
    let dir = root().join(dir);
    let modules: BTreeSet<_> = table.iter().map(|(module, _)| *module).collect();
    let mut broken = Vec::new();
    for file in rust_files(&dir) {
        let module = module_of(&dir, &file);
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let Some((_, known)) = table.iter().find(|(name, _)| *name == module) else {
            broken.push(format!("{}: module {module} is not in the table", file.display()));
            continue;
        };
        for other in references(&fs::read_to_string(&file).unwrap()) {
            if other != module && modules.contains(other.as_str()) && !known.contains(&other.as_str()) {
                broken.push(format!("{}: {module} must not know {other}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Top-level modules that a source text names by `crate::…`.
fn references(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.extend(name(rest)),
            Some(group) => {
                let mut depth = 0;
                let mut start = true;
                for (at, byte) in group.char_indices() {
                    match byte {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        _ if start && depth == 0 && !byte.is_whitespace() => {
                            found.extend(name(&group[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

fn name(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == '_').collect();
    (!name.is_empty()).then_some(name)
}

fn module_of(dir: &Path, file: &Path) -> String {
    let first = file.strip_prefix(dir).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
