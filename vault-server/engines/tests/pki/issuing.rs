//! Certificates whose keys are made here.

use coffer_core::limits::{PKI_BACKDATE, PKI_NAMES_MAX};
use coffer_crypto::x509::{self, PrivateKey};
use coffer_engines::pki::{Asker, IssueRequest, KeyKind, KeyUsage, NewRoot, PkiError, Role};

use crate::common::{
    DAY, NOW, PKI, alice, api, asking, commit, create_root, is_limit, is_refused, issue, issue_to, later, name, new_root,
    put_role, read, ready, role, shown, vault, with_root,
};

#[tokio::test]
async fn a_certificate_says_what_the_role_decides_and_its_key_is_the_one_in_the_answer() {
    let barrier = with_root().await;
    let root = read(&PKI.issuer(&barrier, &name("root")).await.unwrap().certificate);
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Ed25519] {
        let of =
            Role { key_types: vec![kind], organisation: "Shop".into(), common_name: true, ..role(&["web.svc", "*.web.svc"]) };
        put_role(&barrier, "web", of).await.unwrap();
        let issued = issue(&barrier, "web", asking(&["web.svc", "a.web.svc", "web.svc"])).await.unwrap();
        let certificate = read(&issued.certificate);
        certificate.check_signed_by(&root.key).unwrap();
        assert_eq!(shown(&issued), ["web.svc", "a.web.svc"]);
        assert_eq!(certificate.subject.text().unwrap(), "O=Shop, CN=web.svc");
        assert_eq!((&certificate.issuer, certificate.ca, certificate.signs_crls), (&root.subject, false, false));
        assert_eq!(certificate.not_before, NOW.secs() - PKI_BACKDATE.as_secs());
        assert_eq!(certificate.not_after, NOW.secs() + DAY);
        assert_eq!((certificate.serial.as_slice(), issued.not_after), (issued.serial.as_bytes().as_slice(), later(DAY)));
        let key = issued.private_key.unwrap();
        let block = x509::blocks(key.expose(), 1).unwrap().remove(0);
        let key = PrivateKey::from_pkcs8(block.content).unwrap();
        assert_eq!((key.public(), key.kind()), (&certificate.key, kind));
        assert_eq!(read(&issued.ca_chain), root);
    }
}

#[tokio::test]
async fn only_names_that_the_role_allows_are_certified() {
    let barrier = with_root().await;
    let web = Role {
        addresses: vec!["10.1.0.0/16".into()],
        uris: vec!["https://web.svc/**".into()],
        ..role(&["web.svc", "*.web.svc", "{service_account}.{namespace}.svc"])
    };
    put_role(&barrier, "web", web.clone()).await.unwrap();
    for good in [&["web.svc"][..], &["a.web.svc", "10.1.2.3"], &["https://web.svc/a/b"]] {
        assert_eq!(shown(&issue(&barrier, "web", asking(good)).await.unwrap()), good);
    }
    for bad in [
        &[][..],
        &["other.svc"],
        &["web.svc", "other.svc"],
        &["a.b.web.svc"],
        &["*.web.svc"],
        &["10.2.0.1"],
        &["::ffff:10.1.2.3"],
        &["https://web.svc.evil/a"],
        &["spiffe://web.svc/a"],
        &["WEB.svc"],
        &["web.svc."],
        &["web.svc\0.evil"],
        &["api.shop.svc"],
    ] {
        assert!(is_refused(&issue(&barrier, "web", asking(bad)).await), "{bad:?}");
    }
    assert_eq!(shown(&issue_to(&barrier, "web", asking(&["api.shop.svc"]), &api()).await.unwrap()), ["api.shop.svc"]);
    assert!(is_refused(&issue_to(&barrier, "web", asking(&["other.shop.svc"]), &api()).await));
    put_role(&barrier, "web", Role { wildcards: true, ..web }).await.unwrap();
    assert_eq!(shown(&issue(&barrier, "web", asking(&["*.web.svc"])).await.unwrap()), ["*.web.svc"]);
    assert!(is_refused(&issue(&barrier, "web", asking(&["*.svc"])).await));
    assert!(matches!(issue(&barrier, "absent", asking(&["web.svc"])).await, Err(PkiError::NotFound(_))));
}

