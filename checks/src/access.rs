//! Checks of who else can reach a secret through Kubernetes: what roles and bindings (RBAC) let others do to a workload that is given it.
//!
//! Only bindings are known: who is in a group, and who has a certificate, no object of the cluster says.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Check, Finding, Judgement, Report};

mod checks;
mod rbac;

use checks::{AccessCheck, CHECKS, EVERYBODY, EVERYTHING, MASTERS_CHECK, Where};
pub use rbac::{AccessError, Allowed, Place, RBAC_OBJECTS_MAX, Rbac, Request, Subject};

/// What one finding says that somebody may, at most.
const REASONS_MAX: usize = 5;
/// Names of objects in one reason, at most.
const OBJECTS_NAMED_MAX: usize = 3;

/// A workload that is given the secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Its namespace; none for any.
    pub namespace: Option<String>,
    /// Its service account; none for any there.
    pub service_account: Option<String>,
}

impl Target {
    fn place(&self) -> Place<'_> {
        self.namespace.as_deref().map_or(Place::Anywhere, Place::Namespace)
    }
}

/// Every check of access.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    CHECKS.iter().map(|check| &check.about).chain([&EVERYTHING, &MASTERS_CHECK, &EVERYBODY])
}

/// Judges who else can reach what these workloads are given. `vault` is the namespace that Coffer itself is in.
#[must_use]
pub fn judge(target: &str, rbac: &Rbac, targets: &[Target], vault: &str) -> Report {
    let mut judging = Judging { rbac, vault, everything: BTreeSet::new(), found: BTreeMap::new(), own: BTreeMap::new() };
    let everything = Request { verb: "*", group: "*", resource: "*", place: Place::Cluster, name: None };
    for allowed in rbac.who(&everything) {
        judging.tell(&EVERYTHING, "the cluster", &allowed, "may do everything");
        judging.everything.insert(allowed.subject);
    }
    for check in CHECKS {
        judging.check(check, targets);
    }
    Report::new(target, judging.findings())
}

struct Judging<'a> {
    rbac: &'a Rbac,
    vault: &'a str,
    /// Who may everything, and is told once.
    everything: BTreeSet<&'a Subject>,
    /// What is found, by check, subject and place.
    found: BTreeMap<(&'static str, String), (&'static Check, BTreeSet<String>)>,
    /// How many of Kubernetes' own, and of Coffer's, a check has passed over.
    own: BTreeMap<&'static str, BTreeSet<&'a Subject>>,
}

