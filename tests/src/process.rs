//! Programs as processes.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::process::Pid;
pub use rustix::process::Signal;

use crate::wait;

/// A running program. Killed when it is dropped, unless it is [left](Process::leave).
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    left: bool,
}

impl Process {
    /// Starts a program; what it prints is added to the file `log`. It gets no input, and no signal from the terminal.
    ///
    /// # Errors
    /// Where the program or the log is not there.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{} cannot be started", command.get_program().display()))?;
        Ok(Self { child, log: log.to_owned(), left: false })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the program has printed so far.
    ///
    /// # Errors
    /// Where the log is gone.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }

    /// How the program ended; none while it runs.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for the program's own end.
    ///
    /// # Errors
    /// Where it does not end within `limit`; the message holds what it printed.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = wait::until(limit, "a program to end", || self.ended());
        ended.with_context(|| self.log().unwrap_or_default())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// Where the program has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("not a process id")?;
        Ok(rustix::process::kill_process(id, signal)?)
    }

    /// Ends the program as it would not wish to: SIGKILL.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        if self.ended()?.is_none() {
            self.child.kill()?;
            self.child.wait()?;
        }
        Ok(())
    }

    /// Asks the program to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// Where it does not end within [`wait::PATIENCE`].
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(wait::PATIENCE)
    }

    /// Lets the program run on.
    pub fn leave(mut self) {
        self.left = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.left {
            drop(self.kill());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_process_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(Command::new("sleep").arg("1000"), &folder.path().join("log")).unwrap();
        let proc = PathBuf::from(format!("/proc/{}", process.id()));
        assert!(proc.exists());
        drop(process);
        assert!(!proc.exists());
    }

    #[test]
    fn what_a_program_prints_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut process =
            Process::start(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]), &folder.path().join("log"))
                .unwrap();
        assert_eq!(process.wait(wait::PATIENCE).unwrap().code(), Some(3));
        assert_eq!(process.log().unwrap(), "out\nerr\n");
    }
}
