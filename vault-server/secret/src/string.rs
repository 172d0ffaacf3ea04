use core::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::ZeroizeOnDrop;

use crate::{SecretBytes, nameless_debug};

/// The bytes are not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotText;

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes are not UTF-8")
    }
}

impl core::error::Error for NotText {}

/// Text that opens something.
#[derive(Default, ZeroizeOnDrop)]
pub struct SecretString(String);

nameless_debug!(SecretString);

impl SecretString {
    /// A copy of `text`, which stays the caller's to wipe.
    #[must_use]
    pub fn copied_from(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text, to be used in the smallest scope there is.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The text without its protection, not copied: for an encoder that needs a string of its own.
    #[must_use]
    pub fn into_exposed(mut self) -> String {
        core::mem::take(&mut self.0)
    }

    /// The same text as bytes, not copied.
    #[must_use]
    pub fn into_bytes(self) -> SecretBytes {
        SecretBytes::from(self.into_exposed().into_bytes())
    }

    /// A second owner of the same text.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::copied_from(&self.0)
    }

    /// Whether both hold the same text, in a time that depends on their lengths alone.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }

    /// How many bytes the text has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for SecretString {
    /// Takes the text over, without copying it.
    fn from(text: String) -> Self {
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_tells_the_type_alone() {
        assert_eq!(format!("{:?}", SecretString::from("canary".to_owned())), "SecretString");
    }

    #[test]
    fn text_becomes_bytes_and_text_again_in_one_place() {
        let secret = SecretString::from("canary".to_owned());
        let place = secret.expose().as_ptr();
        let secret = secret.into_bytes().into_text().unwrap();
        assert_eq!(secret.expose().as_ptr(), place);
        assert_eq!((secret.len(), secret.is_empty()), (6, false));
    }

    #[test]
    fn only_equal_text_is_the_same() {
        let secret = SecretString::copied_from("canary");
        assert!(secret.same(&secret.duplicate()));
        assert!(!secret.same(&SecretString::copied_from("canarx")));
        assert!(!secret.same(&SecretString::default()));
    }
}
