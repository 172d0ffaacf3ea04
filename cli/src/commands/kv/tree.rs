//! Walking folders.

use std::collections::VecDeque;

use coffer_client::proto::{ListSecretsRequest, SecretEntry};

use crate::{
    app::{App, LIST_MAX, PAGE_SIZE, Vault, all_pages},
    exit::Exit,
    failure::Result,
    output::Progress,
};

/// What is below a folder.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// The paths of secrets, in order.
    pub(super) secrets: Vec<String>,
    /// Folders whose names may not be listed.
    pub(super) denied: Vec<String>,
    /// Whether there is more than was looked at.
    pub(super) more: bool,
}

/// The names directly below a folder.
pub(super) async fn names(app: &App, vault: &Vault, path: &str) -> Result<Vec<SecretEntry>> {
    let attempt = vault.attempt(format!("list {path}")).at("list", path);
    let mut kv = vault.client.kv();
    Ok(all_pages!(app, &attempt, entries, |page_token| {
        kv.list_secrets(ListSecretsRequest { path: path.to_owned(), page_size: PAGE_SIZE, page_token })
    }))
}

/// All secrets below a folder, [`LIST_MAX`] names at most.
///
/// # Errors
/// Where the folder itself may not be listed.
pub(super) async fn walk(app: &App, vault: &Vault, root: &str) -> Result<Tree> {
    let mut progress = Progress::new(&app.out);
    let mut tree = Tree::default();
    let mut waiting = VecDeque::from([root.to_owned()]);
    let mut seen = 0_usize;
    while let Some(folder) = waiting.pop_front() {
        progress.say(|| format!("{seen} names, {} folders to go: {folder}", waiting.len() + 1));
        let entries = match names(app, vault, &folder).await {
            Err(failure) if failure.exit == Exit::Denied && folder != root => {
                tree.denied.push(folder);
                continue;
            }
            entries => entries?,
        };
        seen += entries.len();
        for entry in entries {
            let path = format!("{folder}/{}", entry.name);
            if entry.folder {
                waiting.push_back(path.clone());
            }
            if entry.secret {
                tree.secrets.push(path);
            }
        }
        if seen >= LIST_MAX {
            tree.more = !waiting.is_empty();
            break;
        }
    }
    tree.secrets.sort_unstable();
    Ok(tree)
}

impl Tree {
    /// Tells what was left out.
    pub(super) fn note(&self, app: &App) {
        match self.denied.as_slice() {
            [] => {}
            [one] => app.out.note(&format!("{one} may not be listed; what is there is left out")),
            [first, rest @ ..] => {
                app.out.note(&format!("{first} and {} other folders may not be listed; what is there is left out", rest.len()));
            }
        }
        if self.more {
            app.out.note(&format!("there are more names than {LIST_MAX}; give a folder further down"));
        }
    }
}
