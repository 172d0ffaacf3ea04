//! `coffer transit`: what becomes of files.

use std::{
    fs,
    io::{Read as _, Write as _},
    process::{Child, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::command::Coffer;

use super::{Office, person};
use crate::vault::OFFICER;

const MIB: usize = 1 << 20;
/// What is encrypted before memory is looked at for the first time, and in all.
const FIRST: usize = 8 * MIB;
const ALL: usize = 32 * MIB;
/// Kibibytes that the rest of a file may make a process grow by.
const GROWTH_KIB_MAX: u64 = 4 << 10;

/// The office, with a key that the developer may use.
async fn office() -> Result<Office> {
    let office = Office::new().await?;
    office.admin.ok(["mount", "create", "transit", "--engine", "transit"])?;
    for key in ["files", "other"] {
        office.admin.ok(["transit", "key", "create", key])?;
    }
    let officer = person(&office.vault, OFFICER)?;
    for path in ["transit/encrypt/files", "transit/decrypt/**"] {
        officer.ok(["grant", "use", path, "--to", "operator:dev"])?;
    }
    Ok(office)
}

/// The most memory that a process has had, in KiB.
fn peak(child: &Child) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("a process has memory")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// Feeds a command with these bytes again and again, and says by how much it grew behind the first ones.
fn fed(coffer: &Coffer, arguments: &[&str], mut next: impl FnMut(usize) -> Result<Vec<u8>>) -> Result<u64> {
    let mut child =
        coffer.command().args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("there is a pipe")?;
    let (mut written, mut first) = (0, None);
    loop {
        let piece = next(written)?;
        if piece.is_empty() {
            break;
        }
        input.write_all(&piece)?;
        written += piece.len();
        if written >= FIRST && first.is_none() {
            first = Some(peak(&child)?);
        }
    }
    let last = peak(&child)?;
    drop(input);
    let done = child.wait_with_output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(last - first.context("it was long enough")?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_larger_than_its_memory_is_encrypted_and_decrypted() -> Result<()> {
    let office = office().await?;
    let coffer = &office.developer;
    let piece: Vec<u8> = (0..MIB).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect();
    let encrypting = ["transit", "encrypt-file", "-", "large.age", "--key", "transit/files"];
    let grown = fed(coffer, &encrypting, |written| Ok(if written < ALL { piece.clone() } else { Vec::new() }))?;
    ensure!(grown <= GROWTH_KIB_MAX, "encrypting took {grown} KiB more");
    let encrypted = coffer.home().join("large.age");
    ensure!(fs::metadata(&encrypted)?.len() > ALL as u64);

    let mut file = fs::File::open(&encrypted)?;
    let grown = fed(coffer, &["transit", "decrypt-file", "-", "large"], |_| {
        let mut piece = vec![0; MIB];
        let length = file.read(&mut piece)?;
        piece.truncate(length);
        Ok(piece)
    })?;
    ensure!(grown <= GROWTH_KIB_MAX, "decrypting took {grown} KiB more");
    let mut file = fs::File::open(coffer.home().join("large"))?;
    let mut found = vec![0; MIB];
    for _ in 0..ALL / MIB {
        file.read_exact(&mut found)?;
        ensure!(found == piece);
    }
    ensure!(file.read(&mut found)? == 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_cut_or_changed_is_refused_and_leaves_nothing_behind() -> Result<()> {
    let office = office().await?;
    let coffer = &office.developer;
    let path = |name: &str| coffer.home().join(name);
    let plain: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(path("plain"), &plain)?;
    coffer.ok(["transit", "encrypt-file", "plain", "good.age", "--key", "files"])?;
    let good = fs::read(path("good.age"))?;
    ensure!(good.starts_with(b"age-encryption.org/v1\n-> coffer-transit transit files\n"));
    let refused = coffer.run(["transit", "encrypt-file", "plain", "good.age", "--key", "files"])?;
    ensure!(refused.code == 2 && fs::read(path("good.age"))? == good, "{}", refused.stderr);
    coffer.ok(["transit", "encrypt-file", "plain", "good.age", "--key", "files", "--force"])?;
    let good = fs::read(path("good.age"))?;

    let before = fs::read_dir(coffer.home())?.count();
    let mut wrong: Vec<(String, Vec<u8>)> = Vec::new();
    for length in [0, 10, 60, 150, 300, 70_000, good.len() / 2, good.len() - 16, good.len() - 1] {
        wrong.push((format!("cut to {length}"), good.get(..length).context("it is that long")?.to_vec()));
    }
    for at in [0, 30, 100, 250, 400, 70_000, good.len() / 2, good.len() - 1] {
        let mut changed = good.clone();
        *changed.get_mut(at).context("it is that long")? ^= 1;
        wrong.push((format!("changed at {at}"), changed));
    }
    let header = String::from_utf8_lossy(good.get(..60).context("it is that long")?).into_owned();
    let moved = header.replacen("transit files", "transit other", 1);
    wrong.push(("of another key".into(), [moved.as_bytes(), good.get(60..).context("it is that long")?].concat()));
    for (what, bytes) in wrong {
        fs::write(path("wrong.age"), bytes)?;
        let ran = coffer.run(["transit", "decrypt-file", "wrong.age", "out"])?;
        ensure!(ran.code != 0 && !path("out").exists(), "{what}");
        fs::remove_file(path("wrong.age"))?;
        ensure!(fs::read_dir(coffer.home())?.count() == before, "{what} left something behind");
    }
    let refused = coffer.run(["transit", "encrypt-file", "plain", "no.age", "--key", "other"])?;
    ensure!(refused.code == 4 || refused.stderr.contains("transit/encrypt/other"), "{}", refused.stderr);
    ensure!(!path("no.age").exists() && fs::read_dir(coffer.home())?.count() == before);
    coffer.ok(["transit", "decrypt-file", "good.age", "out"])?;
    ensure!(fs::read(path("out"))? == plain);
    Ok(())
}
