//! A real Redis for a test, from Debian's packages: with users, port and certificates of its own.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::{
    port::Port,
    process::Process,
    wait::{self, PATIENCE},
};

/// The password of the user `default`, who may do everything.
const DEFAULT_PASSWORD: &str = "the-one-of-the-test";

/// A Redis server. Ends, and its data go, when it is dropped.
#[derive(Debug)]
pub struct Redis {
    process: Option<Process>,
    folder: TempDir,
    port: Port,
    has_tls: bool,
}

impl Redis {
    /// A server that listens on loopback, without TLS, and keeps its users in a file. Needs the package `redis-server`.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start() -> Result<Self> {
        Self::start_with(None, true)
    }

    /// The same with TLS: certificate and key, PEM.
    ///
    /// # Errors
    /// As there.
    pub fn start_with_tls(certificate: &str, key: &str) -> Result<Self> {
        Self::start_with(Some((certificate, key)), true)
    }

    /// Without a file for its users.
    ///
    /// # Errors
    /// As there.
    pub fn start_without_users_file() -> Result<Self> {
        Self::start_with(None, false)
    }

    fn start_with(tls: Option<(&str, &str)>, keeps_users: bool) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("coffer-redis").tempdir_in("/var/tmp")?;
        let reserved = Port::reserve()?;
        let port = reserved.number();
        let mut server = Self { process: None, folder, port: reserved, has_tls: tls.is_some() };
        let path = |name: &str| server.file(name).display().to_string();
        let default = format!("user default on >{DEFAULT_PASSWORD} ~* &* +@all\n");
        let mut config = format!(
            "bind 127.0.0.1\nunixsocket {}\nunixsocketperm 700\ndir {}\nsave 60 1\nmaxclients 60\nport {}\n",
            path("socket"),
            server.folder.path().display(),
            if tls.is_some() { 0 } else { port },
        );
        if let Some((certificate, key)) = tls {
            fs::write(server.file("server.crt"), certificate)?;
            fs::write(server.file("server.key"), key)?;
            let files = format!("tls-cert-file {}\ntls-key-file {}\n", path("server.crt"), path("server.key"));
            config.push_str(&format!("tls-port {port}\ntls-auth-clients no\n{files}"));
        }
        if keeps_users {
            fs::write(server.file("users.acl"), default)?;
            config.push_str(&format!("aclfile {}\n", path("users.acl")));
        } else {
            config.push_str(&default);
        }
        fs::write(server.file("redis.conf"), config)?;
        server.resume()?;
        Ok(server)
    }

    /// The port on loopback.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port.number()
    }

    /// Everything that the server wrote to its log and to the file of its users.
    ///
    /// # Errors
    /// Where one is gone.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.file("log"))? + &fs::read_to_string(self.file("users.acl"))?)
    }

    /// Has a command done as the user `default`; gives the reply, a line for each text of a list.
    ///
    /// # Errors
    /// Where the server refuses it.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        let told = self.client(None).args(words).output()?;
        ensure!(told.status.success(), "{words:?}: {}", String::from_utf8_lossy(&told.stderr));
        Ok(String::from_utf8(told.stdout)?.trim_end().to_owned())
    }

    /// A client, `redis-cli`, of a user with a password over TCP, or of `default` where none is given.
    #[must_use]
    pub fn client(&self, user: Option<(&str, &str)>) -> Command {
        let mut client = Command::new("redis-cli");
        client.args(["-e", "--no-auth-warning"]);
        match user {
            Some((user, password)) => {
                client
                    .args(["-h", "127.0.0.1", "-p", &self.port.number().to_string(), "--user", user])
                    .env("REDISCLI_AUTH", password);
                if self.has_tls {
                    client.args(["--tls", "--insecure"]);
                }
            }
            None => {
                client.arg("-s").arg(self.file("socket")).env("REDISCLI_AUTH", DEFAULT_PASSWORD);
            }
        }
        client
    }

    /// Has a command done as a user; whether that was refused, and why, is for the caller to see.
    ///
    /// # Errors
    /// Where the client cannot be started.
    pub fn ask_as(&self, user: &str, password: &str, words: &[&str]) -> Result<Output> {
        Ok(self.client(Some((user, password))).args(words).output()?)
    }

    /// Takes the server away, as it is when it goes by itself: with its users in the file, if they are kept.
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
        let mut command = Command::new("redis-server");
        command.arg(self.file("redis.conf")).current_dir(self.folder.path());
        let process = Process::start(&mut command, &self.file("log"));
        let mut process = process.context("the package redis-server is not installed")?;
        wait::until(PATIENCE, "Redis to answer", || {
            if process.ended()?.is_some() {
                bail!("Redis does not start: {}", process.log()?);
            }
            Ok(self.ask(&["PING"]).ok().filter(|reply| reply == "PONG"))
        })?;
        self.process = Some(process);
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
