//! How the server is run: metrics, probes, its log, stopping, and reading its configuration again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use coffer_client::{Client, Error, Identity, Options, proto::*};
use coffer_tests::{issuer::Pod, process::Signal, programs::Programs, server::Server, wait};
use serde_json::Value;
use tokio::time::timeout;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::vault::{ADMIN, Vault, secret};

const PATH: &str = "kv/serve/secret";

/// A server with a port for metrics.
pub(crate) fn server() -> Result<Server> {
    let server = Server::new(Programs::built()?)?.with("log", "level", "info");
    let file = server.folder().join("metrics-address");
    Ok(server.with("metrics", "listen", "127.0.0.1:0").with("metrics", "address_file", file.display().to_string()))
}

pub(crate) fn web(server: &Server) -> Result<SocketAddr> {
    Ok(fs::read_to_string(server.folder().join("metrics-address"))?.parse()?)
}

/// A GET over plain HTTP: status and body.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    ask(address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
}

fn ask(address: SocketAddr, request: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(wait::PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, answer.split_once("\r\n\r\n").context("no body")?.1.to_owned()))
}

/// Every sample by its name and labels, and every family with its type.
pub(crate) fn parse(text: &str) -> Result<(BTreeMap<String, f64>, BTreeMap<String, String>)> {
    let (mut samples, mut families) = (BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').context("a type")?;
            ensure!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
        } else if !line.starts_with('#') {
            let (sample, value) = line.rsplit_once(' ').context("a sample")?;
            ensure!(samples.insert(sample.to_owned(), value.parse()?).is_none(), "{sample} twice");
        }
    }
    Ok((samples, families))
}

