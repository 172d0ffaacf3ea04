//! `coffer issue` and `coffer lease`.

use std::time::Duration;

use clap::{Args, Subcommand};
use coffer_client::proto::{
    ForgetLeaseRequest, GetLeaseRequest, IssueCredentialRequest, Lease as Leased, LeaseState, ListLeasesRequest,
    RenewLeaseRequest, RevokeLeaseRequest, RevokeLeasesRequest,
};
use coffer_secret::SecretBytes;
use serde::Serialize;
use std::collections::BTreeMap;

use super::{confirm, kv::show};
use crate::{
    app::{App, PAGE_SIZE, Vault, all_pages, answer, part},
    args::parse_ttl,
    dry_run::{DryRun, Planned},
    exit::Exit,
    failure::{Failure, Result},
    output::{Table, View, pairs, printable, rfc3339, since, until},
};

/// Have a credential made for you: a user of a database, a token, a certificate
///
/// It ends by itself. One with a lease can be renewed (`coffer lease renew`) and ended before (`coffer lease revoke`). A
/// certificate has none: `coffer pki revoke` takes it back.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer issue database/creds/app
  coffer issue database/creds/app --ttl 10m -o json
  coffer issue pki/issue/web common_name=web.shop.svc alt_names=a.web.shop.svc,b.web.shop.svc -o json
  PGPASSWORD=$(coffer issue database/creds/app --field password) ...   (the user is in --field username: ask for both at once with -o json)")]
pub(crate) struct Issue {
    /// The path: MOUNT/creds/ROLE, or MOUNT/issue/ROLE for a certificate
    path: String,
    /// What it is to be. Certificates have common_name, alt_names, ip_sans and uri_sans, with commas between names
    #[arg(value_name = "KEY=VALUE", value_parser = parse_parameter)]
    parameters: Vec<(String, String)>,
    /// How long it should last; the role says how long it may
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    ttl: Option<Duration>,
    /// Print this field alone, as it is
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    #[command(flatten)]
    dry_run: DryRun,
}

#[derive(Serialize)]
struct CredentialJson<'a> {
    fields: BTreeMap<&'a str, show::FieldJson<'a>>,
    issued: Option<String>,
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseJson<'a>>,
}

/// Reads `KEY=VALUE`.
fn parse_parameter(text: &str) -> std::result::Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// What was given, each key once.
fn once(given: Vec<(String, String)>) -> Result<BTreeMap<String, String>> {
    let mut parameters = BTreeMap::new();
    for (key, value) in given {
        if parameters.insert(key.clone(), value).is_some() {
            return Err(
                Failure::usage(format!("{key} is given twice")).next("write the names of a list with commas between them")
            );
        }
    }
    Ok(parameters)
}

impl Issue {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        let parameters = once(self.parameters)?;
        let vault = app.vault()?;
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("have a credential made at {}", self.path), "LeaseService/IssueCredential");
            planned.say("path", &self.path);
            planned.say_some("ttl_seconds", self.ttl.map(|ttl| ttl.as_secs()));
            planned.say_some("parameters", (!parameters.is_empty()).then_some(parameters));
            planned.checked("nothing: coffer why tells whether you may");
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("have a credential made at {}", self.path)).at("read", &self.path);
        let request = IssueCredentialRequest {
            path: self.path.clone(),
            ttl_seconds: self.ttl.map_or(0, |ttl| ttl.as_secs()),
            idempotency_key: String::new(),
            parameters,
        };
        let issued = answer(&attempt, vault.client.leases().issue_credential(request).await)?.into_inner();
        let fields: BTreeMap<String, SecretBytes> =
            issued.fields.into_iter().map(|(name, value)| (name, SecretBytes::from(value))).collect();
        if let Some(name) = &self.field {
            let Some(value) = fields.get(name) else {
                return Err(no_field(name, &fields, issued.lease.as_ref()));
            };
            app.out.raw(value.expose())?;
            return Ok(Exit::Done);
        }
        let json = CredentialJson {
            fields: fields.iter().map(|(name, value)| (name.as_str(), show::field_json(value))).collect(),
            issued: rfc3339(issued.issued.as_ref()),
            expires: rfc3339(issued.expires.as_ref()),
            lease: issued.lease.as_ref().map(LeaseJson::from),
        };
        app.out.result(&json, |view| {
            let mut table = Table::new(&["FIELD", "VALUE"]);
            for (name, value) in &fields {
                table.row([name.clone(), show::value_text(name, value, false)]);
            }
            let name = issued.lease.as_ref().map_or(&self.path, |lease| &lease.id);
            let head = format!("{name}, ends in {}", until(issued.expires.as_ref(), view));
            format!("{}\n\n{}", printable(&head), table.render(view, "no fields"))
        })?;
        Ok(Exit::Done)
    }
}

