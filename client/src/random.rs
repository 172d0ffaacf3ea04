//! Random numbers, from the TLS provider: no other source is linked.

use rustls::crypto::{SecureRandom, ring};

/// Random bytes for what nobody may guess; none where the system has none.
#[must_use]
pub fn random_bytes<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let random: &dyn SecureRandom = ring::default_provider().secure_random;
    random.fill(&mut bytes).ok().map(|()| bytes)
}

/// Fills an array with random bytes; zeros where the system has none, which no caller takes for a secret.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    random_bytes().unwrap_or([0; N])
}
