//! What a pod asks for in one file.

use std::collections::BTreeMap;

use crate::Refusal;

/// A file that a pod asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileRequest {
    /// Secrets, by the names that a template has for them.
    pub secrets: Option<SourceRequest>,
    /// Credentials, likewise.
    pub credentials: Option<SourceRequest>,
    /// How long the credential should last.
    pub ttl: Option<String>,
    /// What the credential is to be.
    pub parameters: Option<BTreeMap<String, String>>,
    /// The version of the secret.
    pub version: Option<u64>,
    /// The field.
    pub field: Option<String>,
    /// The form.
    pub format: Option<String>,
    /// The template.
    pub template: Option<String>,
    /// The ConfigMap with the template, and the key in it.
    pub template_config_map: Option<(String, String)>,
    /// The file's name, where it is not the annotation's.
    pub file: Option<String>,
    /// The mode, octal.
    pub mode: Option<String>,
}

/// Where a file's content comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceRequest {
    /// One path.
    One(String),
    /// Several, by the names that a template has for them.
    Many(BTreeMap<String, String>),
}

impl SourceRequest {
    /// Reads `PATH`, or `NAME=PATH, NAME=PATH`.
    fn read(text: &str) -> Result<Self, String> {
        let is_name = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let text = text.trim();
        if text.is_empty() {
            return Err("it names no path".to_owned());
        }
        if !text.split_once('=').is_some_and(|(name, _)| is_name(name.trim())) {
            return Ok(Self::One(text.to_owned()));
        }
        let mut many = BTreeMap::new();
        for part in text.split(',') {
            let named = part.split_once('=').map(|(name, path)| (name.trim(), path.trim()));
            let (name, path) =
                named.filter(|(name, path)| is_name(name) && !path.is_empty()).ok_or("write NAME=PATH, NAME=PATH")?;
            if many.insert(name.to_owned(), path.to_owned()).is_some() {
                return Err(format!("{name} is there twice"));
            }
        }
        Ok(Self::Many(many))
    }
}

impl FileRequest {
    /// Takes what an annotation says.
    pub(super) fn set(&mut self, annotation: &str, value: &str) -> Result<(), String> {
        let text = || match value.trim() {
            "" => Err("it is empty".to_owned()),
            text => Ok(Some(text.to_owned())),
        };
        match annotation {
            "secret-" => self.secrets = Some(SourceRequest::read(value)?),
            "credential-" => self.credentials = Some(SourceRequest::read(value)?),
            "ttl-" => self.ttl = text()?,
            "parameters-" => self.parameters = Some(parameters(value)?),
            "version-" => {
                let version = value.trim().parse().ok().filter(|version| *version > 0);
                self.version = Some(version.ok_or("a version is a number from 1 on")?);
            }
            "field-" => self.field = text()?,
            "format-" => self.format = text()?,
            // Every byte of it counts.
            "template-" => self.template = Some(value.to_owned()),
            "template-config-map-" => {
                let parts = value.trim().split_once('/').filter(|(map, key)| !map.is_empty() && is_plain(key));
                let (map, key) = parts.ok_or("write CONFIGMAP/KEY")?;
                self.template_config_map = Some((map.to_owned(), key.to_owned()));
            }
            "file-" => self.file = text()?,
            "mode-" => self.mode = text()?,
            _ => return Err("there is no such annotation".to_owned()),
        }
        Ok(())
    }

    /// Whether it has a credential in it.
    pub(super) const fn has_credential(&self) -> bool {
        self.credentials.is_some()
    }

    /// Whether it is made with a template.
    pub(crate) const fn has_template(&self) -> bool {
        self.template.is_some() || self.template_config_map.is_some()
    }

    /// What the agent cannot know, for it does not see annotations. The rest is said by the agent's own rules.
    pub(super) fn check(&self, name: &str) -> Result<(), Refusal> {
        if self.secrets.is_none() && self.credentials.is_none() {
            let why = format!("there is neither coffer.dev/secret-{name} nor coffer.dev/credential-{name}");
            return Err(Refusal::new(format!("the file {name}: {why}")));
        }
        if self.template.is_some() && self.template_config_map.is_some() {
            return Err(Refusal::of(&format!("template-{name}"), "the template is here, or in a ConfigMap, not both"));
        }
        let is_one = |source: &Option<SourceRequest>| matches!(source, Some(SourceRequest::One(_)));
        if is_one(&self.secrets) && self.credentials.is_some() || is_one(&self.credentials) && self.secrets.is_some() {
            let why = "beside a credential a template has a name for it: write NAME=PATH in both";
            return Err(Refusal::of(&format!("secret-{name}"), why));
        }
        let is_many = |source: &Option<SourceRequest>| matches!(source, Some(SourceRequest::Many(_)));
        if (is_many(&self.secrets) || is_many(&self.credentials)) && !self.has_template() {
            let why = format!("several are made into a file by a template: write coffer.dev/template-{name}");
            return Err(Refusal::of(&format!("secret-{name}"), why));
        }
        if is_many(&self.credentials) && (self.ttl.is_some() || self.parameters.is_some()) {
            let why = "ttl and parameters are those of one credential: give it a file of its own";
            return Err(Refusal::of(&format!("credential-{name}"), why));
        }
        Ok(())
    }
}

/// Whether a key of a ConfigMap can be a file's name.
fn is_plain(key: &str) -> bool {
    !key.is_empty() && !key.contains('/') && key != "." && key != ".."
}

/// Reads `KEY=VALUE; KEY=VALUE`.
fn parameters(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut parameters = BTreeMap::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').ok_or("write KEY=VALUE; KEY=VALUE")?;
        if parameters.insert(key.trim().to_owned(), value.trim().to_owned()).is_some() {
            return Err(format!("{} is there twice", key.trim()));
        }
    }
    if parameters.is_empty() { Err("write KEY=VALUE; KEY=VALUE".to_owned()) } else { Ok(parameters) }
}
