//! What registries know one by.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_secret::{SecretBytes, SecretString};
use serde::Deserialize;

use crate::{
    Reference, SettingsError,
    error::printable,
    reference::{HUB, HUB_INDEX},
};

/// Bytes of a file of credentials: those of a Kubernetes Secret.
const CREDENTIALS_BYTES_MAX: usize = 1 << 20;

/// Users and passwords, by registry: the `auths` of Docker's `config.json`, which `kubectl create secret docker-registry` writes too.
#[derive(Debug, Default)]
pub struct Credentials(BTreeMap<String, SecretString>);

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

/// Helpers and identity tokens are not for here: an entry with neither of these is passed over.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    /// `USER:PASSWORD` in base64.
    auth: Wiped,
    username: Wiped,
    password: Wiped,
}

#[derive(Deserialize, Default)]
#[serde(from = "String")]
struct Wiped(SecretString);

impl From<String> for Wiped {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Credentials {
    /// Reads a file.
    ///
    /// # Errors
    /// Where it is none. The error has nothing of the content but the names of registries.
    pub fn read(file: &SecretBytes) -> Result<Self, SettingsError> {
        if file.expose().len() > CREDENTIALS_BYTES_MAX {
            return Err(SettingsError(format!("the file of credentials has more than {CREDENTIALS_BYTES_MAX} bytes")));
        }
        // What the parser says of a mistake can have the value in it.
        let read = serde_json::from_slice(file.expose());
        let File { auths } = read.map_err(|error| {
            SettingsError(format!(
                "the file of credentials is no JSON as Docker's: line {}, column {}",
                error.line(),
                error.column()
            ))
        })?;
        let mut users = BTreeMap::new();
        for (name, entry) in auths {
            let user = entry.user().map_err(|why| SettingsError(format!("credentials of {}: {why}", printable(&name))))?;
            users.extend(user.map(|user| (place(&name).into_owned(), user)));
        }
        Ok(Self(users))
    }

    /// The user and password for an image, as `USER:PASSWORD` in base64: those that are said for the longest part of its name.
    pub(crate) fn of(&self, image: &Reference) -> Option<&SecretString> {
        let mut name = format!("{}/{}", image.host(), image.repository());
        loop {
            if let Some(user) = self.0.get(&name) {
                return Some(user);
            }
            name.truncate(name.rfind('/')?);
        }
    }
}

impl Entry {
    fn user(self) -> Result<Option<SecretString>, &'static str> {
        if !self.auth.0.is_empty() {
            let text = STANDARD.decode(self.auth.0.expose()).map(SecretBytes::from).map_err(|_| "auth is no base64")?;
            return match text.expose().contains(&b':') {
                true => Ok(Some(self.auth.0)),
                false => Err("auth has no ':' between user and password"),
            };
        }
        if self.username.0.is_empty() {
            return Ok(None);
        }
        if self.username.0.expose().contains(':') {
            return Err("a user has no ':' in the name");
        }
        let both = SecretString::from(format!("{}:{}", self.username.0.expose(), self.password.0.expose()));
        Ok(Some(STANDARD.encode(both.expose()).into()))
    }
}

/// What an entry is about: a registry, or a part of it. Docker writes URLs.
fn place(name: &str) -> Cow<'_, str> {
    let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name).trim_end_matches('/');
    let name = name.strip_suffix("/v1").or_else(|| name.strip_suffix("/v2")).unwrap_or(name);
    match name.strip_prefix(HUB_INDEX) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{HUB}{rest}").into(),
        _ => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Credentials, String> {
        Credentials::read(&SecretBytes::copied_from(text.as_bytes())).map_err(|error| error.to_string())
    }

    #[test]
    fn the_longest_part_of_a_name_decides() {
        // u:hub, u:all, u:team
        let credentials = read(
            r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpodWI="}, "a.example:5000": {"username": "u", "password": "all"},
                "a.example:5000/team": {"auth": "dTp0ZWFt"}, "helped.example": {}}, "credsStore": "desktop"}"#,
        )
        .unwrap();
        let of = |image: &str| credentials.of(&image.parse().unwrap()).map(|user| user.expose().to_owned());
        assert_eq!(of("busybox").as_deref(), Some("dTpodWI="));
        assert_eq!(of("a.example:5000/x").as_deref(), Some("dTphbGw="));
        assert_eq!(of("a.example:5000/team/x").as_deref(), Some("dTp0ZWFt"));
        assert_eq!(of("a.example:5000/teams/x").as_deref(), Some("dTphbGw="));
        assert_eq!(of("a.example/x"), None);
        assert_eq!(of("helped.example/x"), None);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_value() {
        for (text, told) in [
            ("canary", "the file of credentials is no JSON as Docker's: line 1, column 1"),
            (r#"{"auths": {"a.example": {"auth": ["canary"]}}}"#, "the file of credentials is no JSON"),
            (r#"{"auths": {"a.example": {"auth": "canary!"}}}"#, "credentials of a.example: auth is no base64"),
            (r#"{"auths": {"a.example": {"auth": "Y2FuYXJ5"}}}"#, "credentials of a.example: auth has no ':'"),
            (r#"{"auths": {"a.example": {"username": "a:canary"}}}"#, "credentials of a.example: a user has no ':'"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.starts_with(told) && !why.contains("canary"), "{why}");
        }
        let long = |bytes: usize| format!("{{}}{}", " ".repeat(bytes - 2));
        assert!(read(&long(CREDENTIALS_BYTES_MAX)).is_ok());
        assert!(read(&long(CREDENTIALS_BYTES_MAX + 1)).unwrap_err().contains("more than 1048576 bytes"));
    }
}
