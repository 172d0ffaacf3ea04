//! API servers and etcds, by their command lines and the files that these name.

use serde_json::Value;

use super::{
    arguments::Arguments,
    document::{self, Form, texts},
    processes::{Process, Processes},
};
use crate::host::{
    Root,
    facts::{ApiServer, AuditRule, Etcd, Fact, List, Text},
};

/// What can encrypt Secrets.
const PROVIDERS: [&str; 5] = ["identity", "aescbc", "aesgcm", "secretbox", "kms"];

/// All API servers that run here. They run in containers, too.
pub(super) fn api_servers(root: &Root, processes: &Processes) -> Fact<List<ApiServer>> {
    let running = processes.anywhere("kube-apiserver");
    if running.is_empty() {
        let traces = ["/etc/kubernetes/manifests/kube-apiserver.yaml", "/etc/kubernetes/manifests/kube-apiserver.yml"];
        return processes.embedding("API server").unwrap_or_else(|| processes.without(root, "API server", &traces));
    }
    List::known(running.into_iter().map(|process| api_server(root, process)))
}

fn list(entries: Vec<&str>) -> List<Text> {
    List::first(entries.into_iter().map(Text::cut))
}

fn switch(arguments: Arguments<'_>, flag: &str, default: bool) -> Fact<bool> {
    match arguments.switch(flag) {
        None => Fact::Known(default),
        Some(Ok(value)) => Fact::Known(value),
        Some(Err(other)) => Fact::unknown(format!("--{flag} is {other}")),
    }
}

fn api_server(root: &Root, process: &Process) -> ApiServer {
    let arguments = Arguments(&process.arguments);
    let path = |flag: &str| arguments.text(flag).filter(|path| !path.is_empty()).map(|path| process.path(root, path));
    let read = |path: String| match document::read(root, &path, Form::Yaml) {
        // In a container it may be elsewhere.
        Fact::Absent => Fact::unknown(format!("there is no {path}, which the API server was told of")),
        read => read,
    };
    let modes = arguments.list("authorization-mode");
    ApiServer {
        admission_enabled: list(arguments.list("enable-admission-plugins")),
        admission_disabled: list(arguments.list("disable-admission-plugins")),
        authorization: match path("authorization-config") {
            Some(path) => read(path).and_then(|settings| {
                let all = settings.get("authorizers").and_then(Value::as_array).into_iter().flatten();
                List::known(all.filter_map(|authorizer| authorizer.get("type").and_then(Value::as_str)).map(Text::cut))
            }),
            None if modes.is_empty() => Fact::Absent,
            None => Fact::Known(list(modes)),
        },
        anonymous: match path("authentication-config") {
            Some(path) => read(path).and_then(|settings| anonymous(arguments, &settings)),
            None => switch(arguments, "anonymous-auth", true),
        },
        has_token_file: path("token-auth-file").is_some(),
        encryption: path("encryption-provider-config")
            .map_or(Fact::Absent, |path| read(path).and_then(|settings| encryption(&settings))),
        audit: path("audit-policy-file").map_or(Fact::Absent, |path| read(path).and_then(|settings| audit(&settings))),
        profiling: switch(arguments, "profiling", true),
    }
}

/// An AuthenticationConfiguration can keep anonymous requests to paths of health.
fn anonymous(arguments: Arguments<'_>, settings: &Value) -> Fact<bool> {
    let Some(anonymous) = settings.get("anonymous") else { return switch(arguments, "anonymous-auth", true) };
    let is_health = |path: &Value| matches!(path.get("path").and_then(Value::as_str), Some("/livez" | "/readyz" | "/healthz"));
    let conditions = anonymous.get("conditions").and_then(Value::as_array).filter(|list| !list.is_empty());
    match anonymous.get("enabled").and_then(Value::as_bool) {
        Some(false) => Fact::Known(false),
        Some(true) => Fact::Known(!conditions.is_some_and(|conditions| conditions.iter().all(is_health))),
        None => Fact::unknown("anonymous.enabled is neither true nor false"),
    }
}

/// The providers for Secrets, in order: their names, and nothing of their keys.
fn encryption(settings: &Value) -> Fact<List<Text>> {
    let is_for_secrets =
        |entry: &&Value| texts(entry, "/resources").into_iter().any(|name| matches!(name, "secrets" | "*." | "*.*"));
    let entries = settings.get("resources").and_then(Value::as_array).into_iter().flatten();
    let Some(entry) = entries.into_iter().find(is_for_secrets) else { return Fact::Absent };
    let providers = entry.get("providers").and_then(Value::as_array).into_iter().flatten();
    let names = providers.filter_map(Value::as_object).filter_map(|provider| provider.keys().next());
    // Nothing that somebody may have written there by mistake.
    let known = |name: &String| PROVIDERS.into_iter().find(|known| known == name).unwrap_or("one that is not known");
    List::known(names.map(|name| Text::cut(known(name))))
}

