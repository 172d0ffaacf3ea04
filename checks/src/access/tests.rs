//! Roles and bindings as a cluster has them, and what they come to.

use serde_json::{Value, json};

use super::*;
use crate::Status;

fn role(kind: &str, namespace: &str, name: &str, rules: Value) -> Value {
    json!({ "kind": kind, "metadata": { "name": name, "namespace": namespace }, "rules": rules })
}

fn cluster_role(name: &str, rules: Value) -> Value {
    json!({ "kind": "ClusterRole", "metadata": { "name": name }, "rules": rules })
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": groups, "resources": resources, "verbs": verbs })
}

/// A binding: in a namespace, or everywhere where it is empty.
fn bound(namespace: &str, name: &str, role: &str, subjects: &[Value]) -> Value {
    let (kind, name) = (if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" }, name);
    let (role_kind, role) = role.split_once(' ').unwrap();
    json!({
        "kind": kind, "metadata": { "name": name, "namespace": (!namespace.is_empty()).then_some(namespace) },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role }, "subjects": subjects,
    })
}

fn user(name: &str) -> Value {
    json!({ "kind": "User", "name": name })
}

fn group(name: &str) -> Value {
    json!({ "kind": "Group", "name": name })
}

fn account(namespace: &str, name: &str) -> Value {
    json!({ "kind": "ServiceAccount", "namespace": namespace, "name": name })
}

/// The roles that Kubernetes comes with, as far as they matter here, and the bindings of a site.
fn site() -> Vec<Value> {
    let labelled = |name: &str, label: &str, rules: Value| json!({ "kind": "ClusterRole", "metadata": { "name": name, "labels": { label: "true" } }, "rules": rules });
    let to_edit = "rbac.authorization.k8s.io/aggregate-to-edit";
    let to_admin = "rbac.authorization.k8s.io/aggregate-to-admin";
    let gathering = |name: &str, label: &str, own: Value| {
        json!({
            "kind": "ClusterRole", "metadata": { "name": name, "labels": own }, "rules": null,
            "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { label: "true" } }] },
        })
    };
    vec![
        cluster_role("cluster-admin", json!([rule(&["*"], &["*"], &["*"]), { "nonResourceURLs": ["*"], "verbs": ["*"] }])),
        labelled(
            "system:aggregate-to-edit",
            to_edit,
            json!([
                rule(&[""], &["pods", "pods/attach", "pods/exec"], &["create", "delete", "patch", "update"]),
                rule(&["apps"], &["deployments"], &["create", "patch"]),
                rule(&[""], &["serviceaccounts"], &["impersonate"]),
            ]),
        ),
        labelled("system:aggregate-to-admin", to_admin, json!([rule(&[""], &["serviceaccounts/token"], &["create"])])),
        gathering("edit", to_edit, json!({ to_admin: "true" })),
        gathering("admin", to_admin, json!({})),
        cluster_role("view", json!([rule(&[""], &["pods", "pods/log"], &["get", "list", "watch"])])),
        cluster_role("node-debugger", json!([rule(&[""], &["nodes/proxy"], &["get"])])),
        role(
            "Role",
            "shop",
            "one-pod",
            json!([
                { "apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"], "resourceNames": ["api-0"] },
            ]),
        ),
        role(
            "Role",
            "coffer",
            "own-tls",
            json!([
                { "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["coffer-tls"] },
            ]),
        ),
        cluster_role("deployer", json!([rule(&["apps"], &["*"], &["create"])])),
        bound("", "cluster-admins", "ClusterRole cluster-admin", &[group("admins")]),
        bound(
            "",
            "system:controller:deployment-controller",
            "ClusterRole deployer",
            &[account("kube-system", "deployment-controller")],
        ),
        bound("shop", "developers", "ClusterRole edit", &[group("developers"), user("eve")]),
        bound("shop", "owner", "ClusterRole admin", &[user("olga")]),
        bound("shop", "support", "Role one-pod", &[user("sam")]),
        bound("shop", "readers", "ClusterRole view", &[group("system:authenticated")]),
        bound("other", "elsewhere", "ClusterRole admin", &[user("mallory")]),
        bound("", "debug", "ClusterRole node-debugger", &[account("monitoring", "agent")]),
        bound("coffer", "own", "Role own-tls", &[account("coffer", "coffer"), user("tess")]),
        bound("shop", "gone", "ClusterRole nowhere", &[user("nobody")]),
    ]
}

