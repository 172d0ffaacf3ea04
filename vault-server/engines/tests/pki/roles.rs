//! Roles: what can be written, and what is refused.

use coffer_barrier::Batch;
use coffer_core::limits::{PKI_PATTERNS_MAX, PKI_ROLES_MAX, PKI_SUBJECT_CHARS_MAX, PKI_TTL_DEFAULT, PKI_TTL_MAX};
use coffer_engines::pki::{ExtendedKeyUsage, KeyKind, KeyUsage, PkiError, Role};

use crate::common::{NOW, PKI, commit, is_limit, is_refused, later, name, put_role, role, vault, with_root};

const SPIFFE: &str = "spiffe://shop.test/ns/{namespace}/sa/{service_account}";

#[tokio::test]
async fn what_is_left_open_is_filled_in_with_the_least() {
    let (_, barrier) = vault().await;
    let written = put_role(&barrier, "web", role(&["web.svc"])).await.unwrap();
    assert_eq!(written.role.key_types, [KeyKind::P256]);
    assert_eq!(written.role.key_usages, [KeyUsage::DigitalSignature]);
    assert_eq!(written.role.extended, [ExtendedKeyUsage::ServerAuth, ExtendedKeyUsage::ClientAuth]);
    assert_eq!((written.role.ttl_secs, written.role.ttl_secs_max), (PKI_TTL_DEFAULT.as_secs(), PKI_TTL_DEFAULT.as_secs()));
    assert_eq!(PKI.role(&barrier, &name("web")).await.unwrap(), written);
    let short = put_role(&barrier, "web", Role { ttl_secs_max: 60, ..role(&["web.svc"]) }).await.unwrap();
    assert_eq!((short.role.ttl_secs, short.role.ttl_secs_max), (60, 60));
}

#[tokio::test]
async fn a_role_that_makes_no_sense_is_refused() {
    let barrier = with_root().await;
    let good = role(&["web.svc"]);
    for bad in [
        Role::default(),
        role(&["*"]),
        role(&["*.*.svc"]),
        role(&["{unknown}.svc"]),
        role(&["10.0.0.1"]),
        Role { addresses: vec!["10.0.0.1/8".into()], ..good.clone() },
        Role { uris: vec!["https://*/".into()], ..good.clone() },
        Role { spiffe: "spiffe://shop.test/all".into(), ..good.clone() },
        Role { spiffe: "spiffe://shop.test/{namespace}".into(), ..good.clone() },
        Role { spiffe: "spiffe://{namespace}.{service_account}/a".into(), ..good.clone() },
        Role { spiffe: "https://shop.test/{namespace}/{service_account}".into(), ..good.clone() },
        Role { spiffe: format!("{SPIFFE}/**"), ..good.clone() },
        Role { spiffe: SPIFFE.into(), uris: vec!["https://a/b".into()], ..good.clone() },
        Role { organisation: "a\0b".into(), ..good.clone() },
        Role { ttl_secs: 61, ttl_secs_max: 60, ..good.clone() },
    ] {
        assert!(is_refused(&put_role(&barrier, "bad", bad.clone()).await), "{bad:?}");
    }
    let missing = Role { issuer: Some(name("absent")), ..good.clone() };
    assert!(matches!(put_role(&barrier, "bad", missing).await, Err(PkiError::NotFound(_))));
    put_role(&barrier, "good", Role { spiffe: SPIFFE.into(), ..Role::default() }).await.unwrap();
}

#[tokio::test]
async fn roles_hold_to_their_limits() {
    let (_, barrier) = vault().await;
    let hosts = |count: usize| (0..count).map(|number| format!("h{number}.svc")).collect::<Vec<_>>();
    let addresses = |count: usize| (0..count).map(|number| format!("10.0.0.{number}")).collect::<Vec<_>>();
    let uris = |count: usize| (0..count).map(|number| format!("https://a/{number}")).collect::<Vec<_>>();
    let all = |count: usize| Role { hosts: hosts(count), addresses: addresses(count), uris: uris(count), ..Role::default() };
    put_role(&barrier, "most", all(PKI_PATTERNS_MAX)).await.unwrap();
    let more = PKI_PATTERNS_MAX + 1;
    for bad in [
        Role { hosts: hosts(more), ..Role::default() },
        Role { addresses: addresses(more), ..Role::default() },
        Role { uris: uris(more), ..Role::default() },
        Role { organisation: "o".repeat(PKI_SUBJECT_CHARS_MAX + 1), ..role(&["a.svc"]) },
        Role { ttl_secs: PKI_TTL_MAX.as_secs() + 1, ..role(&["a.svc"]) },
        Role { ttl_secs_max: u64::MAX, ..role(&["a.svc"]) },
    ] {
        assert!(is_limit(&put_role(&barrier, "bad", bad).await));
    }
    let longest = Role { ttl_secs: PKI_TTL_MAX.as_secs(), organisation: "o".repeat(PKI_SUBJECT_CHARS_MAX), ..role(&["a.svc"]) };
    put_role(&barrier, "longest", longest).await.unwrap();
}

#[tokio::test]
async fn a_mount_has_as_many_roles_as_the_limit_says() {
    let (_, barrier) = vault().await;
    // Many at once, as nobody can ask for it: each by itself would read all names anew.
    for hundred in (0..PKI_ROLES_MAX).collect::<Vec<_>>().chunks(100) {
        let mut batch = Batch::new();
        for number in hundred {
            let planned = PKI.put_role(&barrier, &name(&format!("r{number}")), role(&["a.svc"]), "", NOW).await.unwrap();
            batch.append(planned.batch);
        }
        barrier.commit(batch).await.unwrap();
    }
    assert!(is_limit(&put_role(&barrier, "more", role(&["a.svc"])).await));
    put_role(&barrier, "r0", role(&["b.svc"])).await.unwrap();
    let page = PKI.roles(&barrier, "r9", 200).await.unwrap();
    assert!(page.entries.len() == 110 && !page.more, "r90 to r99, and r900 to r999");
}

#[tokio::test]
async fn a_role_changes_only_from_the_state_that_was_meant() {
    let (_, barrier) = vault().await;
    let put =
        async |role: Role, etag: &str, now| commit(&barrier, PKI.put_role(&barrier, &name("web"), role, etag, now).await).await;
    let first = put(role(&["a.svc"]), "new", NOW).await.unwrap();
    assert!(matches!(put(role(&["b.svc"]), "new", NOW).await, Err(PkiError::Etag)));
    let second = put(role(&["b.svc"]), &first.etag, later(5)).await.unwrap();
    assert!(second.etag != first.etag && second.created == NOW);
    assert!(matches!(put(role(&["c.svc"]), &first.etag, NOW).await, Err(PkiError::Etag)));
    assert!(matches!(PKI.delete_role(&barrier, &name("web"), &first.etag).await, Err(PkiError::Etag)));
    commit(&barrier, PKI.delete_role(&barrier, &name("web"), &second.etag).await).await.unwrap();
    assert!(matches!(PKI.role(&barrier, &name("web")).await, Err(PkiError::NotFound(_))));
    assert!(matches!(PKI.delete_role(&barrier, &name("web"), "").await, Err(PkiError::NotFound(_))));
    assert!(matches!(put(role(&["c.svc"]), &second.etag, NOW).await, Err(PkiError::Etag)), "it is gone");
}
