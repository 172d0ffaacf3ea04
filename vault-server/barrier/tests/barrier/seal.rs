//! Making vaults, unsealing them, proving a right.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use age::x25519::Identity;
use coffer_barrier::{
    Barrier, BarrierError, Batch, Expect, Label, Scope, Store,
    seal::{
        ATTEMPT_LIFETIME, Header, InitError, Initialisation, Initialised, Progress, Quorum, QuorumError, SealChoice, SealKind,
        SealSecret, Taken, UnsealError, unseal, unseal_static,
    },
};
use coffer_core::id::VaultId;
use coffer_crypto::{
    key::Key,
    share::{ParseError, ShareError},
};
use coffer_store::{
    Write,
    faulty::{FaultPlan, FaultyStore},
};

use crate::common::{NOW, TENANT, VAULT, entries, key, memory, on_each_store, put, raw, secret, static_key, text, vault};

fn shamir(count: u8, threshold: u8) -> SealChoice {
    SealChoice::Shamir { count, threshold, recipients: Vec::new() }
}

async fn init(store: &Arc<dyn Store>, id: VaultId, choice: SealChoice) -> Result<Initialised, InitError> {
    Initialisation::new(id, choice, &[TENANT], NOW)?.commit(Arc::clone(store), Batch::new()).await
}

/// A vault of three shares, two of which are needed.
async fn two_of_three(store: &Arc<dyn Store>) -> (Barrier, Vec<String>) {
    let Initialised { barrier, shares, .. } = init(store, VAULT, shamir(3, 2)).await.expect("an empty store");
    (barrier, shares.iter().map(|share| share.expose().to_owned()).collect())
}

async fn header(store: &Arc<dyn Store>) -> Header {
    Header::load(&**store).await.expect("a good header").expect("a header")
}

async fn quorum(store: &Arc<dyn Store>) -> Quorum {
    header(store).await.quorum().expect("a seal by shares")
}

fn collect<'a>(quorum: &mut Quorum, shares: impl IntoIterator<Item = &'a String>) -> SealSecret {
    for share in shares {
        let nonce = quorum.progress().nonce;
        if let Taken::Enough(secret) = quorum.take(&nonce, share, NOW).expect("a good share") {
            return secret;
        }
    }
    panic!("too few shares")
}

#[tokio::test]
async fn before_init_there_is_nothing_to_unseal() {
    let store = memory();
    assert!(Header::load(&*store).await.unwrap().is_none());
    let error = unseal_static(store, &static_key(), None).await.unwrap_err();
    assert!(matches!(error, UnsealError::NotInitialised));
}

#[tokio::test]
async fn any_quorum_of_shares_unseals() {
    let store = memory();
    let (barrier, shares) = two_of_three(&store).await;
    put(&barrier, "a", "x").await;
    drop(barrier);
    let status = header(&store).await;
    assert_eq!((status.vault_id(), status.kind(), status.share_count()), (VAULT, SealKind::Shamir, Some(3)));
    for pair in [[0, 1], [1, 2], [2, 0]] {
        let secret = collect(&mut quorum(&store).await, pair.map(|at| &shares[at]));
        let barrier = unseal(Arc::clone(&store), &secret).await.unwrap();
        assert_eq!(text(&barrier, "a").await.unwrap(), "x");
    }
}

#[tokio::test]
async fn every_number_of_shares_that_makes_sense_is_made() {
    for (count, threshold) in [(1, 1), (2, 2), (5, 3), (16, 2), (16, 16)] {
        let store = memory();
        let shares = init(&store, VAULT, shamir(count, threshold)).await.unwrap().shares;
        let shares: Vec<_> = shares.iter().map(|share| share.expose().to_owned()).collect();
        assert_eq!(shares.iter().collect::<BTreeSet<_>>().len(), usize::from(count));
        let secret = collect(&mut quorum(&store).await, shares.iter().rev().take(threshold.into()));
        unseal(store, &secret).await.unwrap();
    }
    for (count, threshold) in [(0, 0), (1, 0), (2, 1), (2, 3), (17, 2)] {
        let error = init(&memory(), VAULT, shamir(count, threshold)).await.unwrap_err();
        assert!(matches!(error, InitError::Shares(_)), "{threshold} of {count}");
    }
}

