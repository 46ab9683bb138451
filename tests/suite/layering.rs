//! The layers: a file imports only from files below it, and only what its layer may.

use std::{collections::BTreeMap, fs, path::Path};

/// Each file and its layer, from the bottom up: a file imports only from those above its row. A
/// new file gets a row here first.
const LAYERS: [(&str, u32); 24] = [
    ("field", 0),
    ("retry", 0),
    ("output", 0),
    ("jitter", 0),
    ("json_line", 0),
    ("encode", 0),
    ("event", 0),
    ("json", 0),
    ("encoded_event", 0),
    ("decode", 0),
    ("request", 1),
    ("keep_alive", 1),
    ("close", 1),
    ("full", 1),
    ("telemetry", 2),
    ("connections", 2),
    ("events", 2),
    ("timer", 2),
    ("written", 2),
    ("body", 2),
    ("response", 3),
    ("hub", 3),
    ("adapter", 4),
    ("lib", 5),
];

/// What a layer may not name, because only those above it may.
const FROM_LAYER: [(&str, u32); 14] = [
    ("futures_core", 2),
    ("http_body", 2),
    ("pin_project_lite", 2),
    ("tokio", 1),
    ("Instant::now", 2),
    ("Sleep", 2),
    ("http::", 1),
    ("actix", 4),
    ("axum", 4),
    ("poem", 4),
    ("rocket", 4),
    ("salvo", 4),
    ("warp", 4),
    ("spawn", 5),
];

/// The code of a file: without its tests, comments and literals of bytes.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn files() -> BTreeMap<String, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src");
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension != "rs") {
            continue; // a page of the documentation
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut paths = vec![path.clone()];
        if path.is_dir() {
            paths = fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
        }
        files.insert(name, paths.iter().map(|path| code(path)).collect());
    }
    files
}

/// The modules of the crate that a file imports from.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let list = match rest.strip_prefix('{') {
            Some(list) => &list[..list.find(";").unwrap()],
            None => &rest[..rest.find([':', ';', '<', '(', ' ']).unwrap()],
        };
        for (module, _) in LAYERS {
            let named = |text: &str| {
                text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
                    .any(|word| word == module)
            };
            if named(list) {
                found.push(module.to_owned());
            }
        }
    }
    found
}

/// Where a file stands in the table.
fn row(module: &str) -> usize {
    let row = LAYERS.iter().position(|(name, _)| *name == module);
    row.unwrap_or_else(|| panic!("src/{module} has no row in the table"))
}

fn layer(module: &str) -> u32 {
    LAYERS[row(module)].1
}

#[test]
fn a_file_imports_only_from_those_below_it() {
    for (module, code) in files() {
        for import in imports(&code) {
            let below = row(&import) < row(&module) || import == module;
            assert!(below, "{module} imports from {import}");
        }
    }
}

#[test]
fn a_file_names_only_what_its_layer_may() {
    for (module, code) in files() {
        for (name, from) in FROM_LAYER {
            assert!(
                !code.contains(name) || layer(&module) >= from,
                "{module} names {name}"
            );
        }
    }
}

#[test]
fn every_row_of_the_table_is_a_file() {
    let files = files();
    for (module, _) in LAYERS {
        assert!(files.contains_key(module), "no src/{module}");
    }
}

/// Only `encode.rs` writes a colon or a line end, and only `decode.rs` reads them; `json_line.rs`
/// drops line ends.
#[test]
fn wire_syntax_is_written_in_one_place() {
    for (module, code) in files() {
        let writes = [
            "b\":", "b\"data", "b\"id", "b\"event", "b\"retry", "b\"\\n", "b'\\n'",
        ];
        let found = writes.iter().find(|bytes| code.contains(**bytes));
        assert!(
            ["encode", "decode", "json_line"].contains(&&*module) || found.is_none(),
            "{module} has {found:?}"
        );
    }
}
