//! What roles and bindings come to: as the API server itself says.

use anyhow::{Context as _, Result, ensure};
use coffer_checks::access::{Place, Rbac, Request};
use coffer_tests::{cluster::Cluster, command::Coffer, programs::Programs};
use serde_json::Value;

const KINDS: &str = "clusterroles,clusterrolebindings,roles,rolebindings";

/// Roles and bindings of every shape.
const OBJECTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: access}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: named, namespace: access}
rules:
- {apiGroups: [""], resources: [pods/exec], verbs: [create], resourceNames: [api-0]}
- {apiGroups: [""], resources: [secrets], verbs: [get, create], resourceNames: [a]}
- {apiGroups: [apps], resources: ["*/scale"], verbs: [update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: access-part, labels: {access-part: "true"}}
rules:
- {apiGroups: [""], resources: [nodes/proxy, serviceaccounts/token], verbs: ["*"]}
- {apiGroups: [admissionregistration.k8s.io], resources: ["*"], verbs: [update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: access-whole}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {access-part: "true"}}]}
rules: []
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: named, namespace: access}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: named}
subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: access-sam}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: developers, namespace: access}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: Group, apiGroup: rbac.authorization.k8s.io, name: access-developers}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: access-whole}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: access-whole}
subjects: [{kind: ServiceAccount, name: agent, namespace: access}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: access-view}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: access-vera}]
"#;

/// Users, and a group of theirs beside those that everybody has.
const WHO: &[(&str, &str)] = &[
    ("access-sam", "nobody-s"),
    ("access-dora", "access-developers"),
    ("access-vera", "nobody-s"),
    ("access-root", "system:masters"),
    ("access-nobody", "nobody-s"),
    ("system:serviceaccount:access:agent", "system:serviceaccounts"),
    ("system:serviceaccount:other:agent", "system:serviceaccounts"),
    ("system:kube-scheduler", "nobody-s"),
];

