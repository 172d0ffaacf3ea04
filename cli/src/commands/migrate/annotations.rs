//! What annotations of vault-k8s are called here.

use std::collections::{BTreeMap, BTreeSet};

/// What the names of the old ones begin with.
pub(super) const PREFIX: &str = "vault.hashicorp.com/";
const OURS: &str = "coffer.dev/";

/// Annotations that are the same thing under another name.
const RENAMED: &[(&str, &str)] = &[
    ("agent-inject", "inject"),
    ("agent-inject-containers", "containers"),
    ("secret-volume-path", "path"),
    ("agent-limits-cpu", "limits-cpu"),
    ("agent-limits-mem", "limits-memory"),
    ("agent-requests-cpu", "requests-cpu"),
    ("agent-requests-mem", "requests-memory"),
    ("agent-pre-populate-only", "init-only"),
    ("agent-revoke-on-shutdown", "revoke-on-exit"),
    ("namespace", "tenant"),
    ("log-level", "log-level"),
];

/// Annotations that nobody needs here, and why.
const NEEDLESS: &[(&str, &str)] = &[
    ("agent-inject-status", "the injector writes its own"),
    ("agent-init-first", "the agent is always first"),
    ("agent-pre-populate", "the sidecar holds the application back until the files are there"),
    ("agent-run-as-same-user", "the agent has the application's user"),
    ("agent-set-security-context", "the agent always has a closed one"),
    ("agent-share-process-namespace", "coffer.dev/notify-signal brings it"),
    ("agent-inject-default-template", "files are JSON, or what coffer.dev/format-NAME says"),
    ("template-config-exit-on-retry-failure", "the agent tries for as long as it takes, and files stay"),
    ("template-static-secret-render-interval", "changes are pushed, within a second"),
    ("template-max-connections-per-host", "there is one connection"),
    ("template-lease-renewal-threshold", "credentials are renewed at two thirds of their life"),
    ("auth-type", "pods log in with their service account's token"),
    ("auth-path", "pods log in with their service account's token"),
    ("agent-service-account-token-volume-name", "the token is one for Coffer alone"),
    ("agent-cache-enable", "the agent is no proxy"),
    ("agent-enable-quit", "native sidecars end by themselves"),
    ("tls-skip-verify", "certificates are always checked"),
    ("ca-cert", "the injector brings the vault's CA certificates"),
    ("tls-secret", "the injector brings the vault's CA certificates"),
];

/// Annotations of the old injector that are about a file, by what comes before its name.
const OF_FILES: [&str; 9] = [
    "agent-inject-secret-",
    "agent-inject-template-file-",
    "agent-inject-template-",
    "agent-inject-file-",
    "agent-inject-perms-",
    "agent-inject-command-",
    "secret-volume-path-",
    "preserve-secret-case-",
    "error-on-missing-key-",
];

/// What became of annotations.
#[derive(Debug, Default)]
pub(super) struct Converted {
    /// The new ones, with their whole names.
    pub(super) annotations: Vec<(String, String)>,
    /// The old one, what there is to say of it, and whether it is lost.
    pub(super) notes: Vec<(String, String, bool)>,
}

impl Converted {
    fn set(&mut self, name: impl AsRef<str>, value: impl Into<String>) {
        self.annotations.push((format!("{OURS}{}", name.as_ref()), value.into()));
    }

    fn note(&mut self, name: &str, what: impl Into<String>) {
        self.notes.push((name.to_owned(), what.into(), false));
    }

    fn lose(&mut self, name: &str, what: impl Into<String>) {
        self.notes.push((name.to_owned(), what.into(), true));
    }
}

/// The annotations of one object, by their names without the prefix.
pub(super) fn converted(old: &BTreeMap<String, String>, mounts: &BTreeMap<String, String>) -> Converted {
    let mut new = Converted::default();
    let mut rest: BTreeSet<&str> = old.keys().map(String::as_str).collect();
    for (name, ours) in RENAMED {
        if let Some(value) = old.get(*name) {
            rest.remove(name);
            match *name {
                "agent-revoke-on-shutdown" | "agent-pre-populate-only" if value == "false" => {}
                "log-level" if value == "trace" || ["error", "warn", "info", "debug"].contains(&value.as_str()) => {
                    new.set(ours, value)
                }
                "log-level" => new.lose(name, "levels are error, warn, info, debug and trace"),
                _ => new.set(ours, value),
            }
        }
    }
    let whole = |name: &str| old.get(name).map(String::as_str);
    if let Some(user) = whole("agent-run-as-user") {
        rest.remove("agent-run-as-user");
        let group = whole("agent-run-as-group").map(|group| format!(":{group}")).unwrap_or_default();
        new.set("owner", format!("{user}{group}"));
    }
    rest.remove("agent-run-as-group");
    if rest.remove("service") {
        new.note("service", "the injector knows where the vault is; elsewhere: coffer.dev/vault-address: https://HOST:PORT");
    }
    if rest.remove("tls-server-name") {
        new.set("vault-server-name", whole("tls-server-name").unwrap_or_default());
    }
    if rest.remove("role") {
        new.note("role", "grants name the service account: coffer grant read PATH --to k8s:CLUSTER/NAMESPACE/SERVICE-ACCOUNT");
    }
    for (name, why) in NEEDLESS {
        if rest.remove(name) {
            new.note(name, format!("not needed: {why}"));
        }
    }
    let files: BTreeSet<&str> = old.keys().filter_map(|name| name.strip_prefix("agent-inject-secret-")).collect();
    for file in files {
        for kind in OF_FILES {
            rest.remove(format!("{kind}{file}").as_str());
        }
        convert_file(&mut new, old, file, mounts);
    }
    for name in rest {
        new.lose(name, "there is no counterpart: it is taken out");
    }
    new
}

