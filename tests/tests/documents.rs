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
