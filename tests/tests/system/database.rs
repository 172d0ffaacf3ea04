//! Users of databases: made for whoever may have one, in a real PostgreSQL, and ended for certain.

mod agent;
mod ends;
mod faults;
mod refused;
mod static_roles;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client,
    proto::{
        CreateGrantRequest, CreateMountRequest, DatabaseConnection, DatabaseRole, IssueCredentialRequest,
        IssueCredentialResponse, Lease, ListLeasesRequest, PutConnectionRequest, PutRoleRequest,
    },
};
use coffer_tests::postgres::Postgres;
use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::vault::{ADMIN, OFFICER, Vault, reason};

/// The vault's user in the database: no superuser.
const KEEPER: &str = "keeper";
const KEEPER_PASSWORD: &str = "the password that a person chose for keeper";
const PATH: &str = "database/creds/app";
/// How long what takes a moment may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// What every user's name begins with.
const USERS: &str = "cf";

/// A vault with a mount of databases, a connection and a role.
struct Databases {
    vault: Vault,
    postgres: Postgres,
}

impl Databases {
    async fn new() -> Result<Self> {
        Self::with(Vault::quiet().await?, Postgres::start()?, |connection| connection.plaintext = true).await
    }

    async fn with(vault: Vault, postgres: Postgres, protect: impl FnOnce(&mut DatabaseConnection)) -> Result<Self> {
        vault.server.canaries().add("the password of the vault's user", KEEPER_PASSWORD);
        postgres.sql(&format!(
            "CREATE ROLE {KEEPER} LOGIN CREATEROLE PASSWORD '{KEEPER_PASSWORD}';
             CREATE TABLE public.orders (id int); INSERT INTO orders VALUES (1), (2);
             GRANT SELECT ON orders TO {KEEPER} WITH GRANT OPTION;
             GRANT CREATE ON SCHEMA public TO {KEEPER} WITH GRANT OPTION"
        ))?;
        let admin = vault.operator(ADMIN).await?;
        let mount = CreateMountRequest { name: "database".into(), engine: "database".into(), ..Default::default() };
        admin.mounts().create_mount(mount).await?;
        let mut connection = connection(&postgres);
        protect(&mut connection);
        let databases = Self { vault, postgres };
        put_connection(&admin, connection, KEEPER_PASSWORD).await?;
        put_role(&admin, role()).await?;
        databases.grant("k8s:test/shop/api").await?;
        Ok(databases)
    }

    async fn grant(&self, principal: &str) -> Result<()> {
        let request = CreateGrantRequest {
            actions: vec!["read".into()],
            path: PATH.into(),
            principal: principal.into(),
            idempotency_key: String::new(),
        };
        self.vault.operator(OFFICER).await?.grants().create_grant(request).await?;
        Ok(())
    }

    /// A user of the database for a client.
    async fn issue(&self, client: &Client) -> Result<User> {
        let answer = issue(client, 0).await?;
        let user = User::of(&answer)?;
        self.vault.server.canaries().add("a database password", &user.password);
        Ok(user)
    }

    /// The users that the vault made and that are there.
    fn users(&self) -> Result<BTreeSet<String>> {
        let users = self.postgres.sql(&format!("SELECT rolname FROM pg_roles WHERE starts_with(rolname, '{USERS}')"))?;
        Ok(users.lines().map(str::to_owned).collect())
    }

    /// Waits until exactly these users are there, and nobody else's sessions.
    async fn settles(&self, expected: &BTreeSet<String>) -> Result<()> {
        let end = Instant::now() + DEADLINE * 2;
        loop {
            let found = self.users()?;
            let sessions = self.postgres.sql(&format!(
                "SELECT count(*) FROM pg_stat_activity a WHERE starts_with(a.usename, '{USERS}')
                 AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = a.usename AND r.rolcanlogin)"
            ))?;
            if found == *expected && sessions == "0" {
                return Ok(());
            }
            let left: Vec<_> = found.difference(expected).collect();
            let missing: Vec<_> = expected.difference(&found).collect();
            ensure!(Instant::now() < end, "too many: {left:?}; missing: {missing:?}; sessions: {sessions}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        let admin = self.vault.operator(ADMIN).await?;
        let (mut leases, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListLeasesRequest { page_size: 7, page_token, ..Default::default() };
            let page = admin.leases().list_leases(request).await?.into_inner();
            leases.extend(page.leases);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(leases);
            }
        }
    }
}

fn connection(postgres: &Postgres) -> DatabaseConnection {
    DatabaseConnection {
        kind: "postgresql".into(),
        host: "127.0.0.1".into(),
        port: postgres.port().into(),
        database: "postgres".into(),
        user: KEEPER.into(),
        ..Default::default()
    }
}

fn role() -> DatabaseRole {
    DatabaseRole {
        connection: "main".into(),
        creation_statements: vec![
            "CREATE ROLE {{name}} LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'".into(),
            "GRANT SELECT ON orders TO {{name}}; GRANT CREATE ON SCHEMA public TO {{name}}".into(),
        ],
        default_ttl_seconds: 600,
        max_ttl_seconds: 1_200,
        ..Default::default()
    }
}

async fn put_connection(client: &Client, connection: DatabaseConnection, password: &str) -> Result<(), Status> {
    let request =
        PutConnectionRequest { path: "database/config/main".into(), connection: Some(connection), password: password.into() };
    client.databases().put_connection(request).await.map(drop)
}

async fn put_role(client: &Client, role: DatabaseRole) -> Result<(), Status> {
    let request = PutRoleRequest { path: "database/roles/app".into(), role: Some(role) };
    client.databases().put_role(request).await.map(drop)
}

async fn issue(client: &Client, ttl_seconds: u64) -> Result<IssueCredentialResponse, Status> {
    let request = IssueCredentialRequest { path: PATH.into(), ttl_seconds, ..Default::default() };
    Ok(client.leases().issue_credential(request).await?.into_inner())
}

/// A user that was made.
#[derive(Debug, Clone)]
struct User {
    name: String,
    password: String,
    lease: Lease,
}

impl User {
    fn of(answer: &IssueCredentialResponse) -> Result<Self> {
        let field = |name: &str| {
            let value = answer.fields.get(name).with_context(|| format!("no {name}"))?;
            anyhow::Ok(String::from_utf8(value.clone())?)
        };
        let lease = answer.lease.clone().context("a credential has a lease")?;
        Ok(Self { name: field("username")?, password: field("password")?, lease })
    }

    fn expires(&self) -> i64 {
        self.lease.expires.as_ref().map_or(0, |time| time.seconds)
    }
}