/// The credential is there, and has no field of this name.
fn no_field(name: &str, fields: &BTreeMap<String, SecretBytes>, lease: Option<&Leased>) -> Box<Failure> {
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    let has = format!("it has {}", names.join(", "));
    let next = lease.map_or_else(|| has.clone(), |lease| format!("{has}; end it: coffer lease revoke {}", lease.id));
    Failure::usage(format!("the credential has no field {name}")).next(next)
}

/// See and end credentials
#[derive(Subcommand)]
pub(crate) enum Lease {
    #[command(visible_alias = "ls")]
    List(List),
    #[command(visible_alias = "lookup")]
    Get(Get),
    Renew(Renew),
    Revoke(Revoke),
    Forget(Forget),
}

impl Lease {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::List(command) => command.run(app).await,
            Self::Get(command) => command.run(app).await,
            Self::Renew(command) => command.run(app).await,
            Self::Revoke(command) => command.run(app).await,
            Self::Forget(command) => command.run(app).await,
        }
    }
}

/// List leases
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer lease list
  coffer lease list database/creds/app
  coffer lease list --stuck                 those that the vault could not end, again and again")]
pub(crate) struct List {
    /// Only leases of this mount, or of MOUNT/creds/ROLE
    path: Option<String>,
    /// Only leases that somebody should look at
    #[arg(long)]
    stuck: bool,
}

impl List {
    async fn run(self, app: &App) -> Result<Exit> {
        let leases = list(app, &app.vault()?, self.path.unwrap_or_default(), self.stuck).await?;
        let json: Vec<LeaseJson<'_>> = leases.iter().map(LeaseJson::from).collect();
        app.out.long(&json, |view| render(&leases, view))?;
        Ok(Exit::Done)
    }
}

async fn list(app: &App, vault: &Vault, path: String, stuck: bool) -> Result<Vec<Leased>> {
    let attempt = vault.attempt("list leases");
    let mut service = vault.client.leases();
    Ok(all_pages!(app, &attempt, leases, |page_token| {
        service.list_leases(ListLeasesRequest { path: path.clone(), stuck, page_size: PAGE_SIZE, page_token })
    }))
}

/// Show a lease
#[derive(Args)]
pub(crate) struct Get {
    /// The lease's id
    id: String,
}

impl Get {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let lease = get(&vault, &self.id).await?;
        app.out.result(&LeaseJson::from(&lease), |view| one(&lease, view))?;
        Ok(Exit::Done)
    }
}

async fn get(vault: &Vault, id: &str) -> Result<Leased> {
    let attempt = vault.attempt(format!("show the lease {id}")).of("coffer lease list");
    let found = answer(&attempt, vault.client.leases().get_lease(GetLeaseRequest { id: id.to_owned() }).await)?.into_inner();
    part(&attempt, found.lease)
}

