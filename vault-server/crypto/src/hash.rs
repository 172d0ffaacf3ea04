//! SHA-256 (FIPS 180-4) and HMAC-SHA256 (RFC 2104).

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Digest as _;

/// Bytes in a digest of SHA-256, and in a tag of HMAC-SHA256.
pub const DIGEST_BYTES: usize = 32;

/// A digest of SHA-256, or a tag of HMAC-SHA256.
pub type Digest = [u8; DIGEST_BYTES];

/// SHA-256 of `data`.
#[must_use]
pub fn sha256(data: &[u8]) -> Digest {
    sha2::Sha256::digest(data).into()
}

/// SHA-256 of what comes piece by piece. The state is wiped when dropped.
#[derive(Clone, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// A hash of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Hashes `data` behind what came before.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The digest of all that came.
    #[must_use]
    pub fn finish(self) -> Digest {
        self.0.finalize().into()
    }
}

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256")
    }
}

/// A key of HMAC-SHA256, ready for use. It is wiped when dropped.
pub struct HmacKey(Hmac<sha2::Sha256>);

impl HmacKey {
    /// The key of these bytes, which stay the caller's to wipe. Below 32 bytes it is weaker than its tags are long.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "HMAC takes keys of every length")]
    pub fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of every length"))
    }

    /// The tag of `message`.
    #[must_use]
    pub fn tag(&self, message: &[u8]) -> Digest {
        self.tag_parts(&[message])
    }

    /// The tag of the parts, one behind the other. Where one ends is not part of what is hashed.
    #[must_use]
    pub fn tag_parts(&self, parts: &[&[u8]]) -> Digest {
        self.over(parts).finalize().into_bytes().into()
    }

    /// Whether `tag` is the whole tag of `message`, in constant time.
    #[must_use]
    pub fn verify(&self, message: &[u8], tag: &[u8]) -> bool {
        self.over(&[message]).verify_slice(tag).is_ok()
    }

    fn over(&self, parts: &[&[u8]]) -> Hmac<sha2::Sha256> {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac
    }
}

impl std::fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HmacKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_gives_the_digests_of_fips_180_4() {
        for (message, digest) in [
            (&b""[..], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
        ] {
            assert_eq!(hex::encode(sha256(message)), digest);
            let mut pieces = Sha256::new();
            message.chunks(5).for_each(|piece| pieces.update(piece));
            assert_eq!(hex::encode(pieces.finish()), digest);
        }
    }

    /// RFC 4231, cases 1, 2, 3, 6 and 7.
    #[test]
    fn hmac_gives_the_tags_of_rfc_4231() {
        let long = b"This is a test using a larger than block-size key and a larger than block-size data. \
                     The key needs to be hashed before being used by the HMAC algorithm.";
        for (key, message, tag) in [
            (&[0x0b; 20][..], &b"Hi There"[..], "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (&[0xaa; 131], long, "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"),
        ] {
            let key = HmacKey::new(key);
            assert_eq!(hex::encode(key.tag(message)), tag);
            let (front, back) = message.split_at(3);
            assert_eq!(hex::encode(key.tag_parts(&[front, back])), tag);
        }
    }

    #[test]
    fn only_the_whole_tag_of_the_message_verifies() {
        let key = HmacKey::new(&[7; 32]);
        let tag = key.tag(b"message");
        assert!(key.verify(b"message", &tag));
        assert!(!key.verify(b"massage", &tag));
        assert!(!key.verify(b"message", &tag[..31]));
        assert!(!key.verify(b"message", &[]));
        assert!(!HmacKey::new(&[8; 32]).verify(b"message", &tag));
    }

    #[test]
    fn nothing_of_a_key_is_printed() {
        assert_eq!(format!("{:?}", HmacKey::new(&[7; 32])), "HmacKey");
    }

    /// Compiles only while the hash wipes itself; HMAC's state is two of them and a buffer.
    #[test]
    fn states_wipe_themselves() {
        fn wipes(_: &impl zeroize::ZeroizeOnDrop) {}
        wipes(&Sha256::new().0);
    }
}
