//! What an entry of the log says. docs/audit.md describes every member.

use std::{collections::BTreeMap, fmt};

use coffer_core::{
    clock::Timestamp,
    id::{RequestId, SessionId},
};
use coffer_crypto::{hash::HmacKey, key::Key};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The last moment that RFC 3339 can write, in milliseconds: the end of the year 9999, less jiff's margin of a day.
const TIME_MILLIS_MAX: u64 = 253_402_207_200_000;

/// A moment, written as in RFC 3339 with milliseconds, in UTC: texts of moments sort as the moments do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(Timestamp);

impl Time {
    /// The moment.
    #[must_use]
    pub const fn timestamp(self) -> Timestamp {
        self.0
    }
}

impl From<Timestamp> for Time {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp.min(Timestamp::from_millis(TIME_MILLIS_MAX)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0.millis()).map_err(|_| fmt::Error)?;
        let time = jiff::Timestamp::from_millisecond(millis).map_err(|_| fmt::Error)?;
        write!(f, "{time:.3}")
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
        let millis = u64::try_from(time.as_millisecond()).map_err(D::Error::custom)?;
        Ok(Timestamp::from_millis(millis).into())
    }
}

/// What kind of thing is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A request and its answer: nothing of the answer left before this was durable.
    Request,
    /// Something that the vault did without being asked.
    Event,
    /// Failures of callers that could not say who they are, counted together.
    Strangers,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done.
    Ok,
    /// It was not permitted.
    Denied,
    /// It failed.
    Error,
}

/// The pod that asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// The registered cluster's id.
    pub cluster: String,
    /// The namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's UID.
    pub uid: String,
    /// The service account's UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_uid: Option<String>,
    /// The node's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Members that a later build wrote.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}

/// How often it happened, where one record stands for many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeated {
    /// How often.
    pub count: u64,
    /// When first.
    pub first: Time,
    /// When last.
    pub last: Time,
}

/// What an entry says. It never holds a value of a secret: [`value_hmacs`](Self::value_hmacs) is the closest it gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When it was recorded, by the vault's clock.
    pub time: Time,
    /// The record's own id: of a request, the id that the caller was told.
    pub id: RequestId,
    /// The request in whose course it happened, where that has a record of its own: a later message of a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RequestId>,
    /// What is recorded.
    pub kind: Kind,
    /// The call, as `coffer.v1.KvService/Read`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpc: Option<String>,
    /// The action, as policy names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Who asked, as grants name principals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The pod that asked, of a workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// The tenant's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The address that the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The path, or another name of what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// The code of the reason, where it did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The grants and policies that decided, by id or name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// What else is worth knowing. Never a value of a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
    /// Names of fields, and the keyed hashes of their values ([`ValueHasher`]).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub value_hmacs: BTreeMap<String, String>,
    /// How often, where one record stands for many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeated: Option<Repeated>,
    /// Members that a later build wrote: kept, so that copying a record loses nothing.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}

impl Record {
    /// A record with what every one has, and nothing else.
    #[must_use]
    pub fn new(time: Timestamp, id: RequestId, kind: Kind, outcome: Outcome) -> Self {
        Self {
            time: time.into(),
            id,
            parent: None,
            kind,
            rpc: None,
            action: None,
            principal: None,
            pod: None,
            tenant: None,
            session: None,
            peer: None,
            resource: None,
            outcome,
            reason: None,
            rules: Vec::new(),
            details: BTreeMap::new(),
            value_hmacs: BTreeMap::new(),
            repeated: None,
            unknown: BTreeMap::new(),
        }
    }
}

/// An entry of the log: a record and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The position, from 0.
    pub index: u64,
    /// What it says.
    #[serde(flatten)]
    pub record: Record,
}

/// Hashes values for the log: HMAC-SHA256 under a tenant's own key, so that equal values of a tenant can be seen to be
/// equal, and nobody without the key can try out values.
#[derive(Debug)]
pub struct ValueHasher(HmacKey);

impl ValueHasher {
    /// Hashes under this key, derived for this use and this tenant alone.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        Self(HmacKey::new(key.expose()))
    }

    /// The hash of a value: 64 hexadecimal digits.
    #[must_use]
    pub fn hash(&self, value: &[u8]) -> String {
        hex::encode(self.0.tag(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Record {
        let time = Timestamp::from_millis(1_795_000_000_123);
        let id = RequestId::from_bytes([1; 16]);
        Record {
            parent: Some(RequestId::from_bytes([2; 16])),
            rpc: Some("coffer.v1.KvService/Read".into()),
            action: Some("read".into()),
            principal: Some("k8s:prod/payments/api".into()),
            pod: Some(Pod {
                cluster: "c".into(),
                namespace: "payments".into(),
                name: "api-0".into(),
                uid: "u".into(),
                service_account_uid: Some("s".into()),
                node: Some("n".into()),
                unknown: BTreeMap::new(),
            }),
            tenant: Some("default".into()),
            session: Some(SessionId::from_bytes([3; 16])),
            peer: Some("10.0.0.1:1234".into()),
            resource: Some("kv/prod/\u{fc}".into()),
            reason: Some("NOT_FOUND_OR_DENIED".into()),
            rules: vec!["g".into()],
            details: [("version".to_owned(), "3".to_owned())].into(),
            value_hmacs: [("password".to_owned(), "00".to_owned())].into(),
            repeated: Some(Repeated { count: 3, first: time.into(), last: time.into() }),
            ..Record::new(time, id, Kind::Request, Outcome::Denied)
        }
    }

    #[test]
    fn a_record_reads_what_it_writes() {
        for record in [full(), Record::new(Timestamp::from_millis(0), full().id, Kind::Event, Outcome::Ok)] {
            let entry = Entry { index: 7, record };
            let text = serde_json::to_string(&entry).unwrap();
            assert!(text.starts_with("{\"index\":7,\"time\":\""), "{text}");
            assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry);
        }
    }

    #[test]
    fn members_of_later_builds_survive() {
        let text = serde_json::to_string(&full()).unwrap().replacen("\"uid\"", "\"image\":\"sha256:1\",\"uid\"", 1);
        let text = format!("{},\"zone\":{{\"name\":\"a\",\"list\":[1,2]}}}}", text.strip_suffix('}').unwrap());
        let read: Record = serde_json::from_str(&text).unwrap();
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&serde_json::to_string(&read).unwrap()), value(&text));
    }

    #[test]
    fn times_are_of_fixed_width_and_sort_as_texts() {
        let text = |millis| Time::from(Timestamp::from_millis(millis)).to_string();
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_795_000_000_120), "2026-11-18T11:06:40.120Z");
        assert!(text(999) < text(1_000) && text(1_000) < text(1_001));
        assert_eq!(text(u64::MAX).len(), text(0).len());
        let last = Time::from(Timestamp::from_millis(u64::MAX));
        assert_eq!(serde_json::from_str::<Time>(&serde_json::to_string(&last).unwrap()).unwrap(), last);
    }

    #[test]
    fn equal_values_hash_alike_under_one_key_only() {
        let hasher = |byte| ValueHasher::new(&Key::from_bytes([byte; 32]));
        assert_eq!(hasher(1).hash(b"hunter2"), hasher(1).hash(b"hunter2"));
        assert_ne!(hasher(1).hash(b"hunter2"), hasher(2).hash(b"hunter2"));
        assert_ne!(hasher(1).hash(b"hunter2"), hasher(1).hash(b"hunter3"));
        assert_eq!(hasher(1).hash(b"").len(), 64);
    }
}
