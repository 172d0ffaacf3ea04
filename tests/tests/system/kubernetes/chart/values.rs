//! The page of the chart has each value with what its comment says: it is made of `values.yaml`.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use super::CHART;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/chart.md");
/// What the table begins with; it goes on to the page's end.
const HEAD: &str = "| value | default | meaning |\n|---|---|---|\n";

#[test]
fn the_page_of_the_chart_has_each_value_and_its_comment() -> Result<()> {
    let table = table(&fs::read_to_string(Path::new(CHART).join("values.yaml"))?)?;
    let page = fs::read_to_string(PAGE)?;
    let (before, shown) = page.split_once(HEAD).context("the page has a table of values")?;
    if std::env::var_os("COFFER_WRITE_GOLDEN").is_some() {
        return Ok(fs::write(PAGE, format!("{before}{HEAD}{table}"))?);
    }
    ensure!(shown == table, "docs/chart.md has other values than values.yaml: write it anew with COFFER_WRITE_GOLDEN=1");
    Ok(())
}

/// A row for each value that is no section, by its whole path.
fn table(values: &str) -> Result<String> {
    let (mut rows, mut path, mut comment) = (String::new(), Vec::<(usize, &str)>::new(), String::new());
    let mut lines = values.lines().peekable();
    while let Some(line) = lines.next() {
        let text = line.trim_start();
        let depth = line.len() - text.len();
        if let Some(more) = text.strip_prefix('#') {
            comment = match more.trim_start().strip_prefix("-- ") {
                Some(begin) => begin.to_owned(),
                None if comment.is_empty() => String::new(),
                None => format!("{comment} {}", more.trim()),
            };
            continue;
        }
        let Some((key, value)) = text.split_once(':') else {
            ensure!(text.is_empty(), "what is this line? {line}");
            comment.clear();
            continue;
        };
        path.retain(|(at, _)| *at < depth);
        path.push((depth, key));
        let value = value.trim();
        let deeper = |next: &&str| !next.trim().is_empty() && next.len() - next.trim_start().len() > depth;
        if value.is_empty() && lines.peek().is_some_and(deeper) {
            // A section's comment is of all of it.
            if !comment.is_empty() {
                let name = path.iter().map(|(_, key)| *key).collect::<Vec<_>>().join(".");
                rows.push_str(&format!("| `{name}` | | {comment} |\n"));
            }
        } else {
            let name = path.iter().map(|(_, key)| *key).collect::<Vec<_>>().join(".");
            rows.push_str(&format!("| `{name}` | `{value}` | {} |\n", comment.replace('|', "\\|")));
        }
        comment.clear();
    }
    Ok(rows)
}

#[test]
fn a_comment_is_of_the_value_below_it() -> Result<()> {
    let values = "# A file.\n\na:\n  # -- First,\n  # and more.\n  b: 1\n  c: {}\nd:\n  # -- All.\n  e:\n    f: \"\"\n";
    ensure!(
        table(values)?
            == "| `a.b` | `1` | First, and more. |\n| `a.c` | `{}` |  |\n| `d.e` | | All. |\n| `d.e.f` | `\"\"` |  |\n"
    );
    Ok(())
}
