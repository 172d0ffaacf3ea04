//! The same vault on every store.

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{
    issuer::{Pod, uuid},
    programs::Programs,
    server::Server,
};

use crate::vault::Vault;

async fn works(server: Server, keeps: bool) -> Result<()> {
    let mut vault = Vault::on(server).await?;
    vault.grant_read("kv/prod/**", "k8s:test/shop/api").await?;
    for round in 1..=3 {
        ensure!(vault.put("kv/prod/payments", "round", &round.to_string()).await? == round, "versions count from 1");
    }
    let read = async |vault: &Vault| {
        let secret = vault.workload(&Pod::new("shop", "api")?).await?.kv_get("kv/prod/payments", 0).await?;
        anyhow::Ok(secret.field("round").context("it has the field")?.expose().to_vec())
    };
    ensure!(read(&vault).await? == b"3");
    if keeps {
        vault.server.kill()?;
        vault.restart().await?;
        ensure!(read(&vault).await? == b"3");
    }
    Ok(())
}

#[tokio::test]
async fn a_vault_on_sled_keeps_its_secrets() -> Result<()> {
    works(Server::new(Programs::built()?)?, true).await
}

#[tokio::test]
async fn a_vault_in_memory_works_while_it_lives() -> Result<()> {
    let mut server = Server::new(Programs::built()?)?.with("store", "kind", "memory");
    server.unset("store", "path");
    works(server, false).await
}

#[tokio::test]
#[ignore = "needs etcd: tests/run"]
async fn a_vault_on_etcd_keeps_its_secrets() -> Result<()> {
    let etcd = std::env::var("COFFER_TEST_ETCD").context("COFFER_TEST_ETCD is not set: run tests/run")?;
    let mut server = Server::new(Programs::built()?)?.with("store", "kind", "etcd").with("store", "endpoints", vec![etcd]).with(
        "store",
        "prefix",
        format!("/{}/", uuid()?),
    );
    server.unset("store", "path");
    works(server, true).await
}
