//! `coffer scan access`.

use std::collections::BTreeSet;

use clap::Args;
use coffer_checks::access::{AccessError, Rbac, Target, judge};
use serde_json::Value;

use super::report::{Options, show};
use crate::{
    app::App,
    commands::{grant, migrate::MANIFEST_BYTES_MAX},
    exit::Exit,
    failure::{Failure, Result},
    input::Source,
    kubectl::{Kubectl, Refused},
};

/// Where Coffer is, where nothing is said.
const VAULT_NAMESPACE: &str = "coffer";
/// What is asked of the cluster.
const KINDS: &str = "clusterroles,clusterrolebindings,roles,rolebindings";

/// Check who else can reach a secret through Kubernetes
///
/// A grant says which workload is given a secret. Who can get into its pods, make one with its service account, have a token of it, change
/// what decides about pods or read the key of the vault's seal, reaches the secret past the grant. Their roles and bindings say so: every user,
/// group and service account that a binding names is a finding, with the role and the binding.
///
/// For a path the vault is asked which workloads its grants let read or use it; what policies beside grants permit is not known (coffer why).
/// With --service-account no vault is asked. The roles and bindings come through kubectl and what you may see there, or from files.
///
/// Who is in a group, and who has a certificate, no object of a cluster says: of system:masters, which may do everything, nothing is known.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer scan access kv/prod/payments
  coffer scan access kv/prod/payments --cluster prod --kube-context prod-admin
  coffer scan access --service-account shop/api
  kubectl get clusterroles,clusterrolebindings,roles,rolebindings -A -o json > rbac.json
  coffer scan access --service-account shop/api -f rbac.json -o json")]
pub(crate) struct Access {
    /// The path of a secret: its workloads are those that grants let read or use it
    #[arg(value_name = "PATH", required_unless_present = "service_accounts", conflicts_with = "service_accounts")]
    path: Option<String>,
    /// A workload, in place of a path. May be repeated
    #[arg(long = "service-account", value_name = "NAMESPACE/NAME", value_parser = parse_account)]
    service_accounts: Vec<Target>,
    /// The cluster, as the vault calls it, where grants name several
    #[arg(long, value_name = "CLUSTER", requires = "path")]
    cluster: Option<String>,
    /// A file with roles and bindings, YAML or JSON, in place of a cluster; - for standard input. May be repeated
    #[arg(short, long = "filename", value_name = "FILE")]
    files: Vec<String>,
    /// The context of kubectl, in place of its current one
    #[arg(long, value_name = "CONTEXT", conflicts_with = "files")]
    kube_context: Option<String>,
    /// The namespace that Coffer itself is in
    #[arg(long, value_name = "NAMESPACE", default_value = VAULT_NAMESPACE)]
    coffer_namespace: String,
    #[command(flatten)]
    options: Options,
}

fn parse_account(text: &str) -> std::result::Result<Target, &'static str> {
    let is_word = |word: &str| {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        !word.is_empty() && word.chars().all(allowed)
    };
    match text.split_once('/') {
        Some((namespace, name)) if is_word(namespace) && is_word(name) => {
            Ok(Target { namespace: Some(namespace.to_owned()), service_account: Some(name.to_owned()) })
        }
        _ => Err("write NAMESPACE/NAME"),
    }
}