#[tokio::test]
async fn progress_counts_distinct_good_shares() {
    let store = memory();
    let shares = init(&store, VAULT, shamir(5, 3)).await.unwrap().shares;
    let mut quorum = quorum(&store).await;
    assert_eq!(quorum.progress(), Progress { nonce: String::new(), received: 0, needed: 3 });
    let Taken::More(progress) = quorum.take("", shares[0].expose(), NOW).unwrap() else { panic!("one is not enough") };
    assert_eq!((progress.received, progress.needed, progress.nonce.len()), (1, 3, 32));
    let nonce = progress.nonce;
    for other in ["", "00000000000000000000000000000000"] {
        assert_eq!(quorum.take(other, shares[1].expose(), NOW).unwrap_err(), QuorumError::Nonce);
    }
    assert_eq!(quorum.take(&nonce, shares[0].expose(), NOW).unwrap_err(), QuorumError::Repeated(1));
    quorum.take(&nonce, shares[1].expose(), NOW).unwrap();
    assert_eq!(quorum.progress(), Progress { nonce: nonce.clone(), received: 2, needed: 3 });
    quorum.reset();
    assert_eq!(quorum.progress().received, 0);
    assert_eq!(quorum.take(&nonce, shares[2].expose(), NOW).unwrap_err(), QuorumError::Nonce);
}

#[tokio::test]
async fn a_complete_attempt_leaves_nothing_behind() {
    let store = memory();
    let (_, shares) = two_of_three(&store).await;
    let mut quorum = quorum(&store).await;
    collect(&mut quorum, &shares);
    assert_eq!(quorum.progress(), Progress { nonce: String::new(), received: 0, needed: 2 });
}

#[tokio::test]
async fn an_attempt_ends_after_its_lifetime() {
    let store = memory();
    let (_, shares) = two_of_three(&store).await;
    let mut quorum = quorum(&store).await;
    quorum.take("", &shares[0], NOW).unwrap();
    let nonce = quorum.progress().nonce;
    let late = NOW.plus(ATTEMPT_LIFETIME + Duration::from_millis(1));
    assert_eq!(quorum.take(&nonce, &shares[1], late).unwrap_err(), QuorumError::Nonce);
    quorum.take("", &shares[0], late).unwrap();
    let nonce = quorum.progress().nonce;
    assert!(matches!(quorum.take(&nonce, &shares[1], late.plus(ATTEMPT_LIFETIME)), Ok(Taken::Enough(_))));
}

#[tokio::test]
async fn wrong_shares_are_named_and_do_not_count() {
    let store = memory();
    let (_, shares) = two_of_three(&store).await;
    let (_, older) = two_of_three(&memory()).await;
    let foreign = init(&memory(), VaultId::from_bytes([9; 16]), shamir(3, 2)).await.unwrap().shares;
    let mut damaged = shares[0].clone();
    let last = damaged.pop().unwrap();
    damaged.push(if last == '0' { '1' } else { '0' });
    let mut quorum = quorum(&store).await;
    for (share, expected) in [
        ("", QuorumError::Damaged(ParseError::NotAShare)),
        ("coffer-share-2-00", QuorumError::Damaged(ParseError::NotAShare)),
        ("coffer-share-1-00", QuorumError::Damaged(ParseError::Form)),
        (damaged.as_str(), QuorumError::Damaged(ParseError::Checksum)),
        (foreign[0].expose(), QuorumError::Foreign(ShareError::OtherVault)),
        (&older[0], QuorumError::Foreign(ShareError::OtherSet)),
    ] {
        assert_eq!(quorum.take("", share, NOW).unwrap_err(), expected);
        assert_eq!(quorum.progress().received, 0, "no attempt begins with a wrong share");
    }
    quorum.take("", &shares[1], NOW).unwrap();
    let nonce = quorum.progress().nonce;
    assert!(quorum.take(&nonce, &damaged, NOW).is_err());
    assert!(matches!(quorum.take(&nonce, &shares[0], NOW), Ok(Taken::Enough(_))));
}