/// What the table of docs/metrics.md has: type and labels by name.
fn documented() -> Result<BTreeMap<String, (String, BTreeSet<String>)>> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md"));
    let text = fs::read_to_string(path)?;
    let mut table = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `coffer_") || line.starts_with("| `process_")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else { bail!("{line}") };
        ensure!(meaning.len() > 10, "{line}");
        let labels = labels.split(',').map(|label| label.trim().trim_matches('`').to_owned()).filter(|label| !label.is_empty());
        table.insert(name.trim_matches('`').to_owned(), (kind.to_owned(), labels.collect()));
    }
    Ok(table)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_are_those_of_the_manual_and_follow_the_rules_for_names() -> Result<()> {
    let vault = Vault::on(server()?).await?;
    vault.put(PATH, "field", "value").await?;
    vault.grant_read(PATH, "k8s:test/shop/reader").await?;
    let reader = vault.workload(&Pod::new("shop", "reader")?).await?;
    reader.kv_get(PATH, 0).await?;
    reader.kv_get("kv/serve/absent", 0).await.err().context("a read that is denied")?;
    let _watch = reader.watch(vec![PATH.to_owned()]).await?;
    let (status, text) = get(web(&vault.server)?, "/metrics")?;
    ensure!(status == 200, "{status}");
    let (samples, families) = parse(&text)?;

    let documented = documented()?;
    let shown: BTreeMap<_, _> = families.iter().map(|(name, kind)| (name.clone(), kind.clone())).collect();
    assert_eq!(shown, documented.iter().map(|(name, (kind, _))| (name.clone(), kind.clone())).collect());
    for (name, kind) in &families {
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        assert!(!name.contains("_ms") && !name.contains("milli") && !name.contains("kb"), "{name} is in no base unit");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(kind != "histogram" || name.ends_with("_seconds"), "{name} has no unit");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} is not explained");
    }
    for sample in samples.keys() {
        let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
        let family = ["", "_bucket", "_sum", "_count"].iter().find_map(|end| documented.get(name.strip_suffix(end)?));
        let (_, allowed) = family.with_context(|| format!("{name} belongs to nothing"))?;
        for label in labels.trim_end_matches('}').split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name) {
            ensure!(allowed.contains(label) || label == "le", "{sample}");
        }
    }
    for told in [PATH, "reader", "absent", "issuer.test", ADMIN] {
        assert!(!text.contains(&format!("{told}\"")) && !text.contains(&format!("/{told}")), "{told} is among the metrics");
    }
    let sample = |name: &str| samples.get(name).copied().with_context(|| format!("{name} is missing"));
    assert_eq!(sample("coffer_requests_total{rpc=\"coffer.v1.KvService/GetSecret\",code=\"OK\"}")?, 1.0);
    assert_eq!(sample("coffer_requests_total{rpc=\"coffer.v1.KvService/GetSecret\",code=\"PERMISSION_DENIED\"}")?, 1.0);
    assert_eq!(sample("coffer_request_duration_seconds_count{rpc=\"coffer.v1.KvService/GetSecret\"}")?, 2.0);
    assert_eq!(sample("coffer_logins_total{method=\"workload\",outcome=\"ok\"}")?, 1.0);
    assert_eq!((sample("coffer_sealed")?, sample("coffer_watchers")?, sample("coffer_grants")?), (0.0, 1.0, 1.0));
    assert_eq!(sample("coffer_cluster_pod_cache{cluster=\"test\",state=\"none\"}")?, 1.0);
    for counted in
        ["coffer_store_commits_total{outcome=\"ok\"}", "coffer_audit_sync_duration_seconds_count", "coffer_connections"]
    {
        assert!(sample(counted)? > 0.0, "{counted}");
    }
    assert!(sample("process_resident_memory_bytes")? > 1e6 && sample("process_open_fds")? > 5.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_tell_a_vault_that_works_from_one_that_is_sealed_or_new() -> Result<()> {
    let mut server = server()?;
    server.start()?;
    let address = web(&server)?;
    assert_eq!(get(address, "/health/live")?.0, 200);
    assert_eq!(get(address, "/health/ready")?.0, 503);
    assert_eq!(get(address, "/health/ready?uninitcode=204")?, (204, String::new()));
    drop(server);

    let vault = Vault::on(self::server()?).await?;
    let address = web(&vault.server)?;
    let health = HealthClient::new(vault.stranger()?.connection());
    let check = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        health.clone().check(request).await.map(|answer| answer.into_inner().status())
    };
    let (status, body) = get(address, "/health/ready")?;
    let body: Value = serde_json::from_str(&body)?;
    assert_eq!((status, &body["ready"], &body["sealed"]), (200, &Value::Bool(true), &Value::Bool(false)));
    for service in ["", "coffer.v1.KvService", "grpc.health.v1.Health"] {
        assert_eq!(check(service).await?, ServingStatus::Serving, "{service}");
    }
    assert_eq!(check("coffer.v1.Nothing").await.unwrap_err().code(), tonic::Code::NotFound);
    let mut changes = health.clone().watch(HealthCheckRequest::default()).await?.into_inner();
    assert_eq!(changes.message().await?.context("a state")?.status(), ServingStatus::Serving);

    vault.operator(ADMIN).await?.system().seal(SealRequest {}).await?;
    assert_eq!(get(address, "/health/live")?.0, 200);
    assert_eq!((get(address, "/health/ready")?.0, get(address, "/health/ready?sealedcode=200")?.0), (503, 200));
    assert_eq!(check("").await?, ServingStatus::NotServing);
    assert_eq!(changes.message().await?.context("a state")?.status(), ServingStatus::NotServing);
    assert!(get(address, "/metrics")?.1.contains("coffer_sealed 1"));

    assert_eq!(get(address, "/health/ready?sealedcode=1000")?.0, 400);
    assert_eq!(get(address, "/")?.0, 404);
    assert_eq!(ask(address, "POST /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")?.0, 405);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_have_a_limited_number_of_health_watches() -> Result<()> {
    let vault = Vault::on(server()?).await?;
    let health = HealthClient::new(vault.stranger()?.connection());
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(health.clone().watch(HealthCheckRequest::default()).await?.into_inner());
    }
    let refused = health.clone().watch(HealthCheckRequest::default()).await.err().context("a sixty-fifth watch")?;
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    open.pop();
    let deadline = Instant::now() + wait::PATIENCE;
    while health.clone().watch(HealthCheckRequest::default()).await.is_err() {
        ensure!(Instant::now() < deadline, "the place of a watch that ended is not given to another");
    }
    Ok(())
}

