//! The server's process.

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use tokio::{
    signal::unix::{Signal as Signals, SignalKind, signal},
    time::{Instant, sleep, timeout},
};

use crate::{
    child::Child,
    exit::Exit,
    failure::{Failure, Result},
    memory::MemoryFolder,
};

/// The server's program.
const PROGRAM: &str = "coffer-server";
/// How long the server may take until it listens.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// How long it may take to end; then it is killed. It answers what is under way first.
const END_PATIENCE: Duration = Duration::from_secs(25);
/// How often it is looked whether it listens.
const PAUSE: Duration = Duration::from_millis(10);
/// Bytes of the server's log that are shown where it does not start.
const LOG_BYTES_SHOWN: usize = 2_000;

/// The running server. Killed when it is dropped.
pub(super) struct Server {
    child: Child,
    folder: PathBuf,
}

impl Server {
    /// Starts the server in the folder.
    pub(super) fn start(folder: &MemoryFolder, program: Option<&Path>, port: u16) -> Result<Self> {
        let at = |name: &str| folder.path().join(name);
        let mut config = toml::Table::new();
        let audit = at("audit");
        for (section, key, value) in [
            ("listen", "address", toml::Value::from(format!("127.0.0.1:{port}"))),
            ("listen", "socket", text(&at("coffer.sock"))?),
            ("listen", "address_file", text(&at("address"))?),
            ("tls", "directory", text(&at("tls"))?),
            ("tls", "names", toml::Value::from(vec!["localhost", "127.0.0.1"])),
            ("store", "kind", toml::Value::from("memory")),
            ("audit", "directory", text(&audit)?),
            ("log", "level", toml::Value::from("warn")),
        ] {
            let section = config.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let Some(section) = section.as_table_mut() {
                section.insert(key.to_owned(), value);
            }
        }
        let failed = |error: io::Error| Failure::file("write", &at("server.toml"), &error);
        let written = toml::to_string(&config).map_err(io::Error::other).and_then(|text| fs::write(at("server.toml"), text));
        written.map_err(failed)?;
        let log = File::create(at("log")).map_err(|error| Failure::file("make", &at("log"), &error))?;
        let errors = log.try_clone().map_err(|error| Failure::file("make", &at("log"), &error))?;
        let program = program.map_or_else(found, Path::to_owned);
        // A group of its own: Ctrl-C is for this command, which ends the server in order.
        let mut command = Command::new(&program);
        command
            .env_clear()
            .arg("--config")
            .arg(at("server.toml"))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0);
        let child = Child::start(&mut command).map_err(|error| {
            Failure::usage(format!("{} cannot be started: {}", program.display(), crate::failure::plain(&error)))
                .next("install coffer-server beside coffer or in PATH, or name it: coffer dev --server FILE")
        })?;
        Ok(Self { child, folder: folder.path().to_owned() })
    }

    /// The process id.
    pub(super) const fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens, once it does.
    pub(super) async fn address(&mut self) -> Result<String> {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            if self.child.is_over() {
                return Err(self.ended().await);
            }
            let address = fs::read_to_string(self.folder.join("address")).unwrap_or_default();
            if !address.trim().is_empty() && self.folder.join("coffer.sock").exists() {
                return Ok(format!("https://{}", address.trim()));
            }
            if Instant::now() > deadline {
                let within = START_PATIENCE.as_secs();
                return Err(Failure::new(Exit::Failed, format!("the server does not listen within {within} s")).why(self.log()));
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until the server ends by itself, and says how.
    pub(super) async fn ended(&mut self) -> Box<Failure> {
        match self.child.wait().await {
            Ok(status) => self.not_there(status),
            Err(error) => Failure::new(Exit::Failed, format!("the server cannot be followed: {error}")),
        }
    }

    fn not_there(&self, status: ExitStatus) -> Box<Failure> {
        Failure::new(Exit::Failed, format!("the server ended with {status}")).why(self.log())
    }

    /// The end of its log.
    fn log(&self) -> String {
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        let end = log.get(log.len().saturating_sub(LOG_BYTES_SHOWN)..).unwrap_or_default();
        let text = String::from_utf8_lossy(end).trim().to_owned();
        if text.is_empty() { "it logged nothing".to_owned() } else { text }
    }

    /// Ends the server: asks first.
    pub(super) async fn stop(mut self) {
        self.child.signal(Signal::TERM);
        if timeout(END_PATIENCE, self.child.wait()).await.is_err() {
            self.child.signal(Signal::KILL);
            drop(self.child.wait().await);
        }
    }
}

/// The program beside this command, or the one in PATH.
fn found() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(|folder| folder.join(PROGRAM)));
    beside.filter(|program| program.is_file()).unwrap_or_else(|| PROGRAM.into())
}

fn text(path: &Path) -> Result<toml::Value> {
    let text = path.to_str().ok_or_else(|| Failure::usage(format!("{} is not UTF-8", path.display())))?;
    Ok(toml::Value::from(text))
}

/// The wish to end: Ctrl-C, SIGTERM, or a terminal that is closed.
pub(super) struct End {
    interrupt: Signals,
    terminate: Signals,
    hangup: Signals,
}

impl End {
    pub(super) fn new() -> Result<Self> {
        let on = |kind| signal(kind).map_err(|error| Failure::new(Exit::Failed, format!("signals cannot be taken: {error}")));
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    pub(super) async fn wanted(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
