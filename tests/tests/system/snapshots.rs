//! Snapshots of a vault at work, restored into new servers.

use std::{
    fs, mem,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use age::{secrecy::ExposeSecret as _, x25519::Identity};
use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client, Error, Identity as ClientIdentity, Options,
    proto::{
        GetSealStatusRequest, InitRequest, ListSessionsRequest, RestoreSnapshotRequest, RestoreStart, SaveSnapshotRequest,
        TailAuditRequest, restore_snapshot_request::Piece,
    },
};
use coffer_secret::SecretString;
use coffer_tests::{
    command::Coffer,
    issuer::{Pod, uuid},
    programs::Programs,
    server::Server,
};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::vault::{ADMIN, AUDITOR, Vault, secret};

/// A snapshot's file, and an identity that decrypts it.
struct Saved {
    folder: TempDir,
}

impl Saved {
    async fn of(vault: &Vault) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let identity = Identity::generate();
        fs::write(folder.path().join("key.txt"), format!("# a comment\n{}\n", identity.to_string().expose_secret()))?;
        let request = SaveSnapshotRequest { recipients: vec![identity.to_public().to_string()] };
        let mut stream = vault.operator(ADMIN).await?.snapshots().save_snapshot(request).await?.into_inner();
        let mut file = Vec::new();
        while let Some(piece) = stream.message().await? {
            ensure!((1..=131_076).contains(&piece.data.len()));
            file.extend(piece.data);
        }
        fs::write(folder.path().join("snapshot"), file)?;
        Ok(Self { folder })
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("snapshot")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.txt")
    }

    fn restore(&self, server: &Server) -> Result<String> {
        restore(server, &self.file(), &self.key())
    }
}

fn restore(server: &Server, file: &Path, key: &Path) -> Result<String> {
    let socket = server.socket_url();
    let arguments: [&std::ffi::OsStr; 8] = [
        "--address".as_ref(),
        socket.as_ref(),
        "operator".as_ref(),
        "snapshot".as_ref(),
        "restore".as_ref(),
        file.as_ref(),
        "--identity".as_ref(),
        key.as_ref(),
    ];
    Coffer::new(Programs::built()?)?.ok(arguments)
}

/// A new server on sled that holds no vault.
fn empty() -> Result<Server> {
    let mut server = Server::new(Programs::built()?)?;
    server.start()?;
    Ok(server)
}

fn local(server: &Server) -> Result<Client> {
    Ok(Client::connect(Options::new(server.socket_url(), ClientIdentity::generate()?))?)
}

async fn initialised(server: &Server) -> Result<bool> {
    Ok(local(server)?.system().get_seal_status(GetSealStatusRequest {}).await?.into_inner().initialised)
}

/// The vault on the server that it was restored into, unsealed with its old shares.
async fn moved(mut vault: Vault, server: Server) -> Result<Vault> {
    drop(mem::replace(&mut vault.server, server));
    vault.unseal().await?;
    Ok(vault)
}

async fn read(vault: &Vault, path: &str, field: &str) -> Result<String> {
    let secret = vault.workload(&Pod::new("shop", "api")?).await?.kv_get(path, 0).await?;
    Ok(String::from_utf8(secret.field(field).context("it has the field")?.expose().to_vec())?)
}

