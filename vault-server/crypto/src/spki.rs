//! Public keys as others read them: SubjectPublicKeyInfo (RFC 5280) in PEM.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{ecdsa::Curve, sign::PublicKey};

/// What stands before a key of Ed25519 (RFC 8410).
const ED25519: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// What stands before a point of P-256 (RFC 5480).
const P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07, 0x03, 0x42, 0x00,
];
/// What stands before a point of P-384.
const P384: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03,
    0x62, 0x00,
];

/// Characters in a line of PEM (RFC 7468).
const LINE: usize = 64;

/// A public key of Ed25519.
#[must_use]
pub fn ed25519_pem(key: &PublicKey) -> String {
    pem(ED25519, key.as_bytes())
}

/// A public point of ECDSA.
#[must_use]
pub fn ecdsa_pem(curve: Curve, point: &[u8]) -> String {
    match curve {
        Curve::P256 => pem(P256, point),
        Curve::P384 => pem(P384, point),
    }
}

/// The point of a public key of P-256 (SubjectPublicKeyInfo, DER); none where it is a key of another kind, or none.
#[must_use]
pub fn p256_point(spki: &[u8]) -> Option<&[u8]> {
    spki.strip_prefix(P256).filter(|point| point.len() == 65)
}

fn pem(before: &[u8], key: &[u8]) -> String {
    let text: Vec<char> = STANDARD.encode([before, key].concat()).chars().collect();
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    for line in text.chunks(LINE) {
        pem.extend(line);
        pem.push('\n');
    }
    pem.push_str("-----END PUBLIC KEY-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_of_p256_is_found_in_its_key_and_in_nothing_else() {
        let point = [4_u8; 65];
        let spki = [P256, point.as_slice()].concat();
        assert_eq!(p256_point(&spki), Some(point.as_slice()));
        assert_eq!(p256_point(&[P384, [4; 97].as_slice()].concat()), None);
        for end in 0..spki.len() {
            assert_eq!(p256_point(&spki[..end]), None);
        }
        assert_eq!(p256_point(&[spki.as_slice(), &[0]].concat()), None);
    }

    /// RFC 8410, section 10.1.
    #[test]
    fn a_public_key_of_ed25519_is_that_of_rfc_8410() {
        let mut key = [0; 32];
        hex::decode_to_slice("19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1", &mut key).unwrap();
        let pem = ed25519_pem(&PublicKey::from_bytes(key));
        assert_eq!(
            pem,
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n"
        );
    }
}
