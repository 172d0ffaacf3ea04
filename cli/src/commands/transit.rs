//! `coffer transit`.

use std::str::FromStr;

use clap::Subcommand;
use coffer_client::proto::TransitFailure;
use coffer_secret::SecretBytes;

use crate::{
    advice::Attempt,
    app::App,
    exit::Exit,
    failure::{Failure, Result},
    input::Source,
};

mod file;
mod key;
mod using;

/// Bytes that are taken for one request, at most: the vault's own limit.
const BYTES_MAX: usize = 1 << 20;
/// Characters in a ciphertext or signature, at most: of the largest plaintext, in base64.
const TEXT_CHARS_MAX: usize = 1_536 << 10;

/// Have keys that stay in the vault encrypt, sign and authenticate
///
/// A key is written NAME, of the mount transit, or MOUNT/NAME. What it makes is text: coffer:vN:..., N being its version.
#[derive(Subcommand)]
pub(crate) enum Transit {
    #[command(subcommand)]
    Key(key::Key),
    Encrypt(using::Encrypt),
    Decrypt(using::Decrypt),
    Rewrap(using::Rewrap),
    Sign(using::Sign),
    Verify(using::Verify),
    Hmac(using::Hmac),
    Datakey(using::Datakey),
    Random(using::Random),
    EncryptFile(file::EncryptFile),
    DecryptFile(file::DecryptFile),
}

impl Transit {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Key(command) => command.run(app).await,
            Self::Encrypt(command) => command.run(app).await,
            Self::Decrypt(command) => command.run(app).await,
            Self::Rewrap(command) => command.run(app).await,
            Self::Sign(command) => command.run(app).await,
            Self::Verify(command) => command.run(app).await,
            Self::Hmac(command) => command.run(app).await,
            Self::Datakey(command) => command.run(app).await,
            Self::Random(command) => command.run(app).await,
            Self::EncryptFile(command) => command.run(app).await,
            Self::DecryptFile(command) => command.run(app).await,
        }
    }
}

/// A key: `NAME`, or `MOUNT/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyName {
    mount: String,
    name: String,
}

impl KeyName {
    /// The path of something that is done with it.
    fn path(&self, what: &str) -> String {
        format!("{}/{what}/{}", self.mount, self.name)
    }
}

impl FromStr for KeyName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (mount, name) = text.split_once('/').unwrap_or(("transit", text));
        if mount.is_empty() || name.is_empty() || name.contains('/') {
            return Err("write NAME, or MOUNT/NAME".to_owned());
        }
        Ok(Self { mount: mount.to_owned(), name: name.to_owned() })
    }
}

/// A text that is no secret: itself, or where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    Given(String),
    From(Source),
}

impl FromStr for Text {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text.starts_with("coffer:") {
            return Ok(Self::Given(text.to_owned()));
        }
        Source::marked(text).map(Self::From).map_err(|_| "write coffer:vN:..., @FILE, or - for standard input".to_owned())
    }
}

impl Text {
    fn read(&self, app: &App) -> Result<String> {
        match self {
            Self::Given(text) => Ok(text.clone()),
            Self::From(source) => Ok(app.input.line(source, TEXT_CHARS_MAX)?.expose().to_owned()),
        }
    }
}

/// What goes with a ciphertext: taken as it is.
fn associated(app: &App, source: Option<&Source>) -> Result<Vec<u8>> {
    source.map_or_else(|| Ok(Vec::new()), |source| app.input.bytes(source, BYTES_MAX).map(SecretBytes::into_exposed))
}

/// The only result, or why there is none.
fn only<T>(attempt: &Attempt, results: Vec<T>, failure: impl Fn(&T) -> Option<&TransitFailure>) -> Result<T> {
    let result = crate::app::part(attempt, results.into_iter().next())?;
    if let Some(failure) = failure(&result) {
        return Err(Failure::new(Exit::Failed, format!("cannot {}: {}", attempt.doing, failure.message)));
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_the_mount_transit_unless_another_is_named() {
        let key: KeyName = "payments".parse().unwrap();
        assert_eq!(key.path("encrypt"), "transit/encrypt/payments");
        let key: KeyName = "team/payments".parse().unwrap();
        assert_eq!(key.path("keys"), "team/keys/payments");
        for wrong in ["", "/", "a/", "/a", "a/b/c"] {
            assert!(wrong.parse::<KeyName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_plaintext_on_the_command_line_is_not_taken_for_a_ciphertext() {
        assert_eq!("coffer:v1:YQ==".parse(), Ok(Text::Given("coffer:v1:YQ==".into())));
        assert_eq!("-".parse(), Ok(Text::From(Source::Stdin)));
        assert!("hunter2".parse::<Text>().is_err());
    }
}