#[tokio::test]
async fn a_quorum_proves_a_right_to_its_own_vault_alone() {
    let store = memory();
    let (barrier, shares) = two_of_three(&store).await;
    let secret = collect(&mut quorum(&store).await, &shares);
    barrier.prove(&secret).await.unwrap();

    // Somebody who can write to the store, but holds no share, brings a header and shares of their own.
    let theirs = memory();
    let (_, their_shares) = two_of_three(&theirs).await;
    let forged = theirs.get(b"coffer/header").await.unwrap().unwrap().value;
    raw(&store, vec![Write::Delete(b"coffer/header".to_vec())]).await;
    raw(&store, vec![Write::Put(b"coffer/header".to_vec(), forged)]).await;
    let forged = collect(&mut quorum(&store).await, &their_shares);
    assert!(matches!(barrier.prove(&forged).await, Err(UnsealError::WrongKey)));
    assert!(matches!(barrier.prove(&secret).await, Err(UnsealError::WrongKey)));
    assert!(matches!(unseal(store, &forged).await, Err(UnsealError::Barrier(_))));
}

#[tokio::test]
async fn shares_are_encrypted_to_their_recipients() {
    let store = memory();
    let people = [Identity::generate(), Identity::generate()];
    let recipients: Vec<_> = people.iter().map(|person| person.to_public().to_string()).collect();
    let choice = |recipients: &[String]| SealChoice::Shamir { count: 2, threshold: 2, recipients: recipients.to_vec() };
    let shares = init(&store, VAULT, choice(&recipients)).await.unwrap().shares;
    assert!(shares.iter().all(|share| !share.expose().contains("coffer-share")));
    let open = |(person, share): (&Identity, &coffer_secret::SecretString)| {
        String::from_utf8(age::decrypt(person, share.expose().as_bytes()).unwrap()).unwrap()
    };
    let shares: Vec<_> = people.iter().zip(&shares).map(open).collect();
    unseal(Arc::clone(&store), &collect(&mut quorum(&store).await, &shares)).await.unwrap();

    let error = init(&memory(), VAULT, choice(&recipients[..1])).await.unwrap_err();
    assert!(matches!(error, InitError::Recipients { recipients: 1, shares: 2 }));
    let wrong = [recipients[0].clone(), "age1nobody".to_owned()];
    let error = init(&memory(), VAULT, choice(&wrong)).await.unwrap_err();
    assert!(matches!(error, InitError::Recipient { number: 2, .. }));
}

#[tokio::test]
async fn a_vault_is_made_once() {
    let store = memory();
    vault(&store).await;
    let error = init(&store, VaultId::from_bytes([9; 16]), shamir(1, 1)).await.unwrap_err();
    assert!(matches!(error, InitError::AlreadyInitialised));
    assert_eq!(header(&store).await.vault_id(), VAULT);
}

#[tokio::test]
async fn a_vault_is_not_made_over_records_whose_header_is_missing() {
    let store = memory();
    vault(&store).await;
    raw(&store, vec![Write::Delete(b"coffer/header".to_vec())]).await;
    let error = init(&store, VAULT, shamir(1, 1)).await.unwrap_err();
    assert!(matches!(error, InitError::NotEmpty));
}

