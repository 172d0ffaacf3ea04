use std::collections::BTreeMap;

use json_patch::Patch;
use proptest::prelude::*;
use serde_json::from_value;

use super::*;
use crate::annotations::PREFIX;

pub(crate) fn settings() -> Settings {
    Settings {
        image: "registry.coffer.dev/coffer-agent:0.1.0".into(),
        vault_address: "https://coffer.coffer.svc:8200".into(),
        vault_server_name: None,
        ca_config_map: "coffer-ca".into(),
        audience: "coffer".into(),
        tenant: None,
        cluster: None,
        log_level: "info".into(),
        volume_size: "4Mi".into(),
        requests_cpu: "10m".into(),
        requests_memory: "8Mi".into(),
        limits_cpu: String::new(),
        limits_memory: "32Mi".into(),
        pin_images: false,
    }
}

/// A pod with these annotations, `coffer.dev/` before each, and this spec.
fn pod(annotations: &[(&str, &str)], spec: Value) -> Value {
    let named = annotations.iter().map(|(name, value)| (format!("{PREFIX}{name}"), *value));
    let annotations: BTreeMap<String, &str> = named.collect();
    json!({ "metadata": { "name": "api", "annotations": annotations }, "spec": spec })
}

const ASKING: [(&str, &str); 2] = [("inject", "true"), ("secret-db", "kv/prod/payments")];

fn asking(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    ASKING.iter().chain(more).copied().collect()
}

fn one_container() -> Value {
    json!({ "containers": [{ "name": "app", "image": "app:1" }] })
}

/// The pod as it is after the patch.
fn injected(pod: &Value) -> Result<Value, Refusal> {
    let patch = inject(&from_value(pod.clone()).unwrap(), &settings(), &Pins::new())?;
    let patch: Patch = from_value(serde_json::to_value(patch).unwrap()).unwrap();
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &patch).unwrap();
    Ok(pod)
}

fn refusal(pod: &Value) -> String {
    injected(pod).unwrap_err().to_string()
}

/// What the agent is told.
fn config(pod: &Value) -> String {
    let text = pod["spec"]["initContainers"][0]["args"][2].as_str().unwrap();
    text.replace("$$", "$")
}

#[test]
fn the_pod_that_comes_out_is_the_one_that_is_kept_here() {
    let web = pod(
        &asking(&[
            ("secret-api.env", "kv/prod/api"),
            ("format-api.env", "dotenv"),
            ("template-config-map-all", "templates/all.j2"),
            ("secret-all", "kv/prod/all"),
            ("credential-price", "database/creds/app"),
            ("template-price", "costs $(PRICE) ${{ secret.username }}"),
            ("notify-signal", "SIGHUP"),
            ("notify-process", "nginx"),
        ]),
        json!({
            "securityContext": { "runAsUser": 1000, "runAsGroup": 2000, "runAsNonRoot": true },
            "initContainers": [{ "name": "migrate", "image": "app:1" }],
            "containers": [
                { "name": "app", "image": "app:1", "volumeMounts": [{ "name": "data", "mountPath": "/data" }] },
                { "name": "other", "image": "other:1" },
            ],
            "volumes": [{ "name": "data", "emptyDir": {} }],
        }),
    );
    let job = pod(&asking(&[("init-only", "true"), ("limits-memory", ""), ("containers", "app")]), one_container());
    let kept = |name: &str, found: &Value| {
        let file = format!("{}/src/injection/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("COFFER_WRITE_GOLDEN").is_some() {
            std::fs::write(&file, serde_json::to_string_pretty(found).unwrap() + "\n").unwrap();
        }
        let kept: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(kept, *found, "{file}; write it anew with COFFER_WRITE_GOLDEN=1 and look");
    };
    kept("web", &injected(&web).unwrap());
    kept("job", &injected(&job).unwrap());
}

#[test]
fn a_pod_that_does_not_ask_is_left_alone() {
    for annotations in [vec![], vec![("inject", "false")]] {
        let pod = pod(&annotations, one_container());
        assert_eq!(injected(&pod).unwrap(), pod);
    }
    assert_eq!(inject(&Pod::default(), &settings(), &Pins::new()), Ok(Vec::new()));
}

