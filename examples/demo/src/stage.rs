//! Who and what takes part.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{
    command::Coffer,
    issuer::{Issuer, Pod, uuid},
    memory,
    process::Process,
    programs::Programs,
    server::Server,
};
use serde_json::Value;
use tempfile::TempDir;

/// How long a service-account token lasts: what the kubelet asks for.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3_607);

/// The programs that run now: to end them where somebody interrupts the demonstration.
#[derive(Debug, Default, Clone)]
pub(crate) struct Running(Arc<Mutex<Vec<u32>>>);

impl Running {
    /// One more.
    pub(crate) fn add(&self, process: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(process);
    }

    /// Ends them all.
    pub(crate) fn end(&self) {
        for process in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It may have ended on its own.
            drop(Command::new("kill").args(["-KILL", &process.to_string()]).status());
        }
    }
}

/// An operator at a computer of their own.
pub(crate) struct Person {
    pub(crate) name: &'static str,
    pub(crate) password: String,
    pub(crate) coffer: Coffer,
}

impl Person {
    /// Somebody with a password, who knows where the vault is.
    pub(crate) fn new(name: &'static str, programs: &Programs, server: &Server) -> Result<Self> {
        let coffer = Coffer::new(programs)?;
        let ca = server.ca();
        coffer.ok(["context", "set", "demo", "--address", &server.url()?, "--ca", path(&ca)?])?;
        Ok(Self { name, password: uuid()?, coffer })
    }

    /// Logs in with the password.
    pub(crate) fn log_in(&self) -> Result<()> {
        self.coffer.ok_with(["login", self.name, "--password-file", "-"], &self.password).map(drop)
    }
}

/// A pod's part: a token, a folder in memory, and the agent.
pub(crate) struct Workload {
    folder: TempDir,
    program: PathBuf,
}

impl Workload {
    /// A pod of a service account that wants the secret at `path` as files.
    pub(crate) fn new(programs: &Programs, server: &Server, issuer: &Issuer, account: &str, secret: &str) -> Result<Self> {
        let (folder, pod) = (memory::folder()?, Pod::new("shop", account)?);
        fs::write(folder.path().join("token"), issuer.token(&pod, TOKEN_LIFETIME)?)?;
        fs::create_dir(folder.path().join("secrets"))?;
        // Addresses and temporary paths are plain text: quoted as Rust quotes them they are TOML.
        let config = format!(
            "[vault]\naddress = {:?}\nca_file = {:?}\ntoken_file = {:?}\n\n[output]\ndirectory = {:?}\n\n\
             [[secrets]]\nname = \"password\"\npath = {secret:?}\nformat = \"raw\"\nfield = \"password\"\n\n\
             [[secrets]]\nname = \"database.env\"\npath = {secret:?}\nformat = \"dotenv\"\n",
            server.url()?,
            server.ca(),
            folder.path().join("token"),
            folder.path().join("secrets"),
        );
        fs::write(folder.path().join("agent.toml"), config)?;
        Ok(Self { folder, program: programs.agent() })
    }

    /// Starts the agent.
    pub(crate) fn start(&self, arguments: &[&str]) -> Result<Process> {
        let mut command = Command::new(&self.program);
        command.env_clear().args(arguments).arg("--config").arg(self.folder.path().join("agent.toml"));
        Process::start(&mut command, &self.folder.path().join("log"))
    }

    /// The file of this name, as the application sees it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("secrets").join(name)
    }
}

/// What the command printed as JSON.
pub(crate) fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).context("the command printed no JSON")
}

/// A member of a JSON object that is text.
pub(crate) fn text<'a>(value: &'a Value, member: &str) -> Result<&'a str> {
    value.get(member).and_then(Value::as_str).with_context(|| format!("there is no {member}"))
}

/// A path as text.
pub(crate) fn path(path: &Path) -> Result<&str> {
    let text = path.to_str().context("a temporary folder has a plain name")?;
    ensure!(!text.contains('\n'), "a temporary folder has a plain name");
    Ok(text)
}
