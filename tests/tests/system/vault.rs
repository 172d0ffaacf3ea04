//! A vault to test with: initialised, unsealed, with operators, a secret and a cluster whose tokens it believes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use coffer_client::{
    Client, Error, Identity, Options,
    proto::{
        ClusterSettings, CreateClusterRequest, CreateGrantRequest, CreateMountRequest, CreateOperatorRequest, Grant, InitRequest,
        InitResponse, KeySource, PodCheck, PutSecretRequest, TailAuditRequest, UnsealRequest, key_source::Source,
    },
};
use coffer_secret::SecretString;
use coffer_tests::{
    cluster::tokens,
    issuer::{Issuer, Pod},
    programs::Programs,
    server::Server,
};

use tonic::Status;

use crate::way;

/// The name under which [`Vault::issuer`] is registered.
pub(crate) const CLUSTER: &str = "test";
/// Runs the vault; may write secrets.
pub(crate) const ADMIN: &str = "ada";
/// Decides who may read.
pub(crate) const OFFICER: &str = "olga";
/// Sees everything but values.
pub(crate) const AUDITOR: &str = "otto";
/// How long the tests' service-account tokens last, as pods' do by default.
pub(crate) const TOKEN_LIFETIME: Duration = Duration::from_secs(3_607);

/// Every operator's password.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A vault in use.
pub(crate) struct Vault {
    pub(crate) server: Server,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) fruits: Arc<InitResponse>,
}

impl Vault {
    /// On sled, with everything as it comes.
    pub(crate) async fn new() -> Result<Self> {
        Self::on(Server::new(Programs::built()?)?).await
    }

    /// As [`Vault::new`], with a log that is short: for tests that make very many requests, or read the log often.
    pub(crate) async fn quiet() -> Result<Self> {
        Self::on(Server::new(Programs::built()?)?.with("log", "level", "info")).await
    }

    /// On a server that was prepared, and is not started yet. What opens the vault is among the server's canaries, and so is
    /// what the functions here write or log in with.
    pub(crate) async fn on(server: Server) -> Result<Self> {
        Self::with(server, InitRequest { share_count: 3, share_threshold: 2, ..InitRequest::default() }).await
    }

    /// On a server that is configured with a key file.
    pub(crate) async fn on_static(server: Server) -> Result<Self> {
        Self::with(server, InitRequest::default()).await
    }

    async fn with(mut server: Server, request: InitRequest) -> Result<Self> {
        server.start()?;
        let local = Client::connect(Options::new(server.socket_url(), Identity::generate()?))?;
        let fruits = local.system().init(request).await?.into_inner();
        for share in &fruits.shares {
            server.canaries().add("a share", share);
        }
        server.canaries().add("the bootstrap credential", &fruits.bootstrap_credential);
        server.canaries().add("a password", PASSWORD);
        let vault = Self { server, issuer: Arc::new(Issuer::es256("https://issuer.test")?), fruits: Arc::new(fruits) };
        vault.unseal().await?;

        let bootstrap = vault.stranger()?;
        bootstrap.login_bootstrap(&SecretString::copied_from(&vault.fruits.bootstrap_credential)).await?;
        vault.note_session(&bootstrap);
        for (name, role) in [(ADMIN, "admin"), (OFFICER, "officer"), (AUDITOR, "auditor")] {
            let request = CreateOperatorRequest {
                name: name.to_owned(),
                roles: vec![role.to_owned()],
                password: PASSWORD.to_owned(),
                ..CreateOperatorRequest::default()
            };
            bootstrap.operators().create_operator(request).await?;
        }
        vault.register(CLUSTER, &vault.issuer).await?;
        Ok(vault)
    }

    /// The same vault on another server, which has its data and is not started yet.
    pub(crate) fn moved_to(&self, server: Server) -> Self {
        server.canaries().add_all(self.server.canaries());
        Self { server, issuer: Arc::clone(&self.issuer), fruits: Arc::clone(&self.fruits) }
    }

