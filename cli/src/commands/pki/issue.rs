//! `coffer pki issue` and `coffer pki sign`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use coffer_client::proto::{IssueCertificateRequest, IssuedCertificate, SignCertificateRequest};
use coffer_secret::{SecretBytes, SecretString};
use serde::Serialize;

use super::{Mount, secs};
use crate::{
    app::{App, answer, part},
    args::parse_ttl,
    exit::Exit,
    failure::{Failure, Result},
    input::{Source, TEXT_BYTES_MAX},
    output::{Format, rfc3339, until},
    private,
};

/// The files of `--out`, named as Kubernetes names those of a TLS Secret.
const CERTIFICATE_FILE: &str = "tls.crt";
const KEY_FILE: &str = "tls.key";
const CA_FILE: &str = "ca.crt";

/// Have a certificate and its key made
///
/// The vault does not keep the key. It goes into files with --out, or to standard output where that is no terminal.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer pki issue web --name web.shop.svc --out ./tls
  coffer pki issue web --name web.shop.svc --ttl 1h -o json | jq -r .certificate

Files of --out, all of mode 0600:
  tls.crt   the certificate, then those of the CAs
  tls.key   the key
  ca.crt    the CAs' certificates")]
pub(crate) struct Issue {
    /// The role
    role: String,
    #[command(flatten)]
    mount: Mount,
    /// A name: a host, an address or a URI; can be repeated
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// How long it shall last; as long as the role says unless said
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    ttl: Option<Duration>,
    /// The kind of its key: p256, p384 or ed25519; the role's first unless said
    #[arg(long, value_name = "TYPE", default_value = "", hide_default_value = true)]
    key_type: String,
    /// A folder for the files; made where it is missing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Show the key, although somebody may look over your shoulder
    #[arg(long, conflicts_with = "out")]
    show: bool,
}

impl Issue {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        // Before it is made: nobody could have the key of one that was made for nothing.
        if app.out.terminal && self.out.is_none() && !self.show {
            return Err(Failure::usage("the key would be shown on the terminal").next("--out DIR writes files; --show shows it"));
        }
        let vault = app.vault()?;
        let path = self.mount.path("issue", &self.role);
        let attempt = vault.attempt(format!("have a certificate made at {path}")).at("read", &path);
        let request = IssueCertificateRequest { path, names: self.names, ttl_seconds: secs(self.ttl), key_type: self.key_type };
        let answered = answer(&attempt, vault.client.pki().issue_certificate(request).await)?.into_inner();
        let key = String::from_utf8(answered.private_key).map_err(|_| Failure::new(Exit::Failed, "the key is no text"))?;
        give(app, &part(&attempt, answered.issued)?, Some(&SecretString::from(key)), self.out.as_deref())
    }
}

/// Have a certificate made for a key of yours
///
/// From the signing request the vault takes the key, and the names it asks for; the role decides all else.
#[derive(Args)]
#[command(after_help = "\
Examples:
  openssl req -new -newkey rsa:2048 -nodes -keyout tls.key -subj / -addext subjectAltName=DNS:web.shop.svc |
    coffer pki sign web - > tls.crt
  coffer pki sign web @csr.pem --out ./tls")]
pub(crate) struct Sign {
    /// The role
    role: String,
    /// The signing request, PEM: @FILE, or - for standard input
    #[arg(value_name = "@FILE")]
    request: String,
    #[command(flatten)]
    mount: Mount,
    /// How long it shall last; as long as the role says unless said
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    ttl: Option<Duration>,
    /// A folder for the files; made where it is missing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Sign {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let request = app.input.text(&Source::of_file(&self.request), TEXT_BYTES_MAX)?.into_exposed();
        let vault = app.vault()?;
        let path = self.mount.path("sign", &self.role);
        let attempt = vault.attempt(format!("have a certificate made at {path}")).at("use", &path);
        let request = SignCertificateRequest { path, request, ttl_seconds: secs(self.ttl) };
        let answered = answer(&attempt, vault.client.pki().sign_certificate(request).await)?.into_inner();
        give(app, &part(&attempt, answered.issued)?, None, self.out.as_deref())
    }
}

#[derive(Serialize)]
struct Json<'a> {
    serial: &'a str,
    names: &'a [String],
    issuer: &'a str,
    not_before: Option<String>,
    not_after: Option<String>,
    stored: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_chain: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<&'a Path>,
}

/// Hands a certificate over: in files, or on standard output.
fn give(app: &App, issued: &IssuedCertificate, key: Option<&SecretString>, out: Option<&Path>) -> Result<Exit> {
    let mut json = Json {
        serial: &issued.serial,
        names: &issued.names,
        issuer: &issued.issuer,
        not_before: rfc3339(issued.not_before.as_ref()),
        not_after: rfc3339(issued.not_after.as_ref()),
        stored: issued.stored,
        certificate: None,
        private_key: None,
        ca_chain: None,
        folder: out,
    };
    let Some(folder) = out else {
        json.certificate = Some(&issued.certificate);
        json.private_key = key.map(SecretString::expose);
        json.ca_chain = Some(&issued.ca_chain);
        if app.out.format != Format::Table {
            app.out.result(&json, |_| String::new())?;
            return Ok(Exit::Done);
        }
        let parts = [key.map_or("", SecretString::expose), &issued.certificate, &issued.ca_chain];
        let mut text = SecretBytes::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| text.append(part.as_bytes()));
        app.out.raw(text.expose())?;
        return Ok(Exit::Done);
    };
    // The key first: a certificate whose key could not be written is of no use to anybody.
    if let Some(key) = key {
        private::write(&folder.join(KEY_FILE), key.expose().as_bytes())?;
    }
    private::write(&folder.join(CERTIFICATE_FILE), format!("{}{}", issued.certificate, issued.ca_chain).as_bytes())?;
    private::write(&folder.join(CA_FILE), issued.ca_chain.as_bytes())?;
    app.out.result(&json, |view| {
        let (names, folder) = (issued.names.join(", "), folder.display());
        let ends = until(issued.not_after.as_ref(), view);
        format!("certificate {} for {names}, in {folder}; it ends in {ends}", issued.serial)
    })?;
    Ok(Exit::Done)
}
