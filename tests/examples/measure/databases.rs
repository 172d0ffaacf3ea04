//! Databases whose users have leases.

use anyhow::{Context as _, Result};
use coffer_client::{
    Client,
    proto::{
        CreateMountRequest, DatabaseConnection, DatabaseRole, IssueCredentialRequest, Lease, PutConnectionRequest, PutRoleRequest,
    },
};
use coffer_databases::{Connection, Kind, Protection};
use coffer_secret::SecretString;
use coffer_tests::{postgres::Postgres, redis::Redis};

use crate::vault::Vault;

/// Where users are.
pub(crate) const CREDENTIALS: &str = "database/creds/app";
/// The vault's user, and the password that it has in what is gone after the measurement.
const KEEPER: &str = "keeper";
const PASSWORD: &str = "for-a-measurement-only";
/// How users are made in PostgreSQL: as in the tests, and in the documentation.
const CREATION: [&str; 2] = [
    "CREATE ROLE {{name}} LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'",
    // Rights of a role: a table remembers whom it gave rights to in one row of 8 KiB, which a few thousand users fill.
    "GRANT readers TO {{name}}",
];
const DAY_SECS: u64 = 24 * 60 * 60;

/// A PostgreSQL with the vault's user.
pub(crate) fn postgres() -> Result<Postgres> {
    let postgres = Postgres::start()?;
    postgres.sql(&format!(
        "CREATE ROLE {KEEPER} LOGIN CREATEROLE PASSWORD '{PASSWORD}'; CREATE TABLE public.orders (id int);
         CREATE ROLE readers; GRANT SELECT ON orders TO readers; GRANT readers TO {KEEPER} WITH ADMIN OPTION"
    ))?;
    Ok(postgres)
}

/// A Redis with the vault's user, that keeps its users in memory alone: it writes the file of its users anew for each of them.
pub(crate) fn redis() -> Result<Redis> {
    let redis = Redis::start_without_users_file()?;
    let password = format!(">{PASSWORD}");
    redis.ask(&["ACL", "SETUSER", KEEPER, "on", &password, "+acl|setuser", "+acl|deluser", "+acl|save", "+ping", "~nothing"])?;
    Ok(redis)
}

/// The vault's own way to this PostgreSQL, without a vault.
pub(crate) fn bare(postgres: &Postgres) -> Connection {
    Connection {
        kind: Kind::Postgres,
        host: "127.0.0.1".to_owned(),
        port: postgres.port(),
        database: "postgres".to_owned(),
        user: KEEPER.to_owned(),
        password: SecretString::copied_from(PASSWORD),
        protection: Protection::None,
        connections: coffer_databases::CONNECTIONS_DEFAULT,
    }
}

/// The statements that make a user in PostgreSQL.
pub(crate) fn creation() -> Vec<String> {
    CREATION.map(str::to_owned).into()
}

/// Has a vault make users in a PostgreSQL.
pub(crate) async fn use_postgres(vault: &Vault, postgres: &Postgres) -> Result<()> {
    let connection = DatabaseConnection { kind: "postgresql".into(), database: "postgres".into(), ..connection(postgres.port()) };
    set_up(vault, connection, creation()).await
}

/// Has a vault make users in a Redis.
pub(crate) async fn use_redis(vault: &Vault, redis: &Redis) -> Result<()> {
    let connection = DatabaseConnection { kind: "redis".into(), ..connection(redis.port()) };
    set_up(vault, connection, vec!["~shop:*".into(), "+@read".into()]).await
}

fn connection(port: u16) -> DatabaseConnection {
    DatabaseConnection {
        host: "127.0.0.1".into(),
        port: port.into(),
        user: KEEPER.into(),
        plaintext: true,
        ..DatabaseConnection::default()
    }
}

async fn set_up(vault: &Vault, connection: DatabaseConnection, creation: Vec<String>) -> Result<()> {
    let admin = vault.admin();
    let mount = CreateMountRequest { name: "database".into(), engine: "database".into(), ..CreateMountRequest::default() };
    admin.mounts().create_mount(mount).await?;
    let path = "database/config/main".into();
    let connection = PutConnectionRequest { path, connection: Some(connection), password: PASSWORD.into() };
    admin.databases().put_connection(connection).await?;
    let role = DatabaseRole {
        connection: "main".into(),
        creation_statements: creation,
        default_ttl_seconds: DAY_SECS,
        max_ttl_seconds: DAY_SECS,
        ..DatabaseRole::default()
    };
    admin.databases().put_role(PutRoleRequest { path: "database/roles/app".into(), role: Some(role) }).await?;
    Ok(())
}

/// A user: its name, password and lease.
pub(crate) async fn issue(client: &Client, ttl_seconds: u64) -> Result<(String, String, Lease)> {
    let request = IssueCredentialRequest { path: CREDENTIALS.into(), ttl_seconds, ..IssueCredentialRequest::default() };
    let answer = client.leases().issue_credential(request).await?.into_inner();
    let field = |name: &str| anyhow::Ok(String::from_utf8(answer.fields.get(name).context("a field")?.clone())?);
    Ok((field("username")?, field("password")?, answer.lease.clone().context("a lease")?))
}
