//! The fields of a secret as a document that people edit: YAML or JSON.
//!
//! A value is text, in quotes where it could be taken for something else, or `{base64: ...}` for bytes that are no text.
//! Messages name the place and the field, and never repeat a value.

use std::{collections::HashSet, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_secret::{SecretBytes, SecretString};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    input::{FIELD_NAME_BYTES_MAX, FIELDS_MAX, SECRET_BYTES_MAX},
};

/// How the fields are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// YAML, with comments.
    Yaml,
    /// JSON.
    Json,
}

/// The fields as a document; in YAML with a comment on top.
///
/// # Errors
/// Where they cannot be written.
pub(crate) fn written(fields: &[(String, SecretBytes)], form: Form, about: &str) -> Result<SecretString> {
    let failed = |error: String| Failure::new(Exit::Failed, format!("the fields cannot be written: {error}"));
    let text = match form {
        Form::Yaml => {
            let body = Zeroizing::new(serde_saphyr::to_string(&Shown(fields)).map_err(|error| failed(error.to_string()))?);
            let about = crate::output::one_line(about);
            SecretString::from(format!("# {about}\n# Save to write a new version; leave as it is to write nothing.\n{}", *body))
        }
        Form::Json => {
            let mut body = serde_json::to_string_pretty(&Shown(fields)).map_err(|error| failed(error.to_string()))?;
            body.push('\n');
            SecretString::from(body)
        }
    };
    Ok(text)
}

/// The fields of a document.
///
/// # Errors
/// Says what is wrong and where, in a sentence without any value.
pub(crate) fn read(text: &SecretString, form: Form) -> std::result::Result<Vec<(String, SecretBytes)>, String> {
    // A parser's own message may repeat a value: its place alone is told.
    let Members(members) = match form {
        Form::Yaml => serde_saphyr::from_str(text.expose())
            .map_err(|error| no_map("YAML", error.location().map(|place| (place.line(), place.column()))))?,
        Form::Json => serde_json::from_str(text.expose())
            .map_err(|error| no_map("JSON", Some((number(error.line()), number(error.column())))))?,
    };
    let fields = members?;
    if fields.is_empty() {
        return Err("a secret has at least one field".into());
    }
    if fields.len() > FIELDS_MAX {
        return Err(format!("a secret has at most {FIELDS_MAX} fields"));
    }
    if fields.iter().any(|(name, _)| name.is_empty() || name.len() > FIELD_NAME_BYTES_MAX) {
        return Err(format!("a field's name has 1 to {FIELD_NAME_BYTES_MAX} bytes"));
    }
    if fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > SECRET_BYTES_MAX {
        return Err(format!("a secret has at most {SECRET_BYTES_MAX} bytes, names and values of all fields"));
    }
    Ok(fields)
}

/// The document with what is wrong on top, where the form has comments.
pub(crate) fn with_error(text: &SecretString, form: Form, wrong: &str) -> SecretString {
    const MARK: &str = "# error: ";
    if form == Form::Json {
        return text.duplicate();
    }
    let rest = match text.expose().strip_prefix(MARK).and_then(|rest| rest.split_once('\n')) {
        Some((_, rest)) => rest,
        None => text.expose(),
    };
    SecretString::from(format!("{MARK}{}\n{rest}", crate::output::one_line(wrong)))
}

fn number(place: usize) -> u64 {
    u64::try_from(place).unwrap_or(0)
}

fn no_map(form: &str, place: Option<(u64, u64)>) -> String {
    let at = place.filter(|(line, _)| *line > 0);
    let at = at.map(|(line, column)| format!(" (line {line}, column {column})")).unwrap_or_default();
    format!("this is no {form} map of fields{at}")
}

struct Shown<'a>(&'a [(String, SecretBytes)]);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, ShownValue(value.expose()))))
    }
}

struct ShownValue<'a>(&'a [u8]);

impl Serialize for ShownValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let encoded = Zeroizing::new(STANDARD.encode(self.0));
                serializer.collect_map([("base64", encoded.as_str())])
            }
        }
    }
}

/// The fields, or what is wrong with one of them in words of ours.
struct Members(std::result::Result<Vec<(String, SecretBytes)>, String>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Members, A::Error> {
        let mut members: Vec<(String, SecretBytes)> = Vec::new();
        let mut seen = HashSet::new();
        let mut wrong: Option<String> = None;
        while let Some(name) = map.next_key::<String>()? {
            let shown = crate::output::one_line(&name);
            let why = match map.next_value()? {
                Value::Bytes(value) if seen.insert(name.clone()) => {
                    members.push((name, value));
                    continue;
                }
                Value::Bytes(_) => "is there twice",
                Value::Wrong(why) => why,
            };
            wrong.get_or_insert_with(|| format!("field '{shown}' {why}"));
        }
        Ok(Members(wrong.map_or(Ok(members), Err)))
    }
}

