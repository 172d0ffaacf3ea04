//! `coffer node`: what nodes say of themselves, as the vault judges it.

use clap::{Args, Subcommand};
use coffer_client::proto::{
    ConfirmPostureLossRequest, GetPostureRequest, ListPosturesRequest, Posture, PostureFinding, PostureState,
};
use serde::Serialize;

use crate::{
    app::{App, PAGE_SIZE, Vault, all_pages, answer, part},
    exit::Exit,
    failure::{Failure, Result},
    output::{Table, View, pairs, printable, rfc3339, since},
};

/// See what is known of the nodes that pods run on
///
/// A node agent on each node reports what could take a secret out of a pod's memory there; the vault judges it with its own checks, and
/// grants can ask for it. A node speaks for itself: whoever is root there can have it say anything (assurance self-reported). docs/nodes.md
/// says how to install the agent.
#[derive(Subcommand)]
pub(crate) enum Node {
    #[command(visible_alias = "ls")]
    List(List),
    Show(Show),
    Confirm(Confirm),
}

impl Node {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::List(command) => command.run(app).await,
            Self::Show(command) => command.run(app).await,
            Self::Confirm(command) => command.run(app).await,
        }
    }
}

#[derive(Serialize)]
struct Json<'a> {
    cluster: &'a str,
    node: &'a str,
    state: &'static str,
    posture: &'a str,
    swap: &'a str,
    failing: &'a [String],
    assurance: &'a str,
    failed: u32,
    unknown: u32,
    passed: u32,
    boot_id: &'a str,
    gathered: Option<String>,
    received: Option<String>,
    expires: Option<String>,
}

fn state(posture: &Posture) -> &'static str {
    match posture.state() {
        PostureState::Unspecified => "",
        PostureState::Fresh => "fresh",
        PostureState::Held => "held",
        PostureState::Lost => "lost",
    }
}

fn json(posture: &Posture) -> Json<'_> {
    Json {
        cluster: &posture.cluster,
        node: &posture.node,
        state: state(posture),
        posture: &posture.posture,
        swap: &posture.swap,
        failing: &posture.failing,
        assurance: &posture.assurance,
        failed: posture.failed,
        unknown: posture.unknown,
        passed: posture.passed,
        boot_id: &posture.boot_id,
        gathered: rfc3339(posture.gathered.as_ref()),
        received: rfc3339(posture.received.as_ref()),
        expires: rfc3339(posture.expires.as_ref()),
    }
}

/// What policy goes by.
fn counts(posture: &Posture) -> &str {
    if posture.state() == PostureState::Lost { "unknown" } else { &posture.posture }
}

async fn all(app: &App, vault: &Vault, cluster: &str) -> Result<Vec<Posture>> {
    let attempt = vault.attempt("list nodes");
    let mut service = vault.client.postures();
    Ok(all_pages!(app, &attempt, postures, |page_token| {
        service.list_postures(ListPosturesRequest { cluster: cluster.to_owned(), page_size: PAGE_SIZE, page_token })
    }))
}

/// List nodes, with what they say of themselves
///
/// HOST is what grants can ask for: passed where every check of the gate tier passes, failed where one fails, else unknown. A node that has
/// been silent for five minutes is lost, and unknown. Where many fall silent at once they are held: they count as before until somebody says
/// that they are gone (coffer node confirm), or for an hour.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer node list
  coffer node list prod -o json")]
pub(crate) struct List {
    /// Only those of this cluster
    #[arg(add = crate::complete::clusters())]
    cluster: Option<String>,
}

impl List {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let nodes = all(app, &vault, self.cluster.as_deref().unwrap_or_default()).await?;
        let json: Vec<_> = nodes.iter().map(json).collect();
        app.out.long(&json, |view| table(&nodes, view))?;
        Ok(Exit::Done)
    }
}

