//! What Redis has of its own: users are rules, and are kept in a file or not at all.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use coffer_client::proto::{DatabaseRole, RevokeLeaseRequest, RotateConnectionRequest};
use coffer_tests::{issuer::Pod, redis::Redis};

use super::{Databases, KEEPER_PASSWORD, Target, put_connection, put_role, reason};
use crate::vault::{ADMIN, Vault};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: tests/run"]
async fn a_restart_of_a_server_with_a_users_file_brings_back_who_is_there_and_nobody_else() -> Result<()> {
    let mut databases = Databases::<Redis>::new().await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let (ends, stays) = (databases.issue(&pod).await?, databases.issue(&pod).await?);
    pod.leases().revoke_lease(RevokeLeaseRequest { id: ends.lease.id.clone() }).await?;
    databases.target.stop()?;
    databases.target.resume()?;
    ensure!(databases.users()? == BTreeSet::from([stays.name.clone()]));
    ensure!(databases.works(&stays)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: tests/run"]
async fn without_a_users_file_a_restart_ends_users_and_no_password_is_made_that_it_would_undo() -> Result<()> {
    let server = Redis::start_without_users_file()?;
    server.ask(&["CONFIG", "SET", "save", ""])?;
    let mut databases = Databases::with(Vault::quiet().await?, server, |connection| connection.plaintext = true).await?;
    let admin = databases.vault.operator(ADMIN).await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let (ends, gone) = (databases.issue(&pod).await?, databases.issue(&pod).await?);
    pod.leases().revoke_lease(RevokeLeaseRequest { id: ends.lease.id.clone() }).await?;
    ensure!(databases.users()? == BTreeSet::from([gone.name.clone()]) && databases.works(&gone)?);

    let rotate = RotateConnectionRequest { path: "database/config/main".into() };
    let told = admin.databases().rotate_connection(rotate).await.err().context("a restart would undo it")?;
    ensure!(told.message().contains("aclfile"), "{}", told.message());
    ensure!(databases.works(&databases.issue(&pod).await?)?, "the password of before holds");

    databases.target.stop()?;
    databases.target.resume()?;
    ensure!(databases.users()?.is_empty());
    databases.target.set_up()?;
    pod.leases().revoke_lease(RevokeLeaseRequest { id: gone.lease.id.clone() }).await?;
    ensure!(databases.works(&databases.issue(&pod).await?)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: tests/run"]
async fn what_a_role_of_redis_cannot_say_is_refused() -> Result<()> {
    let databases = Databases::<Redis>::new().await?;
    let admin = databases.vault.operator(ADMIN).await?;
    let rules = |rules: &[&str]| DatabaseRole {
        creation_statements: rules.iter().map(|&rule| rule.to_owned()).collect(),
        ..Redis::role()
    };
    for (rules, expected) in [
        (rules(&[]), "INVALID_ARGUMENT"),
        (rules(&["~* +@all nopass"]), "INVALID_ARGUMENT"),
        (rules(&["~* +@all", "on >secret"]), "INVALID_ARGUMENT"),
        (rules(&["~* +@all >{{password}}"]), "INVALID_ARGUMENT"),
        (rules(&["~{{name}}:* +@all"]), "OK"),
        (rules(&["~shop:* +@read (~{{name}}:* +@all)"]), "OK"),
    ] {
        let told = format!("{rules:?}");
        ensure!(reason(put_role(&admin, rules).await) == expected, "{expected}: {told}");
    }
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let user = databases.issue(&pod).await?;
    ensure!(databases.works(&user)?);
    let (own, other) = (format!("{}:x", user.name), "shop:x".to_owned());
    for (key, may) in [(own, true), (other, false)] {
        let told = databases.target.ask_as(&user.name, &user.password, &["SET", &key, "1"])?;
        ensure!(told.status.success() == may, "{key}: {told:?}");
    }

    let mut connection = databases.target.connection();
    (connection.plaintext, connection.database) = (true, "0".into());
    ensure!(reason(put_connection(&admin, connection, KEEPER_PASSWORD).await) == "INVALID_ARGUMENT");
    Ok(())
}
