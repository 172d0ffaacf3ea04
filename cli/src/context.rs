//! Contexts: named vaults, kept in a file, and the vault that one command talks to.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::{
    failure::{Failure, Result},
    private::{self, Closed},
};

/// Bytes in a context's name, at most.
const NAME_BYTES_MAX: usize = 64;

/// The tenant where none is said.
pub const DEFAULT_TENANT: &str = "default";

/// Where a vault listens: `https://HOST[:PORT]`, or `unix:///PATH` for a server on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(String);

impl Address {
    /// Whether it is a socket of this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.0.starts_with("unix://")
    }

    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') && path.len() > 1 {
                Ok(Self(text.to_owned()))
            } else {
                Err("a unix address is unix:///PATH, with the socket's absolute path".into())
            };
        }
        let Some(rest) = text.strip_prefix("https://") else {
            return Err(match text.split_once("://") {
                Some(("http", _)) => "Coffer speaks TLS only: write https://".into(),
                Some((scheme, _)) => format!("'{scheme}' is not a scheme of Coffer's: write https://HOST[:PORT] or unix:///PATH"),
                None => format!("an address is https://HOST[:PORT] or unix:///PATH: did you mean https://{text}?"),
            });
        };
        let host = rest.strip_suffix('/').unwrap_or(rest);
        let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '?' | '#' | '@' | '\\');
        if host.is_empty() || host.starts_with(':') {
            return Err("the address names no host".into());
        }
        if host.contains(bad) {
            return Err("an address is https://HOST[:PORT], without path, query or user".into());
        }
        let port = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map(|(_, port)| port);
        if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
            return Err("the address's port is not a number from 1 to 65535".into());
        }
        Ok(Self(format!("https://{host}")))
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A vault, as a context remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Where the vault listens.
    pub address: Address,
    /// A file with the CA certificates (PEM) that the server's certificate must lead to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The name that the server's certificate must have, where it is not the address's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The tenant; none means `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// The file of contexts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The context in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// All contexts by name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

impl Contexts {
    /// Reads the file; no file is no contexts.
    ///
    /// # Errors
    /// A file that others can change, or that is not one of contexts, is refused.
    pub fn read(path: &Path) -> Result<Self> {
        let Some(bytes) = private::read(path, Closed::ToWriters)? else { return Ok(Self::default()) };
        let text = std::str::from_utf8(&bytes).map_err(|_| Failure::usage(format!("{} is not text", path.display())))?;
        toml::from_str(text).map_err(|error| {
            Failure::usage(format!("{} is not a file of contexts: {}", path.display(), error.message()))
                .next("correct the file, or move it away and begin anew: coffer context set NAME --address https://HOST:PORT")
        })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Where the folder or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = toml::to_string(self).map_err(|error| Failure::usage(format!("the contexts cannot be written: {error}")))?;
        private::write(path, text.as_bytes())
    }

    /// The context of this name.
    ///
    /// # Errors
    /// Where there is none: names those there are.
    pub fn named(&self, name: &str) -> Result<&Context> {
        self.contexts.get(name).ok_or_else(|| {
            let failure = Failure::usage(format!("there is no context '{name}'"));
            if self.contexts.is_empty() {
                failure.next(format!("coffer context set {name} --address https://HOST:PORT"))
            } else {
                let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
                failure.next(format!("choose one of: {}", names.join(", ")))
            }
        })
    }
}

/// Checks a context's name: it also names a file.
///
/// # Errors
/// Says the rule where the name breaks it.
pub fn check_name(name: &str) -> std::result::Result<String, String> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.len() <= NAME_BYTES_MAX && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(inner) {
        Ok(name.to_owned())
    } else {
        Err(format!("a context's name is 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 . - _ and begins with a letter or digit"))
    }
}

/// What the command line and the environment say about the vault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The context, in place of the one in use.
    pub context: Option<String>,
    /// The address, in place of the context's.
    pub address: Option<Address>,
    /// The CA file, in place of the context's.
    pub ca: Option<PathBuf>,
    /// The server's name, in place of the context's.
    pub server_name: Option<String>,
    /// The tenant, in place of the context's.
    pub tenant: Option<String>,
}

/// The vault that one command talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The context's name; none where an address alone was given.
    pub context: Option<String>,
    /// The vault.
    pub vault: Context,
}

impl Target {
    /// Chooses the vault: an address wins over a context, a named context over the one in use; CA, server name and
    /// tenant that are given win over the context's. With another address nothing else of a context is used: a CA or a
    /// session of one vault is not for another.
    ///
    /// # Errors
    /// Where no vault is chosen, or the context is not there.
    pub fn choose(wanted: &Wanted, contexts: &Contexts) -> Result<Self> {
        let name = wanted.context.as_ref().or(contexts.current.as_ref());
        let known = match (name, &wanted.address) {
            (Some(name), None) => Some((name, contexts.named(name)?)),
            (Some(name), Some(address)) => {
                contexts.contexts.get(name).filter(|context| context.address == *address).map(|context| (name, context))
            }
            (None, _) => None,
        };
        let mut vault = match (known, &wanted.address) {
            (Some((_, context)), _) => context.clone(),
            (None, Some(address)) => Context { address: address.clone(), ca: None, server_name: None, tenant: None },
            (None, None) => {
                return Err(Failure::usage("no vault is chosen")
                    .why("neither --address nor COFFER_ADDRESS is given, and no context is in use")
                    .next("coffer context set NAME --address https://HOST:PORT --ca CA.pem"));
            }
        };
        vault.ca = wanted.ca.clone().or(vault.ca);
        vault.server_name = wanted.server_name.clone().or(vault.server_name);
        vault.tenant = wanted.tenant.clone().or(vault.tenant);
        Ok(Self { context: known.map(|(name, _)| name.clone()), vault })
    }

    /// The tenant asked for.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.vault.tenant.as_deref().unwrap_or(DEFAULT_TENANT)
    }
}

#[cfg(test)]
mod tests;
