//! `coffer kv copy` and `move`.

use std::collections::HashMap;

use clap::Args;
use coffer_client::{
    Secret,
    proto::{DeleteVersionsRequest, DestroySecretRequest, PutSecretMetadataRequest, PutSecretRequest, VersionInfo, VersionState},
};
use jiff::Timestamp;
use serde::Serialize;

use super::{numbers, tree};
use crate::{
    app::{App, Vault, answer, part},
    dry_run::{DryRun, metadata},
    exit::Exit,
    failure::{Failure, Result},
    output::{Progress, printable},
};

const COPY_HELP: &str = "\
Examples:
  coffer kv copy kv/staging/payments kv/prod/payments
  coffer kv copy kv/staging/payments kv/prod/            kv/prod/payments
  coffer kv copy -r kv/staging kv/prod --dry-run";

const MOVE_HELP: &str = "\
Examples:
  coffer kv move kv/payments kv/prod/payments
  coffer kv move -r kv/old kv/archive --dry-run";

/// Copy a secret: its newest version's fields and custom metadata
///
/// Needs permission to read the one and to write the other. What is there already is not overwritten unless --overwrite is
/// said; it then becomes the version before. A version that expires gives a copy that expires at the same time.
#[derive(Args)]
#[command(after_help = COPY_HELP)]
pub(crate) struct Copy {
    #[command(flatten)]
    pair: Pair,
}

/// Move a secret: copy it, and delete it once the copy is written
///
/// Its versions are deleted as `coffer kv delete` does, so that `coffer kv undelete` brings them back; with --destroy they
/// are erased for good, if nothing has changed meanwhile; that needs permission to list. Only the newest version is at the
/// new path: its history stays with the old one.
#[derive(Args)]
#[command(after_help = MOVE_HELP)]
pub(crate) struct Move {
    #[command(flatten)]
    pair: Pair,
    /// Erase the old path for good, with all its versions
    #[arg(long)]
    destroy: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Args)]
struct Pair {
    /// The path to read
    #[arg(value_name = "FROM", add = crate::complete::paths())]
    from: String,
    /// The path to write; one that ends with / is a folder to put it in, under its own name
    #[arg(value_name = "TO", add = crate::complete::paths())]
    to: String,
    /// Everything below the path too
    #[arg(short, long)]
    recursive: bool,
    /// Write over what is there
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    dry_run: DryRun,
}

/// What becomes of the path that was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Stays,
    IsDeleted,
    IsDestroyed,
}

impl Copy {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        self.pair.run(app, &Source::Stays).await
    }
}

impl Move {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        if self.destroy && !self.pair.dry_run.asked() {
            let question = format!("Erase {} for good once it is copied?", self.pair.from);
            crate::commands::confirm(app, self.yes, &question)?;
        }
        let source = if self.destroy { Source::IsDestroyed } else { Source::IsDeleted };
        self.pair.run(app, &source).await
    }
}

#[derive(Serialize)]
struct DoneJson<'a> {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    done: Vec<PairJson<'a>>,
}

#[derive(Serialize)]
struct PairJson<'a> {
    from: &'a str,
    to: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
}

impl Pair {
    async fn run(&self, app: &App, source: &Source) -> Result<Exit> {
        let (from, to) = ends(&self.from, &self.to, self.recursive)?;
        let vault = app.vault()?;
        let pairs = self.pairs(app, &vault, &from, &to).await?;
        let word = if *source == Source::Stays { "copied" } else { "moved" };
        if !self.overwrite {
            nothing_there(&vault, &pairs).await?;
        }
        if self.dry_run.asked() {
            let done = pairs.iter().map(|(from, to)| PairJson { from, to, version: None }).collect();
            app.out.result(&DoneJson { dry_run: true, done }, |_| {
                let lines: String = pairs.iter().map(|(from, to)| printable(&format!("{from} -> {to}\n"))).collect();
                format!("{lines}Nothing was changed: {} would be {word}.", secrets(pairs.len()))
            })?;
            return Ok(Exit::Done);
        }
        let mut progress = Progress::new(&app.out);
        let mut done = Vec::new();
        for (from, to) in &pairs {
            progress.say(|| format!("{} of {}: {from}", done.len() + 1, pairs.len()));
            let result = self.one(app, &vault, from, to, source).await;
            let version = result.map_err(|failure| match done.len() {
                0 => failure,
                before => {
                    let what = format!("{} ({} {word} before it)", failure.what, secrets(before));
                    Box::new(Failure { what, ..*failure })
                }
            })?;
            done.push(PairJson { from, to, version: Some(version) });
        }
        drop(progress);
        app.out.result(&DoneJson { dry_run: false, done }, |_| match pairs.as_slice() {
            [(from, to)] => format!("{from} {word} to {to}"),
            pairs => format!("{} {word} from {from} to {to}", secrets(pairs.len())),
        })?;
        Ok(Exit::Done)
    }

