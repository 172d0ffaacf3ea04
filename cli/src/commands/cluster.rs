//! `coffer cluster`.

use clap::{Args, Subcommand, ValueEnum};
use coffer_client::proto::{
    ApiServer, Cluster as Registered, ClusterSettings, ConfirmPodLossRequest, CreateClusterRequest, DeleteClusterRequest,
    GetClusterRequest, JwksUrl, KeySource, ListClustersRequest, PodCheck, UpdateClusterRequest, key_source::Source as Keys,
};

use crate::{
    app::{App, PAGE_SIZE, Vault, all_pages, answer, part},
    dry_run::{DryRun, Planned},
    exit::Exit,
    failure::{Failure, Result},
    input::{Source, TEXT_BYTES_MAX},
};

mod show;

/// Manage the Kubernetes clusters whose workloads may log in
#[derive(Subcommand)]
pub(crate) enum Cluster {
    Create(Create),
    Get(Get),
    #[command(visible_alias = "ls")]
    List(List),
    Update(Update),
    #[command(visible_alias = "rm")]
    Delete(Delete),
    ConfirmPodLoss(ConfirmPodLoss),
}

impl Cluster {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Create(command) => command.run(app).await,
            Self::Get(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Update(command) => command.run(app).await,
            Self::Delete(command) => command.run(app).await,
            Self::ConfirmPodLoss(command) => command.run(app).await,
        }
    }
}

/// How a pod named in a token is known to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Check {
    /// Not at all: sessions last ten minutes at most
    None,
    /// A copy of the cluster's pods, kept by watching the API server
    Cache,
    /// The cache, and the API server is asked about each token at login
    TokenReview,
}

impl From<Check> for PodCheck {
    fn from(check: Check) -> Self {
        match check {
            Check::None => Self::None,
            Check::Cache => Self::Cache,
            Check::TokenReview => Self::TokenReview,
        }
    }
}

#[derive(Args)]
struct Settings {
    /// The audience that tokens must be made for [default: coffer]
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
    /// The keys themselves: @FILE with a JSON Web Key Set, or - for standard input
    #[arg(long, value_name = "@FILE", conflicts_with = "jwks_url")]
    jwks: Option<String>,
    /// An https URL that answers with a JSON Web Key Set
    #[arg(long, value_name = "URL")]
    jwks_url: Option<String>,
    /// CA certificates (PEM) to believe at that URL: @FILE
    #[arg(long, value_name = "@FILE", requires = "jwks_url")]
    jwks_ca: Option<String>,
    /// The API server, for pods, reviews and keys; without a URL the one of the cluster that the vault runs in
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "", require_equals = true)]
    api_server: Option<String>,
    /// CA certificates (PEM) to believe at the API server: @FILE
    #[arg(long, value_name = "@FILE", requires = "api_server")]
    api_ca: Option<String>,
    /// A file on the vault server's machine with a token for the API server
    #[arg(long, value_name = "PATH", requires = "api_server")]
    api_token_file: Option<String>,
    /// How a pod is known to live [default: cache with an API server, else none]
    #[arg(long, value_name = "CHECK")]
    pod_check: Option<Check>,
    /// Who may report postures of the cluster's nodes: NAMESPACE/SERVICE-ACCOUNT of the node agent, or "" for nobody
    #[arg(long, value_name = "ACCOUNT")]
    node_agent: Option<String>,
}

impl Settings {
    /// Whether anything is given.
    const fn is_empty(&self) -> bool {
        self.audience.is_none()
            && self.jwks.is_none()
            && self.jwks_url.is_none()
            && self.api_server.is_none()
            && self.pod_check.is_none()
            && self.node_agent.is_none()
    }

    /// Where keys come from, where it is said: an API server alone gives its own.
    fn keys(&self, app: &App) -> Result<Option<Keys>> {
        if let Some(file) = &self.jwks {
            return Ok(Some(Keys::Jwks(text(app, file)?)));
        }
        if let Some(url) = &self.jwks_url {
            let ca_pem = self.jwks_ca.as_deref().map(|file| text(app, file)).transpose()?.unwrap_or_default();
            return Ok(Some(Keys::Url(JwksUrl { url: url.clone(), ca_pem })));
        }
        Ok(self.api_server.is_some().then_some(Keys::ApiServer(true)))
    }

