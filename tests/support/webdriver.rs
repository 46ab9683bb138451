//! A minimal WebDriver client: one headless Chromium with one page.

// Not every binary that includes this file uses all of it.
#![allow(dead_code)]

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{deadline::PATIENCE, http1::Answer, process::Process};

/// A browser. Dropping it closes the browser. Each method applies to the current tab.
pub(crate) struct Browser {
    server: SocketAddr,
    session: String,
    profile: PathBuf,
    _driver: Process,
}

impl Browser {
    /// Starts a browser. Returns `None` if it or its driver is not installed. Browsers that run at
    /// the same time need different names, because the name selects the profile.
    pub(crate) fn start(name: &str) -> Option<Self> {
        let (chromium, chromedriver) = (find("chromium")?, find("chromedriver")?);
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chromium-{name}"));
        _ = fs::remove_dir_all(&profile); // exists only if a test was killed

        let (driver, port) = start_driver(&chromedriver);
        let mut browser = Self {
            server: ([127, 0, 0, 1], port).into(),
            session: String::new(),
            profile,
            _driver: driver,
        };
        let args = json!([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            format!("--user-data-dir={}", browser.profile.display()),
        ]);
        let options = json!({ "binary": chromium, "args": args });
        let timeouts = json!({ "script": SCRIPT_TIMEOUT.as_millis() });
        let capabilities =
            json!({ "alwaysMatch": { "goog:chromeOptions": options, "timeouts": timeouts } });
        let session = browser.command("", json!({ "capabilities": capabilities }));
        browser.session = format!("/{}", session["sessionId"].as_str().unwrap());
        Some(browser)
    }

    #[track_caller]
    pub(crate) fn open(&self, url: &str) {
        self.command("/url", json!({ "url": url }));
    }

    #[track_caller]
    pub(crate) fn reload(&self) {
        self.command("/refresh", json!({}));
    }

    /// Opens a page in a new tab, which is then the current one.
    #[track_caller]
    pub(crate) fn open_tab(&self, url: &str) {
        let mut new = self.command("/window/new", json!({ "type": "tab" }));
        self.switch_to(&Tab(new["handle"].take()));
        self.open(url);
    }

    /// Returns the current tab.
    #[track_caller]
    pub(crate) fn tab(&self) -> Tab {
        Tab(self.ask("GET", "/window", ""))
    }

    /// Makes a tab the current one.
    #[track_caller]
    pub(crate) fn switch_to(&self, tab: &Tab) {
        self.command("/window", json!({ "handle": tab.0 }));
    }

    /// Runs a script in the page and returns its result.
    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true in the page. Panics after [`SCRIPT_TIMEOUT`].
    #[track_caller]
    pub(crate) fn wait_for(&self, expression: &str) {
        let script = format!(
            "const done = arguments[0];
            (function poll() {{ ({expression}) ? done() : requestAnimationFrame(poll) }})()"
        );
        self.command("/execute/async", json!({ "script": script, "args": [] }));
    }

    #[track_caller]
    fn command(&self, path: &str, body: Value) -> Value {
        self.ask("POST", path, &body.to_string())
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let request = format!("{method} /session{}{path}", self.session);
        let answer = Answer::to(self.server, &request, "", body).read_to_end();
        let mut answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(
            answer["value"]["error"].is_null(),
            "{path} {body}: {answer}"
        );
        answer["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Without this request, Chromium outlives its driver. Errors are ignored, because a panic
        // during a panic would abort the test binary.
        if let Ok(mut tcp) = TcpStream::connect_timeout(&self.server, PATIENCE) {
            let (session, server) = (&self.session, self.server);
            _ = tcp.set_read_timeout(Some(PATIENCE));
            _ = write!(
                tcp,
                "DELETE /session{session} HTTP/1.1\r\nhost: {server}\r\n\r\n"
            );
            // has a deadline: the timeout of the socket
            _ = tcp.read(&mut [0]); // the response arrives after the close
        }
        _ = fs::remove_dir_all(&self.profile);
    }
}

/// A tab of a browser.
pub(crate) struct Tab(Value);

/// The time in which an expression must become true. The response of WebDriver may take longer.
const SCRIPT_TIMEOUT: Duration = PATIENCE.saturating_sub(Duration::from_secs(10));

/// Finds a program in `PATH`, as a shell does.
fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// Starts chromedriver on a free port. Returns the port too.
///
/// It looks for a free port before it listens there, and ends if another socket was faster. Then it is
/// started again.
fn start_driver(chromedriver: &Path) -> (Process, u16) {
    for _ in 0..10 {
        let driver = Process::start(Command::new(chromedriver).arg("--port=0"));
        // Other lines come first, such as the version.
        while let Some(line) = driver.next_line() {
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                let port = port.trim_end_matches('.').parse().unwrap();
                return (driver, port);
            }
        }
    }
    panic!("chromedriver finds no free port");
}