/// Reads until it is told to stop; gives how often it read, and what failed without saying that trying again helps.
async fn load(client: Client, stopped: tokio::sync::watch::Receiver<bool>) -> (u64, Vec<String>) {
    let (mut reads, mut failures) = (0, Vec::new());
    while !*stopped.borrow() {
        match client.kv_get(PATH, 0).await {
            Ok(_) => reads += 1,
            Err(error) if error.retryable() => tokio::task::yield_now().await,
            Err(error) => failures.push(error.to_string()),
        }
    }
    (reads, failures)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_fails_nobody() -> Result<()> {
    let mut server = server()?.with("log", "level", "debug");
    server.set_root("drain_delay_secs", 2);
    let mut vault = Vault::on(server).await?;
    vault.put(PATH, "field", "value").await?;
    vault.grant_read(PATH, "k8s:test/shop/reader").await?;
    let address = web(&vault.server)?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut loads = Vec::new();
    for _ in 0..8 {
        let client = vault.workload(&Pod::new("shop", "reader")?).await?;
        client.kv_get(PATH, 0).await?;
        loads.push(tokio::spawn(load(client, stopped.clone())));
    }
    let watcher = vault.workload(&Pod::new("shop", "reader")?).await?;
    let mut watch = watcher.watch(vec![PATH.to_owned()]).await?;
    watch.next().await?;

    vault.server.process()?.signal(Signal::TERM)?;
    // Not ready at once, and still answering.
    wait::until(wait::PATIENCE, "the server not to be ready", || Ok((get(address, "/health/ready")?.0 == 503).then_some(())))?;
    vault.workload(&Pod::new("shop", "reader")?).await?.kv_get(PATH, 0).await?;
    assert!(get(address, "/metrics")?.1.contains("coffer_draining 1"));
    let end = timeout(wait::PATIENCE, async {
        loop {
            if let Err(error) = watch.next().await {
                break error;
            }
        }
    });
    let end = end.await.context("the watch goes on")?;
    assert!(end.retryable(), "{end}");
    let status = vault.server.process()?.wait(wait::PATIENCE)?;
    assert_eq!(status.code(), Some(0), "{}", vault.server.log()?);
    stop.send(true)?;
    for load in loads {
        let (reads, failures) = load.await?;
        assert!(failures.is_empty() && reads > 0, "{reads} reads, and: {failures:?}");
    }
    let log = vault.server.log()?;
    assert!(!log.contains("not done in time") && !log.contains("without a checkpoint"), "{log}");
    // Store and audit log are of the same moment, and everything is there.
    vault.restart().await?;
    vault.workload(&Pod::new("shop", "reader")?).await?.kv_get(PATH, 0).await?;
    Ok(())
}

/// Sends SIGHUP and waits for what the log says of it.
pub(crate) fn hang_up(server: &mut Server) -> Result<String> {
    let before = server.log()?.len();
    server.process()?.signal(Signal::HUP)?;
    wait::until(wait::PATIENCE, "the configuration to be read again", || {
        let log = server.log()?.get(before..).unwrap_or_default().to_owned();
        Ok(log.lines().find(|line| line.contains("read again")).map(str::to_owned))
    })
}

fn certificate(server: &Server) -> Result<Vec<u8>> {
    Ok(fs::read(server.folder().join("tls/server.pem"))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_read_again_takes_effect_whole_or_not_at_all() -> Result<()> {
    let mut server = server()?;
    let token = server.folder().join("token");
    fs::write(&token, "the first token")?;
    restrict(&token)?;
    server.set("init", "setup_token_file", token.display().to_string());
    server.start()?;
    let stranger = |server: &Server| -> Result<Client> {
        let mut options = Options::new(server.url()?, Identity::generate()?);
        options.ca = Some(server.ca());
        Ok(Client::connect(options)?)
    };
    let before = stranger(&server)?;
    before.system().get_seal_status(GetSealStatusRequest {}).await?;
    let first_certificate = certificate(&server)?;
    let init = async |token: &str, count| {
        let request = InitRequest { setup_token: token.to_owned(), share_count: count, share_threshold: 1, ..Default::default() };
        before.system().init(request).await.err().map(|status| Error::from(status).reason().to_owned())
    };

    // Broken in one place: nothing changes, and the log says where.
    fs::write(&token, "the second token")?;
    server.set("log", "level", "coffer=nonsense");
    server.write_config()?;
    let told = hang_up(&mut server)?;
    assert!(told.contains("everything stays as it was") && told.contains("log.level"), "{told}");
    assert_eq!(certificate(&server)?, first_certificate);
    assert_eq!(init("the second token", 1).await.as_deref(), Some("LOCAL_ONLY"));

    server.set("log", "level", "debug");
    server.set("log", "format", "json");
    server.set_root("node", "another");
    server.write_config()?;
    let told = hang_up(&mut server)?;
    assert!(told.contains("needs a restart") && told.contains("node, log.format"), "{told}");
    // A connection that is open lives on; a new one has the new certificate, and both are answered.
    assert_ne!(certificate(&server)?, first_certificate);
    before.system().get_seal_status(GetSealStatusRequest {}).await?;
    assert_eq!(peer_certificate(&server)?, pem_body(&certificate(&server)?)?);
    assert_eq!(init("the first token", 1).await.as_deref(), Some("LOCAL_ONLY"));
    assert_eq!(init("the second token", 1).await, None);
    let log = server.log()?;
    assert!(log.contains("answered") && log.contains("coffer.v1.SystemService/GetSealStatus"), "the log is not at debug");
    assert!(!log.contains("second token"), "the set-up token is in the log");
    Ok(())
}

pub(crate) fn restrict(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}

/// The certificate that a new connection is shown, as the base64 of its PEM.
fn peer_certificate(server: &Server) -> Result<String> {
    let ca: PathBuf = server.ca();
    let shown = std::process::Command::new("openssl")
        .args(["s_client", "-connect", &server.address()?.to_string(), "-alpn", "h2", "-CAfile"])
        .arg(ca)
        .stdin(std::process::Stdio::null())
        .output()
        .context("openssl cannot be started")?;
    pem_body(&shown.stdout)
}

fn pem_body(text: &[u8]) -> Result<String> {
    let text = String::from_utf8_lossy(text).into_owned();
    let rest = text.split_once("-----BEGIN CERTIFICATE-----").context("no certificate")?.1;
    Ok(rest.split_once("-----END").context("no end of a certificate")?.0.split_whitespace().collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_a_line_for_each_request_without_names_or_values() -> Result<()> {
    let vault = Vault::on(server()?.with("log", "level", "debug").with("log", "format", "json")).await?;
    vault.put(PATH, "field", "canary-value").await?;
    vault.grant_read(PATH, "k8s:test/shop/reader").await?;
    let reader = vault.workload(&Pod::new("shop", "reader")?).await?;
    let denied = reader.kv_get("kv/serve/absent", 0).await.err().context("a denied read")?;
    let id = denied.request_id().context("an id")?;
    let log = vault.server.log()?;
    let line = log.lines().find(|line| line.contains(id) && line.contains("answered")).context("no line of the request")?;
    let line: Value = serde_json::from_str(line)?;
    let fields = &line["fields"];
    assert_eq!(
        (&line["level"], &fields["code"], &fields["reason"]),
        (&"DEBUG".into(), &"PERMISSION_DENIED".into(), &"NOT_FOUND_OR_DENIED".into())
    );
    assert_eq!((&line["span"]["rpc"], &line["span"]["caller"]), (&"coffer.v1.KvService/GetSecret".into(), &"workload".into()));
    assert!(fields["duration_us"].as_u64().is_some_and(|micros| micros > 0), "{line}");
    for line in log.lines().filter(|line| line.contains("coffer")) {
        for told in ["canary-value", "serve/secret", "serve/absent"] {
            assert!(!line.contains(told), "{line}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_servers_own_is_one_line_with_its_request_id() -> Result<()> {
    let mut vault = Vault::on(server()?.with("log", "format", "json")).await?;
    vault.put(PATH, "field", "value").await?;
    let before = vault.server.log()?.len();
    // A caller's mistake is none of the log's business.
    vault.stranger()?.kv_get(PATH, 0).await.err().context("a read without a session")?;
    vault.operator(ADMIN).await?.kv().put_secret(secret("no-mount/x", "field", "value")).await.err().context("no mount")?;
    let log = vault.server.log()?;
    assert_eq!(log.get(before..), Some(""), "a caller's mistake is in the log");

    vault.server.kill()?;
    let faults: Vec<_> = (1..=50).map(|commit| format!("commit:{commit}:before")).collect();
    vault.server.set("store", "faults", faults.join(","));
    vault.restart().await?;
    let failed = vault.operator(ADMIN).await.err().context("a login that the store did not take")?;
    let failed = failed.downcast::<Error>()?;
    let id = failed.request_id().context("an id")?;
    let log = vault.server.log()?;
    let lines: Vec<Value> = log.lines().filter(|line| line.contains(id)).map(serde_json::from_str).collect::<Result<_, _>>()?;
    let [line] = &lines[..] else { bail!("{} lines of the request", lines.len()) };
    let fields = &line["fields"];
    assert_eq!((&line["level"], &fields["rpc"]), (&"ERROR".into(), &"coffer.v1.AuthService/LoginPassword".into()));
    assert_eq!((&fields["code"], &fields["reason"]), (&"UNAVAILABLE".into(), &"UNAVAILABLE".into()));
    Ok(())
}
