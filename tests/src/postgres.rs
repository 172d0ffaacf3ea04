//! A real PostgreSQL for a test, from Debian's packages: with data, port and certificates of its own.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::PathBuf,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::{
    account,
    port::Port,
    process::{Process, Signal},
    wait::{self, PATIENCE},
};

/// The user that the server runs as: it refuses to be root.
const ACCOUNT: &str = "postgres";
/// Where Debian puts each version's programs.
const VERSIONS: &str = "/usr/lib/postgresql";

/// A PostgreSQL server. Ends, and its data go, when it is dropped.
#[derive(Debug)]
pub struct Postgres {
    process: Option<Process>,
    folder: TempDir,
    programs: PathBuf,
    ids: (u32, u32),
    port: Port,
}

impl Postgres {
    /// A server that listens on loopback, without TLS. Needs root, and the package `postgresql`.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start() -> Result<Self> {
        Self::start_with(None)
    }

    /// The same with TLS: certificate and key, PEM.
    ///
    /// # Errors
    /// As there.
    pub fn start_with_tls(certificate: &str, key: &str) -> Result<Self> {
        Self::start_with(Some((certificate, key)))
    }

    fn start_with(tls: Option<(&str, &str)>) -> Result<Self> {
        let versions = fs::read_dir(VERSIONS).context("the package postgresql is not installed")?;
        let newest = versions.filter_map(|entry| Some(entry.ok()?.path())).max().context("there is no version of PostgreSQL")?;
        let programs = newest.join("bin");
        let ids = account::ids(ACCOUNT)?;
        let folder = tempfile::Builder::new().prefix("coffer-postgres").tempdir_in("/var/tmp")?;
        account::own(folder.path(), ids)?;
        let mut server = Self { process: None, folder, programs, ids, port: Port::reserve()? };
        let options = ["--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C"];
        let made = server.program("initdb").arg("-D").arg(server.data()).args(options).output()?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        if let Some((certificate, key)) = tls {
            for (name, text) in [("server.crt", certificate), ("server.key", key)] {
                let file = server.data().join(name);
                fs::write(&file, text)?;
                fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
                account::own(&file, ids)?;
            }
            let mut config = fs::read_to_string(server.data().join("postgresql.conf"))?;
            config.push_str("\nssl = on\nssl_min_protocol_version = 'TLSv1.2'\n");
            fs::write(server.data().join("postgresql.conf"), config)?;
        }
        server.resume()?;
        Ok(server)
    }

    /// The port on loopback.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port.number()
    }

    /// Everything that the server wrote to its log.
    ///
    /// # Errors
    /// Where the log is gone.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.log_file())?)
    }

    /// Runs SQL as the superuser; gives the rows, a line each, with `|` between columns.
    ///
    /// # Errors
    /// Where the server refuses it.
    pub fn sql(&self, sql: &str) -> Result<String> {
        let told = self.client(None).args(["-c", sql]).output()?;
        ensure!(told.status.success(), "{sql}: {}", String::from_utf8_lossy(&told.stderr));
        Ok(String::from_utf8(told.stdout)?.trim_end().to_owned())
    }

    /// A client, `psql`, of a user with a password over TCP, or of the superuser where none is given.
    #[must_use]
    pub fn client(&self, user: Option<(&str, &str)>) -> Command {
        let mut client = self.program("psql");
        client
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", "postgres"])
            .args(["-p", &self.port.number().to_string()]);
        match user {
            Some((user, password)) => client.args(["-h", "127.0.0.1", "-U", user]).env("PGPASSWORD", password),
            None => client.arg("-h").arg(self.folder.path()).args(["-U", ACCOUNT]),
        };
        client
    }

    /// Runs SQL as a user; whether that was refused, and why, is for the caller to see.
    ///
    /// # Errors
    /// Where the client cannot be started.
    pub fn sql_as(&self, user: &str, password: &str, sql: &str) -> Result<Output> {
        Ok(self.client(Some((user, password))).args(["-c", sql]).output()?)
    }

    /// Takes the server away at once.
    ///
    /// # Errors
    /// Where it does not end.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::QUIT)?;
            process.wait(PATIENCE)?;
        }
        Ok(())
    }

    /// Brings it back.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn resume(&mut self) -> Result<()> {
        let mut command = self.program("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.number().to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
            .args(["-c", "log_statement=all", "-c", "max_connections=200"])
            .args(["-c", &format!("unix_socket_directories={}", self.folder.path().display())]);
        let mut process = Process::start(&mut command, &self.log_file())?;
        wait::until(PATIENCE, "PostgreSQL to answer", || {
            if process.ended()?.is_some() {
                bail!("PostgreSQL does not start: {}", process.log()?);
            }
            Ok(self.sql("SELECT 1").ok())
        })?;
        self.process = Some(process);
        Ok(())
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(self.folder.path()).uid(self.ids.0).gid(self.ids.1).env("LC_ALL", "C");
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its children end with it, if it is asked; killed, it would leave them.
        drop(self.stop());
    }
}
