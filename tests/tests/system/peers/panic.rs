//! A panic is the end of one request, and of nothing else.

use anyhow::{Context as _, Result};
use coffer_tests::issuer::Pod;
use tonic::Code;

use crate::vault::{ADMIN, AUDITOR, Vault, secret};

const PATH: &str = "kv/peers/panic";

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_its_request_and_nothing_else() -> Result<()> {
    let mut vault = Vault::new().await?;
    vault.put(PATH, "field", "before").await?;
    vault.server.kill()?;
    // Which commit is which request's depends on what else the server writes: several in a row.
    vault.server.set("store", "faults", (12..=15).map(|commit| format!("commit:{commit}:panic")).collect::<Vec<_>>().join(","));
    vault.restart().await?;
    let (mut panics, mut written) = (0, 0);
    let admin = vault.operator(ADMIN).await?;
    for round in 0..20 {
        // Every other one holds the lock under which the vault changes what it keeps about itself.
        let answer = if round % 2 == 0 {
            admin.kv().put_secret(secret(PATH, "field", "after")).await.map(drop)
        } else {
            let mut operators = admin.operators();
            let name = format!("operator-{round}");
            let request = coffer_client::proto::CreateOperatorRequest { name, ..Default::default() };
            operators.create_operator(request).await.map(drop)
        };
        match answer {
            Ok(()) => written += 1,
            Err(status) => {
                assert!(
                    !matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument),
                    "{status}"
                );
                panics += 1;
            }
        }
    }
    assert!(panics >= 2 && written >= 10, "{panics} panics, {written} written");
    assert!(vault.server.log()?.contains("panicked"), "nothing has panicked");
    assert!(vault.server.process()?.ended()?.is_none(), "the server is gone");
    // Reads, logins and the audit log go on, and after a restart store and log agree.
    vault.grant_read(PATH, "k8s:test/shop/api").await?;
    vault.server.unset("store", "faults");
    vault.server.kill()?;
    vault.restart().await?;
    let read = vault.workload(&Pod::new("shop", "api")?).await?.kv_get(PATH, 0).await?;
    assert_eq!(read.field("field").context("it has the field")?.expose(), b"after");
    vault.operator(AUDITOR).await?;
    Ok(())
}