#[test]
fn the_agent_has_the_user_of_the_application_or_the_files_are_anybody_s() {
    let of = |more: &[(&'static str, &'static str)], pod_user: Value, users: &[Value]| {
        let container =
            |(index, user): (usize, &Value)| json!({ "name": format!("c{index}"), "image": "i", "securityContext": user });
        let containers: Vec<Value> = users.iter().enumerate().map(container).collect();
        let pod = injected(&pod(&asking(more), json!({ "securityContext": pod_user, "containers": containers }))).unwrap();
        let context = &pod["spec"]["initContainers"][0]["securityContext"];
        let mode = config(&pod).lines().find_map(|line| line.strip_prefix("mode = ").map(str::to_owned)).unwrap();
        (context["runAsUser"].as_u64().unwrap(), context["runAsGroup"].as_u64().unwrap(), mode)
    };
    let user = |uid: u32| json!({ "runAsUser": uid });
    let (own, anybody) = ("\"0400\"".to_owned(), "\"0444\"".to_owned());
    assert_eq!(of(&[], json!({}), &[json!({})]), (65_532, 65_532, anybody.clone()));
    assert_eq!(of(&[], user(1_000), &[json!({})]), (1_000, 65_532, own.clone()));
    assert_eq!(of(&[], user(1_000), &[user(2_000)]), (2_000, 65_532, own.clone()));
    assert_eq!(of(&[], json!({ "runAsUser": 1, "runAsGroup": 5 }), &[json!({}), user(1)]), (1, 5, own.clone()));
    assert_eq!(of(&[], user(1_000), &[json!({}), user(2_000)]), (65_532, 65_532, anybody.clone()));
    assert_eq!(of(&[("containers", "c1")], user(1_000), &[json!({}), user(2_000)]), (2_000, 65_532, own.clone()));
    // Root reads what it likes; the agent is not root.
    assert_eq!(of(&[], user(0), &[json!({})]), (65_532, 65_532, anybody));
    assert_eq!(of(&[("owner", "7:8")], user(1_000), &[json!({})]), (7, 8, own));
    assert_eq!(of(&[("mode", "0440")], json!({}), &[json!({})]), (65_532, 65_532, "\"0440\"".to_owned()));
}

