//! `coffer pki role`.

use std::{net::IpAddr, time::Duration};

use clap::{Args, Subcommand};
use coffer_client::proto::{
    DeletePkiRoleRequest, GetPkiRoleRequest, ListPkiRolesRequest, PkiRole, PkiRoleState, PutPkiRoleRequest,
};
use serde::Serialize;

use super::{Mount, name, secs};
use crate::{
    app::{App, PAGE_SIZE, all_pages, answer, part},
    args::parse_ttl,
    commands::{confirm, parse_list},
    dry_run::{DryRun, Planned},
    exit::Exit,
    failure::Result,
    output::{Table, View, age, pairs, rfc3339},
};

/// Manage roles: what certificates may say, and who asks for which names
#[derive(Subcommand)]
pub(crate) enum Role {
    #[command(visible_alias = "write")]
    Put(Put),
    #[command(visible_alias = "read")]
    Get(Get),
    #[command(visible_alias = "ls")]
    List(List),
    #[command(visible_alias = "rm")]
    Delete(Delete),
}

impl Role {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Put(command) => command.run(app).await,
            Self::Get(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Delete(command) => command.run(app).await,
        }
    }
}

/// Write a role, new or changed
///
/// A role decides all that its certificates say; who uses it asks for names, and the role says which. What is not said here
/// is not allowed.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer pki role put web --allow web.shop.svc --allow '*.web.shop.svc' --ttl 24h
  coffer pki role put service --allow '{service_account}.{namespace}.svc' --spiffe 'spiffe://shop.example/ns/{namespace}/sa/{service_account}'
  coffer pki role put node --allow 10.0.0.0/8 --allow '**.nodes.example' --key-types p256,rsa --for client-auth

Patterns:
  web.shop.svc     this host
  *.shop.svc       hosts one label longer
  **.shop.svc      all hosts below
  10.0.0.0/8       addresses
  https://a.b/**   URIs below; without /**, this one
  {namespace}, {service_account}, {cluster} stand for what the caller is, where it is a workload")]
pub(crate) struct Put {
    /// The role's name
    name: String,
    #[command(flatten)]
    mount: Mount,
    /// A name that may be asked for: a host, an address, a URI, or a pattern of one; can be repeated
    #[arg(long, value_name = "PATTERN")]
    allow: Vec<String>,
    /// Let wildcard names (*.HOST) be asked for, where the patterns cover all that they stand for
    #[arg(long)]
    wildcards: bool,
    /// The SPIFFE id that each certificate has
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    spiffe: String,
    /// The CA that signs; the mount's default one unless said
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    issuer: String,
    /// The kinds of keys, with commas: p256, p384, ed25519, rsa; p256 unless said
    #[arg(long, value_name = "TYPES", default_value = "", hide_default_value = true)]
    key_types: String,
    /// What keys may be used for, with commas: digital-signature, content-commitment, key-encipherment, key-agreement;
    /// digital-signature unless said
    #[arg(long, value_name = "USAGES", default_value = "", hide_default_value = true)]
    key_usages: String,
    /// What certificates may be used for, with commas: server-auth, client-auth, code-signing, email-protection; the first
    /// two unless said
    #[arg(long = "for", value_name = "USAGES", default_value = "", hide_default_value = true)]
    usages: String,
    /// Write the first host into the subject as well, as its common name
    #[arg(long)]
    common_name: bool,
    /// The organisation in the subject
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    organisation: String,
    /// How long a certificate lasts where nobody asks; a day unless said
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    ttl: Option<Duration>,
    /// How long one may last; as long as --ttl says unless said
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    max_ttl: Option<Duration>,
    /// Keep nothing of what is issued
    #[arg(long)]
    no_store: bool,
    /// Write only where this is the role's state; `new` where there must be none yet
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Whether a pattern is one for addresses.
fn is_address(pattern: &str) -> bool {
    pattern.split_once('/').map_or(pattern, |(address, _)| address).parse::<IpAddr>().is_ok()
}

impl Put {
    fn role(&self) -> PkiRole {
        let uris = self.allow.iter().filter(|pattern| pattern.contains("://"));
        let addresses = self.allow.iter().filter(|pattern| is_address(pattern));
        let hosts = self.allow.iter().filter(|pattern| !pattern.contains("://") && !is_address(pattern));
        PkiRole {
            issuer: self.issuer.clone(),
            allowed_hosts: hosts.cloned().collect(),
            allow_wildcards: self.wildcards,
            allowed_addresses: addresses.cloned().collect(),
            allowed_uris: uris.cloned().collect(),
            spiffe_id: self.spiffe.clone(),
            key_types: parse_list(&self.key_types),
            key_usages: parse_list(&self.key_usages),
            extended_key_usages: parse_list(&self.usages),
            common_name: self.common_name,
            organisation: self.organisation.clone(),
            ttl_seconds: secs(self.ttl),
            max_ttl_seconds: secs(self.max_ttl),
            no_store: self.no_store,
        }
    }

    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let (path, role) = (self.mount.path("roles", &self.name), self.role());
        let doing = format!("write the role {path}");
        if self.dry_run.asked() {
            let mut planned = Planned::new(doing, "PkiService/PutPkiRole");
            planned.say("path", &path);
            planned.say("role", RoleJson::from(&role));
            planned.say("etag", &self.etag);
            return planned.show(app);
        }
        let attempt = vault.attempt(doing).at("write", &path);
        let request = PutPkiRoleRequest { path, role: Some(role), etag: self.etag };
        let written = answer(&attempt, vault.client.pki().put_pki_role(request).await)?.into_inner();
        let state = part(&attempt, written.role)?;
        app.out.result(&StateJson::from(&state), |_| format!("role {} written", state.path))?;
        Ok(Exit::Done)
    }
}