fn audit(settings: &Value) -> Fact<List<AuditRule>> {
    let rules = settings.get("rules").and_then(Value::as_array).into_iter().flatten();
    List::known(rules.map(|rule| {
        let has = |name: &str| rule.get(name).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
        let groups = rule.get("resources").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let is_core = |group: &&Value| group.get("group").and_then(Value::as_str).unwrap_or_default().is_empty();
        let of_secrets = |group: &Value| {
            let names = texts(group, "/resources");
            names.is_empty() || names.iter().any(|name| matches!(*name, "secrets" | "*"))
        };
        let some = |group: &&Value| is_core(group) && of_secrets(group);
        let every =
            |group: &&Value| some(group) && group.get("resourceNames").and_then(Value::as_array).is_none_or(Vec::is_empty);
        // A rule for paths that are no resources is for no Secret.
        let is_about_paths = has("nonResourceURLs") && groups.is_empty();
        let is_narrow = ["users", "userGroups", "verbs", "namespaces"].into_iter().any(has);
        AuditRule {
            level: Text::cut(rule.get("level").and_then(Value::as_str).unwrap_or_default()),
            may_match: !is_about_paths && (groups.is_empty() || groups.iter().any(|group| some(&group))),
            matches_all: !is_about_paths && !is_narrow && (groups.is_empty() || groups.iter().any(|group| every(&group))),
        }
    }))
}

/// All etcds that run here.
pub(super) fn etcds(root: &Root, processes: &Processes) -> Fact<List<Etcd>> {
    let running = processes.anywhere("etcd");
    if running.is_empty() {
        let traces = ["/etc/kubernetes/manifests/etcd.yaml", "/var/lib/etcd/member"];
        return processes.embedding("etcd").unwrap_or_else(|| processes.without(root, "etcd", &traces));
    }
    List::known(running.into_iter().map(|process| etcd(root, process)))
}

fn etcd(root: &Root, process: &Process) -> Etcd {
    let arguments = Arguments(&process.arguments);
    let data_dir = Text::cut(&process.path(root, arguments.text("data-dir").unwrap_or("default.etcd")));
    if arguments.text("config-file").is_some() {
        // Flags beside a file count for nothing.
        let unknown = || Fact::unknown("etcd is set up by a file, which is not read");
        return Etcd { data_dir, client_tls: unknown(), client_auth: unknown(), peer_auth: unknown(), auto_tls: unknown() };
    }
    let is_tls = |flag: &str, default: &str| {
        let urls = arguments.list(flag);
        let urls = if urls.is_empty() { vec![default] } else { urls };
        urls.iter().all(|url| url.starts_with("https://") || url.starts_with("unixs://"))
    };
    let is_set = |flag: &str| arguments.text(flag).is_some_and(|path| !path.is_empty());
    let auto = [switch(arguments, "auto-tls", false), switch(arguments, "peer-auto-tls", false)];
    let peers = arguments.list("initial-cluster").len();
    let [auto_tls, peer_auto_tls] = auto;
    let either = |other: bool| peer_auto_tls.map(|peer| peer || other);
    Etcd {
        data_dir,
        client_tls: Fact::Known(
            is_tls("listen-client-urls", "http://localhost:2379") && is_set("cert-file") && is_set("key-file"),
        ),
        client_auth: switch(arguments, "client-cert-auth", false).map(|is_on| is_on && is_set("trusted-ca-file")),
        peer_auth: match peers {
            // Nobody else is waited for; what is told to join later comes by the same flags.
            0 | 1 if is_local(&arguments.list("listen-peer-urls")) => Fact::Known(true),
            _ => switch(arguments, "peer-client-cert-auth", false)
                .map(|is_on| is_on && is_tls("listen-peer-urls", "http://localhost:2380") && is_set("peer-trusted-ca-file")),
        },
        auto_tls: auto_tls.and_then(either),
    }
}

fn is_local(urls: &[&str]) -> bool {
    urls.iter().all(|url| ["http://localhost:", "http://127.0.0.1:", "http://[::1]:"].iter().any(|start| url.starts_with(start)))
}
