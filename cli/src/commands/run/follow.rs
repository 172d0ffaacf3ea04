//! Following the secrets of a running program.

use std::{collections::BTreeMap, time::Duration};

use coffer_client::{Backoff, Event, Secret, Watch};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::Credentials;
use crate::app::{App, Vault, answer};

/// How long nothing must change until a change is dealt with: secrets that are changed together are one change.
const SETTLE: Duration = Duration::from_millis(200);
/// The longest that it is waited for that.
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// How long to wait, at first and at most, until it is tried again to follow.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Secrets by their paths.
pub(super) type Secrets = BTreeMap<String, Secret>;

/// Reads secrets, each once.
pub(super) async fn read(
    vault: &Vault,
    credentials: &Credentials,
    paths: impl Iterator<Item = &str>,
) -> crate::failure::Result<Secrets> {
    let mut secrets = Secrets::new();
    for path in paths {
        if !secrets.contains_key(path) {
            let secret = if credentials.has(path) {
                credentials.make(vault, path).await?
            } else {
                let attempt = vault.attempt(format!("read {path}")).at("read", path);
                answer(&attempt, vault.client.kv_get(path, 0).await)?
            };
            secrets.insert(path.to_owned(), secret);
        }
    }
    Ok(secrets)
}

/// Sends secrets that have changed, for as long as it is asked. What is away or refused is told once, and tried again with
/// the session that there is then: who logs in anew meanwhile is heard of.
pub(super) async fn follow(
    app: &App,
    credentials: &Credentials,
    mut versions: BTreeMap<String, u64>,
    changed: mpsc::Sender<Secrets>,
) {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    let mut told = String::new();
    loop {
        let why = match attempt((app, credentials), &mut versions, &changed, &mut backoff).await {
            Ok(()) => return,
            Err(why) => why,
        };
        if why != told {
            app.out.note(&format!("changes are not followed for now, the files stay as they are: {why}"));
            told = why;
        }
        sleep(backoff.wait()).await;
    }
}

/// Follows until that ends, and says why; done where nobody listens any more.
async fn attempt(
    (app, credentials): (&App, &Credentials),
    versions: &mut BTreeMap<String, u64>,
    changed: &mpsc::Sender<Secrets>,
    backoff: &mut Backoff,
) -> Result<(), String> {
    let vault = app.vault().map_err(|failure| failure.what)?;
    let mut watch = vault.client.watch(versions.keys().cloned().collect()).await.map_err(|error| error.to_string())?;
    loop {
        let newest = gathered(&mut watch).await?;
        backoff.reset();
        for path in newest.iter().filter(|(_, version)| version.is_none()).map(|(path, _)| path) {
            app.out.note(&format!("{path} is gone, or may not be read any longer: its files stay as they are"));
        }
        let is_due = |(path, version): &(&String, &Option<u64>)| version.is_some() && versions.get(*path) != version.as_ref();
        let due: Vec<String> = newest.iter().filter(is_due).map(|(path, _)| path.clone()).collect();
        if due.is_empty() {
            continue;
        }
        let fresh = read(&vault, credentials, due.iter().map(String::as_str)).await.map_err(|failure| failure.what)?;
        versions.extend(fresh.iter().map(|(path, secret)| (path.clone(), secret.version)));
        if changed.send(fresh).await.is_err() {
            return Ok(());
        }
    }
}

/// What is told together: the newest version of each path, none where it cannot be read.
async fn gathered(watch: &mut Watch) -> Result<BTreeMap<String, Option<u64>>, String> {
    let mut newest = BTreeMap::new();
    let mut next = watch.next().await;
    let settled = sleep(SETTLE_MAX);
    tokio::pin!(settled);
    loop {
        match next.map_err(|error| error.to_string())? {
            Some(Event::Changed { path, version }) => drop(newest.insert(path, Some(version))),
            Some(Event::Unavailable { path } | Event::Withheld { path }) => drop(newest.insert(path, None)),
            Some(Event::SessionEnd) => return Err("the session has ended: coffer login in another terminal".to_owned()),
            // The state of each path follows.
            Some(_) => {}
            None => return Err("the vault closed the stream".to_owned()),
        }
        next = tokio::select! {
            () = &mut settled => return Ok(newest),
            more = timeout(SETTLE, watch.next()) => match more {
                Ok(more) => more,
                Err(_) => return Ok(newest),
            },
        };
    }
}