impl Access {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        let (name, targets) = match &self.path {
            Some(path) => (path.clone(), self.granted(app, path).await?),
            None => {
                let names: Vec<_> = self.service_accounts.iter().map(named).collect();
                (names.join(", "), self.service_accounts.clone())
            }
        };
        let rbac = self.rbac(app).await?;
        if rbac.is_empty() {
            return Err(Failure::usage("there is no role and no binding: it is not known who may what")
                .next(format!("kubectl get {KINDS} --all-namespaces -o json")));
        }
        show(app, &mut judge(&name, &rbac, &targets, &self.coffer_namespace), &self.options)
    }

    /// The workloads of one cluster that grants let read or use a path.
    async fn granted(&self, app: &App, path: &str) -> Result<Vec<Target>> {
        let vault = app.vault()?;
        let grants = grant::list(app, &vault, path.to_owned(), String::new()).await?;
        let releases = |actions: &[String]| actions.iter().any(|action| matches!(action.as_str(), "read" | "use"));
        let principals = grants.iter().filter(|grant| releases(&grant.actions)).map(|grant| grant.principal.as_str());
        let workloads: Vec<(String, Target)> = principals.filter_map(workload).collect();
        let is_meant = |cluster: &str| self.cluster.as_deref().is_none_or(|wanted| cluster == "*" || cluster == wanted);
        let clusters: BTreeSet<&str> =
            workloads.iter().map(|(cluster, _)| cluster.as_str()).filter(|name| *name != "*").collect();
        if self.cluster.is_none() && clusters.len() > 1 {
            let clusters = clusters.into_iter().collect::<Vec<_>>().join(", ");
            return Err(Failure::usage(format!("workloads of several clusters may read {path}: {clusters}"))
                .next(format!("coffer scan access {path} --cluster CLUSTER --kube-context CONTEXT")));
        }
        let targets: BTreeSet<Target> =
            workloads.into_iter().filter(|(cluster, _)| is_meant(cluster)).map(|(_, target)| target).collect();
        if targets.is_empty() {
            return Err(
                Failure::usage(format!("no grant lets a workload read or use {path}")).next(format!("coffer grants {path}"))
            );
        }
        let names: Vec<_> = targets.iter().map(named).collect();
        app.out.note(&format!("given to {}", names.join(", ")));
        Ok(targets.into_iter().collect())
    }

    async fn rbac(&self, app: &App) -> Result<Rbac> {
        let mut documents: Vec<Value> = Vec::new();
        if self.files.is_empty() {
            let kubectl = Kubectl::new(self.kube_context.clone());
            documents.push(kubectl.json(&["get", KINDS, "--all-namespaces"]).await.map_err(refused)?);
            return Rbac::read(&documents).map_err(|error| Failure::new(Exit::Failed, error.to_string()));
        }
        for file in &self.files {
            let source = Source::of_file(file);
            let text = app.input.text(&source, MANIFEST_BYTES_MAX)?;
            let read: Vec<Value> = serde_saphyr::from_multiple(text.expose()).map_err(|error| {
                Failure::usage(format!("{} has no roles that can be judged", source.name())).why(error.to_string())
            })?;
            documents.extend(read);
        }
        Rbac::read(&documents).map_err(|error: AccessError| Failure::usage("the roles cannot be judged").why(error.to_string()))
    }
}

/// The cluster and the workloads that a principal is; none where it is no workload.
fn workload(principal: &str) -> Option<(String, Target)> {
    let mut words = principal.strip_prefix("k8s:")?.split('/');
    let (cluster, mut word) = (words.next()?.to_owned(), || words.next().filter(|word| *word != "*").map(str::to_owned));
    Some((cluster, Target { namespace: word(), service_account: word() }))
}

fn named(target: &Target) -> String {
    let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "*".to_owned());
    format!("{}/{}", word(&target.namespace), word(&target.service_account))
}

fn refused(refused: Refused) -> Box<Failure> {
    let failure = |exit, why: String| Failure::new(exit, "cannot list roles and bindings with kubectl").why(why);
    match refused {
        Refused::Missing => {
            failure(Exit::Failed, "there is no kubectl in the PATH".to_owned()).next("coffer scan access -f FILE")
        }
        Refused::Forbidden(why) => failure(Exit::Denied, why).next("ask for the right to list roles and bindings everywhere"),
        Refused::NotFound => failure(Exit::Unavailable, "the cluster has no RBAC".to_owned()),
        Refused::Failed(why) => failure(Exit::Unavailable, why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(namespace: Option<&str>, name: Option<&str>) -> Target {
        Target { namespace: namespace.map(str::to_owned), service_account: name.map(str::to_owned) }
    }

    #[test]
    fn principals_are_workloads_or_none() {
        for (principal, expected) in [
            ("k8s:prod/shop/api", Some(("prod", target(Some("shop"), Some("api"))))),
            ("k8s:prod/shop/*", Some(("prod", target(Some("shop"), None)))),
            ("k8s:prod/*/*", Some(("prod", target(None, None)))),
            ("k8s:*/*/*", Some(("*", target(None, None)))),
            ("operator:alice", None),
            ("role:admin", None),
        ] {
            assert_eq!(workload(principal), expected.map(|(cluster, target)| (cluster.to_owned(), target)), "{principal}");
        }
    }

    #[test]
    fn an_account_is_a_namespace_and_a_name() {
        assert_eq!(parse_account("shop/api"), Ok(target(Some("shop"), Some("api"))));
        for wrong in ["", "api", "/api", "shop/", "shop/api/x", "Shop/api", "k8s:prod/shop/api"] {
            assert!(parse_account(wrong).is_err(), "{wrong}");
        }
    }
}