impl<'a> Judging<'a> {
    fn check(&mut self, check: &'static AccessCheck, targets: &[Target]) {
        for (verbs, group, resources, at) in check.asked {
            let vault = Target { namespace: Some(self.vault.to_owned()), service_account: None };
            let places: Vec<&Target> = match at {
                Where::Account => targets.iter().collect(),
                Where::Both => targets.iter().chain([&vault]).collect(),
                Where::Vault => vec![&vault],
                Where::Cluster => Vec::new(),
            };
            let mut places: Vec<(Place<'_>, Option<&str>)> = places
                .into_iter()
                .map(|target| (target.place(), target.service_account.as_deref().filter(|_| *at == Where::Account)))
                .collect();
            if *at == Where::Cluster {
                places.push((Place::Cluster, None));
            }
            for (place, name) in places {
                for (verb, resource) in verbs.iter().flat_map(|verb| resources.iter().map(move |resource| (verb, resource))) {
                    self.ask(&check.about, &Request { verb, group, resource, place, name });
                }
            }
        }
    }

    fn ask(&mut self, check: &'static Check, request: &Request<'_>) {
        let place = match (request.place, request.name) {
            (Place::Namespace(namespace), Some(name)) => format!("service account {namespace}/{name}"),
            (Place::Namespace(namespace), None) => format!("namespace {namespace}"),
            (Place::Anywhere, _) => "some namespace".to_owned(),
            (Place::Cluster, _) => "the cluster".to_owned(),
        };
        for allowed in self.rbac.who(request) {
            if self.everything.contains(allowed.subject) {
                continue;
            }
            if is_kubernetes(&allowed) || self.is_coffer(&allowed) {
                self.own.entry(check.id).or_default().insert(allowed.subject);
                continue;
            }
            self.tell(check, &place, &allowed, &format!("may {} {}{}", request.verb, request.resource, of_names(&allowed.names)));
        }
    }

    fn tell(&mut self, check: &'static Check, place: &str, allowed: &Allowed<'_>, may: &str) {
        // For whom it is does not matter any more where it is for everybody.
        let check = if is_everybody(allowed.subject) { &EVERYBODY } else { check };
        let key = (check.id, format!("{} at {place}", allowed.subject));
        self.found.entry(key).or_insert_with(|| (check, BTreeSet::new())).1.insert(format!("{may} ({})", allowed.by));
    }

    /// What of Coffer's has a name in its role: its own certificates, its own webhook.
    fn is_coffer(&self, allowed: &Allowed<'_>) -> bool {
        !allowed.names.is_empty() && matches!(allowed.subject, Subject::ServiceAccount(namespace, _) if namespace == self.vault)
    }

    fn findings(self) -> Vec<Finding> {
        let failed: BTreeSet<&str> = self.found.keys().map(|(id, _)| *id).collect();
        let passed = checks().filter(|check| !failed.contains(check.id)).map(|check| {
            let own = self.own.get(check.id).map_or(0, BTreeSet::len);
            let judgement = match own {
                _ if check.id == MASTERS_CHECK.id => {
                    Judgement::unknown("no object of the cluster says who has a certificate that names the group")
                }
                0 => Judgement::pass("nobody"),
                own => Judgement::pass(format!("nobody but {own} of Kubernetes' or Coffer's own")),
            };
            Finding::new(check, judgement)
        });
        let passed: Vec<_> = passed.collect();
        let failures = self.found.into_iter().map(|((_, subject), (check, reasons))| {
            let more = reasons.len().saturating_sub(REASONS_MAX);
            let mut evidence = reasons.into_iter().take(REASONS_MAX).collect::<Vec<_>>().join("; ");
            if more > 0 {
                evidence.push_str(&format!("; and {more} more"));
            }
            Finding::about(check, subject, Judgement::fail(evidence))
        });
        failures.chain(passed).collect()
    }
}

fn of_names(names: &BTreeSet<&str>) -> String {
    if names.is_empty() {
        return String::new();
    }
    let more = if names.len() > OBJECTS_NAMED_MAX { ", ..." } else { "" };
    format!(" of {}{more} alone", names.iter().copied().take(OBJECTS_NAMED_MAX).collect::<Vec<_>>().join(", "))
}

/// Whether it is somebody whom nobody can tell from anybody else.
fn is_everybody(subject: &Subject) -> bool {
    match subject {
        Subject::User(name) => name == "system:anonymous",
        Subject::Group(name) => {
            matches!(name.as_str(), "system:unauthenticated" | "system:authenticated" | "system:serviceaccounts")
        }
        Subject::ServiceAccount(..) => false,
    }
}

/// Whether it is a part of Kubernetes, which could not run pods without. A controller counts by its namespace and its binding: who can make a
/// pod or a binding there may everything already.
fn is_kubernetes(allowed: &Allowed<'_>) -> bool {
    match allowed.subject {
        Subject::User(name) => {
            matches!(name.as_str(), "system:kube-controller-manager" | "system:kube-scheduler" | "system:apiserver")
        }
        Subject::Group(name) => matches!(name.as_str(), "system:nodes" | rbac::MASTERS),
        Subject::ServiceAccount(namespace, _) => namespace == "kube-system" && allowed.binding.starts_with("system:controller:"),
    }
}

#[cfg(test)]
mod tests;
