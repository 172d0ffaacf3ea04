//! What docs/ promises is what the code does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use coffer_core::reason::Reason;
use prost::Message as _;
use prost_types::FileDescriptorSet;

/// The repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn read(path: &str) -> Result<String> {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The rows of a document's tables whose first cell is in backticks: that cell, and the others.
fn rows(document: &str) -> Vec<(String, Vec<String>)> {
    let mut rows = Vec::new();
    for line in document.lines() {
        let Some(line) = line.strip_prefix("| `") else { continue };
        let mut cells = line.trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned());
        if let Some(name) = cells.next() {
            rows.push((name.trim_end_matches('`').to_owned(), cells.collect()));
        }
    }
    rows
}

#[test]
fn every_reason_is_documented_as_it_is_coded() -> Result<()> {
    let document = read("docs/errors.md")?;
    let mut table: BTreeMap<_, _> =
        rows(&document).into_iter().filter(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')).collect();
    for reason in Reason::ALL {
        let cells = table.remove(reason.code()).with_context(|| format!("{} is not documented", reason.code()))?;
        let [status, retryable, meaning] = cells.as_slice() else { anyhow::bail!("{}: {cells:?}", reason.code()) };
        assert!(status.chars().all(|c| c.is_ascii_uppercase() || c == '_'), "{}: {status}", reason.code());
        assert_eq!(retryable, if reason.retryable() { "yes" } else { "no" }, "{}", reason.code());
        assert!(meaning.len() > 20, "{}: {meaning}", reason.code());
    }
    ensure!(table.is_empty(), "documented, but no reason: {table:?}");
    Ok(())
}

/// The number that a constant's right side is worth: digits, `_`, `<<`, `*`, and `Duration::from_secs`.
fn value(expression: &str) -> Result<u128> {
    let inner = expression.strip_prefix("Duration::from_secs(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(expression);
    let number = |text: &str| text.trim().replace('_', "").parse::<u128>().with_context(|| format!("no number: {expression}"));
    if let Some((left, right)) = inner.split_once("<<") {
        return Ok(number(left)? << number(right)?);
    }
    inner.split('*').map(number).product()
}

#[test]
fn every_limit_is_documented_with_its_value() -> Result<()> {
    let document = read("docs/limits.md")?;
    let mut table: BTreeMap<_, _> = rows(&document).into_iter().collect();
    let mut seen = 0;
    for line in read("vault-server/core/src/limits.rs")?.lines() {
        let Some(rest) = line.strip_prefix("pub const ") else { continue };
        let (name, rest) = rest.split_once(':').context("a constant has a type")?;
        let (_, expression) = rest.trim_end_matches(';').split_once(" = ").context("a constant has a value")?;
        let cells = table.remove(name).with_context(|| format!("{name} is not documented"))?;
        let documented = cells.first().with_context(|| format!("{name} has no value"))?;
        let (number, _) = documented.split_once(' ').unwrap_or((documented, ""));
        assert_eq!(value(&number.replace(',', ""))?, value(expression)?, "{name}");
        seen += 1;
    }
    ensure!(seen > 30, "the limits were not found in their file");
    ensure!(table.is_empty(), "documented, but no limit: {table:?}");
    Ok(())
}

/// Security bugs of comparable vaults: each has a row in docs/peer-bugs.md.
#[rustfmt::skip]
const PEER_BUGS: [&str; 104] = [
    "CVE-2026-3605", "GHSA-xp3c-3jw3-4vcr", "GHSA-59w7-v8rr-pr4p", "GHSA-mwr2-wmgp-crj6", "CVE-2020-10661", "CVE-2020-35453",
    "CVE-2020-25594", "OpenBao #3518", "OpenBao #1389", "CVE-2024-9180", "CVE-2025-5999", "CVE-2025-54996", "CVE-2025-64761",
    "CVE-2021-41802", "CVE-2021-43998", "CVE-2022-40186", "CVE-2020-10660", "Vault 0.6.4 (default policy)", "Vault 1.0.2",
    "Vault 0.10.2 (AppRole)", "CVE-2023-24999", "CVE-2020-16250", "CVE-2020-16251", "CVE-2025-11621", "GHSA-jp7h-4f3c-9rc7",
    "CVE-2024-5798", "OpenBao #263", "CVE-2024-2048", "CVE-2025-6037", "CVE-2026-39388", "CVE-2024-2660", "CVE-2022-41316",
    "CVE-2022-30689", "CVE-2025-6013", "CVE-2025-6004", "CVE-2025-54998", "CVE-2026-4525", "CVE-2026-46405",
    "GHSA-7j6w-vvw2-5f9c", "GHSA-rh46-vc3j-w2w3", "GHSA-6mwx-4547-5vc9", "CVE-2026-33757", "CVE-2026-33758", "CVE-2025-6011",
    "CVE-2025-54999", "CVE-2023-3462", "CVE-2020-35177", "GHSA-9v3w-w2jh-4hff", "GHSA-34fc-gh42-pj53", "CVE-2023-25000",
    "CVE-2023-2197", "Vault 0.11.1 (barrier)", "Vault 1.15.0 (transit)", "CVE-2025-6014", "CVE-2025-55000", "CVE-2025-6015",
    "CVE-2025-55003", "CVE-2025-6203", "CVE-2025-59043", "CVE-2025-12044", "CVE-2024-8185", "CVE-2021-45042", "CVE-2024-6468",
    "CVE-2025-4656", "CVE-2025-52894", "CVE-2026-5807", "GHSA-8w8f-r2xv-4q4j", "CVE-2026-39396", "CVE-2023-0665",
    "CVE-2024-8365", "CVE-2025-62513", "CVE-2025-62705", "CVE-2025-4166", "CVE-2025-52893", "CVE-2026-46358", "CVE-2025-6000",
    "CVE-2025-54997", "CVE-2020-13223", "GHSA-444v-8vxr-p36h", "CVE-2021-3024", "CVE-2021-38554", "CVE-2021-32923",
    "CVE-2020-25816", "Vault 0.10.2 (expiry)", "Vault 0.11.3", "Vault 0.6.4 (uses)", "CVE-2020-12757", "CVE-2026-40264",
    "GHSA-p49j-v9wc-wg57", "CVE-2026-45808", "GHSA-c36x-h252-g9x2", "GHSA-vv66-6rp4-wr4f", "CVE-2022-36129", "CVE-2021-3282",
    "CVE-2021-38553", "CVE-2020-17455", "CVE-2026-39946", "CVE-2023-0620", "CVE-2022-25243", "GHSA-g892-p242-8g86",
    "CVE-2024-7594", "GHSA-fcxq-v2r3-cc8h", "kyndryl/hashi-vault-js #70", "cert-manager/cert-manager #8756",
];

/// Whether the sources have a test of this name in this file.
fn has_test(file: &str, name: &str) -> Result<bool> {
    let source = read(file)?;
    let declared = [format!("fn {name}("), format!("fn {name}<")];
    Ok(source.lines().any(|line| declared.iter().any(|declared| line.contains(declared))))
}

#[test]
fn every_bug_of_comparable_vaults_has_a_test_or_a_reason() -> Result<()> {
    let document = read("docs/peer-bugs.md")?;
    let (mut seen, mut tests, mut reasons) = (Vec::new(), 0, 0);
    for line in document.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| bug |")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [bugs, fault, here] = cells.as_slice() else { bail!("not three cells: {line}") };
        seen.extend(bugs.split(", ").map(str::to_owned));
        ensure!(fault.len() > 20, "{bugs}: what went wrong?");
        if let Some(reason) = here.strip_prefix("not here: ") {
            let (why, brings) = reason.split_once("; its test comes with ").with_context(|| format!("{bugs}: with what?"))?;
            ensure!(why.len() > 20 && brings.len() > 5, "{bugs}: {reason}");
            reasons += 1;
            continue;
        }
        let named = here.strip_prefix("tests: ").with_context(|| format!("{bugs}: neither tests nor a reason"))?;
        let (mut file, mut of_this) = (None, 0);
        for (at, text) in named.split('`').enumerate() {
            if at % 2 == 0 {
                ensure!(["", ", ", "; ", ": "].contains(&text), "{bugs}: {text}");
            } else if text.ends_with(".rs") {
                file = Some(text);
            } else {
                let file = file.with_context(|| format!("{bugs}: {text} is in no file"))?;
                ensure!(has_test(file, text)?, "{bugs}: there is no {text} in {file}");
                of_this += 1;
            }
        }
        ensure!(of_this > 0, "{bugs}: no test is named");
        tests += of_this;
    }
    let (unique, wanted): (BTreeSet<_>, BTreeSet<_>) = (seen.iter().map(String::as_str).collect(), PEER_BUGS.into());
    assert_eq!(unique.len(), seen.len(), "a bug has two rows");
    assert_eq!(unique, wanted);
    ensure!(tests > 60 && reasons > 10, "{tests} tests and {reasons} reasons: that is not the page");
    Ok(())
}

/// Fields that hold what opens something, or a secret's values.
const SECRET_FIELDS: [&str; 11] = [
    "bootstrap_credential",
    "credential",
    "fields",
    "new_password",
    "new_shares",
    "old_password",
    "password",
    "setup_token",
    "share",
    "shares",
    "token",
];

#[test]
fn every_message_with_a_secret_prints_nothing_of_it() -> Result<()> {
    let redacted = read("proto/src/redacted.rs")?;
    let set = FileDescriptorSet::decode(coffer_proto::DESCRIPTORS)?;
    let mut seen = 0;
    for message in set.file.iter().filter(|file| file.package() == "coffer.v1").flat_map(|file| &file.message_type) {
        if message.field.iter().any(|field| SECRET_FIELDS.contains(&field.name())) {
            let listed = format!("\n    {},", message.name());
            ensure!(redacted.contains(&listed), "{} is printed with its fields", message.name());
            seen += 1;
        }
    }
    ensure!(seen > 10, "the messages were not found");
    Ok(())
}

#[test]
fn the_manifests_give_nobody_rights_to_kubernetes_secrets() -> Result<()> {
    let (mut folders, mut rules) = (vec![Path::new(ROOT).join("examples")], 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "yaml") {
                for line in fs::read_to_string(&path)?.lines().map(str::trim_start) {
                    let Some((_, resources)) = line.split_once("resources: [") else { continue };
                    let resources: Vec<_> = resources.trim_end_matches(']').split(',').map(str::trim).collect();
                    let wide = resources.iter().any(|name| name.contains('*') || name.starts_with("secrets"));
                    ensure!(!wide, "{}: {line}", path.display());
                    rules += 1;
                }
            }
        }
    }
    ensure!(rules >= 3, "the rules were not found");
    Ok(())
}