    /// What is copied where, in order.
    async fn pairs(&self, app: &App, vault: &Vault, from: &str, to: &str) -> Result<Vec<(String, String)>> {
        if !self.recursive {
            return Ok(vec![(from.to_owned(), to.to_owned())]);
        }
        let tree = tree::walk(app, vault, from).await?;
        tree.note(app);
        if tree.more || !tree.denied.is_empty() {
            return Err(Failure::new(Exit::Failed, format!("not everything below {from} can be seen"))
                .why("a part of a tree would be taken for the whole")
                .next("take the folders below it one by one"));
        }
        let mut found = tree.secrets;
        // The path may be a secret and a folder.
        if metadata(vault, from).await?.is_some_and(|found| newest_is_live(&found.versions)) {
            found.insert(0, from.to_owned());
        }
        let mut pairs = Vec::with_capacity(found.len());
        for secret in found {
            if metadata(vault, &secret).await?.is_some_and(|found| !newest_is_live(&found.versions)) {
                app.out.note(&format!("{secret} has no version that can be read; it is left out"));
                continue;
            }
            let below = secret.strip_prefix(from).unwrap_or_default().to_owned();
            pairs.push((secret, format!("{to}{below}")));
        }
        if pairs.is_empty() {
            return Err(Failure::new(Exit::Denied, format!("nothing at {from} that you may see"))
                .next(format!("coffer kv list {from} -R")));
        }
        Ok(pairs)
    }

    /// Copies one secret, and deletes it where it is moved. Gives the new version.
    async fn one(&self, app: &App, vault: &Vault, from: &str, to: &str, source: &Source) -> Result<u64> {
        // Before it is read: what changes from here on is another state than the etag's, and is not erased.
        let erased = if *source == Source::IsDestroyed { Some(state(vault, from).await?) } else { None };
        let attempt = vault.attempt(format!("read {from}")).at("read", from);
        let secret = answer(&attempt, vault.client.kv_get(from, 0).await)?;
        let read = secret.version;
        let version = write(app, vault, secret, to, self.overwrite).await?;
        match (source, erased) {
            (Source::IsDeleted, _) => delete(app, vault, from, read).await?,
            (_, Some(etag)) => destroy(vault, from, etag).await?,
            (_, None) => {}
        }
        Ok(version)
    }
}

/// The two paths, once it is clear what is meant.
fn ends(from: &str, to: &str, recursive: bool) -> Result<(String, String)> {
    let from = from.strip_suffix('/').unwrap_or(from);
    let to = match to.strip_suffix('/') {
        Some(folder) => format!("{folder}/{}", from.rsplit('/').next().unwrap_or_default()),
        None => to.to_owned(),
    };
    if from == to {
        return Err(Failure::usage(format!("{from} is both what is read and what is written")));
    }
    let inside = |outer: &str, inner: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    if recursive && (inside(from, &to) || inside(&to, from)) {
        return Err(Failure::usage(format!("{from} and {to} are inside each other"))
            .why("a tree that is copied into itself has no end")
            .next("copy it beside itself first"));
    }
    Ok((from.to_owned(), to))
}

fn newest_is_live(versions: &[VersionInfo]) -> bool {
    versions.last().is_some_and(|version| version.state() == VersionState::Live)
}

/// Finds nothing where the copies are to be, as far as that may be seen; the writing checks it once more.
async fn nothing_there(vault: &Vault, pairs: &[(String, String)]) -> Result<()> {
    for (_, to) in pairs {
        let found = metadata(vault, to).await?;
        if found.is_some_and(|found| found.versions.iter().any(|version| version.state() != VersionState::Destroyed)) {
            return Err(Failure::new(Exit::Conflict, format!("{to} is there already"))
                .why("nothing was changed")
                .next("choose another path, or add --overwrite: what is there becomes the version before"));
        }
    }
    Ok(())
}