fn read(objects: &[Value]) -> Rbac {
    Rbac::read(&[json!({ "kind": "List", "items": objects })]).unwrap()
}

fn shop() -> Vec<Target> {
    vec![Target { namespace: Some("shop".into()), service_account: Some("api".into()) }]
}

/// What fails of a check: its subjects.
fn failed(rbac: &Rbac, id: &str) -> Vec<String> {
    let report = judge("shop/api", rbac, &shop(), "coffer");
    let failures = report.findings.into_iter().filter(|finding| finding.check.id == id && finding.status == Status::Fail);
    failures.map(|finding| finding.subject).collect()
}

#[test]
fn ids_are_different() {
    let ids: BTreeSet<_> = checks().map(|check| check.id).collect();
    assert_eq!(ids.len(), checks().count());
}

#[test]
fn everybody_who_can_reach_a_workload_is_told_once_for_each_check_and_place() {
    let rbac = read(&site());
    let at_shop = |names: &[&str]| names.iter().map(|name| format!("{name} at namespace shop")).collect::<Vec<_>>();
    assert_eq!(failed(&rbac, "RBA-01"), ["Group admins at the cluster"]);
    assert_eq!(failed(&rbac, "RBA-02"), ["User tess at namespace coffer"]);
    assert_eq!(failed(&rbac, "RBA-04"), at_shop(&["Group developers", "User eve", "User olga"]));
    assert_eq!(failed(&rbac, "RBA-05"), at_shop(&["Group developers", "User eve", "User olga", "User sam"]));
    let impersonate = ["Group developers", "User eve", "User olga"].map(|name| format!("{name} at service account shop/api"));
    assert_eq!(failed(&rbac, "RBA-08"), impersonate);
    assert_eq!(
        failed(&rbac, "RBA-09"),
        ["ServiceAccount monitoring/agent at the cluster", "User olga at service account shop/api"]
    );
    assert!(failed(&rbac, "RBA-10").is_empty());
}

#[test]
fn a_finding_names_what_is_allowed_the_role_and_the_binding() {
    let report = judge("shop/api", &read(&site()), &shop(), "coffer");
    let evidence = |id: &str, subject: &str| {
        let finding = report.findings.iter().find(|finding| finding.check.id == id && finding.subject.starts_with(subject));
        finding.unwrap().evidence.clone()
    };
    assert_eq!(evidence("RBA-05", "User sam"), "may create pods/exec of api-0 alone (Role one-pod, RoleBinding shop/support)");
    assert_eq!(
        evidence("RBA-09", "ServiceAccount monitoring"),
        "may get nodes/proxy (ClusterRole node-debugger, ClusterRoleBinding debug)"
    );
    let pods = evidence("RBA-04", "User eve");
    assert_eq!(pods.matches("; ").count(), REASONS_MAX - 1, "{pods}");
    // One more than is told is counted.
    let many = bound("shop", "again", "ClusterRole edit", &[user("eve")]);
    let report = judge("shop/api", &read(&[site(), vec![many]].concat()), &shop(), "coffer");
    let told = report.findings.iter().find(|finding| finding.check.id == "RBA-04" && finding.subject.starts_with("User eve"));
    assert!(told.unwrap().evidence.ends_with("; and 5 more"), "{told:?}");
}

#[test]
fn names_of_objects_are_told_up_to_their_number() {
    for (count, more) in [(OBJECTS_NAMED_MAX, false), (OBJECTS_NAMED_MAX + 1, true)] {
        let names: Vec<String> = (0..count).map(|number| format!("p{number}")).collect();
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(of_names(&names).contains("..."), more, "{count}");
    }
}

