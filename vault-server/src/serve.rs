//! Wiring: store, vault, API, listeners; and the way down again.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use coffer_api::{Api, ApiConfig, ConnectionLimits, listen, tls};
use coffer_core::clock::Clock;
use coffer_store::{
    Store,
    etcd::{EtcdOptions, EtcdStore},
    faulty::{FaultPlan, FaultyStore},
    memory::MemoryStore,
    sled::{SledOptions, SledStore},
};
use coffer_vault::{AuditConfig, BeginningSource, StaticKeySource, StaticKeys, SystemClock, Vault, VaultConfig};
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{self, Config},
    files, first, hardening, in_cluster,
    log::LogFilter,
    metered::{Metered, StoreMetrics},
    metrics::{Metrics, Sources},
    reload::Running,
    tls_files, web,
};

/// How long requests under way may take once the server is told to stop.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(20);

/// Serves until a signal says to stop.
pub(crate) async fn serve(path: &Path, config: Config, log: LogFilter) -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow!("another cipher provider is there already"))?;
    let (tasks, stop, end) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
    // A place for metrics, before anything is opened that would have to be closed.
    let web = bind_web("metrics.listen", config.metrics.listen).await?;
    let lists = bind_web("pki.listen", config.pki.listen).await?;
    let mut store = open_store(&config.store).await?;
    let store_metrics = Arc::<StoreMetrics>::default();
    if web.is_some() {
        store = Arc::new(Metered::new(store, Arc::clone(&store_metrics)));
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let vault = Vault::open(store, clock, vault_config(&config)?).await.context("the vault cannot be opened")?;
    let setup_token = config.init.setup_token_file.as_deref().map(files::read_token).transpose()?;
    let api = Api::new(Arc::clone(&vault), ApiConfig { setup_token });

    let pair = tls_files::load(&config.tls)?;
    let certificate = tls::ServerCertificate::new(&pair.chain, &pair.key)?;
    let listener = TcpListener::bind(config.listen.address).await.with_context(|| format!("{}", config.listen.address))?;
    let address = listener.local_addr()?;
    let local = config.listen.socket.as_deref().map(bind_local).transpose()?;

    let tls = (tls::server_config(Arc::clone(&certificate))?, connection_limits(&config.limits));
    let over_tls = listen::serve_tls(&api, listener, tls, stop.clone());
    let over_socket = async {
        match local {
            Some(local) => listen::serve_local(&api, local, &tasks, stop.clone()).await,
            None => Ok(()),
        }
    };
    let (socket, address_file) = (config.listen.socket.clone(), config.listen.address_file.clone());
    if let Some(web) = web {
        let address = tell_address(&web, config.metrics.address_file.as_deref())?;
        let metrics = Metrics::new(Sources { api: api.clone(), vault: Arc::clone(&vault), store: store_metrics });
        let page = web::Page::Metrics(Box::new((api.clone(), metrics)));
        tasks.spawn(web::serve(web, page, tasks.clone(), end.clone()));
        tracing::info!(%address, "answering for metrics and probes");
    }
    if let Some(lists) = lists {
        let address = tell_address(&lists, config.pki.address_file.as_deref())?;
        tasks.spawn(web::serve(lists, web::Page::Lists(Arc::clone(&vault)), tasks.clone(), end.clone()));
        tracing::info!(%address, "answering for revocation lists and certificates of CAs");
    }
    let running = Running { path: path.to_owned(), config, chain: pair.chain, certificate, api: api.clone(), log };
    if let (Some(map), Some(directory)) = (&running.config.kubernetes.ca_config_map, &running.config.tls.directory) {
        tasks.spawn(in_cluster::tell_authority(map.clone(), directory.join(tls_files::CA), end.clone()));
    }
    tasks.spawn(follow_signals(running, stop.clone())?);
    if let Some(file) = &address_file {
        files::write(file, address.to_string().as_bytes(), 0o644)?;
    }
    let sealed = vault.unsealed().is_err();
    tracing::info!(%address, sealed, version = env!("CARGO_PKG_VERSION"), "listening");

    let serving = async { tokio::try_join!(over_tls, over_socket) };
    tokio::pin!(serving);
    let served = tokio::select! {
        served = &mut serving => served.map(drop),
        () = stop.cancelled() => finish(serving, &vault).await,
    };
    api.drain();
    stop.cancel();
    vault.seal().await;
    end.cancel();
    if let Some(socket) = &socket {
        drop(fs::remove_file(socket));
    }
    tracing::info!("stopped");
    served.context("serving failed")
}

/// A place for what is answered over plain HTTP.
async fn bind_web(key: &str, address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    TcpListener::bind(address).await.map(Some).with_context(|| format!("{key}: {address}"))
}

/// Writes where that is, for whoever chose no port.
fn tell_address(listener: &TcpListener, file: Option<&Path>) -> anyhow::Result<SocketAddr> {
    let address = listener.local_addr()?;
    if let Some(file) = file {
        files::write(file, address.to_string().as_bytes(), 0o644)?;
    }
    Ok(address)
}

