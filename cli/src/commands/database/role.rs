//! `coffer database role`.

use std::time::Duration;

use clap::{Args, Subcommand};
use coffer_client::proto::{
    CheckRoleRequest, DatabaseRole, DeleteRoleRequest, GetRoleRequest, GetRoleResponse, ListRolesRequest, PutRoleRequest,
};
use serde::Serialize;

use super::InMount;
use crate::{
    app::{App, Vault, answer},
    args::parse_ttl,
    commands::show_names,
    dry_run::{DryRun, Planned},
    exit::Exit,
    failure::Result,
    input::{Source, TEXT_BYTES_MAX},
    output::{age, pairs, rfc3339},
};

/// Manage how users of databases are made
#[derive(Subcommand)]
pub(crate) enum Role {
    Put(Put),
    Get(Get),
    #[command(visible_alias = "ls")]
    List(List),
    Check(Check),
    #[command(visible_alias = "rm")]
    Delete(Delete),
}

impl Role {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Put(command) => command.run(app).await,
            Self::Get(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Check(command) => command.run(app).await,
            Self::Delete(command) => command.run(app).await,
        }
    }
}

/// Make or change a role
///
/// Statements are SQL with {{name}}, {{password}} and {{expiration}}; those that make a user run in one transaction, where the
/// database has such. For MySQL and MariaDB there is {{password_hash}}, too. For Redis they are rules, with {{name}} alone.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer database role put app --connection shop --ttl 1h --max-ttl 24h \\
    --create \"CREATE ROLE {{name}} LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'\" \\
    --create 'GRANT SELECT ON ALL TABLES IN SCHEMA public TO {{name}}'
  coffer database role put app --connection shop --create @create.sql
  coffer database role put app --connection stock \\
    --create \"CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'\" \\
    --create \"GRANT SELECT ON stock.* TO '{{name}}'@'%'\"
  coffer database role put app --connection cache --create '~shop:* +@read'

Then: coffer database role check app; coffer grant read database/creds/app --to k8s:prod/shop/api")]
pub(crate) struct Put {
    /// The role's name
    name: String,
    #[command(flatten)]
    mount: InMount,
    /// The connection
    #[arg(long, value_name = "NAME")]
    connection: String,
    /// A statement that makes a user, or rules for one of Redis, or @FILE with it; again for more
    #[arg(long = "create", value_name = "STATEMENT", required = true)]
    creation: Vec<String>,
    /// A statement that ends a user, or @FILE; again for more [default: what it owns goes to the vault's user, where the kind
    /// of database can do that; it is dropped]
    #[arg(long = "revoke", value_name = "STATEMENT")]
    revocation: Vec<String>,
    /// How long a user lasts where nothing else is asked
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_ttl)]
    ttl: Duration,
    /// How long a user lasts at most, renewed or not
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_ttl)]
    max_ttl: Duration,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Put {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.role(&self.name);
        let statements = |given: &[String]| {
            let statement = |text: &String| match text.strip_prefix('@') {
                Some(_) => Ok(app.input.text(&Source::of_file(text), TEXT_BYTES_MAX)?.into_exposed()),
                None => Ok(text.clone()),
            };
            given.iter().map(statement).collect::<Result<Vec<_>>>()
        };
        let role = DatabaseRole {
            connection: self.connection,
            creation_statements: statements(&self.creation)?,
            revocation_statements: statements(&self.revocation)?,
            default_ttl_seconds: self.ttl.as_secs(),
            max_ttl_seconds: self.max_ttl.as_secs(),
        };
        let vault = app.vault()?;
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("write the role {path}"), "DatabaseService/PutRole");
            planned.say("path", &path);
            planned.say("connection", &role.connection);
            planned.say("creation_statements", &role.creation_statements);
            planned.checked("nothing was asked of the database: coffer database role check tries a role that is written");
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("write the role {path}")).at("write", &path);
        answer(&attempt, vault.client.databases().put_role(PutRoleRequest { path: path.clone(), role: Some(role) }).await)?;
        app.out.result(&serde_json::json!({ "path": path }), |_| {
            format!("role {path} written; next: coffer database role check {}", self.name)
        })?;
        Ok(Exit::Done)
    }
}