fn table(nodes: &[Posture], view: &View) -> String {
    let mut table = Table::new(&["CLUSTER", "NODE", "HOST", "SWAP", "STATE", "HEARD OF", "NOT PASSED"]).prose("NOT PASSED");
    for node in nodes {
        let lost = node.state() == PostureState::Lost;
        table.row([
            node.cluster.clone(),
            node.node.clone(),
            counts(node).to_owned(),
            if lost { "unknown".to_owned() } else { node.swap.clone() },
            state(node).to_owned(),
            since(node.received.as_ref(), view),
            node.failing.join(" "),
        ]);
    }
    let mut text = table.render(view, "No node has reported. docs/nodes.md says how to install the node agent.");
    let mut held: Vec<_> = nodes.iter().filter(|node| node.state() == PostureState::Held).map(|node| &node.cluster).collect();
    held.dedup();
    for cluster in held {
        let cluster = printable(cluster);
        text.push_str(&format!(
            "\nMany nodes of {cluster} fell silent at once. Where they are really gone: coffer node confirm {cluster}\n"
        ));
    }
    text
}

/// Show a node, with what was found there
///
/// The findings are those of coffer scan host, made by the vault of what the node's agent reported last.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer node show worker-1
  coffer node show prod/worker-1 --all -o json")]
pub(crate) struct Show {
    /// The node's name; with its cluster where nodes of several have it
    #[arg(value_name = "[CLUSTER/]NODE")]
    node: String,
    /// Show what passes and what is about nothing here, too
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    posture: Json<'a>,
    /// Findings that are left out because there are too many.
    left_out: u32,
    findings: Vec<JsonFinding<'a>>,
}

#[derive(Serialize)]
struct JsonFinding<'a> {
    id: &'a str,
    title: &'a str,
    severity: &'a str,
    tier: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subject: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    evidence: &'a str,
    remedy: &'a str,
}

impl Show {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let (cluster, node) = match self.node.split_once('/') {
            Some((cluster, node)) => (cluster.to_owned(), node.to_owned()),
            None => (cluster_of(app, &vault, &self.node).await?, self.node.clone()),
        };
        let attempt = vault.attempt(format!("read the node {cluster}/{node}"));
        let request = GetPostureRequest { cluster, node };
        let found = answer(&attempt, vault.client.postures().get_posture(request).await)?.into_inner();
        let posture = part(&attempt, found.posture)?;
        let wanted = |finding: &&PostureFinding| self.all || matches!(finding.status.as_str(), "fail" | "unknown");
        let findings: Vec<_> = found.findings.iter().filter(wanted).collect();
        let shown = Shown {
            posture: json(&posture),
            left_out: found.left_out,
            findings: findings.iter().map(|found| finding(found)).collect(),
        };
        app.out.long(&shown, |view| one(&posture, &findings, found.left_out, view))?;
        Ok(Exit::Done)
    }
}

/// The cluster of a node, where only one has it.
async fn cluster_of(app: &App, vault: &Vault, node: &str) -> Result<String> {
    let mut clusters: Vec<_> =
        all(app, vault, "").await?.into_iter().filter(|posture| posture.node == node).map(|posture| posture.cluster).collect();
    match (clusters.pop(), clusters.is_empty()) {
        (Some(cluster), true) => Ok(cluster),
        (Some(cluster), false) => {
            clusters.push(cluster);
            Err(Failure::usage(format!("nodes of several clusters are called {node}"))
                .next(format!("say which: {}/{node}", clusters.join(" or "))))
        }
        (None, _) => Err(Failure::new(Exit::Denied, format!("no node {node} has reported")).next("coffer node list")),
    }
}

const fn finding(finding: &PostureFinding) -> JsonFinding<'_> {
    let PostureFinding { id, title, severity, tier, status, subject, evidence, remedy } = finding;
    JsonFinding {
        id: id.as_str(),
        title: title.as_str(),
        severity: severity.as_str(),
        tier: tier.as_str(),
        status: status.as_str(),
        subject: subject.as_str(),
        evidence: evidence.as_str(),
        remedy: remedy.as_str(),
    }
}

