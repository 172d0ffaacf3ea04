//! `coffer pki ca`.

use std::time::Duration;

use clap::{Args, Subcommand};
use coffer_client::proto::{CreateIssuerRequest, DeleteIssuerRequest, GetIssuerRequest, Issuer, ListIssuersRequest};
use serde::Serialize;

use super::{
    Mount,
    ca_from_elsewhere::{Import, Install, Request, Sign},
    config, name,
};
use crate::{
    app::{App, PAGE_SIZE, Vault, all_pages, answer, part},
    args::parse_ttl,
    commands::confirm,
    dry_run::{DryRun, Planned},
    exit::Exit,
    failure::Result,
    output::{Table, View, rfc3339, since, until},
};

/// Manage CAs
#[derive(Subcommand)]
pub(crate) enum Ca {
    Create(Create),
    Request(Request),
    Import(Import),
    Install(Install),
    Sign(Sign),
    #[command(visible_alias = "read")]
    Get(Get),
    #[command(visible_alias = "ls")]
    List(List),
    Default(Default),
    #[command(visible_alias = "rm")]
    Delete(Delete),
}

impl Ca {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Create(command) => command.run(app).await,
            Self::Request(command) => command.run(app).await,
            Self::Import(command) => command.run(app).await,
            Self::Install(command) => command.run(app).await,
            Self::Sign(command) => command.run(app).await,
            Self::Get(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Default(command) => command.run(app).await,
            Self::Delete(command) => command.run(app).await,
        }
    }
}

/// Make a root CA: its key is made in the vault, and stays there
///
/// The first CA of a mount is its default one.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer pki ca create root --common-name 'Shop Root' --ttl 10y
  coffer pki ca create root --common-name 'Shop Root' --organisation Shop --key-type ed25519 --ttl 5y --max-path-length 0")]
pub(crate) struct Create {
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
    /// How long its certificate lasts
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    ttl: Duration,
    /// How many CAs may be below it; any number unless said
    #[arg(long, value_name = "N")]
    max_path_length: Option<u32>,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Create {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let path = self.mount.path("issuers", &self.name);
        let doing = format!("make the CA {path}");
        if self.dry_run.asked() {
            let mut planned = Planned::new(doing, "PkiService/CreateIssuer");
            planned.say("path", &path);
            planned.say("common_name", &self.common_name);
            planned.say("key_type", &self.key_type);
            planned.say("ttl_seconds", self.ttl.as_secs());
            planned.say_some("max_path_length", self.max_path_length);
            return planned.show(app);
        }
        let attempt = vault.attempt(doing).at("write", &path);
        let request = CreateIssuerRequest {
            path,
            common_name: self.common_name,
            organisation: self.organisation,
            country: self.country,
            key_type: self.key_type,
            ttl_seconds: self.ttl.as_secs(),
            max_path_length: self.max_path_length,
            idempotency_key: String::new(),
        };
        let made = answer(&attempt, vault.client.pki().create_issuer(request).await)?.into_inner();
        let issuer = part(&attempt, made.issuer)?;
        app.out.result(&Json::from(&issuer), |view| {
            let default = if issuer.is_default { ", the default one of its mount" } else { "" };
            format!("CA {} made{default}; it ends in {}", issuer.path, until(issuer.not_after.as_ref(), view))
        })?;
        Ok(Exit::Done)
    }
}

/// Show a CA's certificate, and those above it
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer pki ca get root > ca.pem")]
pub(crate) struct Get {
    /// The name
    name: String,
    #[command(flatten)]
    mount: Mount,
}

impl Get {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let path = self.mount.path("issuers", &self.name);
        let attempt = vault.attempt(format!("show the CA {path}")).at("list", &path);
        let found = answer(&attempt, vault.client.pki().get_issuer(GetIssuerRequest { path }).await)?.into_inner();
        let issuer = part(&attempt, found.issuer)?;
        if issuer.certificate.is_empty() {
            app.out.note("its certificate is still to come from another CA; this is its signing request");
        }
        app.out.result(&Json::from(&issuer), |_| {
            if issuer.certificate.is_empty() { issuer.request.clone() } else { issuer.ca_chain.clone() }
        })?;
        Ok(Exit::Done)
    }
}

/// List CAs
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    mount: Mount,
}

impl List {
    async fn run(self, app: &App) -> Result<Exit> {
        let issuers = list(app, &app.vault()?, &self.mount).await?;
        let json: Vec<Json<'_>> = issuers.iter().map(Json::from).collect();
        app.out.long(&json, |view| render(&issuers, view))?;
        Ok(Exit::Done)
    }
}

