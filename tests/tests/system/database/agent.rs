//! An agent that holds a user of a database: renewed, replaced before its end, and never away from who reads the files.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use coffer_client::proto::{DatabaseRole, DatabaseStaticRole, RevokeLeasesRequest};
use coffer_tests::{
    issuer::Pod,
    memory,
    postgres::Postgres,
    process::{Process, Signal},
    programs::Programs,
    wait::{self, PATIENCE},
};
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};

use super::{
    Databases, PATH, Target as _, put_role,
    static_roles::{CREDENTIAL, two_users},
};
use crate::vault::{ADMIN, TOKEN_LIFETIME};

/// How often the user must have changed.
const USERS: usize = 4;

/// The user that the files name.
fn user(files: &Path) -> Option<(String, String)> {
    let text = fs::read_to_string(files.join("db.json")).ok()?;
    let json: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some((json.get("username")?.as_str()?.to_owned(), json.get("password")?.as_str()?.to_owned()))
}

/// A pod's folder in memory, and the agent in it.
struct Pods {
    files: PathBuf,
    agent: Process,
    _folder: TempDir,
}

/// An agent that writes a credential to two files, with these settings besides.
fn sidecar_with(databases: &Databases, path: &str, more: &str) -> Result<Pods> {
    let folder = memory::folder()?;
    let (files, token, config) = (folder.path().join("secrets"), folder.path().join("token"), folder.path().join("agent.toml"));
    fs::create_dir(&files)?;
    fs::write(&token, databases.vault.token(&Pod::new("shop", "api")?, TOKEN_LIFETIME)?)?;
    let settings = format!(
        "[[secrets]]\nname = \"db.json\"\ncredential = \"{path}\"\nformat = \"json\"\n\
         [[secrets]]\nname = \"username\"\ncredential = \"{path}\"\nfield = \"username\"\n\
         [vault]\naddress = \"{}\"\nca_file = \"{}\"\ntoken_file = \"{}\"\n[output]\ndirectory = \"{}\"\n{more}",
        databases.vault.server.url()?,
        databases.vault.server.ca().display(),
        token.display(),
        files.display(),
    );
    fs::write(&config, settings)?;
    let mut command = Command::new(Programs::built()?.agent());
    command.env_clear().args(["sidecar", "--config"]).arg(config);
    let agent = Process::start(&mut command, &databases.vault.server.folder().join("agent.log"))?;
    Ok(Pods { files, agent, _folder: folder })
}

fn sidecar(databases: &Databases, path: &str) -> Result<Pods> {
    sidecar_with(databases, path, "")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_sidecar_that_is_told_to_ends_its_users_when_it_stops() -> Result<()> {
    let databases = Databases::<Postgres>::new().await?;
    for (more, left) in [("", 1), ("[sidecar]\nrevoke_on_exit = true\n", 1)] {
        let mut pods = sidecar_with(&databases, PATH, more)?;
        wait::until(PATIENCE, "the user", || Ok(user(&pods.files))).with_context(|| pods.agent.log().unwrap_or_default())?;
        pods.agent.signal(Signal::TERM)?;
        ensure!(pods.agent.wait(PATIENCE)?.success(), "{}", pods.agent.log()?);
        // The first one's is there still: with its pod it would end, which is nobody's business here.
        ensure!(databases.users()?.len() == left, "{:?}", databases.users()?);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn whoever_reads_the_agent_s_files_has_a_user_that_works_at_every_moment() -> Result<()> {
    let databases = Databases::<Postgres>::new().await?;
    let admin = databases.vault.operator(ADMIN).await?;
    let short = DatabaseRole { default_ttl_seconds: 6, max_ttl_seconds: 14, ..Postgres::role() };
    put_role(&admin, short).await?;
    let Pods { files, agent, .. } = &sidecar(&databases, PATH)?;
    wait::until(PATIENCE, "the first user", || Ok(user(files))).with_context(|| agent.log().unwrap_or_default())?;

    let (mut seen, end) = (BTreeSet::new(), Instant::now() + Duration::from_secs(120));
    while seen.len() < USERS {
        let (name, password) = user(files).context("the files are there")?;
        databases.vault.server.canaries().add("a database password", &password);
        let told = databases.target.sql_as(&name, &password, "SELECT count(*) FROM orders")?;
        // Between reading the files and asking the database there may have been a change: what counts is the file of then.
        ensure!(
            told.status.success() || user(files).is_some_and(|(now, _)| now != name),
            "a query failed: {told:?}\n{}",
            agent.log()?
        );
        ensure!(told.status.success(), "a user was ended before it was replaced: {told:?}\n{}", agent.log()?);
        ensure!(fs::read_to_string(files.join("username"))? == name || user(files).is_some_and(|(now, _)| now != name));
        seen.insert(name);
        ensure!(Instant::now() < end, "the user does not change: {seen:?}\n{}", agent.log()?);
        sleep(Duration::from_millis(100)).await;
    }
    ensure!(agent.log()?.contains("cannot be renewed further"), "{}", agent.log()?);

    // Revoked behind its back, it gets another once it notices: at the next renewal.
    let (before, _) = user(files).context("the files are there")?;
    let request = RevokeLeasesRequest { path: PATH.into(), principal: String::new() };
    admin.leases().revoke_leases(request).await?;
    wait::until(PATIENCE, "another user", || Ok(user(files).filter(|(name, _)| *name != before)))
        .with_context(|| agent.log().unwrap_or_default())?;
    let (name, password) = user(files).context("the files are there")?;
    databases.vault.server.canaries().add("a database password", &password);
    ensure!(databases.target.sql_as(&name, &password, "SELECT 1")?.status.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_rotation_reaches_the_agent_s_files_before_the_user_before_ends_and_no_query_fails() -> Result<()> {
    let databases = Databases::<Postgres>::with_static_users().await?;
    databases.put_static(DatabaseStaticRole { grace_seconds: 3_600, ..two_users() }).await?;
    databases.static_role_is(|role| role.version == 1).await?;
    let Pods { files, agent, .. } = &sidecar(&databases, CREDENTIAL)?;
    wait::until(PATIENCE, "the first user", || Ok(user(files))).with_context(|| agent.log().unwrap_or_default())?;
    for version in 2..6 {
        let before = user(files).context("the files are there")?;
        ensure!(databases.rotate(false).await? == version);
        // The agent has told the vault that it uses the new one: well before an hour is over.
        let mut retired = false;
        while !retired {
            retired = databases.static_role_is(|_| true).await?.previous_user.is_empty();
            let (name, password) = user(files).context("the files are there")?;
            databases.vault.server.canaries().add("a static password", &password);
            let told = databases.target.sql_as(&name, &password, "SELECT count(*) FROM orders")?;
            let is_current = user(files).is_some_and(|now| now == (name, password));
            ensure!(told.status.success() || !is_current, "a query failed: {told:?}\n{}", agent.log()?);
        }
        let after = user(files).context("the files are there")?;
        ensure!(after.0 != before.0 && fs::read_to_string(files.join("username"))? == after.0);
        ensure!(!databases.target.sql_as(&before.0, &before.1, "SELECT 1")?.status.success(), "it has ended");
    }
    Ok(())
}
