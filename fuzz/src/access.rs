//! Roles and bindings, which whoever may write them has written.

use std::collections::BTreeSet;

use coffer_checks::access::{Place, Rbac, Request, Subject, Target, judge};

pub(crate) const WORDS: &[&str] = &[
    "\"kind\":\"ClusterRole\"",
    "\"kind\":\"ClusterRoleBinding\"",
    "\"kind\":\"Role\"",
    "\"kind\":\"RoleBinding\"",
    "\"items\":[",
    "\"metadata\":{\"name\":\"a\",\"namespace\":\"shop\"}",
    "\"labels\":{\"part\":\"true\"}",
    "\"rules\":[{\"apiGroups\":[\"\"],\"resources\":[\"*\"],\"verbs\":[\"*\"]}]",
    "\"resourceNames\":[\"api\"]",
    "\"aggregationRule\":{\"clusterRoleSelectors\":[{\"matchLabels\":{\"part\":\"true\"}}]}",
    "\"matchExpressions\":[{\"key\":\"part\",\"operator\":\"Exists\"}]",
    "\"roleRef\":{\"kind\":\"ClusterRole\",\"name\":\"a\"}",
    "\"subjects\":[{\"kind\":\"Group\",\"name\":\"system:authenticated\"}]",
    "\"kind\":\"ServiceAccount\"",
    "pods/exec",
    "*/*",
    "null",
    "\u{202e}",
];

pub(crate) fn check(input: &[u8]) {
    let Ok(document) = serde_json::from_slice(input) else { return };
    let Ok(rbac) = Rbac::read(&[document]) else { return };
    for (verb, resource) in [("get", "secrets"), ("create", "pods/exec"), ("create", "serviceaccounts/token")] {
        for place in [Place::Cluster, Place::Namespace("shop"), Place::Anywhere] {
            let request = Request { verb, group: "", resource, place, name: None };
            for allowed in rbac.who(&request) {
                // Whoever is told of may do it, themselves or in their group: to the objects that are named, or to all.
                for name in allowed.names.iter().copied().map(Some).chain(allowed.names.is_empty().then_some(None)) {
                    let request = Request { name, ..request };
                    assert!(is_allowed(&rbac, allowed.subject, &request), "{allowed:?} {request:?}");
                }
            }
        }
    }
    let target = Target { namespace: Some("shop".to_owned()), service_account: Some("api".to_owned()) };
    let report = judge("kv/shop/api", &rbac, &[target], "coffer");
    let ids: Vec<_> = report.findings.iter().map(|finding| (finding.check.id, finding.subject.as_str())).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "a subject is told of once for each check: {ids:?}");
}

fn is_allowed(rbac: &Rbac, subject: &Subject, request: &Request<'_>) -> bool {
    match subject {
        Subject::User(name) => rbac.can(name, &[], request),
        Subject::Group(group) => rbac.can("nobody", &[group], request),
        Subject::ServiceAccount(namespace, name) => rbac.can(&format!("system:serviceaccount:{namespace}:{name}"), &[], request),
    }
}
