//! The server's certificate replaced by one of another authority while connections live.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client, Error, Event, Identity, Options, Watch,
    proto::{GetSealStatusRequest, GetSecretMetadataRequest},
};
use coffer_tests::{issuer::Pod, programs::Programs, server::Server, wait::PATIENCE};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::{
    serve::{hang_up, restrict},
    vault::{ADMIN, CLUSTER, Vault, secret},
};

const PATH: &str = "kv/certificates/secret";
const LOOK: Duration = Duration::from_millis(200);

/// Who signs certificates.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// Puts a new certificate where the server looks for it; gives its key.
    fn issue(&self, folder: &Path) -> Result<String> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        fs::write(folder.join("given.pem"), params.signed_by(&key, &self.issuer)?.pem())?;
        write_key(folder, &key.serialize_pem())?;
        Ok(key.serialize_pem())
    }
}

fn write_key(folder: &Path, key: &str) -> Result<()> {
    let path = folder.join("given.key");
    fs::write(&path, key)?;
    restrict(&path)
}

fn bundle(file: &Path, authorities: &[&Authority]) -> Result<()> {
    Ok(fs::write(file, authorities.iter().map(|authority| authority.pem.as_str()).collect::<String>())?)
}

async fn answered(client: &Client) -> Result<(), Error> {
    Ok(client.system().get_seal_status(GetSealStatusRequest {}).await.map(drop)?)
}

/// Waits for the news of this version.
async fn told(watch: &mut Watch, version: u64) -> Result<()> {
    loop {
        let event = timeout(PATIENCE, watch.next()).await.context("no event")??.context("the watch ended")?;
        if event == (Event::Changed { path: PATH.to_owned(), version }) {
            return Ok(());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_outlive_a_change_of_certificate_and_clients_follow_their_bundle() -> Result<()> {
    let (old, new) = (Authority::new()?, Authority::new()?);
    let mut server = Server::new(Programs::built()?)?.with("log", "level", "info");
    let folder = server.folder().to_owned();
    old.issue(&folder)?;
    for name in ["directory", "names"] {
        server.unset("tls", name);
    }
    server.set("tls", "certificate", folder.join("given.pem").display().to_string());
    server.set("tls", "key", folder.join("given.key").display().to_string());
    fs::create_dir(folder.join("tls"))?;
    bundle(&server.ca(), &[&old])?;
    let mut vault = Vault::on(server).await?;
    vault.grant_read(PATH, &format!("k8s:{CLUSTER}/shop/api")).await?;
    vault.put(PATH, "value", "one").await?;
    let (admin, pod) = (vault.operator(ADMIN).await?, vault.workload(&Pod::new("shop", "api")?).await?);
    let mut watch = pod.watch(vec![PATH.to_owned()]).await?;
    told(&mut watch, 1).await?;

    let key = new.issue(&folder)?;
    let said = hang_up(&mut vault.server)?;
    ensure!(!said.contains("stays as it was"), "{said}");
    // What is connected stays connected, and follows changes.
    admin.kv().put_secret(secret(PATH, "value", "two")).await.context("a connection of before has ended")?;
    told(&mut watch, 2).await.context("a watch of before has ended")?;

    // Whoever comes anew is shown the new certificate.
    let refusal = answered(&vault.stranger()?).await.err().context("the old certificate is shown")?;
    let text = refusal.to_string();
    ensure!(text.contains("is not trusted") && text.contains(&vault.server.ca().display().to_string()), "{text}");
    let both = folder.join("both.pem");
    bundle(&both, &[&old, &new])?;
    let mut options = Options::new(vault.server.url()?, Identity::generate()?);
    options.ca = Some(both);
    let prepared = Client::connect(options)?;
    answered(&prepared).await.context("a client that trusts both authorities")?;

    // A key that is not the certificate's changes nothing.
    write_key(&folder, &KeyPair::generate()?.serialize_pem())?;
    let said = hang_up(&mut vault.server)?;
    ensure!(said.contains("everything stays as it was"), "{said}");
    write_key(&folder, &key)?;

    // The connections end, and with them what their clients knew. The bundle is read again for each new one.
    ensure!(vault.server.terminate()?.success(), "the server did not end well");
    vault.server.start()?;
    let metadata = || GetSecretMetadataRequest { path: PATH.to_owned() };
    let refusal: Error = admin.kv().get_secret_metadata(metadata()).await.err().context("an old bundle will do")?.into();
    ensure!(refusal.to_string().contains("is not trusted"), "{refusal}");
    bundle(&vault.server.ca(), &[&new])?;
    vault.unseal().await.context("clients do not follow their bundle")?;
    admin.kv().get_secret_metadata(metadata()).await.context("a client does not follow its bundle")?;
    let secret = pod.kv_get(PATH, 0).await.context("a client does not follow its bundle")?;
    ensure!(secret.version == 2, "version {}", secret.version);
    answered(&prepared).await.context("a client that trusts both authorities")?;

    // Whoever renews it need not tell: the file is looked at again.
    let next = Authority::new()?;
    next.issue(&folder)?;
    bundle(&vault.server.ca(), &[&next])?;
    let end = Instant::now() + PATIENCE;
    while let Err(error) = answered(&vault.stranger()?).await {
        ensure!(Instant::now() < end && error.to_string().contains("is not trusted"), "{error}");
        sleep(LOOK).await;
    }
    Ok(())
}