    fn api_server(&self, app: &App) -> Result<Option<ApiServer>> {
        let Some(url) = &self.api_server else { return Ok(None) };
        Ok(Some(ApiServer {
            url: url.clone(),
            ca_pem: self.api_ca.as_deref().map(|file| text(app, file)).transpose()?.unwrap_or_default(),
            token_file: self.api_token_file.clone().unwrap_or_default(),
        }))
    }

    /// The settings with what is given in place of what was there.
    fn apply(&self, app: &App, mut known: ClusterSettings) -> Result<ClusterSettings> {
        if let Some(audience) = &self.audience {
            known.audience.clone_from(audience);
        }
        let keys_named = self.jwks.is_some() || self.jwks_url.is_some();
        if let Some(keys) = self.keys(app)?.filter(|_| keys_named || known.keys.is_none()) {
            known.keys = Some(KeySource { source: Some(keys) });
        }
        if let Some(api_server) = self.api_server(app)? {
            known.api_server = Some(api_server);
        }
        if let Some(check) = self.pod_check {
            known.pod_check = PodCheck::from(check).into();
        }
        if let Some(account) = &self.node_agent {
            known.node_agent.clone_from(account);
        }
        Ok(known)
    }
}

fn text(app: &App, file: &str) -> Result<String> {
    Ok(app.input.text(&Source::of_file(file), TEXT_BYTES_MAX)?.into_exposed())
}

/// Register a cluster
///
/// Its service-account tokens then log workloads in as k8s:NAME/NAMESPACE/SERVICE-ACCOUNT.
#[derive(Args)]
#[command(after_help = "\
Examples:
  kubectl get --raw /openid/v1/jwks > jwks.json
  coffer cluster create prod --issuer https://kubernetes.default.svc --jwks @jwks.json
  coffer cluster create here --issuer https://kubernetes.default.svc --api-server
  coffer cluster create eks --issuer https://oidc.example.com/id/X --jwks-url https://oidc.example.com/id/X/keys --jwks-ca @ca.pem")]
pub(crate) struct Create {
    /// The name: a-z 0-9 -
    #[arg(add = crate::complete::clusters())]
    name: String,
    /// The issuer that tokens name (kubectl get --raw /.well-known/openid-configuration)
    #[arg(long, value_name = "URL")]
    issuer: String,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Create {
    async fn run(self, app: &App) -> Result<Exit> {
        let settings = self.settings.apply(app, ClusterSettings { issuer: self.issuer, ..ClusterSettings::default() })?;
        if settings.keys.is_none() {
            return Err(Failure::usage("where the cluster's keys come from is missing")
                .next("--jwks @FILE, --jwks-url URL or --api-server"));
        }
        let vault = app.vault()?;
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("register the cluster {}", self.name), "ClusterService/CreateCluster");
            planned.say("name", &self.name);
            planned.say("issuer", &settings.issuer);
            match read(&vault, &self.name).await {
                Ok(_) => return Err(Failure::new(Exit::Conflict, format!("there is a cluster {} already", self.name))),
                Err(failure) if failure.exit == Exit::Denied => planned.checked("no cluster of this name can be seen"),
                Err(failure) => return Err(failure),
            }
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("register the cluster {}", self.name));
        let request = CreateClusterRequest { name: self.name, settings: Some(settings), idempotency_key: String::new() };
        let created = answer(&attempt, vault.client.clusters().create_cluster(request).await)?.into_inner();
        let cluster = part(&attempt, created.cluster)?;
        app.out.result(&show::json(&cluster), |_| {
            format!("cluster {} registered; its workloads log in as k8s:{}/NAMESPACE/SERVICE-ACCOUNT", cluster.name, cluster.name)
        })?;
        Ok(Exit::Done)
    }
}

/// Show a cluster
#[derive(Args)]
pub(crate) struct Get {
    /// The name
    #[arg(add = crate::complete::clusters())]
    name: String,
}

impl Get {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let cluster = read(&vault, &self.name).await?;
        app.out.result(&show::json(&cluster), |view| show::one(&cluster, view))?;
        Ok(Exit::Done)
    }
}

