//! The program: arguments, wiring, and the end.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use coffer_agent::reading::Level;
use coffer_kubernetes::{ApiServer, ApiServerConfig};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    certificate::{CA_LIFETIME, Making},
    injection::Settings,
    keeper::{Keeper, Places},
    metrics::Metrics,
    pinner::{Pinner, Sources},
    server::{Shown, Webhook, serve},
};

/// How long it still answers once Kubernetes ends the pod: until nodes know that they are to send nobody here any more.
const LINGER_TIME: Duration = Duration::from_secs(5);

/// Gives pods that ask for it the Coffer agent: an admission webhook of Kubernetes. Its certificates are its own: a CA and
/// what it signs, in a Secret that all replicas share, renewed while it runs.
#[derive(Debug, Parser)]
#[command(name = "coffer-injector", version, max_term_width = 100)]
struct Arguments {
    /// Where to listen.
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// The namespace that this runs in.
    #[arg(long, default_value = "coffer")]
    namespace: String,
    /// The Secret with the webhook's certificates; made where it is not there.
    #[arg(long, value_name = "NAME", default_value = "coffer-injector-tls")]
    tls_secret: String,
    /// The webhook's configuration, which is told whom to believe.
    #[arg(long, value_name = "NAME", default_value = "coffer-injector")]
    webhook: String,
    /// The name that the API server calls the webhook by. May be repeated.
    #[arg(long = "dns-name", value_name = "NAME", default_value = "coffer-injector.coffer.svc")]
    dns_names: Vec<String>,
    /// How long a certificate lasts; it is renewed when two thirds of that are over.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "24h")]
    certificate_lifetime: Duration,
    /// The agent's image.
    #[arg(long, value_name = "IMAGE", default_value = concat!("registry.coffer.dev/coffer-agent:", env!("CARGO_PKG_VERSION")))]
    agent_image: String,
    /// The vault: https://HOST:PORT.
    #[arg(long, value_name = "URL", default_value = "https://coffer.coffer.svc:8200")]
    vault_address: String,
    /// The name in the vault's certificate, where it is not the host.
    #[arg(long, value_name = "NAME")]
    vault_server_name: Option<String>,
    /// A ConfigMap of this namespace with the vault's CA certificates, as ca.pem: namespaces of pods get a copy, and are given those
    /// that are there by then. Without it theirs is somebody else's business.
    #[arg(long, value_name = "NAME")]
    vault_ca_config_map: Option<String>,
    /// The ConfigMap in pods' namespaces with the vault's CA certificates, as ca.pem.
    #[arg(long, value_name = "NAME", default_value = "coffer-ca")]
    ca_config_map: String,
    /// Whom the tokens of pods are for.
    #[arg(long, default_value = "coffer")]
    audience: String,
    /// The tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// The name under which this cluster is registered; needed where two clusters have one issuer.
    #[arg(long)]
    cluster: Option<String>,
    /// What agents log.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    agent_log_level: String,
    /// Memory that the files of a pod may take.
    #[arg(long, value_name = "QUANTITY", default_value = "4Mi")]
    volume_size: String,
    /// Processor time that agents ask for; empty for none.
    #[arg(long, value_name = "QUANTITY", default_value = "10m")]
    requests_cpu: String,
    /// Memory that agents ask for; empty for none.
    #[arg(long, value_name = "QUANTITY", default_value = "16Mi")]
    requests_memory: String,
    /// Processor time that agents may have at most; empty for no limit.
    #[arg(long, value_name = "QUANTITY", default_value = "")]
    limits_cpu: String,
    /// Memory that agents may have at most, their files included; empty for no limit.
    #[arg(long, value_name = "QUANTITY", default_value = "32Mi")]
    limits_memory: String,
    /// Give images of pods digests, where they do not say otherwise.
    #[arg(long)]
    pin_images: bool,
    /// A registry that may be asked for digests, HOST or HOST:PORT. May be repeated.
    #[arg(long = "pin-registry", value_name = "HOST")]
    pin_registries: Vec<String>,
    /// One of them that has no TLS. May be repeated.
    #[arg(long, value_name = "HOST")]
    pin_plain_http: Vec<String>,
    /// Users and passwords of registries: a file as Docker's config.json. It is read again while this runs.
    #[arg(long, value_name = "FILE")]
    pin_docker_config: Option<PathBuf>,
    /// CA certificates that registries are believed by beside the public ones, PEM. They are read again while this runs.
    #[arg(long, value_name = "FILE")]
    pin_ca: Option<PathBuf>,
    /// What is logged, to standard error.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: Level,
}

