//! Measures how long a rotation takes to reach the files of running agents: from the acknowledgement of the write to the
//! new bytes read from the file. docs/performance.md says how to run it, and what came of it.
//!
//! `cargo run -p coffer-tests --example push -- AGENTS ROTATIONS` (1 and 100 unless said otherwise), or with
//! `COFFER_TEST_BINARIES` naming the folder of other builds.

#![expect(clippy::print_stdout, reason = "this prints what it measured")]

use std::{
    collections::HashMap,
    env, fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client, Identity, Options,
    proto::{
        ClusterSettings, CreateClusterRequest, CreateGrantRequest, CreateOperatorRequest, InitRequest, KeySource, PodCheck,
        PutSecretRequest, UnsealRequest, key_source::Source,
    },
};
use coffer_secret::SecretString;
use coffer_tests::{
    issuer::{Issuer, Pod},
    memory,
    process::Process,
    programs::Programs,
    server::Server,
};
use tempfile::TempDir;
use tokio::time::sleep;

const PATH: &str = "kv/push/secret";
const PASSWORD: &str = "correct horse battery staple";
/// How long to wait for what should take a moment.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often files are looked at.
const LOOK: Duration = Duration::from_micros(500);
/// Agents started at once: each has a login to make.
const STARTED_AT_ONCE: usize = 10;

#[tokio::main]
async fn main() -> Result<()> {
    let number = |at, usual| env::args().nth(at).map_or(Ok(usual), |text| text.parse::<usize>());
    let (agents, rotations) = (number(1, 1)?, number(2, 100)?);
    let mut vault = Vault::start().await?;
    let mut pods = Vec::new();
    vault.rotate().await?;
    for started in 0..agents {
        pods.push(Agent::start(&vault)?);
        if started % STARTED_AT_ONCE == STARTED_AT_ONCE - 1 {
            reached(&pods, &vault.value(), Instant::now()).await?;
        }
    }
    reached(&pods, &vault.value(), Instant::now()).await?;
    println!("{agents} agents, {rotations} rotations of the secret that all of them follow");
    println!("{:<24} {:>8} {:>8} {:>8} {:>8}   each file, and the last file of each rotation", "", "p50", "p90", "p99", "max");
    measure("connected", &mut vault, &pods, rotations).await?;
    let stopped = Instant::now();
    vault.restart().await?;
    vault.rotate().await?;
    reached(&pods, &vault.value(), Instant::now()).await?;
    println!("all agents had the next value {:.1} s after the server was told to stop", stopped.elapsed().as_secs_f64());
    measure("after a restart", &mut vault, &pods, rotations).await
}

/// Rotates, and prints how long the new values took to the files.
async fn measure(name: &str, vault: &mut Vault, pods: &[Agent], rotations: usize) -> Result<()> {
    let (mut each, mut last) = (Vec::new(), Vec::new());
    for _ in 0..rotations {
        let acknowledged = vault.rotate().await?;
        let took = reached(pods, &vault.value(), acknowledged).await?;
        last.extend(took.iter().max());
        each.extend(took);
    }
    for (what, mut took) in [("each", each), ("last", last)] {
        took.sort();
        let at = |share: usize| took.get((took.len() * share).div_ceil(100).saturating_sub(1)).map_or(0.0, millis);
        println!("{:<24} {:>6.1}ms {:>6.1}ms {:>6.1}ms {:>6.1}ms", format!("{name}: {what}"), at(50), at(90), at(99), at(100));
    }
    Ok(())
}

