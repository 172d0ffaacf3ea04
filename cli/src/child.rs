//! Programs that the command runs beside itself.

use std::{
    io,
    process::{Command, ExitStatus},
};

use rustix::process::{Pid, Signal};
use tokio::task::JoinHandle;

/// A running program. Killed when it is dropped.
///
/// A thread waits for it: nothing else would tell a runtime of one thread that it has ended.
#[derive(Debug)]
pub(crate) struct Child {
    id: u32,
    waiting: JoinHandle<io::Result<ExitStatus>>,
    ended: Option<ExitStatus>,
}

impl Child {
    /// Starts a program.
    ///
    /// # Errors
    /// Where it is not there, or cannot be run.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let id = child.id();
        Ok(Self { id, waiting: tokio::task::spawn_blocking(move || child.wait()), ended: None })
    }

    /// The process id.
    pub(crate) const fn id(&self) -> u32 {
        self.id
    }

    /// Waits for the program's end. May be given up and called again.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        let status = (&mut self.waiting).await.map_err(io::Error::other)??;
        self.ended = Some(status);
        Ok(status)
    }

    /// Whether it runs no more.
    pub(crate) fn is_over(&self) -> bool {
        self.ended.is_some() || self.waiting.is_finished()
    }

    /// Sends a signal; nothing where it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        // A number that is free again could be somebody else's by now.
        if !self.is_over() {
            send(self.id, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Sends a signal to a process, which may have ended.
pub(crate) fn send(process: u32, signal: Signal) {
    if let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        // One that has ended needs none.
        drop(rustix::process::kill_process(process, signal).map_err(io::Error::from));
    }
}
