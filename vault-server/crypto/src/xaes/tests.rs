use hex::encode;
use proptest::prelude::*;
use sha3::{
    Shake128,
    digest::{ExtendableOutput as _, Update as _, XofReader as _},
};

use super::*;

const NONCE: &[u8; NONCE_BYTES] = b"ABCDEFGHIJKLMNOPQRSTUVWX";

/// Seals under the nonce of the published vectors, and gives the ciphertext and tag.
fn published(key: u8, aad: &[u8]) -> String {
    let cipher = Cipher::new(&Key::from_bytes([key; 32]));
    let sealed = cipher.seal_with(NONCE, aad, b"XAES-256-GCM").unwrap();
    assert_eq!(cipher.open(aad, &sealed).unwrap().expose(), b"XAES-256-GCM");
    encode(sealed.strip_prefix(NONCE).unwrap())
}

#[test]
fn the_published_vectors_come_out() {
    // https://c2sp.org/XAES-256-GCM, "Test vectors": the top bit of L is clear in the first and set in the second.
    assert_eq!(published(1, b""), "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271");
    assert_eq!(published(3, b"c2sp.org/XAES-256-GCM"), "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d");
}

#[test]
fn the_subkey_is_that_of_the_published_vectors() {
    for (key, subkey) in [(1, "e531954aca063d5b8d9c47a47d4cc6f0"), (3, "23810ec50edb99f374409466ed1f4b7b")] {
        assert_eq!(encode(Cipher::new(&Key::from_bytes([key; 32])).subkey.expose()), subkey);
    }
}

#[test]
fn ten_thousand_random_messages_add_up_to_the_published_hash() {
    // "Accumulated randomized tests" of the same document.
    let mut random = Shake128::default().finalize_xof();
    let mut seen = Shake128::default();
    for _ in 0..10_000 {
        let (mut key, mut nonce) = ([0; 32], [0; NONCE_BYTES]);
        random.read(&mut key);
        random.read(&mut nonce);
        let mut opaque = || {
            let mut length = [0];
            random.read(&mut length);
            let mut bytes = vec![0; usize::from(length[0])];
            random.read(&mut bytes);
            bytes
        };
        let (plaintext, aad) = (opaque(), opaque());
        let cipher = Cipher::new(&Key::from_bytes(key));
        let sealed = cipher.seal_with(&nonce, &aad, &plaintext).unwrap();
        assert_eq!(cipher.open(&aad, &sealed).unwrap().expose(), plaintext);
        seen.update(&sealed[NONCE_BYTES..]);
    }
    let mut hash = [0; 32];
    seen.finalize_xof().read(&mut hash);
    assert_eq!(encode(hash), "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939");
}

#[test]
fn no_changed_bit_opens() {
    let key = Key::from_bytes([7; 32]);
    let sealed = seal(&key, b"aad", b"plaintext").unwrap();
    assert_eq!(sealed.len(), 9 + OVERHEAD);
    for place in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[place / 8] ^= 1 << (place % 8);
        assert_eq!(open(&key, b"aad", &changed).err(), Some(OpenError), "bit {place}");
    }
    for length in 0..sealed.len() {
        assert!(open(&key, b"aad", &sealed[..length]).is_err(), "cut to {length}");
    }
    assert!(open(&key, b"aac", &sealed).is_err());
    assert!(open(&key, b"", &sealed).is_err());
    assert!(open(&Key::from_bytes([8; 32]), b"aad", &sealed).is_err());
    assert_eq!(open(&key, b"aad", &sealed).unwrap().expose(), b"plaintext");
}

#[test]
fn one_plaintext_is_sealed_differently_each_time() {
    let cipher = Cipher::new(&Key::from_bytes([7; 32]));
    assert_ne!(cipher.seal(b"", b"").unwrap(), cipher.seal(b"", b"").unwrap());
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", Cipher::new(&Key::from_bytes([7; 32]))), "Cipher");
}

proptest! {
    #[test]
    fn ring_agrees_on_what_lies_below(key: [u8; 32], nonce: [u8; NONCE_BYTES], aad: Vec<u8>, plaintext: Vec<u8>) {
        let cipher = Cipher::new(&Key::from_bytes(key));
        let sealed = cipher.seal_with(&nonce, &aad, &plaintext).unwrap();

        // The derived key a second way: CMAC of NIST SP 800-38B over the message of SP 800-108r1, by its definition.
        let aes = Aes256::new(&key.into());
        let mut derived = Vec::new();
        let mut subkey = Block::default();
        aes.encrypt_block(&mut subkey);
        let mut carry = 0;
        for byte in subkey.iter_mut().rev() {
            (*byte, carry) = (*byte << 1 | carry, *byte >> 7);
        }
        subkey[15] ^= carry * 0x87;
        for counter in [1, 2] {
            let mut block = Block::from(*b"\0\0X\0............");
            block[1] = counter;
            block[4..].copy_from_slice(&nonce[..12]);
            block.iter_mut().zip(subkey).for_each(|(byte, subkey)| *byte ^= subkey);
            aes.encrypt_block(&mut block);
            derived.extend_from_slice(&block);
        }
        let ring = ring::aead::LessSafeKey::new(ring::aead::UnboundKey::new(&ring::aead::AES_256_GCM, &derived).unwrap());
        let mut expected = plaintext;
        let nonce_rest = ring::aead::Nonce::try_assume_unique_for_key(&nonce[12..]).unwrap();
        ring.seal_in_place_append_tag(nonce_rest, ring::aead::Aad::from(aad), &mut expected).unwrap();
        prop_assert_eq!(&sealed[NONCE_BYTES..], expected);
    }
}
