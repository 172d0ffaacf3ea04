//! Marks of what is stored: of each newest value once, for those who attest and for nobody else.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use coffer_client::proto::{DeleteVersionsRequest, ListStoredMarksRequest, PutSecretRequest};
use coffer_core::limits::{STORED_RUNS_MAX, STORED_SECRETS_PAGE_MAX};
use coffer_crypto::mark::{MARK_BYTES, MarkKey};
use coffer_tests::issuer::uuid;
use tokio::task::JoinSet;

use super::{Gate, SIGNER};
use crate::vault::{ADMIN, AUDITOR, OFFICER, reason, secret};

const KEY: [u8; 32] = [9; 32];

fn asked(key: &[u8], page_token: String) -> ListStoredMarksRequest {
    ListStoredMarksRequest { signer: SIGNER.into(), key: key.to_vec(), page_token }
}

/// A value that surely looks machine-made: a random number now and then does not.
fn made() -> Result<String> {
    Ok(format!("a1B2c3D4-{}", uuid()?))
}

/// All marks, and how many secrets were on each page.
async fn marks(gate: &Gate) -> Result<(Vec<[u8; MARK_BYTES]>, Vec<u32>)> {
    let (mut marks, mut pages, mut page_token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let page = gate.ci.gate().list_stored_marks(asked(&KEY, page_token)).await?.into_inner();
        let (found, rest) = page.marks.as_chunks::<MARK_BYTES>();
        ensure!(rest.is_empty(), "a mark is cut off");
        marks.extend(found);
        pages.push(page.secrets);
        if page.next_page_token.is_empty() {
            return Ok((marks, pages));
        }
        page_token = page.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_newest_value_is_marked_once() -> Result<()> {
    let gate = Gate::new().await?;
    let vault = gate.vault();
    let admin = vault.operator(ADMIN).await?;
    vault.mount("more", "kv").await?;
    // A folder that is a secret too, folders below folders, and another mount.
    let many = (0..STORED_SECRETS_PAGE_MAX).map(|number| format!("kv/many/{number:04}"));
    let others = ["kv/many", "kv/deep/a/b/c", "kv/deep/a", "more/x", "more/x/y"].map(str::to_owned);
    let (mut expected, mut puts) = (BTreeSet::new(), JoinSet::new());
    for path in others.into_iter().chain(many) {
        let value = made()?;
        if !path.starts_with("kv/many/") {
            vault.put(&path, "value", &made()?).await?;
        }
        expected.insert(MarkKey::new(&KEY).mark(value.as_bytes()));
        let admin = admin.clone();
        puts.spawn(async move { admin.kv().put_secret(secret(&path, "value", &value)).await });
    }
    for put in puts.join_all().await {
        put?;
    }
    // Nobody made these, everybody has that, and this is deleted.
    vault.put("kv/plain", "user", "payments-service-account").await?;
    let certificate = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", made()?);
    vault.put("kv/public", "ca.pem", &certificate).await?;
    vault.put("kv/deleted", "value", &made()?).await?;
    let delete = DeleteVersionsRequest { path: "kv/deleted".into(), versions: vec![1] };
    admin.kv().delete_versions(delete).await?;

    let (found, pages) = marks(&gate).await?;
    ensure!(found.len() == expected.len() && found.iter().copied().collect::<BTreeSet<_>>() == expected, "{}", found.len());
    ensure!(pages.len() == 2 && pages.first() == Some(&u32::try_from(STORED_SECRETS_PAGE_MAX)?), "{pages:?}");
    ensure!(vault.has_logged("ListStoredMarks").await?, "it is audited");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_of_a_secret_are_told_up_to_their_limit() -> Result<()> {
    let gate = Gate::new().await?;
    let admin = gate.vault().operator(ADMIN).await?;
    for (count, told) in [(STORED_RUNS_MAX, STORED_RUNS_MAX), (STORED_RUNS_MAX + 1, STORED_RUNS_MAX)] {
        let lines = (0..count).map(|_| made()).collect::<Result<Vec<_>>>()?;
        let fields = BTreeMap::from([("half".to_owned(), &lines[..10]), ("other".to_owned(), &lines[10..])]);
        let fields = fields.into_iter().map(|(name, lines)| (name, lines.join("\n").into_bytes())).collect();
        admin.kv().put_secret(PutSecretRequest { fields, ..secret("kv/long", "x", "") }).await?;
        let (found, _) = marks(&gate).await?;
        ensure!(found.len() == told, "{count}: {}", found.len());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_are_told_to_those_who_attest_and_to_nobody_else() -> Result<()> {
    let gate = Gate::new().await?;
    for name in [ADMIN, OFFICER, AUDITOR] {
        let operator = gate.vault().operator(name).await?;
        let refused = operator.gate().list_stored_marks(asked(&KEY, String::new())).await;
        ensure!(reason(refused) == "NOT_FOUND_OR_DENIED", "{name}");
    }
    for key in [&KEY[..31], &[9; 33]] {
        ensure!(reason(gate.ci.gate().list_stored_marks(asked(key, String::new())).await) == "INVALID_ARGUMENT");
    }
    let unknown = gate.ci.gate().list_stored_marks(asked(&KEY, "next".into())).await;
    ensure!(reason(unknown) == "PAGE_TOKEN_INVALID");
    let request = ListStoredMarksRequest { signer: "absent".into(), ..asked(&KEY, String::new()) };
    ensure!(reason(gate.ci.gate().list_stored_marks(request).await) == "NOT_FOUND_OR_DENIED");
    Ok(())
}