fn one(posture: &Posture, findings: &[&PostureFinding], left_out: u32, view: &View) -> String {
    let mut table = Table::new(&["CHECK", "SEVERITY", "STATUS", "FOUND"]).prose("FOUND");
    for finding in findings {
        let status = if finding.status == "fail" { "FAIL".to_owned() } else { finding.status.clone() };
        let next = if finding.status == "fail" { format!("next: {}", finding.remedy) } else { String::new() };
        let parts = [&finding.title, &finding.subject, &finding.evidence, &next];
        let text = parts.into_iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join("\n");
        table.row([finding.id.clone(), finding.severity.clone(), status, text]);
    }
    let Posture { failed, unknown, passed, .. } = posture;
    let mut text = format!("{}{failed} failed, {unknown} unknown, {passed} passed", table.render(view, ""));
    if left_out > 0 {
        text.push_str(&format!("; {left_out} are left out"));
    }
    text.push_str("\n\n");
    text.push_str(&pairs(&[
        ("Node", format!("{}/{}", posture.cluster, posture.node)),
        ("Host", counts(posture).to_owned()),
        ("Swap", posture.swap.clone()),
        ("Not passed", posture.failing.join(" ")),
        ("State", state(posture).to_owned()),
        ("Heard of", since(posture.received.as_ref(), view)),
        ("Boot", posture.boot_id.clone()),
        ("Assurance", format!("{}: whoever is root on the node can have it say this", posture.assurance)),
    ]));
    text
}

/// Confirm that nodes which fell silent in large number are really gone
///
/// That many nodes fall silent at once says more about the network than about them: the vault goes by what they said last for an hour, or
/// until this, or until they report again.
#[derive(Args)]
pub(crate) struct Confirm {
    /// The cluster's name
    #[arg(add = crate::complete::clusters())]
    cluster: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Confirm {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        super::confirm(app, self.yes, &format!("Take what the silent nodes of {} said for lost?", self.cluster))?;
        let attempt = vault.attempt(format!("confirm the loss of nodes in {}", self.cluster));
        let request = ConfirmPostureLossRequest { cluster: self.cluster.clone() };
        let lost = answer(&attempt, vault.client.postures().confirm_posture_loss(request).await)?.into_inner();
        app.out.result(&serde_json::json!({ "cluster": self.cluster, "nodes": lost.nodes }), |_| match lost.nodes {
            1 => "1 node taken as lost: nothing is known of it any more".to_owned(),
            nodes => format!("{nodes} nodes taken as lost: nothing is known of them any more"),
        })?;
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posture(node: &str, state: PostureState) -> Posture {
        Posture {
            cluster: "prod".into(),
            node: node.into(),
            state: state.into(),
            posture: "failed".into(),
            swap: "on".into(),
            failing: vec!["HST-01".into(), "HST-82".into()],
            assurance: "self-reported".into(),
            received: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            ..Posture::default()
        }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn view() -> View {
        View { now: jiff::Timestamp::from_second(30).unwrap(), width: None }
    }

    #[test]
    fn of_a_lost_node_nothing_is_known_and_held_ones_are_explained() {
        let nodes = [posture("a", PostureState::Fresh), posture("b", PostureState::Held), posture("c", PostureState::Lost)];
        assert_eq!(
            plain(&table(&nodes, &view())),
            "CLUSTER  NODE  HOST     SWAP     STATE  HEARD OF  NOT PASSED\n\
             prod     a     failed   on       fresh  30s       HST-01 HST-82\n\
             prod     b     failed   on       held   30s       HST-01 HST-82\n\
             prod     c     unknown  unknown  lost   30s       HST-01 HST-82\n\
             \nMany nodes of prod fell silent at once. Where they are really gone: coffer node confirm prod\n"
        );
        assert!(!plain(&table(&nodes[..1], &view())).contains("confirm"));
        assert_eq!(serde_json::to_value(json(&nodes[1])).unwrap()["state"], "held");
    }

    #[test]
    fn a_node_is_shown_with_its_findings_what_to_do_and_who_vouches_for_it() {
        let found = |status: &str| PostureFinding {
            id: "HST-01".into(),
            title: "no swap".into(),
            severity: "high".into(),
            status: status.into(),
            evidence: "/dev/sda1".into(),
            remedy: "swapoff -a".into(),
            ..PostureFinding::default()
        };
        let text = plain(&one(&posture("a", PostureState::Fresh), &[&found("fail"), &found("pass")], 3, &view()));
        for part in ["HST-01  high      FAIL", "next: swapoff -a", "3 are left out", "prod/a", "self-reported: whoever is root"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(text.matches("next:").count(), 1, "{text}");
    }
}
