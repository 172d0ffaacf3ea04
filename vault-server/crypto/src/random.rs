//! Random numbers of the operating system.
//!
//! ring asks the kernel (`getrandom`) at each call and keeps nothing. A failure is an error and never a weaker
//! source: whoever needs a nonce or a key and gets none must not go on.

use coffer_secret::SecretArray;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::key::{KEY_BYTES, Key};

/// The operating system gave no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random numbers")]
pub struct RandomError;

/// Fills `bytes` with random numbers.
///
/// # Errors
/// [`RandomError`]; what `bytes` holds then is not to be used.
pub fn fill(bytes: &mut [u8]) -> Result<(), RandomError> {
    SystemRandom::new().fill(bytes).map_err(|_| RandomError)
}

/// `N` random bytes for what is no secret: nonces, ids, salts.
///
/// # Errors
/// [`RandomError`].
pub fn bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// `N` random bytes for what is a secret.
///
/// # Errors
/// [`RandomError`].
pub fn array<const N: usize>() -> Result<SecretArray<N>, RandomError> {
    SecretArray::try_zeroed_with(|array| fill(array))
}

/// A new key.
///
/// # Errors
/// [`RandomError`].
pub fn key() -> Result<Key, RandomError> {
    array::<KEY_BYTES>().map(Key::from_array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_draws_are_alike() {
        assert_ne!(bytes::<16>().unwrap(), bytes::<16>().unwrap());
        assert!(!key().unwrap().same(&key().unwrap()));
    }
}
