//! A check of the layers. A file imports only from files above it in a table, and uses only the
//! names that its layer may use.
//!
//! Three things are rejected: an import that does not point upwards in [`ROWS`], a name of
//! [`FROM_LAYER`] below its layer, and wire syntax in a literal outside of [`WIRE_SYNTAX`].

use std::{collections::BTreeMap, fs, path::Path};

/// Each file and its layer, with the lowest layer first. A new file gets a row here first.
const ROWS: [(&str, u32); 114] = [
    ("slots", 0),
    ("wake", 0),
    ("wire/retry", 0),
    ("wire/field", 0),
    ("wire/output", 0),
    ("wire/json_line", 0),
    ("wire/encode", 0),
    ("wire/check", 0),
    ("wire/item", 0),
    ("wire/event", 0),
    ("wire/json", 0),
    ("wire/encoded_event", 0),
    ("wire/decoded", 0),
    ("wire/decoder", 0),
    ("wire", 0),
    ("request", 1),
    ("body/keep_alive", 1),
    ("body/jitter", 1),
    ("connections/report", 1),
    ("connections/admit_error", 1),
    ("body/deadlines", 1),
    ("connections/telemetry", 2),
    ("connections/info", 2),
    ("connections/keys", 2),
    ("connections/sums", 2),
    ("connections/registry", 2),
    ("connections/streams", 2),
    ("connections/permit", 2),
    ("connections", 2),
    ("decode", 2),
    ("body/options", 2),
    ("body/timer", 2),
    ("body/last_frame", 2),
    ("body/account", 2),
    ("body/read", 2),
    ("body/poll", 2),
    ("body", 2),
    ("response", 3),
    ("hub/sync", 3),
    ("hub/position", 3),
    ("hub/log", 3),
    ("hub/encoded_events", 3),
    ("hub/reset", 3),
    ("hub/publish_error", 3),
    ("hub/info", 3),
    ("hub/log_status", 3),
    ("hub/on_lag", 3),
    ("hub/keys", 3),
    ("hub/history", 3),
    ("hub/item", 3),
    ("hub/beginning", 3),
    ("hub/piece", 3),
    ("hub/runs", 3),
    ("hub/listener", 3),
    ("hub/seats", 3),
    ("hub/counts", 3),
    ("hub/topic", 3),
    ("hub/waiting", 3),
    ("hub/finished", 3),
    ("hub/interrupted", 3),
    ("hub/topics", 3),
    ("hub/order", 3),
    ("hub/memory", 3),
    ("hub/sets", 3),
    ("hub/watchers", 3),
    ("hub/metrics", 3),
    ("hub/publish_options", 3),
    ("hub/contact", 3),
    ("hub/known", 3),
    ("hub/missed", 3),
    ("hub/backing", 3),
    ("hub/shared", 3),
    ("hub/evict", 3),
    ("hub/add", 3),
    ("hub/read", 3),
    ("hub/one", 3),
    ("hub/place", 3),
    ("hub/changes", 3),
    ("hub/unread", 3),
    ("hub/place_list", 3),
    ("hub/merge", 3),
    ("hub/many", 3),
    ("hub/handle", 3),
    ("hub/latest", 3),
    ("hub/replay", 3),
    ("hub/places", 3),
    ("hub/progress", 3),
    ("hub/subscription", 3),
    ("hub/demand", 3),
    ("hub/hub", 3),
    ("hub/builder", 3),
    ("hub/memory_log", 3),
    ("hub/follow", 3),
    ("hub/distributed", 3),
    ("hub/redis/mark", 3),
    ("hub/redis/keys", 3),
    ("hub/redis/script", 3),
    ("hub/redis/warning", 3),
    ("hub/redis/error", 3),
    ("hub/redis/entry", 3),
    ("hub/redis/server", 3),
    ("hub/redis/connection", 3),
    ("hub/redis/check", 3),
    ("hub/redis/store", 3),
    ("hub/redis/tail", 3),
    ("hub/redis/log", 3),
    ("hub/redis/builder", 3),
    ("hub/redis", 3),
    ("hub", 3),
    ("adapter/no_stream", 4),
    ("adapter/frameworks", 4),
    ("adapter", 4),
    ("guide", 5),
    ("lib", 5),
];

/// Names that only this layer and those above it may use.
const FROM_LAYER: [(&str, u32); 14] = [
    ("tokio", 1),
    ("http::", 1),
    ("futures_core", 2),
    ("http_body", 2),
    ("pin_project_lite", 2),
    ("Instant::now", 2),
    ("Sleep", 2),
    ("actix", 4),
    ("axum", 4),
    ("poem", 4),
    ("rocket", 4),
    ("salvo", 4),
    ("warp", 4),
    ("spawn", 5),
];