fn convert_file(new: &mut Converted, old: &BTreeMap<String, String>, file: &str, mounts: &BTreeMap<String, String>) {
    let name = |kind: &str| format!("{kind}{file}");
    let get = |kind: &str| old.get(&name(kind)).map(String::as_str);
    let path = get("agent-inject-secret-").unwrap_or_default();
    let (is_credential, path) = path_of(path, mounts);
    if path.is_empty() {
        new.lose(&name("agent-inject-secret-"), "a template that names its secrets itself: name them here, and write it anew");
        return;
    }
    new.set(format!("{}-{file}", if is_credential { "credential" } else { "secret" }), path);
    match get("agent-inject-template-").map(template_of) {
        None => {}
        Some(Some(Template::Field(field))) => new.set(format!("field-{file}"), field),
        Some(Some(Template::Text(text))) => new.set(format!("template-{file}"), text),
        Some(None) => {
            let what =
                "write the template anew: {{ secret.FIELD }} is a field, as docs/agent.md says; without it the file is JSON";
            new.lose(&name("agent-inject-template-"), what);
        }
    }
    if let Some(to) = get("agent-inject-file-") {
        match to.contains('/') {
            false => new.set(format!("file-{file}"), to),
            true => new.lose(&name("agent-inject-file-"), "files of a pod are in one folder: coffer.dev/path says which"),
        }
    }
    if let Some(mode) = get("agent-inject-perms-") {
        new.set(format!("mode-{file}"), mode);
    }
    if get("agent-inject-command-").is_some() {
        let what = "no command is run: coffer.dev/notify-http, or notify-signal and notify-process, tell the application";
        new.lose(&name("agent-inject-command-"), what);
    }
    if get("secret-volume-path-").is_some() {
        new.lose(&name("secret-volume-path-"), "files of a pod are in one folder: coffer.dev/path says which");
    }
    if get("agent-inject-template-file-").is_some() {
        let what = format!("put the template into a ConfigMap: coffer.dev/template-config-map-{file}: NAME/KEY");
        new.lose(&name("agent-inject-template-file-"), what);
    }
}

/// Whether a path is that of a credential, and what it is called here.
fn path_of(old: &str, mounts: &BTreeMap<String, String>) -> (bool, String) {
    let old = old.trim().trim_matches('/');
    // The longest mount that fits: mounts of the old vault may have several parts.
    let fitting =
        mounts.iter().filter_map(|(from, to)| Some((from.len(), to, old.strip_prefix(from.as_str())?.strip_prefix('/')?)));
    let (mount, below) = match fitting.max_by_key(|(length, ..)| *length) {
        Some((_, to, below)) => (to.as_str(), below),
        None => old.split_once('/').unwrap_or((old, "")),
    };
    let credential = ["creds/", "static-creds/", "issue/"].iter().any(|folder| below.starts_with(folder));
    let below = below.strip_prefix("data/").unwrap_or(below);
    if below.is_empty() { (false, String::new()) } else { (credential, format!("{mount}/{below}")) }
}

/// A template that is understood.
#[derive(Debug, PartialEq, Eq)]
enum Template {
    /// One field and nothing else.
    Field(String),
    /// Text with fields in it.
    Text(String),
}

