//! The files to write: which secret, which form.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
};

use coffer_client::{WATCH_PATHS_MAX, is_shared_credential};
use toml::Spanned;

use super::{
    ConfigError, Origin,
    raw::{RawCredential, RawCredentialTable, RawFormat, RawSecret},
    read_at_most,
};
use crate::render::template::{self, Template};

/// Bytes in a file's name.
const NAME_BYTES_MAX: usize = 255;
/// What a template calls the secret of `path`.
const ALIAS: &str = "secret";

/// One file to write.
#[derive(Debug)]
pub(crate) struct SecretFile {
    /// The file's name: one component, not beginning with two dots.
    pub(crate) name: String,
    /// The secrets that it is made of, by the names that a template has for them; one for other forms.
    pub(crate) sources: BTreeMap<String, Source>,
    pub(crate) format: Format,
    /// Permission bits, at most 0777.
    pub(crate) mode: u32,
}

/// A secret to read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    pub(crate) path: String,
    /// The version, or 0 for always the newest.
    pub(crate) version: u64,
    /// What is to be made, for a credential; none for a secret.
    pub(crate) credential: Option<Credential>,
}

/// A credential to have made. Files that ask for the same one have the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Credential {
    /// The seconds that it should last, 0 for what its role says.
    pub(crate) ttl_secs: u64,
    /// What it is to be, in words of its engine.
    pub(crate) parameters: BTreeMap<String, String>,
}

impl Source {
    /// The newest version of the secret at a path.
    pub(crate) fn newest(path: &str) -> Self {
        Self { path: path.to_owned(), version: 0, credential: None }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match self.version {
            0 => Ok(()),
            version => write!(f, " (version {version})"),
        }
    }
}

/// How a secret becomes a file.
#[derive(Debug)]
pub(crate) enum Format {
    /// One field, byte by byte; none means the only one.
    Raw { field: Option<String> },
    /// All fields as one JSON object of strings.
    Json,
    /// All fields as lines that a POSIX shell reads.
    Dotenv,
    /// What a template makes of them.
    Template(Template),
}

/// Reads permission bits.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| u32::from_str_radix(digits, 8).ok()).flatten();
    octal
        .filter(|mode| (1..=0o777).contains(mode))
        .ok_or_else(|| format!("{text:?} is not an octal mode from \"0001\" to \"0777\": write for example \"0400\" or \"0440\""))
}

/// Checks the files of the configuration and those of the flags.
pub(super) fn files(
    raw: Vec<Spanned<RawSecret>>,
    flags: &[String],
    mode: u32,
    origin: &Origin<'_>,
) -> Result<Vec<SecretFile>, ConfigError> {
    let mut files = Vec::new();
    for spanned in raw {
        let start = spanned.span().start;
        let raw = spanned.into_inner();
        let name = raw.name.clone();
        let file = file(raw, mode, origin.file).map_err(|why| origin.error(Some(start), format!("secret {name:?}: {why}")))?;
        if files.iter().any(|other: &SecretFile| other.name == file.name) {
            return Err(origin.error(Some(start), format!("secret {name:?}: there are two of this name: rename one")));
        }
        files.push(file);
    }
    for flag in flags {
        let file = from_flag(flag, mode).map_err(|why| ConfigError::new(format!("--secret {flag}: {why}")))?;
        files.retain(|other| other.name != file.name);
        files.push(file);
    }
    if files.is_empty() {
        return Err(ConfigError::new(
            "no secrets are named: give --secret NAME=PATH, or [[secrets]] with name and path in the configuration file",
        ));
    }
    let paths: BTreeSet<&str> = files.iter().flat_map(|file| file.sources.values()).map(|source| source.path.as_str()).collect();
    if paths.len() > WATCH_PATHS_MAX {
        return Err(ConfigError::new(format!("{} different paths are named; {WATCH_PATHS_MAX} are possible", paths.len())));
    }
    Ok(files)
}

