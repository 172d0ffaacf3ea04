//! New shares for the same root key.

use std::sync::Arc;

use age::x25519::Identity;
use coffer_barrier::{
    Barrier, BarrierError, Batch, Expect, RecordKey, Scope, Store,
    seal::{Header, Initialisation, NewShares, Quorum, QuorumError, Rekey, SealChoice, SealSecret, Taken, unseal},
};
use coffer_crypto::share::ShareError;

use crate::common::{NOW, TENANT, VAULT, memory, on_each_store, put, secret, text};

fn shares(count: u8, threshold: u8) -> NewShares {
    NewShares { count, threshold, recipients: Vec::new() }
}

async fn two_of_three(store: &Arc<dyn Store>) -> (Barrier, Vec<String>) {
    let choice = SealChoice::Shamir { count: 3, threshold: 2, recipients: Vec::new() };
    let init = Initialisation::new(VAULT, choice, &[TENANT], NOW).expect("keys");
    let made = init.commit(Arc::clone(store), Batch::new()).await.expect("an empty store");
    (made.barrier, made.shares.iter().map(|share| share.expose().to_owned()).collect())
}

async fn quorum(store: &Arc<dyn Store>) -> Quorum {
    Header::load(&**store).await.expect("a good header").expect("a header").quorum().expect("a seal by shares")
}

fn collect(mut quorum: Quorum, shares: &[String]) -> SealSecret {
    for share in shares {
        let nonce = quorum.progress().nonce;
        if let Taken::Enough(secret) = quorum.take(&nonce, share, NOW).expect("a good share") {
            return secret;
        }
    }
    panic!("too few shares")
}

async fn rekey(store: &Arc<dyn Store>, barrier: &Barrier, old: &[String], new: &NewShares) -> (Rekey, Vec<String>) {
    let secret = collect(quorum(store).await, old);
    let (rekey, shares) = barrier.rekey(&secret, new).await.expect("a quorum");
    (rekey, shares.iter().map(|share| share.expose().to_owned()).collect())
}

on_each_store! {
    async fn new_shares_unseal_and_the_old_are_named_as_such(store: Arc<dyn Store>) {
        let (barrier, old) = two_of_three(&store).await;
        put(&barrier, "a", "x").await;
        let (rekey, new) = rekey(&store, &barrier, &old, &shares(5, 3)).await;
        // Nothing has changed yet.
        collect(quorum(&store).await, &old);

        let secret_of_new = collect(rekey.quorum(), &new);
        rekey.check(&secret_of_new).unwrap();
        let record = RecordKey::new(Scope::System, ["record"]).unwrap();
        let mut batch = Batch::new();
        batch.put(record.clone(), Expect::Absent, secret("with it"));
        rekey.put_in_force(&barrier, &batch).await.unwrap();
        assert_eq!(barrier.get(&record).await.unwrap().unwrap().value.expose(), b"with it");

        let mut now = quorum(&store).await;
        assert_eq!(now.progress().needed, 3);
        assert_eq!(now.take("", &old[0], NOW).unwrap_err(), QuorumError::Foreign(ShareError::OtherSet));
        drop(barrier);
        let opened = unseal(Arc::clone(&store), &collect(now, &new[1..])).await.unwrap();
        assert_eq!(text(&opened, "a").await.unwrap(), "x");
    }

    async fn of_two_rekeys_one_is_put_in_force(store: Arc<dyn Store>) {
        let (barrier, old) = two_of_three(&store).await;
        let (first, new) = rekey(&store, &barrier, &old, &shares(1, 1)).await;
        let (second, _) = rekey(&store, &barrier, &old, &shares(1, 1)).await;
        first.put_in_force(&barrier, &Batch::new()).await.unwrap();
        assert!(matches!(second.put_in_force(&barrier, &Batch::new()).await, Err(BarrierError::Conflict)));
        collect(quorum(&store).await, &new);
    }
}

#[tokio::test]
async fn new_shares_are_encrypted_to_their_recipients() {
    let store = memory();
    let (barrier, old) = two_of_three(&store).await;
    let identities = [Identity::generate(), Identity::generate()];
    let recipients = identities.iter().map(|identity| identity.to_public().to_string()).collect();
    let (rekey, new) = rekey(&store, &barrier, &old, &NewShares { count: 2, threshold: 2, recipients }).await;
    let opened: Vec<_> = identities
        .iter()
        .zip(&new)
        .map(|(identity, share)| String::from_utf8(age::decrypt(identity, share.as_bytes()).unwrap()).unwrap())
        .collect();
    rekey.check(&collect(rekey.quorum(), &opened)).unwrap();
}

#[test]
fn recipients_are_checked_before_anything_else() {
    let good = Identity::generate().to_public().to_string();
    let of = |recipients: Vec<String>| NewShares { count: 2, threshold: 2, recipients }.check_recipients();
    assert!(of(vec![]).is_ok());
    assert!(of(vec![good.clone(), good.clone()]).is_ok());
    assert!(of(vec![good.clone()]).is_err());
    assert!(of(vec![good, "age1".to_owned()]).is_err());
}

#[tokio::test]
async fn an_attempt_that_began_without_a_share_needs_its_nonce() {
    let store = memory();
    let (_, old) = two_of_three(&store).await;
    let mut quorum = quorum(&store).await;
    let nonce = quorum.begin(NOW).unwrap().nonce;
    assert!(quorum.is_under_way(NOW));
    assert_eq!(quorum.take("", &old[0], NOW).unwrap_err(), QuorumError::Nonce);
    assert!(matches!(quorum.take(&nonce, &old[0], NOW), Ok(Taken::More(_))));
    let late = NOW.plus(coffer_barrier::seal::ATTEMPT_LIFETIME + std::time::Duration::from_secs(1));
    assert!(!quorum.is_under_way(late));
    assert_eq!(quorum.take(&nonce, &old[1], late).unwrap_err(), QuorumError::Nonce);
}