#[tokio::test]
async fn the_first_records_are_written_with_the_vault() {
    let store = memory();
    let new = Initialisation::new(VAULT, shamir(1, 1), &[TENANT], NOW).unwrap();
    let derived = new.derived(Scope::System, Label::Bootstrap).unwrap();
    let mut records = Batch::new();
    records.put(key("first"), Expect::Absent, secret("x"));
    let barrier = new.commit(Arc::clone(&store), records).await.unwrap().barrier;
    assert_eq!(text(&barrier, "first").await.unwrap(), "x");
    assert!(derived.same(&barrier.derived(Scope::System, Label::Bootstrap).await.unwrap()));
    assert_eq!(store.revision().await.unwrap().0, 1);
}

#[tokio::test]
async fn a_vault_that_was_made_without_an_answer_is_not_lost() {
    let store = memory();
    let faulty = |plan| FaultyStore::new(Arc::clone(&store), FaultPlan::parse(plan).unwrap());
    let before: Arc<dyn Store> = Arc::new(faulty("commit:1:before"));
    let error = init(&before, VAULT, shamir(2, 2)).await.unwrap_err();
    assert!(matches!(error, InitError::Barrier(BarrierError::Unavailable(_))));
    assert!(Header::load(&*store).await.unwrap().is_none());
    let after: Arc<dyn Store> = Arc::new(faulty("commit:1:after"));
    let shares = init(&after, VAULT, shamir(2, 2)).await.unwrap().shares;
    let shares: Vec<_> = shares.iter().map(|share| share.expose().to_owned()).collect();
    unseal(Arc::clone(&store), &collect(&mut quorum(&store).await, &shares)).await.unwrap();
}

#[tokio::test]
async fn a_wrong_static_key_is_named() {
    let store = memory();
    vault(&store).await;
    let wrong = Key::from_bytes([8; 32]);
    for previous in [None, Some(&wrong)] {
        let error = unseal_static(Arc::clone(&store), &wrong, previous).await.unwrap_err();
        assert!(matches!(error, UnsealError::WrongKey));
    }
    let shares = memory();
    init(&shares, VAULT, shamir(1, 1)).await.unwrap();
    assert!(matches!(unseal_static(shares, &static_key(), None).await, Err(UnsealError::OtherKind)));
    assert!(header(&store).await.quorum().is_none());
}

#[tokio::test]
async fn a_static_key_is_replaced_with_the_help_of_the_previous_one() {
    let store = memory();
    put(&vault(&store).await, "a", "x").await;
    let (old, new) = (static_key(), Key::from_bytes([8; 32]));
    let barrier = unseal_static(Arc::clone(&store), &new, Some(&old)).await.unwrap();
    assert_eq!(text(&barrier, "a").await.unwrap(), "x");
    assert!(matches!(unseal_static(Arc::clone(&store), &old, None).await, Err(UnsealError::WrongKey)));
    let barrier = unseal_static(Arc::clone(&store), &new, Some(&old)).await.unwrap();
    assert_eq!(text(&barrier, "a").await.unwrap(), "x");
    assert_eq!(store.get(b"coffer/header").await.unwrap().unwrap().version, 2);
}

on_each_store! {
    async fn of_many_that_make_a_vault_at_once_one_wins(store: Arc<dyn Store>) {
        let ids: Vec<_> = (0..16).map(|number| VaultId::from_bytes([number; 16])).collect();
        let attempts = ids.iter().map(|id| init(&store, *id, SealChoice::StaticKey(static_key())));
        let results = futures_util::future::join_all(attempts).await;
        let made: Vec<_> = results.iter().flatten().map(|made| made.barrier.vault_id()).collect();
        assert_eq!(made, [header(&store).await.vault_id()]);
        let lost = results.iter().filter(|result| matches!(result, Err(InitError::AlreadyInitialised)));
        assert_eq!(lost.count(), 15);
        // Header and two keyrings: nothing of those that lost.
        assert_eq!(entries(&store).await.len(), 3);
    }
}
