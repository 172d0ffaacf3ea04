//! A vault that a key file seals: it makes itself, lets a first operator in on its local socket, and is given shares.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client, Error, Identity, Options,
    proto::{
        GetSealStatusRequest, ListOperatorsRequest, RecoverRequest, SealKind, StartRekeyRequest, TailAuditRequest, UnsealRequest,
    },
};
use coffer_secret::SecretString;
use coffer_tests::{programs::Programs, server::Server};
use tempfile::TempDir;
use tonic::Status;

use crate::keys::{nonce, submit};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A server that makes its vault, with one admin.
struct Automatic {
    server: Server,
    ada: Identity,
    _folder: TempDir,
}

impl Automatic {
    fn new() -> Result<Self> {
        let (folder, ada) = (tempfile::tempdir()?, Identity::generate()?);
        let file = folder.path().join("key");
        fs::write(&file, KEY)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        let mut server = Server::new(Programs::built()?)?.with("seal", "kind", "static-key").with("init", "automatic", true);
        server.set("seal", "key_file", file.display().to_string());
        server.canaries().add("the key file's text", KEY);
        let pin = ada.pin();
        let mut operator: toml::Table = toml::from_str("name = \"ada\"\nroles = [\"admin\", \"auditor\"]")?;
        operator.insert("pins".to_owned(), vec![pin].into());
        server.set("init", "operators", vec![operator]);
        Ok(Self { server, ada, _folder: folder })
    }

    fn client(&self, identity: Identity) -> Result<Client> {
        let mut options = Options::new(self.server.url()?, identity);
        options.ca = Some(self.server.ca());
        Ok(Client::connect(options)?)
    }

    fn local(&self) -> Result<Client> {
        Ok(Client::connect(Options::new(self.server.socket_url(), Identity::generate()?))?)
    }

    async fn admin(&self) -> Result<Client> {
        let client = self.client(self.ada.clone())?;
        client.login_certificate("", "ada").await?;
        if let Some(token) = client.session_token() {
            self.server.canaries().add("a session's token", token.expose());
        }
        Ok(client)
    }
}

fn reason<T>(answer: Result<T, Status>) -> Result<String> {
    Ok(Error::from(answer.err().context("it was not refused")?).detail().reason.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_makes_itself_once_with_the_operators_of_the_configuration() -> Result<()> {
    let mut automatic = Automatic::new()?;
    automatic.server.start()?;
    let admin = automatic.admin().await?;
    let operators = admin.operators().list_operators(ListOperatorsRequest::default()).await?.into_inner().operators;
    ensure!(operators.len() == 1 && operators[0].name == "ada" && operators[0].roles == ["admin", "auditor"], "{operators:?}");
    let status = async |client: &Client| {
        Ok::<_, anyhow::Error>(client.system().get_seal_status(GetSealStatusRequest {}).await?.into_inner())
    };
    let before = status(&admin).await?;
    ensure!(before.initialised && !before.sealed && before.seal_kind() == SealKind::StaticKey, "{before:?}");
    ensure!(before.warnings.iter().any(|warning| warning.contains("rekey start")), "the way to shares is told: {before:?}");
    // What the configuration says of operators is for the first start alone.
    automatic.server.terminate()?;
    automatic.server.unset("init", "operators");
    automatic.server.start()?;
    let after = status(&automatic.admin().await?).await?;
    ensure!(after.vault_id == before.vault_id, "another vault was made");
    let request = TailAuditRequest { last: 200, ..TailAuditRequest::default() };
    let (mut entries, mut made) = (automatic.admin().await?.audit().tail_audit(request).await?.into_inner(), Vec::new());
    while let Some(entry) = entries.message().await? {
        made.extend(Some(entry.record_json).filter(|record| record.contains("\"event\":\"init\"")));
    }
    ensure!(made.len() == 1 && made[0].contains("\"operator ada\":\"admin auditor\""), "{made:?}");
    automatic.server.search().map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_on_the_local_socket_lets_a_first_operator_in_and_nobody_else_does() -> Result<()> {
    let mut automatic = Automatic::new()?;
    automatic.server.unset("init", "operators");
    automatic.server.start()?;
    let stranger = automatic.client(Identity::generate()?)?;
    let refused = reason(stranger.system().recover(RecoverRequest::default()).await)?;
    ensure!(refused == "INVALID_ARGUMENT", "{refused}");
    let fruits = automatic.local()?.system().recover(RecoverRequest::default()).await?.into_inner();
    automatic.server.canaries().add("the bootstrap credential", &fruits.bootstrap_credential);
    stranger.login_bootstrap(&SecretString::copied_from(&fruits.bootstrap_credential)).await?;
    if let Some(token) = stranger.session_token() {
        automatic.server.canaries().add("a session's token", token.expose());
    }
    automatic.server.search().map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_take_the_key_files_place_and_the_file_opens_nothing_any_more() -> Result<()> {
    let mut automatic = Automatic::new()?;
    automatic.server.start()?;
    let (admin, local) = (automatic.admin().await?, automatic.local()?);
    let start = StartRekeyRequest { share_count: 2, share_threshold: 2, ..StartRekeyRequest::default() };
    ensure!(reason(submit(&local, "", "").await)? == "NONCE_MISMATCH", "nobody asked");
    let asked = nonce(admin.keys().start_rekey(start).await?.into_inner().rekey.as_ref())?;
    ensure!(reason(submit(&admin, "", &asked).await)? == "LOCAL_ONLY", "from elsewhere");
    ensure!(reason(submit(&local, "", "other").await)? == "NONCE_MISMATCH", "another attempt's nonce");
    let agreed = submit(&local, "", &asked).await?;
    ensure!(agreed.shares.len() == 2 && !agreed.in_force, "{}", agreed.shares.len());
    for share in &agreed.shares {
        automatic.server.canaries().add("a share", share);
    }
    // Not in force yet: the file still opens.
    automatic.server.kill()?;
    automatic.server.start()?;
    let (admin, local) = (automatic.admin().await?, automatic.local()?);
    let start = StartRekeyRequest { share_count: 2, share_threshold: 2, ..StartRekeyRequest::default() };
    let asked = nonce(admin.keys().start_rekey(start).await?.into_inner().rekey.as_ref())?;
    let agreed = submit(&local, "", &asked).await?;
    for share in &agreed.shares {
        automatic.server.canaries().add("a share", share);
    }
    let verifying = nonce(agreed.rekey.as_ref())?;
    ensure!(!submit(&admin, &agreed.shares[0], &verifying).await?.in_force);
    ensure!(submit(&admin, &agreed.shares[1], &verifying).await?.in_force);
    let refused = reason(local.system().recover(RecoverRequest::default()).await)?;
    ensure!(refused == "INVALID_ARGUMENT", "shares seal it: {refused}");

    automatic.server.kill()?;
    automatic.server.start()?;
    let stranger = automatic.client(Identity::generate()?)?;
    let sealed = stranger.system().get_seal_status(GetSealStatusRequest {}).await?.into_inner();
    ensure!(sealed.sealed && sealed.seal_kind() == SealKind::Shamir && sealed.warnings.is_empty(), "{sealed:?}");
    let mut attempt = String::new();
    for share in &agreed.shares {
        let request = UnsealRequest { share: share.clone(), nonce: attempt, reset: false };
        let answer = stranger.system().unseal(request).await?.into_inner();
        attempt = answer.progress.map(|progress| progress.nonce).unwrap_or_default();
    }
    automatic.admin().await?;
    automatic.server.search().map(drop)
}
