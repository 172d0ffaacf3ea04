//! Random numbers for request ids and jitter, from the TLS provider: no other source is linked.

use rustls::crypto::{SecureRandom, ring};

/// Fills an array with random bytes; zeros where the system has none, which no caller takes for a secret.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let random: &dyn SecureRandom = ring::default_provider().secure_random;
    match random.fill(&mut bytes) {
        Ok(()) => bytes,
        Err(_) => [0; N],
    }
}
