//! Taking certificates back, and the lists that say so.

use coffer_barrier::{Barrier, Batch};
use coffer_core::{
    clock::Timestamp,
    id::IssuerId,
    limits::{PKI_ADDRESS_BYTES_MAX, PKI_CRL_ENTRIES, PKI_CRL_LIFETIME, PKI_KEPT},
};
use coffer_engines::pki::{Config, Part, PkiError, Revocation, RevocationReason, Role, Serial};

use crate::common::{DAY, NOW, PKI, alice, asking, commit, is_refused, issue, later, name, put_role, ready, role, with_root};

async fn revoke(barrier: &Barrier, serial: &Serial, given: Option<&str>, now: Timestamp) -> Result<Revocation, PkiError> {
    let reason = RevocationReason::KeyCompromise;
    commit(barrier, PKI.revoke(barrier, serial, given, reason, &alice(), now).await).await
}

async fn root(barrier: &Barrier) -> IssuerId {
    PKI.issuer(barrier, &name("root")).await.unwrap().id
}

async fn entries(barrier: &Barrier, part: Part) -> usize {
    PKI.crl(barrier, root(barrier).await, part, NOW).await.unwrap().entries
}

#[tokio::test]
async fn a_certificate_is_taken_back_once_by_its_number_or_by_itself() {
    let barrier = with_root().await;
    put_role(&barrier, "web", role(&["a.svc"])).await.unwrap();
    put_role(&barrier, "gone", Role { no_store: true, ..role(&["a.svc"]) }).await.unwrap();
    let kept = issue(&barrier, "web", asking(&["a.svc"])).await.unwrap();
    let first = revoke(&barrier, &kept.serial, None, later(1)).await.unwrap();
    let again = revoke(&barrier, &kept.serial, None, later(99)).await.unwrap();
    assert_eq!((first.at, &again), (later(1), &first), "it stays as it was");
    assert_eq!(PKI.certificate(&barrier, &kept.serial).await.unwrap().revoked, Some((later(1), RevocationReason::KeyCompromise)));

    let not_kept = issue(&barrier, "gone", asking(&["a.svc"])).await.unwrap();
    assert!(matches!(revoke(&barrier, &not_kept.serial, None, NOW).await, Err(PkiError::NotFound(_))));
    assert!(is_refused(&revoke(&barrier, &not_kept.serial, Some(&kept.certificate), NOW).await), "that is another one");
    revoke(&barrier, &not_kept.serial, Some(&not_kept.certificate), NOW).await.unwrap();
    assert_eq!(entries(&barrier, Part::WHOLE).await, 2);

    // What another CA has signed is not ours to take back.
    let other = with_root().await;
    assert!(is_refused(&revoke(&other, &not_kept.serial, Some(&not_kept.certificate), NOW).await));
    assert!(matches!(PKI.certificate(&other, &kept.serial).await, Err(PkiError::NotFound(_))));
}

#[tokio::test]
async fn a_list_counts_for_its_time_and_has_a_higher_number_each_time() {
    let barrier = with_root().await;
    let list = PKI.crl(&barrier, root(&barrier).await, Part::WHOLE, NOW).await.unwrap();
    assert_eq!((list.next_update, list.entries), (NOW.plus(PKI_CRL_LIFETIME), 0));
    let next = PKI.crl(&barrier, root(&barrier).await, Part::WHOLE, later(1)).await.unwrap();
    assert!(next.next_update > list.next_update && next.der != list.der);
    assert!(matches!(PKI.crl(&barrier, IssuerId::from_bytes([9; 16]), Part::WHOLE, NOW).await, Err(PkiError::NotFound(_))));
}

