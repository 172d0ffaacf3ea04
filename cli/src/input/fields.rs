//! The fields of a secret, as `coffer kv put` takes them.

use std::{collections::HashSet, fmt};

use coffer_secret::{SecretBytes, SecretString};
use serde::{
    Deserializer as _,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use zeroize::Zeroize as _;

use super::{Input, Source, hidden};
use crate::failure::{Failure, Result};

/// Fields in a secret, at most: the vault's own limit.
pub const FIELDS_MAX: usize = 1_024;
/// Bytes in a field's name, at most: the vault's own limit.
pub const FIELD_NAME_BYTES_MAX: usize = 255;
/// Bytes in a secret, at most, names and values of all fields: the vault's own limit.
pub const SECRET_BYTES_MAX: usize = 1 << 20;

/// One argument of `coffer kv put`.
pub enum FieldArgument {
    /// `KEY=value`: the value itself.
    Literal(String, SecretBytes),
    /// `KEY=@file` or `KEY=-`: all bytes of a source, as they are.
    From(String, Source),
    /// `KEY`: asked for, hidden.
    Prompt(String),
    /// `@file.json` or `-`: all fields at once.
    Map(Source),
}

impl FieldArgument {
    /// Understands an argument. `\@` and `\-` at a value's beginning stand for `@` and `-` themselves.
    ///
    /// # Errors
    /// Says what is wrong without repeating a value.
    pub fn parse(text: &str) -> Result<Self> {
        if let Ok(source) = Source::marked(text) {
            return Ok(Self::Map(source));
        }
        let Some((name, value)) = text.split_once('=') else {
            check_name(text)?;
            return Ok(Self::Prompt(text.to_owned()));
        };
        check_name(name)?;
        let name = name.to_owned();
        match value {
            "-" => Ok(Self::From(name, Source::Stdin)),
            "@" => Err(Failure::usage(format!("field '{name}': a file's name is missing after @")).next(format!("{name}=@FILE"))),
            "\\-" => Ok(Self::Literal(name, SecretBytes::copied_from(b"-"))),
            _ if value.starts_with("\\@") => {
                Ok(Self::Literal(name, SecretBytes::copied_from(value.strip_prefix('\\').unwrap_or(value).as_bytes())))
            }
            _ => Ok(match value.strip_prefix('@') {
                Some(file) => Self::From(name, Source::File(file.into())),
                None => Self::Literal(name, SecretBytes::copied_from(value.as_bytes())),
            }),
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Failure::usage("a field has no name").next("write KEY=value, KEY=@file, KEY=- or KEY"));
    }
    if name.len() > FIELD_NAME_BYTES_MAX {
        return Err(Failure::usage(format!("a field's name is longer than {FIELD_NAME_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// The fields of a secret, each name once, within the vault's limits.
#[derive(Default)]
pub struct Fields {
    /// Names and values, in the order given.
    pub entries: Vec<(String, SecretBytes)>,
    /// What a person may want to know, though nothing is wrong.
    pub notes: Vec<String>,
}

impl Fields {
    fn add(&mut self, name: String, value: SecretBytes) -> Result<()> {
        check_name(&name)?;
        if self.entries.iter().any(|(known, _)| *known == name) {
            return Err(Failure::usage(format!("field '{name}' is given twice")));
        }
        self.entries.push((name, value));
        if self.entries.len() > FIELDS_MAX {
            return Err(Failure::usage(format!("a secret has at most {FIELDS_MAX} fields")));
        }
        let bytes: usize = self.entries.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > SECRET_BYTES_MAX {
            return Err(Failure::usage(format!("a secret has at most {SECRET_BYTES_MAX} bytes, names and values of all fields")));
        }
        Ok(())
    }
}

impl Input {
    /// Reads the values of all fields. All arguments are understood before anything is read or asked.
    ///
    /// # Errors
    /// An argument that is not understood, a source that cannot be read, a name given twice, a limit exceeded.
    pub fn fields(&self, arguments: &[String]) -> Result<Fields> {
        let arguments = arguments.iter().map(|text| FieldArgument::parse(text)).collect::<Result<Vec<_>>>()?;
        let mut fields = Fields::default();
        for argument in arguments {
            match argument {
                FieldArgument::Literal(name, value) => fields.add(name, value)?,
                FieldArgument::From(name, source) => {
                    let value = self.bytes(&source, SECRET_BYTES_MAX)?;
                    if source == Source::Stdin && is_line_with_end(value.expose()) {
                        fields
                            .notes
                            .push(format!("field '{name}' ends with a newline, as standard input does; `printf %s` sends none"));
                    }
                    fields.add(name, value)?;
                }
                FieldArgument::Prompt(name) => {
                    let prompt = format!("Value of {name}");
                    let next = format!("write {name}=- for standard input, or {name}=@FILE");
                    let value = hidden(&prompt, &next, SECRET_BYTES_MAX)?;
                    fields.add(name, SecretBytes::copied_from(value.expose().as_bytes()))?;
                }
                FieldArgument::Map(source) => {
                    let text = self.text(&source, 2 * SECRET_BYTES_MAX)?;
                    for (name, value) in parse_map(&text, &source.name())? {
                        fields.add(name, value)?;
                    }
                }
            }
        }
        Ok(fields)
    }
}

/// One line with its end: what `echo` sends, when a value without the end is often meant.
fn is_line_with_end(value: &[u8]) -> bool {
    value.split_last().is_some_and(|(last, rest)| *last == b'\n' && !rest.contains(&b'\n'))
}

/// The fields of a JSON object: text as it is, numbers and booleans as they are written.
///
/// # Errors
/// Text that is not one object of such members; `source` names it in messages.
pub fn parse_map(text: &SecretString, source: &str) -> Result<Vec<(String, SecretBytes)>> {
    let mut deserializer = serde_json::Deserializer::from_str(text.expose());
    let members = deserializer
        .deserialize_map(Members)
        .and_then(|members| deserializer.end().map(|()| members))
        .map_err(|error| not_a_map(source, &error))?;
    let mut seen = HashSet::new();
    let mut fields = Vec::with_capacity(members.len());
    for (name, raw) in members {
        if !seen.insert(name.clone()) {
            return Err(Failure::usage(format!("field '{name}' is there twice in {source}")));
        }
        fields.push((name.clone(), member_value(&name, raw, source)?));
    }
    Ok(fields)
}

/// serde_json repeats the offending value in some messages: only the place is told.
fn not_a_map(source: &str, error: &serde_json::Error) -> Box<Failure> {
    Failure::usage(format!("{source} is not a JSON object (line {}, column {})", error.line(), error.column()))
        .next(r#"write fields as {"user": "app", "password": "..."}; for a whole file as one value: KEY=@FILE"#)
}

fn member_value(name: &str, raw: &RawValue, source: &str) -> Result<SecretBytes> {
    let kind = match raw.get().as_bytes().first() {
        Some(b'"') => {
            let mut value: String = serde_json::from_str(raw.get()).map_err(|error| not_a_map(source, &error))?;
            let bytes = SecretBytes::copied_from(value.as_bytes());
            value.zeroize();
            return Ok(bytes);
        }
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'n') => "null",
        _ => return Ok(SecretBytes::copied_from(raw.get().as_bytes())),
    };
    Err(Failure::usage(format!("field '{name}' in {source} is {kind}: a field's value is text"))
        .next("write it as a string; JSON inside a string is fine"))
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}
