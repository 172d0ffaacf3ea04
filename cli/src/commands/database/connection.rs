//! `coffer database connection`.

use clap::{Args, Subcommand};
use coffer_client::proto::{
    DatabaseConnection, DeleteConnectionRequest, GetConnectionRequest, GetConnectionResponse, ListConnectionsRequest,
    PutConnectionRequest, RotateConnectionRequest, SweepConnectionRequest,
};
use coffer_secret::SecretString;
use serde::Serialize;

use super::InMount;
use crate::{
    app::{App, Vault, answer},
    commands::{confirm, show_names},
    dry_run::{DryRun, Planned},
    exit::Exit,
    failure::{Failure, Result},
    input::{PASSWORD_BYTES_MAX, Source, TEXT_BYTES_MAX},
    output::{Table, pairs, rfc3339, since},
};

/// Manage how databases are reached
#[derive(Subcommand)]
pub(crate) enum Connection {
    Put(Put),
    Get(Get),
    #[command(visible_alias = "ls")]
    List(List),
    Rotate(Rotate),
    Sweep(Sweep),
    #[command(visible_alias = "rm")]
    Delete(Delete),
}

impl Connection {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Put(command) => command.run(app).await,
            Self::Get(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Rotate(command) => command.run(app).await,
            Self::Sweep(command) => command.run(app).await,
            Self::Delete(command) => command.run(app).await,
        }
    }
}

/// Make or change a connection, once it has been tried
///
/// The user makes other users: it needs the right to, and to pass on what they get (PostgreSQL: CREATEROLE; MySQL and MariaDB:
/// CREATE USER, PROCESS, CONNECTION ADMIN and SELECT ON mysql.user; Redis: +acl|setuser +acl|deluser +acl|getuser +acl|users
/// +acl|save +ping). Its password is asked for, hidden, unless there is one already. `coffer database connection rotate` then
/// gives it one that nobody knows.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer database connection put shop --host db.shop.svc --database shop --user coffer --ca-certificate @ca.pem
  coffer database connection put local --host 127.0.0.1 --database app --user coffer --plaintext --password-file -
  coffer database connection put stock --kind mysql --host stock.shop.svc --user coffer --ca-certificate @ca.pem
  coffer database connection put cache --kind redis --host cache.shop.svc --user coffer --ca-certificate @ca.pem")]
pub(crate) struct Put {
    /// The connection's name
    name: String,
    #[command(flatten)]
    mount: InMount,
    /// The kind of database; mysql is for MariaDB, too, and redis for Valkey
    #[arg(long, default_value = "postgresql", value_parser = ["postgresql", "mysql", "redis"])]
    kind: String,
    /// Host name or address
    #[arg(long)]
    host: String,
    /// Port [default: the kind's own: 5432, 3306 or 6379]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// The database's name: PostgreSQL needs it, MySQL does not, Redis has none
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// The user that makes other users
    #[arg(long, value_name = "NAME")]
    user: String,
    /// A file with the user's password on its only line; - for standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<String>,
    /// CA certificates (PEM) that the database's certificate must chain to: @FILE
    #[arg(long = "ca-certificate", visible_alias = "db-ca", value_name = "@FILE", required_unless_present = "plaintext")]
    database_ca: Option<String>,
    /// The name in the database's certificate, where the host is an address
    #[arg(long = "certificate-name", value_name = "NAME")]
    certificate_name: Option<String>,
    /// No TLS: for a database on the vault's own machine, or behind a tunnel of its own
    #[arg(long, conflicts_with_all = ["database_ca", "certificate_name"])]
    plaintext: bool,
    /// Connections at once: 1 to 32
    #[arg(long, value_name = "NUMBER", default_value_t = 4)]
    connections: u32,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Put {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.connection(&self.name);
        let database = database(&self.kind, self.database)?;
        let vault = app.vault()?;
        let source = self.password_file.as_deref().map(Source::of_file);
        let password = match (&source, get(&vault, &path).await) {
            (None, Ok(_)) => SecretString::copied_from(""),
            _ => {
                let prompt = format!("Password of {} in the database", self.user);
                app.input.line_or_hidden(source.as_ref(), &prompt, "use --password-file FILE", PASSWORD_BYTES_MAX)?
            }
        };
        let ca_pem = match &self.database_ca {
            None => String::new(),
            Some(file) => app.input.text(&Source::of_file(file), TEXT_BYTES_MAX)?.into_exposed(),
        };
        let connection = DatabaseConnection {
            kind: self.kind,
            host: self.host,
            port: self.port.unwrap_or(0).into(),
            database,
            user: self.user,
            ca_pem,
            server_name: self.certificate_name.unwrap_or_default(),
            plaintext: self.plaintext,
            connections: self.connections,
        };
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("write the connection {path}"), "DatabaseService/PutConnection");
            planned.say("path", &path);
            planned.say("kind", &connection.kind);
            planned.say("host", &connection.host);
            if !connection.database.is_empty() {
                planned.say("database", &connection.database);
            }
            planned.say("user", &connection.user);
            planned.checked("nothing was connected: the vault does that, when it is asked to write it");
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("write the connection {path}")).at("write", &path);
        let request =
            PutConnectionRequest { path: path.clone(), connection: Some(connection), password: password.into_exposed() };
        answer(&attempt, vault.client.databases().put_connection(request).await)?;
        app.out.result(&serde_json::json!({ "path": path }), |_| {
            format!("connection {path} works, and is written; next: coffer database connection rotate {}", self.name)
        })?;
        Ok(Exit::Done)
    }
}

