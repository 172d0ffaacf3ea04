//! Wiring: store, vault, API, listeners; and the way down again.

use std::{fs, io::IsTerminal, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use anyhow::{Context, anyhow};
use coffer_api::{Api, ApiConfig, listen, tls};
use coffer_core::clock::Clock;
use coffer_store::{
    Store,
    etcd::{EtcdOptions, EtcdStore},
    faulty::{FaultPlan, FaultyStore},
    memory::MemoryStore,
    sled::{SledOptions, SledStore},
};
use coffer_vault::{AuditConfig, StaticKeys, SystemClock, Vault, VaultConfig};
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing_subscriber::EnvFilter;

use crate::{
    config::{self, Config, LogFormat},
    files, tls_files,
};

/// How long requests under way may take once the server is told to stop.
const DRAIN_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(20);

/// Begins to write the log.
pub(crate) fn start_log(log: &config::Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.level).context("log.level")?;
    let log_to =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let started = match log.format {
        LogFormat::Text => log_to.with_target(false).try_init(),
        LogFormat::Json => log_to.json().try_init(),
    };
    started.map_err(|error| anyhow!("the log cannot be written: {error}"))
}

/// Serves until a signal says to stop.
pub(crate) async fn serve(config: Config) -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow!("another cipher provider is there already"))?;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let store = open_store(&config.store).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let vault = Vault::open(store, clock, vault_config(&config)?).await.context("the vault cannot be opened")?;
    let setup_token = config.init.setup_token_file.as_deref().map(files::read_token).transpose()?;
    let api = Api::new(Arc::clone(&vault), ApiConfig { setup_token });

    let pair = tls_files::load(&config.tls)?;
    let certificate = tls::ServerCertificate::new(&pair.chain, &pair.key)?;
    let listener = TcpListener::bind(config.listen.address).await.with_context(|| format!("{}", config.listen.address))?;
    let address = listener.local_addr()?;
    let local = config.listen.socket.as_deref().map(bind_local).transpose()?;

    let over_tls = listen::serve_tls(&api, listener, tls::server_config(Arc::clone(&certificate))?, &tasks, stop.clone());
    let over_socket = async {
        match local {
            Some(local) => listen::serve_local(&api, local, &tasks, stop.clone()).await,
            None => Ok(()),
        }
    };
    tasks.spawn(follow_signals(config.tls, certificate, stop.clone())?);
    if let Some(file) = &config.listen.address_file {
        files::write(file, address.to_string().as_bytes(), 0o644)?;
    }
    let sealed = vault.unsealed().is_err();
    tracing::info!(%address, sealed, version = env!("CARGO_PKG_VERSION"), "listening");

    let serving = async { tokio::try_join!(over_tls, over_socket) };
    tokio::pin!(serving);
    let served = tokio::select! {
        served = &mut serving => served.map(drop),
        () = stop.cancelled() => {
            tracing::info!("stopping: requests under way are answered first");
            vault.end_streams();
            match timeout(DRAIN_TIME_MAX, &mut serving).await {
                Ok(served) => served.map(drop),
                Err(_) => {
                    tracing::warn!("some requests were not done in time");
                    Ok(())
                }
            }
        }
    };
    stop.cancel();
    vault.seal().await;
    if let Some(socket) = &config.listen.socket {
        drop(fs::remove_file(socket));
    }
    tracing::info!("stopped");
    served.context("serving failed")
}

fn vault_config(config: &Config) -> anyhow::Result<VaultConfig> {
    let static_keys = match &config.seal {
        config::Seal::Shamir => None,
        config::Seal::StaticKey { key_file, previous_key_file } => Some(StaticKeys {
            key: files::read_key(key_file)?,
            previous: previous_key_file.as_deref().map(files::read_key).transpose()?,
        }),
    };
    Ok(VaultConfig {
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
                path.as_ref()
                    .map(|path| fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display())))
                    .transpose()
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

/// SIGTERM and SIGINT stop the server; SIGHUP, and time, have it read its certificate again.
fn follow_signals(
    tls: config::Tls,
    certificate: Arc<tls::ServerCertificate>,
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        let mut renew = tokio::time::interval(tls_files::RENEW_AFTER);
        renew.reset();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = terminate.recv() => return stop.cancel(),
                _ = interrupt.recv() => return stop.cancel(),
                _ = hang_up.recv() => {}
                _ = renew.tick() => {}
            }
            let replaced = tls_files::load(&tls).and_then(|pair| Ok(certificate.replace(&pair.chain, &pair.key)?));
            match replaced {
                Ok(()) => tracing::info!("the certificate was read again"),
                Err(error) => tracing::error!(error = %format!("{error:#}"), "the certificate cannot be read; the old one stays"),
            }
        }
    })
}
