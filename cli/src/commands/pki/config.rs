//! `coffer pki config`.

use clap::Args;
use coffer_client::proto::{GetPkiConfigRequest, PkiConfig, PutPkiConfigRequest};
use serde::Serialize;

use super::Mount;
use crate::{
    app::{App, Vault, answer, part},
    exit::Exit,
    failure::Result,
    output::pairs,
};

/// Show what holds for the whole mount, or change it
///
/// The address is written into certificates: there the server answers for revocation lists and CAs' certificates (pki.listen
/// in its configuration).
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer pki config --url http://vault.example.com:8201")]
pub(crate) struct Config {
    #[command(flatten)]
    mount: Mount,
    /// Where the server answers for revocation lists: http://HOST[:PORT]; empty for nowhere
    #[arg(long)]
    url: Option<String>,
}

#[derive(Serialize)]
struct Json<'a> {
    default_issuer: &'a str,
    url: &'a str,
}

impl Config {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let config = match self.url {
            Some(url) => change(&vault, &self.mount, |config| config.url = url).await?,
            None => read(&vault, &self.mount).await?,
        };
        app.out.result(&Json { default_issuer: &config.default_issuer, url: &config.url }, |_| {
            pairs(&[("Default CA", config.default_issuer.clone()), ("Lists at", config.url.clone())])
        })?;
        Ok(Exit::Done)
    }
}

async fn read(vault: &Vault, mount: &Mount) -> Result<PkiConfig> {
    let path = mount.all("config");
    let attempt = vault.attempt(format!("read {path}")).at("list", &path);
    let found = answer(&attempt, vault.client.pki().get_pki_config(GetPkiConfigRequest { path }).await)?.into_inner();
    part(&attempt, found.config)
}

/// Changes a part of what holds for the mount.
pub(super) async fn change(vault: &Vault, mount: &Mount, change: impl FnOnce(&mut PkiConfig)) -> Result<PkiConfig> {
    let mut config = read(vault, mount).await?;
    change(&mut config);
    let path = mount.all("config");
    let attempt = vault.attempt(format!("change {path}")).at("write", &path);
    let request = PutPkiConfigRequest { path, config: Some(config) };
    let changed = answer(&attempt, vault.client.pki().put_pki_config(request).await)?.into_inner();
    part(&attempt, changed.config)
}
