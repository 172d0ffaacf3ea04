//! What keys do, and what they do not.

use std::collections::BTreeSet;

use coffer_core::{
    id::MountId,
    limits::{TRANSIT_KEYS_MAX, TRANSIT_VERSIONS_MAX},
};
use coffer_crypto::recipients::{Encrypting, Recipient};
use coffer_engines::transit::{KeyChange, KeyKind, NewKey, Transit, TransitError, UseError};

use crate::common::{NOW, TENANT, TRANSIT, bytes, commit, create, key, name, new, ready, rotate, vault};

#[tokio::test]
async fn what_a_key_encrypts_only_it_decrypts_with_the_same_associated_data() {
    let (_, barrier) = vault().await;
    create(&barrier, "mine", KeyKind::Aes256Gcm).await;
    create(&barrier, "other", KeyKind::Aes256Gcm).await;
    let (mine, other) = (key(&barrier, "mine").await, key(&barrier, "other").await);
    let (version, text) = mine.encrypt(0, b"row 7", &bytes("secret")).unwrap();
    assert!(version == 1 && text.starts_with("coffer:v1:"), "{text}");
    assert_eq!(mine.decrypt(b"row 7", &text).unwrap().1.expose(), b"secret");
    assert_eq!(mine.decrypt(b"row 8", &text).err(), Some(UseError::Open));
    assert_eq!(mine.decrypt(b"", &text).err(), Some(UseError::Open));
    assert_eq!(other.decrypt(b"row 7", &text).err(), Some(UseError::Open));
    assert_eq!(mine.decrypt(b"row 7", &text.replacen("v1", "v2", 1)).err(), Some(UseError::Version));
    assert_eq!(mine.decrypt(b"row 7", "hunter2").err(), Some(UseError::Form));
    // Every sign of the text matters.
    for (at, sign) in text.char_indices() {
        let other = if sign == 'A' { 'B' } else { 'A' };
        let damaged: String = text.char_indices().map(|(place, sign)| if place == at { other } else { sign }).collect();
        assert!(mine.decrypt(b"row 7", &damaged).is_err(), "{damaged}");
    }
}

/// Vault 1.15.0 let callers choose the nonce.
#[tokio::test]
async fn one_plaintext_is_encrypted_differently_each_time_and_nobody_chooses_a_nonce() {
    let (_, barrier) = vault().await;
    create(&barrier, "k", KeyKind::Aes256Gcm).await;
    let key = key(&barrier, "k").await;
    let nonces: BTreeSet<String> =
        (0..1_000).map(|_| key.encrypt(0, b"", &bytes("same")).unwrap().1.chars().take(10 + 32).collect()).collect();
    assert_eq!(nonces.len(), 1_000);
}

#[tokio::test]
async fn the_same_material_under_another_name_or_in_another_mount_opens_nothing() {
    let (_, barrier) = vault().await;
    let elsewhere = Transit::new(TENANT, MountId::from_bytes([4; 16]));
    let mut texts = Vec::new();
    for (mount, of) in [(TRANSIT, "a"), (TRANSIT, "b"), (elsewhere, "a")] {
        let recipient = commit(&barrier, mount.wrapping_key(&barrier).await).await.unwrap();
        let wrapped = wrap(&recipient, &[9; 32]);
        let imported = mount.import(&barrier, &name(of), new(KeyKind::Aes256Gcm), false, &wrapped, NOW).await;
        assert_eq!(commit(&barrier, imported).await.unwrap(), 1);
        let key = mount.key(&barrier, &ready(), &name(of)).await.unwrap();
        texts.push(key.encrypt(0, b"", &bytes("x")).unwrap().1);
    }
    let key = key(&barrier, "a").await;
    assert!(key.decrypt(b"", &texts[0]).is_ok());
    assert_eq!(key.decrypt(b"", &texts[1]).err(), Some(UseError::Open));
    assert_eq!(key.decrypt(b"", &texts[2]).err(), Some(UseError::Open));
}