async fn read(vault: &Vault, name: &str) -> Result<Registered> {
    let attempt = vault.attempt(format!("read the cluster {name}"));
    let request = GetClusterRequest { name: name.to_owned() };
    let answer = answer(&attempt, vault.client.clusters().get_cluster(request).await)?.into_inner();
    part(&attempt, answer.cluster)
}

/// List clusters
#[derive(Args)]
pub(crate) struct List {}

impl List {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let attempt = vault.attempt("list clusters");
        let mut service = vault.client.clusters();
        let clusters = all_pages!(app, &attempt, clusters, |page_token| {
            service.list_clusters(ListClustersRequest { page_size: PAGE_SIZE, page_token })
        });
        let json: Vec<_> = clusters.iter().map(show::json).collect();
        app.out.long(&json, |view| show::all(&clusters, view))?;
        Ok(Exit::Done)
    }
}

/// Change a cluster's settings
///
/// What is not given stays as it is.
#[derive(Args)]
pub(crate) struct Update {
    /// The name
    #[arg(add = crate::complete::clusters())]
    name: String,
    /// The issuer that tokens name
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Update {
    async fn run(self, app: &App) -> Result<Exit> {
        if self.issuer.is_none() && self.settings.is_empty() {
            return Err(Failure::usage("nothing to change is given").next("coffer cluster update --help"));
        }
        let vault = app.vault()?;
        let known = read(&vault, &self.name).await?;
        let mut settings = self.settings.apply(app, known.settings.unwrap_or_default())?;
        if let Some(issuer) = self.issuer {
            settings.issuer = issuer;
        }
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("change the cluster {}", self.name), "ClusterService/UpdateCluster");
            planned.say("name", &self.name);
            planned.say("issuer", &settings.issuer);
            planned.say("audience", &settings.audience);
            planned.checked("it is there");
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("change the cluster {}", self.name));
        let request = UpdateClusterRequest { name: self.name, settings: Some(settings), etag: known.etag };
        let changed = answer(&attempt, vault.client.clusters().update_cluster(request).await)?.into_inner();
        let cluster = part(&attempt, changed.cluster)?;
        app.out.result(&show::json(&cluster), |_| format!("cluster {} changed", cluster.name))?;
        Ok(Exit::Done)
    }
}

/// Forget a cluster and end the sessions of its workloads
///
/// One that is registered later under the same name inherits nothing.
#[derive(Args)]
pub(crate) struct Delete {
    /// The name
    #[arg(add = crate::complete::clusters())]
    name: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Delete {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        if self.dry_run.asked() {
            read(&vault, &self.name).await?;
            let mut planned = Planned::new(format!("forget the cluster {}", self.name), "ClusterService/DeleteCluster");
            planned.say("name", &self.name);
            planned.checked("it is there");
            return planned.show(app);
        }
        super::confirm(app, self.yes, &format!("Forget the cluster {} and end the sessions of all its workloads?", self.name))?;
        let attempt = vault.attempt(format!("forget the cluster {}", self.name));
        let request = DeleteClusterRequest { name: self.name.clone(), etag: String::new() };
        answer(&attempt, vault.client.clusters().delete_cluster(request).await)?;
        app.out.result(&serde_json::json!({ "deleted": self.name }), |_| format!("cluster {} forgotten", self.name))?;
        Ok(Exit::Done)
    }
}

/// Confirm that pods which went missing in large number are really gone
///
/// One answer of an API server is never taken for mass death: the vault waits for this before it ends their sessions.
#[derive(Args)]
pub(crate) struct ConfirmPodLoss {
    /// The cluster's name
    #[arg(add = crate::complete::clusters())]
    name: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl ConfirmPodLoss {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        super::confirm(app, self.yes, &format!("End the sessions of all missing pods of {}?", self.name))?;
        let attempt = vault.attempt(format!("confirm the loss of pods in {}", self.name));
        let request = ConfirmPodLossRequest { name: self.name.clone() };
        let lost = answer(&attempt, vault.client.clusters().confirm_pod_loss(request).await)?.into_inner();
        app.out.result(&serde_json::json!({ "cluster": self.name, "pods": lost.pods }), |_| match lost.pods {
            1 => "1 pod taken as gone; its sessions have ended".to_owned(),
            pods => format!("{pods} pods taken as gone; their sessions have ended"),
        })?;
        Ok(Exit::Done)
    }
}
