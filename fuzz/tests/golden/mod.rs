//! The seeds that had to be made by the vault's own code, once: what a key signed or encrypted.

use std::{io::Read as _, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use coffer_barrier::{
    Batch, Expect, RecordKey, Scope, Store, encoding,
    seal::{Initialisation, SealChoice},
    snapshot::MAGIC,
};
use coffer_core::{
    clock::Timestamp,
    id::{ClusterId, SessionId, TenantId, VaultId},
    session::{Holder, SESSION_VERSION, SessionClaims, SessionPod},
};
use coffer_crypto::{key::Key, recipients::Recipient, token::Sealer};
use coffer_secret::SecretBytes;
use coffer_store::memory::MemoryStore;
use coffer_tests::issuer::{Issuer, Pod};
use tokio::sync::mpsc;

use super::{folder, fs, target};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn write(of: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let folder = folder(target(of).context("a target")?);
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join(name), bytes)?)
}

fn tokens() -> Result<()> {
    let claims = SessionClaims {
        version: SESSION_VERSION,
        id: SessionId::from_bytes([1; 16]),
        tenant: TenantId::from_bytes([2; 16]),
        holder: Holder::Workload {
            cluster: "test".parse()?,
            cluster_id: ClusterId::from_bytes([3; 16]),
            namespace: "shop".parse()?,
            service_account: "api".parse()?,
            service_account_uid: "4a1d0f9e-0000-4000-8000-000000000000".to_owned(),
            pod: Some(SessionPod { name: "api-0".to_owned(), uid: "4a1d0f9e".to_owned(), node: None }),
        },
        thumbprint: [4; 32],
        issued: NOW,
        expires: NOW.plus(Duration::from_secs(600)),
        epoch: 0,
    };
    let claims = encoding::encode(&claims)?;
    write("token", "claims", claims.expose())?;
    let sealer = Sealer::new(&Key::from_bytes([7; 32]), "session");
    write("token", "session", sealer.seal(claims.expose())?.expose().as_bytes())?;
    let issuer = Issuer::es256("https://issuer.test")?;
    let mut claims = issuer.claims(&Pod::new("shop", "api")?, Duration::from_secs(3_600))?;
    for (name, secs) in [("iat", 1_700_000_000), ("nbf", 1_700_000_000), ("exp", 1_700_003_600_u64)] {
        *claims.get_mut(name).context(name)? = secs.into();
    }
    write("token", "service-account", issuer.sign(&issuer.header(), &claims)?.as_bytes())?;
    write("token", "keys", issuer.jwks().to_string().as_bytes())
}

async fn snapshot() -> Result<()> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let tenant = TenantId::from_bytes(*b"the tenant's id.");
    let seal = SealChoice::StaticKey(Key::from_bytes([7; 32]));
    let init = Initialisation::new(VaultId::from_bytes(*b"the vault's id.."), seal, &[tenant], NOW)?;
    let barrier = init.commit(store, Batch::new()).await?.barrier;
    for name in ["one", "two"] {
        let mut batch = Batch::new();
        batch.put(RecordKey::new(Scope::Tenant(tenant), ["kv", name])?, Expect::Absent, SecretBytes::copied_from(b"value"));
        barrier.commit(batch).await?;
    }
    let identity = age::x25519::Identity::generate();
    let recipients: [Recipient; 1] = [identity.to_public().to_string().parse()?];
    let (sender, mut receiver) = mpsc::channel(4);
    let collect = async {
        let mut file = Vec::new();
        while let Some(piece) = receiver.recv().await {
            file.extend(piece);
        }
        file
    };
    let (saved, file) = tokio::join!(barrier.save(r#"{"format":1}"#, &recipients, sender), collect);
    saved?;
    let rest = file.strip_prefix(MAGIC).context("its beginning")?;
    let mut frames = rest.splitn(2, |byte| *byte == b'\n').nth(1).context("a line")?;
    let mut encrypted = Vec::new();
    while let Some((length, rest)) = frames.split_first_chunk()
        && let Some((frame, rest)) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length))?)
        && !frame.is_empty()
    {
        encrypted.extend_from_slice(frame);
        frames = rest;
    }
    // In pieces of one byte and sixteen times zero.
    let mut content = vec![0];
    let identity: &dyn age::Identity = &identity;
    age::Decryptor::new(&encrypted[..])?.decrypt(std::iter::once(identity))?.read_to_end(&mut content)?;
    write("snapshot", "whole", &content)
}

#[tokio::test]
#[ignore = "needs to be run once for a format: cargo test -p coffer-fuzz -- --ignored write_golden"]
async fn write_golden_seeds() -> Result<()> {
    tokens()?;
    snapshot().await
}
