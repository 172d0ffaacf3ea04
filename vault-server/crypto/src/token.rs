//! Sealed tokens: text that only this vault can make and read.
//!
//! A token is `coffer.KIND.1.` and base64url (no padding) of what [`crate::xaes`] makes of the claims. The text
//! before the base64 and the context are its associated data: a token of one kind, or given out within one context
//! (the request that a page token continues, say), is no token of another. What is in it is hidden from its bearer.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use coffer_secret::{SecretBytes, SecretString};
use zeroize::Zeroizing;

use crate::{
    key::Key,
    xaes::{Cipher, OVERHEAD, SealError},
};

/// Characters in a token, at most.
pub const TOKEN_CHARS_MAX: usize = 8_192;

/// Why a token was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealTokenError {
    /// Its text would be longer than [`TOKEN_CHARS_MAX`].
    #[error("the claims are too long for a token")]
    TooLong,
    /// No nonce.
    #[error("the token was not sealed")]
    Seal(#[from] SealError),
}

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not look like a token of this kind: too long, another prefix, or not base64url.
    #[error("this is not such a token")]
    Form,
    /// It looks like one, and this vault did not make it with this key, of this kind, within this context.
    #[error("the token is not of this vault's making")]
    Forged,
}

/// Makes and opens the tokens of one kind. Wiped when dropped.
#[derive(Debug)]
pub struct Sealer {
    cipher: Cipher,
    prefix: String,
}

impl Sealer {
    /// A sealer under `key`, for tokens of a kind: a word of `a-z` and `-`.
    #[must_use]
    pub fn new(key: &Key, kind: &'static str) -> Self {
        Self { cipher: Cipher::new(key), prefix: format!("coffer.{kind}.1.") }
    }

    /// A token that holds `claims`.
    ///
    /// # Errors
    /// [`SealTokenError`].
    pub fn seal(&self, claims: &[u8]) -> Result<SecretString, SealTokenError> {
        self.seal_within(b"", claims)
    }

    /// A token that holds `claims` and opens within the same context only.
    ///
    /// # Errors
    /// [`SealTokenError`].
    pub fn seal_within(&self, context: &[u8], claims: &[u8]) -> Result<SecretString, SealTokenError> {
        let encoded = base64::encoded_len(claims.len().saturating_add(OVERHEAD), false).unwrap_or(usize::MAX);
        let chars = self.prefix.len().saturating_add(encoded);
        if chars > TOKEN_CHARS_MAX {
            return Err(SealTokenError::TooLong);
        }
        let sealed = self.cipher.seal(&self.associated(context), claims)?;
        let mut text = String::with_capacity(chars);
        text.push_str(&self.prefix);
        URL_SAFE_NO_PAD.encode_string(sealed, &mut text);
        Ok(SecretString::from(text))
    }

    /// The claims in a token.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn open(&self, text: &str) -> Result<SecretBytes, TokenError> {
        self.open_within(b"", text)
    }

    /// The claims in a token that was made within the same context.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn open_within(&self, context: &[u8], text: &str) -> Result<SecretBytes, TokenError> {
        let encoded =
            (text.len() <= TOKEN_CHARS_MAX).then(|| text.strip_prefix(&self.prefix)).flatten().ok_or(TokenError::Form)?;
        let sealed = Zeroizing::new(URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::Form)?);
        self.cipher.open(&self.associated(context), &sealed).map_err(|_| TokenError::Forged)
    }

    /// No kind holds a zero byte, so no two pairs of prefix and context are the same.
    fn associated(&self, context: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), &[0], context].concat()
    }
}

#[cfg(test)]
mod tests;
