//! The `coffer` command, run as a person runs it.

use std::{
    ffi::OsStr,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::{memory, programs::Programs};

/// How a run of the command ended.
#[derive(Debug)]
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

/// One person's `coffer`: a home folder in memory, with contexts and sessions, and nothing else of the environment.
#[derive(Debug)]
pub struct Coffer {
    program: PathBuf,
    home: TempDir,
}

impl Coffer {
    /// A person who has never used it.
    ///
    /// # Errors
    /// Where there is no memory for its folder.
    pub fn new(programs: &Programs) -> Result<Self> {
        Ok(Self { program: programs.coffer(), home: memory::folder()? })
    }

    /// The person's home folder.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs the command to its end.
    ///
    /// # Errors
    /// Where it cannot be started, or is killed.
    pub fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Ran> {
        self.run_with(arguments, "")
    }

    /// Runs the command to its end, with input.
    ///
    /// # Errors
    /// Where it cannot be started, or is killed.
    pub fn run_with(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>, input: &str) -> Result<Ran> {
        let mut child = self
            .command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", self.program.display()))?;
        // A command that wants no input may have ended before it is written: its exit code says how that went.
        drop(child.stdin.take().context("there is a pipe")?.write_all(input.as_bytes()));
        let output = child.wait_with_output()?;
        Ok(Ran {
            code: output.status.code().context("the command was killed")?,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs the command, which must succeed, and gives what it printed.
    ///
    /// # Errors
    /// Where it fails: the message holds what it complained of.
    pub fn ok(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        self.ok_with(arguments, "")
    }

    /// Runs the command with input; it must succeed. Gives what it printed.
    ///
    /// # Errors
    /// Where it fails: the message holds what it complained of.
    pub fn ok_with(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>, input: &str) -> Result<String> {
        let arguments: Vec<_> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        let ran = self.run_with(&arguments, input)?;
        let line = arguments.join(OsStr::new(" "));
        ensure!(ran.code == 0, "coffer {} ended with {}:\n{}", line.display(), ran.code, ran.stderr);
        Ok(ran.stdout)
    }

    /// The command, to be run in another way: with other streams, or to be left running.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("HOME", self.home.path()).env("PATH", "/usr/bin:/bin").current_dir(self.home.path());
        // The home is in memory already: what is private to a login is in it.
        command.env("XDG_RUNTIME_DIR", self.home.path());
        command
    }
}
