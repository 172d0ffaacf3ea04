//! `coffer pki cert`, `coffer pki revoke` and `coffer pki crl`.

use clap::{Args, Subcommand};
use coffer_client::proto::{
    GetCertificateRequest, GetCrlRequest, KeptCertificate, ListCertificatesRequest, RevokeCertificateRequest,
};
use serde::Serialize;
use x509_parser::prelude::{FromDer as _, X509Certificate, parse_x509_pem};

use super::Mount;
use crate::{
    app::{App, PAGE_SIZE, all_pages, answer, part},
    commands::confirm,
    exit::Exit,
    failure::{Failure, Result},
    input::{Source, TEXT_BYTES_MAX},
    output::{Table, View, rfc3339, until},
};

/// See certificates that the vault keeps
#[derive(Subcommand)]
pub(crate) enum Cert {
    #[command(visible_alias = "read")]
    Get(Get),
    #[command(visible_alias = "ls")]
    List(List),
}

impl Cert {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Get(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
        }
    }
}

/// Show a certificate that is kept
#[derive(Args)]
pub(crate) struct Get {
    /// Its number, in hexadecimal digits
    serial: String,
    #[command(flatten)]
    mount: Mount,
}

impl Get {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let path = self.mount.path("certificates", &digits(&self.serial));
        let attempt = vault.attempt(format!("show {path}")).at("list", &path);
        let found = answer(&attempt, vault.client.pki().get_certificate(GetCertificateRequest { path }).await)?.into_inner();
        let kept = part(&attempt, found.certificate)?;
        app.out.result(&Json::from(&kept), |_| kept.certificate.clone())?;
        Ok(Exit::Done)
    }
}

/// List certificates that are kept, in the order in which they end
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    mount: Mount,
}

impl List {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let path = self.mount.all("certificates");
        let attempt = vault.attempt(format!("list {path}")).at("list", &path);
        let mut service = vault.client.pki();
        let kept = all_pages!(app, &attempt, certificates, |page_token| {
            service.list_certificates(ListCertificatesRequest { path: path.clone(), page_size: PAGE_SIZE, page_token })
        });
        let json: Vec<Json<'_>> = kept.iter().map(Json::from).collect();
        app.out.long(&json, |view| render(&kept, view))?;
        Ok(Exit::Done)
    }
}

/// Take a certificate back: it is in its CA's revocation list from now on
///
/// This cannot be taken back itself.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer pki revoke 4f2a51c07e9b4d1c8a6f0e2d4b5c6a790007a1b2 --reason key-compromise
  coffer pki revoke @tls.crt")]
pub(crate) struct Revoke {
    /// Its number, or @FILE with the certificate itself: needed where its role keeps none
    #[arg(value_name = "SERIAL|@FILE")]
    which: String,
    #[command(flatten)]
    mount: Mount,
    /// Why: unspecified, key-compromise, affiliation-changed, superseded, cessation-of-operation or privilege-withdrawn
    #[arg(long, default_value = "unspecified")]
    reason: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Serialize)]
struct RevokedJson<'a> {
    serial: &'a str,
    revoked: Option<String>,
    reason: &'a str,
}

impl Revoke {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let (serial, certificate) = match self.which.strip_prefix('@') {
            Some(file) => of_file(app, file)?,
            None => (digits(&self.which), String::new()),
        };
        let vault = app.vault()?;
        let path = self.mount.path("certificates", &serial);
        confirm(app, self.yes, &format!("Take the certificate {serial} back, for good?"))?;
        let attempt = vault.attempt(format!("take {path} back")).at("delete", &path);
        let request = RevokeCertificateRequest { path, certificate, reason: self.reason };
        let done = answer(&attempt, vault.client.pki().revoke_certificate(request).await)?.into_inner();
        let revoked = rfc3339(done.revoked.as_ref());
        app.out.result(&RevokedJson { serial: &serial, revoked: revoked.clone(), reason: &done.reason }, |_| {
            format!("certificate {serial} is taken back since {} ({})", revoked.unwrap_or_default(), done.reason)
        })?;
        Ok(Exit::Done)
    }
}

