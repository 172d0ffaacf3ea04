//! What is asked about access, check by check.

use crate::{Check, Severity, Tier};

/// Where a check looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    /// At the service account itself, by its name.
    Account,
    /// At the workload's namespace, and at the vault's.
    Both,
    /// At the vault's namespace.
    Vault,
    /// At the cluster.
    Cluster,
}

/// Verbs, the group of a resource, resources, and where they are looked for.
pub(super) type Asked = (&'static [&'static str], &'static str, &'static [&'static str], Where);

/// A check, and what must not be allowed to anybody.
pub(super) struct AccessCheck {
    pub(super) about: Check,
    pub(super) asked: &'static [Asked],
}

pub(super) static EVERYTHING: Check = Check {
    id: "RBA-01",
    title: "nobody may do everything",
    severity: Severity::High,
    tier: Tier::Advisory,
    benchmarks: &["CIS-Kubernetes 5.1.1"],
    why: "Who may do everything reads every secret that any pod of the cluster is given.",
    remedy: "bind a role that names what is needed; for what is left, an exception says who answers for it",
};
pub(super) static MASTERS_CHECK: Check = Check {
    id: "RBA-07",
    title: "nobody is in system:masters",
    severity: Severity::High,
    tier: Tier::Advisory,
    benchmarks: &["CIS-Kubernetes 5.1.7"],
    why: "No role takes anything from that group, and a certificate that names it cannot be taken back.",
    remedy: "keep such certificates away, and log in as a user whose binding can be deleted",
};
pub(super) static EVERYBODY: Check = Check {
    id: "RBA-10",
    title: "not everybody, and nobody unknown, can reach it",
    severity: Severity::Critical,
    tier: Tier::Gate,
    benchmarks: &["CIS-Kubernetes 5.1.1"],
    why: "Any pod of the cluster, or anybody who can reach its API server, can take the secret.",
    remedy: "delete the binding of that group",
};

/// Resources that pods are made from, each group by itself.
const APPS: &[&str] = &["deployments", "daemonsets", "statefulsets", "replicasets"];
const MAKES: &[&str] = &["create", "update", "patch"];
const CHANGES: &[&str] = &["create", "update", "patch", "delete"];

pub(super) static CHECKS: &[AccessCheck] = &[
    AccessCheck {
        about: Check {
            id: "RBA-02",
            title: "nobody reads the Secrets of the vault's own namespace",
            severity: Severity::High,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Kubernetes 5.1.2"],
            why: "The key of a static-key seal is a Secret there: with it and a copy of the store, every secret is open.",
            remedy: "take secrets out of that role, or bind it in other namespaces alone",
        },
        asked: &[(&["get", "list", "watch"], "", &["secrets"], Where::Vault)],
    },
    AccessCheck {
        about: Check {
            id: "RBA-04",
            title: "nobody can make a pod there, or change one",
            severity: Severity::High,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Kubernetes 5.1.4"],
            why: "A pod with that service account is given its secrets, whatever image it runs.",
            remedy: "leave it to what deploys, and require image=pass,signed-by=SIGNER of the grant",
        },
        asked: &[
            (MAKES, "", &["pods", "replicationcontrollers"], Where::Both),
            (MAKES, "apps", APPS, Where::Both),
            (MAKES, "batch", &["jobs", "cronjobs"], Where::Both),
        ],
    },
    AccessCheck {
        about: Check {
            id: "RBA-05",
            title: "nobody can get into its pods",
            severity: Severity::High,
            tier: Tier::OptIn,
            benchmarks: &[],
            why: "Whoever runs something in the pod, or beside it, reads the files that its secrets are in.",
            remedy: "give pods/exec, pods/attach and pods/ephemeralcontainers in an emergency alone, and for a time",
        },
        asked: &[
            // A stream of WebSockets is opened with get.
            (&["create", "get"], "", &["pods/exec", "pods/attach"], Where::Both),
            (&["update", "patch"], "", &["pods/ephemeralcontainers"], Where::Both),
        ],
    },
    AccessCheck {
        about: Check {
            id: "RBA-08",
            title: "nobody can take what others may",
            severity: Severity::High,
            tier: Tier::Advisory,
            benchmarks: &["CIS-Kubernetes 5.1.8"],
            why: "Who acts as another, or gives roles that they do not have, may do what anybody may.",
            remedy: "take impersonate, bind and escalate out of the role",
        },
        asked: &[
            (&["impersonate"], "", &["users", "groups"], Where::Cluster),
            (&["impersonate"], "", &["serviceaccounts"], Where::Account),
            (&["bind", "escalate"], "rbac.authorization.k8s.io", &["clusterroles"], Where::Cluster),
            (&["bind", "escalate"], "rbac.authorization.k8s.io", &["roles"], Where::Both),
        ],
    },
    AccessCheck {
        about: Check {
            id: "RBA-09",
            title: "nobody can go round what decides about pods",
            severity: Severity::High,
            tier: Tier::Advisory,
            benchmarks: &[
                "CIS-Kubernetes 5.1.9",
                "CIS-Kubernetes 5.1.10",
                "CIS-Kubernetes 5.1.11",
                "CIS-Kubernetes 5.1.12",
                "CIS-Kubernetes 5.1.13",
            ],
            why: "A kubelet runs what it is told in any pod, a token is the service account, and a webhook or policy that is changed lets anything through.",
            remedy: "take it out of the role: it is for what runs the cluster",
        },
        asked: &[
            (&["create"], "", &["serviceaccounts/token"], Where::Account),
            (&["get", "create"], "", &["nodes/proxy"], Where::Cluster),
            (&["create"], "", &["persistentvolumes"], Where::Cluster),
            (&["approve"], "certificates.k8s.io", &["signers"], Where::Cluster),
            (
                CHANGES,
                "admissionregistration.k8s.io",
                &[
                    "mutatingwebhookconfigurations",
                    "validatingwebhookconfigurations",
                    "validatingadmissionpolicies",
                    "validatingadmissionpolicybindings",
                ],
                Where::Cluster,
            ),
        ],
    },
];
