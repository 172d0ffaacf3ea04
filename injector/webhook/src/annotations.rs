//! What a pod asks for.
//!
//! Everything that begins with [`PREFIX`] must be understood: a name that is mistyped refuses the pod rather than leaving it
//! without what it asked for.

mod file;
mod names;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use file::{FileRequest, SourceRequest};
pub use names::{Annotation, OF_FILES, OF_POD};

use crate::Refusal;

/// What the names of Coffer's annotations begin with.
pub const PREFIX: &str = "coffer.dev/";
/// The annotation that asks for injection.
pub const INJECT: &str = "coffer.dev/inject";
/// The annotation that says that it was done.
pub const STATUS: &str = "coffer.dev/status";
/// What [`STATUS`] says.
pub const INJECTED: &str = "injected";

/// What a pod asks for. What it says nothing about is left to the injector's settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// Its files: at least one.
    pub files: BTreeMap<String, FileRequest>,
    /// Whether the injection is said to be done already.
    pub is_injected: bool,
    /// Where the files are in containers.
    pub path: Option<String>,
    /// The mode of the files, octal.
    pub mode: Option<String>,
    /// Whose the files are: a user's id, and a group's.
    pub owner: Option<(u32, Option<u32>)>,
    /// The containers that get the files; none for all.
    pub containers: Option<BTreeSet<String>>,
    /// What the agent is.
    pub agent: Agent,
    /// How the application is told of changes.
    pub notify: Option<Notify>,
    /// Whether it is told of the first files as well.
    pub notify_on_start: bool,
    /// Whether credentials end when the sidecar is told to stop.
    pub revoke_on_exit: bool,
    /// The agent's resources, by `requests` or `limits` and the resource; an empty amount takes it away.
    pub resources: BTreeMap<(&'static str, &'static str), String>,
    /// How much memory the files may take.
    pub volume_size: Option<String>,
    /// The agent's image.
    pub image: Option<String>,
    /// The vault.
    pub vault_address: Option<String>,
    /// The name in the vault's certificate.
    pub vault_server_name: Option<String>,
    /// The ConfigMap with the vault's CA certificates, in the pod's namespace.
    pub ca_config_map: Option<String>,
    /// The tenant.
    pub tenant: Option<String>,
    /// The name under which the cluster is registered.
    pub cluster: Option<String>,
    /// What the agent logs.
    pub log_level: Option<String>,
    /// Whether images get digests.
    pub pin_images: Option<bool>,
}

/// What the agent is in a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Agent {
    /// A sidecar that follows changes.
    #[default]
    Sidecar,
    /// An init container, which writes the files once.
    Init,
}

/// How the application is told of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notify {
    /// A POST to this address of the pod's own.
    Http(String),
    /// A signal to the processes of this name.
    Signal {
        /// The signal's name.
        signal: String,
        /// The program's.
        process: String,
    },
}

