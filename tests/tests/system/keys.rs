//! Rotation, re-encryption, and new shares.

use std::time::Duration;

use age::x25519::Identity;
use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client, Error, Event,
    proto::{
        CancelRekeyRequest, DeleteGrantRequest, DestroyVersionsRequest, GetKeysRequest, GetKeysResponse, GetSealStatusRequest,
        GetSecretMetadataRequest, GetStatusRequest, ListGrantsRequest, RecoverRequest, RekeyProgress, RotateKeysRequest,
        StartRekeyRequest, StartRewrapRequest, SubmitRekeyShareRequest, SubmitRekeyShareResponse, UpdateOperatorRequest,
    },
};
use coffer_tests::issuer::Pod;
use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::vault::{ADMIN, AUDITOR, OFFICER, Vault};

const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until re-encryption is done.
async fn rewrapped(client: &Client) -> Result<GetKeysResponse> {
    let end = Instant::now() + DEADLINE;
    loop {
        let keys = client.keys().get_keys(GetKeysRequest {}).await?.into_inner();
        if keys.rewrap.as_ref().is_some_and(|rewrap| rewrap.finished.is_some()) {
            return Ok(keys);
        }
        ensure!(Instant::now() < end, "re-encryption does not come to an end: {keys:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_rotation_everything_is_encrypted_anew_and_nothing_else_changes() -> Result<()> {
    let mut vault = Vault::new().await?;
    vault.grant_read("kv/prod/**", "k8s:test/shop/api").await?;
    for round in 1..=3 {
        vault.put("kv/prod/db", "round", &round.to_string()).await?;
    }
    for number in 0..40 {
        vault.put(&format!("kv/prod/many/{number}"), "number", &number.to_string()).await?;
    }
    let admin = vault.operator(ADMIN).await?;
    let metadata = async |client: &Client| {
        let request = GetSecretMetadataRequest { path: "kv/prod/db".to_owned() };
        anyhow::Ok(client.kv().get_secret_metadata(request).await?.into_inner())
    };
    let before = metadata(&admin).await?;
    let workload = vault.workload(&Pod::new("shop", "api")?).await?;
    let mut watch = workload.watch(vec!["kv/prod/db".to_owned()]).await?;
    ensure!(matches!(watch.next().await?, Some(event) if version_of(&event) == Some(3)));

    for term in 2..=3 {
        let keyrings = admin.keys().rotate_keys(RotateKeysRequest {}).await?.into_inner().keyrings;
        ensure!(
            keyrings.len() == 2 && keyrings.iter().all(|keyring| keyring.terms.last().is_some_and(|last| last.number == term))
        );
    }
    ensure!(admin.system().get_status(GetStatusRequest {}).await?.into_inner().key_terms == 3);
    ensure!(workload.kv_get("kv/prod/db", 0).await?.version == 3, "what was written before still opens");

    let begun = admin.keys().start_rewrap(StartRewrapRequest {}).await?.into_inner().rewrap.context("it is under way")?;
    let again = admin.keys().start_rewrap(StartRewrapRequest {}).await?.into_inner().rewrap.context("it is under way")?;
    ensure!(begun.started == again.started, "begun twice, it runs once");
    let done = rewrapped(&admin).await?;
    let rewrap = done.rewrap.context("it was done")?;
    ensure!(rewrap.rewrapped > 80 && rewrap.terms_dropped >= 4, "{rewrap:?}");
    ensure!(done.keyrings.iter().all(|keyring| keyring.terms.len() == 1 && keyring.terms[0].number == 3), "{:?}", done.keyrings);
    ensure!(vault.has_logged("\"event\":\"rewrap\"").await?);

    // What people see is what it was, and everything can be changed as before.
    ensure!(metadata(&admin).await? == before, "neither versions nor the etag changed");
    for version in 1..=3 {
        ensure!(workload.kv_get("kv/prod/db", version).await?.field("round").is_some());
    }
    admin.kv().destroy_versions(DestroyVersionsRequest { path: "kv/prod/db".to_owned(), versions: vec![1] }).await?;
    ensure!(vault.put("kv/prod/db", "round", "4").await? == 4);
    let event = watch.next().await?.context("the watch goes on")?;
    ensure!(version_of(&event) == Some(4), "the only change is the one that somebody made: {event:?}");
    let update =
        UpdateOperatorRequest { name: AUDITOR.to_owned(), roles: vec!["auditor".to_owned()], ..UpdateOperatorRequest::default() };
    admin.operators().update_operator(update).await?;
    let officer = vault.operator(OFFICER).await?;
    for grant in officer.grants().list_grants(ListGrantsRequest::default()).await?.into_inner().grants {
        officer.grants().delete_grant(DeleteGrantRequest { id: grant.id }).await?;
    }
    vault.grant_read("kv/prod/**", "k8s:test/shop/api").await?;

    vault.server.kill()?;
    vault.restart().await?;
    let workload = vault.workload(&Pod::new("shop", "api")?).await?;
    ensure!(workload.kv_get("kv/prod/db", 0).await?.version == 4);
    ensure!(workload.kv_get("kv/prod/many/39", 0).await?.field("number").is_some());
    Ok(())
}

fn version_of(event: &Event) -> Option<u64> {
    match event {
        Event::Changed { version, .. } => Some(*version),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn re_encryption_goes_on_after_the_server_was_killed() -> Result<()> {
    let mut vault = Vault::new().await?;
    for number in 0..150 {
        vault.put(&format!("kv/many/{number}"), "number", &number.to_string()).await?;
    }
    let admin = vault.operator(ADMIN).await?;
    admin.keys().rotate_keys(RotateKeysRequest {}).await?;
    admin.keys().start_rewrap(StartRewrapRequest {}).await?;
    vault.server.kill()?;
    vault.restart().await?;
    let admin = vault.operator(ADMIN).await?;
    let done = rewrapped(&admin).await?;
    ensure!(done.keyrings.iter().all(|keyring| keyring.terms.len() == 1));
    Ok(())
}

pub(crate) async fn submit(client: &Client, share: &str, nonce: &str) -> Result<SubmitRekeyShareResponse, Status> {
    let request = SubmitRekeyShareRequest { share: share.to_owned(), nonce: nonce.to_owned() };
    Ok(client.keys().submit_rekey_share(request).await?.into_inner())
}

pub(crate) fn nonce(rekey: Option<&RekeyProgress>) -> Result<String> {
    Ok(rekey.and_then(|rekey| rekey.progress.clone()).context("it is under way")?.nonce)
}

fn reason(answer: Result<SubmitRekeyShareResponse, Status>) -> Result<String> {
    Ok(Error::from(answer.err().context("the share was not refused")?).detail().reason.clone())
}

async fn status(client: &Client) -> Result<Option<RekeyProgress>> {
    Ok(client.system().get_seal_status(GetSealStatusRequest {}).await?.into_inner().rekey)
}

#[tokio::test(flavor = "multi_thread")]
async fn new_shares_are_in_force_when_their_holders_have_shown_them() -> Result<()> {
    let mut vault = Vault::new().await?;
    let old = vault.fruits.shares.clone();
    let (holder, admin) = (vault.stranger()?, vault.operator(ADMIN).await?);
    ensure!(reason(submit(&holder, &old[0], "").await)? == "NONCE_MISMATCH", "nobody begins with a share");
    let identities = [Identity::generate(), Identity::generate(), Identity::generate(), Identity::generate()];
    let start = StartRekeyRequest {
        share_count: 4,
        share_threshold: 3,
        share_recipients: identities.iter().map(|identity| identity.to_public().to_string()).collect(),
        skip_verification: false,
    };
    let started = admin.keys().start_rekey(start.clone()).await?.into_inner().rekey;
    ensure!(admin.keys().start_rekey(start).await.is_err(), "one at a time");
    // Holders on other machines learn the nonce from the status.
    let agreeing = nonce(status(&holder).await?.as_ref())?;
    ensure!(agreeing == nonce(started.as_ref())?);

    ensure!(reason(submit(&holder, &old[0], "other").await)? == "NONCE_MISMATCH");
    ensure!(submit(&holder, &old[0], &agreeing).await?.shares.is_empty());
    let agreed = submit(&vault.stranger()?, &old[2], &agreeing).await?;
    ensure!(agreed.shares.len() == 4 && !agreed.in_force);
    let new: Vec<String> = identities
        .iter()
        .zip(&agreed.shares)
        .map(|(identity, share)| Ok(String::from_utf8(age::decrypt(identity, share.as_bytes())?)?))
        .collect::<Result<_>>()?;

    // The old ones still unseal.
    vault.server.kill()?;
    vault.restart().await?;
    ensure!(status(&vault.stranger()?).await?.is_none(), "a restart forgets what is not in force");

    // Again, to the end.
    let (holder, admin) = (vault.stranger()?, vault.operator(ADMIN).await?);
    let start = StartRekeyRequest { share_count: 4, share_threshold: 3, ..StartRekeyRequest::default() };
    let agreeing = nonce(admin.keys().start_rekey(start).await?.into_inner().rekey.as_ref())?;
    submit(&holder, &old[1], &agreeing).await?;
    let agreed = submit(&holder, &old[0], &agreeing).await?;
    let verifying = nonce(agreed.rekey.as_ref())?;
    ensure!(verifying != agreeing && status(&holder).await?.is_some_and(|rekey| rekey.verifying));
    ensure!(reason(submit(&holder, &old[0], &verifying).await)? == "SHARE_FOREIGN", "an old share shows nothing");
    ensure!(reason(submit(&holder, &new[0], &verifying).await)? == "SHARE_FOREIGN", "nor does one that was never in force");
    for share in &agreed.shares[1..3] {
        ensure!(!submit(&holder, share, &verifying).await?.in_force);
    }
    ensure!(submit(&holder, &agreed.shares[3], &verifying).await?.in_force);
    ensure!(vault.has_logged("\"in_force\":\"true\"").await?);
    ensure!(status(&holder).await?.is_none());

    let recover = RecoverRequest { share: old[0].clone(), ..RecoverRequest::default() };
    let refused = holder.system().recover(recover).await.err().context("an old share is void")?;
    ensure!(Error::from(refused).detail().reason == "SHARE_FOREIGN");
    vault.server.kill()?;
    vault.server.start()?;
    ensure!(vault.unseal().await.is_err(), "an old share does not unseal");
    std::sync::Arc::make_mut(&mut vault.fruits).shares = agreed.shares[..3].to_vec();
    vault.unseal().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rekey_can_be_cancelled_and_can_do_without_verification() -> Result<()> {
    let mut vault = Vault::new().await?;
    let old = vault.fruits.shares.clone();
    let (holder, admin) = (vault.stranger()?, vault.operator(ADMIN).await?);
    let start = StartRekeyRequest { share_count: 1, share_threshold: 1, skip_verification: true, ..StartRekeyRequest::default() };
    let first = nonce(admin.keys().start_rekey(start.clone()).await?.into_inner().rekey.as_ref())?;
    submit(&holder, &old[0], &first).await?;
    admin.keys().cancel_rekey(CancelRekeyRequest {}).await?;
    ensure!(reason(submit(&holder, &old[1], &first).await)? == "NONCE_MISMATCH", "what was handed in is forgotten");
    for (count, threshold, recipients) in [(0, 0, vec![]), (17, 2, vec![]), (3, 1, vec![]), (2, 2, vec!["age1".to_owned(); 2])] {
        let start =
            StartRekeyRequest { share_count: count, share_threshold: threshold, share_recipients: recipients, ..start.clone() };
        ensure!(admin.keys().start_rekey(start).await.is_err(), "{count} {threshold}");
    }
    let second = nonce(admin.keys().start_rekey(start).await?.into_inner().rekey.as_ref())?;
    submit(&holder, &old[0], &second).await?;
    let done = submit(&holder, &old[1], &second).await?;
    ensure!(done.in_force && done.shares.len() == 1);
    std::sync::Arc::make_mut(&mut vault.fruits).shares = done.shares;
    vault.server.kill()?;
    vault.restart().await
}