#[tokio::test]
async fn where_a_list_is_long_certificates_are_spread_over_more_and_each_is_in_its_own() {
    let barrier = with_root().await;
    put_role(&barrier, "web", role(&["a.svc"])).await.unwrap();
    let url = Config { default_issuer: Some(name("root")), url: "http://vault.test:8201".into() };
    commit(&barrier, PKI.put_config(&barrier, url).await).await.unwrap();
    let points_to = |pem: &str, list: &str| {
        let der = crate::common::read(pem).der;
        der.windows(list.len()).any(|window| window == list.as_bytes())
    };
    let first = issue(&barrier, "web", asking(&["a.svc"])).await.unwrap();
    let of = root(&barrier).await;
    let base = format!("http://vault.test:8201/pki/03030303030303030303030303030303/{of}");
    assert!(points_to(&first.certificate, &format!("{base}.crl")) && points_to(&first.certificate, &format!("{base}.crt")));
    revoke(&barrier, &first.serial, None, NOW).await.unwrap();

    // Many at once, as nobody can ask for it, in one hour.
    let mut serials = Vec::new();
    for _ in 0..PKI_CRL_ENTRIES.div_ceil(50) {
        let mut batch = Batch::new();
        for _ in 0..50 {
            let (asked, alice) = (asking(&["a.svc"]), alice());
            let asker = coffer_engines::pki::Asker { principal: &alice, pod: None };
            let planned = PKI.issue(&barrier, &ready(), &name("web"), &asked, asker, NOW).await.unwrap();
            serials.push(planned.outcome.serial);
            batch.append(planned.batch);
        }
        barrier.commit(batch).await.unwrap();
        assert!(PKI.spread(&barrier).await.unwrap().is_empty(), "nothing is long yet");
    }
    for fifty in serials.chunks(50) {
        let mut batch = Batch::new();
        for serial in fifty {
            batch.append(PKI.revoke(&barrier, serial, None, RevocationReason::Unspecified, &alice(), NOW).await.unwrap().batch);
        }
        barrier.commit(batch).await.unwrap();
    }
    let spread = PKI.spread(&barrier).await.unwrap();
    assert!(!spread.is_empty());
    barrier.commit(spread).await.unwrap();
    let next = issue(&barrier, "web", asking(&["a.svc"])).await.unwrap();
    revoke(&barrier, &next.serial, None, NOW).await.unwrap();
    let part = Part::new(u16::from(next.serial.spread() % 2), 2).unwrap();
    assert!(points_to(&next.certificate, &format!("{base}.{}-of-2.crl", part.number)));
    // Each part has its own, together they have all, and so has the whole list, for those that are out.
    let (one, two) = (entries(&barrier, Part::new(0, 2).unwrap()).await, entries(&barrier, Part::new(1, 2).unwrap()).await);
    assert_eq!(one + two, serials.len() + 2);
    assert_eq!(entries(&barrier, Part::WHOLE).await, serials.len() + 2);
    let list = PKI.crl(&barrier, of, part, NOW).await.unwrap().der;
    assert!(list.windows(20).any(|window| window == next.serial.as_bytes()));
    let other = PKI.crl(&barrier, of, Part::new(1 - part.number, 2).unwrap(), NOW).await.unwrap().der;
    assert!(!other.windows(20).any(|window| window == next.serial.as_bytes()));
}

#[tokio::test]
async fn what_is_kept_is_listed_as_it_ends_and_erased_a_while_after() {
    let barrier = with_root().await;
    put_role(&barrier, "web", Role { ttl_secs: DAY, ttl_secs_max: 30 * DAY, ..role(&["a.svc"]) }).await.unwrap();
    let mut made = Vec::new();
    for days in [9, 1, 3, 1] {
        let request = coffer_engines::pki::IssueRequest { ttl_secs: Some(days * DAY), ..asking(&["a.svc"]) };
        made.push((days, issue(&barrier, "web", request).await.unwrap().serial));
    }
    made.sort_by_key(|(days, serial)| (*days, *serial));
    let serials: Vec<_> = made.iter().map(|(_, serial)| *serial).collect();
    assert_eq!(PKI.certificates(&barrier, None, 10).await.unwrap(), (serials.clone(), false));
    let (page, more) = PKI.certificates(&barrier, None, 3).await.unwrap();
    assert!(more && page == serials[..3]);
    assert_eq!(PKI.certificates(&barrier, page.last(), 3).await.unwrap(), (vec![serials[3]], false));
    revoke(&barrier, &serials[0], None, NOW).await.unwrap();

    let tidied = async |now| {
        let mut records = 0;
        loop {
            match PKI.tidy(&barrier, now).await.unwrap() {
                0 => return records,
                erased => records += erased,
            }
        }
    };
    let kept = PKI_KEPT.as_secs();
    assert_eq!(tidied(later(DAY + kept)).await, 0, "not before its time");
    assert_eq!(tidied(later(DAY + kept + 2 * 3_600)).await, 3, "two certificates, and that one was taken back");
    assert_eq!(PKI.certificates(&barrier, None, 10).await.unwrap(), (serials[2..].to_vec(), false));
    assert_eq!(entries(&barrier, Part::WHOLE).await, 0);
    assert!(matches!(PKI.certificate(&barrier, &serials[0]).await, Err(PkiError::NotFound(_))));
    assert_eq!(tidied(later(400 * DAY)).await, 2);
}

#[tokio::test]
async fn the_address_of_lists_is_one_that_every_verifier_can_ask() {
    let barrier = with_root().await;
    let put = async |url: &str| PKI.put_config(&barrier, Config { default_issuer: None, url: url.to_owned() }).await.map(drop);
    let host = |bytes: usize| format!("http://{}a", "a.".repeat((bytes - 8) / 2));
    for good in ["", "http://vault.test", "http://vault.test:8201", "http://10.0.0.1:80", &host(PKI_ADDRESS_BYTES_MAX)] {
        put(good).await.unwrap();
    }
    for bad in [
        "https://vault.test",
        "vault.test",
        "http://",
        "http://vault.test/",
        "http://vault.test/pki",
        "http://Vault.test",
        "http://vault.test:0",
        "http://vault.test:65536",
        "http://vault.test:",
        "http://vault.test:080",
        "http://u@vault.test",
        "http://vault.test?x",
        "http://vault.test\n",
        &host(PKI_ADDRESS_BYTES_MAX + 2),
    ] {
        assert!(is_refused(&put(bad).await), "{bad}");
    }
}

#[test]
fn parts_are_powers_of_two() {
    for (number, of, good) in
        [(0, 1, true), (1, 2, true), (255, 256, true), (0, 0, false), (2, 2, false), (0, 3, false), (0, 512, false)]
    {
        assert_eq!(Part::new(number, of).is_some(), good, "{number} of {of}");
    }
}
