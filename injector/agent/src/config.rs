//! Settings: the configuration file and the flags, checked.

mod raw;
mod secret;

use std::{
    fmt,
    fs::File,
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use raw::{Raw, RawNotify};
use toml::Spanned;

pub(crate) use secret::{Credential, Format, SecretFile, Source};

use crate::{
    args::{Flags, Level},
    notify::{Action, Notify},
};

/// Bytes in a configuration file.
pub(crate) const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Where the projected token is, unless said otherwise.
const TOKEN_FILE: &str = "/var/run/secrets/coffer/token";
/// Where files go, unless said otherwise.
const DIRECTORY: &str = "/coffer/secrets";
/// Mode of the files, unless said otherwise: their owner reads them.
const MODE: u32 = 0o400;
/// How long init tries, unless said otherwise.
const DEADLINE: Duration = Duration::from_secs(60);
/// The longest that init may be told to try.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How often secrets are read while changes cannot be followed, unless said otherwise.
const POLL: Duration = Duration::from_secs(5 * 60);
/// The shortest and the longest that this may be.
const POLL_RANGE: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(24 * 60 * 60)];

/// What the agent is to do.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) vault: Vault,
    pub(crate) output: Output,
    /// At least one; names are unique.
    pub(crate) secrets: Vec<SecretFile>,
    pub(crate) notify: Option<Notify>,
    pub(crate) deadline: Duration,
    pub(crate) poll: Duration,
    pub(crate) probe_listen: Option<SocketAddr>,
    /// Whether the credentials that were made end with the sidecar.
    pub(crate) revoke_on_exit: bool,
    pub(crate) log_level: Level,
}

/// How to reach the vault, and as whom.
#[derive(Debug)]
pub(crate) struct Vault {
    pub(crate) address: String,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) server_name: Option<String>,
    pub(crate) tenant: String,
    pub(crate) cluster: String,
    pub(crate) token_file: PathBuf,
}

/// Where files go, and whose they are.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) directory: PathBuf,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

/// A setting that cannot be used: where it is, and what to write instead.
#[derive(Debug, thiserror::Error)]
pub(crate) struct ConfigError {
    place: Option<Place>,
    message: String,
}

#[derive(Debug)]
struct Place {
    file: PathBuf,
    line: Option<usize>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { file, line }) = &self.place {
            write!(f, "{}:", file.display())?;
            if let Some(line) = line {
                write!(f, "{line}:")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)
    }
}

impl ConfigError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into() }
    }
}

/// A configuration file's text, to name lines of.
struct Origin<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Origin<'_> {
    fn error(&self, offset: Option<usize>, message: impl Into<String>) -> ConfigError {
        let line = offset.and_then(|end| self.text.get(..end)).map(|before| before.matches('\n').count() + 1);
        ConfigError { place: Some(Place { file: self.file.to_owned(), line }), message: message.into() }
    }

    fn at<T>(&self, value: &Spanned<T>, message: impl Into<String>) -> ConfigError {
        self.error(Some(value.span().start), message)
    }
}

impl Config {
    /// Reads the configuration that the flags name or give, if they do, and applies the flags.
    pub(crate) fn load(flags: &Flags) -> Result<Self, ConfigError> {
        if let Some(text) = &flags.config_text {
            if text.len() as u64 > CONFIG_BYTES_MAX {
                return Err(ConfigError::new(format!("--config-text is larger than {CONFIG_BYTES_MAX} bytes")));
            }
            return Self::parse(Path::new("--config-text"), text, flags);
        }
        let Some(file) = &flags.config else {
            return Self::build(Raw::default(), flags, &Origin { file: Path::new("the command line"), text: "" });
        };
        let refuse = |why: String| ConfigError {
            place: Some(Place { file: file.clone(), line: None }),
            message: format!("{why}: --config must name a readable TOML file"),
        };
        let text = read_at_most(CONFIG_BYTES_MAX, file).map_err(refuse)?;
        Self::parse(file, &text, flags)
    }

    /// Reads a configuration file's text and applies the flags.
    pub(crate) fn parse(file: &Path, text: &str, flags: &Flags) -> Result<Self, ConfigError> {
        let source = Origin { file, text };
        let raw: Raw =
            toml::from_str(text).map_err(|error| source.error(error.span().map(|span| span.start), error.message()))?;
        Self::build(raw, flags, &source)
    }

