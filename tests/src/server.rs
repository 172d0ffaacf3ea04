//! The vault server as a process.

use std::{
    ffi::OsString,
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::{fs::DirBuilderExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;
use toml::{Table, Value};

use crate::{leaks::Canaries, port::Port, process::Process, programs::Programs, wait};

/// A vault server with a folder of its own. Everything is removed when it is dropped; before that, all that it leaves (log,
/// store, audit log, arguments, environment) is searched for the secrets that were noted in [`Server::canaries`].
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    program: PathBuf,
    settings: Table,
    environment: Vec<(String, OsString)>,
    /// Run by a shell before the server, which takes the shell's place.
    prelude: Option<String>,
    process: Option<Process>,
    /// Its own also while it is stopped.
    port: Port,
    was_started: bool,
    canaries: Arc<Canaries>,
}

impl Server {
    /// A server that is not started yet: sled, Shamir's seal, a free port on the loopback interface, and a log that tells
    /// everything.
    ///
    /// # Errors
    /// Where there is no room for its folder.
    pub fn new(programs: &Programs) -> Result<Self> {
        Self::new_in(programs, &std::env::temp_dir())
    }

    /// As [`Server::new`], with its folder inside the one given.
    ///
    /// # Errors
    /// As [`Server::new`].
    pub fn new_in(programs: &Programs, parent: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("coffer-server-").tempdir_in(parent)?;
        Ok(Self::at(folder, programs.server(), Table::new())?
            .with("tls", "names", vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
            .with("store", "kind", "sled")
            .with("seal", "kind", "shamir")
            .with("log", "level", "trace")
            .with("log", "format", "text"))
    }

    /// A server that is configured as this one, and has the same CA: in a folder of its own in memory, without store and
    /// audit log.
    ///
    /// # Errors
    /// Where there is no room for its folder, or this one was not started yet.
    pub fn twin(&self) -> Result<Self> {
        let twin = Self::at(crate::memory::folder()?, self.program.clone(), self.settings.clone())?;
        twin.canaries.add_all(&self.canaries);
        let tls = twin.file("tls");
        fs::DirBuilder::new().mode(0o700).create(&tls)?;
        for entry in fs::read_dir(self.file("tls"))? {
            let entry = entry?;
            fs::copy(entry.path(), tls.join(entry.file_name()))?;
        }
        Ok(twin)
    }

    /// A server whose files are all in this folder.
    fn at(folder: TempDir, program: PathBuf, settings: Table) -> Result<Self> {
        let port = Port::reserve()?;
        let address = port.address().to_string();
        let mut server = Self {
            folder,
            program,
            settings,
            environment: Vec::new(),
            prelude: None,
            process: None,
            port,
            was_started: false,
            canaries: Arc::default(),
        };
        for (section, key, file) in [
            ("listen", "socket", "coffer.sock"),
            ("listen", "address_file", "address"),
            ("tls", "directory", "tls"),
            ("store", "path", "store"),
            ("audit", "directory", "audit"),
        ] {
            let path = server.file(file);
            server = server.with(section, key, path.display().to_string());
        }
        Ok(server.with("listen", "address", address))
    }

    /// Sets the variables of the environment, which is otherwise empty, for the next start.
    pub fn set_environment(&mut self, environment: Vec<(String, OsString)>) {
        self.environment = environment;
    }

    /// Has a shell run these commands and then become the server: to start it with other limits or another umask.
    pub fn set_prelude(&mut self, prelude: &str) {
        self.prelude = Some(prelude.to_owned());
    }

    /// The secrets that this server is given. None of them may be in what it leaves.
    #[must_use]
    pub fn canaries(&self) -> &Canaries {
        &self.canaries
    }

    /// Sets one value of the server's configuration, for its next start.
    #[must_use]
    pub fn with(mut self, section: &str, key: &str, value: impl Into<Value>) -> Self {
        self.set(section, key, value);
        self
    }

    /// Sets one value of the server's configuration, for its next start.
    pub fn set(&mut self, section: &str, key: &str, value: impl Into<Value>) {
        let section = self.settings.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(section) = section {
            section.insert(key.to_owned(), value.into());
        }
    }

    /// Sets one value of the server's configuration that stands in no section, for its next start.
    pub fn set_root(&mut self, key: &str, value: impl Into<Value>) {
        self.settings.insert(key.to_owned(), value.into());
    }

    /// Writes the configuration file, for a server that runs and is to read it again.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_config(&self) -> Result<()> {
        Ok(fs::write(self.file("coffer.toml"), toml::to_string(&self.settings)?)?)
    }

    /// Takes one value out of the server's configuration, for its next start.
    pub fn unset(&mut self, section: &str, key: &str) {
        if let Some(Value::Table(section)) = self.settings.get_mut(section) {
            section.remove(key);
        }
    }

    /// Starts the server and waits until it listens. Started again it has the data and the address that it had.
    ///
    /// # Errors
    /// Where it ends, or does not listen within [`wait::PATIENCE`]; the message holds its log.
    pub fn start(&mut self) -> Result<()> {
        if !self.start_until(|_| false)? {
            bail!("nothing else ends the wait");
        }
        Ok(())
    }

    /// Starts the server and waits until it listens (then gives `true`), or until what it has logged since it was
    /// started is enough for `other` (then gives `false`).
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_until(&mut self, other: impl Fn(&str) -> bool) -> Result<bool> {
        let before = self.log().unwrap_or_default().len();
        let mut process = self.spawn()?;
        let waited = wait::until(wait::PATIENCE, "the server to listen", || {
            if let Some(status) = process.ended()? {
                bail!("the server ended with {status}");
            }
            if other(process.log()?.get(before..).unwrap_or_default()) {
                return Ok(Some(false));
            }
            Ok(self.listens().then_some(true))
        });
        let listening = waited.with_context(|| process.log().unwrap_or_default())?;
        self.process = Some(process);
        self.was_started |= listening;
        Ok(listening)
    }

    /// Starts a server that is expected not to stay: waits for its end and gives its log with the exit status.
    ///
    /// # Errors
    /// Where it does not end within [`wait::PATIENCE`].
    pub fn start_in_vain(&mut self) -> Result<(ExitStatus, String)> {
        let mut process = self.spawn()?;
        let status = process.wait(wait::PATIENCE)?;
        Ok((status, process.log()?))
    }

    fn spawn(&mut self) -> Result<Process> {
        self.kill()?;
        for file in [self.socket(), self.file("address")] {
            if file.exists() {
                fs::remove_file(file)?;
            }
        }
        self.write_config()?;
        let config = self.file("coffer.toml");
        let mut command = match &self.prelude {
            None => Command::new(&self.program),
            Some(prelude) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &format!("{prelude}\nexec \"$0\" \"$@\"")]).arg(&self.program);
                shell
            }
        };
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value))).arg("--config").arg(config);
        Process::start(&mut command, &self.file("log"))
    }

    fn listens(&self) -> bool {
        self.file("address").exists()
            && TcpStream::connect_timeout(&self.port.address(), Duration::from_secs(1)).is_ok()
            && UnixStream::connect(self.socket()).is_ok()
    }

    /// Ends the server by SIGKILL, wherever it is; does nothing where it does not run.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// Asks the server to end and waits until it has.
    ///
    /// # Errors
    /// Where it does not run, or does not end.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.process.take().context("the server does not run")?.terminate()
    }

    /// Lets the server run on, with its folder, which is given.
    pub fn leave(mut self) -> PathBuf {
        if let Some(process) = self.process.take() {
            process.leave();
        }
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    /// Searches all that the server leaves, so far, for what is in [`Server::canaries`]; gives how many bytes that was.
    ///
    /// # Errors
    /// Where one of them is there: the message says which and where.
    pub fn search(&self) -> Result<u64> {
        let mut search = self.canaries.search()?;
        search.folder(self.folder.path())?;
        if let Some(process) = &self.process {
            search.process(process.id())?;
        }
        search.end()
    }

    /// The running process.
    ///
    /// # Errors
    /// Where the server was not started, or was ended.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the server does not run")
    }

    /// The address for TLS.
    ///
    /// # Errors
    /// Where the server was not started yet.
    pub fn address(&self) -> Result<SocketAddr> {
        ensure!(self.was_started, "the server was not started");
        Ok(self.port.address())
    }

    /// The address for TLS, as clients take it.
    ///
    /// # Errors
    /// Where the server was not started yet.
    pub fn url(&self) -> Result<String> {
        Ok(format!("https://{}", self.address()?))
    }

    /// The CA certificate that the server's own certificate leads to, PEM.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.file("tls/ca.pem")
    }

    /// The local socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.file("coffer.sock")
    }

    /// The local socket's address, as clients take it.
    #[must_use]
    pub fn socket_url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The folder of the store.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.file("store")
    }

    /// The folder of the audit log.
    #[must_use]
    pub fn audit(&self) -> PathBuf {
        self.file("audit")
    }

    /// Everything that the server printed, over all its starts.
    ///
    /// # Errors
    /// Where it was not started yet.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.file("log"))?).into_owned())
    }

    /// The folder that holds all of the server's files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.canaries.count() == 0 || thread::panicking() {
            return;
        }
        if let Err(error) = self.search() {
            #[expect(clippy::panic, reason = "the kit is for tests: a secret that leaks fails the test")]
            {
                panic!("{error:#}");
            }
        }
    }
}
