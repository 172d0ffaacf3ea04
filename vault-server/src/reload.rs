//! Reading the configuration again while the server runs: all of what can change, or nothing.

use std::{path::PathBuf, sync::Arc};

use coffer_api::{Api, tls::ServerCertificate};

use crate::{
    config::Config,
    files,
    log::{self, LogFilter},
    tls_files,
};

/// What the server runs with, and what can be changed of it.
pub(crate) struct Running {
    pub(crate) path: PathBuf,
    pub(crate) config: Config,
    /// The certificate chain in use.
    pub(crate) chain: Vec<u8>,
    pub(crate) certificate: Arc<ServerCertificate>,
    pub(crate) api: Api,
    pub(crate) log: LogFilter,
}

impl Running {
    /// Reads configuration, certificate and set-up token again, and says in the log what came of it.
    pub(crate) fn reload(&mut self) {
        match self.read_again() {
            Ok(restart) if restart.is_empty() => {
                tracing::info!(reloaded = RELOADED, "the configuration was read again");
            }
            Ok(restart) => tracing::warn!(
                reloaded = RELOADED,
                needs_restart = restart.join(", "),
                "the configuration was read again; some of what has changed needs a restart"
            ),
            Err(error) => tracing::error!(
                error = format!("{error:#}"),
                "the configuration cannot be read again: everything stays as it was"
            ),
        }
    }

    /// Reads a certificate again that was given, where its file has another by now: whoever renews it need not tell.
    pub(crate) fn look_for_certificate(&mut self) {
        if let Some(file) = &self.config.tls.certificate
            && tls_files::read(file).is_ok_and(|chain| chain != self.chain)
        {
            self.renew_certificate();
        }
    }

    /// Reads the certificate again, or makes another, since time has passed.
    pub(crate) fn renew_certificate(&mut self) {
        let replaced = tls_files::load(&self.config.tls).and_then(|pair| {
            self.certificate.replace(&pair.chain, &pair.key)?;
            self.chain = pair.chain;
            Ok(())
        });
        match replaced {
            Ok(()) => tracing::info!("the certificate was read again"),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the certificate cannot be read; the old one stays");
            }
        }
    }

    /// Everything that can fail comes before the first change. Gives the keys that have changed without effect.
    fn read_again(&mut self) -> anyhow::Result<Vec<&'static str>> {
        let config = Config::read(&self.path)?;
        let filter = log::filter(&config.log.level)?;
        let setup_token = config.init.setup_token_file.as_deref().map(files::read_token).transpose()?;
        let pair = tls_files::load(&config.tls)?;
        self.certificate.replace(&pair.chain, &pair.key)?;
        self.chain = pair.chain;
        self.log.set(filter)?;
        self.api.set_setup_token(setup_token);
        let restart = self.config.needs_restart(&config);
        // What needs a restart is still what runs: it is said again as long as it differs.
        self.config.take_reloaded(config);
        Ok(restart)
    }
}

/// What is read again.
const RELOADED: &str = "tls, log.level, init.setup_token_file, drain_delay_secs";