/// The files that write or read wire syntax. `check` has the encoder's fields as a table,
/// `json_line` drops line ends, and `field` rejects them.
const WIRE_SYNTAX: [&str; 5] = [
    "wire/encode",
    "wire/field",
    "wire/check",
    "wire/decoder",
    "wire/json_line",
];

/// Returns the files of `src` by module: `wire/event`, and `wire` for `wire/mod.rs`.
fn files() -> BTreeMap<String, String> {
    fn visit(folder: &Path, module: &str, files: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let below = |name| match module {
                "" => String::from(name),
                module => format!("{module}/{name}"),
            };
            if path.is_dir() {
                visit(&path, &below(name), files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module = if name == "mod" {
                    module.into()
                } else {
                    below(name)
                };
                files.insert(module, code(&fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut files = BTreeMap::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src");
    visit(&source, "", &mut files);
    files
}

/// Returns the code of a file without tests, comments and features, which are named after crates.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code.lines().map(|line| match line.trim_start() {
        left_out if left_out.starts_with("//") || left_out.starts_with("#[cfg(") => "",
        _ => line.split(" // ").next().unwrap(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the paths in a file that begin in this crate, such as `crate::wire::Event`. A list in
/// braces becomes one path for each name.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(root) {
            let is_visibility = code[..at].ends_with("pub(in ");
            let is_start = !is_visibility
                && !code[..at].ends_with(|c: char| c.is_alphanumeric() || ":_".contains(c));
            if is_start {
                let mut found = Vec::new();
                expand(&mut &code[at..], &[], &mut found);
                // In a module within the file, `super` is the file.
                if code[..at].ends_with("    use ") {
                    found.iter_mut().for_each(|path| drop(path.remove(0)));
                }
                paths.append(&mut found);
            }
        }
    }
    paths
}

/// Reads one path of a `use`, or the list in its braces.
fn expand(rest: &mut &str, before: &[String], paths: &mut Vec<Vec<String>>) {
    let mut path = before.to_vec();
    loop {
        *rest = rest.trim_start();
        if let Some(list) = rest.strip_prefix('{') {
            *rest = list;
            loop {
                *rest = rest.trim_start_matches([' ', '\n', ',']);
                if let Some(after) = rest.strip_prefix('}') {
                    *rest = after;
                    return;
                }
                expand(rest, &path, paths);
            }
        }
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        assert!(!name.is_empty(), "a path continues with {rest:.20?}");
        path.push(name.to_owned());
        *rest = after;
        match rest.strip_prefix("::") {
            Some(after) if !after.starts_with('<') => *rest = after,
            _ => break,
        }
    }
    paths.push(path);
}

/// Returns the file that defines the target of a path. Follows the re-exports of a folder.
fn resolve(files: &BTreeMap<String, String>, from: &str, path: &[String]) -> String {
    let parent = |module: &str| {
        module
            .rsplit_once('/')
            .map_or("lib", |(parent, _)| parent)
            .to_owned()
    };
    let mut module = from.to_owned();
    for (depth, name) in path.iter().enumerate() {
        let child = match &*module {
            "lib" => name.clone(),
            module => format!("{module}/{name}"),
        };
        let is_folder = |child: &String| {
            files
                .keys()
                .any(|file| file.starts_with(&format!("{child}/")))
        };
        match &**name {
            "crate" => module = "lib".into(),
            "super" => module = parent(&module),
            "self" => {}
            _ if files.contains_key(&child) || is_folder(&child) => module = child,
            _ => {
                let exported = files.get(&module).and_then(|code| {
                    let uses = code.lines().enumerate().filter_map(|(line, text)| {
                        let list = ["use ", "pub use ", "pub(crate) use "];
                        let rest = list.iter().find_map(|list| text.strip_prefix(list))?;
                        let tail: Vec<&str> = code.lines().skip(line + 1).collect();
                        let whole = format!("{rest}\n{}", tail.join("\n"));
                        let whole = &whole[..whole.find(';').unwrap()];
                        Some(format!("self::{}", whole.trim_start_matches("self::")))
                    });
                    let mut exports = uses.flat_map(|list| {
                        let mut paths = Vec::new();
                        expand(&mut &*list, &[], &mut paths);
                        paths
                    });
                    exports.find(|export| export.last() == Some(name) && export.len() > 2)
                });
                // The name is defined in this module, or follows a name that is not a module.
                let Some(export) = exported.filter(|_| depth > 0 && is_table(&module)) else {
                    return module;
                };
                return resolve(files, &module, &export);
            }
        }
    }
    module
}

/// Returns whether a module is a folder, whose names may come from its files.
fn is_table(module: &str) -> bool {
    ["lib", "wire", "body", "connections", "hub", "hub/redis"].contains(&module)
}

fn row(module: &str) -> usize {
    // Adapters do not import each other, so they share a row.
    let module = match module.strip_prefix("adapter/") {
        None | Some("no_stream") => module,
        Some(_) => "adapter/frameworks",
    };
    let row = ROWS.iter().position(|(name, _)| *name == module);
    row.unwrap_or_else(|| panic!("src/{module} has no row in the table"))
}

fn layer(module: &str) -> u32 {
    ROWS[row(module)].1
}

/// Returns the contents of all string, byte string, byte and character literals, as written.
fn literals(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(['"', '\'']) {
        let quote = &rest[start..=start];
        let body = &rest[start + 1..];
        let mut end = 0;
        while !body[end..].starts_with(quote) && end < body.len() {
            let escaped = body[end..].starts_with('\\');
            end += if escaped {
                2
            } else {
                body[end..].chars().next().unwrap().len_utf8()
            };
        }
        // A lifetime has no second quote nearby.
        if quote == "'" && end > 4 {
            rest = body;
            continue;
        }
        found.push(&body[..end]);
        rest = &body[end + 1..];
    }
    found
}

#[test]
fn files_import_only_from_files_above_them() {
    let files = files();
    for (module, code) in &files {
        for path in paths(code) {
            let import = resolve(&files, module, &path);
            let is_own = import == *module;
            assert!(
                is_own || row(&import) < row(module),
                "{module} imports {} from {import}",
                path.join("::")
            );
        }
    }
}

#[test]
fn files_use_only_names_of_their_layer() {
    for (module, code) in files() {
        for (name, from) in FROM_LAYER {
            assert!(
                !code.contains(name) || layer(&module) >= from,
                "{module} uses {name}"
            );
        }
    }
}

#[test]
fn every_row_has_a_file() {
    let files = files();
    for (module, _) in ROWS {
        let exists = files.contains_key(module) || module == "adapter/frameworks";
        assert!(exists, "src/{module} does not exist");
    }
}

#[test]
fn wire_syntax_is_written_in_one_place() {
    for (module, code) in files() {
        for literal in literals(&code) {
            let fields = ["data:", "event:", "id:", "retry:"];
            let is_syntax = literal.starts_with(':')
                || ["\\n", "\\r"].iter().any(|end| literal.contains(end))
                || fields.iter().any(|field| literal.starts_with(field));
            assert!(
                !is_syntax || WIRE_SYNTAX.contains(&&*module),
                "{module} contains {literal:?}"
            );
        }
    }
}

/// Shows that the other tests detect imports and literals.
#[test]
fn forbidden_imports_and_literals_are_found() {
    let files = BTreeMap::from(
        [
            (
                "lib",
                "mod wire;\nmod body;\npub use body::SseBody;\npub use wire::Event;",
            ),
            (
                "wire",
                "pub use self::{event::Event, retry::{Retry, InvalidRetry}};",
            ),
            (
                "wire/event",
                "use super::retry::Retry; fn f() { crate::SseBody::new() }",
            ),
            ("wire/retry", ""),
            (
                "body",
                "use crate::wire::{Event, InvalidRetry}; use self::timer::{Timer};",
            ),
            (
                "body/timer",
                "use super::SseBody; use super::super::wire::Retry;",
            ),
        ]
        .map(|(file, code)| (file.to_owned(), code.to_owned())),
    );
    let resolved = |module: &str| {
        let paths = paths(&files[module]);
        let resolved = paths.iter().map(|path| resolve(&files, module, path));
        resolved.collect::<Vec<_>>()
    };
    assert_eq!(resolved("wire/event"), ["body", "wire/retry"]);
    assert_eq!(resolved("body"), ["wire/event", "wire/retry", "body/timer"]);
    assert_eq!(resolved("body/timer"), ["body", "wire/retry"]);

    let code = r#"fn f<'a>() { g("data: x", b':', b"\n", 'x', "a \" b") }"#;
    assert_eq!(literals(code), ["data: x", ":", "\\n", "x", "a \\\" b"]);
}
