//! Stored data that are not what was written: the server refuses, and `coffer store check` says what is wrong.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{command::Coffer, programs::Programs};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    power::{
        check::segments,
        disk::{Coins, Disk, Mode},
    },
    vault::{CLUSTER, Vault},
};

/// What `coffer store check` says of a server's folder: its exit code and its findings.
fn check(folder: &Path) -> Result<(i32, Value)> {
    let path = |name: &str| folder.join(name).display().to_string();
    let arguments = ["store", "check", "--store", &path("store"), "--audit", &path("audit"), "-o", "json"];
    let ran = Coffer::new(Programs::built()?)?.run(arguments)?;
    let report = serde_json::from_str(&ran.stdout).unwrap_or(Value::Null);
    println!("{} {}{}", ran.code, ran.stdout, ran.stderr);
    Ok((ran.code, report))
}

/// A copy of a server's store and log.
fn image(vault: &Vault, folder: &Path) -> Result<()> {
    let roots = [vault.server.store(), vault.server.audit()];
    Disk::of(&roots)?.rebuild(folder, Mode::Strict, &mut Coins(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_or_of_another_moment_is_refused_and_found() -> Result<()> {
    let mut vault = Vault::new().await?;
    vault.put("kv/damage", "value", "old").await?;
    ensure!(vault.server.terminate()?.success(), "the server did not end well");
    let (old, new) = (tempfile::tempdir()?, tempfile::tempdir()?);
    image(&vault, old.path())?;
    vault.restart().await?;
    ensure!(check(vault.server.folder())?.0 == 6, "a server has it open");
    for _ in 0..20 {
        vault.put("kv/damage", "value", "new").await?;
    }
    ensure!(vault.server.terminate()?.success(), "the server did not end well");
    image(&vault, new.path())?;
    let (code, report) = check(new.path())?;
    ensure!(code == 0 && report["holds"] == true, "a vault that holds: {report}");
    ensure!(report["values"].as_u64() > Some(5), "{report}");

    for damage in ["older store", "older log", "log cut off", "log flipped", "store cut off"] {
        let server = vault.server.twin()?;
        Disk::of(&[new.path().join("store"), new.path().join("audit")])?.rebuild(server.folder(), Mode::Strict, &mut Coins(0))?;
        let replace = |name: &str| {
            fs::remove_dir_all(server.folder().join(name))?;
            Disk::of(&[old.path().join(name)])?.rebuild(server.folder(), Mode::Strict, &mut Coins(0))
        };
        let segment = segments(&server.audit())?.pop().context("the log has a segment")?;
        let bytes = fs::read(&segment)?;
        match damage {
            "older store" => replace("store")?,
            "older log" => replace("audit")?,
            "log cut off" => fs::write(&segment, bytes.split_at(bytes.len() / 2).0)?,
            "log flipped" => {
                let mut bytes = bytes;
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(&segment, bytes)?;
            }
            _ => {
                let file = server.store().join("data/db");
                let bytes = fs::read(&file)?;
                let used = bytes.iter().rposition(|byte| *byte != 0).context("it holds something")?;
                fs::write(&file, bytes.split_at(used / 2).0)?;
                // All that this small store has is in the journal, too, which would mend it.
                for journal in ["journal.0", "journal.1"] {
                    fs::write(server.store().join("data").join(journal), b"")?;
                }
            }
        }
        let (code, report) = check(server.folder())?;
        // That the log is older than the store is known to the store alone, under its keys.
        ensure!((code == 7) == (damage != "older log"), "{damage}: exit status {code}, {report}");
        let mut moved = vault.moved_to(server);
        let refused = moved.restart().await.err().with_context(|| format!("{damage}: it is served"))?;
        println!("{damage}: {refused:#}");
    }
    Ok(())
}

/// A vault with a secret, stopped, with a copy of its store and log.
async fn stopped(values: usize) -> Result<(Vault, TempDir)> {
    let mut vault = Vault::new().await?;
    for value in 0..values {
        vault.put("kv/damage", "value", &format!("value {value}")).await?;
    }
    ensure!(vault.server.terminate()?.success(), "the server did not end well");
    let folder = tempfile::tempdir()?;
    image(&vault, folder.path())?;
    Ok((vault, folder))
}

#[tokio::test(flavor = "multi_thread")]
async fn another_vaults_store_or_log_is_refused_and_found_and_the_own_one_is_served_again() -> Result<()> {
    let (mut ours, our_image) = stopped(2).await?;
    // The other's store is further on than our log has seen ours: its revision alone says nothing.
    let (theirs, their_image) = stopped(40).await?;
    let put = |from: &TempDir, name: &str, server: &Path| -> Result<()> {
        drop(fs::remove_dir_all(server.join(name)));
        Disk::of(&[from.path().join(name)])?.rebuild(server, Mode::Strict, &mut Coins(0))
    };
    let folder = ours.server.folder().to_owned();
    for (other, refused_with) in [("store", "another vault"), ("audit", "this is the log ")] {
        put(&their_image, other, &folder)?;
        let (code, report) = check(&folder)?;
        ensure!(code == 7 && report["findings_count"] == 1, "another vault's {other}: exit status {code}, {report}");
        let what = report["findings"][0]["what"].as_str().context("a finding says what")?;
        ensure!(what.contains("another vault's"), "another vault's {other}: {what}");

        let from = ours.server.log()?.len();
        let refusal = ours.restart().await.err().with_context(|| format!("another vault's {other} is served"))?;
        let told = format!("{refusal:#}\n{}", ours.server.log()?.split_off(from));
        ensure!(told.contains(refused_with), "another vault's {other}, and nobody says so:\n{told}");
        println!("another vault's {other}: {refusal:#}");
        ours.server.kill()?;
        put(&our_image, other, &folder)?;
        ensure!(check(&folder)?.0 == 0, "what was put back does not hold");
    }

    // Who has the other vault's shares is told no less: its store does not go with our log.
    put(&their_image, "store", &folder)?;
    let own = std::mem::replace(&mut ours.fruits, Arc::clone(&theirs.fruits));
    let refusal = ours.restart().await.err().context("another vault's store is served with our log")?;
    println!("another vault's store and shares: {refusal:#}");
    ours.fruits = own;
    ensure!(ours.server.log()?.contains("this is the log "), "the server's log does not say why: {}", ours.server.log()?);
    ours.server.kill()?;

    put(&our_image, "store", &folder)?;
    ours.restart().await.context("what was put back is not served")?;
    ours.grant_read("kv/damage", &format!("k8s:{CLUSTER}/shop/api")).await?;
    let (version, value) = ours.newest("kv/damage").await?;
    ensure!((version, value.as_str()) == (2, "value 1"), "version {version} is {value}");
    Ok(())
}
