//! What must hold on a disk that lost power.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{Client, Error};
use coffer_tests::{command::Coffer, issuer::Pod, programs::Programs};
use serde_json::Value;
use tokio::task;

use super::load::{Known, WRITERS, grantee, operation_id, path, state};
use crate::vault::Vault;

/// What is known of a vault from before.
pub(crate) struct Expected {
    pub(crate) known: Known,
    pub(crate) verifier_key: String,
}

/// Starts the vault's server and looks at everything.
pub(crate) async fn check(mut vault: Vault, expected: &Expected) -> Result<()> {
    vault = task::spawn_blocking(move || vault.server.start().map(|()| vault)).await?.context("it does not open")?;
    vault.unseal().await.with_context(|| vault.server.log().unwrap_or_default()).context("it is not unsealed")?;
    let reader = vault.workload(&Pod::new("shop", "api")?).await.context("a pod logs in")?;
    let mut found = Vec::new();
    for writer in 0..WRITERS {
        let acknowledged = expected.known.written.get(&writer).copied().unwrap_or(0);
        found.push(operations(&reader, writer, acknowledged).await?);
    }
    if expected.known.grants > 0 {
        let pod = Pod::new("shop", &grantee(expected.known.grants))?;
        vault.workload(&pod).await?.kv_get("kv/granted", 0).await.context("a grant that was acknowledged is lost")?;
    }
    let audit = vault.server.audit();
    let log = Log::read(&audit)?;
    for (writer, operations) in found.into_iter().enumerate() {
        for operation in 1..=operations {
            log.has(&operation_id(writer, operation), None).context("an effect without a record")?;
        }
        // At most what is there: the record of a write that is not there would be a lie.
        let more = log.index(&operation_id(writer, operations + 1));
        ensure!(more.is_none(), "writer {writer} has {operations} operations, and the log has one more");
    }
    for (id, receipt) in &expected.known.reads {
        log.has(id, Some(*receipt)).context("an answer without a record")?;
    }
    for grant in 1..=expected.known.grants {
        log.has(&format!("grant-{grant}"), None).context("a grant without a record")?;
    }
    let key = expected.verifier_key.clone();
    task::spawn_blocking(move || verify(&audit, &key)).await?
}

/// How many of a writer's operations the secret shows: all acknowledged ones, and one more at most.
async fn operations(reader: &Client, writer: usize, acknowledged: u64) -> Result<u64> {
    let found = match reader.kv_get(&path(writer), 0).await {
        Ok(secret) => {
            let value = secret.field("value").context("it has the field")?.expose().to_vec();
            (secret.version, Some(String::from_utf8(value)?))
        }
        Err(Error::Denied(_) | Error::NotFound(_)) => (0, None),
        Err(error) => return Err(error).context(format!("writer {writer} cannot be read")),
    };
    for operations in [acknowledged, acknowledged + 1] {
        let (version, value) = state(writer, operations);
        if value == found.1 && (value.is_none() || version == found.0) {
            return Ok(operations);
        }
    }
    let start: String = found.1.unwrap_or_default().chars().take(20).collect();
    anyhow::bail!("writer {writer}: {acknowledged} operations were acknowledged, and version {} is {start:?}", found.0)
}

/// Verifies a log as an auditor does, without the server.
pub(crate) fn verify(folder: &Path, key: &str) -> Result<()> {
    Coffer::new(Programs::built()?)?.ok(["audit", "verify", folder.to_str().context("a plain path")?, "--key", key]).map(drop)
}

/// The log's entries by the id that their callers gave them.
pub(crate) struct Log(BTreeMap<String, (u64, bool)>);

impl Log {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for segment in segments(folder)? {
            // The first line is the segment's, and the last one may be being written.
            for line in fs::read_to_string(segment)?.lines().skip(1) {
                let Ok(entry) = serde_json::from_str::<Value>(line) else { continue };
                if let Some(id) = entry["details"]["caller_request_id"].as_str() {
                    let index = entry["index"].as_u64().context("an entry has its position")?;
                    entries.insert(id.to_owned(), (index, entry["outcome"] == "ok"));
                }
            }
        }
        Ok(Self(entries))
    }

    pub(crate) fn index(&self, id: &str) -> Option<u64> {
        self.0.get(id).filter(|(_, ok)| *ok).map(|(index, _)| *index)
    }

    fn has(&self, id: &str, receipt: Option<u64>) -> Result<()> {
        let index = self.index(id).with_context(|| format!("{id} is not in the log"))?;
        ensure!(receipt.is_none_or(|receipt| receipt == index), "{id} is at {index}, not at its receipt {receipt:?}");
        Ok(())
    }
}

/// The files with a log's entries.
pub(crate) fn segments(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut segments = Vec::new();
    for epoch in fs::read_dir(folder)? {
        let epoch = epoch?.path();
        if epoch.is_dir() {
            for file in fs::read_dir(epoch)? {
                let file = file?.path();
                if file.extension().is_some_and(|extension| extension == "jsonl") {
                    segments.push(file);
                }
            }
        }
    }
    segments.sort();
    Ok(segments)
}
