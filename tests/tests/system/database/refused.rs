//! What cannot be, and what is nobody's business: refused with a word that helps, and nothing left behind.

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Error,
    proto::{
        CheckRoleRequest, DatabaseRole, DeleteConnectionRequest, DeleteRoleRequest, GetConnectionRequest, GetRoleRequest,
        IssueCredentialRequest, ListConnectionsRequest, ListRolesRequest, PutRoleRequest, RevokeLeaseRequest,
    },
};
use coffer_core::limits::{
    CA_BYTES_MAX, DATABASE_HOST_BYTES_MAX, DATABASE_NAME_BYTES_MAX, DATABASE_PASSWORD_BYTES_MAX, LEASE_LIFETIME_MAX,
};
use coffer_tests::{issuer::Pod, postgres::Postgres};

use super::{
    Databases, KEEPER_PASSWORD, PATH, Target, User, issue, on_every_kind, put_connection, put_role, reason, target::BROKEN,
};
use crate::vault::ADMIN;

on_every_kind! {
    a_statement_that_fails_is_told_to_who_configures_it_and_leaves_no_user,
    a_role_of_any_name_makes_users,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn connections_and_roles_that_cannot_work_are_refused() -> Result<()> {
    let databases = Databases::<Postgres>::new().await?;
    let admin = databases.vault.operator(ADMIN).await?;
    let good = || {
        let mut good = databases.target.connection();
        good.plaintext = true;
        good
    };
    let changed = |change: &dyn Fn(&mut coffer_client::proto::DatabaseConnection)| {
        let mut connection = good();
        change(&mut connection);
        connection
    };
    for (connection, password, expected) in [
        (changed(&|c| c.kind = "oracle".into()), KEEPER_PASSWORD, "INVALID_ARGUMENT"),
        (changed(&|c| c.host = String::new()), KEEPER_PASSWORD, "INVALID_ARGUMENT"),
        (changed(&|c| c.host = "h".repeat(DATABASE_HOST_BYTES_MAX + 1)), KEEPER_PASSWORD, "INVALID_ARGUMENT"),
        (changed(&|c| c.database = String::new()), KEEPER_PASSWORD, "INVALID_ARGUMENT"),
        (changed(&|c| c.kind = "mysql".into()), KEEPER_PASSWORD, "INVALID_ARGUMENT"),
        (changed(&|c| c.database = "d".repeat(DATABASE_NAME_BYTES_MAX + 1)), KEEPER_PASSWORD, "INVALID_ARGUMENT"),
        (changed(&|c| c.port = 65_536), KEEPER_PASSWORD, "INVALID_ARGUMENT"),
        (changed(&|c| c.connections = 33), KEEPER_PASSWORD, "INVALID_ARGUMENT"),
        (changed(&|c| c.plaintext = false), KEEPER_PASSWORD, "INVALID_ARGUMENT"),
        (changed(&|c| c.ca_pem = "x".repeat(CA_BYTES_MAX + 1)), KEEPER_PASSWORD, "INVALID_ARGUMENT"),
        (good(), &"p".repeat(DATABASE_PASSWORD_BYTES_MAX + 1), "INVALID_ARGUMENT"),
        (changed(&|c| c.host = "localhost".into()), "", "INVALID_ARGUMENT"),
        (good(), "another password", "TARGET_REFUSED"),
        (changed(&|c| c.database = "absent".into()), KEEPER_PASSWORD, "TARGET_REFUSED"),
        (changed(&|c| c.port = 1), KEEPER_PASSWORD, "TARGET_UNAVAILABLE"),
        (good(), "", "OK"),
    ] {
        let told = format!("{connection:?}");
        ensure!(reason(put_connection(&admin, connection, password).await) == expected, "{expected}: {told}");
    }

    let statement = |text: &str| DatabaseRole { creation_statements: vec![text.into()], ..Postgres::role() };
    for (role, expected) in [
        (DatabaseRole { creation_statements: vec![], ..Postgres::role() }, "INVALID_ARGUMENT"),
        (statement("CREATE ROLE {{name}} LOGIN"), "INVALID_ARGUMENT"),
        (statement("CREATE ROLE \"app\" PASSWORD '{{password}}'"), "INVALID_ARGUMENT"),
        (statement("CREATE ROLE {{name}} PASSWORD '{{password}}' {{other}}"), "INVALID_ARGUMENT"),
        (DatabaseRole { connection: "absent".into(), ..Postgres::role() }, "NOT_FOUND"),
        (DatabaseRole { default_ttl_seconds: 1_201, ..Postgres::role() }, "INVALID_ARGUMENT"),
        (DatabaseRole { max_ttl_seconds: LEASE_LIFETIME_MAX.as_secs() + 1, ..Postgres::role() }, "INVALID_ARGUMENT"),
        (DatabaseRole { max_ttl_seconds: LEASE_LIFETIME_MAX.as_secs(), ..Postgres::role() }, "OK"),
        (Postgres::role(), "OK"),
    ] {
        let told = format!("{role:?}");
        ensure!(reason(put_role(&admin, role).await) == expected, "{expected}: {told}");
    }
    ensure!(databases.users()?.is_empty());

    let path = || "database/config/main".to_owned();
    let shown = admin.databases().get_connection(GetConnectionRequest { path: path() }).await?.into_inner();
    ensure!(shown.connection.context("it is shown")? == good() && shown.rotated.is_none());
    let shown = admin.databases().get_role(GetRoleRequest { path: "database/roles/app".into() }).await?.into_inner();
    ensure!(shown.role.context("it is shown")? == Postgres::role());
    let names = admin.databases().list_connections(ListConnectionsRequest { path: "database/config".into() }).await?;
    ensure!(names.into_inner().names == ["main"]);
    let names = admin.databases().list_roles(ListRolesRequest { path: "database/roles".into() }).await?.into_inner().names;
    ensure!(names == ["app"]);
    for path in ["database", "database/config/main/more", "database/roles/main", "kv/config/main", "absent/config/main"] {
        let answer = admin.databases().get_connection(GetConnectionRequest { path: path.into() }).await;
        ensure!(["PATH_INVALID", "INVALID_ARGUMENT", "NOT_FOUND"].contains(&reason(answer).as_str()), "{path}");
    }
    ensure!(
        reason(admin.databases().delete_connection(DeleteConnectionRequest { path: path() }).await) == "CONFLICT",
        "a role needs it"
    );
    admin.databases().delete_role(DeleteRoleRequest { path: "database/roles/app".into() }).await?;
    admin.databases().delete_connection(DeleteConnectionRequest { path: path() }).await?;
    Ok(())
}

async fn a_statement_that_fails_is_told_to_who_configures_it_and_leaves_no_user<T: Target>() -> Result<()> {
    let databases = Databases::<T>::new().await?;
    let admin = databases.vault.operator(ADMIN).await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let check = async || admin.databases().check_role(CheckRoleRequest { path: "database/roles/app".into() }).await;
    check().await?;
    ensure!(databases.users()?.is_empty(), "what was made to try is ended");

    put_role(&admin, DatabaseRole { creation_statements: T::creation(true), ..T::role() }).await?;
    let told = check().await.err().context("there is no such thing")?;
    ensure!(told.message().contains(BROKEN), "{}", told.message());
    ensure!(!T::HAS_STATEMENTS || told.message().contains("statement 2"), "{}", told.message());
    let refused = Error::from(issue(&pod, 0).await.err().context("there is no such thing")?);
    ensure!(refused.reason() == "TARGET_REFUSED" && !refused.to_string().contains(BROKEN), "{refused}");
    databases.settles(&Default::default()).await?;

    // A user that cannot be ended by its role's statements is ended as far as it can be: it cannot log in.
    let stays = DatabaseRole { revocation_statements: vec!["DROP ROLE {{name}}_of_nobody".into()], ..T::role() };
    if !T::HAS_STATEMENTS {
        ensure!(reason(put_role(&admin, stays).await) == "INVALID_ARGUMENT");
        return Ok(());
    }
    put_role(&admin, stays).await?;
    ensure!(check().await.err().context("that is refused")?.message().contains("ending it"));
    let user = databases.issue(&pod).await?;
    let revoked = pod.leases().revoke_lease(RevokeLeaseRequest { id: user.lease.id.clone() }).await;
    ensure!(reason(revoked) == "TARGET_REFUSED");
    ensure!(!databases.target.lets_in(&user.name, &user.password)?);
    Ok(())
}

async fn a_role_of_any_name_makes_users<T: Target>() -> Result<()> {
    let databases = Databases::<T>::new().await?;
    let admin = databases.vault.operator(ADMIN).await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    databases.vault.grant_read("database/creds/**", "k8s:test/shop/api").await?;
    // Every character that a name may have, and as many as it may have.
    let alphabet = "a-._zyxwvutsrqponmlkjihgfedcba0123456789";
    for name in ["a", "a.b-c_d", "a--", "a..", "a__", alphabet, &format!("z{}", "-_.".repeat(21))] {
        let request = PutRoleRequest { path: format!("database/roles/{name}"), role: Some(T::role()) };
        admin.databases().put_role(request).await.with_context(|| name.to_owned())?;
        let request = IssueCredentialRequest { path: format!("database/creds/{name}"), ..Default::default() };
        let user = User::of(&pod.leases().issue_credential(request).await.with_context(|| name.to_owned())?.into_inner())?;
        databases.vault.server.canaries().add("a database password", &user.password);
        ensure!(databases.works(&user)?, "{name}: {}", user.name);
        pod.leases().revoke_lease(RevokeLeaseRequest { id: user.lease.id.clone() }).await?;
        ensure!(databases.users()?.is_empty(), "{name}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn only_who_was_granted_gets_a_user_and_the_same_request_gets_the_same_one() -> Result<()> {
    let databases = Databases::<Postgres>::new().await?;
    let admin = databases.vault.operator(ADMIN).await?;
    ensure!(reason(issue(&admin, 0).await) == "NOT_FOUND_OR_DENIED", "an admin sets up, and gets nothing");
    let other = databases.vault.workload(&Pod::new("shop", "other")?).await?;
    ensure!(reason(issue(&other, 0).await) == "NOT_FOUND_OR_DENIED");
    ensure!(databases.users()?.is_empty() && databases.leases().await?.is_empty());

    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let ask = async |path: &str, key: &str, ttl_seconds: u64| {
        let request =
            IssueCredentialRequest { path: path.into(), ttl_seconds, idempotency_key: key.into(), ..Default::default() };
        pod.leases().issue_credential(request).await
    };
    let first = User::of(&ask(PATH, "once", 0).await?.into_inner())?;
    let again = User::of(&ask(PATH, "once", 0).await?.into_inner())?;
    databases.vault.server.canaries().add("a database password", &first.password);
    ensure!(first.name == again.name && first.password == again.password && databases.users()?.len() == 1);
    ensure!(reason(ask(PATH, "once", 7).await) == "IDEMPOTENCY_MISMATCH");
    for path in ["database/creds/other", "database/creds", "database", "database/roles/app", "kv/creds/app"] {
        ensure!(reason(ask(path, "", 0).await) == "NOT_FOUND_OR_DENIED", "{path}");
    }
    databases.vault.grant_read("database/**", "k8s:test/shop/api").await?;
    databases.vault.grant_read("kv/**", "k8s:test/shop/api").await?;
    for (path, expected) in [
        ("database/creds/absent", "NOT_FOUND"),
        ("database/creds", "PATH_INVALID"),
        ("database/creds/app/more", "PATH_INVALID"),
        ("database/roles/app", "PATH_INVALID"),
        ("kv/creds/app", "INVALID_ARGUMENT"),
    ] {
        ensure!(reason(ask(path, "", 0).await) == expected, "{path}");
    }
    ensure!(databases.users()?.len() == 1);
    Ok(())
}
