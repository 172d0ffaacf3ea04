//! Tells the application that its files changed.

use std::{fmt, fs, net::IpAddr, path::Path, time::Duration};

use http::{
    Request, Uri,
    header::{CONTENT_LENGTH, HOST, USER_AGENT},
};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use tokio::{net::TcpStream, time::timeout};

/// How long one attempt of an HTTP call may take.
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts of an HTTP call, the first included.
const HTTP_ATTEMPTS: u32 = 2;
/// Bytes read of a process's command line.
const COMMAND_BYTES_MAX: usize = 4_096;

/// How and when to tell the application.
#[derive(Debug)]
pub(crate) struct Notify {
    pub(crate) action: Action,
    /// Also after the sidecar's first write.
    pub(crate) on_start: bool,
}

/// How to tell the application.
#[derive(Debug)]
pub(crate) enum Action {
    /// POST, without content, to a loopback address.
    Http(Uri),
    /// A signal to the processes of this name; the pod must share its process namespace.
    Signal { signal: Signal, process: String },
}

/// Why the application was not told. Never ends the agent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotifyError {
    #[error("{url}: {why}")]
    Http { url: String, why: String },
    #[error(
        "no process named {0:?} is to be seen: the pod needs shareProcessNamespace: true, and the name is that of the \
         program's file"
    )]
    NoProcess(String),
    #[error("{signal} to process {pid}: {why} (the agent needs the application's uid, or CAP_KILL)")]
    Signal { signal: &'static str, pid: i32, why: std::io::Error },
    #[error("/proc: {0}")]
    Proc(std::io::Error),
}

const SIGNALS: [(&str, Signal); 7] = [
    ("SIGHUP", Signal::HUP),
    ("SIGINT", Signal::INT),
    ("SIGQUIT", Signal::QUIT),
    ("SIGUSR1", Signal::USR1),
    ("SIGUSR2", Signal::USR2),
    ("SIGTERM", Signal::TERM),
    ("SIGWINCH", Signal::WINCH),
];

impl Action {
    /// Takes a URL of this machine.
    pub(crate) fn http(url: &str) -> Result<Self, String> {
        let refuse =
            || format!("{url:?} is not http://127.0.0.1:PORT/PATH: the call goes to the pod's own loopback, in plain HTTP");
        let uri: Uri = url.parse().map_err(|_| refuse())?;
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        match uri.scheme_str() == Some("http") && loopback && !url.contains('@') {
            true => Ok(Self::Http(uri)),
            false => Err(refuse()),
        }
    }

    /// Takes a signal's name and that of a program.
    pub(crate) fn signal(signal: &str, process: &str) -> Result<Self, String> {
        let found = SIGNALS.iter().find(|(name, _)| *name == signal).ok_or_else(|| {
            let names: Vec<_> = SIGNALS.iter().map(|(name, _)| *name).collect();
            format!("{signal:?} is not one of {}", names.join(", "))
        })?;
        match process.is_empty() || process.contains('/') {
            true => Err(format!("process {process:?} is not the name of a program's file, without its folder")),
            false => Ok(Self::Signal { signal: found.1, process: process.to_owned() }),
        }
    }

    /// Tells the application.
    pub(crate) async fn run(&self) -> Result<(), NotifyError> {
        match self {
            Self::Http(uri) => {
                let mut attempt = 1;
                loop {
                    let result = timeout(HTTP_TIMEOUT, post(uri)).await.unwrap_or_else(|_| Err("no answer in time".to_owned()));
                    match result {
                        Ok(()) => return Ok(()),
                        Err(why) if attempt == HTTP_ATTEMPTS => {
                            return Err(NotifyError::Http { url: uri.to_string(), why });
                        }
                        Err(_) => attempt += 1,
                    }
                }
            }
            Self::Signal { signal, process } => send(Path::new("/proc"), *signal, process),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(uri) => write!(f, "POST {uri}"),
            Self::Signal { signal, process } => write!(f, "{} to {process}", name(*signal)),
        }
    }
}

fn name(signal: Signal) -> &'static str {
    SIGNALS.iter().find(|(_, other)| *other == signal).map_or("signal", |(name, _)| name)
}

/// One POST; good where the answer is 2xx.
async fn post(uri: &Uri) -> Result<(), String> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, uri.authority().map_or("localhost", |authority| authority.as_str()))
        .header(CONTENT_LENGTH, "0")
        .header(USER_AGENT, concat!("coffer-agent/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<&'static [u8]>::new())
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request);
    tokio::pin!(answer, connection);
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        end = &mut connection => {
            // The connection may end with the answer already there.
            end.map_err(|error| error.to_string())?;
            answer.await
        }
    };
    let status = answer.map_err(|error| error.to_string())?.status();
    match status.is_success() {
        true => Ok(()),
        false => Err(format!("the application answered {status}")),
    }
}

/// Sends `signal` to the processes named `process`: of a tree of them (a server and its workers), to the root.
fn send(proc: &Path, signal: Signal, process: &str) -> Result<(), NotifyError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(proc).map_err(NotifyError::Proc)? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if Some(pid) != Some(getpid().as_raw_nonzero().get()) && is_named(&entry.path(), process) {
            found.push((pid, parent(&entry.path())));
        }
    }
    let roots: Vec<i32> =
        found.iter().filter(|(_, parent)| !found.iter().any(|(other, _)| Some(*other) == *parent)).map(|(pid, _)| *pid).collect();
    if roots.is_empty() {
        return Err(NotifyError::NoProcess(process.to_owned()));
    }
    for pid in roots {
        let fail = |why: rustix::io::Errno| NotifyError::Signal { signal: name(signal), pid, why: why.into() };
        let Some(id) = Pid::from_raw(pid) else { continue };
        // The descriptor names one process for ever; whether it is still the one is asked after opening it.
        let descriptor = pidfd_open(id, PidfdFlags::empty()).map_err(fail)?;
        if is_named(&proc.join(pid.to_string()), process) {
            pidfd_send_signal(&descriptor, signal).map_err(fail)?;
        }
    }
    Ok(())
}

/// Whether the process runs a program of this name: by its command line, or by the kernel's short name for it.
fn is_named(process: &Path, name: &str) -> bool {
    use std::io::Read as _;
    let mut command = Vec::new();
    let read =
        fs::File::open(process.join("cmdline")).and_then(|file| file.take(COMMAND_BYTES_MAX as u64).read_to_end(&mut command));
    let program = command.split(|byte| *byte == 0).next().unwrap_or_default();
    let program = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if read.is_ok() && program == name.as_bytes() {
        return true;
    }
    let comm = fs::read(process.join("comm")).unwrap_or_default();
    comm.strip_suffix(b"\n").unwrap_or(&comm) == name.as_bytes()
}

/// The parent: the second field after the name in parentheses, which may itself hold anything.
fn parent(process: &Path) -> Option<i32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests;
