//! Static roles: users that the database has already, whose passwords the vault changes without anybody being kept out.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client, Event,
    proto::{
        AcknowledgeCredentialRequest, CreateGrantRequest, DatabaseStaticRole, DeleteConnectionRequest, DeleteStaticRoleRequest,
        GetStaticRoleRequest, GetStaticRoleResponse, IssueCredentialRequest, ListStaticRolesRequest, PutStaticRoleRequest,
        RotateStaticRoleRequest,
    },
};
use coffer_tests::{issuer::Pod, postgres::Postgres};
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use super::{DEADLINE, Databases, KEEPER, Target, on_every_kind, reason};
use crate::{
    api_server::Watched,
    vault::{ADMIN, OFFICER},
};

const ROLE: &str = "database/static-roles/reports";
pub(super) const CREDENTIAL: &str = "database/static-creds/reports";

/// A credential as it was given out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    user: String,
    password: String,
    version: u64,
}

impl<T: Target> Databases<T> {
    /// With two users of the database that a person made.
    pub(super) async fn with_static_users() -> Result<Self> {
        Self::new().await?.made_static_users("k8s:test/shop/api").await
    }

    async fn made_static_users(self, reader: &str) -> Result<Self> {
        self.target.add_reader("reports_a", "a-person-knows-this")?;
        self.target.add_reader("reports_b", "and-this")?;
        let request = CreateGrantRequest {
            actions: vec!["read".into()],
            path: CREDENTIAL.into(),
            principal: reader.into(),
            idempotency_key: String::new(),
            require: Vec::new(),
        };
        self.vault.operator(OFFICER).await?.grants().create_grant(request).await?;
        Ok(self)
    }

    pub(super) async fn put_static(&self, role: DatabaseStaticRole) -> Result<(), Status> {
        let request = PutStaticRoleRequest { path: ROLE.into(), role: Some(role) };
        let admin = self.vault.operator(ADMIN).await.map_err(|error| Status::internal(error.to_string()))?;
        admin.databases().put_static_role(request).await.map(drop)
    }

    async fn static_role(&self) -> Result<GetStaticRoleResponse> {
        let admin = self.vault.operator(ADMIN).await?;
        Ok(admin.databases().get_static_role(GetStaticRoleRequest { path: ROLE.into() }).await?.into_inner())
    }

