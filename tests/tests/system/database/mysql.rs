//! What MariaDB and MySQL have of their own: a user is a name at several hosts, texts are read as a mode says, statements are logged.

use anyhow::{Context as _, Result, ensure};
use coffer_client::proto::{CheckRoleRequest, DatabaseRole, RevokeLeaseRequest, RotateConnectionRequest};
use coffer_tests::{
    issuer::Pod,
    mariadb::MariaDb,
    process::Process,
    wait::{self, PATIENCE},
};

use super::{Databases, KEEPER, KEEPER_PASSWORD, Target, issue, put_connection, put_role, reason};
use crate::vault::ADMIN;

fn role(creation: &[&str]) -> DatabaseRole {
    DatabaseRole { creation_statements: creation.iter().map(|&text| text.to_owned()).collect(), ..MariaDb::role() }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB: tests/run"]
async fn a_user_ends_at_every_host_and_nobody_whose_name_is_like_it() -> Result<()> {
    let databases = Databases::<MariaDb>::new().await?;
    let admin = databases.vault.operator(ADMIN).await?;
    let everywhere = [
        "CREATE USER '{{name}}'@'%' IDENTIFIED BY PASSWORD '{{password_hash}}', '{{name}}'@'10.0.0.0/255.0.0.0', '{{name}}'@'o''brien'",
        "GRANT SELECT ON shop.orders TO '{{name}}'@'%'",
    ];
    put_role(&admin, role(&everywhere)).await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let user = databases.issue(&pod).await?;
    let accounts = |name: &str| databases.target.sql(&format!("SELECT count(*) FROM mysql.user WHERE BINARY User = '{name}'"));
    ensure!(accounts(&user.name)? == "3");

    let (longer, upper) = (format!("{}x", user.name), user.name.to_uppercase());
    for other in [&longer, &upper] {
        databases.target.sql(&format!("CREATE USER '{other}' IDENTIFIED BY '{KEEPER_PASSWORD}'"))?;
    }
    let log = databases.vault.server.folder().join("idle.log");
    let mut open = Process::start(&mut databases.target.idle(&upper, KEEPER_PASSWORD), &log)?;
    wait::until(PATIENCE, "a session", || Ok((databases.target.idling(&upper)? == 1).then_some(())))?;

    pod.leases().revoke_lease(RevokeLeaseRequest { id: user.lease.id.clone() }).await?;
    ensure!(accounts(&user.name)? == "0");
    for other in [&longer, &upper] {
        ensure!(databases.target.lets_in(other, KEEPER_PASSWORD)?, "{other}");
    }
    ensure!(open.ended()?.is_none() && databases.target.idling(&upper)? == 1, "another's session was ended");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB: tests/run"]
async fn names_are_quoted_whatever_is_in_them_and_whatever_mode_the_server_is_in() -> Result<()> {
    let databases = Databases::<MariaDb>::new().await?;
    databases.target.sql("SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'")?;
    let admin = databases.vault.operator(ADMIN).await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    // Many statements in one text, and the password itself.
    let plain = r#"CREATE USER '{{name}}'@"%" IDENTIFIED BY "{{password}}"; GRANT SELECT ON shop.orders TO '{{name}}'"#;
    put_role(&admin, role(&[plain])).await?;
    let rotate = RotateConnectionRequest { path: "database/config/main".into() };
    for (name, quoted) in [
        (r"o'brien", "'o''brien'"),
        (r#"a"b`c"#, "'a\"b`c'"),
        (r"back\", r"'back\'"),
        (r"\'; DROP USER keeper; --", r"'\''; DROP USER keeper; --'"),
        ("größe %_", "'größe %_'"),
    ] {
        // In a mode without escapes, as the server's is now.
        databases.target.sql(&format!("RENAME USER {KEEPER} TO {quoted}")).with_context(|| name.to_owned())?;
        let mut connection = databases.target.connection();
        (connection.user, connection.plaintext) = (name.into(), true);
        put_connection(&admin, connection, KEEPER_PASSWORD).await.with_context(|| name.to_owned())?;
        admin.databases().rotate_connection(rotate.clone()).await.with_context(|| name.to_owned())?;
        ensure!(!databases.target.lets_in(name, KEEPER_PASSWORD)?, "{name}");
        let user = databases.issue(&pod).await.with_context(|| name.to_owned())?;
        ensure!(databases.works(&user)?, "{name}");
        pod.leases().revoke_lease(RevokeLeaseRequest { id: user.lease.id.clone() }).await?;
        databases
            .target
            .sql(&format!("RENAME USER {quoted} TO {KEEPER}; SET PASSWORD FOR {KEEPER} = PASSWORD('{KEEPER_PASSWORD}')"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB: tests/run"]
async fn a_vault_that_may_not_see_sessions_takes_none_for_ended() -> Result<()> {
    let databases = Databases::<MariaDb>::new().await?;
    let admin = databases.vault.operator(ADMIN).await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let user = databases.issue(&pod).await?;
    databases.target.sql(&format!("REVOKE PROCESS ON *.* FROM {KEEPER}; FLUSH PRIVILEGES"))?;
    // Rights hold for connections that are made from now on.
    let (mut connection, again) = (databases.target.connection(), CheckRoleRequest { path: "database/roles/app".into() });
    connection.plaintext = true;
    put_connection(&admin, connection, "").await?;
    let told = admin.databases().check_role(again).await.err().context("it cannot be seen that sessions end")?;
    ensure!(told.message().contains("PROCESS"), "{}", told.message());
    let revoked = pod.leases().revoke_lease(RevokeLeaseRequest { id: user.lease.id.clone() }).await;
    ensure!(reason(revoked) == "TARGET_REFUSED");
    ensure!(!databases.target.lets_in(&user.name, &user.password)?, "it is locked all the same");
    ensure!(reason(issue(&pod, 0).await) == "OK");
    Ok(())
}
