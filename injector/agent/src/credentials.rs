//! Credentials that the agent holds: renewed in time, and replaced where they cannot be renewed.
//!
//! One that is replaced is not revoked: whoever still uses it has until its end.

use std::time::Duration;

use coffer_client::{Blame, Lease, Secret};
use tokio::time::Instant;

use crate::{
    agent::{Agent, told},
    config::Source,
};

/// When a renewal that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// When the vault is asked again for a credential that it refused.
const REFUSED_RETRY: Duration = Duration::from_secs(60);
/// A credential is looked at no sooner than this after it was made or renewed.
const LOOK_MIN: Duration = Duration::from_millis(500);

/// A credential that was made, or one that is to be.
pub(crate) struct Held {
    /// None where there is none now.
    lease: Option<Lease>,
    /// When it was made.
    made: Instant,
    /// When something is to be done about it.
    due: Instant,
}

impl Held {
    /// A credential that was asked for at `asked`, before which it cannot have been made.
    fn new(lease: Lease, asked: Instant) -> Self {
        let due = due(&lease, asked, asked);
        Self { lease: Some(lease), made: asked, due }
    }
}

/// Two thirds of what is left of a credential's life: it has the last third to be renewed, or replaced, in.
fn due(lease: &Lease, made: Instant, now: Instant) -> Instant {
    let left = (made + lease.lasts).saturating_duration_since(now);
    now + (left / 3 * 2).max(LOOK_MIN)
}

impl Agent {
    /// Has a credential made.
    pub(crate) async fn issue(&mut self, source: &Source, ttl_secs: u64) -> Result<Secret, coffer_client::Error> {
        let asked = Instant::now();
        let credential = self.keeper.issue_credential(&source.path, ttl_secs).await?;
        tracing::info!(path = source.path, lease = credential.lease.id, lasts_secs = credential.lease.lasts.as_secs(), "made");
        let secret = Secret {
            fields: credential.fields,
            version: 0,
            created: Some(credential.lease.issued),
            created_by: String::new(),
            expires: Some(credential.lease.expires),
            custom_metadata: std::collections::BTreeMap::new(),
            receipt: 0,
        };
        self.held.insert(source.clone(), Held::new(credential.lease, asked));
        Ok(secret)
    }

    /// Whether there is a credential that need not be made.
    pub(crate) fn holds(&self, source: &Source) -> bool {
        self.held.get(source).is_some_and(|held| held.lease.is_some())
    }

    /// Notes that there is no credential where one is wanted: it is asked for again.
    pub(crate) fn without(&mut self, source: &Source, refused: bool) {
        let now = Instant::now();
        let held = self.held.entry(source.clone()).or_insert(Held { lease: None, made: now, due: now });
        held.due = now + if refused { REFUSED_RETRY } else { RETRY };
    }

    /// When something is to be done about credentials; none where there are none.
    pub(crate) fn credentials_due(&self) -> Option<Instant> {
        self.held.values().map(|held| held.due).min()
    }

    /// Renews the credentials that are due; gives those that are to be replaced.
    pub(crate) async fn renew_credentials(&mut self) -> Vec<Source> {
        let now = Instant::now();
        let due_now = self.held.iter().filter(|(_, held)| held.due <= now);
        let due_now: Vec<_> = due_now.map(|(source, held)| (source.clone(), held.lease.clone(), held.made)).collect();
        let mut replace = Vec::new();
        for (source, lease, made) in due_now {
            let Some(lease) = lease else {
                replace.push(source);
                continue;
            };
            match self.keeper.renew_lease(&lease.id, source.lease.unwrap_or(0)).await {
                // It lasts as long as it ever will.
                Ok(renewed) if renewed.lasts <= lease.lasts || renewed.lasts >= renewed.lasts_at_most => {
                    tracing::info!(path = source.path, lease = lease.id, "cannot be renewed further: replaced");
                    replace.push(source);
                }
                Ok(renewed) => {
                    tracing::debug!(path = source.path, lease = lease.id, lasts_secs = renewed.lasts.as_secs(), "renewed");
                    let due = due(&renewed, made, Instant::now());
                    self.held.insert(source, Held { lease: Some(renewed), made, due });
                }
                Err(error) if matches!(error.blame(), Blame::Denied | Blame::NotFound) => {
                    tracing::warn!(
                        path = source.path,
                        lease = lease.id,
                        "has ended, or may not be renewed any longer: {}",
                        told(&error)
                    );
                    replace.push(source);
                }
                Err(error) => {
                    tracing::warn!(path = source.path, lease = lease.id, "not renewed yet: {}", told(&error));
                    let end = made + lease.lasts;
                    if now + RETRY >= end {
                        replace.push(source);
                    } else {
                        self.held.insert(source, Held { lease: Some(lease), made, due: now + RETRY });
                    }
                }
            }
        }
        for source in &replace {
            if let Some(held) = self.held.get_mut(source) {
                held.lease = None;
            }
        }
        replace
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_credential_is_looked_at_after_two_thirds_of_what_is_left_and_never_at_once() {
        let lease = |secs| Lease {
            id: "database/creds/app/0".to_owned(),
            issued: SystemTime::UNIX_EPOCH,
            expires: SystemTime::UNIX_EPOCH + Duration::from_secs(secs),
            lasts: Duration::from_secs(secs),
            lasts_at_most: Duration::from_secs(3_600),
        };
        let made = Instant::now();
        assert_eq!(due(&lease(900), made, made), made + Duration::from_secs(600));
        let later = made + Duration::from_secs(600);
        assert_eq!(due(&lease(1_500), made, later), later + Duration::from_secs(600));
        let past = made + Duration::from_secs(10);
        assert_eq!(due(&lease(1), made, past), past + LOOK_MIN);
    }
}