/// Show a CA's revocation list, signed now
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer pki crl root > root.crl")]
pub(crate) struct Crl {
    /// The CA's name
    name: String,
    #[command(flatten)]
    mount: Mount,
}

#[derive(Serialize)]
struct CrlJson<'a> {
    crl: &'a str,
    next_update: Option<String>,
    entries: u64,
}

impl Crl {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let path = self.mount.path("issuers", &self.name);
        let attempt = vault.attempt(format!("show the revocation list of {path}")).at("list", &path);
        let list = answer(&attempt, vault.client.pki().get_crl(GetCrlRequest { path }).await)?.into_inner();
        let json = CrlJson { crl: &list.crl, next_update: rfc3339(list.next_update.as_ref()), entries: list.entries };
        app.out.result(&json, |_| list.crl.clone())?;
        Ok(Exit::Done)
    }
}

/// A number as the vault writes it, however it was copied.
fn digits(serial: &str) -> String {
    serial.chars().filter(|c| *c != ':').flat_map(char::to_lowercase).collect()
}

/// The number of a file's first certificate, and the file.
fn of_file(app: &App, file: &str) -> Result<(String, String)> {
    let source = Source::of_file(file);
    let text = app.input.text(&source, TEXT_BYTES_MAX)?.into_exposed();
    let unread = || Failure::usage(format!("{} holds no certificate", source.name()));
    let (_, block) = parse_x509_pem(text.as_bytes()).map_err(|_| unread())?;
    let (_, certificate) = X509Certificate::from_der(&block.contents).map_err(|_| unread())?;
    let serial = certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((serial, text))
}

/// A certificate for scripts.
#[derive(Serialize)]
struct Json<'a> {
    serial: &'a str,
    names: &'a [String],
    issuer: &'a str,
    role: &'a str,
    principal: &'a str,
    issued: Option<String>,
    not_after: Option<String>,
    revoked: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    certificate: &'a str,
}

impl<'a> From<&'a KeptCertificate> for Json<'a> {
    fn from(kept: &'a KeptCertificate) -> Self {
        Self {
            serial: &kept.serial,
            names: &kept.names,
            issuer: &kept.issuer,
            role: &kept.role,
            principal: &kept.principal,
            issued: rfc3339(kept.issued.as_ref()),
            not_after: rfc3339(kept.not_after.as_ref()),
            revoked: rfc3339(kept.revoked.as_ref()),
            reason: &kept.reason,
            certificate: &kept.certificate,
        }
    }
}

/// Certificates for people.
fn render(kept: &[KeptCertificate], view: &View) -> String {
    let mut table = Table::new(&["SERIAL", "NAMES", "CA", "ROLE", "BY", "ENDS IN"]);
    for kept in kept {
        let ends = if kept.revoked.is_some() { "revoked".to_owned() } else { until(kept.not_after.as_ref(), view) };
        table.row([
            kept.serial.clone(),
            kept.names.join(","),
            kept.issuer.clone(),
            kept.role.clone(),
            kept.principal.clone(),
            ends,
        ]);
    }
    table.render(view, "No certificates.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_as_other_programs_write_them() {
        assert_eq!(digits("4F:2a:51"), "4f2a51");
    }

    #[test]
    fn certificates_are_shown_with_who_has_them() {
        let kept = KeptCertificate {
            serial: "4f".into(),
            names: vec!["web.svc".into()],
            issuer: "root".into(),
            role: "web".into(),
            principal: "operator:dev".into(),
            not_after: Some(prost_types::Timestamp { seconds: 690, nanos: 0 }),
            ..KeptCertificate::default()
        };
        let gone = KeptCertificate { revoked: Some(prost_types::Timestamp::default()), ..kept.clone() };
        let view = View { now: jiff::Timestamp::from_second(90).unwrap(), width: None };
        assert_eq!(
            anstream::adapter::strip_str(&render(&[kept, gone], &view)).to_string(),
            "SERIAL  NAMES    CA    ROLE  BY            ENDS IN\n\
             4f      web.svc  root  web   operator:dev  10m\n\
             4f      web.svc  root  web   operator:dev  revoked\n"
        );
    }
}