/// Show a role
#[derive(Args)]
pub(crate) struct Get {
    /// The name
    name: String,
    #[command(flatten)]
    mount: Mount,
}

impl Get {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let path = self.mount.path("roles", &self.name);
        let attempt = vault.attempt(format!("show the role {path}")).at("list", &path);
        let found = answer(&attempt, vault.client.pki().get_pki_role(GetPkiRoleRequest { path }).await)?.into_inner();
        let state = part(&attempt, found.role)?;
        app.out.result(&StateJson::from(&state), |_| text(&state))?;
        Ok(Exit::Done)
    }
}

/// List roles
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    mount: Mount,
}

impl List {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let path = self.mount.all("roles");
        let attempt = vault.attempt(format!("list {path}")).at("list", &path);
        let mut service = vault.client.pki();
        let roles = all_pages!(app, &attempt, roles, |page_token| {
            service.list_pki_roles(ListPkiRolesRequest { path: path.clone(), page_size: PAGE_SIZE, page_token })
        });
        let json: Vec<StateJson<'_>> = roles.iter().map(StateJson::from).collect();
        app.out.long(&json, |view| render(&roles, view))?;
        Ok(Exit::Done)
    }
}

/// Delete a role
///
/// Certificates that it has issued hold until they end.
#[derive(Args)]
pub(crate) struct Delete {
    /// The name
    name: String,
    #[command(flatten)]
    mount: Mount,
    /// Delete only where this is the role's state
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    dry_run: DryRun,
}

#[derive(Serialize)]
struct DeletedJson<'a> {
    deleted: &'a str,
}

impl Delete {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let path = self.mount.path("roles", &self.name);
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("delete the role {path}"), "PkiService/DeletePkiRole");
            planned.say("path", &path);
            planned.say("etag", &self.etag);
            return planned.show(app);
        }
        confirm(app, self.yes, &format!("Delete the role {path}?"))?;
        let attempt = vault.attempt(format!("delete the role {path}")).at("delete", &path);
        let request = DeletePkiRoleRequest { path: path.clone(), etag: self.etag };
        answer(&attempt, vault.client.pki().delete_pki_role(request).await)?;
        app.out.result(&DeletedJson { deleted: &path }, |_| format!("role {path} deleted"))?;
        Ok(Exit::Done)
    }
}

/// What a role decides, for scripts.
#[derive(Serialize)]
struct RoleJson<'a> {
    ca: &'a str,
    allowed_hosts: &'a [String],
    allow_wildcards: bool,
    allowed_addresses: &'a [String],
    allowed_uris: &'a [String],
    spiffe_id: &'a str,
    key_types: &'a [String],
    key_usages: &'a [String],
    extended_key_usages: &'a [String],
    common_name: bool,
    organisation: &'a str,
    ttl_seconds: u64,
    max_ttl_seconds: u64,
    no_store: bool,
}

impl<'a> From<&'a PkiRole> for RoleJson<'a> {
    fn from(role: &'a PkiRole) -> Self {
        Self {
            ca: &role.issuer,
            allowed_hosts: &role.allowed_hosts,
            allow_wildcards: role.allow_wildcards,
            allowed_addresses: &role.allowed_addresses,
            allowed_uris: &role.allowed_uris,
            spiffe_id: &role.spiffe_id,
            key_types: &role.key_types,
            key_usages: &role.key_usages,
            extended_key_usages: &role.extended_key_usages,
            common_name: role.common_name,
            organisation: &role.organisation,
            ttl_seconds: role.ttl_seconds,
            max_ttl_seconds: role.max_ttl_seconds,
            no_store: role.no_store,
        }
    }
}

