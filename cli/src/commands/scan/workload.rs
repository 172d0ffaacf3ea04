//! `coffer scan workload`.

use clap::Args;
use coffer_checks::workload::{judge, pods};
use serde_json::Value;

use super::report::{Options, show};
use crate::{
    app::App,
    commands::migrate::MANIFEST_BYTES_MAX,
    exit::Exit,
    failure::{Failure, Result},
    input::Source,
    kubectl::{Kubectl, Refused},
};

/// Check workloads: pods, and what makes them
///
/// The levels of Pod Security are judged as the API server does, version by version (POD-37 and POD-38 say which one a pod is of), and beside
/// them what could take a secret out of the pod: the node's folders, a runtime's socket, shared processes, debug containers, secrets that
/// are written into the environment.
///
/// With -f manifests are read, and no cluster is asked. With -n the pods that run in a namespace are looked at, through kubectl and what you
/// may see there.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer scan workload -f deployment.yaml
  helm template app ./chart | coffer scan workload -f -
  coffer scan workload -n shop
  coffer scan workload --all-namespaces -o json | jq '.findings[] | select(.id == \"POD-37\")'")]
pub(crate) struct Workload {
    /// A file with manifests, YAML or JSON; - for standard input. May be repeated
    #[arg(short, long = "filename", value_name = "FILE", required_unless_present_any = ["namespace", "all_namespaces"])]
    files: Vec<String>,
    /// The pods of this namespace
    #[arg(short, long, value_name = "NAMESPACE", conflicts_with = "files")]
    namespace: Option<String>,
    /// The pods of every namespace
    #[arg(short = 'A', long, conflicts_with_all = ["files", "namespace"])]
    all_namespaces: bool,
    /// The context of kubectl, in place of its current one
    #[arg(long, value_name = "CONTEXT", conflicts_with = "files")]
    kube_context: Option<String>,
    #[command(flatten)]
    options: Options,
}

impl Workload {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        let mut found = Vec::new();
        let target = if self.files.is_empty() {
            let place =
                self.namespace.as_ref().map_or_else(|| "--all-namespaces".to_owned(), |name| format!("--namespace={name}"));
            let list: Value = Kubectl::new(self.kube_context.clone()).json(&["get", "pods", &place]).await.map_err(refused)?;
            found.extend(pods(&list).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?);
            self.namespace.clone().map_or_else(|| "all namespaces".to_owned(), |name| format!("namespace {name}"))
        } else {
            for file in &self.files {
                found.extend(of_file(app, file)?);
            }
            self.files.iter().map(|file| Source::of_file(file).name()).collect::<Vec<_>>().join(", ")
        };
        if found.is_empty() {
            let nothing = format!("there is no pod in {target}, and nothing that makes any");
            // A pipeline whose first part failed must not pass.
            if !self.files.is_empty() {
                return Err(Failure::usage(nothing));
            }
            app.out.note(&nothing);
        }
        show(app, &mut judge(&target, &found), &self.options)
    }
}

fn of_file(app: &App, file: &str) -> Result<Vec<(String, coffer_checks::workload::Pod)>> {
    let source = Source::of_file(file);
    let text = app.input.text(&source, MANIFEST_BYTES_MAX)?;
    let wrong = |why: String| Failure::usage(format!("{} has no manifest that can be judged", source.name())).why(why);
    let documents: Vec<Value> = serde_saphyr::from_multiple(text.expose()).map_err(|error| wrong(error.to_string()))?;
    let mut found = Vec::new();
    for document in &documents {
        found.extend(pods(document).map_err(|error| wrong(error.to_string()))?);
    }
    Ok(found)
}

fn refused(refused: Refused) -> Box<Failure> {
    let failure = |exit, why: String| Failure::new(exit, "cannot list pods with kubectl").why(why);
    match refused {
        Refused::Missing => failure(Exit::Failed, "there is no kubectl in the PATH".to_owned()),
        Refused::Forbidden(why) => failure(Exit::Denied, why).next("ask for the right to list pods there"),
        Refused::NotFound => failure(Exit::Denied, "there is no such namespace".to_owned()),
        Refused::Failed(why) => failure(Exit::Unavailable, why),
    }
}