fn from_flag(flag: &str, mode: u32) -> Result<SecretFile, String> {
    let (name, path) = flag.split_once('=').ok_or("write NAME=PATH or NAME=PATH#FIELD")?;
    let (path, format) = match path.rsplit_once('#') {
        Some((path, field)) if !field.is_empty() => (path, Format::Raw { field: Some(field.to_owned()) }),
        Some(_) => return Err("there is no field after #".to_owned()),
        None => (path, Format::Json),
    };
    check_name(name)?;
    Ok(SecretFile { name: name.to_owned(), sources: one(path, 0)?, format, mode })
}

fn file(mut raw: RawSecret, default_mode: u32, config: &Path) -> Result<SecretFile, String> {
    check_name(&raw.name)?;
    let has_template = raw.template.is_some() || raw.template_file.is_some();
    let format = raw.format.unwrap_or(match (has_template, &raw.field) {
        (true, _) => RawFormat::Template,
        (false, Some(_)) => RawFormat::Raw,
        (false, None) => RawFormat::Json,
    });
    if has_template && format != RawFormat::Template {
        return Err("a template needs format = \"template\", or none".to_owned());
    }
    if raw.field.is_some() && format != RawFormat::Raw {
        return Err("field needs format = \"raw\", or none".to_owned());
    }
    if (raw.paths.is_some() || raw.credentials.is_some()) && format != RawFormat::Template {
        return Err("paths and credentials need format = \"template\"; another form has one path, or one credential".to_owned());
    }
    if raw.ttl.is_some() && raw.credential.is_none() {
        return Err(
            "ttl goes with credential: a secret lasts as long as it lasts, and each of credentials has its own".to_owned()
        );
    }
    if raw.parameters.is_some() && raw.credential.is_none() {
        return Err("parameters go with credential: a secret is what it is, and each of credentials has its own".to_owned());
    }
    if let Some(path) = raw.credential.take() {
        if raw.path.is_some() || raw.paths.is_some() || raw.credentials.is_some() || raw.version.is_some() {
            return Err("a credential has no path, paths, credentials or version beside it".to_owned());
        }
        let wanted = credential(RawCredentialTable { path, ttl: raw.ttl.take(), parameters: raw.parameters.take() })?;
        return finish(raw, BTreeMap::from([(ALIAS.to_owned(), wanted)]), format, default_mode, config);
    }
    let sources = match (raw.path.take(), raw.paths.take(), raw.credentials.take()) {
        (Some(path), None, None) => one(&path, raw.version.unwrap_or(0))?,
        (None, None, None) | (Some(_), _, _) => return Err(
            "give path = \"MOUNT/NAME\", credential = \"MOUNT/creds/ROLE\", \"MOUNT/static-creds/NAME\" or \"MOUNT/issue/ROLE\", or for a template paths = { NAME = \"MOUNT/NAME\" } and credentials = { NAME = \"MOUNT/creds/ROLE\" }"
                .to_owned(),
        ),
        _ if raw.version.is_some() => return Err("version goes with path; secrets of paths are always the newest".to_owned()),
        (None, paths, credentials) => many(paths.unwrap_or_default(), credentials.unwrap_or_default())?,
    };
    finish(raw, sources, format, default_mode, config)
}

/// What all sources have in common: the form and the mode.
fn finish(
    raw: RawSecret,
    sources: BTreeMap<String, Source>,
    format: RawFormat,
    default_mode: u32,
    config: &Path,
) -> Result<SecretFile, String> {
    let format = match format {
        RawFormat::Raw => Format::Raw { field: raw.field },
        RawFormat::Json => Format::Json,
        RawFormat::Dotenv => Format::Dotenv,
        RawFormat::Template => Format::Template(template(raw.template, raw.template_file.as_deref(), config)?),
    };
    let mode = raw.mode.map_or(Ok(default_mode), |text| mode(&text).map_err(|why| format!("mode {why}")))?;
    Ok(SecretFile { name: raw.name, sources, format, mode })
}

