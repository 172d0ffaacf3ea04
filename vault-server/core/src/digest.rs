//! Digests of images, manifests and configurations: SHA-256, written `sha256:` and 64 lower-case hexadecimal digits.

use std::{fmt, str::FromStr};

/// The text is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is sha256: and 64 lower-case hexadecimal digits")]
pub struct DigestError;

/// A digest of something in a registry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

const PREFIX: &str = "sha256:";

impl Digest {
    /// The digest that a reference to an image names: `HOST/REPOSITORY@sha256:...`, or the digest alone.
    #[must_use]
    pub fn in_reference(reference: &str) -> Option<Self> {
        reference.rsplit_once('@').map_or(reference, |(_, digest)| digest).parse().ok()
    }

    /// The hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == 64).ok_or(DigestError)?;
        let digit = |byte: &u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let [high, low] = pair else { return Err(DigestError) };
            *byte = digit(high).ok_or(DigestError)? << 4 | digit(low).ok_or(DigestError)?;
        }
        Ok(Self(bytes))
    }
}

stored_as_text!(Digest);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_read_what_they_write_and_nothing_else() {
        let text = format!("sha256:{}", "0f".repeat(32));
        let digest: Digest = text.parse().unwrap();
        assert_eq!(digest.to_string(), text);
        for reference in [format!("registry.example.com/a/b@{text}"), format!("a:1@{text}"), text.clone()] {
            assert_eq!(Digest::in_reference(&reference), Some(digest), "{reference}");
        }
        for wrong in [
            "",
            "sha256:",
            text.trim_start_matches(PREFIX),
            text.strip_suffix('f').unwrap(),
            &format!("{text}0"),
            &text.to_uppercase(),
            &text.replace("sha256", "sha512"),
            &text.replace('f', "g"),
            "registry.example.com/a/b:1",
        ] {
            assert_eq!(Digest::in_reference(wrong), None, "{wrong}");
        }
    }
}
