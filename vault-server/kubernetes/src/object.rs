//! The API server's objects, as far as they are of interest here.

use std::net::IpAddr;

use serde::Deserialize;

use crate::{
    ApiError,
    index::{Observed, Pod},
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
struct PodList {
    metadata: ListMetadata,
    // Absent or null would be a list that is not one; an empty one is `[]`.
    items: Vec<PodObject>,
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
    pub(crate) fn read(answer: &[u8]) -> Result<Self, ApiError> {
        let list: PodList = read(answer)?;
        let pods = list.items.into_iter().map(PodObject::observe).collect::<Result<_, _>>()?;
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
    object: &'a serde_json::value::RawValue,
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
    pub(crate) fn read(line: &[u8]) -> Result<Self, ApiError> {
        let event: RawEvent<'_> = read(line)?;
        let object = event.object.get().as_bytes();
        match event.r#type.as_str() {
            "ADDED" | "MODIFIED" => {
                let object: PodObject = read(object)?;
                let version = object.metadata.resource_version.clone();
                let (uid, pod) = object.observe()?;
                Ok(Self::Applied { uid, pod, version })
            }
            "DELETED" => {
                let object: PodObject = read(object)?;
                let version = object.metadata.resource_version.clone();
                Ok(Self::Deleted { uid: object.observe()?.0, version })
            }
            "BOOKMARK" => Ok(Self::Bookmark { version: read::<Bookmark>(object)?.metadata.resource_version }),
            "ERROR" => Ok(Self::Error(read::<Status>(object)?.code)),
            _ => Err(ApiError::Unreadable("an event of an unknown type".into())),
        }
    }
}

impl PodObject {
    fn observe(self) -> Result<(String, Observed), ApiError> {
        if self.metadata.uid.is_empty() {
            return Err(ApiError::Unreadable("a pod without a UID".into()));
        }
        if matches!(self.status.phase.as_str(), "Succeeded" | "Failed") {
            return Ok((self.metadata.uid, Observed::Ended));
        }
        let ips: Vec<IpAddr> = self.status.pod_ips.into_iter().filter_map(|ip| ip.ip).filter_map(|ip| ip.parse().ok()).collect();
        let pod = Pod {
            namespace: self.metadata.namespace.into(),
            name: self.metadata.name.into(),
            service_account: self.spec.service_account_name.into(),
            node: self.spec.node_name.map(Into::into),
            ips: ips.into(),
        };
        Ok((self.metadata.uid, Observed::Alive(pod)))
    }
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
        Event::read(format!(r#"{{"type":"{kind}","object":{object}}}"#).as_bytes()).unwrap()
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
        assert!(Event::read(br#"{"type":"OTHER","object":{}}"#).is_err());
        assert!(Event::read(b"{").is_err());
        assert!(Event::read(br#"{"type":"ADDED","object":{"metadata":{}}}"#).is_err(), "no UID");
    }

    #[test]
    fn a_list_that_is_none_is_not_taken_for_an_empty_one() {
        let list = format!(r#"{{"metadata":{{"resourceVersion":"9","continue":"next"}},"items":[{POD}]}}"#);
        let page = Page::read(list.as_bytes()).unwrap();
        assert_eq!((page.pods.len(), page.version.as_str(), page.next.as_str()), (1, "9", "next"));
        assert!(Page::read(br#"{"metadata":{"resourceVersion":"9"},"items":[]}"#).unwrap().pods.is_empty());
        for wrong in [
            r#"{"metadata":{"resourceVersion":"9"}}"#,
            r#"{"metadata":{"resourceVersion":"9"},"items":null}"#,
            r#"{"metadata":{},"items":[]}"#,
            r#"{"kind":"Status","code":200}"#,
            "",
        ] {
            assert!(Page::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_namespace_has_a_uid() {
        assert_eq!(Namespace::uid(br#"{"metadata":{"name":"kube-system","uid":"c-1"}}"#).unwrap(), "c-1");
        assert!(Namespace::uid(br#"{"metadata":{"name":"kube-system"}}"#).is_err());
    }
}
