//! Stored data that are not what was written: the server refuses, and `coffer store check` says what is wrong.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{command::Coffer, programs::Programs};
use serde_json::Value;

use crate::{
    power::{
        check::segments,
        disk::{Coins, Disk, Mode},
    },
    vault::Vault,
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