/// Let your own credential last longer
#[derive(Args)]
pub(crate) struct Renew {
    /// The lease's id
    id: String,
    /// How long it should last from now on; the role says how long it may
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    ttl: Option<Duration>,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Renew {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        if self.dry_run.asked() {
            let lease = get(&vault, &self.id).await?;
            let mut planned = Planned::new(format!("renew the lease {}", self.id), "LeaseService/RenewLease");
            planned.say("id", &self.id);
            planned.checked(format!("it is there, and is {}", state(&lease)));
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("renew the lease {}", self.id)).of("coffer lease list");
        let request = RenewLeaseRequest { id: self.id, ttl_seconds: self.ttl.map_or(0, |ttl| ttl.as_secs()) };
        let renewed = answer(&attempt, vault.client.leases().renew_lease(request).await)?.into_inner();
        let lease = part(&attempt, renewed.lease)?;
        app.out.result(&LeaseJson::from(&lease), |view| {
            format!("{} ends in {}", printable(&lease.id), until(lease.expires.as_ref(), view))
        })?;
        Ok(Exit::Done)
    }
}

/// End a credential, or all of a path or a principal
///
/// One that is named has ended when the command comes back. Many are ended in the background: coffer lease list.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer lease revoke database/creds/app/3f2a51c07e9b4d1c8a6f0e2d4b5c6a79
  coffer lease revoke --path database/creds/app
  coffer lease revoke --principal k8s:prod/shop/api")]
pub(crate) struct Revoke {
    /// The lease's id
    #[arg(required_unless_present_any = ["path", "principal"], conflicts_with_all = ["path", "principal"])]
    id: Option<String>,
    /// All of a mount, or of MOUNT/creds/ROLE
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// All of k8s:CLUSTER/NAMESPACE/SERVICE-ACCOUNT, or of operator:NAME
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Revoke {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        if let Some(id) = &self.id {
            if self.dry_run.asked() {
                let lease = get(&vault, id).await?;
                let mut planned = Planned::new(format!("revoke the lease {id}"), "LeaseService/RevokeLease");
                planned.say("id", id);
                planned.checked(format!("it is there, and is {}", state(&lease)));
                return planned.show(app);
            }
            let attempt = vault.attempt(format!("revoke the lease {id}")).of("coffer lease list");
            answer(&attempt, vault.client.leases().revoke_lease(RevokeLeaseRequest { id: id.clone() }).await)?;
            app.out.result(&serde_json::json!({ "revoked": id }), |_| format!("{} has ended", printable(id)))?;
            return Ok(Exit::Done);
        }
        let (path, principal) = (self.path.unwrap_or_default(), self.principal.unwrap_or_default());
        let which = match (path.as_str(), principal.as_str()) {
            (path, "") => format!("at {path}"),
            ("", principal) => format!("of {principal}"),
            (path, principal) => format!("of {principal} at {path}"),
        };
        if self.dry_run.asked() {
            let leases = list(app, &vault, path.clone(), false).await?;
            let count = leases.iter().filter(|lease| principal.is_empty() || lease.principal == principal).count();
            let mut planned = Planned::new(format!("revoke all leases {which}"), "LeaseService/RevokeLeases");
            planned.checked(format!("{count} leases"));
            return planned.show(app);
        }
        confirm(app, self.yes, &format!("Revoke all leases {which}? Whoever uses them is kept out at once. [y/N] "))?;
        let attempt = vault.attempt(format!("revoke the leases {which}"));
        let request = RevokeLeasesRequest { path, principal };
        let count = answer(&attempt, vault.client.leases().revoke_leases(request).await)?.into_inner().count;
        app.out.result(&serde_json::json!({ "revoking": count }), |_| format!("{count} leases are being ended"))?;
        Ok(Exit::Done)
    }
}

/// Forget a lease that is stuck, after its credential was ended by hand
#[derive(Args)]
pub(crate) struct Forget {
    /// The lease's id
    id: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Forget {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        if self.dry_run.asked() {
            let lease = get(&vault, &self.id).await?;
            let mut planned = Planned::new(format!("forget the lease {}", self.id), "LeaseService/ForgetLease");
            planned.say("id", &self.id);
            planned.checked(format!("it is there, and is {}", state(&lease)));
            return planned.show(app);
        }
        confirm(app, self.yes, "The vault will do nothing more about this credential. Has it been ended by hand? [y/N] ")?;
        let attempt = vault.attempt(format!("forget the lease {}", self.id)).of("coffer lease list --stuck");
        answer(&attempt, vault.client.leases().forget_lease(ForgetLeaseRequest { id: self.id.clone() }).await)?;
        app.out.result(&serde_json::json!({ "forgotten": self.id }), |_| format!("{} is forgotten", printable(&self.id)))?;
        Ok(Exit::Done)
    }
}

