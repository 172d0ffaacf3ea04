//! What nodes report: taken from node agents alone, of their own node, once; counted for its time, and held where many fall silent.

mod node;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use coffer_checks::host::{FACTS_BYTES_MAX, HostFacts, Root, signed_bytes};
use coffer_client::{
    Client, Event, Identity, Options,
    proto::{
        ConfirmPostureLossRequest, CreateGrantRequest, GetClusterRequest, GetPostureRequest, GetPostureResponse,
        IssueCredentialRequest, ListLeasesRequest, ListPosturesRequest, Posture, PostureState, ReportPostureRequest,
        ReportPostureResponse, UpdateClusterRequest,
    },
};
use coffer_secret::SecretString;
use coffer_tests::{issuer::Pod, wait::PATIENCE};
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};
use tonic::Status;

use self::node::Node;
use crate::{
    api_server::{WATCHED, Watched},
    clock::TimeOfDay,
    gate::{CREDENTIAL, credentials, spec},
    vault::{ADMIN, AUDITOR, CLUSTER, OFFICER, TOKEN_LIFETIME, Vault, reason},
    way,
};

/// The service account that may report.
const AGENT: (&str, &str) = ("coffer-nodes", "agent");

/// A vault whose cluster has a node agent.
pub(crate) async fn with_agent(vault: Vault) -> Result<Vault> {
    allow_agent(&vault, CLUSTER).await?;
    Ok(vault)
}

/// Lets the node agent's account report for a cluster.
pub(crate) async fn allow_agent(vault: &Vault, cluster: &str) -> Result<()> {
    allow(vault, cluster, &agent()).await
}

fn agent() -> String {
    format!("{}/{}", AGENT.0, AGENT.1)
}

async fn allow(vault: &Vault, cluster: &str, node_agent: &str) -> Result<()> {
    let admin = vault.operator(ADMIN).await?;
    let cluster = admin.clusters().get_cluster(GetClusterRequest { name: cluster.into() }).await?.into_inner().cluster;
    let name = cluster.as_ref().map(|cluster| cluster.name.clone()).unwrap_or_default();
    let mut settings = cluster.and_then(|cluster| cluster.settings).context("it has settings")?;
    settings.node_agent = node_agent.to_owned();
    let request = UpdateClusterRequest { name, settings: Some(settings), ..Default::default() };
    admin.clusters().update_cluster(request).await?;
    Ok(())
}

/// A node agent's pod on a node of this name.
pub(crate) fn pod_on(node: &str) -> Result<Pod> {
    let mut pod = Pod::new(AGENT.0, AGENT.1)?;
    pod.node = node.to_owned();
    Ok(pod)
}

/// A session that reports, by hand.
pub(crate) struct Reporter {
    client: Client,
    identity: Identity,
    session: [u8; 16],
    sequence: u64,
}

impl Reporter {
    async fn of(vault: &Vault, pod: &Pod) -> Result<Self> {
        Self::with_token(vault, CLUSTER, &vault.token(pod, TOKEN_LIFETIME)?).await
    }

    async fn on(vault: &Vault, node: &str) -> Result<Self> {
        Self::of(vault, &pod_on(node)?).await
    }

    pub(crate) async fn with_token(vault: &Vault, cluster: &str, token: &str) -> Result<Self> {
        let identity = Identity::generate()?;
        let mut options = Options::new(format!("https://{}", way::open(vault.server.address()?)?), identity.clone());
        options.ca = Some(vault.server.ca());
        let client = Client::connect(options)?;
        let id = client.login_workload("", cluster, &SecretString::copied_from(token)).await?.id;
        if let Some(token) = client.session_token() {
            vault.server.canaries().add("a session's token", token.expose());
        }
        Ok(Self { client, identity, session: u128::from_str_radix(&id, 16)?.to_be_bytes(), sequence: 0 })
    }

    /// A report as it should be.
    fn signed(&mut self, facts: &[u8]) -> Result<ReportPostureRequest> {
        self.sequence += 1;
        let signature = self.identity.sign(&signed_bytes(&self.session, self.sequence, 1_000, facts))?;
        Ok(ReportPostureRequest {
            facts: facts.to_vec(),
            signature,
            public_key: self.identity.public_key(),
            sequence: self.sequence,
            gathered: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        })
    }

