//! A vault with a secret that pods may read, and pods whose agents write it to files.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use coffer_client::{
    Client, Identity, Options,
    proto::{
        ClusterSettings, CreateClusterRequest, CreateGrantRequest, CreateOperatorRequest, InitRequest, KeySource, PodCheck,
        PutSecretRequest, UnsealRequest, key_source::Source,
    },
};
use coffer_secret::SecretString;
use coffer_tests::{
    issuer::{self, Issuer},
    memory,
    process::Process,
    programs::Programs,
    server::Server,
};
use tempfile::TempDir;

/// The secret's path.
pub(crate) const PATH: &str = "kv/measure/secret";
const PASSWORD: &str = "correct horse battery staple";

/// A vault with a secret, and a cluster whose pods may read it.
pub(crate) struct Vault {
    pub(crate) server: Server,
    issuer: Arc<Issuer>,
    share: String,
    admin: Client,
    officer: Client,
    rotation: usize,
}

impl Vault {
    pub(crate) async fn start() -> Result<Self> {
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
        let issuer = Arc::new(Issuer::es256("https://issuer.test")?);
        let settings = ClusterSettings {
            issuer: issuer.url().to_owned(),
            keys: Some(KeySource { source: Some(Source::Jwks(issuer.jwks().to_string())) }),
            pod_check: PodCheck::None.into(),
            ..ClusterSettings::default()
        };
        let cluster =
            CreateClusterRequest { name: "test".to_owned(), settings: Some(settings), ..CreateClusterRequest::default() };
        admin.clusters().create_cluster(cluster).await?;
        let vault = Self { server, issuer, share, admin, officer, rotation: 0 };
        vault.grant("reader", &["read", "write"], "kv/measure/**").await?;
        Ok(vault)
    }

    /// Who runs the vault.
    pub(crate) const fn admin(&self) -> &Client {
        &self.admin
    }

    /// Has the pods of a service account do something.
    pub(crate) async fn grant(&self, account: &str, actions: &[&str], path: &str) -> Result<()> {
        self.grant_to(&format!("k8s:test/measure/{account}"), actions, path).await
    }

    /// Has somebody do something.
    pub(crate) async fn grant_to(&self, principal: &str, actions: &[&str], path: &str) -> Result<()> {
        let request = CreateGrantRequest {
            actions: actions.iter().map(ToString::to_string).collect(),
            path: path.to_owned(),
            principal: principal.to_owned(),
            ..CreateGrantRequest::default()
        };
        self.officer.grants().create_grant(request).await?;
        Ok(())
    }

    /// Stops the server well, and starts it again.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.server.terminate()?;
        self.server.start()?;
        self.unseal().await
    }

    pub(crate) async fn unseal(&self) -> Result<()> {
        unseal(&connect(&self.server)?, &self.share).await
    }

    pub(crate) fn value(&self) -> String {
        format!("value {}", self.rotation)
    }

    /// Writes the next value; gives when that was acknowledged.
    pub(crate) async fn rotate(&mut self) -> Result<Instant> {
        self.rotation += 1;
        self.put(self.value().into_bytes()).await?;
        Ok(Instant::now())
    }

    /// Writes the secret.
    pub(crate) async fn put(&self, value: Vec<u8>) -> Result<()> {
        let fields = HashMap::from([("field".to_owned(), value)]);
        self.admin.kv().put_secret(PutSecretRequest { path: PATH.to_owned(), fields, ..PutSecretRequest::default() }).await?;
        Ok(())
    }

    /// A pod's client, logged in.
    pub(crate) async fn reader(&self) -> Result<Client> {
        let client = self.stranger()?;
        self.log_in(&client, "reader").await?;
        Ok(client)
    }

    /// A client that is not logged in.
    pub(crate) fn stranger(&self) -> Result<Client> {
        connect(&self.server)
    }

    /// Logs a client in as a pod of this service account; gives the session's token.
    pub(crate) async fn log_in(&self, client: &Client, account: &str) -> Result<SecretString> {
        self.pods().log_in(client, account).await
    }

    /// Pods without end.
    pub(crate) fn pods(&self) -> Pods {
        Pods(Arc::clone(&self.issuer))
    }

    /// The service-account token of a pod that may read.
    pub(crate) fn token(&self) -> Result<String> {
        self.pods().token("reader")
    }
}

/// Pods, each new.
pub(crate) struct Pods(Arc<Issuer>);

impl Pods {
    /// Logs a client in as a new pod of this service account; gives the session's token.
    pub(crate) async fn log_in(&self, client: &Client, account: &str) -> Result<SecretString> {
        client.login_workload("", "test", &SecretString::from(self.token(account)?)).await?;
        client.session_token().context("a session")
    }

    fn token(&self, account: &str) -> Result<String> {
        self.0.token(&issuer::Pod::new("measure", account)?, Duration::from_secs(3_600))
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

/// What an agent needs: a folder of its own in memory, with configuration and token.
pub(crate) struct Pod {
    /// The file that it writes.
    pub(crate) file: PathBuf,
    config: PathBuf,
    folder: TempDir,
}

impl Pod {
    pub(crate) fn new(vault: &Vault) -> Result<Self> {
        let folder = memory::folder()?;
        let (output, token) = (folder.path().join("out"), folder.path().join("token"));
        fs::create_dir(&output)?;
        fs::write(&token, vault.token()?)?;
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
        Ok(Self { file: output.join("secret"), config, folder })
    }

    /// Starts the agent.
    pub(crate) fn start(&self, agent: &Path, mode: &str) -> Result<Process> {
        let mut command = Command::new(agent);
        Process::start(command.arg(mode).arg("--config").arg(&self.config), &self.folder.path().join("log"))
    }
}
