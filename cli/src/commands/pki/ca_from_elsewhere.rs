//! `coffer pki ca request`, `import`, `install` and `sign`.

use std::time::Duration;

use clap::Args;
use coffer_client::proto::{CreateIntermediateRequest, ImportIssuerRequest, InstallCertificateRequest, SignIssuerRequest};

use super::{Mount, ca::Json};
use crate::{
    app::{App, answer, part},
    args::parse_ttl,
    exit::Exit,
    failure::Result,
    input::{Source, TEXT_BYTES_MAX},
    output::rfc3339,
};

fn text(app: &App, source: &str) -> Result<String> {
    Ok(app.input.text(&Source::of_file(source), TEXT_BYTES_MAX)?.into_exposed())
}

/// Make a CA whose certificate is to come from another: shows its signing request
///
/// Its key is made in the vault, and stays there. `coffer pki ca install` gives it the certificate.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer pki ca request shop --common-name 'Shop CA' > shop.csr
  coffer pki ca sign root @shop.csr --ttl 5y --max-path-length 0 > shop.pem
  coffer pki ca install shop @shop.pem")]
pub(crate) struct Request {
    /// The name in the vault
    name: String,
    #[command(flatten)]
    mount: Mount,
    /// The common name in its certificate
    #[arg(long, value_name = "TEXT")]
    common_name: String,
    /// The organisation in its certificate
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    organisation: String,
    /// The country in its certificate: two capital letters
    #[arg(long, value_name = "XX", default_value = "", hide_default_value = true)]
    country: String,
    /// The kind of its key: p256, p384 or ed25519
    #[arg(long, value_name = "TYPE", default_value = "p384")]
    key_type: String,
}

impl Request {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let path = self.mount.path("issuers", &self.name);
        let attempt = vault.attempt(format!("make the CA {path}")).at("write", &path);
        let request = CreateIntermediateRequest {
            path,
            common_name: self.common_name,
            organisation: self.organisation,
            country: self.country,
            key_type: self.key_type,
            idempotency_key: String::new(),
        };
        let made = answer(&attempt, vault.client.pki().create_intermediate(request).await)?.into_inner();
        let issuer = part(&attempt, made.issuer)?;
        app.out.result(&Json::from(&issuer), |_| issuer.request.clone())?;
        Ok(Exit::Done)
    }
}

/// Take over a CA from elsewhere, with its key
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer pki ca import old --key @ca.key @ca.pem
  openssl pkcs8 -topk8 -nocrypt -in ca.key | coffer pki ca import old --key - @ca.pem")]
pub(crate) struct Import {
    /// The name in the vault
    name: String,
    /// Its certificate, then those above it, PEM: @FILE
    #[arg(value_name = "@FILE")]
    certificates: String,
    /// Its key, PKCS#8 as PEM, not encrypted: @FILE, or - for standard input
    #[arg(long, value_name = "@FILE", value_parser = Source::marked)]
    key: Source,
    #[command(flatten)]
    mount: Mount,
}

impl Import {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let (certificates, key) = (text(app, &self.certificates)?, app.input.bytes(&self.key, TEXT_BYTES_MAX)?);
        let vault = app.vault()?;
        let path = self.mount.path("issuers", &self.name);
        let attempt = vault.attempt(format!("take over the CA {path}")).at("write", &path);
        let request = ImportIssuerRequest { path, private_key: key.into_exposed(), certificates };
        let made = answer(&attempt, vault.client.pki().import_issuer(request).await)?.into_inner();
        let issuer = part(&attempt, made.issuer)?;
        app.out
            .result(&Json::from(&issuer), |_| format!("CA {} is in the vault; erase its key where it was before", issuer.path))?;
        Ok(Exit::Done)
    }
}

/// Give a CA a certificate: its first, a new one, or one more by another CA
#[derive(Args)]
pub(crate) struct Install {
    /// The CA's name
    name: String,
    /// The certificate, then those above it, PEM: @FILE, or - for standard input
    #[arg(value_name = "@FILE")]
    certificates: String,
    #[command(flatten)]
    mount: Mount,
    /// It is one more by another CA: chains have it beside the CA's own
    #[arg(long)]
    cross: bool,
}

impl Install {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let certificates = text(app, &self.certificates)?;
        let vault = app.vault()?;
        let path = self.mount.path("issuers", &self.name);
        let attempt = vault.attempt(format!("give the CA {path} a certificate")).at("write", &path);
        let request = InstallCertificateRequest { path, certificates, crossed: self.cross };
        let changed = answer(&attempt, vault.client.pki().install_certificate(request).await)?.into_inner();
        let issuer = part(&attempt, changed.issuer)?;
        app.out.result(&Json::from(&issuer), |_| format!("CA {} has the certificate", issuer.path))?;
        Ok(Exit::Done)
    }
}

/// Have a CA sign for another: one below it, or a root that it vouches for as well
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer pki ca sign root @shop.csr --ttl 5y --max-path-length 0 > shop.pem
  coffer pki ca sign old-root @new-root.pem --ttl 2y > crossed.pem")]
pub(crate) struct Sign {
    /// The CA that signs
    name: String,
    /// The other's signing request, or a root's certificate, PEM: @FILE, or - for standard input
    #[arg(value_name = "@FILE")]
    request: String,
    #[command(flatten)]
    mount: Mount,
    /// How long the certificate lasts
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    ttl: Duration,
    /// How many CAs may be below the other one; as many as this one lets unless said
    #[arg(long, value_name = "N")]
    max_path_length: Option<u32>,
}

impl Sign {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let request = text(app, &self.request)?;
        let vault = app.vault()?;
        let path = self.mount.path("sign-ca", &self.name);
        let attempt = vault.attempt(format!("sign for another CA at {path}")).at("use", &path);
        let request = SignIssuerRequest { path, request, ttl_seconds: self.ttl.as_secs(), max_path_length: self.max_path_length };
        let answered = answer(&attempt, vault.client.pki().sign_issuer(request).await)?.into_inner();
        let issued = part(&attempt, answered.issued)?;
        let json = serde_json::json!({
            "serial": issued.serial,
            "issuer": issued.issuer,
            "not_after": rfc3339(issued.not_after.as_ref()),
            "certificate": issued.certificate,
            "ca_chain": issued.ca_chain,
        });
        app.out.result(&json, |_| format!("{}{}", issued.certificate, issued.ca_chain))?;
        Ok(Exit::Done)
    }
}
