//! `coffer database static-role`.

use std::time::Duration;

use clap::{Args, Subcommand};
use coffer_client::proto::{
    DatabaseStaticRole, DeleteStaticRoleRequest, GetStaticRoleRequest, GetStaticRoleResponse, ListStaticRolesRequest,
    PutStaticRoleRequest, RotateStaticRoleRequest,
};
use serde::Serialize;

use super::InMount;
use crate::{
    app::{App, Vault, answer},
    args::parse_ttl,
    commands::{confirm, show_names},
    dry_run::{DryRun, Planned},
    exit::Exit,
    failure::Result,
    output::{age, pairs, rfc3339},
};

/// Manage users that a database has already, and whose passwords the vault changes
#[derive(Subcommand)]
pub(crate) enum StaticRole {
    Put(Put),
    Get(Get),
    #[command(visible_alias = "ls")]
    List(List),
    Rotate(Rotate),
    #[command(visible_alias = "rm")]
    Delete(Delete),
}

impl StaticRole {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Put(command) => command.run(app).await,
            Self::Get(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Rotate(command) => command.run(app).await,
            Self::Delete(command) => command.run(app).await,
        }
    }
}

/// Make or change a static role
///
/// The vault gives the users passwords of its own at once. With two users each rotation goes to the other one: who still uses the
/// one before has until everybody has acknowledged the new one, or the grace is over.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer database static-role put reports --connection shop --user reports_a --user reports_b --every 24h
  coffer database static-role put legacy --connection shop --user legacy --every 7d

Then: coffer grant read database/static-creds/reports --to k8s:prod/shop/reports")]
pub(crate) struct Put {
    /// The static role's name
    name: String,
    #[command(flatten)]
    mount: InMount,
    /// The connection
    #[arg(long, value_name = "NAME")]
    connection: String,
    /// A user of the database; a second one to take turns with it
    #[arg(long = "user", value_name = "USER", required = true)]
    users: Vec<String>,
    /// How long it takes from one rotation to the next
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_ttl)]
    every: Duration,
    /// How long the user before stays good at most [default: 10m, or half of --every]
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    grace: Option<Duration>,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Put {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.static_role(&self.name);
        let role = DatabaseStaticRole {
            connection: self.connection,
            users: self.users,
            rotation_period_seconds: self.every.as_secs(),
            grace_seconds: self.grace.map_or(0, |grace| grace.as_secs()),
        };
        let vault = app.vault()?;
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("write the static role {path}"), "DatabaseService/PutStaticRole");
            planned.say("path", &path);
            planned.say("connection", &role.connection);
            planned.say("users", &role.users);
            planned.checked("nothing was asked of the database");
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("write the static role {path}")).at("write", &path);
        let request = PutStaticRoleRequest { path: path.clone(), role: Some(role) };
        answer(&attempt, vault.client.databases().put_static_role(request).await)?;
        app.out.result(&serde_json::json!({ "path": path }), |_| {
            format!("static role {path} written; see: coffer database static-role get {}", self.name)
        })?;
        Ok(Exit::Done)
    }
}

async fn get(vault: &Vault, path: &str) -> Result<GetStaticRoleResponse> {
    let attempt = vault.attempt(format!("show the static role {path}")).at("list", path);
    let request = GetStaticRoleRequest { path: path.to_owned() };
    Ok(answer(&attempt, vault.client.databases().get_static_role(request).await)?.into_inner())
}

/// Show a static role, and how far its rotation is
#[derive(Args)]
pub(crate) struct Get {
    /// The static role's name
    name: String,
    #[command(flatten)]
    mount: InMount,
}

#[derive(Serialize)]
struct StaticRoleJson<'a> {
    path: &'a str,
    connection: &'a str,
    users: &'a [String],
    every_seconds: u64,
    grace_seconds: u64,
    version: u64,
    user: &'a str,
    rotated: Option<String>,
    next_rotation: Option<String>,
    previous_user: &'a str,
    previous_until: Option<String>,
    waiting_for: u32,
    last_error: &'a str,
    updated: Option<String>,
}

