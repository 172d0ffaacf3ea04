//! No answer without a durable record.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use coffer_tests::{issuer::Pod, programs::Programs, server::Server};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    rpcs::rows,
    vault::{ADMIN, AUDITOR, OFFICER, Vault, secret},
};

/// How long an answer is waited for that must not come. Ordinarily one takes some milliseconds.
const STALL: Duration = Duration::from_millis(1_500);

/// Not held up: the seal's status, and its twin, a share for a vault that is unsealed already. Neither looks at anything
/// else, and both are answered while the log is closed, too.
pub(crate) const WITHOUT_RECORD: [&str; 4] =
    ["SystemService/GetSealStatus", "SystemService/Unseal", "grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"];
/// Not called: they would end what other calls need.
const ENDING: [&str; 2] = ["AuthService/Logout", "SystemService/Seal"];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_answered_while_the_log_stays_behind() -> Result<()> {
    let server = Server::new(Programs::built()?)?;
    let stall = server.folder().join("stall");
    let vault = Vault::on(server.with("audit", "stall_file", stall.display().to_string())).await?;
    vault.grant_read("kv/matrix/secret", "k8s:test/shop/reader").await?;
    vault.put("kv/matrix/secret", "field", "value").await?;
    let mut callers = vec![("stranger", vault.stranger()?)];
    for name in ["reader", "nobody"] {
        callers.push((name, vault.workload(&Pod::new("shop", name)?).await?));
    }
    for name in [AUDITOR, OFFICER, ADMIN] {
        callers.push((name, vault.operator(name).await?));
    }

    fs::write(&stall, "")?;
    // A write's record is durable in the store: the log may have it a little later. One that stays behind stops writes, too.
    let (_, admin) = callers.last().context("the admin is the last")?;
    let stopped = async {
        while let Ok(answer) = timeout(STALL, admin.kv().put_secret(secret("kv/matrix/before", "field", "value"))).await {
            answer?;
        }
        anyhow::Ok(())
    };
    timeout(Duration::from_secs(30), stopped).await.context("writes are answered without end")??;
    let mut calls = JoinSet::new();
    for (caller, client) in &callers {
        for row in rows().into_iter().filter(|row| !WITHOUT_RECORD.contains(&row.rpc) && !ENDING.contains(&row.rpc)) {
            // One address may fail so often, and is then told to come later without a record.
            let client = if *caller == "stranger" { vault.stranger()? } else { client.clone() };
            let id = format!("{caller}-{}", row.rpc.replace('/', "-"));
            calls.spawn(async move {
                drop((row.call)(client, id.clone()).await);
                id
            });
        }
    }
    let early = timeout(STALL, calls.join_next()).await;
    assert!(early.is_err(), "answered before its record was durable: {early:?}");
    // The status is answered meanwhile: the server itself is well.
    let status = rows().into_iter().find(|row| row.rpc == WITHOUT_RECORD[0]).context("it has a row")?;
    (status.call)(vault.stranger()?, "status".to_owned()).await?;

    fs::remove_file(&stall)?;
    let all = timeout(Duration::from_secs(60), calls.join_all()).await.context("not every call is answered afterwards")?;
    assert!(all.len() > 200, "only {} calls were made", all.len());
    Ok(())
}