/// A lease for scripts.
#[derive(Serialize)]
struct LeaseJson<'a> {
    id: &'a str,
    principal: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pod_uid: &'a str,
    state: &'static str,
    issued: Option<String>,
    expires: Option<String>,
    expires_at_most: Option<String>,
    attempts: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    last_error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt: Option<String>,
}

impl<'a> From<&'a Leased> for LeaseJson<'a> {
    fn from(lease: &'a Leased) -> Self {
        Self {
            id: &lease.id,
            principal: &lease.principal,
            pod_uid: &lease.pod_uid,
            state: state(lease),
            issued: rfc3339(lease.issued.as_ref()),
            expires: rfc3339(lease.expires.as_ref()),
            expires_at_most: rfc3339(lease.expires_at_most.as_ref()),
            attempts: lease.attempts,
            last_error: &lease.last_error,
            next_attempt: rfc3339(lease.next_attempt.as_ref()),
        }
    }
}

fn state(lease: &Leased) -> &'static str {
    match lease.state() {
        LeaseState::Unspecified => "unknown",
        LeaseState::Pending => "pending",
        LeaseState::Live => "live",
        LeaseState::Ending => "ending",
        LeaseState::Stuck => "stuck",
    }
}

/// Leases for people.
fn render(leases: &[Leased], view: &View) -> String {
    let mut table = Table::new(&["LEASE", "PRINCIPAL", "STATE", "AGE", "ENDS IN"]);
    for lease in leases {
        table.row([
            lease.id.clone(),
            lease.principal.clone(),
            state(lease).to_owned(),
            since(lease.issued.as_ref(), view),
            until(lease.expires.as_ref(), view),
        ]);
    }
    table.render(view, "No leases.")
}

/// One lease for people.
fn one(lease: &Leased, view: &View) -> String {
    let mut lines = vec![
        ("Lease", lease.id.clone()),
        ("Principal", lease.principal.clone()),
        ("State", state(lease).to_owned()),
        ("Made", format!("{} ago", since(lease.issued.as_ref(), view))),
        ("Ends in", until(lease.expires.as_ref(), view)),
        ("At most in", until(lease.expires_at_most.as_ref(), view)),
    ];
    if !lease.pod_uid.is_empty() {
        lines.push(("Pod", lease.pod_uid.clone()));
    }
    if lease.attempts > 0 {
        lines.push(("Ending failed", format!("{} times: {}", lease.attempts, lease.last_error)));
        lines.push(("Next try in", until(lease.next_attempt.as_ref(), view)));
    }
    pairs(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_shown_with_whose_they_are_and_how_they_stand() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let lease = Leased {
            id: "database/creds/app/0f".into(),
            principal: "k8s:prod/shop/api".into(),
            pod_uid: "6f1c".into(),
            issued: at(0),
            expires: at(3_690),
            expires_at_most: at(7_290),
            state: LeaseState::Stuck.into(),
            attempts: 8,
            last_error: "the database cannot be reached".into(),
            next_attempt: at(690),
        };
        let view = View { now: jiff::Timestamp::from_second(90).unwrap(), width: None };
        let plain = |text: &str| anstream::adapter::strip_str(text).to_string();
        assert_eq!(
            plain(&render(std::slice::from_ref(&lease), &view)),
            "LEASE                  PRINCIPAL          STATE  AGE  ENDS IN\n\
             database/creds/app/0f  k8s:prod/shop/api  stuck  90s  60m\n"
        );
        let shown = plain(&one(&lease, &view));
        assert!(shown.contains("8 times: the database cannot be reached") && shown.contains("10m"), "{shown}");
    }
}
