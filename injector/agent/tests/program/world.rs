//! A vault, a tmpfs, a configuration, an application, and the program.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use rustls::version::TLS13;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::vault::{Authority, NAME, Vault, bundle, script::Small};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a test needs around the program.
pub(crate) struct World {
    /// On tmpfs.
    pub(crate) output: TempDir,
    pub(crate) folder: TempDir,
    pub(crate) small: Small,
    authority: Authority,
    address: SocketAddr,
    vault: Option<Vault>,
}

impl World {
    /// `more` is the configuration's end: secrets and other settings.
    pub(crate) async fn new(more: &str) -> Self {
        let output = tempfile::tempdir_in("/dev/shm").expect("/dev/shm is needed: mount a tmpfs there");
        let (folder, small, authority) = (TempDir::new().unwrap(), Small::default(), Authority::new());
        let vault = Vault::start(&authority, small.script()).await;
        bundle(folder.path(), &[&authority]);
        let world = Self { output, folder, small, authority, address: vault.address, vault: Some(vault) };
        world.set_token("token-1");
        world.configure(more);
        world
    }

    pub(crate) fn configure(&self, more: &str) {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let text = format!(
            "log_level = \"trace\"\n[vault]\naddress = \"https://{}\"\nca_file = {:?}\nserver_name = {NAME:?}\n\
             cluster = \"prod\"\ntoken_file = {:?}\n[output]\ndirectory = {:?}\n{more}",
            self.address,
            path("ca.pem"),
            path("token"),
            self.output.path().display().to_string(),
        );
        fs::write(path("agent.toml"), text).unwrap();
    }

    pub(crate) fn set_token(&self, token: &str) {
        fs::write(self.folder.path().join("token"), token).unwrap();
    }

    pub(crate) async fn stop_vault(&mut self) {
        self.vault.take().unwrap().stop().await;
    }

    pub(crate) async fn start_vault(&mut self) {
        self.vault = Some(Vault::start_at(self.address, &self.authority, &[&TLS13], self.small.script()).await);
    }

    pub(crate) fn start(&self, command: &str, flags: &[&str]) -> Running {
        let log = self.folder.path().join("log");
        let child = Command::new(env!("CARGO_BIN_EXE_coffer-agent"))
            .arg(command)
            .arg("--config")
            .arg(self.folder.path().join("agent.toml"))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Running { child, log }
    }

    pub(crate) async fn run(&self, command: &str, flags: &[&str]) -> Ended {
        self.start(command, flags).ended().await
    }

    /// The probe's exit code. It logs elsewhere, beside a sidecar that is running.
    pub(crate) async fn run_probe(&self) -> Option<i32> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coffer-agent"));
        command.arg("probe").arg("--config").arg(self.folder.path().join("agent.toml")).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        Running { child, log: self.folder.path().join("agent.toml") }.ended().await.code
    }

    pub(crate) fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.output.path().join(name)).ok()
    }

    pub(crate) fn has(&self, name: &str, content: &str) -> bool {
        self.file(name).as_deref() == Some(content)
    }

    /// Whether there is a file, or what leads to one.
    pub(crate) fn is_there(&self, name: &str) -> bool {
        fs::symlink_metadata(self.output.path().join(name)).is_ok()
    }

    /// Where `..data` leads.
    pub(crate) fn data(&self) -> PathBuf {
        fs::read_link(self.output.path().join("..data")).unwrap()
    }
}

/// The program, running; it is killed where a test ends before it.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
}

impl Running {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for a condition while the program runs.
    pub(crate) async fn until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the program ended ({ended:?}) before {what}:\n{}", self.log());
            assert!(Instant::now() < deadline, "never: {what}\n{}", self.log());
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn until_logged(&mut self, text: &str) {
        let log = self.log.clone();
        self.until(text, || fs::read_to_string(&log).unwrap().contains(text)).await;
    }

    pub(crate) async fn ended(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Ended { code: status.code(), log: self.log() };
            }
            assert!(Instant::now() < deadline, "the program does not end:\n{}", self.log());
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn stop(self) -> Ended {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.ended().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// An application that wants to be told of changes.
pub(crate) struct Application {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Application {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&heads);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap() > 0 {}
                keep.lock().unwrap().push(String::from_utf8(head).unwrap());
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            }
        });
        Self { address, heads, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/reload", self.address)
    }

    pub(crate) fn calls(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}
