//! The circumstances of a request, as policies see them.

use std::collections::BTreeSet;

use cedar_policy::{EntityId, EntityUid, RestrictedExpression};

use crate::clock::Timestamp;

/// Facts of few values, each with its name in policies; the first is what holds where nobody knows.
macro_rules! facts {
    ($($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $of:literal])+ $value:ident = $text:literal,)+ })+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub enum $name {
            /// Nobody knows, or it is too long ago.
            #[default]
            Unknown,
            $($(#[doc = $of])+ $value,)+
        }

        impl $name {
            /// The name in policies.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    Self::Unknown => UNKNOWN,
                    $(Self::$value => $text,)+
                }
            }
        }
    )+};
}

facts! {
    /// What the checks of an image found.
    ImageVerdict {
        /// The image passed.
        Passed = "passed",
        /// The image failed.
        Failed = "failed",
    }
    /// What the checks of a node found.
    HostPosture {
        /// The node passed.
        Passed = "passed",
        /// The node failed.
        Failed = "failed",
    }
    /// Whether something is switched on.
    Switch {
        /// It is off.
        Off = "off",
        /// It is on.
        On = "on",
    }
    /// The level of Pod Security that a pod keeps, the weakest first.
    PodSecurity {
        /// It keeps none.
        Privileged = "privileged",
        /// It keeps "baseline".
        Baseline = "baseline",
        /// It keeps "restricted".
        Restricted = "restricted",
    }
}

/// What is known about the images of a pod: of all containers that can get at its secrets together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ImageFacts {
    /// Passed where every image has, failed where one has failed.
    pub verdict: ImageVerdict,
    /// Whether each image is named by its digest.
    pub pinned: bool,
    /// Who has passed every one of them: names of signers.
    pub signers: BTreeSet<String>,
    /// When the image was looked at whose newest verdict is the oldest; `None` where one has not passed.
    pub scanned: Option<Timestamp>,
    /// When the first of the verdicts ends.
    pub until: Option<Timestamp>,
}

/// What is known about a node, by what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostFacts {
    /// Passed where every check of the gate tier has.
    pub posture: HostPosture,
    /// Whether the node swaps.
    pub swap: Switch,
    /// Ids of the checks of the gate tier that have not passed, in order.
    pub failing: Vec<String>,
    /// When that is too long ago.
    pub until: Timestamp,
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
    /// What is known about the pod's images.
    pub image: ImageFacts,
    /// What is known about its node.
    pub host: Option<HostFacts>,
    /// The level of Pod Security that the pod keeps.
    pub workload: PodSecurity,
    /// When the first of these facts expires; `None` where none does. No decision is remembered for longer.
    pub until: Option<Timestamp>,
}

const UNKNOWN: &str = "unknown";

impl Context {
    /// The context in Cedar; none where Cedar refuses a value, which none of these types allows.
    pub(super) fn to_cedar(&self) -> Option<cedar_policy::Context> {
        cedar_policy::Context::from_pairs([
            ("now".to_owned(), RestrictedExpression::new_long(seconds(Some(self.now)))),
            ("tenant".to_owned(), text(&self.tenant)),
            ("seal".to_owned(), text(&self.seal)),
            ("pod".to_owned(), pod(self.pod.as_ref())?),
            ("image".to_owned(), image(&self.image)?),
            ("host".to_owned(), host(self.host.as_ref())?),
            ("workload".to_owned(), record([("level", entity("PodSecurity", self.workload.name())?)])?),
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

fn image(image: &ImageFacts) -> Option<RestrictedExpression> {
    let signers = image.signers.iter().map(|signer| text(signer));
    record([
        ("verdict", entity("ImageVerdict", image.verdict.name())?),
        ("pinned", RestrictedExpression::new_bool(image.pinned)),
        ("signed_by", RestrictedExpression::new_set(signers)),
        ("scanned", RestrictedExpression::new_long(seconds(image.scanned))),
    ])
}

fn host(host: Option<&HostFacts>) -> Option<RestrictedExpression> {
    let posture = host.map_or(HostPosture::Unknown, |host| host.posture);
    let swap = host.map_or(Switch::Unknown, |host| host.swap);
    record([("posture", entity("HostPosture", posture.name())?), ("swap", entity("Switch", swap.name())?)])
}

/// Nothing is older than what is not known.
fn seconds(moment: Option<Timestamp>) -> i64 {
    moment.map_or(0, |moment| i64::try_from(moment.secs()).unwrap_or(i64::MAX))
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
