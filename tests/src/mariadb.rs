//! A real MariaDB for a test, from Debian's packages: with data, port and certificates of its own.

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
    process::Process,
    wait::{self, PATIENCE},
};

/// The user that the server runs as.
const ACCOUNT: &str = "mysql";

/// A MariaDB server. Ends, and its data go, when it is dropped.
#[derive(Debug)]
pub struct MariaDb {
    process: Option<Process>,
    folder: TempDir,
    ids: (u32, u32),
    port: Port,
    has_tls: bool,
}

impl MariaDb {
    /// A server that listens on loopback, without TLS. Needs root, and the package `mariadb-server`.
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
        let ids = account::ids(ACCOUNT).context("the package mariadb-server is not installed")?;
        let folder = tempfile::Builder::new().prefix("coffer-mariadb").tempdir_in("/var/tmp")?;
        account::own(folder.path(), ids)?;
        let mut server = Self { process: None, folder, ids, port: Port::reserve()?, has_tls: tls.is_some() };
        let made = server
            .program("mariadb-install-db")
            .arg(format!("--datadir={}", server.file("data").display()))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .output()
            .context("the package mariadb-server is not installed")?;
        ensure!(made.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&made.stderr));
        if let Some((certificate, key)) = tls {
            for (name, text) in [("server.crt", certificate), ("server.key", key)] {
                let file = server.file(name);
                fs::write(&file, text)?;
                fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
                account::own(&file, ids)?;
            }
        }
        server.resume()?;
        Ok(server)
    }

    /// The port on loopback.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port.number()
    }

    /// Everything that the server wrote to its logs: the general one, which has each statement, the one of changes, and its own.
    ///
    /// # Errors
    /// Where one is gone.
    pub fn log(&self) -> Result<String> {
        let mut log = String::new();
        for name in ["general", "log", "changes.000001"] {
            log.push_str(&String::from_utf8_lossy(&fs::read(self.file(name))?));
        }
        Ok(log)
    }

    /// Runs SQL as root; gives the rows, a line each, with tabs between columns.
    ///
    /// # Errors
    /// Where the server refuses it.
    pub fn sql(&self, sql: &str) -> Result<String> {
        let told = self.client(None).args(["-e", sql]).output()?;
        ensure!(told.status.success(), "{sql}: {}", String::from_utf8_lossy(&told.stderr));
        Ok(String::from_utf8(told.stdout)?.trim_end().to_owned())
    }

    /// A client, `mariadb`, of a user with a password over TCP, or of root where none is given.
    #[must_use]
    pub fn client(&self, user: Option<(&str, &str)>) -> Command {
        let mut client = self.program("mariadb");
        client.args(["--batch", "--skip-column-names", "--default-character-set=utf8mb4"]);
        match user {
            Some((user, password)) => {
                client.args([
                    "--host=127.0.0.1",
                    "--protocol=tcp",
                    &format!("--port={}", self.port.number()),
                    &format!("--user={user}"),
                ]);
                client.env("MYSQL_PWD", password);
            }
            None => {
                client.args([&format!("--socket={}", self.file("socket").display()), "--user=root"]);
            }
        }
        client
    }

    /// Runs SQL as a user; whether that was refused, and why, is for the caller to see.
    ///
    /// # Errors
    /// Where the client cannot be started.
    pub fn sql_as(&self, user: &str, password: &str, sql: &str) -> Result<Output> {
        Ok(self.client(Some((user, password))).args(["-e", sql]).output()?)
    }

    /// Takes the server away.
    ///
    /// # Errors
    /// Where it does not end.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.terminate()?;
        }
        Ok(())
    }

    /// Brings it back.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn resume(&mut self) -> Result<()> {
        let mut command = self.program("/usr/sbin/mariadbd");
        let option = |name: &str, value: &dyn std::fmt::Display| format!("--{name}={value}");
        command
            .arg(option("datadir", &self.file("data").display()))
            .arg(option("port", &self.port.number()))
            .arg(option("socket", &self.file("socket").display()))
            .arg(option("pid-file", &self.file("pid").display()))
            .arg(option("general-log-file", &self.file("general").display()))
            .arg(option("log-bin", &self.file("changes").display()))
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--general-log", "--max-connections=60", "--server-id=1"])
            .args(["--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0", "--performance-schema=off"]);
        if self.has_tls {
            command
                .arg(option("ssl-cert", &self.file("server.crt").display()))
                .arg(option("ssl-key", &self.file("server.key").display()));
        }
        let mut process = Process::start(&mut command, &self.file("log"))?;
        wait::until(PATIENCE, "MariaDB to answer", || {
            if process.ended()?.is_some() {
                bail!("MariaDB does not start: {}", process.log()?);
            }
            Ok(self.sql("SELECT 1").ok())
        })?;
        self.process = Some(process);
        Ok(())
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.arg("--no-defaults").current_dir(self.folder.path()).uid(self.ids.0).gid(self.ids.1).env("LC_ALL", "C");
        // Its files there have names that those of another server may have, too.
        command.env("TMPDIR", self.folder.path());
        command
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
