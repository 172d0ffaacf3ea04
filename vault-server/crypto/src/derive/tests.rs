use std::collections::HashSet;

use hex::{decode, encode};

use super::*;

/// Extract and expand of the library that `derive` is built on, against RFC 5869, A.1 to A.3.
#[test]
fn the_vectors_of_the_rfc_come_out() {
    let long = |from: u8| encode((from..=from + 79).collect::<Vec<_>>());
    let cases = [
        (
            "0b".repeat(22),
            Some("000102030405060708090a0b0c".to_owned()),
            "f0f1f2f3f4f5f6f7f8f9".to_owned(),
            "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            long(0x00),
            Some(long(0x60)),
            long(0xb0),
            "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c\
             59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71\
             cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            "0b".repeat(22),
            None,
            String::new(),
            "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ];
    for (ikm, salt, info, prk, okm) in cases {
        let salt = salt.map(|salt| decode(salt).unwrap());
        let (found, hkdf) = Hkdf::<Sha256>::extract(salt.as_deref(), &decode(ikm).unwrap());
        assert_eq!(encode(found), prk);
        let mut expanded = vec![0; okm.len() / 2];
        hkdf.expand(&decode(info).unwrap(), &mut expanded).unwrap();
        assert_eq!(encode(expanded), okm);
    }
}

#[test]
fn derivation_is_hkdf_of_label_zero_and_context() {
    // ring's HKDF as a second implementation.
    struct Length;
    impl ring::hkdf::KeyType for Length {
        fn len(&self) -> usize {
            32
        }
    }
    let salt = ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, &[]);
    let mut expected = [0; 32];
    salt.extract(&[9; 32]).expand(&[b"coffer/v1/keyring\0tenant"], Length).unwrap().fill(&mut expected).unwrap();
    assert_eq!(derive(&Key::from_bytes([9; 32]), Label::Keyring, b"tenant").expose(), &expected);
}

#[test]
fn no_two_uses_share_a_key() {
    let root = Key::from_bytes([9; 32]);
    let keys: HashSet<_> = Label::ALL
        .into_iter()
        .flat_map(|label| [b"".as_slice(), b"a", b"b"].map(|context| *derive(&root, label, context).expose()))
        .collect();
    assert_eq!(keys.len(), 3 * Label::ALL.len());
}

#[test]
fn labels_are_distinct_and_hold_no_zero_byte() {
    let texts: HashSet<_> = Label::ALL.map(Label::text).into();
    assert_eq!(texts.len(), Label::ALL.len());
    assert!(texts.iter().all(|text| text.starts_with("coffer/v1/") && !text.contains('\0')));
}
