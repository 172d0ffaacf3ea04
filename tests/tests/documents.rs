//! What docs/ promises is what the code does.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use coffer_core::reason::Reason;

fn read(path: &str) -> Result<String> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path);
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
const FOLDERS: [&str; 12] = [
    "vault-server/src",
    "vault-server/api",
    "vault-server/vault",
    "vault-server/store",
    "vault-server/audit",
    "vault-server/barrier",
    "vault-server/engines",
    "vault-server/kubernetes",
    "vault-server/crypto",
    "client",
    "injector/agent",
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
