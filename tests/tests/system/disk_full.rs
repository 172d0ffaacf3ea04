//! A disk without room: the server refuses, and lies about nothing.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client, Error, Identity, Options,
    proto::{GetSecretMetadataRequest, InitRequest},
};
use coffer_tests::{programs::Programs, server::Server};
use tonic::Status;

use crate::{
    crash::verify_log,
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

/// Makes a disk full from now on, but for so many bytes.
fn fill(full: &Path, room: u64) -> Result<()> {
    Ok(fs::write(full, room.to_string())?)
}

/// Starts a server on a full disk. Gives whether it runs; where it does not, its log has to say why.
fn starts(server: &mut Server, room: u64) -> Result<bool> {
    let from = server.log().unwrap_or_default().len();
    let started = server.start();
    if let Err(error) = &started {
        let log = server.log()?.split_off(from);
        ensure!(log.contains("No space left on device"), "{room} bytes: the log does not say why it ended: {error:#}");
    }
    Ok(started.is_ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_or_is_unsealed_on_a_full_disk_says_so_and_loses_nothing() -> Result<()> {
    let path = "kv/full";
    let mut vault = Vault::quiet().await?;
    vault.grant_read(path, &format!("k8s:{CLUSTER}/shop/api")).await?;
    let full = vault.server.folder().join("full");
    vault.server.set_environment(shim::environment(&vault.server, None, Some(&full))?);
    let (mut version, mut ended, mut sealed) = (0, 0, 0);
    for (round, room) in ROOM_BYTES.into_iter().chain(ROOM_BYTES).enumerate() {
        // What is in the journal now has to be merged when the store is opened again.
        let value = format!("{round} {}", "x".repeat(20_000));
        version = vault.put(path, "value", &value).await?;
        vault.server.kill()?;
        let while_unsealing = round >= ROOM_BYTES.len();
        if while_unsealing {
            vault.server.start()?;
        }
        fill(&full, room)?;
        if while_unsealing || starts(&mut vault.server, room)? {
            match vault.unseal().await {
                Ok(()) => println!("{room} bytes: there is room enough to be unsealed"),
                Err(error) => {
                    let status = error.downcast::<Status>().context("the server's answer")?;
                    says_that_the_disk_is_full(&status.into()).with_context(|| format!("{room} bytes, unsealing"))?;
                    sealed += 1;
                }
            }
        } else {
            ended += 1;
        }
        vault.server.kill()?;
        fs::remove_file(&full)?;
        vault.restart().await.with_context(|| format!("{room} bytes, after a restart"))?;
        let found = vault.newest(path).await.with_context(|| format!("{room} bytes, after a restart"))?;
        ensure!(found == (version, value), "{room} bytes: version {} of {version}", found.0);
        verify_log(&vault).await.with_context(|| format!("{room} bytes"))?;
    }
    println!("of {version} servers {ended} ended at their start, and {sealed} stayed sealed");
    ensure!(sealed > 0 && ended + sealed > 4, "the disk was hardly ever full: {ended} ended, {sealed} stayed sealed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_cannot_be_made_on_a_full_disk_is_made_when_there_is_room() -> Result<()> {
    let request = || InitRequest { share_count: 3, share_threshold: 2, ..InitRequest::default() };
    let mut refused = 0;
    for (round, room) in ROOM_BYTES.into_iter().chain(ROOM_BYTES).enumerate() {
        let mut server = Server::new(Programs::built()?)?.with("log", "level", "info");
        let full = server.folder().join("full");
        server.set_environment(shim::environment(&server, None, Some(&full))?);
        // First with a folder that is to be made, then with one that is there.
        let made = round >= ROOM_BYTES.len();
        if made {
            server.start()?;
        }
        fill(&full, room)?;
        let mut initialised = false;
        if made || starts(&mut server, room)? {
            let local = Client::connect(Options::new(server.socket_url(), Identity::generate()?))?;
            match local.system().init(request()).await {
                Ok(_) => initialised = true,
                Err(status) => {
                    says_that_the_disk_is_full(&status.into()).with_context(|| format!("{room} bytes, Init"))?;
                    refused += 1;
                }
            }
        }
        server.kill()?;
        fs::remove_file(&full)?;
        if initialised {
            continue;
        }
        // Nobody has shares: it must be possible to make them, and they must open what is made.
        let mut vault = Vault::on(server).await.with_context(|| format!("{room} bytes, with room"))?;
        vault.put("kv/full", "value", "first").await?;
        vault.server.kill()?;
        vault.restart().await?;
    }
    ensure!(refused > 0, "Init was never refused");
    Ok(())
}