    async fn send(&self, request: ReportPostureRequest) -> Result<ReportPostureResponse, Status> {
        Ok(self.client.postures().report_posture(request).await?.into_inner())
    }

    pub(crate) async fn report(&mut self, facts: &HostFacts) -> Result<ReportPostureResponse> {
        let request = self.signed(&serde_json::to_vec(facts)?)?;
        Ok(self.send(request).await?)
    }
}

/// Facts of a node on which every check of the gate tier passes.
pub(crate) fn good() -> Result<(TempDir, HostFacts)> {
    let node = Node::good()?;
    let facts = HostFacts::gather(&Root::open(node.path())?);
    Ok((node.into_folder(), facts))
}

async fn listed(vault: &Vault) -> Result<Vec<Posture>> {
    let auditor = vault.operator(AUDITOR).await?;
    Ok(auditor.postures().list_postures(ListPosturesRequest::default()).await?.into_inner().postures)
}

async fn shown(vault: &Vault, node: &str) -> Result<GetPostureResponse, Status> {
    let auditor = vault.operator(AUDITOR).await.map_err(|error| Status::internal(error.to_string()))?;
    let request = GetPostureRequest { cluster: CLUSTER.into(), node: node.into() };
    Ok(auditor.postures().get_posture(request).await?.into_inner())
}

