//! How a secret looks.

use std::{collections::BTreeMap, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_client::{Secret, proto::VersionInfo};
use coffer_secret::SecretBytes;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::output::{Table, View, age, is_printable, printable, until};

/// A secret for scripts. Values that are not UTF-8 text are in `fields_base64`.
#[derive(Serialize)]
pub(super) struct SecretJson<'a> {
    path: &'a str,
    version: u64,
    created: Option<String>,
    created_by: &'a str,
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<BTreeMap<&'a str, &'a str>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    fields_base64: BTreeMap<&'a str, Base64<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field_sizes: Option<BTreeMap<&'a str, usize>>,
    custom_metadata: &'a BTreeMap<String, String>,
    receipt: u64,
}

/// One value for scripts: a JSON string, or an object with `base64` where it is not UTF-8 text.
#[derive(Serialize)]
#[serde(untagged)]
pub(in crate::commands) enum FieldJson<'a> {
    Text(&'a str),
    Bytes { base64: Base64<'a> },
}

pub(in crate::commands) struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&zeroize::Zeroizing::new(STANDARD.encode(self.0)))
    }
}

pub(in crate::commands) fn field_json(value: &SecretBytes) -> FieldJson<'_> {
    std::str::from_utf8(value.expose()).map_or_else(|_| FieldJson::Bytes { base64: Base64(value.expose()) }, FieldJson::Text)
}

pub(super) fn secret_json<'a>(path: &'a str, secret: &'a Secret, mask: bool) -> SecretJson<'a> {
    let mut fields = BTreeMap::new();
    let mut fields_base64 = BTreeMap::new();
    let mut field_sizes = BTreeMap::new();
    for (name, value) in &secret.fields {
        match std::str::from_utf8(value.expose()) {
            _ if mask => drop(field_sizes.insert(name.as_str(), value.len())),
            Ok(text) => drop(fields.insert(name.as_str(), text)),
            Err(_) => drop(fields_base64.insert(name.as_str(), Base64(value.expose()))),
        }
    }
    SecretJson {
        path,
        version: secret.version,
        created: time(secret.created),
        created_by: &secret.created_by,
        expires: time(secret.expires),
        fields: (!mask).then_some(fields),
        fields_base64,
        field_sizes: mask.then_some(field_sizes),
        custom_metadata: &secret.custom_metadata,
        receipt: secret.receipt,
    }
}

fn time(time: Option<SystemTime>) -> Option<String> {
    time.and_then(|time| Timestamp::try_from(time).ok()).map(|time| format!("{time:.3}"))
}

/// A secret for people: one line about it, then its fields.
pub(super) fn secret_text(path: &str, secret: &Secret, mask: bool, view: &View) -> String {
    let seconds = |time: Option<SystemTime>| time.and_then(|time| Timestamp::try_from(time).ok()).map(Timestamp::as_second);
    let mut head = vec![format!("{path}, version {}", secret.version)];
    if let Some(created) = seconds(secret.created) {
        let ago = age(u64::try_from(view.now.as_second() - created).unwrap_or(0));
        head.push(format!("written {ago} ago by {}", secret.created_by));
    }
    if let Some(expires) = seconds(secret.expires) {
        head.push(format!("expires in {}", age(u64::try_from(expires - view.now.as_second()).unwrap_or(0))));
    }
    head.push(format!("receipt {}", secret.receipt));
    let mut table = Table::new(&["FIELD", "VALUE"]);
    for (name, value) in &secret.fields {
        table.row([name.clone(), value_text(name, value, mask)]);
    }
    let mut text = format!("{}\n\n{}", printable(&head.join(", ")), table.render(view, "no fields"));
    if !secret.custom_metadata.is_empty() {
        let mut table = Table::new(&["METADATA", "VALUE"]);
        for (name, value) in &secret.custom_metadata {
            table.row([name.clone(), value.clone()]);
        }
        text.push_str(&format!("\n{}", table.render(view, "")));
    }
    text
}

/// A value for people; its size alone where it is masked, or is no text that a terminal can show.
pub(in crate::commands) fn value_text(name: &str, value: &SecretBytes, mask: bool) -> String {
    match std::str::from_utf8(value.expose()) {
        _ if mask => format!("({})", bytes(value.len())),
        Ok("") => "(empty)".to_owned(),
        Ok(text) if is_printable(text) => text.trim_end_matches('\n').to_owned(),
        _ => format!("({}, not text: --field {name} > FILE)", bytes(value.len())),
    }
}

fn bytes(number: usize) -> String {
    if number == 1 { "1 byte".to_owned() } else { format!("{number} bytes") }
}

/// The line that a write ends with.
pub(super) fn written(path: &str, version: &VersionInfo, view: &View) -> String {
    match &version.expires {
        Some(expires) => format!("{path}: version {} written, expires in {}", version.version, until(Some(expires), view)),
        None => format!("{path}: version {} written", version.version),
    }
}
