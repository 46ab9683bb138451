//! A browser with one page. The page receives scripts as events, runs them and posts their results.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
};

use http::StatusCode;
use http_sse::{Event, Sse};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    deadline::within,
    server::{Server, channel, plain, sse},
    tools::{Certificate, Running, find, folder},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Chromium,
    Firefox,
}

pub(crate) struct Browser {
    pub(crate) kind: Kind,
    scripts: UnboundedSender<Event>,
    results: UnboundedReceiver<(String, Value)>,
    sent: u64,
    _running: Running,
    /// The server of the scripts. The streams under test come from another server, so that the
    /// connections for scripts do not count towards their limit.
    _control: Server,
}

impl Browser {
    /// Starts a browser with a page of `server`. The browser accepts the certificate from the
    /// address `from`.
    pub(crate) fn start(
        kind: Kind,
        server: &Server,
        certificate: &Certificate,
        from: SocketAddr,
    ) -> Self {
        let url = server.route("/page", |_| {
            plain(StatusCode::OK, "text/html", include_str!("page.html"))
        });
        let control = Server::start();
        let url = format!("{url}?http://{}", control.address);
        let (scripts, source) = channel();
        let source = Mutex::new(Some(source));
        control.route("/scripts", move |_| {
            let source = source.lock().unwrap().take();
            source.map_or_else(
                || plain(StatusCode::NO_CONTENT, "text/plain", ""),
                |source| sse(Sse::new(source)),
            )
        });
        let (posts, results) = unbounded_channel();
        control.route("/results", move |ask| {
            posts
                .send(serde_json::from_slice(&ask.body).unwrap())
                .unwrap();
            plain(StatusCode::OK, "text/plain", "")
        });
        let profile = folder(&format!("{kind:?}"));
        let running = match kind {
            Kind::Chromium => chromium(&profile, &url),
            Kind::Firefox => firefox(&profile, &url, certificate, from),
        };
        Self {
            kind,
            scripts,
            results,
            sent: 0,
            _running: running,
            _control: control,
        }
    }

    /// Runs the body of an async function in the page and returns its result.
    pub(crate) async fn run(&mut self, script: &str) -> Value {
        self.sent += 1;
        self.scripts
            .send(Event::data(script.to_owned()).id(self.sent))
            .unwrap();
        let what = format!("{:?} to run {script}", self.kind);
        let (of, result) = within(what, self.results.recv()).await.unwrap();
        assert_eq!(of, self.sent.to_string());
        assert!(
            result["error"].is_null(),
            "{:?}, {script}: {result}",
            self.kind
        );
        result
    }

    /// Opens an EventSource. Returns its reports as soon as the expression `until` is true of them.
    /// The expression calls them `seen`.
    pub(crate) async fn watch(&mut self, url: &str, types: &[&str], until: &str) -> Value {
        let types = serde_json::to_string(types).unwrap();
        let script = format!("return watch('{url}', {types}, (seen) => {until})");
        self.run(&script).await
    }
}

fn chromium(profile: &Path, url: &str) -> Running {
    let [chromium] = find(["chromium"]).unwrap();
    let mut command = Command::new(chromium);
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--ignore-certificate-errors",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(url)
        .stderr(Stdio::null());
    Running::start(&mut command)
}

fn firefox(profile: &Path, url: &str, certificate: &Certificate, from: SocketAddr) -> Running {
    // Firefox sends network requests of its own unless these are disabled.
    let mut preferences = String::new();
    for name in [
        "app.normandy.enabled",
        "app.update.auto",
        "browser.aboutwelcome.enabled",
        "browser.safebrowsing.downloads.remote.enabled",
        "browser.safebrowsing.malware.enabled",
        "browser.safebrowsing.phishing.enabled",
        "browser.search.update",
        "browser.shell.checkDefaultBrowser",
        "datareporting.healthreport.uploadEnabled",
        "datareporting.policy.dataSubmissionEnabled",
        "extensions.systemAddon.update.enabled",
        "extensions.update.enabled",
        "network.captive-portal-service.enabled",
        "network.connectivity-service.enabled",
        "network.dns.prefetch_via_proxy",
        "toolkit.telemetry.enabled",
        "toolkit.telemetry.unified",
    ] {
        writeln!(preferences, "user_pref({name:?}, false);").unwrap();
    }
    preferences += "user_pref(\"browser.startup.homepage_override.mstone\", \"ignore\");\n";
    preferences += "user_pref(\"services.settings.server\", \"data:,\");\n";
    fs::write(profile.join("user.js"), preferences).unwrap();
    let exception = format!(
        "{from}:\tOID.2.16.840.1.101.3.4.2.1\t{}\t\n",
        certificate.sha256()
    );
    fs::write(profile.join("cert_override.txt"), exception).unwrap();

    let [firefox] = find(["firefox-esr"]).unwrap();
    let mut command = Command::new(firefox);
    command
        .args(["--headless", "--no-remote", "--profile"])
        .arg(profile)
        .arg(url)
        .env("HOME", profile)
        .stderr(Stdio::null());
    Running::start(&mut command)
}
