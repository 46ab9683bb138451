//! The client libraries: commands to run them, and their departures from the standard.

use std::{fs, path::Path, process::Stdio};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    deadline::within,
    script::{self, Form, PING_DATA, SILENCES, Step},
    tools::installed,
};

pub(crate) const NODE: &str = "node/node_modules/node/bin/node";
pub(crate) const PYTHON: &str = "python/bin/python";

pub(crate) struct Client {
    registry: Registry,
    /// The name in the registry.
    pub(crate) package: &'static str,
    pub(crate) file: &'static str,
    pub(crate) script: fn() -> Vec<Step>,
    /// The path that it requests, after its base URL.
    pub(crate) path: &'static str,
    shape: Shape,
    /// A departure from the standard in every form.
    always: Option<Always>,
    /// Departures that depend on the form.
    departs: fn(Form) -> Option<Departure>,
    pub(crate) comes_back: ComesBack,
}

#[derive(Clone, Copy, PartialEq)]
enum Registry {
    Npm,
    PyPi,
}

/// The parts of an event that a client reports.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// Type, data and last event ID.
    Full,
    /// Type, data and the ID of the event itself.
    OwnId,
    /// The fields of the event itself, without defaults.
    Own,
    /// The contents of the data, up to `[DONE]`.
    Content,
}

/// Support for reconnecting with the last event ID.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum ComesBack {
    No,
    Yes,
    /// Only if the ID is in Latin-1. Otherwise the client fails with this error.
    WithLatin1(&'static str),
}