/// Writes what was read to another path. Gives the version.
async fn write(app: &App, vault: &Vault, secret: Secret, to: &str, overwrite: bool) -> Result<u64> {
    let found = metadata(vault, to).await?;
    let attempt = vault.attempt(format!("write {to}")).at("write", to);
    let expected_version = if overwrite { found.as_ref().map(|found| found.newest_version) } else { Some(0) };
    let fields: HashMap<String, Vec<u8>> = secret.fields.into_iter().map(|(name, value)| (name, value.into_exposed())).collect();
    let request = PutSecretRequest {
        path: to.to_owned(),
        fields,
        expected_version,
        merge: false,
        ttl_seconds: ttl(secret.expires, app.out.view.now),
        idempotency_key: String::new(),
    };
    let written = answer(&attempt, vault.client.kv().put_secret(request).await)?.into_inner();
    let version = part(&attempt, written.version)?.version;
    // Metadata of a secret that was there is its own.
    if found.is_none() && !secret.custom_metadata.is_empty() {
        let request = PutSecretMetadataRequest {
            path: to.to_owned(),
            custom_metadata: secret.custom_metadata.into_iter().collect(),
            ..PutSecretMetadataRequest::default()
        };
        let attempt = vault.attempt(format!("copy the metadata to {to}")).at("write", to);
        answer(&attempt, vault.client.kv().put_secret_metadata(request).await)?;
    }
    Ok(version)
}

/// Whole seconds until the copy expires with what it is a copy of; 0 for never.
fn ttl(expires: Option<std::time::SystemTime>, now: Timestamp) -> u64 {
    let Some(expires) = expires.and_then(|time| Timestamp::try_from(time).ok()) else { return 0 };
    u64::try_from(expires.as_second().saturating_sub(now.as_second())).unwrap_or(0).max(1)
}

/// Deletes the versions up to the one that was copied.
async fn delete(app: &App, vault: &Vault, from: &str, read: u64) -> Result<()> {
    let found = metadata(vault, from).await?;
    let live = |version: &&VersionInfo| version.version <= read && version.state() == VersionState::Live;
    let versions = match &found {
        Some(found) => found.versions.iter().filter(live).map(|version| version.version).collect(),
        None => vec![read],
    };
    let attempt = vault.attempt(format!("delete {from}, which is copied,")).at("delete", from);
    let request = DeleteVersionsRequest { path: from.to_owned(), versions: versions.clone() };
    answer(&attempt, vault.client.kv().delete_versions(request).await)?;
    match found {
        None => app.out.note(&format!("older versions of {from} may still be there: they may not be listed")),
        Some(found) if found.newest_version > read => {
            app.out.note(&format!(
                "{from} was written meanwhile: version {} was not copied and is still there; deleted are {}",
                found.newest_version,
                numbers(&versions)
            ));
        }
        Some(_) => {}
    }
    Ok(())
}

/// The etag of what is at a path.
async fn state(vault: &Vault, from: &str) -> Result<String> {
    let found = metadata(vault, from).await?.ok_or_else(|| {
        Failure::new(Exit::Denied, format!("{from} is not moved"))
            .why("there is no such secret, or its versions may not be listed: it would be erased unseen")
            .next("move it without --destroy, or have list granted")
    })?;
    Ok(found.etag)
}

/// Erases what was copied, unless it has changed meanwhile.
async fn destroy(vault: &Vault, from: &str, etag: String) -> Result<()> {
    let attempt = vault.attempt(format!("erase {from}, which is copied,")).at("destroy", from);
    let request = DestroySecretRequest { path: from.to_owned(), etag };
    answer(&attempt, vault.client.kv().destroy_secret(request).await).map(drop).map_err(|failure| match failure.exit {
        Exit::Conflict => Box::new(Failure {
            what: format!("{from} is copied, and not erased"),
            why: Some("it was changed meanwhile".to_owned()),
            next: Some(format!("coffer kv history {from}; then coffer kv metadata delete {from}")),
            retryable: false,
            ..*failure
        }),
        _ => failure,
    })
}

fn secrets(number: usize) -> String {
    if number == 1 { "1 secret".to_owned() } else { format!("{number} secrets") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_takes_the_secret_under_its_own_name() {
        let ends = |from, to, recursive| ends(from, to, recursive).map_err(|failure| failure.what);
        assert_eq!(ends("kv/a/b", "kv/c/", false).unwrap(), ("kv/a/b".into(), "kv/c/b".into()));
        assert_eq!(ends("kv/a/b/", "kv/c", true).unwrap(), ("kv/a/b".into(), "kv/c".into()));
        assert!(ends("kv/a", "kv/a", false).is_err());
        assert!(ends("kv/a", "kv/", false).is_err(), "onto itself");
        for (from, to) in [("kv/a", "kv/a/b"), ("kv/a/b", "kv/a"), ("kv/a", "kv/a/")] {
            assert!(ends(from, to, true).is_err(), "{from} {to}");
        }
        assert!(ends("kv/a", "kv/ab", true).is_ok());
    }

    #[test]
    fn a_copy_expires_with_what_it_is_a_copy_of() {
        let now = Timestamp::from_second(1_000).unwrap();
        let at = |seconds| Some(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
        assert_eq!([ttl(None, now), ttl(at(1_090), now), ttl(at(1_000), now)], [0, 90, 1]);
    }
}