#[test]
fn only_the_containers_that_are_meant_get_the_files() {
    let spec = json!({
        "initContainers": [{ "name": "first", "image": "i" }],
        "containers": [{ "name": "app", "image": "i" }, { "name": "other", "image": "i" }],
    });
    let mounted = |more: &[(&'static str, &'static str)]| {
        let pod = injected(&pod(&asking(more), spec.clone())).unwrap();
        let containers = pod["spec"]["containers"].as_array().unwrap().iter();
        let all =
            containers.chain(pod["spec"]["initContainers"].as_array().unwrap()).filter(|container| container["name"] != AGENT);
        let with = all.filter(|container| {
            container["volumeMounts"] == json!([{ "name": SECRETS_VOLUME, "mountPath": "/coffer/secrets", "readOnly": true }])
        });
        with.map(|container| container["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(mounted(&[]), ["app", "other", "first"]);
    assert_eq!(mounted(&[("containers", "other,first")]), ["other", "first"]);
}

#[test]
fn what_the_pod_has_already_is_not_overwritten() {
    let with = |more: &[(&'static str, &'static str)], spec: Value| refusal(&pod(&asking(more), spec));
    let container = |more: Value| {
        let mut container = json!({ "name": "app", "image": "i" });
        container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        container
    };
    let mount = json!({ "volumeMounts": [{ "name": "own", "mountPath": "/coffer/secrets/" }] });
    for (told, words) in [
        (with(&[], json!({ "containers": [{ "name": "coffer", "image": "i" }] })), "a container coffer"),
        (
            with(&[], json!({ "containers": [container(json!({}))], "volumes": [{ "name": "coffer-token" }] })),
            "a volume coffer-token",
        ),
        (with(&[], json!({ "containers": [container(mount)] })), "the container app has the volume own there already"),
        (with(&[("containers", "ap")], one_container()), "coffer.dev/containers: the pod has no container ap"),
        (with(&[("path", "secrets")], one_container()), "coffer.dev/path: \"secrets\" is no folder"),
        (with(&[("path", "/a/../b")], one_container()), "coffer.dev/path: \"/a/../b\" is no folder"),
        (with(&[("path", "/")], one_container()), "coffer.dev/path: \"/\" is no folder"),
        (with(&[("path", "/a:b")], one_container()), "coffer.dev/path: \"/a:b\" is no folder"),
        (with(&[("owner", "0")], one_container()), "coffer.dev/owner: the agent has the owner's user, and is never root"),
        (
            with(
                &[("notify-signal", "SIGHUP"), ("notify-process", "x")],
                json!({ "shareProcessNamespace": false, "containers": [container(json!({}))] }),
            ),
            "coffer.dev/notify-signal: a signal needs shareProcessNamespace",
        ),
        (with(&[("status", "injected")], one_container()), "coffer.dev/status: it says that the agent is there"),
    ] {
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn what_the_agent_would_not_take_is_refused_before_the_pod_is_made() {
    let told = |more: &[(&'static str, &'static str)]| refusal(&pod(&asking(more), one_container()));
    for (more, words) in [
        (("template-db", "{{ a"), "secret \"db\": the template, line 1"),
        (("mode-db", "rw"), "secret \"db\": mode \"rw\" is not an octal mode"),
        (("format-db", "xml"), "unknown variant `xml`"),
        (("ttl-db", "1h"), "secret \"db\": ttl goes with credential"),
        (("file-db", "../x"), "the name is not that of a file"),
        (("log-level", "loud"), "unknown variant `loud`"),
        (("notify-http", "http://example.com"), "the pod's own loopback"),
        (("secret-b", "kv"), "secret \"b\": path \"kv\" is not MOUNT/NAME"),
    ] {
        let told = told(&[more]);
        assert!(told.contains(words) && !told.contains(".toml"), "{told}");
    }
}

#[test]
fn a_field_stands_behind_the_path_where_nothing_else_says_what_the_file_is() {
    let told = |more: &[(&'static str, &'static str)]| config(&injected(&pod(&asking(more), one_container())).unwrap());
    let short = told(&[("secret-p", "kv/a#password")]);
    assert!(short.contains("path = \"kv/a\"\nfield = \"password\"") || short.contains("field = \"password\""), "{short}");
    let named = told(&[("secret-p", "kv/a#1"), ("field-p", "password")]);
    assert!(named.contains("path = \"kv/a#1\""), "a path may have a # in it: {named}");
}

/// Pods that people might write, as far as the injector looks at them.
fn pods() -> impl Strategy<Value = Value> {
    let context = prop_oneof![Just(json!({})), (0_u32..3).prop_map(|uid| json!({ "runAsUser": uid, "runAsGroup": uid }))];
    let mounts = prop_oneof![Just(Value::Null), Just(json!([])), Just(json!([{ "name": "data", "mountPath": "/data" }]))];
    let container = (context.clone(), mounts).prop_map(|(context, mounts)| (context, mounts));
    let containers = |count| {
        prop::collection::vec(container.clone(), count).prop_map(|all| {
            let made = |(index, (context, mounts)): (usize, (Value, Value))| {
                let mut container = json!({ "image": "i", "securityContext": context, "index": index });
                if mounts != Value::Null {
                    container["volumeMounts"] = mounts;
                }
                container
            };
            all.into_iter().enumerate().map(made).collect::<Vec<_>>()
        })
    };
    let volumes = prop_oneof![Just(Value::Null), Just(json!([])), Just(json!([{ "name": "data", "emptyDir": {} }]))];
    let asked = prop::sample::subsequence(
        vec![
            ("init-only", "true"),
            ("path", "/run/x"),
            ("mode", "0440"),
            ("owner", "9"),
            ("volume-size", "1Mi"),
            ("containers", "m0"),
        ],
        0..=6,
    );
    (context, containers(1..=3), containers(0..=2), volumes, asked).prop_map(|(context, main, init, volumes, asked)| {
        let named = |kind: &str, containers: Vec<Value>| {
            let name = |mut container: Value| {
                let index = container.as_object_mut().unwrap().remove("index").unwrap();
                container["name"] = json!(format!("{kind}{index}"));
                container
            };
            containers.into_iter().map(name).collect::<Vec<_>>()
        };
        let mut spec = json!({ "securityContext": context, "containers": named("m", main) });
        if !init.is_empty() {
            spec["initContainers"] = json!(named("i", init));
        }
        if volumes != Value::Null {
            spec["volumes"] = volumes;
        }
        pod(&asking(&asked), spec)
    })
}

proptest! {
    #[test]
    fn patching_twice_changes_nothing_and_nothing_but_what_is_ours(pod in pods()) {
        let once = injected(&pod).unwrap();
        prop_assert_eq!(&injected(&once).unwrap(), &once);
        // Without what is ours it is the pod of before.
        let mut without = once.clone();
        without["metadata"]["annotations"].as_object_mut().unwrap().remove(STATUS);
        let spec = without["spec"].as_object_mut().unwrap();
        let ours = |value: &Value| value["name"].as_str().is_some_and(|name| name == AGENT || name.starts_with("coffer-"));
        for list in ["containers", "initContainers"] {
            let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else { continue };
            containers.retain(|container| !ours(container));
            for container in containers {
                if let Some(mounts) = container.get_mut("volumeMounts").and_then(Value::as_array_mut) {
                    mounts.retain(|mount| !ours(mount));
                }
            }
        }
        spec["volumes"].as_array_mut().unwrap().retain(|volume| !ours(volume));
        let empty = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
        let mut before = pod;
        for value in [&mut without, &mut before] {
            let spec = value["spec"].as_object_mut().unwrap();
            spec.retain(|name, value| !(["volumes", "initContainers"].contains(&name.as_str()) && empty(value)));
            for list in ["containers", "initContainers"] {
                for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                    container.as_object_mut().unwrap().retain(|name, value| name != "volumeMounts" || !empty(value));
                }
            }
        }
        prop_assert_eq!(without, before);
        // First in line, with a token that it alone has.
        prop_assert_eq!(&once["spec"]["initContainers"][0]["name"], AGENT);
        let text = once.to_string();
        prop_assert_eq!(text.matches(&format!("\"name\":\"{TOKEN_VOLUME}\"")).count(), 2);
    }
}