#[tokio::test]
async fn a_spiffe_id_is_the_callers_own_and_nobody_elses() {
    let barrier = with_root().await;
    let spiffe = "spiffe://shop.test/ns/{namespace}/sa/{service_account}";
    put_role(&barrier, "service", Role { spiffe: spiffe.into(), ..role(&["web.svc"]) }).await.unwrap();
    let id = "spiffe://shop.test/ns/shop/sa/api";
    assert_eq!(shown(&issue_to(&barrier, "service", asking(&[]), &api()).await.unwrap()), [id]);
    assert_eq!(shown(&issue_to(&barrier, "service", asking(&["web.svc", id]), &api()).await.unwrap()), ["web.svc", id]);
    for other in
        ["spiffe://shop.test/ns/shop/sa/other", "spiffe://shop.test/ns/shop/sa/api/x", "spiffe://other.test/ns/shop/sa/api"]
    {
        assert!(is_refused(&issue_to(&barrier, "service", asking(&[other]), &api()).await), "{other}");
    }
    assert!(is_refused(&issue(&barrier, "service", asking(&["web.svc"])).await), "an operator is no workload");
}

#[tokio::test]
async fn a_certificate_ends_when_the_role_says_and_never_after_its_issuer() {
    let (_, barrier) = vault().await;
    create_root(&barrier, "root", NewRoot { ttl_secs: 10 * DAY, ..new_root(KeyKind::P256) }).await.unwrap();
    put_role(&barrier, "web", Role { ttl_secs: DAY, ttl_secs_max: 7 * DAY, ..role(&["a.svc"]) }).await.unwrap();
    let at = async |ttl_secs, now| {
        let request = IssueRequest { ttl_secs, ..asking(&["a.svc"]) };
        let (role, alice) = (name("web"), alice());
        let asker = Asker { principal: &alice, pod: None };
        commit(&barrier, PKI.issue(&barrier, &ready(), &role, &request, asker, now).await).await
    };
    for (ttl, expected) in [(None, DAY), (Some(1), 1), (Some(7 * DAY), 7 * DAY)] {
        assert_eq!(read(&at(ttl, NOW).await.unwrap().certificate).not_after, NOW.secs() + expected);
    }
    assert!(is_refused(&at(Some(0), NOW).await));
    for long in [7 * DAY + 1, u64::MAX] {
        assert!(is_limit(&at(Some(long), NOW).await), "{long}");
    }
    let near = later(9 * DAY + DAY / 2);
    for ttl in [None, Some(7 * DAY)] {
        assert_eq!(read(&at(ttl, near).await.unwrap().certificate).not_after, NOW.secs() + 10 * DAY);
    }
    for over in [later(10 * DAY), later(11 * DAY)] {
        assert!(is_refused(&at(None, over).await));
    }
    // A clock that went back: before the issuer there is nothing to issue.
    assert!(is_refused(&at(None, coffer_core::clock::Timestamp::from_secs(NOW.secs() - DAY)).await));
    let early = at(None, coffer_core::clock::Timestamp::from_secs(NOW.secs() - 10)).await.unwrap();
    assert_eq!(early.not_before.secs(), NOW.secs() - PKI_BACKDATE.as_secs(), "never before its issuer");
}

