//! The programs that tests need: their paths, and running them.

use std::{
    env, fs, io,
    io::Read as _,
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use tokio::sync::{Mutex, MutexGuard};

use crate::{
    deadline::{PATIENCE, exited, until_blocking, within_time},
    skip::skipped,
};

/// Keeps the tests of this binary from running at the same time. Browsers use the whole machine,
/// and some tests compare times.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    // All other tests may run first.
    within_time(8 * PATIENCE, "the other tests to end", TURN.lock()).await
}

/// Returns the paths of `programs`. If one is missing, reports that the test is skipped.
pub(crate) fn find<const N: usize>(programs: [&str; N]) -> Option<[PathBuf; N]> {
    let found = programs.map(|program| {
        let path = look_up(program);
        if path.is_none() {
            skipped(program);
        }
        path
    });
    found
        .iter()
        .all(Option::is_some)
        .then(|| found.map(Option::unwrap))
}

/// Finds a program in `PATH` or in the system's folders for servers. A name with a folder is a path
/// below [`installed`].
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

/// Returns the folder in which `.ci/run` installs packages from npm and PyPI.
pub(crate) fn installed() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("real")
}

/// Creates an empty folder with this name.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("real")
        .join(name);
    _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A process and its children. Dropping this kills them.
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

    /// Waits until the process accepts connections.
    pub(crate) fn listens(mut self, address: SocketAddr) -> Self {
        until_blocking(format!("a program to listen at {address}"), || {
            let connected = TcpStream::connect_timeout(&address, PATIENCE);
            if let Err(error) = &connected {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
                assert_eq!(self.0.try_wait().unwrap(), None, "the program has ended");
            }
            connected.is_ok()
        });
        self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Kills the whole group, because a browser has several processes.
        let group = format!("-{}", self.0.id());
        let kill = Command::new("kill").args(["-KILL", "--", &group]).spawn();
        // A panic during a panic would abort the test binary.
        if !thread::panicking() {
            exited("`kill` to end", &mut kill.unwrap());
            exited("a killed program to end", &mut self.0);
        }
    }
}

/// A self-signed certificate for this machine, with its key.
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
        let mut command = Command::new(openssl);
        command
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
            .stderr(Stdio::null());
        output(&mut command);
        made
    }

    /// Returns the fingerprint, as pairs of digits with colons between them.
    pub(crate) fn sha256(&self) -> String {
        let [openssl] = find(["openssl"]).unwrap();
        let mut command = Command::new(openssl);
        command.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]);
        let output = output(command.arg(&self.certificate));
        output.split_once('=').unwrap().1.trim_end().to_owned()
    }
}

/// Runs a command and returns its output, which must fit into a pipe. Panics if the command fails.
fn output(command: &mut Command) -> String {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let status = exited(format!("{command:?} to end"), &mut child);
    assert!(status.success(), "{command:?}: {status}");
    let mut output = String::new();
    let mut stdout = child.stdout.take().unwrap();
    // has a deadline: the program has ended
    stdout.read_to_string(&mut output).unwrap();
    output
}