impl Arguments {
    fn settings(&self) -> Settings {
        Settings {
            image: self.agent_image.clone(),
            vault_address: self.vault_address.clone(),
            vault_server_name: self.vault_server_name.clone(),
            ca_config_map: self.ca_config_map.clone(),
            audience: self.audience.clone(),
            tenant: self.tenant.clone(),
            cluster: self.cluster.clone(),
            log_level: self.agent_log_level.clone(),
            volume_size: self.volume_size.clone(),
            requests_cpu: self.requests_cpu.clone(),
            requests_memory: self.requests_memory.clone(),
            limits_cpu: self.limits_cpu.clone(),
            limits_memory: self.limits_memory.clone(),
            pin_images: self.pin_images,
        }
    }

    fn sources(&self) -> Sources {
        Sources {
            registries: self.pin_registries.iter().cloned().collect(),
            plain_http: self.pin_plain_http.iter().cloned().collect(),
            docker_config: self.pin_docker_config.clone(),
            authorities: self.pin_ca.clone(),
        }
    }
}

/// Runs the program until it is stopped. Exit codes: 0 stopped; 1 it cannot serve; 2 the arguments are wrong.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_max_level(tracing::level_filters::LevelFilter::from(arguments.log_level))
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    // One thread: to hand a question from one to another takes longer than to answer it.
    let ran = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = ran.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(run(&arguments)));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // Nobody could be told that nobody can be told.
            drop(writeln!(io::stderr(), "coffer-injector: {why}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), String> {
    let on = |kind| signal(kind).map_err(|error| format!("signals cannot be received: {error}"));
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let api = ApiServer::new(&ApiServerConfig::default()).map_err(|error| format!("{error}: this runs in a pod"))?;
    let places = Places {
        namespace: arguments.namespace.clone(),
        secret: arguments.tls_secret.clone(),
        webhook: arguments.webhook.clone(),
        vault_ca_config_map: arguments.vault_ca_config_map.clone(),
        ca_config_map: arguments.ca_config_map.clone(),
    };
    let making =
        Making { names: arguments.dns_names.clone(), lifetime: arguments.certificate_lifetime, ca_lifetime: CA_LIFETIME };
    let shown = Arc::new(Shown::default());
    let keeper = Arc::new(Keeper::new(api, places, making, Arc::clone(&shown)));
    let listener = TcpListener::bind(arguments.listen).await.map_err(|error| format!("{}: {error}", arguments.listen))?;
    tracing::info!(listen = %arguments.listen, "coffer-injector {} starts", env!("CARGO_PKG_VERSION"));
    let pinner = Arc::new(Pinner::new(arguments.sources()).map_err(|why| format!("images cannot be pinned: {why}"))?);
    let (settings, kept) = (arguments.settings(), Some(Arc::clone(&keeper)));
    let webhook = Webhook { settings, shown, keeper: kept, pinner, metrics: Metrics::default() };
    let end = CancellationToken::new();
    let stopped = async {
        tokio::select! {
            _ = terminate.recv() => tokio::time::sleep(LINGER_TIME).await,
            _ = interrupt.recv() => {}
        }
        end.cancel();
    };
    tokio::select! {
        () = keeper.keep() => {}
        ((), ()) = async { tokio::join!(serve(listener, Arc::new(webhook), end.clone()), stopped) } => {}
    }
    Ok(())
}