#[tokio::test]
async fn keys_are_of_the_kinds_that_the_role_takes() {
    let barrier = with_root().await;
    let of = |key_types: &[KeyKind]| Role { key_types: key_types.to_vec(), ..role(&["a.svc"]) };
    let asked = |key_kind| IssueRequest { key_kind, ..asking(&["a.svc"]) };
    put_role(&barrier, "web", of(&[KeyKind::Rsa, KeyKind::Ed25519, KeyKind::P384])).await.unwrap();
    for (kind, made) in [(None, KeyKind::Ed25519), (Some(KeyKind::P384), KeyKind::P384)] {
        assert_eq!(read(&issue(&barrier, "web", asked(kind)).await.unwrap().certificate).key.kind(), made);
    }
    for kind in [KeyKind::P256, KeyKind::Rsa] {
        assert!(is_refused(&issue(&barrier, "web", asked(Some(kind))).await), "{kind:?}");
    }
    put_role(&barrier, "web", of(&[KeyKind::Rsa])).await.unwrap();
    assert!(is_refused(&issue(&barrier, "web", asked(None)).await), "no RSA keys are made");
}

#[tokio::test]
async fn a_key_is_used_only_for_what_its_kind_can_do() {
    let barrier = with_root().await;
    let key_usages = KeyUsage::OF_ROLES.to_vec();
    put_role(&barrier, "web", Role { key_usages, key_types: vec![KeyKind::P256, KeyKind::Ed25519], ..role(&["a.svc"]) })
        .await
        .unwrap();
    for (kind, agreement) in [(KeyKind::P256, true), (KeyKind::Ed25519, false)] {
        let issued = issue(&barrier, "web", IssueRequest { key_kind: Some(kind), ..asking(&["a.svc"]) }).await.unwrap();
        let der = read(&issued.certificate).der;
        // KeyUsage of signature, commitment (and agreement): never encipherment.
        let bits: &[u8] = if agreement {
            &[0x55, 0x1d, 15, 1, 1, 0xff, 4, 4, 3, 2, 3, 0xc8]
        } else {
            &[0x55, 0x1d, 15, 1, 1, 0xff, 4, 4, 3, 2, 6, 0xc0]
        };
        assert!(der.windows(bits.len()).any(|window| window == bits), "{kind:?}");
    }
}

#[tokio::test]
async fn a_certificate_is_for_as_many_names_as_the_limit_says() {
    let barrier = with_root().await;
    put_role(&barrier, "web", role(&["*.svc"])).await.unwrap();
    let names = |count: usize| {
        let names: Vec<_> = (0..count).map(|number| format!("h{number}.svc")).collect();
        IssueRequest { names, ..IssueRequest::default() }
    };
    assert_eq!(shown(&issue(&barrier, "web", names(PKI_NAMES_MAX)).await.unwrap()).len(), PKI_NAMES_MAX);
    assert!(is_limit(&issue(&barrier, "web", names(PKI_NAMES_MAX + 1)).await));
}

#[tokio::test]
async fn nothing_is_kept_where_the_role_says_so_and_no_key_ever() {
    let (store, barrier) = vault().await;
    create_root(&barrier, "root", new_root(KeyKind::P256)).await.unwrap();
    let count = async || store.range(b"", b"", 1_000).await.unwrap().len();
    put_role(&barrier, "kept", role(&["a.svc"])).await.unwrap();
    put_role(&barrier, "gone", Role { no_store: true, ..role(&["a.svc"]) }).await.unwrap();
    let before = count().await;
    assert!(!issue(&barrier, "gone", asking(&["a.svc"])).await.unwrap().stored);
    assert_eq!(count().await, before);
    let (request, alice) = (asking(&["a.svc"]), alice());
    let planned =
        PKI.issue(&barrier, &ready(), &name("kept"), &request, Asker { principal: &alice, pod: None }, NOW).await.unwrap();
    let key = x509::blocks(planned.outcome.private_key.as_ref().unwrap().expose(), 1).unwrap().remove(0).content;
    // The middle of the encoding: what would be secret of the key.
    let secret: Vec<u8> = key.expose()[36..68].to_vec();
    let batch = format!("{:?}", planned.batch);
    assert!(!batch.contains(&format!("{secret:?}")));
    barrier.commit(planned.batch).await.unwrap();
    assert_eq!(count().await, before + 1);
}
