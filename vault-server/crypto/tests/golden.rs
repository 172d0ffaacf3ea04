//! What this crate wrote when its formats were fixed must open for ever. A change that fails here needs a new version
//! of the format beside the old one, not a new golden file.

use std::str::FromStr as _;

use coffer_core::id::VaultId;
use coffer_crypto::{
    derive::{Label, derive, names},
    key::Key,
    password,
    share::{Share, ShareSet},
    token::Sealer,
    xaes,
};
use coffer_secret::SecretString;

/// The key that everything here was made with: 0, 1, 2, up to 31.
fn key() -> Key {
    Key::from_bytes(std::array::from_fn(|at| u8::try_from(at).expect("at most 31")))
}

fn vault() -> VaultId {
    VaultId::from_str("000102030405060708090a0b0c0d0e0f").expect("an id")
}

fn bytes(digits: &str) -> Vec<u8> {
    hex::decode(digits.trim_end()).expect("digits")
}

#[test]
fn every_label_derives_the_key_that_it_did() {
    let golden = include_str!("golden/derive.txt");
    for (line, label) in golden.lines().zip(Label::ALL) {
        let found = hex::encode(derive(&key(), label, b"context").expose());
        assert_eq!(line, format!("{} {found}", label.text()));
    }
    assert_eq!(golden.lines().count(), Label::ALL.len(), "a new label adds its line");
}

#[test]
fn a_sealed_value_opens() {
    let sealed = bytes(include_str!("golden/xaes.hex"));
    assert_eq!(sealed.len(), b"a golden value".len() + xaes::OVERHEAD);
    assert_eq!(xaes::open(&key(), b"golden", &sealed).unwrap().expose(), b"a golden value");
}

#[test]
fn a_name_is_sealed_as_it_was() {
    let sealed = bytes(include_str!("golden/siv.hex"));
    assert_eq!(names(&key(), b"tenant").seal(&[b"mount", b"parent"], b"name"), sealed);
}

#[test]
fn a_token_opens() {
    let token = include_str!("golden/token.txt").trim_end();
    let sealer = Sealer::new(&key(), "session");
    assert_eq!(sealer.open_within(b"context", token).unwrap().expose(), b"golden claims");
}

#[test]
fn shares_are_of_their_set_and_make_the_secret() {
    let set: ShareSet = ciborium::from_reader(&*bytes(include_str!("golden/share-set.cbor.hex"))).unwrap();
    assert_eq!((set.threshold(), set.count()), (2, 3));
    let shares: Vec<_> = include_str!("golden/shares.txt").lines().map(|line| (line, Share::parse(line).unwrap())).collect();
    assert_eq!(shares.len(), 3);
    for (line, share) in &shares {
        assert_eq!(share.text().expose(), *line);
        set.check(share).unwrap();
    }
    let shares: Vec<_> = shares.into_iter().skip(1).map(|(_, share)| share).collect();
    assert!(set.combine(&shares).unwrap().same(&key()));

    let mut written = Vec::new();
    ciborium::into_writer(&set, &mut written).unwrap();
    assert_eq!(hex::encode(written), include_str!("golden/share-set.cbor.hex").trim_end());
    let (other, _) = ShareSet::split(&vault(), &key(), 2, 3).unwrap();
    assert!(other.check(&shares[0]).is_err());
}

#[test]
fn a_password_is_known() {
    let phc = include_str!("golden/password.txt").trim_end();
    assert!(password::verify(&SecretString::copied_from("golden password"), phc));
    assert!(!password::verify(&SecretString::copied_from("golden passwore"), phc));
}
