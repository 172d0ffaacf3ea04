//! The pages of docs/ and README.md do what they say: every command of theirs is run as it stands there.

mod page;
mod pattern;
mod recording;
mod shell;
mod vault_words;

use std::{ffi::OsString, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{cluster::Cluster, programs::Programs};

use page::{CLUSTER, Page, REASONS};
use shell::Shell;

/// The repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const BOOK: &str = "docs";

fn read(path: &str) -> Result<String> {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// README.md and the pages of the book, by their paths in the repository.
fn paths() -> Result<Vec<String>> {
    let mut paths = vec!["README.md".to_owned()];
    for entry in fs::read_dir(Path::new(ROOT).join(BOOK))? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a page's name is text")?;
        if name.ends_with(".md") {
            paths.push(format!("{BOOK}/{name}"));
        } else {
            ensure!(!entry.file_type()?.is_dir() || name == "pictures", "{name}: pages lie in {BOOK} itself");
        }
    }
    paths.sort();
    Ok(paths)
}

fn pages() -> Result<Vec<Page>> {
    paths()?.iter().map(|path| Page::parse(path, &read(path)?)).collect()
}

#[test]
fn every_block_of_every_page_is_run_or_says_why_not() -> Result<()> {
    let pages = pages()?;
    ensure!(pages.iter().map(|page| page.blocks).sum::<usize>() > 150, "the pages were not found");
    // What is never run is the exception.
    let run: usize = pages.iter().map(|page| page.steps.len()).sum();
    let left_out: usize =
        pages.iter().flat_map(|page| &page.left_out).filter(|(reason, _)| reason != CLUSTER).map(|(_, commands)| commands).sum();
    ensure!(run > 4 * left_out, "{run} are run, {left_out} are left out");
    let described = read("docs/book.md")?;
    for reason in REASONS {
        ensure!(described.contains(&format!("| `{reason}` |")), "docs/book.md does not say what {reason} means");
    }
    Ok(())
}

#[test]
fn every_page_is_in_the_book_and_every_link_leads_somewhere() -> Result<()> {
    let summary = read("docs/SUMMARY.md")?;
    for path in paths()? {
        let name = path.rsplit('/').next().unwrap_or_default();
        if path.starts_with(BOOK) && name != "SUMMARY.md" {
            ensure!(summary.matches(&format!("]({name})")).count() == 1, "{path} is not in docs/SUMMARY.md, or twice");
        }
        let text = read(&path)?;
        for link in links(&text) {
            if ["https://", "http://"].iter().any(|start| link.starts_with(start)) {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { resolved(&path, file) };
            ensure!(Path::new(ROOT).join(&target).exists(), "{path}: {link} leads nowhere");
            if !anchor.is_empty() {
                ensure!(anchors(&read(&target)?).iter().any(|known| known == anchor), "{path}: {link} has no such heading");
            }
        }
    }
    Ok(())
}

/// Where links and pictures point to, outside of blocks and of code.
fn links(text: &str) -> Vec<&str> {
    let mut in_block = false;
    let outside = text.lines().filter(|line| {
        let fence = line.starts_with("```");
        in_block ^= fence;
        !in_block && !fence
    });
    outside
        .flat_map(|line| line.split('`').step_by(2))
        .flat_map(|part| part.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')').map(|(link, _)| link))
        .collect()
}

fn resolved(path: &str, link: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> Vec<String> {
    let heading = |line: &str| line.starts_with('#').then(|| line.trim_start_matches('#').trim().to_lowercase());
    let anchor = |heading: String| {
        let kept = |c: char| (c.is_alphanumeric() || matches!(c, '-' | '_' | ' ')).then_some(if c == ' ' { '-' } else { c });
        heading.chars().filter_map(kept).collect()
    };
    text.lines().filter_map(heading).map(anchor).collect()
}

/// The one page that is meant, where it is not all of them.
fn only() -> Option<OsString> {
    std::env::var_os("COFFER_TEST_PAGE")
}

fn is_meant(only: Option<&OsString>, path: &str) -> bool {
    only.is_none_or(|only| Path::new(path).ends_with(only))
}

/// Pages one after the other: each has all the ports.
#[test]
#[ignore = "needs root, for a network of its own: tests/run"]
fn every_command_of_every_page_does_what_the_page_says() -> Result<()> {
    let programs = Programs::built()?;
    let only = only();
    let mut failed = Vec::new();
    for page in pages()?.iter().filter(|page| is_meant(only.as_ref(), &page.path)) {
        if page.steps.is_empty() {
            continue;
        }
        let mut shell = Shell::start(programs)?;
        let done = match &page.set_up {
            Some(name) => set_up(name).and_then(|before| shell.follow(&before)),
            None => Ok(()),
        };
        match done.and_then(|()| shell.follow(page)) {
            Ok(()) if only.is_some() => println!("{}", shell.transcript()),
            Ok(()) => println!("{}: {} steps", page.path, page.steps.len()),
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n\n"));
    Ok(())
}

/// Pages that need Kubernetes, with all of their blocks.
#[test]
#[ignore = "needs Kubernetes: tests/run"]
fn every_command_for_a_cluster_does_what_the_page_says() -> Result<()> {
    let (cluster, programs) = (Cluster::of_this_run()?, Programs::built()?);
    cluster.push_programs(programs)?;
    let cleared = Cleared(&cluster);
    let mut followed = 0;
    let only = only();
    for path in paths()?.into_iter().filter(|path| is_meant(only.as_ref(), path)) {
        let text = read(&path)?;
        if Page::parse(&path, &text)?.needs_cluster() {
            let (page, mut shell) = (Page::parse_in_cluster(&path, &text)?, Shell::start_in(&cluster, programs)?);
            shell.follow(&page)?;
            println!("{}", shell.transcript());
            followed += 1;
        }
    }
    drop(cleared);
    ensure!(followed > 0, "no page needs a cluster");
    Ok(())
}

/// Takes away what a page made in a cluster, where it did not come to that.
struct Cleared<'a>(&'a Cluster);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        self.0.uninstall();
        let all = [["delete", "namespace", "shop", "coffer"], ["delete", "clusterrole,clusterrolebinding", "coffer", "--wait"]];
        for arguments in all {
            drop(self.0.try_kubectl(arguments.iter().chain(&["--ignore-not-found"])));
        }
    }
}

/// What is there before a page begins: a page itself, beside this test.
fn set_up(name: &str) -> Result<Page> {
    let path = format!("tests/tests/book/{name}.md");
    Page::parse(&path, &read(&path)?)
}
