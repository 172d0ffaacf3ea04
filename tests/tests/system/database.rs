//! Users of databases: made for whoever may have one, in real servers, and ended for certain.

mod agent;
mod cuts;
mod due;
mod ends;
mod faults;
mod mysql;
mod port;
mod redis;
mod refused;
mod static_roles;
mod store_faults;
mod storm;
mod stuck;
mod target;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client,
    proto::{
        CreateGrantRequest, CreateMountRequest, CreateOperatorRequest, DatabaseConnection, DatabaseRole, IssueCredentialRequest,
        IssueCredentialResponse, Lease, ListLeasesRequest, PutConnectionRequest, PutRoleRequest,
    },
};
use coffer_tests::postgres::Postgres;
use tokio::time::{Instant, sleep};
use tonic::Status;

use self::target::{KEEPER, KEEPER_PASSWORD, Target, on_every_kind};
use crate::vault::{ADMIN, OFFICER, PASSWORD, Vault, reason};

const PATH: &str = "database/creds/app";
/// An operator without roles.
const BOB: &str = "bob";
/// How long what takes a moment may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// A vault with a mount of databases, a connection and a role.
struct Databases<T = Postgres> {
    vault: Vault,
    target: T,
}

impl<T: Target> Databases<T> {
    async fn new() -> Result<Self> {
        Self::with(Vault::quiet().await?, T::start()?, |connection| connection.plaintext = true).await
    }

    async fn with(vault: Vault, target: T, protect: impl FnOnce(&mut DatabaseConnection)) -> Result<Self> {
        vault.server.canaries().add("the password of the vault's user", KEEPER_PASSWORD);
        target.set_up()?;
        let admin = vault.operator(ADMIN).await?;
        let mount = CreateMountRequest { name: "database".into(), engine: "database".into(), ..Default::default() };
        admin.mounts().create_mount(mount).await?;
        let mut connection = target.connection();
        protect(&mut connection);
        put_connection(&admin, connection, KEEPER_PASSWORD).await?;
        put_role(&admin, T::role()).await?;
        let databases = Self { vault, target };
        databases.grant("k8s:test/shop/api").await?;
        Ok(databases)
    }

    /// Lets an operator without roles have users, whose logins do not hang on a cluster's clock.
    async fn let_bob(&self) -> Result<()> {
        let bob = CreateOperatorRequest { name: BOB.into(), password: PASSWORD.into(), ..Default::default() };
        self.vault.operator(ADMIN).await?.operators().create_operator(bob).await?;
        self.grant(&format!("operator:{BOB}")).await
    }

    async fn grant(&self, principal: &str) -> Result<()> {
        let request = CreateGrantRequest {
            actions: vec!["read".into()],
            path: PATH.into(),
            principal: principal.into(),
            idempotency_key: String::new(),
            require: Vec::new(),
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
        self.target.users()
    }

    /// Whether a user can do what its role says.
    fn works(&self, user: &User) -> Result<bool> {
        self.target.works(&user.name, &user.password)
    }

    /// Waits until exactly these users are there, and nobody else's sessions.
    async fn settles(&self, expected: &BTreeSet<String>) -> Result<()> {
        let end = Instant::now() + DEADLINE * 2;
        loop {
            let (found, strays) = (self.users()?, self.target.strays()?);
            if found == *expected && strays == 0 {
                return Ok(());
            }
            let left: Vec<_> = found.difference(expected).collect();
            let missing: Vec<_> = expected.difference(&found).collect();
            ensure!(Instant::now() < end, "too many: {left:?}; missing: {missing:?}; sessions: {strays}");
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
}
