//! The prose: the first words of documentation, and expressions that are not used.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Words that no doc comment begins with.
const OPENERS: [&str; 8] = [
    "What", "Who", "That", "How", "Whether", "Where", "Which", "Why",
];

/// Expressions that are not used, in lower case.
const UNUSED: [&str; 18] = [
    "unless told otherwise",
    "is told",
    "are told",
    "it tells",
    "of its own accord",
    "comes to be",
    "none that has none",
    "not kept",
    "that it is to",
    "is gone",
    "are gone",
    "as it likes",
    "come to nothing",
    "have their turn",
    "be told",
    "of no account",
    "a word of",
    "says so itself",
];

/// The files whose prose is checked.
fn files(extension: &str) -> Vec<PathBuf> {
    fn visit(folder: &Path, extension: &str, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    visit(&path, extension, files);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    visit(&root, extension, &mut files);
    files
}

/// The doc comments of a file, each with its line and with the first line of the code after it.
fn doc_comments(text: &str) -> Vec<(usize, String, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let Some(first) = lines[at].trim_start().strip_prefix("/// ") else {
            at += 1;
            continue;
        };
        let start = at;
        while at < lines.len() && lines[at].trim_start().starts_with("///") {
            at += 1;
        }
        // Attributes come first, and may span lines.
        let mut depth = 0_i32;
        let code = lines[at..]
            .iter()
            .map(|line| line.trim_start())
            .find(|line| {
                let is_attribute = depth > 0 || line.starts_with("#[");
                if is_attribute {
                    depth += line.matches('[').count() as i32 - line.matches(']').count() as i32;
                }
                !is_attribute
            });
        let code = code.unwrap_or_default();
        found.push((start + 1, first.to_owned(), code.to_owned()));
    }
    found
}

fn is_function(code: &str) -> bool {
    let code = code.strip_prefix("pub(").map_or(code, |rest| {
        rest.split_once(") ").map_or(rest, |(_, rest)| rest)
    });
    let code = code.strip_prefix("pub ").unwrap_or(code);
    ["fn ", "const fn ", "async fn "]
        .iter()
        .any(|prefix| code.starts_with(prefix))
}

/// Returns whether a word is a verb in the third person, as far as its ending shows.
fn is_verb(word: &str) -> bool {
    word.starts_with(char::is_uppercase) && word.ends_with('s') && !word.ends_with("ss")
}

#[test]
fn the_documentation_of_a_function_begins_with_a_verb() {
    let mut slips = Vec::new();
    for path in files("rs") {
        if !path.to_str().unwrap().contains("/src/") {
            continue;
        }
        for (line, first, code) in doc_comments(&fs::read_to_string(&path).unwrap()) {
            let word = first.split_whitespace().next().unwrap_or_default();
            if is_function(&code) && !is_verb(word) {
                slips.push(format!("{}:{line}: {first}", path.display()));
            }
        }
    }
    assert!(slips.is_empty(), "no verb:\n{}", slips.join("\n"));
}

#[test]
fn no_documentation_begins_with_a_clause() {
    let mut slips = Vec::new();
    for path in files("rs") {
        for (line, first, _) in doc_comments(&fs::read_to_string(&path).unwrap()) {
            let word = first.split(' ').next().unwrap();
            if OPENERS.contains(&word) {
                slips.push(format!("{}:{line}: {first}", path.display()));
            }
        }
    }
    assert!(slips.is_empty(), "clauses:\n{}", slips.join("\n"));
}

#[test]
fn unused_expressions_are_not_used() {
    let mut slips = Vec::new();
    for path in files("rs").into_iter().chain(files("md")) {
        if path.ends_with("tests/suite/prose.rs") {
            continue;
        }
        for (line, text) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let lower = text.to_lowercase();
            let slip = UNUSED
                .iter()
                .find(|expression| lower.contains(**expression));
            if let Some(slip) = slip {
                slips.push(format!("{}:{}: {slip}", path.display(), line + 1));
            }
        }
    }
    assert!(slips.is_empty(), "expressions:\n{}", slips.join("\n"));
}