#[tokio::test]
async fn versions_are_used_as_the_minimums_say() {
    let (_, barrier) = vault().await;
    create(&barrier, "k", KeyKind::Aes256Gcm).await;
    let old = key(&barrier, "k").await.encrypt(0, b"", &bytes("x")).unwrap().1;
    assert_eq!((rotate(&barrier, "k").await, rotate(&barrier, "k").await), (2, 3));
    let now = key(&barrier, "k").await;
    assert_eq!(now.encrypt(0, b"", &bytes("x")).unwrap().0, 3);
    assert_eq!(now.encrypt(2, b"", &bytes("x")).err(), Some(UseError::TooOld), "0 is the newest alone");
    assert_eq!(now.encrypt(4, b"", &bytes("x")).err(), Some(UseError::Version));
    assert_eq!(now.decrypt(b"", &old).unwrap().0, 1);
    let (version, rewrapped) = now.rewrap(0, b"", &old).unwrap();
    assert!(version == 3 && now.decrypt(b"", &rewrapped).unwrap().1.expose() == b"x");

    let change = async |min_decrypt, min_encrypt| {
        let change = KeyChange { min_decrypt, min_encrypt, deletable: None };
        commit(&barrier, TRANSIT.update(&barrier, &name("k"), change).await).await
    };
    for (decrypt, encrypt) in [(Some(0), None), (Some(4), None), (None, Some(4)), (Some(3), Some(2)), (Some(3), Some(4))] {
        assert!(matches!(change(decrypt, encrypt).await, Err(TransitError::Setting(_))), "{decrypt:?} {encrypt:?}");
    }
    change(Some(2), Some(2)).await.unwrap();
    let now = key(&barrier, "k").await;
    assert_eq!(now.encrypt(2, b"", &bytes("x")).unwrap().0, 2);
    assert_eq!(now.decrypt(b"", &old).err(), Some(UseError::TooOld));
    assert_eq!(now.rewrap(0, b"", &old).err(), Some(UseError::TooOld));
    // What a minimum shuts out is there still, until it is trimmed.
    change(Some(1), None).await.unwrap();
    assert!(key(&barrier, "k").await.decrypt(b"", &old).is_ok());
    assert_eq!(commit(&barrier, TRANSIT.trim(&barrier, &name("k")).await).await.unwrap(), 0);
    change(Some(2), None).await.unwrap();
    assert_eq!(commit(&barrier, TRANSIT.trim(&barrier, &name("k")).await).await.unwrap(), 1);
    assert!(matches!(change(Some(1), None).await, Err(TransitError::Setting(_))), "it is erased");
    let info = TRANSIT.info(&barrier, &name("k")).await.unwrap();
    assert_eq!(info.versions.iter().map(|version| version.number).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(rotate(&barrier, "k").await, 4);
}

#[tokio::test]
async fn keys_that_sign_sign_and_keys_that_authenticate_authenticate_and_nothing_else() {
    let (_, barrier) = vault().await;
    for kind in KeyKind::ALL.iter().copied() {
        let of = kind.name();
        create(&barrier, of, kind).await;
        create(&barrier, &format!("{of}-other"), kind).await;
        let (mine, other) = (key(&barrier, of).await, key(&barrier, &format!("{of}-other")).await);
        let signed = mine.sign(0, b"message");
        let tagged = mine.hmac(0, b"message");
        let encrypted = mine.encrypt(0, b"", &bytes("message"));
        let refused = Some(UseError::Kind(kind));
        let text = match kind {
            KeyKind::Aes256Gcm => {
                assert!(encrypted.is_ok() && signed.err() == refused && tagged.err() == refused);
                assert_eq!(mine.verify(b"message", "coffer:v1:").err(), refused);
                continue;
            }
            KeyKind::HmacSha256 => {
                assert!(encrypted.err() == refused && signed.err() == refused);
                tagged.unwrap().1
            }
            _ => {
                assert!(encrypted.err() == refused && tagged.err() == refused && mine.decrypt(b"", "").err() == refused);
                signed.unwrap().1
            }
        };
        assert_eq!(mine.verify(b"message", &text), Ok((1, true)), "{kind}");
        assert_eq!(mine.verify(b"massage", &text), Ok((1, false)), "{kind}");
        assert_eq!(other.verify(b"message", &text), Ok((1, false)), "{kind}");
        assert_eq!(mine.verify(b"message", "coffer:v1:"), Ok((1, false)), "{kind}");
        assert_eq!(mine.verify(b"message", "nonsense"), Err(UseError::Form), "{kind}");
        rotate(&barrier, of).await;
        assert_eq!(key(&barrier, of).await.verify(b"message", &text), Ok((1, true)), "{kind} after a rotation");
        let public = TRANSIT.info(&barrier, &name(of)).await.unwrap().versions.into_iter().map(|version| version.public_pem);
        let public: Vec<_> = public.collect();
        assert_eq!(public.iter().all(Option::is_some), kind != KeyKind::HmacSha256);
        assert!(kind == KeyKind::HmacSha256 || public[0] != public[1]);
    }
}

/// The HMAC is that of Python; the key that signs is the one of RFC 8410, section 10.3.
#[tokio::test]
async fn a_key_that_is_brought_in_does_what_it_did_elsewhere() {
    let (_, barrier) = vault().await;
    let recipient = commit(&barrier, TRANSIT.wrapping_key(&barrier).await).await.unwrap();
    assert_eq!(commit(&barrier, TRANSIT.wrapping_key(&barrier).await).await.unwrap(), recipient, "it stays");
    let import = async |of: &str, kind, as_version, material: &[u8]| {
        let planned = TRANSIT.import(&barrier, &name(of), new(kind), as_version, &wrap(&recipient, material), NOW).await;
        commit(&barrier, planned).await
    };
    assert_eq!(import("mac", KeyKind::HmacSha256, false, &[0x0b; 32]).await.unwrap(), 1);
    let (_, tag) = key(&barrier, "mac").await.hmac(0, b"Hi There").unwrap();
    assert_eq!(tag, "coffer:v1:GYpgfrRL+8aZA6Dxzyu9xboKo/PZrjwcejsWlqC2jPc=");
    let pkcs8 =
        hex::decode("302e020100300506032b657004220420d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842").unwrap();
    assert_eq!(import("sign", KeyKind::Ed25519, false, &pkcs8).await.unwrap(), 1);
    let info = TRANSIT.info(&barrier, &name("sign")).await.unwrap();
    assert!(info.versions[0].imported);
    assert!(
        info.versions[0].public_pem.as_ref().unwrap().contains("MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=")
    );

    assert!(matches!(import("sign", KeyKind::Ed25519, false, &pkcs8).await, Err(TransitError::Exists)));
    assert!(matches!(import("sign", KeyKind::HmacSha256, true, &[1; 32]).await, Err(TransitError::Setting(_))));
    assert_eq!(import("mac", KeyKind::HmacSha256, true, &[1; 32]).await.unwrap(), 2);
    for (kind, material) in [
        (KeyKind::Aes256Gcm, &[1; 31][..]),
        (KeyKind::Aes256Gcm, &[1; 33]),
        (KeyKind::HmacSha256, &[1; 31]),
        (KeyKind::HmacSha256, &[1; 129]),
        (KeyKind::Ed25519, &[1; 32]),
        (KeyKind::EcdsaP256, &pkcs8),
        (KeyKind::EcdsaP384, b""),
    ] {
        assert!(matches!(import("wrong", kind, false, material).await, Err(TransitError::Material(_))), "{kind}");
    }
    let not_wrapped = TRANSIT.import(&barrier, &name("wrong"), new(KeyKind::Aes256Gcm), false, &[1; 32], NOW).await;
    assert!(matches!(not_wrapped, Err(TransitError::Wrapping)));
}

#[tokio::test]
async fn a_key_is_deleted_only_where_that_is_allowed_and_one_made_anew_opens_nothing_old() {
    let (_, barrier) = vault().await;
    create(&barrier, "k", KeyKind::Aes256Gcm).await;
    let text = key(&barrier, "k").await.encrypt(0, b"", &bytes("x")).unwrap().1;
    assert!(matches!(TRANSIT.delete(&barrier, &name("k")).await, Err(TransitError::Kept)));
    assert_eq!(TRANSIT.undeletable(&barrier).await.unwrap().as_deref(), Some("k"));
    let allow = KeyChange { deletable: Some(true), ..KeyChange::default() };
    commit(&barrier, TRANSIT.update(&barrier, &name("k"), allow).await).await.unwrap();
    assert_eq!(TRANSIT.undeletable(&barrier).await.unwrap(), None);
    commit(&barrier, TRANSIT.delete(&barrier, &name("k")).await).await.unwrap();
    assert!(matches!(TRANSIT.info(&barrier, &name("k")).await, Err(TransitError::NotFound)));
    assert!(TRANSIT.names(&barrier).await.unwrap().is_empty());
    create(&barrier, "k", KeyKind::Aes256Gcm).await;
    assert_eq!(key(&barrier, "k").await.decrypt(b"", &text).err(), Some(UseError::Open));
}

#[tokio::test]
async fn a_data_key_is_what_its_ciphertext_decrypts_to() {
    let (_, barrier) = vault().await;
    create(&barrier, "k", KeyKind::Aes256Gcm).await;
    let key = key(&barrier, "k").await;
    let (version, plaintext, wrapped) = key.data_key(32, b"file").unwrap();
    assert!(version == 1 && plaintext.len() == 32);
    assert!(key.decrypt(b"file", &wrapped).unwrap().1.same(&plaintext));
    assert!(!key.data_key(32, b"file").unwrap().1.same(&plaintext));
}

#[tokio::test]
async fn keys_and_versions_are_bounded() {
    let (_, barrier) = vault().await;
    let deletable = NewKey { kind: KeyKind::EcdsaP384, deletable: true };
    commit(&barrier, TRANSIT.create(&barrier, &name("k"), deletable, NOW).await).await.unwrap();
    for number in 2..=TRANSIT_VERSIONS_MAX {
        assert_eq!(usize::try_from(rotate(&barrier, "k").await).unwrap(), number);
    }
    assert!(matches!(TRANSIT.rotate(&barrier, &name("k"), NOW).await, Err(TransitError::TooManyVersions)));
    let newest = u32::try_from(TRANSIT_VERSIONS_MAX).unwrap();
    let change = KeyChange { min_decrypt: Some(newest), ..KeyChange::default() };
    commit(&barrier, TRANSIT.update(&barrier, &name("k"), change).await).await.unwrap();
    assert_eq!(commit(&barrier, TRANSIT.trim(&barrier, &name("k")).await).await.unwrap(), TRANSIT_VERSIONS_MAX - 1);
    assert_eq!(rotate(&barrier, "k").await, newest + 1);

    for number in 1..TRANSIT_KEYS_MAX {
        create(&barrier, &format!("k{number}"), KeyKind::HmacSha256).await;
    }
    let more = TRANSIT.create(&barrier, &name("more"), new(KeyKind::HmacSha256), NOW).await;
    assert!(matches!(more, Err(TransitError::TooMany)));
}

fn wrap(recipient: &str, material: &[u8]) -> Vec<u8> {
    let recipient: Recipient = recipient.parse().unwrap();
    let mut encrypting = Encrypting::to(&[recipient]).unwrap();
    encrypting.write(material).unwrap();
    let taken = encrypting.take();
    [taken, encrypting.finish().unwrap()].concat()
}
