//! Credentials of a running program: made for it, renewed while it runs, ended when it has ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use coffer_client::{Blame, Lease, Secret, is_shared_credential, renew_after};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{Secrets, Wanted};
use crate::{
    app::{App, Vault, answer},
    args::parse_ttl,
    failure::{Failure, Result},
};

/// When what failed is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// What says how long a credential should last.
const TTL: &str = "ttl";

/// What is said about a credential: `[PATH:]KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameter {
    path: Option<String>,
    key: String,
    value: String,
}

impl FromStr for Parameter {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let wrong = "write KEY=VALUE or PATH:KEY=VALUE";
        let (key, value) = text.split_once('=').ok_or(wrong)?;
        let (path, key) = match key.rsplit_once(':') {
            Some((path, key)) => (Some(path.to_owned()), key),
            None => (None, key),
        };
        if key.is_empty() || path.as_ref().is_some_and(String::is_empty) {
            return Err(wrong);
        }
        Ok(Self { path, key: key.to_owned(), value: value.to_owned() })
    }
}

/// What a credential is to be.
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    ttl_secs: u64,
    parameters: BTreeMap<String, String>,
}

/// A credential that was made.
struct Held {
    lease: Option<Lease>,
    made: Instant,
    version: u64,
    /// When something is to be done about it; none for nothing any more.
    due: Option<Instant>,
}

#[derive(Default)]
struct State {
    held: BTreeMap<String, Held>,
    /// Leases that have not been ended, of credentials that were replaced too.
    leases: BTreeSet<String>,
    /// The versions of shared credentials of which the vault knows that they are in use.
    acknowledged: BTreeMap<String, u64>,
}

/// The credentials of a program.
pub(super) struct Credentials {
    requests: BTreeMap<String, Request>,
    state: Mutex<State>,
}

