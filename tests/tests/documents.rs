//! What docs/ promises is what the code does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use coffer_core::reason::Reason;
use prost::Message as _;
use prost_types::{FileDescriptorSet, field_descriptor_proto::Type};

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

/// A constant that is a limit: its name, its right side, and where it is.
#[derive(Debug)]
struct Limit {
    name: String,
    expression: String,
    folder: &'static str,
}

/// Where the limits are that docs/limits.md has under "Inside", and those that callers meet.
const FOLDERS: [&str; 19] = [
    "vault-server/src",
    "vault-server/api",
    "vault-server/vault",
    "vault-server/store",
    "vault-server/audit",
    "vault-server/barrier",
    "vault-server/databases",
    "vault-server/engines",
    "vault-server/kubernetes",
    "vault-server/crypto",
    "client",
    "checks",
    "checks/images",
    "checks/packages",
    "registry",
    "injector/agent",
    "injector/webhook",
    "node",
    "cli",
];
const RULES: &str = "vault-server/core/src/limits.rs";

/// The constants of a file, apart from its tests, that are numbers or durations.
fn constants(text: &str, folder: &'static str) -> Vec<Limit> {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let constant = |line: &str| {
        let public = line.split_once("const ").filter(|(before, _)| before.is_empty() || before.starts_with("pub"))?.1;
        let (name, rest) = public.split_once(": ")?;
        let (kind, expression) = rest.strip_suffix(';')?.split_once(" = ")?;
        matches!(kind, "usize" | "u8" | "u16" | "u32" | "u64" | "i64" | "Duration")
            .then(|| (Limit { name: name.to_owned(), expression: expression.to_owned(), folder }, kind == "Duration"))
    };
    text.lines()
        .filter_map(constant)
        .filter(|(limit, is_time)| folder == RULES || *is_time || limit.name.ends_with("_MAX") || limit.name.ends_with("_MIN"))
        .map(|(limit, _)| limit)
        .collect()
}

fn limits_in(path: &Path, folder: &'static str, limits: &mut Vec<Limit>) -> Result<()> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !matches!(name.as_str(), "tests" | "examples") {
            limits_in(&path, folder, limits)?;
        } else if name.ends_with(".rs") && name != "tests.rs" {
            limits.extend(constants(&fs::read_to_string(&path)?, folder));
        }
    }
    Ok(())
}

/// What a right side is worth, a time in microseconds; nothing for what stands in a library.
fn worth(expression: &str, folder: &str, limits: &[Limit]) -> Option<u128> {
    let of = |text: &str| worth(text.trim(), folder, limits);
    for (unit, micros) in [("secs", 1_000_000), ("millis", 1_000), ("micros", 1)] {
        let inner = expression.strip_prefix(&format!("Duration::from_{unit}(")).and_then(|rest| rest.strip_suffix(')'));
        if let Some(inner) = inner {
            return of(inner)?.checked_mul(micros);
        }
    }
    let inner = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    if let Some(inner) = inner.filter(|inner| !inner.contains('(')) {
        return of(inner);
    }
    if let Some((left, right)) = expression.split_once(" - ") {
        return of(left)?.checked_sub(of(right)?);
    }
    if let Some((left, right)) = expression.split_once(" / ") {
        return of(left)?.checked_div(of(right)?);
    }
    if let Some((left, right)) = expression.split_once("<<") {
        return of(left)?.checked_shl(u32::try_from(of(right)?).ok()?);
    }
    if expression.contains('*') {
        return expression.split('*').map(of).product();
    }
    if let Ok(number) = expression.replace('_', "").parse() {
        return Some(number);
    }
    let (place, name) = expression.rsplit_once("::").unwrap_or((folder, expression));
    let place = if place == "coffer_core::limits" { RULES } else { place };
    let named = limits.iter().filter(|limit| limit.name == name);
    let limit = named.clone().find(|limit| limit.folder == place).or_else(|| named.clone().next())?;
    worth(&limit.expression, limit.folder, limits)
}

/// A value as documented: a number and its unit, a time in microseconds.
fn documented(cell: &str) -> Result<u128> {
    let (number, unit) = cell.split_once(' ').unwrap_or((cell, ""));
    let number: u128 = number.replace(',', "").parse().with_context(|| format!("no number: {cell}"))?;
    Ok(number
        * if unit == "s" {
            1_000_000
        } else if unit == "ms" {
            1_000
        } else {
            1
        })
}

#[test]
fn every_limit_is_documented_with_its_value() -> Result<()> {
    let mut limits = constants(&read(RULES)?, RULES);
    ensure!(limits.len() > 60, "the limits were not found in their file");
    for folder in FOLDERS {
        let folder_of = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(folder);
        limits_in(&if folder.ends_with("src") { folder_of } else { folder_of.join("src") }, folder, &mut limits)?;
    }
    let (document, mut missing, mut seen) = (read("docs/limits.md")?, Vec::new(), Vec::new());
    // The first parts are about the rules; each of the others names its folder.
    let mut table: Vec<(&str, String, String)> = Vec::new();
    for part in document.split("\n##") {
        let title = part.lines().next().unwrap_or_default();
        let folder = FOLDERS.into_iter().find(|folder| title.contains(&format!("(`{folder}`)"))).unwrap_or(RULES);
        for (name, cells) in rows(part) {
            let [value, meaning] = cells.as_slice() else { anyhow::bail!("{name}: {cells:?}") };
            assert!(meaning.len() > 5, "{name}: {meaning}");
            table.push((folder, name, value.clone()));
        }
    }
    for limit in &limits {
        let value = worth(&limit.expression, limit.folder, &limits);
        let is_time = limit.expression.contains("Duration") || limit.expression.contains("LIFETIME");
        // Seconds as a number are written as seconds, too.
        let same = |cell: &str| {
            let written = documented(cell).ok();
            written == value
                || !is_time && written.is_some_and(|written| Some(written) == value.map(|value| value * 1_000_000))
                || !is_time && written.is_some_and(|written| Some(written) == value.map(|value| value * 1_000))
        };
        let row = table
            .iter()
            .position(|(folder, name, cell)| *folder == limit.folder && *name == limit.name && (value.is_none() || same(cell)));
        match row {
            Some(row) => seen.push(row),
            None => missing.push(format!("{} = {} ({})", limit.name, limit.expression, limit.folder)),
        }
    }
    ensure!(missing.is_empty(), "not in docs/limits.md, or with another value: {missing:#?}");
    let left: Vec<_> = table.iter().enumerate().filter(|(row, _)| !seen.contains(row)).map(|(_, row)| row).collect();
    ensure!(left.is_empty(), "documented, but no limit: {left:?}");
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
const SECRET_FIELDS: [&str; 14] = [
    "bootstrap_credential",
    "credential",
    "fields",
    "new_password",
    "new_shares",
    "old_password",
    "password",
    "private_key",
    "plaintext",
    "random",
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
        if message.field.iter().any(|field| SECRET_FIELDS.contains(&field.name()) && field.r#type() != Type::Bool) {
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
