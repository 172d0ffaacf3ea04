use serde_json::{Value, json};

use super::*;
use crate::commands::doctor::{State, kubernetes::reading};

/// As the API server gives a pod that the injector was asked about, with what nobody looks at left out.
fn injected(name: &str) -> Value {
    let config = r#"log_level = "info"

[vault]
address = "https://coffer.coffer.svc:8200"
ca_file = "/etc/coffer/ca/ca.pem"
token_file = "/var/run/secrets/coffer/token"

[output]
directory = "/coffer/secrets"
mode = "0400"

[[secrets]]
name = "password"
path = "kv/shop/api"
field = "password"

[[secrets]]
name = "app.conf"
template = "{{ a.x }}$$(HOME)"

[secrets.paths]
a = "kv/shop/a"

[secrets.credentials]
b = "database/creds/b"
c = { path = "pki/issue/c", ttl = "1h" }

[[secrets]]
name = "user"
credential = "database/creds/app"
"#;
    json!({
        "metadata": {
            "name": name, "namespace": "shop", "creationTimestamp": "2026-11-29T01:00:00Z",
            "annotations": { "coffer.dev/inject": "true", "coffer.dev/secret-password": "kv/shop/api#password", "coffer.dev/status": "injected" },
            "labels": { "pod-template-hash": "6d5f" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6d5f", "controller": true }],
        },
        "spec": {
            "serviceAccountName": "api",
            "initContainers": [{
                "name": "coffer", "args": ["sidecar", "--config-text", config], "restartPolicy": "Always",
                "volumeMounts": [{ "name": "coffer-secrets", "mountPath": "/coffer/secrets" }, { "name": "coffer-token", "mountPath": "/x", "readOnly": true }],
            }],
            "containers": [{ "name": "app", "volumeMounts": [{ "name": "coffer-secrets", "mountPath": "/coffer/secrets", "readOnly": true }] }],
            "volumes": [
                { "name": "coffer-secrets", "emptyDir": { "medium": "Memory", "sizeLimit": "16Mi" } },
                { "name": "coffer-token", "projected": { "defaultMode": 420, "sources": [{ "serviceAccountToken": { "audience": "coffer", "path": "token" } }] } },
                { "name": "coffer-ca", "configMap": { "name": "coffer-ca", "defaultMode": 420 } },
            ],
        },
        "status": {
            "phase": "Running",
            "initContainerStatuses": [{ "name": "coffer", "ready": true, "started": true, "state": { "running": { "startedAt": "2026-11-29T01:00:01Z" } }, "lastState": {} }],
        },
    })
}

fn read(pod: &Value) -> Pod {
    serde_json::from_value(pod.clone()).unwrap()
}

/// The pod with something else at a place.
fn with(mut pod: Value, place: &str, value: Value) -> Pod {
    *pod.pointer_mut(place).unwrap_or_else(|| panic!("{place}")) = value;
    read(&pod)
}

fn said(checks: &Checks) -> Vec<(State, String, String)> {
    checks.0.iter().map(|check| (check.state, check.found.clone(), check.next.clone().unwrap_or_default())).collect()
}

#[test]
fn a_pod_that_has_everything_is_well() {
    let mut checks = Checks::default();
    injection(&[read(&injected("web-1")), read(&injected("web-2"))], |_| false, &mut checks);
    assert_eq!(said(&checks), [(State::Ok, "2 pods ask for secrets, and have their agents".into(), String::new())]);
    let pod = read(&injected("web-1"));
    assert_eq!((pod.ca_config_map(), pod.audience(), agent(&pod)), (Some("coffer-ca"), Some("coffer"), Agent::Good));
}

#[test]
fn each_part_that_is_missing_is_named() {
    for (place, value, lacks) in [
        ("/metadata/annotations", json!({ "coffer.dev/inject": "true" }), "the injector's mark"),
        ("/spec/initContainers", json!([]), "the agent's container"),
        ("/spec/initContainers/0/name", json!("other"), "the agent's container"),
        ("/spec/initContainers/0/args", json!(["sleep"]), "the agent's container"),
        ("/spec/initContainers/0/restartPolicy", json!("Never"), "the agent's container"),
        ("/spec/volumes/0/emptyDir", json!({}), "the memory of its files"),
        ("/spec/volumes/1", json!({ "name": "coffer-token", "emptyDir": {} }), "the agent's token"),
        (
            "/spec/containers/0/volumeMounts/0/readOnly",
            json!(false),
            "that only the agent has its token and writes its files: app does as well",
        ),
        (
            "/spec/containers/0/volumeMounts/0",
            json!({ "name": "coffer-token", "readOnly": true }),
            "that only the agent has its token and writes its files: app does as well",
        ),
    ] {
        let lacking = with(injected("web-1"), place, value).lacks();
        assert!(lacking.iter().any(|lacking| lacking == lacks), "{place}: {lacking:?}");
    }
}

#[test]
fn an_image_without_the_digest_that_was_asked_for_is_named() {
    let (digest, tag) = (format!("registry.example/app:1@sha256:{}", "0".repeat(64)), "registry.example/app:1");
    for (pin, agent, app, lacks) in [
        ("true", digest.as_str(), digest.as_str(), &[][..]),
        ("true", &digest, tag, &["the digest of the image of app"]),
        ("true", tag, &digest, &["the digest of the image of coffer"]),
        ("false", tag, tag, &[]),
    ] {
        let mut pod = injected("web-1");
        pod["metadata"]["annotations"]["coffer.dev/pin-images"] = json!(pin);
        pod["spec"]["initContainers"][0]["image"] = json!(agent);
        pod["spec"]["containers"][0]["image"] = json!(app);
        assert_eq!(read(&pod).lacks(), lacks, "{pin} {agent} {app}");
    }
}

#[test]
fn pods_of_one_owner_are_one_finding_with_its_remedy() {
    let bare = |name: &str| {
        let mut pod = injected(name);
        pod["metadata"]["annotations"]["coffer.dev/status"] = json!("");
        pod
    };
    let mut pods: Vec<Pod> = (1..=5).map(|number| read(&bare(&format!("web-{number}")))).collect();
    let of = |name: &str, owner: Value| with(bare(name), "/metadata/ownerReferences", owner);
    pods.push(of("report-x", json!([{ "kind": "Job", "name": "report" }])));
    pods.push(of("alone", json!([])));
    pods.push(of("db-0", json!([{ "kind": "StatefulSet", "name": "db" }])));
    // At its end, or asking for nothing: nobody's business.
    pods.push(with(bare("done"), "/status/phase", json!("Succeeded")));
    pods.push(with(bare("other"), "/metadata/annotations", json!({})));
    let mut checks = Checks::default();
    injection(&pods, |_| false, &mut checks);
    let said = said(&checks);
    assert_eq!(said.len(), 4, "{said:?}");
    let told = |words: &str, remedy: &str| {
        said.iter().any(|(state, found, next)| *state == State::Fail && found.starts_with(words) && next.ends_with(remedy))
    };
    assert!(
        told("deployment/web in shop (web-1, web-2, web-3, and 2 more) asked", "kubectl -n shop rollout restart deployment/web"),
        "{said:?}"
    );
    assert!(told("job/report in shop (report-x)", "kubectl -n shop delete pod report-x: job/report makes another"), "{said:?}");
    assert!(told("pod alone in shop", "kubectl -n shop delete pod alone, and create it again"), "{said:?}");
    assert!(told("statefulset/db in shop", "kubectl -n shop rollout restart statefulset/db"), "{said:?}");
    let mut checks = Checks::default();
    injection(&pods, |namespace| namespace == "shop", &mut checks);
    assert!(
        checks.0.iter().all(|check| check.next.as_ref().is_some_and(|next| next.contains("another namespace"))),
        "{checks:?}"
    );
}

#[test]
fn an_agent_that_is_not_ready_says_why() {
    let status = |value: Value| agent(&with(injected("web-1"), "/status/initContainerStatuses/0", value));
    let ended = |code: i32, message: &str| json!({ "terminated": { "exitCode": code, "message": message } });
    assert_eq!(status(json!({ "name": "coffer", "state": ended(0, "") })), Agent::Good);
    assert_eq!(
        status(json!({ "name": "coffer", "state": ended(4, "") })),
        Agent::Broken("it ended with 4: the vault refused".into())
    );
    assert_eq!(status(json!({ "name": "coffer", "state": ended(4, "no\n") })), Agent::Broken("it ended with 4: no".into()));
    let pull = json!({ "name": "coffer", "state": { "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } } });
    assert_eq!(status(pull), Agent::Broken("ImagePullBackOff: no such image".into()));
    let again = json!({ "name": "coffer", "state": { "waiting": { "reason": "CrashLoopBackOff" } }, "lastState": ended(2, "") });
    assert_eq!(status(again), Agent::Broken("it ended with 2: settings that it cannot use".into()));
    let begins = json!({ "name": "coffer", "state": { "waiting": { "reason": "PodInitializing" } } });
    assert_eq!(status(begins), Agent::Starting("PodInitializing".into()));
    let runs = json!({ "name": "coffer", "started": false, "state": { "running": {} } });
    assert_eq!(status(runs), Agent::Starting("it has not written the files yet".into()));
    let nowhere =
        json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "message": "0/3 nodes" }] });
    assert_eq!(agent(&with(injected("web-1"), "/status", nowhere)), Agent::Starting("0/3 nodes".into()));
}

