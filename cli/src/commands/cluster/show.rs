//! How a cluster looks.

use coffer_client::proto::{Cluster, ClusterSettings, PodCheck, key_source::Source as Keys};
use serde::Serialize;

use crate::output::{Table, View, pairs, rfc3339, since};

#[derive(Serialize)]
pub(super) struct Json<'a> {
    name: &'a str,
    id: &'a str,
    issuer: &'a str,
    audience: &'a str,
    keys_from: String,
    key_ids: &'a [String],
    api_server: Option<&'a str>,
    pod_check: &'static str,
    pod_cache: &'a str,
    node_agent: &'a str,
    created: Option<String>,
    etag: &'a str,
}

pub(super) fn json(cluster: &Cluster) -> Json<'_> {
    let settings = cluster.settings.as_ref();
    Json {
        name: &cluster.name,
        id: &cluster.id,
        issuer: settings.map_or("", |settings| &settings.issuer),
        audience: settings.map_or("", audience),
        keys_from: settings.map(keys_from).unwrap_or_default(),
        key_ids: &cluster.key_ids,
        api_server: settings.and_then(|settings| settings.api_server.as_ref()).map(|server| server.url.as_str()),
        pod_check: settings.map_or("", pod_check),
        pod_cache: &cluster.pod_cache,
        node_agent: settings.map_or("", |settings| &settings.node_agent),
        created: rfc3339(cluster.created.as_ref()),
        etag: &cluster.etag,
    }
}

fn audience(settings: &ClusterSettings) -> &str {
    if settings.audience.is_empty() { "coffer" } else { &settings.audience }
}

fn keys_from(settings: &ClusterSettings) -> String {
    match settings.keys.as_ref().and_then(|keys| keys.source.as_ref()) {
        Some(Keys::Jwks(_)) => "given".to_owned(),
        Some(Keys::Url(url)) => url.url.clone(),
        Some(Keys::ApiServer(_)) => "API server".to_owned(),
        None => String::new(),
    }
}

fn pod_check(settings: &ClusterSettings) -> &'static str {
    match settings.pod_check() {
        PodCheck::Unspecified if settings.api_server.is_some() => "cache",
        PodCheck::Unspecified | PodCheck::None => "none",
        PodCheck::Cache => "cache",
        PodCheck::TokenReview => "token-review",
    }
}

pub(super) fn one(cluster: &Cluster, view: &View) -> String {
    let settings = cluster.settings.clone().unwrap_or_default();
    let server = settings
        .api_server
        .as_ref()
        .map(|server| if server.url.is_empty() { "the cluster that the vault runs in".to_owned() } else { server.url.clone() });
    let mut text = pairs(&[
        ("Name", cluster.name.clone()),
        ("Id", cluster.id.clone()),
        ("Issuer", settings.issuer.clone()),
        ("Audience", audience(&settings).to_owned()),
        ("Keys from", keys_from(&settings)),
        ("Keys", cluster.key_ids.join(" ")),
        ("API server", server.unwrap_or_default()),
        ("Pod check", pod_check(&settings).to_owned()),
        ("Pod cache", cluster.pod_cache.clone()),
        ("Node agent", settings.node_agent.clone()),
        ("Age", since(cluster.created.as_ref(), view)),
    ]);
    if cluster.pod_cache == "confirm" {
        let name = &cluster.name;
        text.push_str(&format!(
            "\nMany pods went missing at once. Where they are really gone: coffer cluster confirm-pod-loss {name}\n"
        ));
    }
    text
}

pub(super) fn all(clusters: &[Cluster], view: &View) -> String {
    let mut table = Table::new(&["NAME", "ISSUER", "KEYS FROM", "POD CHECK", "POD CACHE", "AGE"]);
    for cluster in clusters {
        let settings = cluster.settings.clone().unwrap_or_default();
        table.row([
            cluster.name.clone(),
            settings.issuer.clone(),
            keys_from(&settings),
            pod_check(&settings).to_owned(),
            cluster.pod_cache.clone(),
            since(cluster.created.as_ref(), view),
        ]);
    }
    table.render(view, "No clusters.")
}

#[cfg(test)]
mod tests {
    use coffer_client::proto::{ApiServer, KeySource};

    use super::*;

    #[test]
    fn clusters_are_shown_with_where_keys_come_from() {
        let cluster = Cluster {
            name: "prod".into(),
            id: "0f".repeat(16),
            settings: Some(ClusterSettings {
                issuer: "https://kubernetes.default.svc".into(),
                audience: String::new(),
                keys: Some(KeySource { source: Some(Keys::ApiServer(true)) }),
                api_server: Some(ApiServer::default()),
                pod_check: PodCheck::Unspecified.into(),
                node_agent: String::new(),
            }),
            created: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            key_ids: vec!["k1".into()],
            pod_cache: "confirm".into(),
            etag: "e".into(),
        };
        let view = View { now: jiff::Timestamp::from_second(30).unwrap(), width: None };
        let text = anstream::adapter::strip_str(&all(std::slice::from_ref(&cluster), &view)).to_string();
        assert_eq!(
            text,
            "NAME  ISSUER                          KEYS FROM   POD CHECK  POD CACHE  AGE\n\
             prod  https://kubernetes.default.svc  API server  cache      confirm    30s\n"
        );
        assert!(one(&cluster, &view).contains("coffer cluster confirm-pod-loss prod"));
        assert_eq!(serde_json::to_value(json(&cluster)).unwrap().pointer("/audience").unwrap(), "coffer");
    }
}