async fn get(vault: &Vault, path: &str) -> Result<GetRoleResponse> {
    let attempt = vault.attempt(format!("show the role {path}")).at("list", path);
    Ok(answer(&attempt, vault.client.databases().get_role(GetRoleRequest { path: path.to_owned() }).await)?.into_inner())
}

/// Show a role
#[derive(Args)]
pub(crate) struct Get {
    /// The role's name
    name: String,
    #[command(flatten)]
    mount: InMount,
}

#[derive(Serialize)]
struct RoleJson<'a> {
    path: &'a str,
    connection: &'a str,
    creation_statements: &'a [String],
    revocation_statements: &'a [String],
    ttl_seconds: u64,
    max_ttl_seconds: u64,
    updated: Option<String>,
}

impl Get {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.role(&self.name);
        let found = get(&app.vault()?, &path).await?;
        let role = found.role.unwrap_or_default();
        let json = RoleJson {
            path: &path,
            connection: &role.connection,
            creation_statements: &role.creation_statements,
            revocation_statements: &role.revocation_statements,
            ttl_seconds: role.default_ttl_seconds,
            max_ttl_seconds: role.max_ttl_seconds,
            updated: rfc3339(found.updated.as_ref()),
        };
        app.out.result(&json, |_| {
            let mut lines = vec![("Path", path.clone()), ("Connection", role.connection.clone())];
            lines.extend(role.creation_statements.iter().map(|statement| ("Creates with", statement.clone())));
            match role.revocation_statements.as_slice() {
                [] => lines.push(("Ends with", "what the kind of database has for it".to_owned())),
                given => lines.extend(given.iter().map(|statement| ("Ends with", statement.clone()))),
            }
            lines.push(("Lasts", format!("{}, {} at most", age(role.default_ttl_seconds), age(role.max_ttl_seconds))));
            pairs(&lines)
        })?;
        Ok(Exit::Done)
    }
}

/// List roles
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    mount: InMount,
}

impl List {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.roles();
        let vault = app.vault()?;
        let attempt = vault.attempt("list roles").at("list", &path);
        let names = answer(&attempt, vault.client.databases().list_roles(ListRolesRequest { path }).await)?.into_inner().names;
        show_names(app, &names, "No roles.")?;
        Ok(Exit::Done)
    }
}

/// Try a role: make a user in the database, and end it
#[derive(Args)]
pub(crate) struct Check {
    /// The role's name
    name: String,
    #[command(flatten)]
    mount: InMount,
}

impl Check {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.role(&self.name);
        let vault = app.vault()?;
        let attempt = vault.attempt(format!("try the role {path}")).at("write", &path);
        answer(&attempt, vault.client.databases().check_role(CheckRoleRequest { path: path.clone() }).await)?;
        app.out.result(&serde_json::json!({ "checked": path }), |_| format!("role {path} works: a user was made, and ended"))?;
        Ok(Exit::Done)
    }
}

/// Delete a role; users that were made with it stay until they end
#[derive(Args)]
pub(crate) struct Delete {
    /// The role's name
    name: String,
    #[command(flatten)]
    mount: InMount,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Delete {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.role(&self.name);
        let vault = app.vault()?;
        if self.dry_run.asked() {
            get(&vault, &path).await?;
            let mut planned = Planned::new(format!("delete the role {path}"), "DatabaseService/DeleteRole");
            planned.say("path", &path);
            planned.checked("it is there");
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("delete the role {path}")).at("delete", &path);
        answer(&attempt, vault.client.databases().delete_role(DeleteRoleRequest { path: path.clone() }).await)?;
        app.out.result(&serde_json::json!({ "deleted": path }), |_| format!("role {path} deleted"))?;
        Ok(Exit::Done)
    }
}
