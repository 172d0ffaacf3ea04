//! `coffer kv list` and `search`: names.

use clap::Args;
use coffer_client::proto::SecretEntry;
use serde::Serialize;

use super::tree;
use crate::{app::App, exit::Exit, failure::Result, output::one_line};

/// Where a search begins unless it is said.
const MOUNT_DEFAULT: &str = "kv";

/// List the names below a path
///
/// A name that ends with / is a folder: there are secrets below it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer kv list kv
  coffer kv list kv/prod -R                     every secret below, at any depth")]
pub(crate) struct List {
    /// The folder: a mount such as kv, or a path below it
    #[arg(add = crate::complete::paths())]
    path: String,
    /// Every secret below, at any depth
    #[arg(short = 'R', long)]
    recursive: bool,
}

#[derive(Serialize)]
struct EntryJson<'a> {
    name: &'a str,
    secret: bool,
    folder: bool,
}

impl List {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        // People write a folder as `list` shows it.
        let path = self.path.strip_suffix('/').unwrap_or(&self.path);
        if self.recursive {
            let tree = tree::walk(app, &vault, path).await?;
            let below = |secret: &String| secret.get(path.len() + 1..).unwrap_or_default().to_owned();
            let names: Vec<String> = tree.secrets.iter().map(below).collect();
            app.out.long(&names, |_| lines(&names))?;
            tree.note(app);
            if names.is_empty() {
                app.out.note(&format!("nothing at {path} that you may see"));
            }
            return Ok(Exit::Done);
        }
        let entries = tree::names(app, &vault, path).await?;
        let json: Vec<EntryJson<'_>> =
            entries.iter().map(|entry| EntryJson { name: &entry.name, secret: entry.secret, folder: entry.folder }).collect();
        app.out.long(&json, |_| listed(&entries))?;
        if entries.is_empty() {
            app.out.note(&format!("nothing at {path} that you may see"));
        }
        Ok(Exit::Done)
    }
}

fn lines(names: &[String]) -> String {
    names.iter().map(|name| format!("{}\n", one_line(name))).collect()
}

/// Names a line each, as `ls` does: for people and for pipes. A name that is both has two lines.
pub(super) fn listed(entries: &[SecretEntry]) -> String {
    let mut text = String::new();
    for entry in entries {
        let name = one_line(&entry.name);
        if entry.secret {
            text.push_str(&format!("{name}\n"));
        }
        if entry.folder {
            text.push_str(&format!("{name}/\n"));
        }
    }
    text
}

/// Find secrets by a word in their path
///
/// Looks at names alone, never into secrets, and only where you may list. Upper and lower case are the same here.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer kv search payments
  coffer kv search tls kv/prod")]
pub(crate) struct Search {
    /// The word: a part of a path below the folder
    word: String,
    /// The folder to look in
    #[arg(default_value = MOUNT_DEFAULT, add = crate::complete::paths())]
    path: String,
}

impl Search {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let path = self.path.strip_suffix('/').unwrap_or(&self.path);
        let tree = tree::walk(app, &vault, path).await?;
        let word = self.word.to_lowercase();
        let below = |secret: &str| secret.get(path.len()..).unwrap_or_default().to_lowercase();
        let found: Vec<String> = tree.secrets.iter().filter(|secret| below(secret).contains(&word)).cloned().collect();
        app.out.long(&found, |_| lines(&found))?;
        tree.note(app);
        if found.is_empty() {
            app.out.note(&format!("no secret below {path} has {} in its path", one_line(&self.word)));
            return Ok(Exit::Denied);
        }
        Ok(Exit::Done)
    }
}
