use aes_siv::siv::Aes128Siv;
use hex::{decode, encode};
use proptest::prelude::*;

use super::*;

fn key() -> NamesKey {
    NamesKey::from_array(SecretArray::zeroed_with(|array| array.iter_mut().zip(0..).for_each(|(byte, at)| *byte = at)))
}

/// The vectors of RFC 5297 are for AES-128: they show that the construction is the one of the RFC.
fn published(key: &str, associated: &[&str], plaintext: &str, sealed: &str) {
    let key: [u8; 32] = decode(key).unwrap().try_into().unwrap();
    let associated: Vec<_> = associated.iter().map(|text| decode(text).unwrap()).collect();
    let mut cipher = Aes128Siv::new(&key.into());
    assert_eq!(encode(cipher.encrypt(&associated, &decode(plaintext).unwrap()).unwrap()), sealed);
    assert_eq!(encode(cipher.decrypt(&associated, &decode(sealed).unwrap()).unwrap()), plaintext);
}

#[test]
fn the_vectors_of_the_rfc_come_out() {
    // RFC 5297, A.1: deterministic.
    published(
        "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
        &["101112131415161718191a1b1c1d1e1f2021222324252627"],
        "112233445566778899aabbccddee",
        "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c",
    );
    // A.2: with two strings and a nonce.
    published(
        "7f7e7d7c7b7a79787776757473727170404142434445464748494a4b4c4d4e4f",
        &[
            "00112233445566778899aabbccddeeffdeaddadadeaddadaffeeddccbbaa99887766554433221100",
            "102030405060708090a0",
            "09f911029d74e35bd84156c5635688c0",
        ],
        "7468697320697320736f6d6520706c61696e7465787420746f20656e6372797074207573696e67205349562d414553",
        "7bdb6e3b432667eb06f4d14bff2fbd0fcb900f2fddbe404326601965c889bf17dba77ceb094fa663b7a3f748ba8af829ea64ad544a272e9c485b62a3fd5c0d",
    );
}

#[test]
fn a_name_is_sealed_the_same_each_time() {
    assert_eq!(key().seal(&[b"mount", b"parent"], b"name"), key().seal(&[b"mount", b"parent"], b"name"));
    assert_eq!(key().seal(&[b"mount"], b"name").len(), 4 + OVERHEAD);
    assert_eq!(key().seal(&[], b"").len(), OVERHEAD);
}

#[test]
fn the_same_name_under_another_parent_looks_different() {
    let sealed = key().seal(&[b"mount", b"parent"], b"name");
    for other in [
        key().seal(&[b"mount", b"other"], b"name"),
        key().seal(&[b"parent", b"mount"], b"name"),
        key().seal(&[b"mountparent", b""], b"name"),
        key().seal(&[b"mount", b"parent", b""], b"name"),
    ] {
        assert_ne!(sealed, other);
    }
}

#[test]
fn no_changed_bit_opens() {
    let sealed = key().seal(&[b"parent"], b"name");
    for place in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[place / 8] ^= 1 << (place % 8);
        assert_eq!(key().open(&[b"parent"], &changed).err(), Some(OpenError), "bit {place}");
    }
    for length in 0..sealed.len() {
        assert!(key().open(&[b"parent"], &sealed[..length]).is_err(), "cut to {length}");
    }
    assert!(key().open(&[b"parenu"], &sealed).is_err());
    assert!(key().open(&[b"parent", b""], &sealed).is_err());
    let other = NamesKey::from_array(SecretArray::copied_from(&[1; NAMES_KEY_BYTES]));
    assert!(other.open(&[b"parent"], &sealed).is_err());
}

proptest! {
    #[test]
    fn a_name_reads_as_it_was_written(parent: Vec<u8>, name: Vec<u8>) {
        let opened = key().open(&[b"mount", &parent], &key().seal(&[b"mount", &parent], &name)).unwrap();
        prop_assert_eq!(opened.expose(), name);
    }
}
