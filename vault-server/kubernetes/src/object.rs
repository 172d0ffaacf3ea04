//! The API server's objects, as far as they are of interest here.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    ApiError,
    index::{Observed, Pod},
    workload,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
}

#[derive(Deserialize)]
pub(crate) struct Namespace {
    metadata: Metadata,
}

impl Namespace {
    pub(crate) fn uid(answer: &[u8]) -> Result<String, ApiError> {
        let namespace: Self = read(answer)?;
        if namespace.metadata.uid.is_empty() {
            return Err(ApiError::Unreadable("a namespace without a UID".into()));
        }
        Ok(namespace.metadata.uid)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
    #[serde(rename = "continue", default)]
    next: String,
}

/// A page of pods.
#[derive(Deserialize)]
struct PodList<'a> {
    metadata: ListMetadata,
    // Absent or null would be a list that is not one; an empty one is `[]`.
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct PodObject {
    metadata: Metadata,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    node_name: Option<String>,
    #[serde(default)]
    service_account_name: String,
    #[serde(default)]
    volumes: Vec<Volume>,
}

#[derive(Deserialize)]
struct Volume {
    projected: Option<Projected>,
}

#[derive(Deserialize)]
struct Projected {
    // Null in what old versions wrote.
    sources: Option<Vec<Source>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    service_account_token: Option<TokenSource>,
}

#[derive(Deserialize)]
struct TokenSource {
    audience: Option<String>,
}

impl PodSpec {
    /// Whether a volume has a token for this audience in it.
    fn has_token_for(&self, audience: &str) -> bool {
        let sources = self.volumes.iter().filter_map(|volume| volume.projected.as_ref()?.sources.as_ref()).flatten();
        let mut audiences = sources.filter_map(|source| source.service_account_token.as_ref()?.audience.as_deref());
        audiences.any(|found| found == audience)
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct PodStatus {
    #[serde(default)]
    phase: String,
    #[serde(rename = "podIPs", default)]
    pod_ips: Vec<PodIp>,
}

#[derive(Deserialize)]
struct PodIp {
    ip: Option<String>,
}

/// A page of a list of pods.
pub(crate) struct Page {
    pub(crate) pods: Vec<(String, Observed)>,
    /// Where a watch goes on.
    pub(crate) version: String,
    /// What to ask for the next page with; empty where this is the last.
    pub(crate) next: String,
}

impl Page {
    pub(crate) fn read(answer: &[u8], audience: &str) -> Result<Self, ApiError> {
        let list: PodList<'_> = read(answer)?;
        let pods = list.items.into_iter().map(|item| Ok(pod(item, audience)?.0)).collect::<Result<_, ApiError>>()?;
        Ok(Self { pods, version: list.metadata.resource_version, next: list.metadata.next })
    }
}

/// One line of a watch.
pub(crate) enum Event {
    /// A pod is there, or another than before.
    Applied { uid: String, pod: Observed, version: String },
    /// A pod was deleted.
    Deleted { uid: String, version: String },
    /// Nothing happened.
    Bookmark { version: String },
    /// The server ends the watch, with this status.
    Error(u16),
}

#[derive(Deserialize)]
struct RawEvent<'a> {
    r#type: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

impl Event {
    pub(crate) fn read(line: &[u8], audience: &str) -> Result<Self, ApiError> {
        let event: RawEvent<'_> = read(line)?;
        let object = event.object.get().as_bytes();
        match event.r#type.as_str() {
            "ADDED" | "MODIFIED" => {
                let ((uid, pod), version) = pod(event.object, audience)?;
                Ok(Self::Applied { uid, pod, version })
            }
            "DELETED" => {
                let ((uid, _), version) = pod(event.object, audience)?;
                Ok(Self::Deleted { uid, version })
            }
            "BOOKMARK" => Ok(Self::Bookmark { version: read::<Bookmark>(object)?.metadata.resource_version }),
            "ERROR" => Ok(Self::Error(read::<Status>(object)?.code)),
            _ => Err(ApiError::Unreadable("an event of an unknown type".into())),
        }
    }
}

/// A pod's UID, what is kept of it, and its version.
fn pod(json: &RawValue, audience: &str) -> Result<((String, Observed), String), ApiError> {
    let object: PodObject = read(json.get().as_bytes())?;
    let version = object.metadata.resource_version;
    if object.metadata.uid.is_empty() {
        return Err(ApiError::Unreadable("a pod without a UID".into()));
    }
    if matches!(object.status.phase.as_str(), "Succeeded" | "Failed") {
        return Ok(((object.metadata.uid, Observed::Ended), version));
    }
    let ips: Vec<IpAddr> = object.status.pod_ips.into_iter().filter_map(|ip| ip.ip).filter_map(|ip| ip.parse().ok()).collect();
    // Most pods ask for nothing here, and a whole pod takes long to read.
    let workload = if object.spec.has_token_for(audience) { workload::read(json.get(), audience) } else { None };
    let pod = Pod {
        namespace: object.metadata.namespace.into(),
        name: object.metadata.name.into(),
        service_account: object.spec.service_account_name.into(),
        node: object.spec.node_name.map(Into::into),
        ips: ips.into(),
        workload,
    };
    Ok(((object.metadata.uid, Observed::Alive(pod)), version))
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(json).map_err(|error| ApiError::Unreadable(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::{Event, Namespace, Observed, Page};

    const POD: &str = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"api-1","namespace":"prod","uid":"p-1",
        "resourceVersion":"17","managedFields":[{"manager":"x"}]},"spec":{"nodeName":"n-1","serviceAccountName":"api",
        "containers":[{"name":"c"}]},"status":{"phase":"Running","podIP":"10.0.0.1",
        "podIPs":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}]}}"#;

