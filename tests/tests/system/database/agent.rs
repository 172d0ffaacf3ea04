//! An agent that holds a user of a database: renewed, replaced before its end, and never away from who reads the files.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use coffer_client::proto::{DatabaseRole, RevokeLeasesRequest};
use coffer_tests::{
    issuer::Pod,
    memory,
    process::Process,
    programs::Programs,
    wait::{self, PATIENCE},
};
use tokio::time::{Duration, Instant, sleep};

use super::{Databases, PATH, put_role, role};
use crate::vault::{ADMIN, TOKEN_LIFETIME};

/// How often the user must have changed.
const USERS: usize = 4;

/// The user that the files name.
fn user(files: &Path) -> Option<(String, String)> {
    let text = fs::read_to_string(files.join("db.json")).ok()?;
    let json: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some((json.get("username")?.as_str()?.to_owned(), json.get("password")?.as_str()?.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn whoever_reads_the_agent_s_files_has_a_user_that_works_at_every_moment() -> Result<()> {
    let databases = Databases::new().await?;
    let admin = databases.vault.operator(ADMIN).await?;
    let short = DatabaseRole { default_ttl_seconds: 6, max_ttl_seconds: 14, ..role() };
    put_role(&admin, short).await?;
    let pod = memory::folder()?;
    let files = pod.path().join("secrets");
    fs::create_dir(&files)?;
    fs::write(pod.path().join("token"), databases.vault.token(&Pod::new("shop", "api")?, TOKEN_LIFETIME)?)?;
    let config = format!(
        "[[secrets]]\nname = \"db.json\"\ncredential = \"{PATH}\"\nformat = \"json\"\n\
         [[secrets]]\nname = \"username\"\ncredential = \"{PATH}\"\nfield = \"username\"\n\
         [vault]\naddress = \"{}\"\nca_file = \"{}\"\ntoken_file = \"{}\"\n[output]\ndirectory = \"{}\"\n",
        databases.vault.server.url()?,
        databases.vault.server.ca().display(),
        pod.path().join("token").display(),
        files.display(),
    );
    fs::write(pod.path().join("agent.toml"), config)?;
    let mut command = Command::new(Programs::built()?.agent());
    command.env_clear().args(["sidecar", "--config"]).arg(pod.path().join("agent.toml"));
    let agent = Process::start(&mut command, &databases.vault.server.folder().join("agent.log"))?;
    wait::until(PATIENCE, "the first user", || Ok(user(&files))).with_context(|| agent.log().unwrap_or_default())?;

    let (mut seen, end) = (BTreeSet::new(), Instant::now() + Duration::from_secs(120));
    while seen.len() < USERS {
        let (name, password) = user(&files).context("the files are there")?;
        databases.vault.server.canaries().add("a database password", &password);
        let told = databases.postgres.sql_as(&name, &password, "SELECT count(*) FROM orders")?;
        // Between reading the files and asking the database there may have been a change: what counts is the file of then.
        ensure!(
            told.status.success() || user(&files).is_some_and(|(now, _)| now != name),
            "a query failed: {told:?}\n{}",
            agent.log()?
        );
        ensure!(told.status.success(), "a user was ended before it was replaced: {told:?}\n{}", agent.log()?);
        ensure!(fs::read_to_string(files.join("username"))? == name || user(&files).is_some_and(|(now, _)| now != name));
        seen.insert(name);
        ensure!(Instant::now() < end, "the user does not change: {seen:?}\n{}", agent.log()?);
        sleep(Duration::from_millis(100)).await;
    }
    ensure!(agent.log()?.contains("cannot be renewed further"), "{}", agent.log()?);

    // Revoked behind its back, it gets another once it notices: at the next renewal.
    let (before, _) = user(&files).context("the files are there")?;
    let request = RevokeLeasesRequest { path: PATH.into(), principal: String::new() };
    admin.leases().revoke_leases(request).await?;
    wait::until(PATIENCE, "another user", || Ok(user(&files).filter(|(name, _)| *name != before)))
        .with_context(|| agent.log().unwrap_or_default())?;
    let (name, password) = user(&files).context("the files are there")?;
    databases.vault.server.canaries().add("a database password", &password);
    ensure!(databases.postgres.sql_as(&name, &password, "SELECT 1")?.status.success());
    Ok(())
}