/// The database's name, where the kind has one.
fn database(kind: &str, given: Option<String>) -> Result<String> {
    match (kind, given) {
        ("postgresql", None) => Err(Failure::usage("a connection to PostgreSQL names a database").next("add --database NAME")),
        ("redis", Some(_)) => {
            let failure = Failure::usage("Redis has no database to name: its users are those of all its databases");
            Err(failure.next("leave --database out; a role's rules say which keys a user may use"))
        }
        (_, given) => Ok(given.unwrap_or_default()),
    }
}

async fn get(vault: &Vault, path: &str) -> Result<GetConnectionResponse> {
    let attempt = vault.attempt(format!("show the connection {path}")).at("list", path);
    let request = GetConnectionRequest { path: path.to_owned() };
    Ok(answer(&attempt, vault.client.databases().get_connection(request).await)?.into_inner())
}

/// Show a connection, without its password
#[derive(Args)]
pub(crate) struct Get {
    /// The connection's name
    name: String,
    #[command(flatten)]
    mount: InMount,
}

#[derive(Serialize)]
struct ConnectionJson<'a> {
    path: &'a str,
    kind: &'a str,
    host: &'a str,
    port: u32,
    database: &'a str,
    user: &'a str,
    tls: bool,
    connections: u32,
    updated: Option<String>,
    rotated: Option<String>,
}

impl Get {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.connection(&self.name);
        let found = get(&app.vault()?, &path).await?;
        let connection = found.connection.unwrap_or_default();
        let json = ConnectionJson {
            path: &path,
            kind: &connection.kind,
            host: &connection.host,
            port: connection.port,
            database: &connection.database,
            user: &connection.user,
            tls: !connection.plaintext,
            connections: connection.connections,
            updated: rfc3339(found.updated.as_ref()),
            rotated: rfc3339(found.rotated.as_ref()),
        };
        app.out.result(&json, |view| {
            let port = if connection.port == 0 { String::new() } else { format!(":{}", connection.port) };
            let tls = match (connection.plaintext, connection.server_name.as_str()) {
                (true, _) => "none".to_owned(),
                (false, "") => "checked for the host".to_owned(),
                (false, name) => format!("checked for {name}"),
            };
            pairs(&[
                ("Path", path.clone()),
                ("Kind", connection.kind.clone()),
                (
                    "Database",
                    match connection.database.as_str() {
                        "" => format!("at {}{port}", connection.host),
                        database => format!("{database} at {}{port}", connection.host),
                    },
                ),
                ("User", connection.user.clone()),
                ("TLS", tls),
                ("Connections", connection.connections.to_string()),
                ("Written", format!("{} ago", since(found.updated.as_ref(), view))),
                (
                    "Password",
                    found.rotated.as_ref().map_or_else(
                        || "given by a person: coffer database connection rotate".to_owned(),
                        |rotated| format!("known to the vault alone since {}", since(Some(rotated), view)),
                    ),
                ),
            ])
        })?;
        Ok(Exit::Done)
    }
}

/// List connections
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    mount: InMount,
}

