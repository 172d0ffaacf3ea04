use serde_json::{Value, from_value, json};

use super::*;
use crate::Status;

/// A pod of the level restricted that fails nothing.
fn good() -> Value {
    let context = json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } });
    let image = "registry.example/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    json!({
        "kind": "Pod",
        "metadata": { "name": "app", "namespace": "shop" },
        "spec": {
            "serviceAccountName": "app",
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{ "name": "app", "image": image, "securityContext": context }],
        },
    })
}

/// The good pod with one thing changed.
fn with(path: &str, value: Value) -> Pod {
    let mut pod = good();
    let (parent, name) = path.rsplit_once('/').unwrap();
    let mut at = &mut pod;
    for part in parent.split('/').filter(|part| !part.is_empty()) {
        at = match part.parse::<usize>() {
            Ok(number) => &mut at[number],
            Err(_) => &mut at[part],
        };
    }
    at[name] = value;
    from_value(pod).unwrap()
}

/// What fails, by id.
fn failed(pod: &Pod) -> Vec<&'static str> {
    let report = judge("test", &[("Pod shop/app".to_owned(), pod.clone())]);
    let failed = report.findings.iter().filter(|finding| finding.status == Status::Fail);
    let mut ids: Vec<_> = failed.map(|finding| finding.check.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

const CONTAINER: &str = "/spec/containers/0";
const CONTEXT: &str = "/spec/containers/0/securityContext";
const POD_CONTEXT: &str = "/spec/securityContext";

#[test]
fn a_good_pod_fails_nothing() {
    let pod: Pod = from_value(good()).unwrap();
    assert_eq!(failed(&pod), [""; 0]);
    assert_eq!(level(&pod), Level::Restricted);
}

#[test]
fn ids_are_different_and_each_check_can_fail() {
    let ids: std::collections::HashSet<_> = checks().map(|check| check.id).collect();
    assert_eq!(ids.len(), checks().count());
    let seen: std::collections::HashSet<_> = table().into_iter().flat_map(|(_, pod, _)| failed(&pod)).collect();
    let never: Vec<_> = ids.iter().filter(|id| !seen.contains(*id)).collect();
    assert!(never.is_empty(), "{never:?}");
}

/// What is changed, the pod, and the level that it is of then.
fn table() -> Vec<(&'static str, Pod, Level)> {
    use Level::{Baseline, Privileged, Restricted};
    let container = |name: &str, value: Value| with(&format!("{CONTAINER}/{name}"), value);
    let context = |name: &str, value: Value| with(&format!("{CONTEXT}/{name}"), value);
    let of_pod = |name: &str, value: Value| with(&format!("{POD_CONTEXT}/{name}"), value);
    let spec = |name: &str, value: Value| with(&format!("/spec/{name}"), value);
    let volume = |source: Value| {
        let mut volume = json!({ "name": "v" });
        volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        spec("volumes", json!([volume]))
    };
    vec![
        ("privileged", context("privileged", json!(true)), Privileged),
        ("hostPID", spec("hostPID", json!(true)), Privileged),
        ("hostIPC", spec("hostIPC", json!(true)), Privileged),
        ("hostNetwork", spec("hostNetwork", json!(true)), Privileged),
        ("hostPath", volume(json!({ "hostPath": { "path": "/opt/x" } })), Privileged),
        ("hostPath of the node", volume(json!({ "hostPath": { "path": "//etc/../etc/" } })), Privileged),
        ("socket", volume(json!({ "hostPath": { "path": "/run/containerd/containerd.sock" } })), Privileged),
        ("nfs", volume(json!({ "nfs": { "server": "x", "path": "/" } })), Baseline),
        ("a volume that says nothing", volume(json!({})), Restricted),
        ("secret", volume(json!({ "secret": { "secretName": "x" } })), Restricted),
        ("SYS_ADMIN", context("capabilities", json!({ "add": ["SYS_ADMIN"], "drop": ["ALL"] })), Privileged),
        ("CHOWN", context("capabilities", json!({ "add": ["CHOWN"], "drop": ["ALL"] })), Baseline),
        ("NET_BIND_SERVICE", context("capabilities", json!({ "add": ["NET_BIND_SERVICE"], "drop": ["ALL"] })), Restricted),
        ("nothing dropped", context("capabilities", json!(null)), Baseline),
        ("seccomp unconfined", of_pod("seccompProfile", json!({ "type": "Unconfined" })), Privileged),
        ("seccomp of a container", context("seccompProfile", json!({ "type": "Unconfined" })), Privileged),
        ("no seccomp", of_pod("seccompProfile", json!(null)), Baseline),
        ("AppArmor", context("appArmorProfile", json!({ "type": "Unconfined" })), Privileged),
        ("SELinux type", of_pod("seLinuxOptions", json!({ "type": "spc_t" })), Privileged),
        ("SELinux user", context("seLinuxOptions", json!({ "user": "x" })), Privileged),
        ("SELinux of containers", context("seLinuxOptions", json!({ "type": "container_engine_t" })), Restricted),
        ("procMount", context("procMount", json!("Unmasked")), Privileged),
        ("sysctl", of_pod("sysctls", json!([{ "name": "kernel.msgmax", "value": "1" }])), Privileged),
        ("sysctl of the pod", of_pod("sysctls", json!([{ "name": "net.ipv4.tcp_rmem", "value": "1" }])), Restricted),
        ("hostPort", container("ports", json!([{ "containerPort": 1, "hostPort": 1 }])), Privileged),
        ("probe", container("livenessProbe", json!({ "httpGet": { "host": "x", "port": 1 } })), Privileged),
        ("hook", container("lifecycle", json!({ "preStop": { "tcpSocket": { "host": "x", "port": 1 } } })), Privileged),
        ("Windows", context("windowsOptions", json!({ "hostProcess": true })), Privileged),
        ("escalation", context("allowPrivilegeEscalation", json!(true)), Baseline),
        ("escalation not said", context("allowPrivilegeEscalation", json!(null)), Baseline),
        ("root", of_pod("runAsUser", json!(0)), Baseline),
        ("root of a container", context("runAsUser", json!(0)), Baseline),
        ("runAsNonRoot not said", of_pod("runAsNonRoot", json!(null)), Baseline),
        ("runAsNonRoot of a container", context("runAsNonRoot", json!(false)), Baseline),
        ("debug", spec("ephemeralContainers", json!([{ "name": "debug", "image": "busybox" }])), Baseline),
        ("tag", container("image", json!("busybox:1")), Restricted),
        ("environment", container("env", json!([{ "name": "DB_PASSWORD", "value": "hunter2hunter2" }])), Restricted),
        (
            "environment from a Secret",
            container("env", json!([{ "name": "X", "valueFrom": { "secretKeyRef": { "name": "x", "key": "y" } } }])),
            Restricted,
        ),
        (
            "propagation",
            container("volumeMounts", json!([{ "name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional" }])),
            Restricted,
        ),
        ("default account", spec("serviceAccountName", json!(null)), Restricted),
        (
            "shared processes",
            with("/spec/initContainers", json!([{ "name": "a", "image": "x@sha256:1", "securityContext": good()["spec"]["containers"][0]["securityContext"] }]))
                .shared(),
            Restricted,
        ),
    ]
}

trait Shared {
    fn shared(self) -> Self;
}

impl Shared for Pod {
    fn shared(mut self) -> Self {
        if let Some(spec) = &mut self.spec {
            spec.share_process_namespace = Some(true);
        }
        self
    }
}

#[test]
fn each_pod_is_of_the_level_that_the_standard_says() {
    for (name, pod, expected) in table() {
        assert_eq!(level(&pod), expected, "{name}: {:?}", failed(&pod));
    }
}

#[test]
fn annotations_of_before_count() {
    let annotated =
        |value: &str| with("/metadata/annotations", json!({ "container.apparmor.security.beta.kubernetes.io/app": value }));
    assert_eq!(level(&annotated("unconfined")), Level::Privileged);
    assert_eq!(level(&annotated("runtime/default")), Level::Restricted);
    assert_eq!(level(&annotated("localhost/x")), Level::Restricted);
}

#[test]
fn a_pod_for_windows_needs_none_of_what_linux_restricts_by() {
    let mut pod = good();
    pod["spec"]["os"] = json!({ "name": "windows" });
    pod["spec"]["securityContext"] = json!({ "runAsNonRoot": true });
    pod["spec"]["containers"][0]["securityContext"] = json!(null);
    assert_eq!(level(&from_value(pod).unwrap()), Level::Restricted);
}

#[test]
fn names_of_variables_that_are_of_something_else_are_let_be() {
    for (name, value) in [
        ("TOKEN_FILE", "something"),
        ("DB_PASSWORD", "/run/x"),
        ("DB_PASSWORD", "$(X)"),
        ("SECRET_URL", "https://x"),
        ("A", "hunter2hunter2"),
    ] {
        let pod = with(&format!("{CONTAINER}/env"), json!([{ "name": name, "value": value }]));
        assert_eq!(failed(&pod), [""; 0], "{name}");
    }
}

#[test]
fn pods_are_found_in_whatever_makes_them() {
    let pod = good();
    let template = json!({ "metadata": {}, "spec": pod["spec"] });
    let object = |kind: &str, spec: Value| json!({ "kind": kind, "metadata": { "name": "x" }, "spec": spec });
    let mut objects = vec![pod.clone()];
    for kind in ["Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "Job"] {
        objects.push(object(kind, json!({ "template": template })));
    }
    objects.push(object("CronJob", json!({ "jobTemplate": { "spec": { "template": template } } })));
    objects.push(object("Service", json!({ "selector": {} })));
    let names: Vec<_> = pods(&json!({ "kind": "List", "items": objects })).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["Pod shop/app", "Deployment x", "DaemonSet x", "StatefulSet x", "ReplicaSet x", "Job x", "CronJob x"]);
    let mut without_kind = pod;
    without_kind.as_object_mut().unwrap().remove("kind");
    assert_eq!(pods(&json!({ "kind": "PodList", "items": [without_kind, 1, null] })).unwrap().len(), 1);
}

#[test]
fn what_is_no_pod_is_refused_by_name() {
    let refused = |object: Value| pods(&object).unwrap_err().to_string();
    assert!(refused(json!({ "kind": "Pod", "metadata": { "name": "x" } })).starts_with("Pod x has no spec"));
    assert!(
        refused(json!({ "kind": "Pod", "metadata": { "name": "x" }, "spec": { "containers": 1 } }))
            .starts_with("Pod x is no pod")
    );
    let many =
        |count: usize| json!({ "kind": "List", "items": vec![json!({ "kind": "Pod", "spec": { "containers": [] } }); count] });
    assert_eq!(pods(&many(MANIFEST_PODS_MAX)).map(|pods| pods.len()), Ok(MANIFEST_PODS_MAX));
    assert!(refused(many(MANIFEST_PODS_MAX + 1)).contains("more than 10000 pods"));
}