async fn list(app: &App, vault: &Vault, mount: &Mount) -> Result<Vec<Issuer>> {
    let path = mount.all("issuers");
    let attempt = vault.attempt(format!("list {path}")).at("list", &path);
    let mut service = vault.client.pki();
    Ok(all_pages!(app, &attempt, issuers, |page_token| {
        service.list_issuers(ListIssuersRequest { path: path.clone(), page_size: PAGE_SIZE, page_token })
    }))
}

/// Choose the CA of roles that name none
#[derive(Args)]
pub(crate) struct Default {
    /// The CA's name
    name: String,
    #[command(flatten)]
    mount: Mount,
}

#[derive(Serialize)]
struct DefaultJson<'a> {
    default_issuer: &'a str,
}

impl Default {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let config = config::change(&vault, &self.mount, |config| config.default_issuer = self.name).await?;
        app.out.result(&DefaultJson { default_issuer: &config.default_issuer }, |_| {
            format!("roles that name no CA use {} from now on", config.default_issuer)
        })?;
        Ok(Exit::Done)
    }
}

/// Delete a CA, and its key for good
///
/// Certificates that it has issued hold until they end. Roles that name it issue nothing any more.
#[derive(Args)]
pub(crate) struct Delete {
    /// The name
    name: String,
    #[command(flatten)]
    mount: Mount,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    dry_run: DryRun,
}

#[derive(Serialize)]
struct DeletedJson<'a> {
    deleted: &'a str,
    id: &'a str,
}

impl Delete {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let path = self.mount.path("issuers", &self.name);
        let looking = vault.attempt(format!("delete the CA {path}")).at("list", &path);
        let request = GetIssuerRequest { path: path.clone() };
        let found = answer(&looking, vault.client.pki().get_issuer(request).await)?.into_inner();
        let issuer = part(&looking, found.issuer)?;
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("delete the CA {path}"), "PkiService/DeleteIssuer");
            planned.say("path", &path);
            planned.say("id", &issuer.id);
            planned.checked(format!("it is there: {}", issuer.subject));
            return planned.show(app);
        }
        confirm(app, self.yes, &format!("Delete the CA {path} ({}) and its key, for good?", issuer.subject))?;
        let attempt = vault.attempt(format!("delete the CA {path}")).at("delete", &path);
        let request = DeleteIssuerRequest { path: path.clone(), id: issuer.id.clone() };
        answer(&attempt, vault.client.pki().delete_issuer(request).await)?;
        app.out.result(&DeletedJson { deleted: &path, id: &issuer.id }, |_| format!("CA {path} deleted"))?;
        Ok(Exit::Done)
    }
}

/// A CA for scripts.
#[derive(Serialize)]
pub(super) struct Json<'a> {
    path: &'a str,
    id: &'a str,
    subject: &'a str,
    key_type: &'a str,
    serial: &'a str,
    created: Option<String>,
    not_after: Option<String>,
    default: bool,
    certificate: &'a str,
    ca_chain: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    request: &'a str,
}

impl<'a> From<&'a Issuer> for Json<'a> {
    fn from(issuer: &'a Issuer) -> Self {
        Self {
            path: &issuer.path,
            id: &issuer.id,
            subject: &issuer.subject,
            key_type: &issuer.key_type,
            serial: &issuer.serial,
            created: rfc3339(issuer.created.as_ref()),
            not_after: rfc3339(issuer.not_after.as_ref()),
            default: issuer.is_default,
            certificate: &issuer.certificate,
            ca_chain: &issuer.ca_chain,
            request: &issuer.request,
        }
    }
}

/// CAs for people.
fn render(issuers: &[Issuer], view: &View) -> String {
    let mut table = Table::new(&["NAME", "SUBJECT", "KEY", "AGE", "ENDS IN", "DEFAULT"]);
    for issuer in issuers {
        table.row([
            name(&issuer.path).to_owned(),
            issuer.subject.clone(),
            issuer.key_type.clone(),
            since(issuer.created.as_ref(), view),
            until(issuer.not_after.as_ref(), view),
            if issuer.is_default { "yes" } else { "" }.to_owned(),
        ]);
    }
    table.render(view, "No CAs.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cas_are_shown_with_what_they_are_and_when_they_end() {
        let issuer = Issuer {
            path: "pki/issuers/root".into(),
            subject: "CN=Shop Root".into(),
            key_type: "p384".into(),
            created: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            not_after: Some(prost_types::Timestamp { seconds: 864_090, nanos: 0 }),
            is_default: true,
            ..Issuer::default()
        };
        let view = View { now: jiff::Timestamp::from_second(90).unwrap(), width: None };
        assert_eq!(
            anstream::adapter::strip_str(&render(&[issuer], &view)).to_string(),
            "NAME  SUBJECT       KEY   AGE  ENDS IN  DEFAULT\nroot  CN=Shop Root  p384  90s  10d      yes\n"
        );
        assert_eq!(render(&[], &view), "No CAs.");
    }
}