/// Verbs, groups, resources, names, and whether they are in a namespace.
const WHAT: &[(&str, &str, &str, Option<&str>, bool)] = &[
    ("create", "", "pods", None, true),
    ("create", "", "pods/exec", None, true),
    ("create", "", "pods/exec", Some("api-0"), true),
    ("create", "", "pods/exec", Some("api-1"), true),
    ("get", "", "pods/attach", None, true),
    ("patch", "", "pods/ephemeralcontainers", None, true),
    ("get", "", "secrets", None, true),
    ("get", "", "secrets", Some("a"), true),
    ("get", "", "secrets", Some("b"), true),
    ("create", "", "secrets", None, true),
    ("list", "", "pods", None, true),
    ("create", "apps", "deployments", None, true),
    ("update", "apps", "deployments/scale", None, true),
    ("create", "batch", "cronjobs", None, true),
    ("create", "", "serviceaccounts/token", Some("api"), true),
    ("impersonate", "", "serviceaccounts", Some("api"), true),
    ("bind", "rbac.authorization.k8s.io", "roles", None, true),
    ("escalate", "rbac.authorization.k8s.io", "clusterroles", None, false),
    ("get", "", "nodes/proxy", None, false),
    ("create", "", "persistentvolumes", None, false),
    ("update", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", None, false),
    ("create", "admissionregistration.k8s.io", "validatingadmissionpolicies", None, false),
];

/// What the API server says.
fn can_i(cluster: &Cluster, (user, group): (&str, &str), request: &Request<'_>) -> Result<bool> {
    let (resource, part) = request.resource.split_once('/').unwrap_or((request.resource, ""));
    let of_group = if request.group.is_empty() { resource.to_owned() } else { format!("{resource}.{}", request.group) };
    let what = request.name.map_or_else(|| of_group.clone(), |name| format!("{of_group}/{name}"));
    let mut arguments = vec!["auth".to_owned(), "can-i".to_owned(), request.verb.to_owned(), what];
    arguments.extend([format!("--as={user}"), format!("--as-group={group}"), "--as-group=system:authenticated".to_owned()]);
    if !part.is_empty() {
        arguments.push(format!("--subresource={part}"));
    }
    match request.place {
        Place::Namespace(namespace) => arguments.push(format!("--namespace={namespace}")),
        // With a name kubectl asks in one namespace, whatever it is told.
        Place::Cluster | Place::Anywhere => arguments.push("--all-namespaces".to_owned()),
    }
    let output = cluster.try_kubectl(&arguments)?;
    match String::from_utf8_lossy(&output.stdout).lines().next().map(str::trim) {
        Some(line) if line.starts_with("yes") => Ok(true),
        Some(line) if line.starts_with("no") => Ok(false),
        _ => anyhow::bail!("{arguments:?}: {output:?}"),
    }
}

#[test]
#[ignore = "needs Kubernetes: tests/run"]
fn roles_come_to_what_the_api_server_says() -> Result<()> {
    let cluster = Cluster::of_this_run()?;
    cluster.kubectl_with(["apply", "-f", "-"], OBJECTS)?;
    let compared = compared(&cluster).and_then(|()| shown(&cluster));
    cluster.kubectl(["delete", "namespace", "access", "--wait=true", "--timeout=60s"])?;
    cluster.kubectl(["delete", "clusterrolebinding", "access-whole", "access-view"])?;
    cluster.kubectl(["delete", "clusterrole", "access-whole", "access-part"])?;
    compared
}

fn compared(cluster: &Cluster) -> Result<()> {
    let objects: Value = serde_json::from_str(&cluster.kubectl(["get", KINDS, "--all-namespaces", "-o", "json"])?)?;
    let rbac = Rbac::read(&[objects]).map_err(|error| anyhow::anyhow!("{error}"))?;
    ensure!(rbac.len() > 50, "a cluster has roles of its own: {}", rbac.len());
    let (mut differing, mut allowed) = (Vec::new(), 0);
    for who in WHO {
        for (verb, group, resource, name, is_in_namespace) in WHAT {
            let places: &[Place<'_>] = match (is_in_namespace, name) {
                (true, None) => &[Place::Namespace("access"), Place::Namespace("default"), Place::Cluster],
                (true, Some(_)) => &[Place::Namespace("access"), Place::Namespace("default")],
                (false, _) => &[Place::Cluster],
            };
            for place in places {
                let request = Request { verb, group, resource, place: *place, name: *name };
                let (ours, theirs) =
                    (rbac.can(who.0, &[who.1, "system:authenticated"], &request), can_i(cluster, *who, &request)?);
                allowed += usize::from(theirs);
                if ours != theirs {
                    differing.push(format!("{who:?} {request:?}: {ours}, and the API server says {theirs}"));
                }
            }
        }
    }
    ensure!(differing.is_empty(), "{differing:#?}");
    ensure!(allowed > 40, "so few are allowed that nothing was compared: {allowed}");
    Ok(())
}

/// The command says the same of the same cluster.
fn shown(cluster: &Cluster) -> Result<()> {
    let coffer = Coffer::new(Programs::built()?)?;
    let mut command = coffer.command();
    command.args(["scan", "access", "--service-account", "access/api", "-o", "json", "--fail-on", "none"]);
    let path = std::env::var_os("PATH").context("a PATH")?;
    let output = command.env("KUBECONFIG", cluster.kubeconfig()).env("PATH", path).output()?;
    let report: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
    let findings = report["findings"].as_array().context("findings")?;
    for (check, subject) in [
        ("RBA-04", "Group access-developers at namespace access"),
        ("RBA-05", "Group access-developers at namespace access"),
        ("RBA-05", "User access-sam at namespace access"),
        ("RBA-09", "ServiceAccount access/agent at the cluster"),
        ("RBA-09", "ServiceAccount access/agent at service account access/api"),
    ] {
        let is_it = |finding: &&Value| finding["id"] == check && finding["subject"] == subject && finding["status"] == "fail";
        ensure!(findings.iter().any(|finding| is_it(&finding)), "no {check} of {subject}: {findings:#?}");
    }
    let of_nobody = |finding: &&Value| finding["subject"].as_str().is_some_and(|subject| subject.contains("access-vera"));
    ensure!(!findings.iter().any(|finding| of_nobody(&finding)), "whoever may look is told of: {findings:#?}");
    Ok(())
}