impl Get {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.static_role(&self.name);
        let found = get(&app.vault()?, &path).await?;
        let role = found.role.clone().unwrap_or_default();
        let json = StaticRoleJson {
            path: &path,
            connection: &role.connection,
            users: &role.users,
            every_seconds: role.rotation_period_seconds,
            grace_seconds: role.grace_seconds,
            version: found.version,
            user: &found.user,
            rotated: rfc3339(found.rotated.as_ref()),
            next_rotation: rfc3339(found.next_rotation.as_ref()),
            previous_user: &found.previous_user,
            previous_until: rfc3339(found.previous_until.as_ref()),
            waiting_for: found.waiting_for,
            last_error: &found.last_error,
            updated: rfc3339(found.updated.as_ref()),
        };
        app.out.result(&json, |_| {
            let moment = |moment: &Option<String>| moment.clone().unwrap_or_else(|| "-".to_owned());
            let every =
                format!("{}, the one before good for {} at most", age(role.rotation_period_seconds), age(role.grace_seconds));
            let mut lines = vec![
                ("Path", path.clone()),
                ("Connection", role.connection.clone()),
                ("Users", role.users.join(", ")),
                ("Rotates every", every),
            ];
            match found.version {
                0 => lines.push(("In turn", "none yet: the first rotation has not succeeded".to_owned())),
                version => {
                    lines.push(("In turn", format!("{} (version {version})", found.user)));
                    lines.push(("Rotated", moment(&json.rotated)));
                    lines.push(("Next rotation", moment(&json.next_rotation)));
                }
            }
            if !found.previous_user.is_empty() {
                let waiting = format!("{} until {} at most", found.previous_user, moment(&json.previous_until));
                lines.push(("Good still", waiting));
                lines.push(("Waits for", format!("{} who hold the one before", found.waiting_for)));
            }
            if !found.last_error.is_empty() {
                lines.push(("Last error", found.last_error.clone()));
            }
            pairs(&lines)
        })?;
        Ok(Exit::Done)
    }
}

/// List static roles
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    mount: InMount,
}

impl List {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.static_roles();
        let vault = app.vault()?;
        let attempt = vault.attempt("list static roles").at("list", &path);
        let names = answer(&attempt, vault.client.databases().list_static_roles(ListStaticRolesRequest { path }).await)?;
        let names = names.into_inner().names;
        show_names(app, &names, "No static roles.")?;
        Ok(Exit::Done)
    }
}

/// Rotate a static role now
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer database static-role rotate reports
  coffer database static-role rotate reports --now     # where the password is known to somebody who should not know it")]
pub(crate) struct Rotate {
    /// The static role's name
    name: String,
    #[command(flatten)]
    mount: InMount,
    /// End the password before at once, though somebody may use it still
    #[arg(long)]
    now: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Rotate {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.static_role(&self.name);
        let vault = app.vault()?;
        let found = get(&vault, &path).await?;
        let users = found.role.map_or(0, |role| role.users.len());
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("rotate the static role {path}"), "DatabaseService/RotateStaticRole");
            planned.say("path", &path);
            planned.checked("it is there");
            return planned.show(app);
        }
        if self.now || users < 2 {
            let question = format!("Rotate {path}? Who uses the password before is kept out from then on. [y/N] ");
            confirm(app, self.yes, &question)?;
        }
        let attempt = vault.attempt(format!("rotate the static role {path}")).at("write", &path);
        let request = RotateStaticRoleRequest { path: path.clone(), at_once: self.now };
        let version = answer(&attempt, vault.client.databases().rotate_static_role(request).await)?.into_inner().version;
        app.out.result(&serde_json::json!({ "rotated": path, "version": version }), |_| {
            format!("{path} is rotated: version {version}")
        })?;
        Ok(Exit::Done)
    }
}

/// Delete a static role; its users stay, with the passwords that they have
#[derive(Args)]
pub(crate) struct Delete {
    /// The static role's name
    name: String,
    #[command(flatten)]
    mount: InMount,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Delete {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.static_role(&self.name);
        let vault = app.vault()?;
        if self.dry_run.asked() {
            get(&vault, &path).await?;
            let mut planned = Planned::new(format!("delete the static role {path}"), "DatabaseService/DeleteStaticRole");
            planned.say("path", &path);
            planned.checked("it is there");
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("delete the static role {path}")).at("delete", &path);
        let request = DeleteStaticRoleRequest { path: path.clone() };
        answer(&attempt, vault.client.databases().delete_static_role(request).await)?;
        app.out.result(&serde_json::json!({ "deleted": path }), |_| format!("static role {path} deleted"))?;
        Ok(Exit::Done)
    }
}