/// What a template of one secret says, where it only puts fields into a text.
fn template_of(old: &str) -> Option<Template> {
    let text = old.trim();
    let inner = text.strip_prefix("{{")?;
    let (head, rest) = inner.split_once("}}")?;
    let head = head.trim_matches(['-', ' ']);
    head.strip_prefix("with secret ")?;
    let trims_behind = inner.get(..inner.find("}}")?)?.ends_with('-');
    let at = rest.rfind("{{")?;
    let (body, end) = (rest.get(..at)?, rest.get(at..)?);
    if end.trim_matches(['{', '}', '-', ' ']) != "end" {
        return None;
    }
    let body = if trims_behind { body.trim_start() } else { body };
    let body = if end.starts_with("{{-") { body.trim_end() } else { body };
    let (mut text, mut fields, mut rest) = (String::new(), Vec::new(), body);
    while let Some((before, after)) = rest.split_once("{{") {
        let (expression, behind) = after.split_once("}}")?;
        let expression = expression.trim();
        let field = expression.strip_prefix(".Data.data.").or_else(|| expression.strip_prefix(".Data."))?;
        if field.is_empty() || !field.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return None;
        }
        text.push_str(before);
        text.push_str("{{ secret.");
        text.push_str(field);
        text.push_str(" }}");
        fields.push((before.is_empty(), field.to_owned()));
        rest = behind;
    }
    text.push_str(rest);
    match fields.as_slice() {
        [(true, field)] if rest.is_empty() => Some(Template::Field(field.clone())),
        _ => Some(Template::Text(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(old: &[(&str, &str)]) -> Converted {
        let old = old.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        converted(&old, &BTreeMap::from([("secret".to_owned(), "kv".to_owned()), ("team/kv".to_owned(), "team".to_owned())]))
    }

    fn ours(new: &Converted) -> BTreeMap<&str, &str> {
        new.annotations.iter().map(|(name, value)| (name.strip_prefix(OURS).unwrap(), value.as_str())).collect()
    }

    #[test]
    fn what_has_a_counterpart_is_renamed() {
        let new = convert(&[
            ("agent-inject", "true"),
            ("agent-inject-secret-db", "secret/data/prod/db"),
            ("agent-inject-perms-db", "0440"),
            ("agent-inject-file-db", "db.json"),
            ("agent-inject-secret-user", "database/creds/app"),
            ("agent-inject-secret-team", "team/kv/data/x/y"),
            ("agent-inject-containers", "app"),
            ("secret-volume-path", "/run/x"),
            ("agent-limits-mem", "64Mi"),
            ("agent-pre-populate-only", "true"),
            ("agent-run-as-user", "1000"),
            ("agent-run-as-group", "2000"),
            ("agent-revoke-on-shutdown", "false"),
            ("log-level", "debug"),
        ]);
        let expected = BTreeMap::from([
            ("inject", "true"),
            ("secret-db", "kv/prod/db"),
            ("mode-db", "0440"),
            ("file-db", "db.json"),
            ("credential-user", "database/creds/app"),
            ("secret-team", "team/x/y"),
            ("containers", "app"),
            ("path", "/run/x"),
            ("limits-memory", "64Mi"),
            ("init-only", "true"),
            ("owner", "1000:2000"),
            ("log-level", "debug"),
        ]);
        assert_eq!(ours(&new), expected);
        assert!(new.notes.is_empty(), "{:?}", new.notes);
    }

    #[test]
    fn what_has_none_is_told_and_what_is_not_needed_is_not_lost() {
        let new = convert(&[
            ("agent-inject-secret-a", "secret/a"),
            ("agent-inject-command-a", "kill -HUP 1"),
            ("secret-volume-path-a", "/other"),
            ("agent-inject-template-file-a", "/t"),
            ("agent-inject-file-a", "sub/a"),
            ("role", "app"),
            ("tls-skip-verify", "true"),
            ("agent-json-patch", "[]"),
            ("log-level", "loud"),
        ]);
        assert_eq!(ours(&new), BTreeMap::from([("secret-a", "kv/a")]));
        let of = |lost: bool| new.notes.iter().filter(|note| note.2 == lost).map(|note| note.0.as_str()).collect::<BTreeSet<_>>();
        assert_eq!(of(false), BTreeSet::from(["role", "tls-skip-verify"]));
        assert_eq!(
            of(true),
            BTreeSet::from([
                "agent-inject-command-a",
                "secret-volume-path-a",
                "agent-inject-template-file-a",
                "agent-inject-file-a",
                "agent-json-patch",
                "log-level",
            ])
        );
        assert!(convert(&[("agent-inject-secret-a", "")]).notes[0].2, "a template alone named the secrets");
    }

    #[test]
    fn templates_that_put_fields_into_a_text_are_understood_and_others_are_not() {
        let field = |text: &str| Some(Template::Field(text.into()));
        let text = |text: &str| Some(Template::Text(text.into()));
        for (old, new) in [
            ("{{- with secret \"secret/data/a\" -}}{{ .Data.data.password }}{{- end -}}", field("password")),
            ("{{ with secret \"secret/a\" }}{{ .Data.password }}{{ end }}", field("password")),
            (
                "{{- with secret \"a\" -}}\nu={{ .Data.data.user }}\np={{ .Data.data.pass }}\n{{- end }}",
                text("u={{ secret.user }}\np={{ secret.pass }}"),
            ),
            ("{{ with secret \"a\" }}\nfixed\n{{ end }}", text("\nfixed\n")),
            ("{{ with secret \"a\" }}{{ range .Data.data }}x{{ end }}{{ end }}", None),
            ("{{ with secret \"a\" }}{{ .Data.data.x | toJSON }}{{ end }}", None),
            ("{{ key \"a\" }}", None),
            ("plain", None),
        ] {
            assert_eq!(template_of(old), new, "{old}");
        }
    }
}
