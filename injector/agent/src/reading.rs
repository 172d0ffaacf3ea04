//! What the agent reads from others' hands, without doing anything of it: for those who try it with anything at all.

use std::{collections::BTreeMap, path::Path};

use coffer_client::Secret;
use coffer_secret::SecretBytes;

use crate::{
    args::Flags,
    config::{Config, Format, SecretFile, Source},
    render::{Given, render, template::Template},
};
pub use crate::{args::Level, config::read_at_most, render::FILE_BYTES_MAX};

/// A file that a configuration asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// The secrets that it is made of.
    pub paths: Vec<String>,
    /// Its permission bits.
    pub mode: u32,
}

/// The files that a configuration asks for, as the text that it is.
///
/// # Errors
/// What the agent would say.
pub fn config(text: &str) -> Result<Vec<File>, String> {
    let config = Config::parse(Path::new("agent.toml"), text, &Flags::default()).map_err(|error| error.to_string())?;
    let file = |file: SecretFile| File {
        name: file.name,
        paths: file.sources.into_values().map(|source| source.path).collect(),
        mode: file.mode,
    };
    Ok(config.secrets.into_iter().map(file).collect())
}

/// What a template makes of a secret with these fields.
///
/// # Errors
/// What the agent would say.
pub fn template(text: &str, fields: &[(&str, &[u8])]) -> Result<Vec<u8>, String> {
    let template = Template::parse("the template".to_owned(), text.to_owned()).map_err(|error| error.to_string())?;
    let source = Source::newest("kv/a");
    let sources = BTreeMap::from([("secret".to_owned(), source.clone())]);
    let file = SecretFile { name: "file".to_owned(), sources, format: Format::Template(template), mode: 0o400 };
    let content = render(&file, &BTreeMap::from([(source, given(fields))])).map_err(|error| error.to_string())?;
    Ok(content.expose().to_vec())
}

/// A secret with these fields, and nothing else to it.
pub(crate) fn given(fields: &[(&str, &[u8])]) -> Given {
    let secret = Secret {
        fields: fields.iter().map(|(name, value)| ((*name).to_owned(), SecretBytes::copied_from(value))).collect(),
        version: 1,
        created: None,
        created_by: String::new(),
        expires: None,
        custom_metadata: BTreeMap::new(),
        receipt: 0,
    };
    Given { secret, term: None }
}
