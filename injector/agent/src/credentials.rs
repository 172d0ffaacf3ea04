//! Credentials that the agent holds: renewed in time, and replaced where they cannot be renewed.
//!
//! One that is replaced is not revoked: whoever still uses it has until its end.

use std::time::Duration;

use coffer_client::{Blame, Lease, Secret};
use tokio::time::{Instant, timeout};

use crate::{
    agent::{Agent, told},
    config::{Credential, Source},
    render::{Given, Term},
};

/// When a renewal that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// When the vault is asked again for a credential that it refused.
const REFUSED_RETRY: Duration = Duration::from_secs(60);

/// How long the sidecar takes at its end to end credentials.
const REVOKE_TIME_MAX: Duration = Duration::from_secs(5);

/// A credential that was made, or one that is to be.
pub(crate) struct Held {
    /// None where there is none now.
    good: Option<Good>,
    /// When it was made.
    made: Instant,
    /// When something is to be done about it.
    due: Instant,
}

/// A credential that is good.
#[derive(Clone)]
struct Good {
    /// How long, from when it was made.
    lasts: Duration,
    /// None for one that cannot be made to last longer.
    lease: Option<Lease>,
}

/// What became of credentials that were due.
pub(crate) struct Tended {
    /// Whether one lasts longer now.
    pub(crate) renewed: bool,
    /// Those to have made anew.
    pub(crate) replace: Vec<Source>,
}

impl Held {
    /// A credential that was asked for at `asked`, before which it cannot have been made.
    fn new(good: Good, asked: Instant) -> Self {
        let due = due(good.lasts, asked, asked);
        Self { good: Some(good), made: asked, due }
    }
}

fn due(lasts: Duration, made: Instant, now: Instant) -> Instant {
    now + coffer_client::renew_after((made + lasts).saturating_duration_since(now))
}

impl Agent {
    /// Has a credential made.
    pub(crate) async fn issue(&mut self, source: &Source, wanted: &Credential) -> Result<Given, coffer_client::Error> {
        let asked = Instant::now();
        let made = self.keeper.issue_credential(&source.path, wanted.ttl_secs, &wanted.parameters).await?;
        let lease = made.lease.as_ref().map(|lease| lease.id.clone());
        tracing::info!(path = source.path, lease, lasts_secs = made.lasts.as_secs(), "made");
        let secret = Secret {
            fields: made.fields,
            version: made.version,
            created: Some(made.issued),
            created_by: String::new(),
            expires: Some(made.expires),
            custom_metadata: std::collections::BTreeMap::new(),
            receipt: 0,
        };
        if let Some(lease) = &made.lease {
            self.leases.retain(|_, end| *end > asked);
            self.leases.insert(lease.id.clone(), asked + lease.lasts_at_most);
        }
        self.held.insert(source.clone(), Held::new(Good { lasts: made.lasts, lease: made.lease }, asked));
        Ok(Given { secret, term: Some(Term { lease, issued: made.issued, expires: made.expires }) })
    }

    /// Tells the vault which versions of shared credentials are in the files, and known to the application: those before may end.
    pub(crate) async fn acknowledge(&mut self) {
        let versions = self.given.iter().filter(|(source, _)| self.held.contains_key(source));
        let new: Vec<_> = versions
            .map(|(source, given)| (source.clone(), given.secret.version))
            .filter(|(source, version)| *version > 0 && self.acknowledged.get(source) != Some(version))
            .collect();
        for (source, version) in new {
            match self.keeper.acknowledge_credential(&source.path, version).await {
                Ok(()) => {
                    self.acknowledged.insert(source, version);
                }
                Err(error) => {
                    tracing::warn!(path = source.path, version, "the vault does not know yet that it is used: {}", told(&error));
                    if let Some(held) = self.held.get_mut(&source) {
                        held.due = held.due.min(Instant::now() + RETRY);
                    }
                }
            }
        }
    }

