//! How a password is shown to be known, without being told.

use coffer_secret::{SecretBytes, SecretString};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// What `mysql_native_password` wants for a password and the server's nonce: `SHA1(p) ^ SHA1(nonce, SHA1(SHA1(p)))`.
pub(super) fn native(password: &SecretString, nonce: &[u8]) -> SecretBytes {
    let once = Sha1::digest(password.expose());
    let twice = Sha1::digest(once);
    let mask = Sha1::new().chain_update(nonce).chain_update(twice).finalize();
    xor(&once, &mask)
}

/// What `caching_sha2_password` wants for them: `SHA256(p) ^ SHA256(SHA256(SHA256(p)), nonce)`.
pub(super) fn caching_sha2(password: &SecretString, nonce: &[u8]) -> SecretBytes {
    let once = Sha256::digest(password.expose());
    let twice = Sha256::digest(once);
    let mask = Sha256::new().chain_update(twice).chain_update(nonce).finalize();
    xor(&once, &mask)
}

fn xor(one: &[u8], other: &[u8]) -> SecretBytes {
    SecretBytes::from(one.iter().zip(other).map(|(one, other)| one ^ other).collect::<Vec<_>>())
}

/// What a server with `mysql_native_password` keeps of a password: who knows it cannot log in with it.
pub(super) fn native_hash(password: &SecretString) -> String {
    format!("*{}", hex::encode_upper(Sha1::digest(Sha1::digest(password.expose()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> SecretString {
        SecretString::copied_from(text)
    }

    #[test]
    fn the_hash_is_what_servers_keep() {
        // SELECT PASSWORD('mariadb'), in MariaDB's manual.
        assert_eq!(native_hash(&password("mariadb")), "*54958E764CE10E50764C2EECBB71D01F08549980");
        // Of the empty one servers keep nothing; the function is the same.
        assert_eq!(native_hash(&password("password")), "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19");
    }

    #[test]
    fn what_is_shown_proves_the_password_to_who_keeps_its_hash() {
        let (secret, nonce) = (password("a password"), [7_u8; 20]);
        // As a server checks: with what it keeps it finds SHA1(p), and SHA1 of that must be what it keeps.
        let kept = Sha1::digest(Sha1::digest(secret.expose()));
        let mask = Sha1::new().chain_update(nonce).chain_update(kept).finalize();
        let shown = native(&secret, &nonce);
        assert_eq!(shown.len(), 20);
        assert_eq!(Sha1::digest(xor(shown.expose(), &mask).expose()), kept);
        assert_ne!(shown.expose(), native(&secret, &[8; 20]).expose(), "every nonce wants another");

        let kept = Sha256::digest(Sha256::digest(secret.expose()));
        let mask = Sha256::new().chain_update(kept).chain_update(nonce).finalize();
        let shown = caching_sha2(&secret, &nonce);
        assert_eq!(shown.len(), 32);
        assert_eq!(Sha256::digest(xor(shown.expose(), &mask).expose()), kept);
    }
}