fn template(inline: Option<String>, file: Option<&Path>, config: &Path) -> Result<Template, String> {
    let (name, text) = match (inline, file) {
        (Some(text), None) => ("the template".to_owned(), text),
        (None, Some(file)) => {
            // A relative name is beside the configuration file, wherever the agent was started.
            let file = config.parent().unwrap_or_else(|| Path::new("")).join(file);
            let refuse = |why: String| format!("template_file {}: {why}", file.display());
            let text = read_at_most(template::TEMPLATE_BYTES_MAX as u64, &file).map_err(refuse)?;
            (file.display().to_string(), text)
        }
        _ => return Err("a template has either template or template_file".to_owned()),
    };
    Template::parse(name, text).map_err(|error| error.to_string())
}

fn one(path: &str, version: u64) -> Result<BTreeMap<String, Source>, String> {
    check_path(path)?;
    Ok(BTreeMap::from([(ALIAS.to_owned(), Source { version, ..Source::newest(path) })]))
}

/// The sources of a template, by the names that it has for them.
fn many(
    paths: BTreeMap<String, String>,
    credentials: BTreeMap<String, RawCredential>,
) -> Result<BTreeMap<String, Source>, String> {
    let mut sources = BTreeMap::new();
    for (alias, path) in paths {
        check_path(&path)?;
        sources.insert(alias, Source::newest(&path));
    }
    for (alias, wanted) in credentials {
        let wanted = match wanted {
            RawCredential::Path(path) => RawCredentialTable { path, ttl: None, parameters: None },
            RawCredential::Table(table) => table,
        };
        if sources.insert(alias.clone(), credential(wanted)?).is_some() {
            return Err(format!("{alias:?} is in paths and in credentials: rename one"));
        }
    }
    if sources.is_empty() {
        return Err("paths and credentials are empty".to_owned());
    }
    for alias in sources.keys() {
        let mut bytes = alias.bytes();
        let begins = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !begins || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(format!("{alias:?} cannot be a name in a template: use letters, digits and _"));
        }
    }
    Ok(sources)
}

fn credential(RawCredentialTable { path, ttl, parameters }: RawCredentialTable) -> Result<Source, String> {
    check_path(&path)?;
    if is_shared_credential(&path) && (ttl.is_some() || parameters.is_some()) {
        return Err(format!("{path} is the same for all who have it: it takes no ttl and no parameters"));
    }
    let ttl_secs = ttl.as_deref().map_or(Ok(0), ttl_secs)?;
    let credential = Credential { ttl_secs, parameters: parameters.unwrap_or_default() };
    Ok(Source { path, version: 0, credential: Some(credential) })
}

/// Only what is plainly wrong: the vault has the rules for paths.
fn check_path(path: &str) -> Result<(), String> {
    let good = path.split('/').count() >= 2 && path.split('/').all(|segment| !segment.is_empty());
    match good {
        true => Ok(()),
        false => Err(format!("path {path:?} is not MOUNT/NAME, as in kv/prod/payments")),
    }
}

/// Reads how long a credential should last: whole seconds.
fn ttl_secs(text: &str) -> Result<u64, String> {
    let ttl = humantime::parse_duration(text).map_err(|_| format!("ttl {text:?} is not a duration such as 30m or 12h"))?;
    match ttl.subsec_nanos() == 0 && !ttl.is_zero() {
        true => Ok(ttl.as_secs()),
        false => Err(format!("ttl {text:?}: a credential lasts whole seconds, at least one")),
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let good = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name != "."
        && !name.starts_with("..")
        && !name.contains('/')
        && !name.chars().any(char::is_control);
    match good {
        true => Ok(()),
        false => Err(format!(
            "the name is not that of a file: 1 to {NAME_BYTES_MAX} bytes, without / and control characters, not beginning with .."
        )),
    }
}