#[test]
fn parts_of_kubernetes_and_of_coffer_are_passed_over_and_nobody_who_calls_themselves_so() {
    let rbac = read(&site());
    let deployer = cluster_role("deployer", json!([rule(&["apps"], &["*"], &["create"])]));
    for (binding, is_told) in [
        (bound("", "system:controller:x", "ClusterRole deployer", &[account("kube-system", "x")]), false),
        (bound("", "system:controller:x", "ClusterRole deployer", &[account("shop", "x")]), true),
        (bound("", "x", "ClusterRole deployer", &[account("kube-system", "x")]), true),
        (bound("", "x", "ClusterRole deployer", &[user("system:kube-controller-manager")]), false),
        (bound("", "x", "ClusterRole deployer", &[group("system:kube-controller-manager")]), true),
    ] {
        let told = failed(&read(&[deployer.clone(), binding.clone()]), "RBA-04");
        assert_eq!(!told.is_empty(), is_told, "{binding}: {told:?}");
    }
    let report = judge("shop/api", &rbac, &shop(), "elsewhere");
    let secrets = report.findings.iter().find(|finding| finding.check.id == "RBA-02").unwrap();
    assert_eq!((secrets.status, secrets.evidence.as_str()), (Status::Pass, "nobody"));
    let masters = report.findings.iter().find(|finding| finding.check.id == "RBA-07").unwrap();
    assert_eq!(masters.status, Status::Unknown);
}

#[test]
fn what_everybody_may_is_a_finding_of_its_own_and_critical() {
    let exec = cluster_role("exec", json!([rule(&[""], &["*/exec"], &["*"])]));
    for (subject, check) in [
        (group("system:unauthenticated"), "RBA-10"),
        (group("system:authenticated"), "RBA-10"),
        (group("system:serviceaccounts"), "RBA-10"),
        (user("system:anonymous"), "RBA-10"),
        (group("system:serviceaccounts:shop"), "RBA-05"),
    ] {
        let rbac = read(&[exec.clone(), bound("shop", "x", "ClusterRole exec", std::slice::from_ref(&subject))]);
        let report = judge("shop/api", &rbac, &shop(), "coffer");
        let counted: BTreeSet<_> = report.findings.iter().filter(|found| found.counts()).map(|found| found.check.id).collect();
        assert_eq!(counted, BTreeSet::from([check]), "{subject}");
    }
}

#[test]
fn a_request_is_allowed_as_the_api_server_allows_it() {
    let rbac = read(
        &[
            site(),
            vec![
                role(
                    "Role",
                    "shop",
                    "odd",
                    json!([
                        { "apiGroups": ["", "apps"], "resources": ["configmaps", "*/scale"], "verbs": ["update"] },
                        { "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create"], "resourceNames": ["a"] },
                        { "apiGroups": ["*"], "resources": ["pods"], "verbs": ["list"] },
                        { "verbs": ["get"], "nonResourceURLs": ["/healthz"] },
                    ]),
                ),
                bound("shop", "odd", "Role odd", &[user("odd")]),
                bound("", "nonsense", "Role odd", &[user("wide")]),
            ],
        ]
        .concat(),
    );
    let request =
        |verb, group, resource, namespace, name| Request { verb, group, resource, place: Place::Namespace(namespace), name };
    for (who, request, is_allowed) in [
        ("odd", request("update", "", "configmaps", "shop", None), true),
        ("odd", request("update", "", "configmaps", "other", None), false),
        ("odd", request("update", "apps", "deployments/scale", "shop", None), true),
        ("odd", request("update", "apps", "deployments", "shop", None), false),
        ("odd", request("update", "batch", "jobs/scale", "shop", None), false),
        ("odd", request("update", "", "scale", "shop", None), false),
        ("odd", request("get", "", "secrets", "shop", Some("a")), true),
        ("odd", request("get", "", "secrets", "shop", Some("b")), false),
        ("odd", request("get", "", "secrets", "shop", None), false),
        ("odd", request("create", "", "secrets", "shop", None), false),
        ("odd", request("list", "metrics.k8s.io", "pods", "shop", None), true),
        ("odd", request("list", "", "pods/log", "shop", None), false),
        // A role is of its namespace, and no binding makes it more.
        ("wide", request("update", "", "configmaps", "shop", None), false),
        ("olga", request("create", "", "pods/exec", "shop", None), true),
        ("olga", request("create", "", "serviceaccounts/token", "shop", Some("api")), true),
        ("eve", request("create", "", "serviceaccounts/token", "shop", Some("api")), false),
        ("eve", Request { place: Place::Cluster, ..request("create", "", "pods", "", None) }, false),
        ("eve", Request { place: Place::Anywhere, ..request("create", "", "pods", "", None) }, true),
        (
            "system:serviceaccount:monitoring:agent",
            Request { place: Place::Cluster, ..request("get", "", "nodes/proxy", "", None) },
            true,
        ),
        ("nobody", request("get", "", "pods", "shop", None), false),
    ] {
        assert_eq!(rbac.can(who, &[], &request), is_allowed, "{who}: {request:?}");
    }
    let anything = request("delete", "x.example", "ys", "z", None);
    assert!(rbac.can("x", &["system:masters"], &anything) && rbac.can("x", &["a", "admins"], &anything));
    assert!(!rbac.can("x", &["a"], &anything));
}

