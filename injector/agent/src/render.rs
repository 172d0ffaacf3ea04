//! Makes a file's content of secrets.

mod dotenv;
mod json;
pub(crate) mod template;

use std::{collections::BTreeMap, time::SystemTime};

use coffer_client::Secret;
use coffer_secret::SecretBytes;

use crate::config::{Format, SecretFile, Source};

/// Bytes in a file.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// What the vault gave for a source.
pub(crate) struct Given {
    pub(crate) secret: Secret,
    /// How long it lasts, for a credential.
    pub(crate) term: Option<Term>,
}

/// How long a credential lasts.
pub(crate) struct Term {
    /// Its lease's id; none for a certificate.
    pub(crate) lease: Option<String>,
    pub(crate) issued: SystemTime,
    pub(crate) expires: SystemTime,
}

/// Why a file cannot be made of its secrets. Names fields, never values.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RenderError {
    #[error("{path}: there is no field {field:?}; there are: {fields}")]
    NoField { path: String, field: String, fields: String },
    #[error("{path}: there are {count} fields; name one (field = \"...\"), or choose another format: {fields}")]
    ManyFields { path: String, count: usize, fields: String },
    #[error("{path}: the field {field:?} is not UTF-8 text: use format = \"raw\", or in a template {field}_b64")]
    NotText { path: String, field: String },
    #[error("{path}: {field:?} cannot be a shell variable: use letters, digits and _, or format = \"json\", or a template")]
    NotVariable { path: String, field: String },
    #[error("{path}: the field {field:?} has a zero byte, which no shell variable can hold: use format = \"raw\"")]
    ZeroByte { path: String, field: String },
    #[error("{0}")]
    Template(#[from] template::TemplateError),
    #[error("the file would be larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("{0} has not been read yet")]
    NotRead(Source),
}

/// Makes the content of `file`; `given` has what was read.
pub(crate) fn render(file: &SecretFile, given: &BTreeMap<Source, Given>) -> Result<SecretBytes, RenderError> {
    let mut named = BTreeMap::new();
    for (alias, source) in &file.sources {
        let given = given.get(source).ok_or_else(|| RenderError::NotRead(source.clone()))?;
        named.insert(alias.as_str(), (source, given));
    }
    let content = match &file.format {
        Format::Template(template) => template.render(&named)?,
        form => match named.values().next() {
            None => SecretBytes::with_capacity(0),
            Some((source, Given { secret, .. })) => match form {
                Format::Json => json::render(&source.path, secret)?,
                Format::Dotenv => dotenv::render(&source.path, secret)?,
                Format::Raw { field } => raw(&source.path, secret, field.as_deref())?,
                Format::Template(template) => template.render(&named)?,
            },
        },
    };
    match content.len() > FILE_BYTES_MAX {
        true => Err(RenderError::TooLarge),
        false => Ok(content),
    }
}

fn raw(path: &str, secret: &Secret, field: Option<&str>) -> Result<SecretBytes, RenderError> {
    let value = match field {
        Some(field) => secret.field(field).ok_or_else(|| RenderError::NoField {
            path: path.to_owned(),
            field: field.to_owned(),
            fields: names(secret),
        })?,
        None => match secret.fields.values().next() {
            Some(value) if secret.fields.len() == 1 => value,
            _ => {
                let count = secret.fields.len();
                return Err(RenderError::ManyFields { path: path.to_owned(), count, fields: names(secret) });
            }
        },
    };
    Ok(value.duplicate())
}

/// The value as text.
fn text<'a>(path: &str, field: &str, value: &'a SecretBytes) -> Result<&'a str, RenderError> {
    let refuse = |_| RenderError::NotText { path: path.to_owned(), field: field.to_owned() };
    std::str::from_utf8(value.expose()).map_err(refuse)
}

fn names(secret: &Secret) -> String {
    secret.fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
