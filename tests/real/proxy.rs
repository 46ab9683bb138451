//! The proxies: their configurations, and their effects on a stream.

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use crate::{
    port::reserved_port,
    tools::{Certificate, Running, find, folder},
};

pub(crate) struct Proxy {
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    /// Options beyond the minimal configuration.
    options: &'static str,
    /// Options of curl.
    pub(crate) curl: &'static [&'static str],
    /// Text that the head of its responses contains.
    pub(crate) head: &'static str,
    /// `true` if it delays each write by 200 ms.
    pub(crate) delays: bool,
    /// `true` if it closes the connection to the server as soon as the client leaves, and not at
    /// the next write.
    pub(crate) notices_silence: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Program {
    Nginx,
    /// nginx, with HTTP/2 over TLS to the client.
    NginxHttp2,
    Haproxy,
}

impl Proxy {
    /// Starts the proxy in front of `server`. Returns the address at which it listens.
    pub(crate) fn start(&self, server: SocketAddr) -> (Running, SocketAddr) {
        match self.program {
            Program::Nginx => nginx(server, self.options, None),
            Program::NginxHttp2 => nginx(server, self.options, Some(&Certificate::make("proxies"))),
            Program::Haproxy => haproxy(server, self.options),
        }
    }
}

impl Program {
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::NginxHttp2 => "https",
            _ => "http",
        }
    }
}

/// Starts nginx with a minimal configuration.
pub(crate) fn nginx(
    server: SocketAddr,
    options: &str,
    certificate: Option<&Certificate>,
) -> (Running, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], reserved_port()));
    let folder = folder(&format!("nginx-{}", address.port()));
    let listen = match certificate {
        None => format!("listen {address};"),
        Some(Certificate { certificate, key }) => format!(
            "listen {address} ssl http2; ssl_certificate {certificate:?}; ssl_certificate_key {key:?};"
        ),
    };
    let timeout = READ_TIMEOUT.as_secs();
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path temp;"))
        .concat();
    let config = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr crit;
        events {{ worker_connections 1024; }}
        http {{
            access_log off; {temp}
            server {{
                {listen}
                location / {{ proxy_pass http://{server}; proxy_read_timeout {timeout}s; {options} }}
            }}
        }}"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config).unwrap();
    let [nginx] = find(["nginx"]).unwrap();
    let mut command = Command::new(nginx);
    command
        .arg("-p")
        .arg(&folder)
        .arg("-c")
        .arg(&file)
        .args(["-e", "stderr"]);
    (Running::start(&mut command).listens(address), address)
}

fn haproxy(server: SocketAddr, options: &str) -> (Running, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], reserved_port()));
    let timeout = READ_TIMEOUT.as_millis();
    let config = format!(
        "defaults
            mode http
            timeout connect 5s
            timeout client {timeout}ms
            timeout server {timeout}ms
            {options}
        listen proxy
            bind {address}
            server upstream {server}\n"
    );
    let file = folder("haproxy").join("haproxy.cfg");
    fs::write(&file, config).unwrap();
    let [haproxy] = find(["haproxy"]).unwrap();
    let mut command = Command::new(haproxy);
    command.arg("-q").arg("-f").arg(file);
    (Running::start(&mut command).listens(address), address)
}

pub(crate) const PROXIES: [Proxy; 6] = [
    Proxy {
        name: "nginx",
        program: Program::Nginx,
        options: "",
        curl: &["--http1.1"],
        head: "http/1.1 200",
        delays: false,
        notices_silence: true,
    },
    Proxy {
        name: "nginx, `proxy_http_version 1.1`",
        program: Program::Nginx,
        options: "proxy_http_version 1.1;",
        curl: &["--http1.1"],
        head: "http/1.1 200",
        delays: false,
        notices_silence: true,
    },
    Proxy {
        name: "nginx, `gzip_types text/event-stream`",
        program: Program::Nginx,
        options: "gzip on; gzip_types text/event-stream; gzip_min_length 0;",
        curl: &["--http1.1", "--compressed"],
        head: "content-encoding: gzip",
        delays: false,
        notices_silence: true,
    },
    Proxy {
        name: "nginx, HTTP/2 to the client",
        program: Program::NginxHttp2,
        options: "",
        curl: &["--http2", "--insecure"],
        head: "http/2 200",
        delays: false,
        notices_silence: true,
    },
    Proxy {
        name: "haproxy",
        program: Program::Haproxy,
        options: "",
        curl: &["--http1.1"],
        head: "http/1.1 200",
        delays: true,
        notices_silence: false,
    },
    Proxy {
        name: "haproxy, `option http-no-delay`",
        program: Program::Haproxy,
        options: "option http-no-delay",
        curl: &["--http1.1"],
        head: "http/1.1 200",
        delays: false,
        notices_silence: false,
    },
];

/// The time after which the proxies cut a silent stream. The default of nginx is 60 s.
///
/// It is longer than any step of the tests takes on a busy machine.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(4);