impl List {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.connections();
        let vault = app.vault()?;
        let attempt = vault.attempt("list connections").at("list", &path);
        let names = answer(&attempt, vault.client.databases().list_connections(ListConnectionsRequest { path }).await)?;
        let names = names.into_inner().names;
        show_names(app, &names, "No connections.")?;
        Ok(Exit::Done)
    }
}

/// Give the vault's own user a password that nobody knows
#[derive(Args)]
pub(crate) struct Rotate {
    /// The connection's name
    name: String,
    #[command(flatten)]
    mount: InMount,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Rotate {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.connection(&self.name);
        let vault = app.vault()?;
        let user = get(&vault, &path).await?.connection.unwrap_or_default().user;
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("give {user} a new password ({path})"), "DatabaseService/RotateConnection");
            planned.say("path", &path);
            planned.checked("the connection is there");
            return planned.show(app);
        }
        confirm(
            app,
            self.yes,
            &format!("Give {user} a password that only the vault knows? Whoever uses it now is kept out. [y/N] "),
        )?;
        let attempt = vault.attempt(format!("give {user} a new password")).at("write", &path);
        answer(&attempt, vault.client.databases().rotate_connection(RotateConnectionRequest { path: path.clone() }).await)?;
        app.out
            .result(&serde_json::json!({ "rotated": path }), |_| format!("{user} has a password that only the vault knows"))?;
        Ok(Exit::Done)
    }
}

/// Find users that this vault made and that no lease knows, and end them
///
/// There are none, unless leases were lost: a snapshot was restored that is older than they are. Never on a copy of a vault whose
/// original is still at work: the original's users look like that.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer database connection sweep shop --dry-run    # only find them
  coffer database connection sweep shop")]
pub(crate) struct Sweep {
    /// The connection's name
    name: String,
    #[command(flatten)]
    mount: InMount,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Only find them
    #[arg(long)]
    dry_run: bool,
}

async fn sweep(vault: &Vault, path: &str, dry_run: bool) -> Result<Vec<String>> {
    let attempt = vault.attempt(format!("look for users without a lease ({path})")).at("write", path);
    let request = SweepConnectionRequest { path: path.to_owned(), dry_run };
    Ok(answer(&attempt, vault.client.databases().sweep_connection(request).await)?.into_inner().users)
}

impl Sweep {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.connection(&self.name);
        let vault = app.vault()?;
        let mut users = sweep(&vault, &path, true).await?;
        if let (false, Some(first)) = (self.dry_run, users.first()) {
            let question = format!("End {} users of {path} that no lease knows, {first} among them? [y/N] ", users.len());
            confirm(app, self.yes, &question)?;
            users = sweep(&vault, &path, false).await?;
        }
        app.out.result(&serde_json::json!({ "path": path, "users": users, "ended": !self.dry_run }), |view| {
            let mut table = Table::new(&["USER"]);
            users.iter().for_each(|user| table.row([user.clone()]));
            table.render(view, "No users without a lease.")
        })?;
        Ok(Exit::Done)
    }
}

/// Delete a connection that no role and no lease needs
#[derive(Args)]
pub(crate) struct Delete {
    /// The connection's name
    name: String,
    #[command(flatten)]
    mount: InMount,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Delete {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.connection(&self.name);
        let vault = app.vault()?;
        if self.dry_run.asked() {
            get(&vault, &path).await?;
            let mut planned = Planned::new(format!("delete the connection {path}"), "DatabaseService/DeleteConnection");
            planned.say("path", &path);
            planned.checked("it is there");
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("delete the connection {path}")).at("delete", &path);
        answer(&attempt, vault.client.databases().delete_connection(DeleteConnectionRequest { path: path.clone() }).await)?;
        app.out.result(&serde_json::json!({ "deleted": path }), |_| format!("connection {path} deleted"))?;
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_has_databases_names_one_and_another_does_not() {
        let named = |kind, given: Option<&str>| database(kind, given.map(str::to_owned));
        assert_eq!(named("postgresql", Some("shop")).unwrap(), "shop");
        assert_eq!(named("mysql", None).unwrap(), "");
        assert_eq!(named("mysql", Some("shop")).unwrap(), "shop");
        assert_eq!(named("redis", None).unwrap(), "");
        for (kind, given) in [("postgresql", None), ("redis", Some("0"))] {
            assert_eq!(named(kind, given).unwrap_err().exit, Exit::Usage);
        }
    }
}