async fn comes_back(onto: Server) -> Result<()> {
    let vault = Vault::new().await?;
    vault.grant_read("kv/prod/**", "k8s:test/shop/api").await?;
    for round in 1..=3 {
        vault.put("kv/prod/db", "round", &round.to_string()).await?;
    }
    let saved = Saved::of(&vault).await?;
    // What comes later is not in it.
    vault.put("kv/prod/db", "round", "4").await?;

    saved.restore(&onto)?;
    ensure!(restore(&onto, &saved.file(), &saved.key()).is_err(), "there is a vault now");
    // Its id, and its sessions: who is logged in to the one is not logged in to the other.
    let identity = ClientIdentity::generate()?.to_pem();
    let with_session = |server: &Server| {
        let mut options = Options::new(server.url()?, ClientIdentity::from_pem(identity.duplicate())?);
        options.ca = Some(server.ca());
        anyhow::Ok(Client::connect(options)?)
    };
    let there = with_session(&vault.server)?;
    there.login_password("", ADMIN, &SecretString::copied_from("correct horse battery staple")).await?;
    there.whoami().await?;
    let here = with_session(&onto)?;
    here.set_session_token(there.session_token());

    let vault = moved(vault, onto).await?;
    ensure!(here.whoami().await.is_err_and(|error| error.detail().reason == "SESSION_INVALID"));
    let bootstrap = SecretString::copied_from(&vault.fruits.bootstrap_credential);
    ensure!(vault.stranger()?.login_bootstrap(&bootstrap).await.is_err(), "the bootstrap credential of before has ended");
    let sessions = vault.operator(ADMIN).await?.sessions().list_sessions(ListSessionsRequest::default()).await?.into_inner();
    ensure!(sessions.sessions.len() == 1, "only the one that asks: {sessions:?}");

    ensure!(read(&vault, "kv/prod/db", "round").await? == "3");
    ensure!(vault.put("kv/prod/db", "round", "other").await? == 4, "versions go on");
    ensure!(read(&vault, "kv/prod/db", "round").await? == "other");

    let auditor = vault.operator(AUDITOR).await?;
    let mut entries = auditor.audit().tail_audit(TailAuditRequest::default()).await?.into_inner();
    let first = entries.message().await?.context("the log begins anew")?;
    ensure!(first.index == 0 && first.record_json.contains("\"event\":\"restore\""), "{}", first.record_json);
    ensure!(first.record_json.contains("snapshot_sha256"), "{}", first.record_json);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_vault_is_the_vault_of_the_snapshot() -> Result<()> {
    comes_back(empty()?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_is_restored_into_memory() -> Result<()> {
    let mut server = Server::new(Programs::built()?)?.with("store", "kind", "memory");
    server.unset("store", "path");
    server.start()?;
    comes_back(server).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd: tests/run"]
async fn a_vault_is_restored_into_etcd() -> Result<()> {
    let etcd = std::env::var("COFFER_TEST_ETCD").context("COFFER_TEST_ETCD is not set: run tests/run")?;
    let prefix = format!("/{}/", uuid()?);
    let server = Server::new(Programs::built()?)?.with("store", "kind", "etcd").with("store", "endpoints", vec![etcd]);
    let mut server = server.with("store", "prefix", prefix);
    server.unset("store", "path");
    server.start()?;
    comes_back(server).await
}

/// The log of a restored vault verifies by itself, restarts included.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_vault_restarts_with_its_new_log() -> Result<()> {
    let vault = Vault::new().await?;
    let saved = Saved::of(&vault).await?;
    let server = empty()?;
    saved.restore(&server)?;
    let mut vault = moved(vault, server).await?;
    for _ in 0..2 {
        vault.server.kill()?;
        vault.restart().await?;
        vault.operator(ADMIN).await?.whoami().await?;
    }
    let folder = vault.server.audit();
    let ran = Coffer::new(Programs::built()?)?.run(["audit", "verify", folder.to_str().context("a plain path")?])?;
    ensure!(ran.code == 0, "{}", ran.stderr);
    // And a snapshot of it can be restored in turn.
    let saved = Saved::of(&vault).await?;
    let server = empty()?;
    saved.restore(&server)?;
    moved(vault, server).await?.operator(ADMIN).await?.whoami().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_taken_while_secrets_are_written_holds_whole_secrets() -> Result<()> {
    let vault = Vault::new().await?;
    vault.grant_read("kv/**", "k8s:test/shop/api").await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let (client, stop) = (vault.operator(ADMIN).await?, Arc::clone(&stop));
        writers.spawn(async move {
            let mut round = 0_u64;
            while round == 0 || !stop.load(Ordering::Relaxed) {
                round += 1;
                client.kv().put_secret(secret(&format!("kv/w/{writer}"), "round", &round.to_string())).await?;
            }
            anyhow::Ok(round)
        });
    }
    let saved = Saved::of(&vault).await?;
    stop.store(true, Ordering::Relaxed);
    for written in writers.join_all().await {
        written?;
    }
    let server = empty()?;
    saved.restore(&server)?;
    let vault = moved(vault, server).await?;
    let client = vault.workload(&Pod::new("shop", "api")?).await?;
    for writer in 0..4 {
        let secret = match client.kv_get(&format!("kv/w/{writer}"), 0).await {
            Ok(secret) => secret,
            Err(error) if error.detail().reason == "NOT_FOUND" => continue,
            Err(error) => return Err(error.into()),
        };
        ensure!(secret.field("round").context("whole")?.expose() == secret.version.to_string().as_bytes());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_or_changed_snapshot_leaves_the_server_without_a_vault() -> Result<()> {
    let vault = Vault::new().await?;
    let saved = Saved::of(&vault).await?;
    let whole = fs::read(saved.file())?;
    let server = empty()?;
    let bad = saved.folder.path().join("bad");
    let mut changed = whole.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let coffer = Coffer::new(Programs::built()?)?;
    for content in [&whole[..whole.len() - 1], &whole[..whole.len() / 3], &changed, b"something else\n"] {
        fs::write(&bad, content)?;
        ensure!(restore(&server, &bad, &saved.key()).is_err());
        let ran = coffer.run(["operator", "snapshot", "inspect", bad.to_str().context("a plain path")?])?;
        ensure!(ran.code == 7, "{ran:?}");
        ensure!(!initialised(&server).await?);
    }
    // Past what the command checks: the server itself.
    for end in [Some("too early"), None] {
        let mut pieces = vec![Piece::Start(RestoreStart { about: "{}".to_owned(), setup_token: String::new() })];
        pieces.extend(end.map(|end| Piece::Data(end.as_bytes().to_vec())));
        let stream = tokio_stream::iter(pieces.into_iter().map(|piece| RestoreSnapshotRequest { piece: Some(piece) }));
        ensure!(local(&server)?.snapshots().restore_snapshot(stream).await.is_err());
        ensure!(!initialised(&server).await?);
    }
    local(&server)?.system().init(InitRequest { share_count: 1, share_threshold: 1, ..InitRequest::default() }).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_while_it_restores_has_no_vault_and_can_get_one() -> Result<()> {
    let vault = Vault::new().await?;
    for number in 0..20 {
        vault.put(&format!("kv/many/{number}"), "large", &"x".repeat(100_000)).await?;
    }
    let saved = Saved::of(&vault).await?;
    let mut server = empty()?;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let client = local(&server)?;
    let mut restoring = JoinSet::new();
    restoring.spawn(async move {
        client.snapshots().restore_snapshot(tokio_stream::wrappers::ReceiverStream::new(receiver)).await.is_ok()
    });
    let piece = |piece| RestoreSnapshotRequest { piece: Some(piece) };
    sender.send(piece(Piece::Start(RestoreStart { about: "{}".to_owned(), setup_token: String::new() }))).await?;
    // Entries that are well formed, and never come to an end.
    let entry = |number: u32| {
        let key = format!("coffer/r/{number:08}");
        let length = |bytes: usize| u32::try_from(bytes).map(u32::to_be_bytes);
        anyhow::Ok([[1].as_slice(), &length(key.len())?, key.as_bytes(), &length(60_000)?, &[7; 60_000]].concat())
    };
    for number in 0..60 {
        sender.send(piece(Piece::Data(entry(number)?))).await?;
    }
    server.kill()?;
    drop(sender);
    ensure!(restoring.join_all().await == [false]);
    server.start()?;
    ensure!(!initialised(&server).await?);
    saved.restore(&server)?;
    moved(vault, server).await?.operator(ADMIN).await?.whoami().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_needs_recipients_and_restoring_the_local_socket() -> Result<()> {
    let vault = Vault::new().await?;
    let admin = vault.operator(ADMIN).await?;
    let good = Identity::generate().to_public().to_string();
    for recipients in [vec![], vec!["age1".to_owned()], vec![good.clone(); 17]] {
        ensure!(admin.snapshots().save_snapshot(SaveSnapshotRequest { recipients }).await.is_err());
    }
    ensure!(admin.snapshots().save_snapshot(SaveSnapshotRequest { recipients: vec![good; 16] }).await.is_ok());
    let server = empty()?;
    let mut options = Options::new(server.url()?, ClientIdentity::generate()?);
    options.ca = Some(server.ca());
    let start = Piece::Start(RestoreStart { about: "{}".to_owned(), setup_token: "guess".to_owned() });
    let stream = tokio_stream::iter([RestoreSnapshotRequest { piece: Some(start) }]);
    let refused = Client::connect(options)?.snapshots().restore_snapshot(stream).await.err().context("from elsewhere")?;
    ensure!(Error::from(refused).detail().reason == "LOCAL_ONLY");
    Ok(())
}
