//! The least WebDriver client: one headless Chromium with one page.

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

/// A browser, closed when it is dropped.
pub(crate) struct Browser {
    server: SocketAddr,
    session: String,
    profile: PathBuf,
    _driver: Process,
}

impl Browser {
    /// Starts a browser; `None` if it or its driver is not installed. `name` tells the profiles
    /// of browsers apart that run at the same time.
    pub(crate) fn start(name: &str) -> Option<Self> {
        let (chromium, chromedriver) = (find("chromium")?, find("chromedriver")?);
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chromium-{name}"));
        _ = fs::remove_dir_all(&profile); // there only if a test was killed

        let driver = Process::start(Command::new(chromedriver).arg("--port=0"));
        // Behind a line or two about itself.
        let port = (0..10).find_map(|_| {
            let line = driver.line("");
            let (_, port) = line.split_once("started successfully on port ")?;
            Some(port.trim_end_matches('.').parse::<u16>().unwrap())
        });
        let port = port.expect("chromedriver prints its port");
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

    /// Runs a script in the page, and returns what it does.
    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true in the page. Fails with it after [`SCRIPT_TIMEOUT`].
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
        let request = format!("POST /session{}{path}", self.session);
        let answer = Answer::to(self.server, &request, "", &body.to_string()).read_to_end();
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
        // Otherwise Chromium outlives its driver. A test that has failed must not fail again here.
        if let Ok(mut tcp) = TcpStream::connect_timeout(&self.server, PATIENCE) {
            let (session, server) = (&self.session, self.server);
            _ = tcp.set_read_timeout(Some(PATIENCE));
            _ = write!(
                tcp,
                "DELETE /session{session} HTTP/1.1\r\nhost: {server}\r\n\r\n"
            );
            // has a deadline: that of the socket
            _ = tcp.read(&mut [0]); // answered once it is closed
        }
        _ = fs::remove_dir_all(&self.profile);
    }
}

/// How long an expression may take to become true: less than the answer of WebDriver may.
const SCRIPT_TIMEOUT: Duration = PATIENCE.saturating_sub(Duration::from_secs(10));

/// Where a program is, as a shell would find it.
fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