/// A role for scripts.
#[derive(Serialize)]
struct StateJson<'a> {
    path: &'a str,
    #[serde(flatten)]
    role: Option<RoleJson<'a>>,
    created: Option<String>,
    ca_missing: bool,
    etag: &'a str,
}

impl<'a> From<&'a PkiRoleState> for StateJson<'a> {
    fn from(state: &'a PkiRoleState) -> Self {
        Self {
            path: &state.path,
            role: state.role.as_ref().map(RoleJson::from),
            created: rfc3339(state.created.as_ref()),
            ca_missing: state.issuer_missing,
            etag: &state.etag,
        }
    }
}

fn allowed(role: &PkiRole) -> Vec<String> {
    let all = role.allowed_hosts.iter().chain(&role.allowed_addresses).chain(&role.allowed_uris);
    all.cloned().chain((!role.spiffe_id.is_empty()).then(|| role.spiffe_id.clone())).collect()
}

fn ca(state: &PkiRoleState, role: &PkiRole) -> String {
    match (role.issuer.as_str(), state.issuer_missing) {
        ("", _) => "(default)".to_owned(),
        (issuer, false) => issuer.to_owned(),
        (issuer, true) => format!("{issuer} (gone)"),
    }
}

/// A role for people.
fn text(state: &PkiRoleState) -> String {
    let Some(role) = &state.role else { return String::new() };
    pairs(&[
        ("Role", state.path.clone()),
        ("CA", ca(state, role)),
        ("Hosts", role.allowed_hosts.join(", ")),
        ("Wildcards", if role.allow_wildcards { "yes" } else { "no" }.to_owned()),
        ("Addresses", role.allowed_addresses.join(", ")),
        ("URIs", role.allowed_uris.join(", ")),
        ("SPIFFE id", role.spiffe_id.clone()),
        ("Keys", role.key_types.join(", ")),
        ("Keys are for", role.key_usages.join(", ")),
        ("Certificates are for", role.extended_key_usages.join(", ")),
        ("Common name", if role.common_name { "the first host" } else { "none" }.to_owned()),
        ("Organisation", role.organisation.clone()),
        ("Lasts", format!("{}, at most {}", age(role.ttl_seconds), age(role.max_ttl_seconds))),
        ("Stored", if role.no_store { "no" } else { "yes" }.to_owned()),
        ("Etag", state.etag.clone()),
    ])
}

/// Roles for people.
fn render(roles: &[PkiRoleState], view: &View) -> String {
    let mut table = Table::new(&["NAME", "CA", "ALLOWED", "KEYS", "LASTS"]);
    for state in roles {
        let Some(role) = &state.role else { continue };
        let allowed = allowed(role);
        let shown = match allowed.as_slice() {
            [one] => one.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
            [] => String::new(),
        };
        table.row([name(&state.path).to_owned(), ca(state, role), shown, role.key_types.join(","), age(role.ttl_seconds)]);
    }
    table.render(view, "No roles.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_shown_with_what_they_allow() {
        let role = PkiRole {
            allowed_hosts: vec!["web.shop.svc".into(), "*.web.shop.svc".into()],
            key_types: vec!["p256".into()],
            ttl_seconds: 86_400,
            ..PkiRole::default()
        };
        let gone = PkiRole { issuer: "old".into(), ..role.clone() };
        let state = |name: &str, role: PkiRole| PkiRoleState {
            path: format!("pki/roles/{name}"),
            issuer_missing: !role.issuer.is_empty(),
            role: Some(role),
            ..PkiRoleState::default()
        };
        let view = View { now: jiff::Timestamp::UNIX_EPOCH, width: None };
        assert_eq!(
            anstream::adapter::strip_str(&render(&[state("web", role), state("x", gone)], &view)).to_string(),
            "NAME  CA          ALLOWED                  KEYS  LASTS\n\
             web   (default)   web.shop.svc and 1 more  p256  24h\n\
             x     old (gone)  web.shop.svc and 1 more  p256  24h\n"
        );
    }

    #[test]
    fn patterns_for_addresses_are_told_from_hosts() {
        for address in ["10.0.0.0/8", "10.1.2.3", "::/0", "2001:db8::1"] {
            assert!(is_address(address), "{address}");
        }
        for other in ["web", "*.svc", "10.svc", "https://10.0.0.1/x"] {
            assert!(!is_address(other), "{other}");
        }
    }
}