#[test]
fn the_agents_own_words_lead_to_the_remedy() {
    let refusal = "kv/shop/api: not permitted for this pod, or not there. An officer can allow it: coffer grant read kv/shop/api --to k8s:prod/shop/api";
    let log =
        format!("2026-11-29T01:00:00Z  INFO begins\n2026-11-29T01:00:01Z  WARN {refusal}\n2026-11-29T01:00:02Z  INFO waits\n");
    assert_eq!(complaint(&log).as_deref(), Some(refusal));
    assert_eq!(complaint(&format!("coffer-agent: {refusal}\n")).as_deref(), Some(refusal));
    assert_eq!(complaint("2026-11-29T01:00:00Z  INFO begins\n"), None);
    let pod = read(&injected("web-1"));
    let mut checks = Checks::default();
    say_agent(&pod, &Agent::Starting("x".into()), complaint(&log).as_deref(), &mut checks);
    say_agent(&pod, &Agent::Starting("x".into()), None, &mut checks);
    say_agent(&pod, &Agent::Broken("x".into()), None, &mut checks);
    say_agent(&with(injected("web-1"), "/status/phase", json!("Failed")), &Agent::Broken("x".into()), None, &mut checks);
    say_agent(&pod, &Agent::Good, None, &mut checks);
    let said = said(&checks);
    let states: Vec<State> = said.iter().map(|(state, _, _)| *state).collect();
    assert_eq!(states, [State::Fail, State::Warn, State::Fail, State::Warn]);
    assert_eq!(said[0].2, "coffer grant read kv/shop/api --to k8s:prod/shop/api");
    assert_eq!(said[2].2, "kubectl -n shop logs web-1 -c coffer");
    assert_eq!(named_command("x (coffer grant read a --to b) y"), Some("coffer grant read a --to b"));
}

#[test]
fn what_a_pod_reads_is_what_its_agent_is_told() {
    let reading = reading::of(&read(&injected("web-1"))).unwrap();
    let paths: Vec<&str> = reading.paths.iter().map(String::as_str).collect();
    assert_eq!(paths, ["database/creds/app", "database/creds/b", "kv/shop/a", "kv/shop/api", "pki/issue/c"]);
    assert_eq!((reading.namespace.as_str(), reading.service_account.as_str(), reading.cluster.as_str()), ("shop", "api", ""));
    assert_eq!(reading::of(&with(injected("x"), "/spec/initContainers/0/args", json!(["sidecar"]))), None);
    let strange = json!(["sidecar", "--config-text", "secrets = 1"]);
    assert_eq!(reading::of(&with(injected("x"), "/spec/initContainers/0/args", strange)), None);
}
