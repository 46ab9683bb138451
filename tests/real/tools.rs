//! Programs that a test needs: where they are, and how they are run.

use std::{
    env, fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, MutexGuard};

/// How long anything may take before a test gives it up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps the tests of this binary from running beside each other: some of them measure times.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// Where every one of `programs` is, or `None`, told, if one is missing.
pub(crate) fn find<const N: usize>(programs: [&str; N]) -> Option<[PathBuf; N]> {
    let found = programs.map(|program| {
        let path = look_up(program);
        if path.is_none() {
            let required = env::var("HTTP_SSE_REAL").is_ok_and(|value| value == "required");
            assert!(!required, "{program} is not installed");
            eprintln!("skipped: {program} is not installed");
        }
        path
    });
    found
        .iter()
        .all(Option::is_some)
        .then(|| found.map(Option::unwrap))
}

/// As a shell finds it, and where the system keeps servers; a path with a folder in it is one
/// below what `.ci/run` installs to.
fn look_up(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(installed().join(program)).filter(|path| path.exists());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// Where `.ci/run` installs what comes from npm and PyPI.
pub(crate) fn installed() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("real")
}

/// An empty folder of this name.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("real")
        .join(name);
    _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A port that was free just now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A process with all that it starts; killed when it is dropped.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Waits until the process takes connections.
    pub(crate) fn listens(mut self, address: SocketAddr) -> Self {
        let start = Instant::now();
        while let Err(error) = TcpStream::connect(address) {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            assert_eq!(self.0.try_wait().unwrap(), None, "it has ended");
            assert!(start.elapsed() < PATIENCE, "nothing listens");
            thread::sleep(Duration::from_millis(5));
        }
        self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The group first: a browser is a family of processes.
        let group = format!("-{}", self.0.id());
        _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// A certificate for this machine that nobody vouches for, with its key.
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    pub(crate) fn make(name: &str) -> Self {
        let folder = folder(name);
        let made = Self {
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
        };
        let [openssl] = find(["openssl"]).unwrap();
        let status = Command::new(openssl)
            .args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"])
            .args([
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-subj",
                "/CN=localhost",
            ])
            .args(["-addext", "subjectAltName=IP:127.0.0.1"])
            .arg("-out")
            .arg(&made.certificate)
            .arg("-keyout")
            .arg(&made.key)
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success());
        made
    }

    /// Its fingerprint: pairs of digits with colons between.
    pub(crate) fn sha256(&self) -> String {
        let [openssl] = find(["openssl"]).unwrap();
        let output = Command::new(openssl)
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
            .arg(&self.certificate)
            .output();
        let output = String::from_utf8(output.unwrap().stdout).unwrap();
        output.split_once('=').unwrap().1.trim_end().to_owned()
    }
}