    fn event(kind: &str, object: &str) -> Event {
        Event::read(format!(r#"{{"type":"{kind}","object":{object}}}"#).as_bytes(), "coffer").unwrap()
    }

    #[test]
    fn a_pod_is_read_with_what_identifies_it() {
        let Event::Applied { uid, pod: Observed::Alive(pod), version } = event("MODIFIED", POD) else { panic!("alive") };
        assert_eq!((uid.as_str(), version.as_str()), ("p-1", "17"));
        assert_eq!(
            (&*pod.namespace, &*pod.name, &*pod.service_account, pod.node.as_deref()),
            ("prod", "api-1", "api", Some("n-1"))
        );
        assert_eq!(*pod.ips, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
    }

    #[test]
    fn a_pod_that_has_run_its_course_has_ended() {
        for phase in ["Succeeded", "Failed"] {
            let object = POD.replace("Running", phase);
            assert!(matches!(event("MODIFIED", &object), Event::Applied { pod: Observed::Ended, .. }));
        }
        for phase in ["Pending", "Unknown", ""] {
            let object = POD.replace("Running", phase);
            assert!(matches!(event("ADDED", &object), Event::Applied { pod: Observed::Alive(_), .. }));
        }
    }

    #[test]
    fn the_other_events_are_told_apart() {
        assert!(matches!(event("DELETED", POD), Event::Deleted { uid, version } if uid == "p-1" && version == "17"));
        let bookmark = r#"{"kind":"Pod","metadata":{"resourceVersion":"18"}}"#;
        assert!(matches!(event("BOOKMARK", bookmark), Event::Bookmark { version } if version == "18"));
        assert!(matches!(event("ERROR", r#"{"kind":"Status","code":410}"#), Event::Error(410)));
        assert!(Event::read(br#"{"type":"OTHER","object":{}}"#, "coffer").is_err());
        assert!(Event::read(b"{", "coffer").is_err());
        assert!(Event::read(br#"{"type":"ADDED","object":{"metadata":{}}}"#, "coffer").is_err(), "no UID");
    }

    #[test]
    fn a_list_that_is_none_is_not_taken_for_an_empty_one() {
        let list = format!(r#"{{"metadata":{{"resourceVersion":"9","continue":"next"}},"items":[{POD}]}}"#);
        let page = Page::read(list.as_bytes(), "coffer").unwrap();
        assert_eq!((page.pods.len(), page.version.as_str(), page.next.as_str()), (1, "9", "next"));
        assert!(Page::read(br#"{"metadata":{"resourceVersion":"9"},"items":[]}"#, "coffer").unwrap().pods.is_empty());
        for wrong in [
            r#"{"metadata":{"resourceVersion":"9"}}"#,
            r#"{"metadata":{"resourceVersion":"9"},"items":null}"#,
            r#"{"metadata":{},"items":[]}"#,
            r#"{"kind":"Status","code":200}"#,
            "",
        ] {
            assert!(Page::read(wrong.as_bytes(), "coffer").is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_namespace_has_a_uid() {
        assert_eq!(Namespace::uid(br#"{"metadata":{"name":"kube-system","uid":"c-1"}}"#).unwrap(), "c-1");
        assert!(Namespace::uid(br#"{"metadata":{"name":"kube-system"}}"#).is_err());
    }
}
