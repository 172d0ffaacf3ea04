//! Measures what callers who take too much cost those who do not: reads of one client, alone and meanwhile.
//! docs/performance.md says how to run it, and what came of it.
//!
//! `cargo run -p coffer-tests --example pressure -- SECONDS IDLE` (10 s each and 2,000 idle connections unless said
//! otherwise), or with `COFFER_TEST_BINARIES` naming the folder of other builds.

#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "this prints what it measured, and ends where anything is wrong"
)]

#[path = "../tests/system/limits/raw.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod raw;

use std::{
    collections::HashMap,
    env, fs,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use coffer_client::{
    Client, Identity, Options,
    proto::{
        ClusterSettings, CreateClusterRequest, CreateGrantRequest, CreateOperatorRequest, InitRequest, KeySource, PodCheck,
        PutSecretRequest, UnsealRequest, key_source,
    },
};
use coffer_secret::SecretString;
use coffer_tests::{
    issuer::{Issuer, Pod},
    programs::Programs,
    server::Server,
};
use tokio::{io::AsyncWriteExt as _, runtime::Runtime, task::JoinSet};

use self::raw::Way;

const PATH: &str = "kv/pressure/secret";
const PASSWORD: &str = "correct horse battery staple";
/// Those who read.
const READERS: usize = 4;
/// Time between two reads of one of them: they are to be slowed down by others, not by each other.
const PAUSE: Duration = Duration::from_millis(5);

fn main() -> Result<()> {
    let number = |at, usual| env::args().nth(at).map_or(Ok(usual), |text| text.parse::<usize>());
    let (seconds, idle) = (u64::try_from(number(1, 10)?)?, number(2, 2_000)?);
    // Whoever takes too much has threads of its own, so that its work does not hold up what is measured.
    let (readers, others) = (Runtime::new()?, Runtime::new()?);
    let vault = readers.block_on(Vault::start())?;
    let window = Duration::from_secs(seconds);
    println!("{READERS} readers, {seconds} s each");
    println!("{:<44} {:>7} {:>9} {:>9} {:>9} {:>9}", "meanwhile", "reads", "p50", "p90", "p99", "max");
    let measure = |what: &str| readers.block_on(vault.measure(what, window));
    measure("nothing")?;
    {
        let held = others.block_on(vault.idle(idle))?;
        measure(&format!("{idle} idle connections"))?;
        drop(held);
    }
    for (what, kind) in [
        ("connections without end from one address", Flood { hello: false, addresses: 1 }),
        ("handshakes without end from one address", Flood { hello: true, addresses: 1 }),
        ("handshakes without end from 200 addresses", Flood { hello: true, addresses: 200 }),
    ] {
        let (stop, begun) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let flood = others.spawn(kind.run(vault.way.clone(), Arc::clone(&stop), Arc::clone(&begun)));
        measure(what)?;
        stop.store(true, Ordering::Relaxed);
        others.block_on(flood)??;
        println!("{:<44} {} a second", "", begun.load(Ordering::Relaxed) / seconds.max(1));
    }
    measure("nothing, once more")
}

/// Callers who begin again and again.
struct Flood {
    /// Whether they say hello, or only connect.
    hello: bool,
    addresses: u8,
}

impl Flood {
    async fn run(self, way: Way, stop: Arc<AtomicBool>, begun: Arc<AtomicU64>) -> Result<()> {
        let hello = Arc::new(way.client_hello()?);
        let mut tasks = JoinSet::new();
        for task in 0..16_u8 {
            let (way, hello, stop, begun) = (way.clone(), Arc::clone(&hello), Arc::clone(&stop), Arc::clone(&begun));
            tasks.spawn(async move {
                let mut number = task;
                while !stop.load(Ordering::Relaxed) {
                    number = number.wrapping_add(16);
                    if let Ok(mut stream) = way.plain(Ipv4Addr::new(127, 210, 0, 1 + number % self.addresses)).await {
                        if self.hello {
                            drop(stream.write_all(&hello).await);
                        }
                        begun.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        tasks.join_all().await;
        Ok(())
    }
}

/// A vault with a secret, and those who read it.
struct Vault {
    _server: Server,
    way: Way,
    readers: Vec<Client>,
    log: std::path::PathBuf,
}

impl Vault {
    async fn start() -> Result<Self> {
        let mut server = Server::new(Programs::built()?)?.with("log", "level", "warn");
        server.start()?;
        let local = Client::connect(Options::new(server.socket_url(), Identity::generate()?))?;
        let request = InitRequest { share_count: 1, share_threshold: 1, ..InitRequest::default() };
        let fruits = local.system().init(request).await?.into_inner();
        let share = fruits.shares.first().context("a share")?.clone();
        local.system().unseal(UnsealRequest { share, ..UnsealRequest::default() }).await?;
        let connect = || -> Result<Client> {
            let mut options = Options::new(server.url()?, Identity::generate()?);
            options.ca = Some(server.ca());
            Ok(Client::connect(options)?)
        };
        let bootstrap = connect()?;
        bootstrap.login_bootstrap(&SecretString::from(fruits.bootstrap_credential.clone())).await?;
        for (name, role) in [("ada", "admin"), ("olga", "officer")] {
            let (name, roles, password) = (name.to_owned(), vec![role.to_owned()], PASSWORD.to_owned());
            let request = CreateOperatorRequest { name, roles, password, ..CreateOperatorRequest::default() };
            bootstrap.operators().create_operator(request).await?;
        }
        let (admin, officer) = (connect()?, connect()?);
        admin.login_password("", "ada", &SecretString::copied_from(PASSWORD)).await?;
        officer.login_password("", "olga", &SecretString::copied_from(PASSWORD)).await?;
        let issuer = Issuer::es256("https://issuer.test")?;
        let settings = ClusterSettings {
            issuer: issuer.url().to_owned(),
            keys: Some(KeySource { source: Some(key_source::Source::Jwks(issuer.jwks().to_string())) }),
            pod_check: PodCheck::None.into(),
            ..ClusterSettings::default()
        };
        let cluster =
            CreateClusterRequest { name: "test".to_owned(), settings: Some(settings), ..CreateClusterRequest::default() };
        admin.clusters().create_cluster(cluster).await?;
        let grant = CreateGrantRequest {
            actions: vec!["read".to_owned()],
            path: PATH.to_owned(),
            principal: "k8s:test/shop/reader".to_owned(),
            ..CreateGrantRequest::default()
        };
        officer.grants().create_grant(grant).await?;
        let fields = HashMap::from([("field".to_owned(), vec![b'x'; 1_024])]);
        admin.kv().put_secret(PutSecretRequest { path: PATH.to_owned(), fields, ..PutSecretRequest::default() }).await?;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let (client, token) = (connect()?, issuer.token(&Pod::new("shop", "reader")?, Duration::from_secs(3_600))?);
            client.login_workload("", "test", &SecretString::from(token)).await?;
            readers.push(client);
        }
        let way = Way::new(server.address()?, &server.ca(), None)?;
        let log = server.folder().join("log");
        Ok(Self { _server: server, way, readers, log })
    }

    /// Connections that say nothing more.
    async fn idle(&self, number: usize) -> Result<Vec<raw::Raw>> {
        let mut idle = Vec::new();
        while idle.len() < number {
            let from = Ipv4Addr::new(127, 211, 0, 1 + u8::try_from(idle.len() % 200)?);
            if let Ok(raw) = self.way.http2(from, &[]).await {
                idle.push(raw);
            }
        }
        Ok(idle)
    }

    /// Reads for a while, and prints how long that took.
    async fn measure(&self, what: &str, window: Duration) -> Result<()> {
        let mut tasks = JoinSet::new();
        for client in &self.readers {
            let client = client.clone();
            tasks.spawn(async move {
                let (end, mut took) = (Instant::now() + window, Vec::new());
                while Instant::now() < end {
                    let began = Instant::now();
                    client.kv_get(PATH, 0).await?;
                    took.push(began.elapsed());
                    tokio::time::sleep(PAUSE).await;
                }
                anyhow::Ok(took)
            });
        }
        let mut took = Vec::new();
        for done in tasks.join_all().await {
            took.extend(done.with_context(|| fs::read_to_string(&self.log).unwrap_or_default())?);
        }
        took.sort();
        let at = |share: usize| took[(took.len() * share).div_ceil(100).saturating_sub(1)].as_secs_f64() * 1_000.0;
        let reads = took.len();
        println!("{what:<44} {reads:>7} {:>7.2}ms {:>7.2}ms {:>7.2}ms {:>7.2}ms", at(50), at(90), at(99), at(100));
        Ok(())
    }
}