    /// Waits until the role is as it should be.
    pub(super) async fn static_role_is(&self, wanted: impl Fn(&GetStaticRoleResponse) -> bool) -> Result<GetStaticRoleResponse> {
        let end = Instant::now() + DEADLINE;
        loop {
            let role = self.static_role().await?;
            if wanted(&role) {
                return Ok(role);
            }
            ensure!(Instant::now() < end, "{role:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) async fn rotate(&self, at_once: bool) -> Result<u64, Status> {
        let admin = self.vault.operator(ADMIN).await.map_err(|error| Status::internal(error.to_string()))?;
        let request = RotateStaticRoleRequest { path: ROLE.into(), at_once };
        Ok(admin.databases().rotate_static_role(request).await?.into_inner().version)
    }

    async fn given(&self, client: &Client) -> Result<Given> {
        let request = IssueCredentialRequest { path: CREDENTIAL.into(), ..Default::default() };
        let answer = client.leases().issue_credential(request).await?.into_inner();
        ensure!(answer.lease.is_none(), "nobody has to end it");
        let field = |name: &str| anyhow::Ok(String::from_utf8(answer.fields.get(name).context("a field")?.clone())?);
        let given = Given { user: field("username")?, password: field("password")?, version: answer.version };
        self.vault.server.canaries().add("a static password", &given.password);
        Ok(given)
    }

    fn lets_in(&self, given: &Given) -> Result<bool> {
        self.target.works(&given.user, &given.password)
    }
}

pub(super) fn two_users() -> DatabaseStaticRole {
    DatabaseStaticRole { connection: "main".into(), users: vec!["reports_a".into(), "reports_b".into()], ..Default::default() }
}

async fn acknowledge(client: &Client, version: u64) -> Result<(), Status> {
    let request = AcknowledgeCredentialRequest { path: CREDENTIAL.into(), version };
    client.leases().acknowledge_credential(request).await.map(drop)
}

on_every_kind! {
    the_user_before_lives_until_everybody_who_had_it_has_acknowledged_the_next,
}

async fn the_user_before_lives_until_everybody_who_had_it_has_acknowledged_the_next<T: Target>() -> Result<()> {
    let databases = Databases::<T>::with_static_users().await?;
    databases.put_static(two_users()).await?;
    let first = databases.static_role_is(|role| role.version == 1).await?;
    ensure!(first.user == "reports_a" && first.previous_user.is_empty(), "{first:?}");
    let person = Given { user: "reports_a".into(), password: "a-person-knows-this".into(), version: 0 };
    ensure!(!databases.lets_in(&person)?, "a person knew that one");

    let (one, two) =
        (databases.vault.workload(&Pod::new("shop", "api")?).await?, databases.vault.workload(&Pod::new("shop", "api")?).await?);
    let before = databases.given(&one).await?;
    ensure!(before.version == 1 && databases.lets_in(&before)? && databases.given(&two).await? == before);
    let mut watch = one.watch(vec![CREDENTIAL.to_owned()]).await?;
    let mut told = async || timeout(DEADLINE, watch.next()).await?.map_err(anyhow::Error::from);
    ensure!(told().await? == Some(Event::Changed { path: CREDENTIAL.into(), version: 1 }));

    ensure!(databases.rotate(false).await? == 2);
    ensure!(told().await? == Some(Event::Changed { path: CREDENTIAL.into(), version: 2 }), "who follows it is told");
    let after = databases.given(&one).await?;
    ensure!(after.user == "reports_b" && after.version == 2 && databases.lets_in(&after)?, "{after:?}");
    let role = databases.static_role().await?;
    ensure!(role.previous_user == "reports_a" && role.waiting_for == 2, "{role:?}");
    ensure!(reason(databases.rotate(false).await) == "CONFLICT", "somebody may still use the one before");

    acknowledge(&one, 2).await?;
    databases.static_role_is(|role| role.waiting_for == 1).await?;
    ensure!(databases.lets_in(&before)?, "another still uses it");
    ensure!(reason(acknowledge(&two, 3).await) == "INVALID_ARGUMENT", "there is no such version");
    acknowledge(&two, 2).await?;
    databases.static_role_is(|role| role.previous_user.is_empty()).await?;
    ensure!(!databases.lets_in(&before)?, "nobody uses it any more");
    ensure!(databases.lets_in(&after)?);
    for event in ["static_role_rotated", "static_role_retired"] {
        ensure!(databases.vault.has_logged(&format!(r#""event":"{event}""#)).await?, "{event}");
    }
    let log = databases.target.log()?;
    ensure!(![&before.password, &after.password].iter().any(|password| log.contains(password.as_str())));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn who_does_not_acknowledge_is_waited_for_until_the_grace_is_over_and_no_longer() -> Result<()> {
    let mut databases = Databases::<Postgres>::with_static_users().await?;
    let pod = Pod::new("shop", "api")?;
    databases.put_static(DatabaseStaticRole { grace_seconds: 3_600, ..two_users() }).await?;
    databases.static_role_is(|role| role.version == 1).await?;
    let before = databases.given(&databases.vault.workload(&pod).await?).await?;
    // Who was given it before a restart is not known afterwards.
    databases.vault.restart().await?;
    databases.rotate(false).await?;
    let client = databases.vault.workload(&pod).await?;
    databases.given(&client).await?;
    acknowledge(&client, 2).await?;
    ensure!(databases.rotate(false).await.is_err_and(|status| reason(Err::<(), _>(status)) == "CONFLICT"));
    ensure!(databases.lets_in(&before)?);

    ensure!(databases.rotate(true).await? == 3, "unless somebody says so");
    let role = databases.static_role().await?;
    ensure!(role.previous_user.is_empty() && role.user == "reports_a", "{role:?}");
    ensure!(!databases.lets_in(&before)?);

    databases.put_static(DatabaseStaticRole { grace_seconds: 1, ..two_users() }).await?;
    ensure!(databases.static_role().await?.version == 3, "other times are no other credential");
    let before = databases.given(&client).await?;
    ensure!(databases.rotate(false).await? == 4);
    databases.static_role_is(|role| role.previous_user.is_empty()).await?;
    ensure!(!databases.lets_in(&before)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_pod_that_is_gone_is_not_waited_for() -> Result<()> {
    // The others are there so that one pod alone is no mass death.
    let Watched { vault, fake, others: _others, token: _token } = Watched::new().await?;
    let postgres = Postgres::start()?;
    let databases = Databases::with(vault, postgres, |connection| connection.plaintext = true)
        .await?
        .made_static_users("k8s:watched/shop/api")
        .await?;
    databases.put_static(DatabaseStaticRole { grace_seconds: 3_600, ..two_users() }).await?;
    databases.static_role_is(|role| role.version == 1).await?;
    let (pod, client) = Watched::pod_of(&databases.vault, &fake).await?;
    databases.given(&client).await?;
    databases.rotate(false).await?;
    databases.static_role_is(|role| role.waiting_for == 1).await?;
    fake.delete(&pod);
    databases.static_role_is(|role| role.previous_user.is_empty()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn whenever_the_vault_is_killed_in_a_rotation_what_it_gives_out_lets_in() -> Result<()> {
    let mut databases = Databases::<Postgres>::with_static_users().await?;
    for users in [vec!["reports_a".to_owned()], two_users().users] {
        databases.put_static(DatabaseStaticRole { users, ..two_users() }).await?;
        let mut version = databases.static_role_is(|role| !role.user.is_empty()).await?.version;
        for kill in 0..6_u64 {
            let admin = databases.vault.operator(ADMIN).await?;
            let rotate = RotateStaticRoleRequest { path: ROLE.into(), at_once: true };
            let under_way = tokio::spawn(async move { admin.databases().rotate_static_role(rotate).await.is_ok() });
            sleep(Duration::from_millis(kill * 3)).await;
            databases.vault.server.kill()?;
            let heard = under_way.await?;
            databases.vault.restart().await?;
            let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
            let given = databases.given(&pod).await?;
            ensure!(databases.lets_in(&given)?, "kill {kill}: {} of version {}", given.user, given.version);
            ensure!(given.version >= version + u64::from(heard), "it never goes back");
            version = given.version;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_database_that_is_away_keeps_the_credential_as_it_is_and_is_tried_again() -> Result<()> {
    let mut databases = Databases::<Postgres>::with_static_users().await?;
    databases.put_static(two_users()).await?;
    databases.static_role_is(|role| role.version == 1).await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let given = databases.given(&pod).await?;
    databases.target.stop()?;
    ensure!(reason(databases.rotate(false).await) == "TARGET_UNAVAILABLE");
    ensure!(databases.given(&pod).await? == given);
    let role = databases.static_role().await?;
    ensure!(role.version == 1 && !role.last_error.is_empty(), "{role:?}");
    databases.target.resume()?;
    ensure!(databases.lets_in(&given)?);
    ensure!(databases.rotate(false).await? == 2);
    ensure!(databases.static_role().await?.last_error.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn what_cannot_be_a_static_role_is_refused_and_what_a_role_needs_stays() -> Result<()> {
    let databases = Databases::<Postgres>::with_static_users().await?;
    let refused = async |users: &[&str]| {
        let users = users.iter().map(|&user| user.to_owned()).collect();
        reason(databases.put_static(DatabaseStaticRole { users, ..two_users() }).await)
    };
    ensure!(refused(&["nobody_made_this"]).await == "TARGET_REFUSED");
    ensure!(refused(&["reports_a", "reports_a"]).await == "INVALID_ARGUMENT");
    ensure!(refused(&[KEEPER]).await == "INVALID_ARGUMENT", "that is the vault's own");
    ensure!(refused(&[]).await == "INVALID_ARGUMENT");
    let elsewhere = databases.put_static(DatabaseStaticRole { connection: "other".into(), ..two_users() }).await;
    ensure!(reason(elsewhere) == "NOT_FOUND");
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let request = IssueCredentialRequest { path: CREDENTIAL.into(), ..Default::default() };
    ensure!(reason(pod.leases().issue_credential(request).await) == "NOT_FOUND");

    databases.put_static(two_users()).await?;
    let admin = databases.vault.operator(ADMIN).await?;
    let other = PutStaticRoleRequest {
        path: "database/static-roles/other".into(),
        role: Some(DatabaseStaticRole { users: vec!["reports_b".into()], ..two_users() }),
    };
    ensure!(reason(admin.databases().put_static_role(other).await) == "CONFLICT", "two would give it passwords by turns");
    let delete = DeleteConnectionRequest { path: "database/config/main".into() };
    ensure!(reason(admin.databases().delete_connection(delete).await) == "CONFLICT");
    let list = ListStaticRolesRequest { path: "database/static-roles".into() };
    ensure!(admin.databases().list_static_roles(list).await?.into_inner().names == ["reports"]);
    databases.static_role_is(|role| role.version == 1).await?;
    let given = databases.given(&pod).await?;
    admin.databases().delete_static_role(DeleteStaticRoleRequest { path: ROLE.into() }).await?;
    ensure!(databases.lets_in(&given)?, "its users stay");
    let request = IssueCredentialRequest { path: CREDENTIAL.into(), ..Default::default() };
    ensure!(reason(pod.leases().issue_credential(request).await) == "NOT_FOUND");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn nobody_is_told_of_a_static_credential_who_may_not_read_it() -> Result<()> {
    let databases = Databases::<Postgres>::with_static_users().await?;
    databases.put_static(two_users()).await?;
    databases.static_role_is(|role| role.version == 1).await?;
    let stranger = databases.vault.workload(&Pod::new("other", "api")?).await?;
    let request = IssueCredentialRequest { path: CREDENTIAL.into(), ..Default::default() };
    ensure!(reason(stranger.leases().issue_credential(request).await) == "NOT_FOUND_OR_DENIED");
    ensure!(reason(acknowledge(&stranger, 1).await) == "NOT_FOUND_OR_DENIED");
    ensure!(stranger.watch(vec![CREDENTIAL.to_owned()]).await.is_err());
    Ok(())
}
