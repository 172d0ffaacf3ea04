//! A disk without room: the server refuses, and lies about nothing.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use coffer_client::{Error, proto::GetSecretMetadataRequest};

use crate::{
    power::shim,
    vault::{ADMIN, CLUSTER, Vault, secret},
};

/// Bytes that the disk has room for, from none to a few writes.
const ROOM_BYTES: [u64; 6] = [0, 100, 700, 3_000, 9_000, 40_000];
/// Writes that are tried, at most: the last of the rooms is full long before.
const WRITES_MAX: u64 = 200;

/// Whoever reads it knows what to do, and a program that it may come again.
fn says_that_the_disk_is_full(error: &Error) -> Result<()> {
    let detail = error.detail();
    ensure!(detail.reason == "DISK_FULL" && detail.retryable && matches!(error, Error::Unavailable(_)), "{error:?}");
    ensure!(detail.message.contains("full") && detail.message.contains("restart the server"), "{error:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_after_a_restart_everything_acknowledged_is_there() -> Result<()> {
    let path = "kv/full";
    let mut vault = Vault::new().await?;
    vault.grant_read(path, &format!("k8s:{CLUSTER}/shop/api")).await?;
    let mut version = vault.put(path, "value", "1").await?;
    let full = vault.server.folder().join("full");
    for room in ROOM_BYTES {
        vault.server.kill()?;
        vault.server.set_environment(shim::environment(&vault.server, None, Some(&full))?);
        vault.restart().await?;
        let admin = vault.operator(ADMIN).await?;
        // The rename makes it full from one moment to the next.
        let new = vault.server.folder().join("full.new");
        fs::write(&new, room.to_string())?;
        fs::rename(&new, &full)?;
        let mut refusal = None;
        for _ in 0..WRITES_MAX {
            match admin.kv().put_secret(secret(path, "value", &(version + 1).to_string())).await {
                Ok(answer) => version = answer.into_inner().version.context("it is shown")?.version,
                Err(status) => {
                    refusal = Some(Error::from(status));
                    break;
                }
            }
        }
        let refusal = refusal.with_context(|| format!("{room} bytes: {WRITES_MAX} writes, and none was refused"))?;
        says_that_the_disk_is_full(&refusal).with_context(|| format!("{room} bytes"))?;
        println!("{room} bytes: {refusal}");
        let again = admin.kv().put_secret(secret(path, "value", "never")).await;
        let again = again.err().with_context(|| format!("{room} bytes: the disk is still full, and a write was acknowledged"))?;
        says_that_the_disk_is_full(&again.into()).with_context(|| format!("{room} bytes, once more"))?;
        let read = admin.kv().get_secret_metadata(GetSecretMetadataRequest { path: path.to_owned() }).await;
        let read = read.err().with_context(|| format!("{room} bytes: a read was answered that cannot be recorded"))?;
        says_that_the_disk_is_full(&read.into()).with_context(|| format!("{room} bytes, a read"))?;
        let log = vault.server.log()?;
        ensure!(log.contains("No space left on device"), "{room} bytes: the log does not say why:\n{log}");

        vault.server.kill()?;
        fs::remove_file(&full)?;
        vault.restart().await.with_context(|| format!("{room} bytes, after a restart"))?;
        let (found, value) = vault.newest(path).await?;
        // The write that was refused may be there: its answer was that this is not known.
        ensure!((version..=version + 1).contains(&found), "{room} bytes: {found} of {version}");
        ensure!(value == found.to_string(), "{room} bytes: version {found} is another's");
        version = found;
    }
    Ok(())
}
