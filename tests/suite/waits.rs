//! A check that every wait in the tests has a deadline.
//!
//! `cargo test --test suite waits -- --nocapture` lists them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The functions of `support/deadline.rs` that wait. The deadline is [`PATIENCE`] or an argument.
///
/// [`PATIENCE`]: crate::deadline::PATIENCE
const DEADLINES: [&str; 4] = ["within", "within_time", "until", "finished"];

/// The functions of clocks and schedulers, which end by themselves.
const CLOCK: [&str; 4] = ["sleep", "sleep_until", "advance", "yield_now"];

/// Calls that block a thread without a deadline.
const BLOCKING: [&str; 18] = [
    ".recv()",
    ".blocking_recv()",
    ".blocking_lock()",
    ".join()",
    ".wait()",
    ".wait_with_output()",
    ".output()",
    "park()",
    ".incoming()",
    "select!",
    ".read(",
    ".read_exact(",
    ".read_line(",
    ".read_to_end(&",
    ".read_to_string(",
    ".write_all(",
    "TcpStream::connect(",
    "thread::scope(",
];

/// Methods of tokio, futures and hyper that wait without a deadline. The async methods of the tests
/// have other names, because the check only sees the name.
const FOREIGN: [&str; 20] = [
    "accept",
    "acquire",
    "changed",
    "closed",
    "collect",
    "connect",
    "flush",
    "frame",
    "handshake",
    "join_next",
    "lock",
    "next",
    "notified",
    "read",
    "read_buf",
    "read_exact",
    "read_to_end",
    "recv",
    "send_request",
    "write_all",
];

/// Markers of a wait without a deadline of its own, on the same line or the line above. An example
/// is a server that accepts connections in a task that the test aborts.
const FOR_GOOD: [&str; 2] = ["waits for good:", "has a deadline:"];

/// Files that are not checked: those that implement deadlines, and this one.
const WITHOUT: [&str; 3] = ["support/deadline.rs", "support/http1.rs", "suite/waits.rs"];

/// A file of the tests.
struct File {
    name: String,
    /// The text with spaces instead of comments and literals. All bytes keep their positions.
    code: String,
    text: String,
}

/// A called function before an `.await`.
#[derive(Debug)]
struct Callee<'a> {
    name: &'a str,
    is_method: bool,
}

fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            if path.is_dir() && !["interleavings", "msrv"].contains(&&*name) {
                folders.push(path);
            } else if name.ends_with(".rs") && !WITHOUT.contains(&&*name) {
                let text = fs::read_to_string(path).unwrap();
                let code = without_literals(&text);
                files.push(File { name, code, text });
            }
        }
    }
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    files
}

/// Replaces comments and literals with spaces.
fn without_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        let raw = rest
            .iter()
            .skip(1)
            .take_while(|byte| **byte == b'#')
            .count();
        let length = if rest.starts_with(b"//") {
            rest.iter().position(|byte| *byte == b'\n')
        } else if rest.starts_with(b"/*") {
            let end = rest.windows(2).position(|two| two == b"*/");
            end.map(|end| end + 2)
        } else if rest[0] == b'r' && rest.get(1 + raw) == Some(&b'"') {
            let end = format!("\"{}", "#".repeat(raw));
            let inner = &rest[raw + 2..];
            let inner = inner.windows(end.len()).position(|w| w == end.as_bytes());
            inner.map(|inner| raw + 2 + inner + end.len())
        } else if rest[0] == b'"' {
            let mut end = 1;
            while rest[end] != b'"' {
                end += if rest[end] == b'\\' { 2 } else { 1 };
            }
            Some(end + 1)
        } else if rest.starts_with(b"'\\") {
            rest[3..]
                .iter()
                .position(|byte| *byte == b'\'')
                .map(|end| end + 4)
        } else if rest[0] == b'\'' && rest.get(2) == Some(&b'\'') {
            rest[2..]
                .iter()
                .position(|byte| *byte == b'\'')
                .map(|end| end + 3)
        } else {
            at += 1;
            continue;
        };
        let end = length.map_or(bytes.len(), |length| at + length);
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(code).unwrap()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Returns the word that ends at `end`.
fn word_before(code: &str, end: usize) -> &str {
    let word = code[..end].bytes().rev().take_while(|byte| is_word(*byte));
    &code[end - word.count()..end]
}

/// Returns the function whose future is awaited at `at`, or `None` if that is not a call.
fn callee(code: &str, at: usize) -> Option<Callee<'_>> {
    let mut end = code[..at].trim_end().len();
    let mut depth = 0_usize;
    for byte in code[..end].bytes().rev() {
        depth += usize::from(byte == b')');
        if depth == 0 {
            return None;
        }
        depth -= usize::from(byte == b'(');
        end -= 1;
        if depth == 0 {
            break;
        }
    }
    if code[..end].ends_with('>') {
        end = code[..end].rfind("::<")?;
    }
    let name = word_before(code, end);
    let is_method = code[..end - name.len()].trim_end().ends_with('.');
    Some(Callee { name, is_method })
}