impl Credentials {
    /// Those that files want; nothing is made yet.
    pub(super) fn new(files: &[Wanted], parameters: Vec<Parameter>) -> Result<Self> {
        let wanted = files.iter().filter(|file| file.is_credential);
        let mut requests: BTreeMap<String, Request> = wanted.map(|file| (file.path.clone(), Request::default())).collect();
        for Parameter { path, key, value } in parameters {
            let path = match path {
                Some(path) => path,
                None => only(&requests, &key)?,
            };
            let Some(request) = requests.get_mut(&path) else {
                return Err(Failure::usage(format!("{path}:{key}: no file is of the credential {path}")));
            };
            let twice = || Failure::usage(format!("{key} is given twice for {path}"));
            if key != TTL {
                if request.parameters.insert(key.clone(), value).is_some() {
                    return Err(twice());
                }
            } else if request.ttl_secs != 0 {
                return Err(twice());
            } else {
                request.ttl_secs = parse_ttl(&value).map_err(|why| Failure::usage(format!("ttl={value}: {why}")))?.as_secs();
            }
        }
        Ok(Self { requests, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a path is that of a credential.
    pub(super) fn has(&self, path: &str) -> bool {
        self.requests.contains_key(path)
    }

    /// Has a credential made.
    pub(super) async fn make(&self, vault: &Vault, path: &str) -> Result<Secret> {
        let (usual, asked) = (Request::default(), Instant::now());
        let Request { ttl_secs, parameters } = self.requests.get(path).unwrap_or(&usual);
        let attempt = vault.attempt(format!("have a credential made at {path}")).at("read", path);
        let made = answer(&attempt, vault.client.issue_credential(path, *ttl_secs, parameters, "").await)?;
        let due = Some(asked + renew_after(made.lasts));
        let mut state = self.state();
        state.leases.extend(made.lease.as_ref().map(|lease| lease.id.clone()));
        state.held.insert(path.to_owned(), Held { lease: made.lease, made: asked, version: made.version, due });
        Ok(Secret {
            fields: made.fields,
            version: made.version,
            created: Some(made.issued),
            created_by: String::new(),
            expires: Some(made.expires),
            custom_metadata: BTreeMap::new(),
            receipt: 0,
        })
    }

    /// Renews what is due, for as long as the program runs, and sends what had to be replaced; where nothing is to be, says so.
    pub(super) async fn keep(&self, app: &App, replace: bool, changed: &mpsc::Sender<Secrets>) {
        loop {
            let due = self.state().held.iter().filter_map(|(path, held)| Some((held.due?, path.clone()))).min();
            let Some((due, path)) = due else {
                // A shared one is made anew by whoever follows it: then there is something to do again.
                sleep_until(Instant::now() + RETRY).await;
                continue;
            };
            sleep_until(due).await;
            match self.tend(app, replace, &path).await {
                Ok(None) => {}
                Ok(Some(fresh)) => {
                    if changed.send(Secrets::from([(path, fresh)])).await.is_err() {
                        return;
                    }
                }
                Err(failure) => {
                    app.out.note(&format!("{path} is not renewed for now: {}", failure.what));
                    self.again(&path, Some(RETRY));
                }
            }
        }
    }

    /// Says when something is to be done about a credential again.
    fn again(&self, path: &str, after: Option<Duration>) {
        if let Some(held) = self.state().held.get_mut(path) {
            held.due = after.map(|after| Instant::now() + after);
        }
    }

    /// Renews a credential, or has another made.
    async fn tend(&self, app: &App, replace: bool, path: &str) -> Result<Option<Secret>> {
        let vault = app.vault()?;
        let (lease, version) = match self.state().held.get(path) {
            Some(held) => (held.lease.clone(), held.version),
            None => return Ok(None),
        };
        if let Some(lease) = lease {
            let ttl_secs = self.requests.get(path).map_or(0, |request| request.ttl_secs);
            match vault.client.renew_lease(&lease.id, ttl_secs).await {
                Ok(renewed) if !lease.lasts_no_longer(&renewed) => {
                    if let Some(held) = self.state().held.get_mut(path) {
                        let left = (held.made + renewed.lasts).saturating_duration_since(Instant::now());
                        held.due = Some(Instant::now() + renew_after(left));
                        held.lease = Some(renewed);
                    }
                    return Ok(None);
                }
                Ok(_) => {}
                Err(error) if matches!(error.blame(), Blame::Denied | Blame::NotFound) => {}
                Err(error) => {
                    let attempt = vault.attempt(format!("renew {}", lease.id)).at("read", path);
                    return answer(&attempt, Err(error));
                }
            }
        }
        // One that all share is looked at, for it may be another: whoever follows it does that at once.
        if !replace {
            app.out.note(&format!("{path} cannot be renewed any further, and is not replaced without --watch"));
            self.again(path, None);
            return Ok(None);
        }
        let fresh = self.make(&vault, path).await?;
        Ok((version == 0 || version != fresh.version).then_some(fresh))
    }

    /// Tells the vault which versions of shared credentials the program has: those before may end.
    pub(super) async fn acknowledge(&self, app: &App) {
        let news: Vec<(String, u64)> = {
            let state = self.state();
            let shared = state.held.iter().filter(|(path, _)| is_shared_credential(path));
            let news = shared.filter(|(path, held)| state.acknowledged.get(*path) != Some(&held.version));
            news.map(|(path, held)| (path.clone(), held.version)).collect()
        };
        for (path, version) in news {
            let told = match app.vault() {
                Ok(vault) => vault.client.acknowledge_credential(&path, version).await.map_err(|error| error.to_string()),
                Err(failure) => Err(failure.what.clone()),
            };
            match told {
                Ok(()) => drop(self.state().acknowledged.insert(path, version)),
                Err(why) => app.out.note(&format!("the vault does not know that version {version} of {path} is in use: {why}")),
            }
        }
    }

    /// Ends credentials: all of them, or those that were replaced.
    pub(super) async fn end(&self, app: &App, all: bool) {
        let leases: Vec<String> = {
            let mut state = self.state();
            let kept: BTreeSet<String> = match all {
                true => BTreeSet::new(),
                false => state.held.values().filter_map(|held| Some(held.lease.as_ref()?.id.clone())).collect(),
            };
            let ended = state.leases.difference(&kept).cloned().collect();
            state.leases = kept;
            ended
        };
        for id in leases {
            let ended = match app.vault() {
                Ok(vault) => {
                    let attempt = vault.attempt(format!("end {id}"));
                    answer(&attempt, vault.client.revoke_lease(&id).await)
                }
                Err(failure) => Err(failure),
            };
            if let Err(failure) = ended {
                app.out.note(&format!("{id} is not ended, and ends by itself: {}", failure.what));
            }
        }
    }
}

/// The only path, where there is one.
fn only(requests: &BTreeMap<String, Request>, key: &str) -> Result<String> {
    let mut paths = requests.keys();
    match (paths.next(), paths.next()) {
        (Some(path), None) => Ok(path.clone()),
        _ => Err(Failure::usage(format!("{key}: which of the credentials is meant?")).next(format!("write PATH:{key}=VALUE"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::wanted::wanted, *};

    fn requests(credentials: &[&str], parameters: &[&str]) -> Result<BTreeMap<String, Request>> {
        let credentials: Vec<String> = credentials.iter().map(|text| (*text).to_owned()).collect();
        let parameters = parameters.iter().map(|text| text.parse().unwrap()).collect();
        Ok(Credentials::new(&wanted(&[], &credentials)?, parameters)?.requests)
    }

    #[test]
    fn a_parameter_is_of_the_only_credential_or_of_the_one_that_it_names() {
        let files = ["crt=pki/issue/web#certificate", "key=pki/issue/web#private_key"];
        let one = requests(&files, &["common_name=a.svc", "ttl=1h"]).unwrap();
        let request = &one["pki/issue/web"];
        assert_eq!((request.ttl_secs, request.parameters["common_name"].as_str()), (3_600, "a.svc"));
        let two = ["crt=pki/issue/web", "db=database/creds/app"];
        assert!(requests(&two, &["ttl=1h"]).is_err());
        assert_eq!(requests(&two, &["database/creds/app:ttl=1h"]).unwrap()["database/creds/app"].ttl_secs, 3_600);
        let uri = requests(&files, &["pki/issue/web:uri_sans=spiffe://a/b"]).unwrap();
        assert_eq!(uri["pki/issue/web"].parameters["uri_sans"], "spiffe://a/b");
        for wrong in [["a:b=c", "ttl=1h"], ["ttl=1h", "ttl=2h"], ["x=1", "x=1"], ["ttl=0", "x=1"], ["ttl=later", "x=1"]] {
            assert!(requests(&files, &wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["", "x", "=x", ":x=1", "a:=1"] {
            assert!(wrong.parse::<Parameter>().is_err(), "{wrong}");
        }
    }
}