fn millis(duration: &Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// Waits until every file has the value; gives how long each took since then.
async fn reached(pods: &[Agent], value: &str, since: Instant) -> Result<Vec<Duration>> {
    let (mut waiting, mut took): (Vec<_>, _) = (pods.iter().collect(), Vec::new());
    while !waiting.is_empty() {
        waiting.retain(|pod| {
            let there = fs::read_to_string(&pod.file).is_ok_and(|content| content == value);
            if there {
                took.push(since.elapsed());
            }
            !there
        });
        ensure!(since.elapsed() < PATIENCE, "{} files do not have the value", waiting.len());
        sleep(LOOK).await;
    }
    Ok(took)
}

/// A vault with a secret, and a cluster whose pods may read it.
struct Vault {
    server: Server,
    issuer: Issuer,
    share: String,
    admin: Client,
    rotation: usize,
}

impl Vault {
    async fn start() -> Result<Self> {
        let mut server = Server::new(Programs::built()?)?.with("log", "level", "warn");
        server.start()?;
        let local = Client::connect(Options::new(server.socket_url(), Identity::generate()?))?;
        let request = InitRequest { share_count: 1, share_threshold: 1, ..InitRequest::default() };
        let fruits = local.system().init(request).await?.into_inner();
        let share = fruits.shares.first().context("a share")?.clone();
        unseal(&local, &share).await?;
        let bootstrap = connect(&server)?;
        bootstrap.login_bootstrap(&SecretString::from(fruits.bootstrap_credential.clone())).await?;
        for (name, role) in [("ada", "admin"), ("olga", "officer")] {
            let (name, roles, password) = (name.to_owned(), vec![role.to_owned()], PASSWORD.to_owned());
            let request = CreateOperatorRequest { name, roles, password, ..CreateOperatorRequest::default() };
            bootstrap.operators().create_operator(request).await?;
        }
        let (admin, officer) = (connect(&server)?, connect(&server)?);
        admin.login_password("", "ada", &SecretString::copied_from(PASSWORD)).await?;
        officer.login_password("", "olga", &SecretString::copied_from(PASSWORD)).await?;
        let issuer = Issuer::es256("https://issuer.test")?;
        let settings = ClusterSettings {
            issuer: issuer.url().to_owned(),
            keys: Some(KeySource { source: Some(Source::Jwks(issuer.jwks().to_string())) }),
            pod_check: PodCheck::None.into(),
            ..ClusterSettings::default()
        };
        let cluster =
            CreateClusterRequest { name: "test".to_owned(), settings: Some(settings), ..CreateClusterRequest::default() };
        admin.clusters().create_cluster(cluster).await?;
        let grant = CreateGrantRequest {
            actions: vec!["read".to_owned()],
            path: PATH.to_owned(),
            principal: "k8s:test/push/agent".to_owned(),
            ..CreateGrantRequest::default()
        };
        officer.grants().create_grant(grant).await?;
        Ok(Self { server, issuer, share, admin, rotation: 0 })
    }

    /// Stops the server well, and starts it again.
    async fn restart(&mut self) -> Result<()> {
        self.server.terminate()?;
        self.server.start()?;
        unseal(&connect(&self.server)?, &self.share).await
    }

    fn value(&self) -> String {
        format!("value {}", self.rotation)
    }

    /// Writes the next value; gives when that was acknowledged.
    async fn rotate(&mut self) -> Result<Instant> {
        self.rotation += 1;
        let fields = HashMap::from([("field".to_owned(), self.value().into_bytes())]);
        let request = PutSecretRequest { path: PATH.to_owned(), fields, ..PutSecretRequest::default() };
        self.admin.kv().put_secret(request).await?;
        Ok(Instant::now())
    }
}

async fn unseal(client: &Client, share: &str) -> Result<()> {
    client.system().unseal(UnsealRequest { share: share.to_owned(), ..UnsealRequest::default() }).await?;
    Ok(())
}

fn connect(server: &Server) -> Result<Client> {
    let mut options = Options::new(server.url()?, Identity::generate()?);
    options.ca = Some(server.ca());
    Ok(Client::connect(options)?)
}

/// An agent as a process, with a folder of its own in memory.
struct Agent {
    file: PathBuf,
    _folder: TempDir,
    _process: Process,
}

impl Agent {
    fn start(vault: &Vault) -> Result<Self> {
        let folder = memory::folder()?;
        let (output, token) = (folder.path().join("out"), folder.path().join("token"));
        fs::create_dir(&output)?;
        fs::write(&token, vault.issuer.token(&Pod::new("push", "agent")?, Duration::from_secs(3_600))?)?;
        let config = folder.path().join("agent.toml");
        let text = format!(
            "log_level = \"warn\"\n[vault]\naddress = \"{}\"\nca_file = \"{}\"\ncluster = \"test\"\ntoken_file = \"{}\"\n\
             [output]\ndirectory = \"{}\"\n[[secrets]]\nname = \"secret\"\npath = \"{PATH}\"\nfield = \"field\"\nformat = \"raw\"\n",
            vault.server.url()?,
            vault.server.ca().display(),
            token.display(),
            output.display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new(Programs::built()?.agent());
        let process = Process::start(command.arg("sidecar").arg("--config").arg(&config), &folder.path().join("log"))?;
        Ok(Self { file: output.join("secret"), _folder: folder, _process: process })
    }
}