/// Lets streams end, and requests under way, for as long as that may take.
async fn finish<T, E>(serving: impl Future<Output = Result<T, E>>, vault: &Vault) -> Result<(), E> {
    tracing::info!("stopping: requests under way are answered first");
    vault.end_streams();
    match timeout(DRAIN_TIME_MAX, serving).await {
        Ok(served) => served.map(drop),
        Err(_) => {
            tracing::warn!("some requests were not done in time");
            Ok(())
        }
    }
}

fn connection_limits(limits: &config::Limits) -> ConnectionLimits {
    let descriptors = hardening::raise_descriptors();
    let allowed = limits.connections(descriptors);
    if allowed.connections < limits.connections {
        tracing::warn!(
            configured = limits.connections,
            allowed = allowed.connections,
            descriptors,
            "the process may not have as many descriptors as limits.connections needs: raise RLIMIT_NOFILE (ulimit -Hn)"
        );
    }
    allowed
}

fn vault_config(config: &Config) -> anyhow::Result<VaultConfig> {
    let static_keys = match &config.seal {
        config::Seal::Shamir => None,
        config::Seal::StaticKey { key_file, previous_key_file } => {
            // At the start as well, so that a file that is wrong is told at once.
            read_static_keys(key_file, previous_key_file.as_deref())?;
            let (key, previous) = (key_file.clone(), previous_key_file.clone());
            let read = move || read_static_keys(&key, previous.as_deref()).map_err(Into::into);
            Some(Box::new(read) as StaticKeySource)
        }
    };
    let beginning = config.init.automatic.then(|| {
        let init = config.init.clone();
        let begin = move || first::beginning(&init, first::issuer_here).map_err(Into::into);
        Box::new(begin) as BeginningSource
    });
    Ok(VaultConfig {
        beginning,
        node: config.node.clone(),
        audit: AuditConfig {
            directory: config.audit.directory.clone(),
            accept_divergence: config.audit.accept_divergence,
            stall_file: config.audit.stall_file.clone(),
        },
        static_keys,
        version: env!("CARGO_PKG_VERSION"),
    })
}

fn read_static_keys(key: &Path, previous: Option<&Path>) -> anyhow::Result<StaticKeys> {
    Ok(StaticKeys { key: files::read_key(key)?, previous: previous.map(files::read_key).transpose()? })
}

async fn open_store(store: &config::Store) -> anyhow::Result<Arc<dyn Store>> {
    let (opened, faults): (Arc<dyn Store>, _) = match store {
        config::Store::Memory { faults } => (Arc::new(MemoryStore::new()), faults),
        config::Store::Sled { path, faults } => {
            let folder = path.clone();
            let opened = tokio::task::spawn_blocking(move || SledStore::open(&folder, SledOptions::default())).await?;
            (Arc::new(opened.with_context(|| format!("the store in {}", path.display()))?), faults)
        }
        config::Store::Etcd { endpoints, prefix, ca, certificate, key, faults } => {
            let read = |path: &Option<std::path::PathBuf>| {
                path.as_ref().map(|path| files::read_at_most(files::PEM_BYTES_MAX, path)).transpose()
            };
            let options = EtcdOptions {
                endpoints: endpoints.clone(),
                prefix: prefix.clone(),
                ca_pem: read(ca)?,
                certificate_pem: read(certificate)?,
                key_pem: read(key)?.map(Into::into),
            };
            (Arc::new(EtcdStore::connect(options).await.context("etcd")?), faults)
        }
    };
    match faults {
        None => Ok(opened),
        Some(plan) => {
            tracing::warn!(plan, "the store fails on purpose");
            Ok(Arc::new(FaultyStore::new(opened, FaultPlan::parse(plan)?)))
        }
    }
}

fn bind_local(path: &Path) -> anyhow::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    // What a server that was killed left behind.
    drop(fs::remove_file(path));
    let listener = UnixListener::bind(path).with_context(|| format!("the socket {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// SIGTERM and SIGINT stop the server, SIGHUP has it read its configuration again, and time its certificate.
fn follow_signals(mut running: Running, stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        let mut renew = tokio::time::interval(tls_files::RENEW_AFTER);
        renew.reset();
        let mut look = tokio::time::interval(tls_files::CERTIFICATE_LOOK_AFTER);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => running.reload(),
                _ = renew.tick() => running.renew_certificate(),
                _ = look.tick() => running.look_for_certificate(),
            }
        }
        running.api.drain();
        let delay = Duration::from_secs(running.config.drain_delay_secs);
        if !delay.is_zero() {
            tracing::info!(delay_secs = delay.as_secs(), "about to stop: not ready any more, and requests go on being answered");
            tokio::select! {
                () = sleep(delay) => {}
                // Whoever says it twice does not want to wait.
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        stop.cancel();
    })
}
