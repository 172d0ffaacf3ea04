//! What is remembered of a development server, so that another run of the command finds and ends it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{fs::Mode, process::Signal};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::{
    app::App,
    child,
    context::{Contexts, Target},
    exit::Exit,
    failure::{Failure, Result},
    memory::{self, MemoryFolder},
    session::Session,
};

/// The file's name.
const FILE: &str = "state.json";
/// How long a server may take to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
const PAUSE: Duration = Duration::from_millis(20);

/// The people of a development server: the developer has no role.
pub(super) const ROLES: [&str; 4] = ["", "admin", "officer", "auditor"];

/// The context of somebody with this role.
pub(super) fn context(name: &str, role: &str) -> String {
    if role.is_empty() { name.to_owned() } else { format!("{name}-{role}") }
}

/// What is remembered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// The command that runs it.
    pub(super) process: u32,
    /// The server.
    pub(super) server: u32,
    /// What the contexts are called.
    pub(super) name: String,
}

impl State {
    pub(super) fn write(&self, folder: &MemoryFolder) -> Result<()> {
        folder.write(FILE, serde_json::json!(self).to_string().as_bytes(), Mode::RUSR).map(drop)
    }

    fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join(FILE)).ok()?).ok()
    }

    /// Removes the contexts and their sessions.
    pub(super) fn forget(&self, app: &App) -> Result<()> {
        let mut contexts = Contexts::read(&app.paths.config)?;
        for name in ROLES.map(|role| context(&self.name, role)) {
            let Some(vault) = contexts.contexts.remove(&name) else { continue };
            Session::remove(&app.paths, &Target { context: Some(name.clone()), vault })?;
            contexts.current = contexts.current.filter(|current| *current != name);
        }
        contexts.write(&app.paths.config)
    }
}

/// Ends what runs, and removes what was left. Tells whether there was anything.
pub(super) async fn stop(app: &App, folder: &Path) -> Result<bool> {
    if !folder.exists() {
        return Ok(false);
    }
    if memory::is_held(folder) {
        let Some(state) = State::read(folder) else {
            return Err(Failure::new(Exit::Conflict, "a development server is just starting").next("try again in a moment"));
        };
        child::send(state.process, Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while memory::is_held(folder) {
            if Instant::now() > deadline {
                let next = format!("kill {}", state.process);
                return Err(Failure::new(Exit::Failed, "the development server does not end").next(next));
            }
            sleep(PAUSE).await;
        }
    }
    clear(app, folder)?;
    Ok(true)
}

/// Removes what a killed command left, its server included.
pub(super) fn clear(app: &App, folder: &Path) -> Result<()> {
    if !folder.exists() || memory::is_held(folder) {
        return Ok(());
    }
    if let Some(state) = State::read(folder) {
        // Its own: the server's arguments name a file in the folder.
        if is_server_of(state.server, folder) {
            child::send(state.server, Signal::TERM);
        }
        state.forget(app)?;
    }
    memory::remove(folder);
    Ok(())
}

fn is_server_of(process: u32, folder: &Path) -> bool {
    let command = fs::read(PathBuf::from(format!("/proc/{process}/cmdline"))).unwrap_or_default();
    let config = folder.join("server.toml");
    command.split(|byte| *byte == 0).any(|argument| argument == config.as_os_str().as_encoded_bytes())
}