enum Value {
    Bytes(SecretBytes),
    Wrong(&'static str),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

const NUMBER: &str = "is a number: put it in quotes, so that it stays as you write it";

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<Value, E> {
        Ok(Value::Bytes(SecretBytes::copied_from(text.as_bytes())))
    }

    fn visit_string<E>(self, mut text: String) -> std::result::Result<Value, E> {
        let value = SecretBytes::copied_from(text.as_bytes());
        text.zeroize();
        Ok(Value::Bytes(value))
    }

    fn visit_bool<E>(self, _: bool) -> std::result::Result<Value, E> {
        Ok(Value::Wrong("is true or false: put it in quotes"))
    }

    fn visit_i64<E>(self, _: i64) -> std::result::Result<Value, E> {
        Ok(Value::Wrong(NUMBER))
    }

    fn visit_u64<E>(self, _: u64) -> std::result::Result<Value, E> {
        Ok(Value::Wrong(NUMBER))
    }

    fn visit_i128<E>(self, _: i128) -> std::result::Result<Value, E> {
        Ok(Value::Wrong(NUMBER))
    }

    fn visit_u128<E>(self, _: u128) -> std::result::Result<Value, E> {
        Ok(Value::Wrong(NUMBER))
    }

    fn visit_f64<E>(self, _: f64) -> std::result::Result<Value, E> {
        Ok(Value::Wrong(NUMBER))
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Wrong("has no value: write \"\" for an empty one, or take the line out"))
    }

    fn visit_none<E: serde::de::Error>(self) -> std::result::Result<Value, E> {
        self.visit_unit()
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Value, A::Error> {
        while list.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(Value::Wrong("is a list: a field's value is text"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Value, A::Error> {
        const NOT_BYTES: &str = "is a map: a field's value is text, or {base64: ...} for bytes";
        let mut value = Value::Wrong(NOT_BYTES);
        let mut number = 0;
        while let Some(name) = map.next_key::<String>()? {
            number += 1;
            if name != "base64" {
                map.next_value::<serde::de::IgnoredAny>()?;
                value = Value::Wrong(NOT_BYTES);
                continue;
            }
            value = match map.next_value()? {
                Value::Bytes(text) if number == 1 => match STANDARD.decode(text.expose()) {
                    Ok(bytes) => Value::Bytes(SecretBytes::from(bytes)),
                    Err(_) => Value::Wrong("is not base64"),
                },
                _ => Value::Wrong(NOT_BYTES),
            };
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &[u8])]) -> Vec<(String, SecretBytes)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), SecretBytes::copied_from(value))).collect()
    }

    fn wrong(text: &str, form: Form) -> String {
        read(&SecretString::copied_from(text), form).map(|fields| fields.len()).unwrap_err()
    }

    #[test]
    fn what_is_written_reads_back_as_it_was() {
        let before = fields(&[
            ("user", b"app"),
            ("pem", b"-----BEGIN\nabc\n-----END\n"),
            ("port", b"0123"),
            ("yes", b"no"),
            ("empty", b""),
            ("bytes", b"\xff\x00"),
            ("spaces", b"  a  \n\n b \n\n"),
            ("crlf", b"a\r\nb"),
            ("json", br#"{"a": "b"}"#),
            ("comment", b"# not one"),
            ("odd name: #", b"\x1b[31m"),
        ]);
        for form in [Form::Yaml, Form::Json] {
            let text = written(&before, form, "kv/x\n, version 1").unwrap();
            let after = read(&text, form).unwrap_or_else(|error| panic!("{error}: {}", text.expose()));
            let pairs = |fields: &[(String, SecretBytes)]| -> std::collections::BTreeMap<String, Vec<u8>> {
                fields.iter().map(|(name, value)| (name.clone(), value.expose().to_vec())).collect()
            };
            assert_eq!(pairs(&after), pairs(&before), "{}", text.expose());
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_without_its_value() {
        for (text, expected) in [
            ("user: app\nport: 5432\n", "field 'port' is a number: put it in quotes, so that it stays as you write it"),
            ("a: yes it is\nb: true\n", "field 'b' is true or false: put it in quotes"),
            ("a:\n", "field 'a' has no value"),
            ("a: [canary]\n", "field 'a' is a list"),
            ("a: {b: canary}\n", "field 'a' is a map"),
            ("a: {base64: canary!}\n", "field 'a' is not base64"),
            ("- canary\n", "this is no YAML map of fields"),
            ("a: \"canary\n", "this is no YAML map of fields"),
            ("{}", "a secret has at least one field"),
            ("canary", "this is no YAML map of fields"),
        ] {
            let found = wrong(text, Form::Yaml);
            assert!(found.starts_with(expected), "{text:?}: {found}");
            assert!(!found.contains("canary") && !found.contains("5432"), "{found}");
        }
        assert!(wrong("a: x\na: canary\n", Form::Yaml).len() < 80);
        assert!(wrong("{\"a\": \"canary\",}", Form::Json).starts_with("this is no JSON map of fields (line 1"));
        assert!(wrong("{\"a\": 1}", Form::Json).starts_with("field 'a' is a number"));
        assert!(wrong("{\"a\": \"1\", \"a\": \"canary\"}", Form::Json).starts_with("field 'a' is there twice"));
    }

    #[test]
    fn an_error_stands_on_top_once() {
        let text = SecretString::copied_from("a: 1\n");
        let once = with_error(&text, Form::Yaml, "bad\nline");
        assert_eq!(once.expose(), "# error: bad\\nline\na: 1\n");
        assert_eq!(with_error(&once, Form::Yaml, "worse").expose(), "# error: worse\na: 1\n");
        assert!(with_error(&text, Form::Json, "bad").same(&text));
    }
}