    fn build(raw: Raw, flags: &Flags, source: &Origin<'_>) -> Result<Self, ConfigError> {
        let mode = match (&flags.mode, &raw.output.mode) {
            (Some(text), _) => secret::mode(text).map_err(|why| ConfigError::new(format!("--mode {why}")))?,
            (None, Some(text)) => secret::mode(text.get_ref()).map_err(|why| source.at(text, format!("mode {why}")))?,
            (None, None) => MODE,
        };
        let secrets = secret::files(raw.secrets, &flags.secrets, mode, source)?;
        let address = flags.address.clone().or(raw.vault.address).ok_or_else(|| {
            ConfigError::new(
                "no vault is named: give --address https://HOST:PORT, or address under [vault] in the configuration file",
            )
        })?;
        let deadline = duration(flags.deadline, raw.init.deadline.as_ref(), source)?.unwrap_or(DEADLINE);
        let poll = duration(flags.poll, raw.sidecar.poll.as_ref(), source)?.unwrap_or(POLL);
        let [poll_min, poll_max] = POLL_RANGE;
        if !(poll_min..=poll_max).contains(&poll) {
            return Err(ConfigError::new("poll must be from 10s to 24h"));
        }
        if deadline > DEADLINE_MAX {
            return Err(ConfigError::new("deadline must be 24h at most"));
        }
        Ok(Self {
            vault: Vault {
                address,
                ca_file: flags.ca_file.clone().or(raw.vault.ca_file),
                server_name: flags.server_name.clone().or(raw.vault.server_name),
                tenant: flags.tenant.clone().or(raw.vault.tenant).unwrap_or_default(),
                cluster: flags.cluster.clone().or(raw.vault.cluster).unwrap_or_default(),
                token_file: flags.token_file.clone().or(raw.vault.token_file).unwrap_or_else(|| PathBuf::from(TOKEN_FILE)),
            },
            output: Output {
                directory: flags.directory.clone().or(raw.output.directory).unwrap_or_else(|| PathBuf::from(DIRECTORY)),
                uid: flags.uid.or(raw.output.uid),
                gid: flags.gid.or(raw.output.gid),
            },
            secrets,
            notify: notify(flags.notify_http.as_deref(), raw.notify.as_ref(), source)?,
            deadline,
            poll,
            probe_listen: flags.probe_listen.or(raw.sidecar.probe_listen),
            revoke_on_exit: raw.sidecar.revoke_on_exit,
            log_level: flags.log_level.or(raw.log_level).unwrap_or(Level::Info),
        })
    }
}

/// Reads a file's text. What counts is what is read: a device says that it has no bytes, and gives them without end.
///
/// # Errors
/// Says what is wrong, without the file's name.
pub fn read_at_most(bytes_max: u64, file: &Path) -> Result<String, String> {
    let mut text = String::new();
    let open = File::open(file).map_err(|error| error.to_string())?;
    let read = open.take(bytes_max.saturating_add(1)).read_to_string(&mut text).map_err(|error| error.to_string())?;
    match u64::try_from(read).is_ok_and(|read| read <= bytes_max) {
        true => Ok(text),
        false => Err(format!("larger than {bytes_max} bytes")),
    }
}

fn duration(flag: Option<Duration>, raw: Option<&Spanned<String>>, source: &Origin<'_>) -> Result<Option<Duration>, ConfigError> {
    match (flag, raw) {
        (Some(duration), _) => Ok(Some(duration)),
        (None, Some(text)) => humantime::parse_duration(text.get_ref()).map(Some).map_err(|why| {
            source.at(text, format!("{:?} is no time: {why}; write for example \"90s\" or \"5m\"", text.get_ref()))
        }),
        (None, None) => Ok(None),
    }
}

fn notify(flag: Option<&str>, raw: Option<&Spanned<RawNotify>>, source: &Origin<'_>) -> Result<Option<Notify>, ConfigError> {
    let on_start = raw.is_some_and(|raw| raw.get_ref().on_start);
    if let Some(url) = flag {
        let action = Action::http(url).map_err(|why| ConfigError::new(format!("--notify-http {why}")))?;
        return Ok(Some(Notify { action, on_start }));
    }
    let Some(raw) = raw else { return Ok(None) };
    let action = match raw.get_ref() {
        RawNotify { http: Some(url), signal: None, process: None, .. } => Action::http(url),
        RawNotify { http: None, signal: Some(signal), process: Some(process), .. } => Action::signal(signal, process),
        _ => Err("has either http, or signal and process".to_owned()),
    };
    let action = action.map_err(|why| source.at(raw, format!("notify {why}")))?;
    Ok(Some(Notify { action, on_start }))
}

#[cfg(test)]
mod tests;
