//! Mounts: made, listed, deleted; and what is under a name that is given again.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client,
    proto::{CreateMountRequest, DeleteMountRequest, ListMountsRequest, Mount},
};
use coffer_core::limits::{MOUNT_DESCRIPTION_BYTES_MAX, MOUNTS_MAX};
use coffer_tests::{issuer::Pod, programs::Programs, server::Server};
use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::vault::{ADMIN, Vault, reason, secret};

const DEADLINE: Duration = Duration::from_secs(60);

async fn create(client: &Client, name: &str, engine: &str, description: &str) -> Result<Mount, Status> {
    let request = CreateMountRequest {
        name: name.to_owned(),
        engine: engine.to_owned(),
        description: description.to_owned(),
        idempotency_key: String::new(),
    };
    let created = client.mounts().create_mount(request).await?.into_inner();
    created.mount.ok_or_else(|| Status::internal("a mount that is made is shown"))
}

async fn delete(client: &Client, name: &str, id: &str) -> Result<(), Status> {
    let request = DeleteMountRequest { name: name.to_owned(), id: id.to_owned() };
    client.mounts().delete_mount(request).await.map(drop)
}

async fn names(client: &Client) -> Result<Vec<String>> {
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = client.mounts().list_mounts(ListMountsRequest { page_size: 100, page_token }).await?.into_inner();
        names.extend(page.mounts.into_iter().map(|mount| mount.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(names);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deleted_mount_held_is_erased_and_its_name_leads_to_nothing_old() -> Result<()> {
    let mut vault = Vault::new().await?;
    let admin = vault.operator(ADMIN).await?;
    let first = create(&admin, "team", "kv", "secrets of a team").await?;
    ensure!(names(&admin).await? == ["kv", "team"]);
    for number in 0..120 {
        vault.put(&format!("team/secrets/{number}"), "value", "of the first mount").await?;
    }
    vault.put("kv/other", "value", "of another mount").await?;
    vault.grant_read("team/**", "k8s:test/shop/api").await?;
    vault.grant_read("kv/**", "k8s:test/shop/api").await?;
    ensure!(vault.newest("team/secrets/0").await?.1 == "of the first mount");

    ensure!(reason(delete(&admin, "team", &"0".repeat(32)).await) == "NOT_FOUND", "that is another mount's id");
    delete(&admin, "team", &first.id).await?;
    // The server may end at any moment from here on: what is left is erased by the next.
    vault.server.kill()?;
    vault.restart().await?;
    let admin = vault.operator(ADMIN).await?;
    ensure!(names(&admin).await? == ["kv"]);
    let end = Instant::now() + DEADLINE;
    while !vault.has_logged(&format!(r#""mount_id":"{}","records":"#, first.id)).await? {
        ensure!(Instant::now() < end, "what the mount held is not erased");
        sleep(Duration::from_millis(50)).await;
    }

    let second = create(&admin, "team", "kv", "").await?;
    ensure!(second.id != first.id);
    let workload = vault.workload(&Pod::new("shop", "api")?).await?;
    for path in ["team/secrets/0", "team/secrets/new"] {
        admin.kv().put_secret(secret("team/secrets/new", "value", "of the second mount")).await?;
        let refused = workload.kv_get(path, 0).await.err().context("the grant was for the first mount")?;
        ensure!(refused.detail().reason == "NOT_FOUND_OR_DENIED", "{refused}");
    }
    vault.grant_read("team/**", "k8s:test/shop/api").await?;
    ensure!(vault.newest("team/secrets/new").await?.1 == "of the second mount");
    let gone = vault.workload(&Pod::new("shop", "api")?).await?.kv_get("team/secrets/0", 0).await.err();
    ensure!(gone.context("it was the first mount's")?.detail().reason == "NOT_FOUND");
    ensure!(vault.newest("kv/other").await?.1 == "of another mount");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_that_cannot_be_are_refused() -> Result<()> {
    let vault = Vault::on(Server::new(Programs::built()?)?.with("log", "level", "info")).await?;
    let admin = vault.operator(ADMIN).await?;
    ensure!(reason(create(&admin, "kv", "kv", "").await) == "ALREADY_EXISTS");
    for name in ["", "Team", "team/a", "..", "a*"] {
        ensure!(reason(create(&admin, name, "kv", "").await) == "INVALID_ARGUMENT", "{name}");
    }
    ensure!(reason(create(&admin, "team", "vault", "").await) == "INVALID_ARGUMENT");
    ensure!(reason(create(&admin, "team", "kv", &"d".repeat(MOUNT_DESCRIPTION_BYTES_MAX + 1)).await) == "INVALID_ARGUMENT");
    ensure!(reason(create(&admin, "team", "kv", "two\nlines").await) == "INVALID_ARGUMENT");
    create(&admin, "team", "kv", &"d".repeat(MOUNT_DESCRIPTION_BYTES_MAX)).await?;
    ensure!(reason(delete(&admin, "absent", "").await) == "NOT_FOUND");
    for number in 2..MOUNTS_MAX {
        create(&admin, &format!("m{number}"), "kv", "").await?;
    }
    ensure!(reason(create(&admin, "more", "kv", "").await) == "LIMIT_EXCEEDED");
    ensure!(names(&admin).await?.len() == MOUNTS_MAX);
    Ok(())
}
