//! Issuers: made, listed, gone.

use coffer_core::{
    id::IssuerId,
    limits::{PKI_BACKDATE, PKI_ISSUER_TTL_MAX, PKI_ISSUERS_MAX, PKI_SUBJECT_CHARS_MAX},
};
use coffer_engines::pki::{CaSubject, Config, KeyKind, NewRoot, PkiError};

use crate::common::{
    DAY, NOW, PKI, asking, called, commit, create_root, is_limit, is_refused, issue, later, name, new_root, put_role, read, role,
    vault,
};

#[tokio::test]
async fn a_root_signs_itself_and_says_what_was_asked_for() {
    let (_, barrier) = vault().await;
    for (at, kind, path_length) in [("a", KeyKind::P256, None), ("b", KeyKind::P384, Some(0)), ("c", KeyKind::Ed25519, Some(2))] {
        let made = create_root(&barrier, at, NewRoot { path_length, ..new_root(kind) }).await.unwrap();
        let certificate = read(&made.certificate);
        certificate.check_signed_by(&certificate.key).unwrap();
        assert!(certificate.ca && certificate.signs_crls && certificate.is_self_issued());
        assert_eq!((certificate.key.kind(), certificate.path_length), (kind, path_length.map(u32::from)));
        assert_eq!(made.subject, "C=DE, O=Shop, CN=Shop Root");
        assert_eq!(certificate.not_before, NOW.secs() - PKI_BACKDATE.as_secs());
        assert_eq!((certificate.not_after, made.not_after), (NOW.secs() + 365 * DAY, Some(later(365 * DAY))));
        assert_eq!(made.chain, made.certificate);
        assert_eq!(made.is_default, at == "a", "the first is the default one");
        assert_eq!(PKI.issuer(&barrier, &name(at)).await.unwrap(), made);
    }
    let first = PKI.issuers(&barrier, "", 2).await.unwrap();
    let second = PKI.issuers(&barrier, "b", 2).await.unwrap();
    let names: Vec<_> = first.entries.iter().chain(&second.entries).map(|issuer| issuer.name.to_string()).collect();
    assert_eq!((names, first.more, second.more), (vec!["a".to_owned(), "b".into(), "c".into()], true, false));
    assert!(matches!(create_root(&barrier, "a", new_root(KeyKind::P256)).await, Err(PkiError::Exists(_))));
}

#[tokio::test]
async fn a_root_that_cannot_be_is_refused() {
    let (_, barrier) = vault().await;
    let good = new_root(KeyKind::P256);
    let text = |chars: usize| "\u{fc}".repeat(chars);
    let longest = PKI_ISSUER_TTL_MAX.as_secs();
    create_root(&barrier, "long", NewRoot { ttl_secs: longest, subject: called(&text(PKI_SUBJECT_CHARS_MAX)), ..good.clone() })
        .await
        .unwrap();
    for bad in [
        NewRoot { subject: called(""), ..good.clone() },
        NewRoot { subject: called(&text(PKI_SUBJECT_CHARS_MAX + 1)), ..good.clone() },
        NewRoot { subject: called("a\nb"), ..good.clone() },
        NewRoot { subject: called(" a"), ..good.clone() },
        NewRoot { subject: CaSubject { organisation: text(PKI_SUBJECT_CHARS_MAX + 1), ..called("a") }, ..good.clone() },
        NewRoot { subject: CaSubject { country: "de".into(), ..called("a") }, ..good.clone() },
        NewRoot { subject: CaSubject { country: "DEU".into(), ..called("a") }, ..good.clone() },
        NewRoot { ttl_secs: 0, ..good.clone() },
        NewRoot { ttl_secs: longest + 1, ..good.clone() },
        NewRoot { ttl_secs: u64::MAX, ..good.clone() },
        NewRoot { key_kind: KeyKind::Rsa, ..good.clone() },
    ] {
        assert!(create_root(&barrier, "bad", bad.clone()).await.is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn a_mount_has_as_many_issuers_as_the_limit_says() {
    let (_, barrier) = vault().await;
    for number in 0..PKI_ISSUERS_MAX {
        create_root(&barrier, &format!("r{number}"), new_root(KeyKind::Ed25519)).await.unwrap();
    }
    assert!(is_limit(&create_root(&barrier, "more", new_root(KeyKind::Ed25519)).await));
}

#[tokio::test]
async fn an_issuer_made_again_under_a_name_inherits_nothing() {
    let (_, barrier) = vault().await;
    let old = create_root(&barrier, "root", new_root(KeyKind::P256)).await.unwrap();
    put_role(&barrier, "named", coffer_engines::pki::Role { issuer: Some(name("root")), ..role(&["a.svc"]) }).await.unwrap();
    put_role(&barrier, "web", role(&["a.svc"])).await.unwrap();
    let wrong = Some(IssuerId::from_bytes([9; 16]));
    assert!(matches!(PKI.delete_issuer(&barrier, &name("root"), wrong).await, Err(PkiError::NotFound(_))));
    commit(&barrier, PKI.delete_issuer(&barrier, &name("root"), Some(old.id)).await).await.unwrap();
    assert_eq!(PKI.config(&barrier).await.unwrap(), Config::default());
    assert!(is_refused(&issue(&barrier, "web", asking(&["a.svc"])).await), "there is no default issuer any more");

    let new = create_root(&barrier, "root", new_root(KeyKind::P256)).await.unwrap();
    assert!(new.id != old.id && new.is_default);
    issue(&barrier, "web", asking(&["a.svc"])).await.unwrap();
    assert!(is_refused(&issue(&barrier, "named", asking(&["a.svc"])).await), "the role meant the one before");
    assert!(!PKI.role(&barrier, &name("named")).await.unwrap().issuer_there);
    put_role(&barrier, "named", coffer_engines::pki::Role { issuer: Some(name("root")), ..role(&["a.svc"]) }).await.unwrap();
    let issued = issue(&barrier, "named", asking(&["a.svc"])).await.unwrap();
    read(&issued.certificate).check_signed_by(&read(&new.certificate).key).unwrap();
}

#[tokio::test]
async fn the_default_issuer_is_the_one_that_was_chosen() {
    let (_, barrier) = vault().await;
    for at in ["one", "two"] {
        create_root(&barrier, at, NewRoot { subject: called(at), ..new_root(KeyKind::Ed25519) }).await.unwrap();
    }
    put_role(&barrier, "web", role(&["a.svc"])).await.unwrap();
    assert_eq!(issue(&barrier, "web", asking(&["a.svc"])).await.unwrap().issuer, "one");
    let config = Config { default_issuer: Some(name("two")), url: String::new() };
    commit(&barrier, PKI.put_config(&barrier, config.clone()).await).await.unwrap();
    assert_eq!(PKI.config(&barrier).await.unwrap(), config);
    let issued = issue(&barrier, "web", asking(&["a.svc"])).await.unwrap();
    assert_eq!(
        (issued.issuer.as_str(), read(&issued.certificate).issuer.text().unwrap().as_str()),
        ("two", "C=DE, O=Shop, CN=two")
    );
    let absent = Config { default_issuer: Some(name("three")), url: String::new() };
    assert!(matches!(PKI.put_config(&barrier, absent).await, Err(PkiError::NotFound(_))));
}