/// Returns the code after a call. Its name, or its name and opening parenthesis, ends at `end`.
fn after_call(code: &str, end: usize) -> &str {
    let mut depth = usize::from(code[..end].trim_end_matches('&').ends_with('('));
    let mut rest = &code[end..];
    while depth > 0 {
        let next = rest.find(['(', ')']).expect("the call is closed");
        depth = if rest[next..].starts_with('(') {
            depth + 1
        } else {
            depth - 1
        };
        rest = &rest[next + 1..];
    }
    rest.trim_start()
}

/// Returns the async methods of the tests, and the other async functions and closures. Their waits
/// are checked where they are defined.
fn async_functions(files: &[File]) -> [BTreeSet<&str>; 2] {
    let [mut methods, mut functions] = [BTreeSet::new(), BTreeSet::new()];
    for file in files {
        for (at, _) in file.code.match_indices("async fn ") {
            let rest = &file.code[at + "async fn ".len()..];
            let name = rest
                .split(|c: char| !(c.is_alphanumeric() || c == '_'))
                .next();
            let arguments = &rest[rest.find('(').unwrap()..];
            let first = arguments[1..].trim_start();
            let first = first.trim_start_matches(['&']).trim_start_matches("mut ");
            match first.starts_with("self") {
                true => methods.insert(name.unwrap()),
                false => functions.insert(name.unwrap()),
            };
        }
        for closure in ["= async |", "= async move |"] {
            for (at, _) in file.code.match_indices(closure) {
                functions.insert(word_before(&file.code, file.code[..at].trim_end().len()));
            }
        }
    }
    [methods, functions]
}

#[test]
fn every_wait_has_a_deadline() {
    let files = files();
    let [methods, functions] = async_functions(&files);
    let mut without = Vec::new();
    let mut count = 0;
    for file in &files {
        let line = |at: usize| file.code[..at].matches('\n').count();
        let lines: Vec<_> = file.text.lines().collect();
        let for_good = |line: usize| {
            let says = |line: usize| FOR_GOOD.iter().any(|it| lines[line].contains(it));
            says(line) || line > 0 && says(line - 1)
        };
        for (at, found) in file.code.match_indices("block_on(") {
            let rest = after_call(&file.code, at + found.len());
            let end = file.code.len() - rest.len();
            let end = file.code[..end].trim_end().len() - 1;
            let future = callee(&file.code, end);
            if future.is_some_and(|it| it.is_method && FOREIGN.contains(&it.name)) {
                without.push(format!("tests/{}:{}: block_on", file.name, line(at) + 1));
            }
        }
        let mut wait = |at: usize, what: String, ends: bool| {
            let line = line(at);
            let entry = format!("tests/{}:{}: {what}", file.name, line + 1);
            if ends || for_good(line) {
                println!("{entry}");
                count += 1;
            } else {
                without.push(format!("{entry}: {}", lines[line].trim()));
            }
        };
        for (at, found) in file.code.match_indices(".await") {
            if file.code[at + found.len()..].starts_with(|next: char| is_word(next as u8)) {
                continue;
            }
            match callee(&file.code, at) {
                None => wait(at, "not a call".into(), false),
                Some(callee) => {
                    let name = callee.name;
                    let ends = if callee.is_method {
                        (methods.contains(name) || name == "finished") && !FOREIGN.contains(&name)
                    } else {
                        DEADLINES.contains(&name)
                            || CLOCK.contains(&name)
                            || functions.contains(name)
                    };
                    wait(at, name.to_owned(), ends);
                }
            }
        }
        for blocking in BLOCKING {
            for (at, found) in file.code.match_indices(blocking) {
                // A callee awaits the futures in its arguments. An awaited call is listed above.
                let after = after_call(&file.code, at + found.len());
                let polled_once = after.starts_with(".now_or_never()");
                if !after.starts_with([')', ',']) && !after.starts_with(".await") && !polled_once {
                    wait(at, blocking.to_owned(), false);
                }
            }
        }
    }
    assert!(count > 100, "only {count} waits were found");
    assert!(without.is_empty(), "{}", without.join("\n"));
}

#[test]
fn a_wait_without_a_deadline_is_found() {
    for (code, expected) in [
        ("receiver.recv().await", Some(("recv", true))),
        (
            "within(\"it\", receiver.recv()).await",
            Some(("within", false)),
        ),
        (
            "client\n    .take::<u8>(f(1), 2)\n    .await",
            Some(("take", true)),
        ),
        ("task.await", None),
        ("async { 1 }.await", None),
    ] {
        let code = without_literals(code);
        let found = callee(&code, code.rfind(".await").unwrap());
        let found = found.map(|callee| (callee.name, callee.is_method));
        assert_eq!(found, expected, "{code}");
    }
    let code = without_literals("a(\"b\\\"c\", 'd', '\\'', r#\"e\"f\"#) // g\n'h: h");
    assert_eq!(
        code,
        format!("a({:6}, {:3}, {:4}, {:8})     \n'h: h", "", "", "", "")
    );
}