impl Request {
    /// What these annotations ask for; none where that is nothing.
    ///
    /// # Errors
    /// Where one is unknown, cannot be understood, or contradicts another.
    pub fn read<'a>(annotations: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Option<Self>, Refusal> {
        let ours = annotations.into_iter().filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value)));
        let ours: BTreeMap<&str, &str> = ours.collect();
        match ours.get("inject").copied() {
            Some("true") => {}
            Some("false") => return Ok(None),
            Some(other) => return Err(Refusal::of("inject", format!("{other:?} is neither \"true\" nor \"false\""))),
            None => {
                let Some((name, _)) = ours.iter().find(|(name, _)| **name != "status") else { return Ok(None) };
                return Err(Refusal::of(name, format!("nothing is injected without {INJECT}: \"true\"")));
            }
        }
        let mut request = Self::default();
        let mut notify = (None, None, None);
        for (name, value) in ours {
            if name == "inject" || request.of_pod(name, value, &mut notify)? {
                continue;
            }
            let Some((annotation, file)) = names::of_file(name) else {
                return Err(Refusal::of(name, "there is no such annotation: docs/injection.md has all that there are"));
            };
            let files = request.files.entry(file.to_owned()).or_default();
            files.set(annotation, value).map_err(|why| Refusal::of(name, why))?;
        }
        request.notify = match notify {
            (None, None, None) => None,
            (Some(http), None, None) => Some(Notify::Http(http)),
            (None, Some(signal), Some(process)) => Some(Notify::Signal { signal, process }),
            (Some(_), ..) => {
                return Err(Refusal::of("notify-http", "the application is told by HTTP or by a signal, not by both"));
            }
            (None, Some(_), None) => {
                return Err(Refusal::of("notify-signal", "coffer.dev/notify-process names the program to signal"));
            }
            (None, None, Some(_)) => return Err(Refusal::of("notify-process", "coffer.dev/notify-signal names the signal")),
        };
        request.check()?;
        Ok(Some(request))
    }

    /// Takes an annotation that is about the whole pod; whether it is one.
    fn of_pod(
        &mut self,
        name: &str,
        value: &str,
        notify: &mut (Option<String>, Option<String>, Option<String>),
    ) -> Result<bool, Refusal> {
        let text = || match value.trim() {
            "" => Err(Refusal::of(name, "it is empty")),
            text => Ok(Some(text.to_owned())),
        };
        match name {
            "status" => self.is_injected = value == INJECTED,
            "path" => self.path = text()?,
            "mode" => self.mode = text()?,
            "owner" => self.owner = Some(owner(value).ok_or_else(|| Refusal::of(name, "write UID or UID:GID, in numbers"))?),
            "containers" => {
                let names: BTreeSet<String> = value.split(',').map(|name| name.trim().to_owned()).collect();
                if names.contains("") {
                    return Err(Refusal::of(name, "write the names of containers, with commas between them"));
                }
                self.containers = Some(names);
            }
            "init-only" => self.agent = if flag(name, value)? { Agent::Init } else { Agent::Sidecar },
            "notify-http" => notify.0 = text()?,
            "notify-signal" => notify.1 = text()?,
            "notify-process" => notify.2 = text()?,
            "notify-on-start" => self.notify_on_start = flag(name, value)?,
            "revoke-on-exit" => self.revoke_on_exit = flag(name, value)?,
            "volume-size" => self.volume_size = text()?,
            "image" => self.image = text()?,
            "vault-address" => self.vault_address = text()?,
            "vault-server-name" => self.vault_server_name = text()?,
            "ca-config-map" => self.ca_config_map = text()?,
            "tenant" => self.tenant = text()?,
            "cluster" => self.cluster = text()?,
            "log-level" => self.log_level = text()?,
            "pin-images" => self.pin_images = Some(flag(name, value)?),
            "requests-cpu" => drop(self.resources.insert(("requests", "cpu"), value.trim().to_owned())),
            "requests-memory" => drop(self.resources.insert(("requests", "memory"), value.trim().to_owned())),
            "limits-cpu" => drop(self.resources.insert(("limits", "cpu"), value.trim().to_owned())),
            "limits-memory" => drop(self.resources.insert(("limits", "memory"), value.trim().to_owned())),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What only shows where everything was read.
    fn check(&self) -> Result<(), Refusal> {
        if self.files.is_empty() {
            return Err(Refusal::of("inject", "no secret is named: write coffer.dev/secret-NAME: MOUNT/PATH"));
        }
        for (name, file) in &self.files {
            file.check(name)?;
        }
        if self.agent == Agent::Init {
            let follows = [
                ("notify-http or notify-signal", self.notify.is_some()),
                ("notify-on-start", self.notify_on_start),
                ("revoke-on-exit", self.revoke_on_exit),
            ];
            if let Some((what, _)) = follows.iter().find(|(_, asked)| *asked) {
                return Err(Refusal::of(
                    "init-only",
                    format!("nothing is done after the start, so there is nothing for {what} to say"),
                ));
            }
            if let Some((name, _)) = self.files.iter().find(|(_, file)| file.has_credential()) {
                return Err(Refusal::of("init-only", format!("nobody would renew the credential of {name}")));
            }
        }
        if self.notify_on_start && self.notify.is_none() {
            return Err(Refusal::of(
                "notify-on-start",
                "coffer.dev/notify-http or notify-signal says how the application is told",
            ));
        }
        Ok(())
    }
}

fn flag(name: &str, value: &str) -> Result<bool, Refusal> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(Refusal::of(name, format!("{other:?} is neither \"true\" nor \"false\""))),
    }
}

fn owner(text: &str) -> Option<(u32, Option<u32>)> {
    match text.split_once(':') {
        Some((uid, gid)) => Some((uid.parse().ok()?, Some(gid.parse().ok()?))),
        None => Some((text.parse().ok()?, None)),
    }
}