    /// Ends the credentials that were made, where that is wanted: the vault would when the pod is gone.
    pub(crate) async fn revoke(&mut self) {
        if !self.config.revoke_on_exit {
            return;
        }
        let ended = async {
            for lease in self.leases.keys() {
                match self.keeper.revoke_lease(lease).await {
                    Ok(()) => tracing::info!(lease, "ended"),
                    Err(error) => tracing::warn!(lease, "not ended; it ends with the pod: {}", told(&error)),
                }
            }
        };
        if timeout(REVOKE_TIME_MAX, ended).await.is_err() {
            tracing::warn!("not all credentials are ended; they end with the pod");
        }
    }

    /// Notes that there is another credential by now.
    pub(crate) fn outdated(&mut self, source: &Source) {
        if let Some(held) = self.held.get_mut(source) {
            held.good = None;
        }
    }

    /// Whether there is a credential that need not be made.
    pub(crate) fn holds(&self, source: &Source) -> bool {
        self.held.get(source).is_some_and(|held| held.good.is_some())
    }

    /// Notes that a credential is wanted: where there is none it is asked for again.
    pub(crate) fn want(&mut self, source: &Source) {
        if !self.holds(source) {
            self.without(source, false);
        }
    }

    /// Notes that there is no credential where one is wanted: it is asked for again.
    pub(crate) fn without(&mut self, source: &Source, refused: bool) {
        let now = Instant::now();
        let held = self.held.entry(source.clone()).or_insert(Held { good: None, made: now, due: now });
        held.due = now + if refused { REFUSED_RETRY } else { RETRY };
    }

    /// When something is to be done about credentials; none where there are none.
    pub(crate) fn credentials_due(&self) -> Option<Instant> {
        self.held.values().map(|held| held.due).min()
    }

    /// Renews the credentials that are due, where they can be.
    pub(crate) async fn renew_credentials(&mut self) -> Tended {
        let now = Instant::now();
        let due_now = self.held.iter().filter(|(_, held)| held.due <= now);
        let due_now: Vec<_> = due_now.map(|(source, held)| (source.clone(), held.good.clone(), held.made)).collect();
        let mut tended = Tended { renewed: false, replace: Vec::new() };
        for (source, good, made) in due_now {
            let Some(lease) = good.and_then(|good| good.lease) else {
                tended.replace.push(source);
                continue;
            };
            match self.keeper.renew_lease(&lease.id, source.credential.as_ref().map_or(0, |wanted| wanted.ttl_secs)).await {
                Ok(renewed) if lease.lasts_no_longer(&renewed) => {
                    tracing::info!(path = source.path, lease = lease.id, "cannot be renewed further: replaced");
                    tended.replace.push(source);
                }
                Ok(renewed) => {
                    tracing::debug!(path = source.path, lease = lease.id, lasts_secs = renewed.lasts.as_secs(), "renewed");
                    if let Some(term) = self.given.get_mut(&source).and_then(|given| given.term.as_mut()) {
                        term.expires = renewed.expires;
                    }
                    tended.renewed = true;
                    let due = due(renewed.lasts, made, Instant::now());
                    let good = Good { lasts: renewed.lasts, lease: Some(renewed) };
                    self.held.insert(source, Held { good: Some(good), made, due });
                }
                Err(error) if matches!(error.blame(), Blame::Denied | Blame::NotFound) => {
                    tracing::warn!(
                        path = source.path,
                        lease = lease.id,
                        "has ended, or may not be renewed any longer: {}",
                        told(&error)
                    );
                    tended.replace.push(source);
                }
                Err(error) => {
                    tracing::warn!(path = source.path, lease = lease.id, "not renewed yet: {}", told(&error));
                    let end = made + lease.lasts;
                    if now + RETRY >= end {
                        tended.replace.push(source);
                    } else if let Some(held) = self.held.get_mut(&source) {
                        held.due = now + RETRY;
                    }
                }
            }
        }
        for source in &tended.replace {
            if let Some(held) = self.held.get_mut(source) {
                held.good = None;
            }
        }
        tended
    }
}