#[test]
fn roles_gather_others_by_their_labels_and_never_without_end() {
    let labelled = |name: &str, labels: Value, selector: Value| {
        json!({
            "kind": "ClusterRole", "metadata": { "name": name, "labels": labels }, "rules": [rule(&[""], &[name], &["get"])],
            "aggregationRule": { "clusterRoleSelectors": [selector] },
        })
    };
    let rbac = read(&[
        labelled("a", json!({ "x": "1" }), json!({ "matchExpressions": [{ "key": "x", "operator": "In", "values": ["2"] }] })),
        labelled("b", json!({ "x": "2" }), json!({ "matchLabels": { "x": "1" } })),
        labelled(
            "c",
            json!({ "x": "3" }),
            json!({ "matchExpressions": [{ "key": "x", "operator": "NotIn", "values": ["1", "2"] }] }),
        ),
        labelled(
            "d",
            json!({}),
            json!({ "matchExpressions": [{ "key": "x", "operator": "Exists" }, { "key": "x", "operator": "Odd" }] }),
        ),
        bound("", "a", "ClusterRole a", &[user("a")]),
        bound("", "c", "ClusterRole c", &[user("c")]),
        bound("", "d", "ClusterRole d", &[user("d")]),
    ]);
    let may = |who: &str, resource| {
        rbac.can(who, &[], &Request { verb: "get", group: "", resource, place: Place::Cluster, name: None })
    };
    assert!(may("a", "a") && may("a", "b") && !may("a", "c"));
    assert!(may("c", "c") && may("c", "d") && !may("c", "a"));
    assert!(may("d", "d") && !may("d", "a"));
}

#[test]
fn what_cannot_be_read_is_refused_by_name_and_other_kinds_say_nothing() {
    assert!(Rbac::read(&[json!({ "kind": "Pod", "metadata": { "name": "x" } }), json!(null), json!([1])]).unwrap().is_empty());
    for (object, told) in [
        (json!({ "kind": "ClusterRole", "metadata": { "name": "x" }, "rules": 7 }), "ClusterRole x cannot be read"),
        (json!({ "kind": "ClusterRole" }), "ClusterRole (without a name) cannot be read"),
        (json!({ "kind": "Role", "metadata": { "name": "x" } }), "Role x is in no namespace"),
        (
            json!({ "kind": "RoleBinding", "metadata": { "name": "x" }, "roleRef": { "kind": "Role", "name": "y" } }),
            "RoleBinding x is in no namespace",
        ),
        (json!({ "kind": "ClusterRoleBinding", "metadata": { "name": "x" } }), "ClusterRoleBinding x cannot be read"),
    ] {
        let why = Rbac::read(&[object]).unwrap_err().to_string();
        assert!(why.starts_with(told), "{why}");
    }
    let many = |count: usize| {
        let objects: Vec<Value> = (0..count).map(|number| cluster_role(&number.to_string(), json!([]))).collect();
        Rbac::read(&[json!({ "items": objects })])
    };
    assert_eq!(many(RBAC_OBJECTS_MAX).unwrap().len(), RBAC_OBJECTS_MAX);
    assert!(many(RBAC_OBJECTS_MAX + 1).unwrap_err().to_string().contains("more than 50000"));
}