    /// Starts a server that was killed again, and unseals it.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.server.start()?;
        self.unseal().await
    }

    /// Hands in as many shares as it takes.
    pub(crate) async fn unseal(&self) -> Result<()> {
        if self.fruits.shares.is_empty() {
            return Ok(());
        }
        let client = self.stranger()?;
        let mut nonce = String::new();
        for share in &self.fruits.shares {
            let request = UnsealRequest { share: share.clone(), nonce: nonce.clone(), reset: false };
            let answer = client.system().unseal(request).await?.into_inner();
            if !answer.sealed {
                return Ok(());
            }
            nonce = answer.progress.context("a sealed vault tells its progress")?.nonce;
        }
        anyhow::bail!("every share is handed in, and the vault is still sealed")
    }

    /// A client without a session, with a key and an address of its own.
    pub(crate) fn stranger(&self) -> Result<Client> {
        let way = way::open(self.server.address()?)?;
        let mut options = Options::new(format!("https://{way}"), Identity::generate()?);
        options.ca = Some(self.server.ca());
        Ok(Client::connect(options)?)
    }

    /// An operator's client, logged in.
    pub(crate) async fn operator(&self, name: &str) -> Result<Client> {
        let client = self.stranger()?;
        client.login_password("", name, &SecretString::copied_from(PASSWORD)).await?;
        self.note_session(&client);
        Ok(client)
    }

    /// A pod's client, logged in with a token of [`Vault::issuer`].
    pub(crate) async fn workload(&self, pod: &Pod) -> Result<Client> {
        let client = self.stranger()?;
        let token = SecretString::from(self.token(pod, TOKEN_LIFETIME)?);
        client.login_workload("", CLUSTER, &token).await?;
        self.note_session(&client);
        Ok(client)
    }

    /// A token of [`Vault::issuer`].
    pub(crate) fn token(&self, pod: &Pod, lifetime: Duration) -> Result<String> {
        let token = self.issuer.token(pod, lifetime)?;
        tokens::note(self.server.canaries(), &token);
        Ok(token)
    }

    fn note_session(&self, client: &Client) {
        if let Some(token) = client.session_token() {
            self.server.canaries().add("a session's token", token.expose());
        }
    }

    /// The newest version of a secret and its field `value`, as the pod `shop/api` reads them.
    pub(crate) async fn newest(&self, path: &str) -> Result<(u64, String)> {
        let secret = self.workload(&Pod::new("shop", "api")?).await?.kv_get(path, 0).await?;
        let value = secret.field("value").context("it has the field")?.expose();
        Ok((secret.version, String::from_utf8(value.to_vec())?))
    }

    /// Whether one of the last 200 entries of the audit log has this text.
    pub(crate) async fn has_logged(&self, text: &str) -> Result<bool> {
        let auditor = self.operator(AUDITOR).await?;
        let request = TailAuditRequest { last: 200, ..TailAuditRequest::default() };
        let mut entries = auditor.audit().tail_audit(request).await?.into_inner();
        while let Some(entry) = entries.message().await? {
            if entry.record_json.contains(text) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Registers a cluster by its keys.
    pub(crate) async fn register(&self, name: &str, issuer: &Issuer) -> Result<()> {
        let settings = ClusterSettings {
            issuer: issuer.url().to_owned(),
            keys: Some(KeySource { source: Some(Source::Jwks(issuer.jwks().to_string())) }),
            pod_check: PodCheck::None.into(),
            ..ClusterSettings::default()
        };
        let request = CreateClusterRequest { name: name.to_owned(), settings: Some(settings), idempotency_key: String::new() };
        self.operator(ADMIN).await?.clusters().create_cluster(request).await?;
        Ok(())
    }

    /// Makes a mount.
    pub(crate) async fn mount(&self, name: &str, engine: &str) -> Result<()> {
        let request = CreateMountRequest { name: name.to_owned(), engine: engine.to_owned(), ..CreateMountRequest::default() };
        self.operator(ADMIN).await?.mounts().create_mount(request).await?;
        Ok(())
    }

    /// Grants reading.
    pub(crate) async fn grant_read(&self, path: &str, principal: &str) -> Result<Grant> {
        self.grant(&["read"], path, principal).await
    }

    /// Grants actions.
    pub(crate) async fn grant(&self, actions: &[&str], path: &str, principal: &str) -> Result<Grant> {
        let request = CreateGrantRequest {
            actions: actions.iter().map(|action| (*action).to_owned()).collect(),
            path: path.to_owned(),
            principal: principal.to_owned(),
            idempotency_key: String::new(),
            require: Vec::new(),
        };
        let answer = self.operator(OFFICER).await?.grants().create_grant(request).await?.into_inner();
        answer.grant.context("a grant that is made is shown")
    }

    /// Writes a secret of one field; gives its version.
    pub(crate) async fn put(&self, path: &str, field: &str, value: &str) -> Result<u64> {
        self.server.canaries().add("a secret's value", value);
        let answer = self.operator(ADMIN).await?.kv().put_secret(secret(path, field, value)).await?.into_inner();
        Ok(answer.version.context("a version that is written is shown")?.version)
    }
}

/// A request to write a secret of one field.
pub(crate) fn secret(path: &str, field: &str, value: &str) -> PutSecretRequest {
    let fields = HashMap::from([(field.to_owned(), value.as_bytes().to_vec())]);
    PutSecretRequest { path: path.to_owned(), fields, ..PutSecretRequest::default() }
}

/// The stable code of a refusal; OK for an answer.
pub(crate) fn reason<T>(answer: Result<T, Status>) -> String {
    answer.err().map_or_else(|| "OK".to_owned(), |status| Error::from(status).detail().reason.clone())
}