/// The description of a departure, and its effect on each event.
type Always = (&'static str, fn(&mut Value));

/// A difference between what a client reads and what the standard requires.
enum Departure {
    /// The client also reads this, after each keep-alive.
    AtKeepAlives(&'static str, [Value; 3]),
    /// The client also reads this, at the start.
    AtStart(&'static str, Value),
    /// The client fails with this error after this number of events.
    Fails(&'static str, usize),
}

use Departure::{AtKeepAlives, AtStart, Fails};
use Form::{CommentBlock, EventWithData, EventWithoutData, RetryBlock};

impl Client {
    /// Returns the values that the client should read, including its departures.
    pub(crate) fn expected(&self, form: Form) -> Vec<Value> {
        let departure = (self.departs)(form);
        let mut last = Value::Null;
        let mut read = Vec::new();
        if let Some(AtStart(_, value)) = &departure {
            read.push(value.clone());
        }
        for (n, step) in (self.script)().into_iter().enumerate() {
            if let Some(silence) = SILENCES.iter().position(|&at| at == n) {
                if form == EventWithData {
                    read.extend(match self.shape {
                        Shape::Full => Some(json!(["ping", PING_DATA, last])),
                        Shape::OwnId | Shape::Own => Some(json!(["ping", PING_DATA, ""])),
                        Shape::Content => None,
                    });
                }
                if let Some(AtKeepAlives(_, values)) = &departure {
                    read.push(values[silence].clone());
                }
            }
            if let Some(Fails(error, after)) = departure {
                if n == after {
                    read.push(json!({ "error": error }));
                    return read;
                }
            }
            last = step.read[2].clone();
            let mut value = match self.shape {
                Shape::Full | Shape::Content => step.read,
                Shape::OwnId => json!([step.read[0], step.read[1], step.own[2]]),
                Shape::Own => step.own,
            };
            if let Some((_, depart)) = self.always {
                depart(&mut value);
            }
            read.push(value);
        }
        read.extend(match self.shape {
            Shape::Full => Some(json!(["message", "[DONE]", last])),
            Shape::OwnId => Some(json!(["message", "[DONE]", ""])),
            Shape::Own => Some(json!(["", "[DONE]", ""])),
            Shape::Content => None,
        });
        read
    }

    /// Returns the client's row of the table.
    pub(crate) fn row(&self) -> Vec<String> {
        let comes_back = match self.comes_back {
            ComesBack::No => "—".into(),
            ComesBack::Yes => "ok".into(),
            ComesBack::WithLatin1(error) => format!("ok; fails on `☃`: {error}"),
        };
        let mut row = vec![self.name()];
        row.extend(Form::ALL.map(|form| self.cell(form)));
        row.push(comes_back);
        row.push(
            self.always
                .map_or_else(String::new, |(what, _)| what.into()),
        );
        row
    }

    fn cell(&self, form: Form) -> String {
        match (self.departs)(form) {
            Some(AtKeepAlives(what, _)) => format!("{what} each time"),
            Some(AtStart(what, _)) => what.into(),
            Some(Fails(error, _)) => format!("fails: {error}"),
            None => "ok".into(),
        }
    }

    /// Runs the client and returns what it reads from each URL.
    pub(crate) async fn run(&self, urls: &[String]) -> Vec<Vec<Value>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/clients");
        let mut command = match self.registry {
            Registry::Npm => {
                // Node looks for packages in the folders above the script, not in those above the
                // working directory.
                let home = installed().join("node");
                for file in [self.file, "each.mjs"] {
                    fs::copy(folder.join(file), home.join(file)).unwrap();
                }
                let mut command = Command::new(installed().join(NODE));
                command.arg(home.join(self.file));
                command
            }
            Registry::PyPi => {
                let mut command = Command::new(installed().join(PYTHON));
                command.arg("-B").arg(folder.join(self.file));
                command
            }
        };
        let output = command
            .args(urls)
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let output = within(format!("{} to end", self.file), output.output()).await;
        let output = output.unwrap();
        let mut read = vec![Vec::new(); urls.len()];
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let (url, value) = serde_json::from_str::<(String, Value)>(line).unwrap();
            read[urls.iter().position(|known| *known == url).unwrap()].push(value);
        }
        read
    }

    pub(crate) fn name(&self) -> String {
        let version = match self.registry {
            Registry::Npm => {
                let packages: Value =
                    serde_json::from_str(include_str!("clients/package.json")).unwrap();
                packages["dependencies"][self.package]
                    .as_str()
                    .unwrap()
                    .to_owned()
            }
            Registry::PyPi => include_str!("clients/requirements.txt")
                .lines()
                .find_map(|line| line.strip_prefix(self.package)?.strip_prefix("=="))
                .unwrap()
                .to_owned(),
        };
        match self.registry {
            Registry::Npm => format!("npm `{}` {version}", self.package),
            Registry::PyPi => format!("PyPI `{}` {version}", self.package),
        }
    }
}

pub(crate) const CLIENTS: [Client; 9] = [
    Client {
        package: "eventsource",
        file: "eventsource.mjs",
        comes_back: ComesBack::Yes,
        ..NPM
    },
    Client {
        package: "undici",
        file: "undici.mjs",
        comes_back: ComesBack::Yes,
        ..NPM
    },
    Client {
        package: "eventsource-parser",
        file: "eventsource-parser.mjs",
        shape: Shape::Own,
        ..NPM
    },
    Client {
        package: "@microsoft/fetch-event-source",
        file: "fetch-event-source.mjs",
        shape: Shape::Own,
        always: Some((
            "drops LFs and U+FEFF at the start of data",
            |read| match read[1].as_str().unwrap() {
                "\n\n" => read[1] = json!(""),
                "\u{feff}not at the start" => read[1] = json!("not at the start"),
                _ => {}
            },
        )),
        departs: |form| {
            let empty = || json!(["", "", ""]);
            let ping = || json!(["ping", "", ""]);
            match form {
                CommentBlock => Some(AtKeepAlives("an empty message", [(); 3].map(|()| empty()))),
                EventWithoutData => Some(AtKeepAlives(
                    "an event without data",
                    [(); 3].map(|()| ping()),
                )),
                RetryBlock => Some(AtStart("an empty message", empty())),
                _ => None,
            }
        },
        comes_back: ComesBack::WithLatin1("TypeError"),
        ..NPM
    },
    Client {
        package: "openai",
        file: "openai.mjs",
        script: script::openai,
        path: "/chat/completions",
        shape: Shape::Content,
        departs: |form| match form {
            EventWithData => Some(no_choices()),
            EventWithoutData => Some(Fails("SyntaxError", SILENCES[0])),
            _ => None,
        },
        ..NPM
    },
    Client {
        package: "@anthropic-ai/sdk",
        file: "anthropic.mjs",
        script: script::anthropic,
        path: "/v1/messages",
        shape: Shape::Content,
        ..NPM
    },
    Client {
        package: "httpx-sse",
        file: "httpx_sse_client.py",
        departs: |form| {
            let all = |event_type| ["5", "a.b_c~d-15", "26"].map(|id| json!([event_type, "", id]));
            match form {
                CommentBlock => Some(AtKeepAlives("an empty message", all("message"))),
                EventWithoutData => Some(AtKeepAlives("an event without data", all("ping"))),
                RetryBlock => Some(AtStart("an empty message", json!(["message", "", ""]))),
                _ => None,
            }
        },
        ..PYPI
    },
    Client {
        package: "sseclient-py",
        file: "sseclient_py.py",
        shape: Shape::OwnId,
        ..PYPI
    },
    Client {
        package: "openai",
        file: "openai_client.py",
        script: script::openai,
        path: "/chat/completions",
        shape: Shape::Content,
        departs: |form| match form {
            EventWithData => Some(no_choices()),
            CommentBlock | EventWithoutData => Some(Fails("JSONDecodeError", SILENCES[0])),
            RetryBlock => Some(Fails("JSONDecodeError", 0)),
            _ => None,
        },
        ..PYPI
    },
];

const NPM: Client = Client {
    registry: Registry::Npm,
    package: "",
    file: "",
    script: script::plain,
    path: "",
    shape: Shape::Full,
    always: None,
    departs: |_| None,
    comes_back: ComesBack::No,
};

const PYPI: Client = Client {
    registry: Registry::PyPi,
    ..NPM
};

/// Returns the departure of clients that report a ping as a chunk. Code that reads
/// `chunk.choices[0]` fails on it.
fn no_choices() -> Departure {
    let ping = || json!({ "type": "ping" });
    AtKeepAlives("a chunk without choices", [(); 3].map(|()| ping()))
}
