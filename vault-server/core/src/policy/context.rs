//! The circumstances of a request, as policies see them.

use cedar_policy::{EntityId, EntityUid, RestrictedExpression};

use crate::clock::Timestamp;

/// What the checks of an image found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ImageVerdict {
    /// Nobody looked, or it is too long ago.
    #[default]
    Unknown,
    /// The image passed.
    Passed,
    /// The image failed.
    Failed,
}

impl ImageVerdict {
    /// The name in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => UNKNOWN,
            Self::Passed => "passed",
            Self::Failed => "failed",
        }
    }
}

/// What the checks of a node found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum HostPosture {
    /// Nobody looked, or it is too long ago.
    #[default]
    Unknown,
    /// The node passed.
    Passed,
    /// The node failed.
    Failed,
}

impl HostPosture {
    /// The name in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => UNKNOWN,
            Self::Passed => "passed",
            Self::Failed => "failed",
        }
    }
}

/// What is known about the pod that asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodFacts {
    /// The pod's name.
    pub name: String,
    /// The pod's UID.
    pub uid: String,
    /// The node that it runs on.
    pub node: String,
    /// The UID of its service account.
    pub service_account_uid: String,
}

/// The circumstances of a request. In policies every attribute is always there, with an explicit `unknown`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Context {
    /// The present moment.
    pub now: Timestamp,
    /// The tenant's name.
    pub tenant: String,
    /// How the vault is sealed: `shamir`, `static-key` and so on.
    pub seal: String,
    /// The pod that asks; `None` for operators, and where the token names no pod.
    pub pod: Option<PodFacts>,
    /// The verdict about the image.
    pub image: ImageVerdict,
    /// The posture of the host.
    pub host: HostPosture,
    /// When the first of these facts expires; `None` where none does. No decision is remembered for longer.
    pub until: Option<Timestamp>,
}

const UNKNOWN: &str = "unknown";

impl Context {
    /// The context in Cedar; none where Cedar refuses a value, which none of these types allows.
    pub(super) fn to_cedar(&self) -> Option<cedar_policy::Context> {
        let now = i64::try_from(self.now.secs()).unwrap_or(i64::MAX);
        let image = entity("ImageVerdict", self.image.name())?;
        let host = entity("HostPosture", self.host.name())?;
        cedar_policy::Context::from_pairs([
            ("now".to_owned(), RestrictedExpression::new_long(now)),
            ("tenant".to_owned(), text(&self.tenant)),
            ("seal".to_owned(), text(&self.seal)),
            ("pod".to_owned(), pod(self.pod.as_ref())?),
            ("image".to_owned(), record([("verdict", image)])?),
            ("host".to_owned(), record([("posture", host)])?),
        ])
        .ok()
    }
}

fn pod(pod: Option<&PodFacts>) -> Option<RestrictedExpression> {
    let fact = |fact: fn(&PodFacts) -> &str| text(pod.map_or(UNKNOWN, fact));
    record([
        ("known", RestrictedExpression::new_bool(pod.is_some())),
        ("name", fact(|pod| &pod.name)),
        ("uid", fact(|pod| &pod.uid)),
        ("node", fact(|pod| &pod.node)),
        ("service_account_uid", fact(|pod| &pod.service_account_uid)),
    ])
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn entity(kind: &str, id: &str) -> Option<RestrictedExpression> {
    let uid = EntityUid::from_type_name_and_id(kind.parse().ok()?, EntityId::new(id));
    Some(RestrictedExpression::new_entity_uid(uid))
}

fn record<const N: usize>(fields: [(&str, RestrictedExpression); N]) -> Option<RestrictedExpression> {
    RestrictedExpression::new_record(fields.map(|(name, value)| (name.to_owned(), value))).ok()
}