/// Waits until a node stands like this.
async fn stands(vault: &Vault, node: &str, expected: impl Fn(&Posture) -> bool) -> Result<Posture> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = listed(vault).await?.into_iter().find(|posture| posture.node == node);
        match found {
            Some(posture) if expected(&posture) => return Ok(posture),
            found => ensure!(Instant::now() < deadline, "{node} is {found:?}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_known_by_what_its_agent_reports_and_the_vault_judges() -> Result<()> {
    let vault = with_agent(Vault::new().await?).await?;
    let (_folder, facts) = good()?;
    let mut reporter = Reporter::on(&vault, "node-7").await?;
    let told = reporter.report(&facts).await?;
    ensure!(told.node == "node-7" && told.posture == "passed", "{told:?}");
    let posture = stands(&vault, "node-7", |posture| posture.state() == PostureState::Fresh).await?;
    ensure!(posture.swap == "off" && posture.failing.is_empty() && posture.assurance == "self-reported", "{posture:?}");
    ensure!(posture.gathered.is_some_and(|time| time.seconds == 1) && posture.boot_id == node::BOOT, "{posture:?}");

    // What is worse counts at once, and says which check it is.
    let swapping = Node::good()?.swapping()?;
    let told = reporter.report(&HostFacts::gather(&Root::open(swapping.path())?)).await?;
    ensure!(told.posture == "failed", "{told:?}");
    let found = shown(&vault, "node-7").await?;
    let posture = found.posture.context("it is shown")?;
    ensure!(posture.swap == "on" && posture.failing == ["HST-01"] && posture.failed >= 1, "{posture:?}");
    let finding = found.findings.first().context("what fails comes first")?;
    ensure!(finding.status == "fail" && found.left_out == 0, "{finding:?}");
    let swap = found.findings.iter().find(|finding| finding.id == "HST-01").context("it is found")?;
    ensure!(swap.status == "fail" && swap.tier == "gate" && swap.subject == "/dev/sda2" && !swap.remedy.is_empty(), "{swap:?}");
    // And what is unknown is never as good as passed.
    std::fs::remove_file(swapping.path().join("proc/swaps"))?;
    let told = reporter.report(&HostFacts::gather(&Root::open(swapping.path())?)).await?;
    ensure!(told.posture == "unknown", "{told:?}");
    let posture = shown(&vault, "node-7").await?.posture.context("it is shown")?;
    ensure!(posture.swap == "unknown" && posture.failing == ["HST-01"], "{posture:?}");
    ensure!(reason(shown(&vault, "node-8").await) == "NOT_FOUND");
    ensure!(vault.has_logged("PostureService/ReportPosture").await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reports_but_the_node_agent_of_the_cluster_and_each_refusal_is_recorded() -> Result<()> {
    let vault = Vault::new().await?;
    let (_folder, facts) = good()?;
    let facts = serde_json::to_vec(&facts)?;
    // Unless it is said who may, nobody may.
    let mut before = Reporter::on(&vault, "node-1").await?;
    let request = before.signed(&facts)?;
    ensure!(reason(before.send(request.clone()).await) == "NOT_FOUND_OR_DENIED");
    let vault = with_agent(vault).await?;
    for pod in [Pod::new(AGENT.0, "another")?, Pod::new("another", AGENT.1)?] {
        let mut other = Reporter::of(&vault, &pod).await?;
        let request = other.signed(&facts)?;
        ensure!(reason(other.send(request).await) == "NOT_FOUND_OR_DENIED", "{pod:?}");
    }
    for operator in [ADMIN, OFFICER, AUDITOR] {
        let client = vault.operator(operator).await?;
        ensure!(reason(client.postures().report_posture(request.clone()).await) == "NOT_FOUND_OR_DENIED", "{operator}");
    }
    ensure!(listed(&vault).await?.is_empty(), "something was taken");
    let denied = r#""rpc":"coffer.v1.PostureService/ReportPosture""#;
    ensure!(vault.has_logged(denied).await? && vault.has_logged(r#""reason":"NOT_FOUND_OR_DENIED""#).await?);

    // A token that names no node speaks for none.
    let mut claims = vault.issuer.claims(&pod_on("node-1")?, TOKEN_LIFETIME)?;
    claims["kubernetes.io"].as_object_mut().context("they are claims")?.remove("node");
    let token = vault.issuer.sign(&vault.issuer.header(), &claims)?;
    let mut nameless = Reporter::with_token(&vault, CLUSTER, &token).await?;
    let request = nameless.signed(&facts)?;
    ensure!(reason(nameless.send(request).await) == "INVALID_ARGUMENT");
    ensure!(listed(&vault).await?.is_empty(), "something was taken");

    // Who may report is a setting: taken back, it holds for sessions that are there.
    let mut agent = Reporter::on(&vault, "node-1").await?;
    let request = agent.signed(&facts)?;
    agent.send(request).await?;
    allow(&vault, CLUSTER, "").await?;
    let request = agent.signed(&facts)?;
    ensure!(reason(agent.send(request).await) == "NOT_FOUND_OR_DENIED");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_counts_with_its_signature_in_its_session_and_once() -> Result<()> {
    let vault = with_agent(Vault::new().await?).await?;
    let (_folder, facts) = good()?;
    let facts = serde_json::to_vec(&facts)?;
    let mut reporter = Reporter::on(&vault, "node-1").await?;
    let mut other = Reporter::on(&vault, "node-2").await?;
    let right = reporter.signed(&facts)?;
    let mut wrong = Vec::new();
    let mut changed = |name: &'static str, change: &dyn Fn(&mut ReportPostureRequest)| {
        let mut request = right.clone();
        change(&mut request);
        wrong.push((name, request));
    };
    changed("no signature", &|request| request.signature.clear());
    changed("another signature", &|request| {
        if let Some(byte) = request.signature.last_mut() {
            *byte ^= 1;
        }
    });
    changed("no key", &|request| request.public_key.clear());
    changed("another number", &|request| request.sequence += 1);
    changed("another time", &|request| request.gathered = Some(prost_types::Timestamp { seconds: 2, nanos: 0 }));
    changed("a time before 1970", &|request| request.gathered = Some(prost_types::Timestamp { seconds: -1, nanos: 0 }));
    changed("other facts", &|request| request.facts = b"{}".to_vec());
    // Somebody else's, signed as it should be, is not of this session.
    wrong.push(("another's", other.signed(&facts)?));
    let foreign = other.identity.sign(&signed_bytes(&reporter.session, right.sequence, 1_000, &facts))?;
    wrong.push((
        "another key",
        ReportPostureRequest { signature: foreign, public_key: other.identity.public_key(), ..right.clone() },
    ));
    // Of this key and session, but of something else.
    let message = signed_bytes(&reporter.session, right.sequence, 1_000, &facts);
    let domainless = reporter.identity.sign(message.strip_prefix(b"coffer/v1/posture\0").context("it has a domain")?)?;
    wrong.push(("another domain", ReportPostureRequest { signature: domainless, ..right.clone() }));
    for (name, request) in wrong {
        ensure!(reason(reporter.send(request).await) == "INVALID_ARGUMENT", "{name}");
    }
    // Signed, and no facts.
    for text in ["", "{}", "[]", "null", r#"{"version":1}"#] {
        let request = reporter.signed(text.as_bytes())?;
        ensure!(reason(reporter.send(request).await) == "INVALID_ARGUMENT", "{text}");
    }
    ensure!(listed(&vault).await?.is_empty(), "something was taken");

    // Once; what is older than the newest never.
    let (first, second) = (reporter.signed(&facts)?, reporter.signed(&facts)?);
    reporter.send(second.clone()).await?;
    for (name, old) in [("the same", second), ("an older one", first), ("the oldest", right)] {
        ensure!(reason(reporter.send(old).await) == "INVALID_ARGUMENT", "{name}");
    }
    // Nor is one of a session that began before another of the same node.
    let mut next = Reporter::on(&vault, "node-1").await?;
    let request = next.signed(&facts)?;
    next.send(request).await?;
    let late = reporter.signed(&facts)?;
    ensure!(reason(reporter.send(late).await) == "INVALID_ARGUMENT");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_at_the_limit_are_taken_and_one_byte_more_is_not() -> Result<()> {
    let vault = with_agent(Vault::new().await?).await?;
    let (_folder, facts) = good()?;
    let facts = serde_json::to_vec(&facts)?;
    // Space is nothing in JSON, and is signed all the same.
    let padded = |length: usize| [facts.clone(), vec![b' '; length - facts.len()]].concat();
    let mut reporter = Reporter::on(&vault, "node-1").await?;
    let request = reporter.signed(&padded(FACTS_BYTES_MAX + 1))?;
    ensure!(reason(reporter.send(request).await) == "LIMIT_EXCEEDED");
    let request = reporter.signed(&padded(FACTS_BYTES_MAX))?;
    ensure!(reporter.send(request).await?.posture == "passed");
    ensure!(shown(&vault, "node-1").await?.posture.is_some(), "it is stored whole");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn postures_outlive_a_restart_for_as_long_as_they_count() -> Result<()> {
    let mut server = crate::serve::server()?;
    let clock = TimeOfDay::of(&mut server)?;
    let mut vault = with_agent(Vault::on(server).await?).await?;
    let (_folder, facts) = good()?;
    for node in ["node-1", "node-2", "node-3"] {
        Reporter::on(&vault, node).await?.report(&facts).await?;
    }
    let restarted = async |vault: &mut Vault, ahead: i64| {
        vault.server.kill()?;
        clock.set(ahead)?;
        vault.restart().await
    };
    restarted(&mut vault, 200).await?;
    for node in ["node-1", "node-2", "node-3"] {
        let posture = stands(&vault, node, |posture| posture.state() == PostureState::Fresh).await?;
        ensure!(posture.posture == "passed" && posture.boot_id == node::BOOT, "{posture:?}");
    }
    // While the vault was away all of them were silent: that is no reason to know nothing of them.
    restarted(&mut vault, 400).await?;
    for node in ["node-1", "node-2", "node-3"] {
        stands(&vault, node, |posture| posture.state() == PostureState::Held).await?;
    }
    // Two report again: the one that does not is lost, and nothing else is waited for.
    for node in ["node-1", "node-2"] {
        Reporter::on(&vault, node).await?.report(&facts).await?;
    }
    stands(&vault, "node-3", |posture| posture.state() == PostureState::Lost).await?;
    stands(&vault, "node-1", |posture| posture.state() == PostureState::Fresh).await?;
    ensure!(vault.has_logged(r#""event":"posture_lost""#).await?, "it leaves a record");
    // What is lost stays so, though the vault starts anew; the others are held, until somebody says that they are gone.
    restarted(&mut vault, 1_000).await?;
    stands(&vault, "node-1", |posture| posture.state() == PostureState::Held).await?;
    ensure!(listed(&vault).await?.iter().all(|posture| posture.node != "node-3"), "it is back");
    let confirm = ConfirmPostureLossRequest { cluster: CLUSTER.into() };
    let admin = vault.operator(ADMIN).await?;
    ensure!(reason(admin.postures().confirm_posture_loss(confirm.clone()).await) == "NOT_FOUND_OR_DENIED");
    let officer = vault.operator(OFFICER).await?;
    ensure!(officer.postures().confirm_posture_loss(confirm.clone()).await?.into_inner().nodes == 2);
    ensure!(officer.postures().confirm_posture_loss(confirm).await?.into_inner().nodes == 0);
    for node in ["node-1", "node-2"] {
        stands(&vault, node, |posture| posture.state() == PostureState::Lost).await?;
    }
    Ok(())
}

/// What asks for its node.
const ON_GOOD_NODES: &str = "kv/shop/secret";
/// Within this what asked for a node is gone, once that says that it swaps.
const WITHDRAW_TIME_MAX: Duration = Duration::from_secs(5);

/// A vault with a secret that asks for its node, and on each of two nodes an agent that reports and a pod that has logged in.
struct OnNodes {
    watched: Watched,
    nodes: Vec<Reporter>,
    pods: Vec<Client>,
}

impl OnNodes {
    async fn new() -> Result<Self> {
        let watched = Watched::new().await?;
        let vault = &watched.vault;
        allow_agent(vault, WATCHED).await?;
        vault.put(ON_GOOD_NODES, "value", "for good nodes alone").await?;
        let (mut nodes, mut pods) = (Vec::new(), Vec::new());
        for name in ["node-1", "node-2"] {
            let agent = pod_on(name)?;
            watched.fake.create(&agent);
            nodes.push(Reporter::with_token(vault, WATCHED, &vault.token(&agent, TOKEN_LIFETIME)?).await?);
            let mut pod = Pod::new("shop", "api")?;
            pod.node = name.to_owned();
            watched.fake.create(&pod);
            watched.fake.merge(&pod, &spec("agent:1", "app:1"));
            let client = vault.stranger()?;
            let token = SecretString::from(vault.token(&pod, TOKEN_LIFETIME)?);
            client.login_workload("", WATCHED, &token).await?;
            pods.push(client);
        }
        let on_nodes = Self { watched, nodes, pods };
        on_nodes.grant(ON_GOOD_NODES).await?;
        Ok(on_nodes)
    }

    async fn grant(&self, path: &str) -> Result<()> {
        let request = CreateGrantRequest {
            actions: vec!["read".into()],
            path: path.into(),
            principal: format!("k8s:{WATCHED}/shop/api"),
            require: vec!["host=pass".into(), "swap=off".into()],
            ..CreateGrantRequest::default()
        };
        self.watched.vault.operator(OFFICER).await?.grants().create_grant(request).await?;
        Ok(())
    }

    /// Waits until a pod's reading is answered like this.
    async fn reads(&self, pod: usize, expected: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.pods[pod].kv_get(ON_GOOD_NODES, 0).await;
            let found = found.map_or_else(|error| error.reason().to_owned(), |_| "OK".to_owned());
            if found == expected {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "it is {found}, and never {expected}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Facts of a node that swaps, and is good otherwise.
pub(crate) fn swapping() -> Result<HostFacts> {
    let node = Node::good()?.swapping()?;
    Ok(HostFacts::gather(&Root::open(node.path())?))
}

/// A secret that asks for its node is had while the node passes, and by pods of that node alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_says_decides_what_its_pods_may_read() -> Result<()> {
    let mut on_nodes = OnNodes::new().await?;
    let ((_folder, good), swapping) = (good()?, swapping()?);
    on_nodes.nodes[1].report(&swapping).await?;
    for (facts, expected) in [(&good, "OK"), (&swapping, "CONDITION_UNMET"), (&good, "OK")] {
        on_nodes.nodes[0].report(facts).await?;
        on_nodes.reads(0, expected).await?;
        on_nodes.reads(1, "CONDITION_UNMET").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_begins_to_swap_withdraws_what_asks_for_none_and_ends_its_credentials() -> Result<()> {
    let mut on_nodes = OnNodes::new().await?;
    let ((_folder, good), swapping) = (good()?, swapping()?);
    credentials(&on_nodes.watched.vault).await?;
    let admin = on_nodes.watched.vault.operator(ADMIN).await?;
    on_nodes.grant(CREDENTIAL).await?;
    for node in [0, 1] {
        on_nodes.nodes[node].report(&good).await?;
        on_nodes.reads(node, "OK").await?;
        let request = IssueCredentialRequest { path: CREDENTIAL.into(), ttl_seconds: 900, ..IssueCredentialRequest::default() };
        let issued = on_nodes.pods[node].leases().issue_credential(request).await?.into_inner();
        on_nodes.watched.vault.server.canaries().add("a service account's token", &issued.fields["token"]);
    }
    let mut watch = on_nodes.pods[0].watch(vec![ON_GOOD_NODES.to_owned()]).await?;
    ensure!(matches!(watch.next().await?, Some(Event::Changed { .. })));
    on_nodes.nodes[0].report(&swapping).await?;
    let dropped = Instant::now();
    ensure!(matches!(watch.next().await?, Some(Event::Withheld { .. })), "the watch says otherwise");
    let told = dropped.elapsed();
    let leases =
        async || admin.leases().list_leases(ListLeasesRequest::default()).await.map(|found| found.into_inner().leases.len());
    while leases().await? > 1 {
        ensure!(dropped.elapsed() < PATIENCE, "the credential outlives its condition");
        sleep(Duration::from_millis(10)).await;
    }
    let ended = dropped.elapsed();
    println!("told after {told:?}, ended after {ended:?}");
    ensure!(told < WITHDRAW_TIME_MAX && ended < WITHDRAW_TIME_MAX, "told after {told:?}, ended after {ended:?}");
    // What belongs to the pod of the other node stays.
    on_nodes.reads(1, "OK").await?;
    ensure!(leases().await? == 1);
    Ok(())
}

/// The program itself, on a node of files.
#[tokio::test(flavor = "multi_thread")]
async fn the_node_agent_reports_what_it_sees_when_it_changes_and_after_the_vault_was_away() -> Result<()> {
    let mut vault = with_agent(Vault::new().await?).await?;
    let node = Node::good()?;
    let agent = node::Agent::start(&vault, node.path(), "node-1")?;
    let posture = stands(&vault, "node-1", |posture| posture.state() == PostureState::Fresh).await?;
    ensure!(posture.posture == "passed" && posture.swap == "off", "{posture:?}:\n{}", agent.log()?);
    let node = node.swapping()?;
    stands(&vault, "node-1", |posture| posture.swap == "on" && posture.posture == "failed").await?;
    vault.server.kill()?;
    let node = node.at_rest()?;
    vault.restart().await?;
    stands(&vault, "node-1", |posture| posture.swap == "off" && posture.posture == "passed").await?;
    ensure!(node.path().exists() && agent.log()?.contains("knows this node as node-1: failed"), "{}", agent.log()?);
    agent.stops()
}

/// On this machine, whatever it is: what the vault knows of it is what the command finds.
#[tokio::test(flavor = "multi_thread")]
async fn the_vault_finds_what_the_command_finds_on_the_same_host() -> Result<()> {
    let vault = with_agent(Vault::new().await?).await?;
    let _agent = node::Agent::start(&vault, Path::new("/"), "here")?;
    stands(&vault, "here", |posture| posture.state() == PostureState::Fresh).await?;
    let person = crate::command::person(&vault, AUDITOR)?;
    let parse = |text: String| -> Result<serde_json::Value> { Ok(serde_json::from_str(&text)?) };
    let here = parse(person.ok(["scan", "host", "--all", "--fail-on", "none", "-o", "json"])?)?;
    let there = parse(person.ok(["node", "show", "here", "--all", "-o", "json"])?)?;
    let of = |report: &serde_json::Value, id: &str| {
        let all = report["findings"].as_array().into_iter().flatten().filter(|finding| finding["id"] == id);
        all.map(|finding| (finding["status"].clone(), finding["evidence"].clone(), finding["tier"].clone())).collect::<Vec<_>>()
    };
    for id in ["HST-01", "HST-06", "HST-07", "HST-16", "HST-39", "HST-71", "HST-82"] {
        ensure!(!of(&here, id).is_empty() && of(&here, id) == of(&there, id), "{id}: {:?}, {:?}", of(&here, id), of(&there, id));
    }
    ensure!(there["assurance"] == "self-reported" && there["state"] == "fresh" && there["cluster"] == CLUSTER, "{there}");
    let list = person.ok(["node", "list", CLUSTER])?;
    ensure!(list.contains("here") && list.contains("fresh"), "{list}");
    let absent = person.run(["node", "show", "nowhere"])?;
    ensure!(absent.code != 0 && absent.stderr.contains("no node nowhere has reported"), "{absent:?}");
    Ok(())
}
