//! A credential as the vault makes it, and how long it lasts.

use std::{collections::BTreeMap, fmt, time::Duration, time::SystemTime};

use coffer_proto::v1::{self, IssueCredentialResponse};
use coffer_secret::SecretBytes;

use crate::error::Error;

/// A credential. The values are wiped when it is dropped.
pub struct Credential {
    /// The fields: name to value; `username` and `password` for a database, `certificate`, `private_key`, `ca_chain` and
    /// `serial` for a certificate.
    pub fields: BTreeMap<String, SecretBytes>,
    /// When it was made, by the vault's clock.
    pub issued: SystemTime,
    /// When it ends, by the vault's clock.
    pub expires: SystemTime,
    /// How long it lasts from when it was made: needs no clock that is right.
    pub lasts: Duration,
    /// Its lease; none for a certificate, which cannot be made to last longer.
    pub lease: Option<Lease>,
    /// Its version, for one that everybody shares and that is rotated; 0 for others.
    pub version: u64,
}

/// How long a credential lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The id.
    pub id: String,
    /// When it was made, by the vault's clock.
    pub issued: SystemTime,
    /// When it ends, by the vault's clock.
    pub expires: SystemTime,
    /// How long it lasts from when it was made: needs no clock that is right.
    pub lasts: Duration,
    /// The same where it is renewed as often as it can be.
    pub lasts_at_most: Duration,
}

/// A credential is looked at no sooner than this after it was made or renewed.
const LOOK_MIN: Duration = Duration::from_millis(500);
/// The directory of paths below which credentials are that all share.
const SHARED: &str = "static-creds";

/// When to renew, or replace, a credential that has so much of its life left: after two thirds of that, so that the last
/// third is there to do it in; never at once.
#[must_use]
pub fn renew_after(left: Duration) -> Duration {
    (left / 3 * 2).max(LOOK_MIN)
}

/// Whether a credential's path is that of one which all share: `MOUNT/static-creds/NAME`.
#[must_use]
pub fn is_shared_credential(path: &str) -> bool {
    path.split('/').nth(1) == Some(SHARED)
}

impl Lease {
    /// Whether a renewal of it came to nothing, or was the last that comes to anything: then the credential is replaced.
    #[must_use]
    pub fn lasts_no_longer(&self, renewed: &Self) -> bool {
        renewed.lasts <= self.lasts || renewed.lasts >= renewed.lasts_at_most
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("expires", &self.expires).field("lease", &self.lease).finish_non_exhaustive()
    }
}

fn time(time: Option<prost_types::Timestamp>) -> Result<SystemTime, Error> {
    let time = time.and_then(|time| SystemTime::try_from(time).ok());
    time.ok_or_else(|| Error::protocol("the vault's answer does not name a time"))
}

impl TryFrom<v1::Lease> for Lease {
    type Error = Error;

    fn try_from(lease: v1::Lease) -> Result<Self, Error> {
        let (issued, expires, at_most) = (time(lease.issued)?, time(lease.expires)?, time(lease.expires_at_most)?);
        let since = |end: SystemTime| end.duration_since(issued).unwrap_or_default();
        Ok(Self { id: lease.id, issued, expires, lasts: since(expires), lasts_at_most: since(at_most) })
    }
}

impl TryFrom<IssueCredentialResponse> for Credential {
    type Error = Error;

    fn try_from(answer: IssueCredentialResponse) -> Result<Self, Error> {
        let fields = answer.fields.into_iter().map(|(name, value)| (name, SecretBytes::from(value))).collect();
        let lease = answer.lease.map(Lease::try_from).transpose()?;
        // A vault of before there were credentials without leases tells times in the lease alone.
        let (issued, expires) = match (&lease, answer.issued, answer.expires) {
            (Some(lease), None, None) => (lease.issued, lease.expires),
            (_, issued, expires) => (time(issued)?, time(expires)?),
        };
        let lasts = expires.duration_since(issued).unwrap_or_default();
        Ok(Self { fields, issued, expires, lasts, lease, version: answer.version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    #[test]
    fn a_credential_says_how_long_it_lasts_with_a_lease_and_without() {
        let lease = v1::Lease {
            id: "a/creds/b/0".into(),
            issued: at(100),
            expires: at(160),
            expires_at_most: at(300),
            ..Default::default()
        };
        let certificate = IssueCredentialResponse { issued: at(100), expires: at(160), ..Default::default() };
        let of_before = IssueCredentialResponse { lease: Some(lease.clone()), ..Default::default() };
        let user = IssueCredentialResponse { lease: Some(lease), issued: at(100), expires: at(160), ..Default::default() };
        for (answer, leased) in [(certificate, false), (of_before, true), (user, true)] {
            let credential = Credential::try_from(answer).unwrap();
            assert_eq!((credential.lasts, credential.lease.is_some()), (Duration::from_secs(60), leased));
        }
        assert!(Credential::try_from(IssueCredentialResponse::default()).is_err(), "that would last for ever");
        let half = IssueCredentialResponse { issued: at(100), ..Default::default() };
        assert!(Credential::try_from(half).is_err());
    }

    #[test]
    fn a_credential_is_looked_at_after_two_thirds_of_what_is_left_and_never_at_once() {
        assert_eq!(renew_after(Duration::from_secs(900)), Duration::from_secs(600));
        assert_eq!(renew_after(Duration::from_millis(600)), LOOK_MIN);
        assert_eq!(renew_after(Duration::ZERO), LOOK_MIN);
    }

    #[test]
    fn a_lease_that_is_at_its_end_is_renewed_no_further() {
        let lasting = |secs, most| Lease {
            id: String::new(),
            issued: SystemTime::UNIX_EPOCH,
            expires: SystemTime::UNIX_EPOCH,
            lasts: Duration::from_secs(secs),
            lasts_at_most: Duration::from_secs(most),
        };
        assert!(!lasting(60, 300).lasts_no_longer(&lasting(100, 300)));
        assert!(lasting(60, 300).lasts_no_longer(&lasting(60, 300)));
        assert!(lasting(60, 300).lasts_no_longer(&lasting(300, 300)));
    }

    #[test]
    fn what_is_shared_shows_in_the_path() {
        assert!(is_shared_credential("database/static-creds/app"));
        assert!(!is_shared_credential("database/creds/static-creds") && !is_shared_credential("static-creds"));
    }
}
