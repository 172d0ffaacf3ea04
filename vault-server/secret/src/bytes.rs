use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use crate::{NotText, SecretString, nameless_debug};

/// Bytes of any length that open something.
#[derive(Default, ZeroizeOnDrop)]
pub struct SecretBytes(Vec<u8>);

nameless_debug!(SecretBytes);

impl SecretBytes {
    /// No bytes, with room for `capacity` of them.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// A copy of `bytes`, which stay the caller's to wipe.
    #[must_use]
    pub fn copied_from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The bytes, to be used in the smallest scope there is.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be changed in place.
    #[must_use]
    pub fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// The bytes without their protection, not copied: for an encoder that needs a vector of its own.
    #[must_use]
    pub fn into_exposed(mut self) -> Vec<u8> {
        core::mem::take(&mut self.0)
    }

    /// The same bytes as text, not copied.
    ///
    /// # Errors
    /// Where they are not UTF-8; they are wiped then.
    pub fn into_text(self) -> Result<SecretString, NotText> {
        String::from_utf8(self.into_exposed()).map(SecretString::from).map_err(|error| {
            error.into_bytes().zeroize();
            NotText
        })
    }

    /// A second owner of the same bytes.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::copied_from(&self.0)
    }

    /// Whether both hold the same bytes, in a time that depends on their lengths alone.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends `more`. Where that outgrows the room, the bytes move and their old place is wiped.
    pub fn append(&mut self, more: &[u8]) {
        let needed = self.0.len().saturating_add(more.len());
        if needed > self.0.capacity() {
            let mut larger = Vec::with_capacity(needed.max(self.0.capacity().saturating_mul(2)));
            larger.extend_from_slice(&self.0);
            self.0.zeroize();
            self.0 = larger;
        }
        self.0.extend_from_slice(more);
    }
}

impl From<Vec<u8>> for SecretBytes {
    /// Takes the bytes over, without copying them.
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_tells_the_type_alone() {
        assert_eq!(format!("{:?}", SecretBytes::from(b"canary".to_vec())), "SecretBytes");
    }

    #[test]
    fn taking_over_does_not_copy() {
        let bytes = b"canary".to_vec();
        let place = bytes.as_ptr();
        let secret = SecretBytes::from(bytes);
        assert_eq!(secret.expose().as_ptr(), place);
        let bytes = secret.into_exposed();
        assert_eq!(bytes.as_ptr(), place);
    }

    #[test]
    fn only_equal_bytes_are_the_same() {
        let secret = SecretBytes::from(b"canary".to_vec());
        assert!(secret.same(&secret.duplicate()));
        for other in ["", "canar", "canarx", "Canary", "canaryy"] {
            assert!(!secret.same(&SecretBytes::copied_from(other.as_bytes())), "{other}");
        }
    }

    #[test]
    fn appending_keeps_what_was_there() {
        let mut secret = SecretBytes::with_capacity(1);
        assert!(secret.is_empty());
        for byte in 0..=255_u8 {
            secret.append(&[byte, byte]);
        }
        assert_eq!(secret.len(), 512);
        assert!(secret.expose().chunks(2).zip(0..=255_u8).all(|(pair, byte)| pair == [byte, byte]));
    }

    #[test]
    fn bytes_that_are_not_text_are_refused() {
        assert_eq!(SecretBytes::from(vec![0xff]).into_text().err(), Some(NotText));
        assert_eq!(SecretBytes::from("é".as_bytes().to_vec()).into_text().unwrap().expose(), "é");
    }
}
