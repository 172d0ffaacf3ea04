//! What somebody without a session learns, leaves behind and breaks: nothing.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client, Identity, Options,
    proto::{
        GetClusterRequest, GetOperatorRequest, GetSealStatusRequest, GetSecretRequest, ListSecretsRequest, ListSessionsRequest,
        LoginCertificateRequest, LoginPasswordRequest, LoginWorkloadRequest, RecoverRequest, UnsealRequest,
    },
};
use coffer_tests::{programs::Programs, server::Server, wait};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::refusal;
use crate::{
    tokens::{Seen, request},
    vault::{ADMIN, CLUSTER, OFFICER, PASSWORD, Vault},
};

fn seen<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Result<Seen> {
    Ok(answer.err().context("it was not refused")?.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_session_what_is_there_looks_like_what_is_not() -> Result<()> {
    let vault = Vault::new().await?;
    vault.put("kv/prod/payments", "password", "hidden").await?;
    let client = vault.stranger()?;
    let mut answers = Vec::new();
    for path in ["kv/prod/payments", "kv/prod/absent", "nomount/prod/payments", "kv/../kv", ""] {
        let read = GetSecretRequest { path: path.to_owned(), version: 0 };
        answers.push((path, seen(client.kv().get_secret(request(read)).await)?));
        let list = ListSecretsRequest { path: path.to_owned(), ..Default::default() };
        answers.push((path, seen(client.kv().list_secrets(request(list)).await)?));
    }
    for name in [ADMIN, "nobody", "No Name"] {
        let get = GetOperatorRequest { name: name.to_owned() };
        answers.push((name, seen(client.operators().get_operator(request(get)).await)?));
    }
    for name in [CLUSTER, "nowhere"] {
        let get = GetClusterRequest { name: name.to_owned() };
        answers.push((name, seen(client.clusters().get_cluster(request(get)).await)?));
    }
    let (_, first) = &answers[0];
    for (name, answer) in &answers {
        assert_eq!(answer, first, "{name}");
    }
    Ok(())
}

/// Whatever is wrong with a login, the caller reads the same, and no session comes of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_tells_nothing_and_leaves_no_session() -> Result<()> {
    let vault = Vault::new().await?;
    let auditor = vault.operator(crate::vault::AUDITOR).await?;
    let sessions = async || -> Result<usize> {
        Ok(auditor.sessions().list_sessions(ListSessionsRequest::default()).await?.into_inner().sessions.len())
    };
    let (before, client) = (sessions().await?, vault.stranger()?);
    let mut answers = Vec::new();
    for (tenant, operator, password) in [
        ("", ADMIN, "not the password"),
        ("", "nobody", "not the password"),
        ("", "nobody", PASSWORD),
        ("", "", ""),
        ("", "../ada", PASSWORD),
        ("other", ADMIN, PASSWORD),
        ("default", OFFICER, ""),
    ] {
        let [tenant, operator, password] = [tenant, operator, password].map(str::to_owned);
        let login = LoginPasswordRequest { tenant, operator, password };
        answers.push(seen(client.auth().login_password(request(login)).await)?);
    }
    for operator in [ADMIN, "nobody", ""] {
        let login = LoginCertificateRequest { tenant: String::new(), operator: operator.to_owned() };
        answers.push(seen(client.auth().login_certificate(request(login)).await)?);
    }
    for (token, cluster) in [("", CLUSTER), ("no token", "nowhere"), ("a.b.c", "")] {
        let [token, cluster] = [token, cluster].map(str::to_owned);
        let login = LoginWorkloadRequest { tenant: String::new(), token, cluster };
        answers.push(seen(client.auth().login_workload(request(login)).await)?);
    }
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
    }
    assert_eq!(sessions().await?, before, "a refused login left a session");
    Ok(())
}

/// Failures count by address, so that spelling a name otherwise wins no further attempts.
#[tokio::test(flavor = "multi_thread")]
async fn another_spelling_wins_no_further_attempts() -> Result<()> {
    let vault = Vault::new().await?;
    let (noisy, quiet) = (vault.stranger()?, vault.stranger()?);
    let mut attempts = 0;
    loop {
        let operator = [ADMIN, "Ada", "ada ", " ada", "ADA"][attempts % 5];
        let refused = noisy.login_certificate("", operator).await.err().context("it was let in")?;
        if refused.reason() == "BUSY" {
            break;
        }
        attempts += 1;
        ensure!(refused.reason() == "LOGIN_REFUSED" && attempts <= 60, "{attempts} attempts: {refused}");
    }
    assert_eq!(quiet.login_certificate("", ADMIN).await.err().context("let in")?.reason(), "LOGIN_REFUSED");
    Ok(())
}

/// Whoever reaches the port can have the shares handed in so far forgotten; not as often as they like.
#[tokio::test(flavor = "multi_thread")]
async fn forgetting_shares_counts_as_a_failure_of_the_address() -> Result<()> {
    let mut vault = Vault::new().await?;
    vault.server.kill()?;
    vault.server.start()?;
    let (noisy, holder) = (vault.stranger()?, vault.stranger()?);
    for of_recovery in [false, true] {
        let noisy = if of_recovery { vault.stranger()? } else { noisy.clone() };
        let mut resets = 0;
        loop {
            let reason = if of_recovery {
                refusal(noisy.system().recover(RecoverRequest { reset: true, ..Default::default() }).await)
            } else {
                refusal(noisy.system().unseal(UnsealRequest { reset: true, ..Default::default() }).await)
            };
            match reason {
                Ok(reason) => {
                    assert_eq!(reason, "BUSY");
                    break;
                }
                Err(_) => resets += 1,
            }
            ensure!(resets <= 60, "nothing stops it");
        }
    }
    // The holders of shares, and who is at the machine, go on.
    holder.system().unseal(UnsealRequest { reset: true, ..Default::default() }).await?;
    let local = Client::connect(Options::new(vault.server.socket_url(), Identity::generate()?))?;
    for _ in 0..100 {
        local.system().unseal(UnsealRequest { reset: true, ..Default::default() }).await?;
    }
    vault.unseal().await
}

/// Connections that end, stop half-way or speak something else; and more than there are descriptors for.
#[tokio::test(flavor = "multi_thread")]
async fn the_listener_outlives_whoever_connects() -> Result<()> {
    let mut vault = Vault::on(Server::new(Programs::built()?)?).await?;
    let address = vault.server.address()?;
    let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00];
    for beginning in [&b""[..], b"\0", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"PROXY TCP4 1", &hello] {
        for shut in [Shutdown::Both, Shutdown::Write] {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(beginning)?;
            stream.shutdown(shut)?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            // An alert, an end, or a reset: what matters comes after.
            drop(stream.read(&mut [0; 64]));
        }
    }
    let half_open: Vec<_> = (0..64).map(|_| TcpStream::connect(address)).collect::<Result<_, _>>()?;
    vault.stranger()?.system().get_seal_status(GetSealStatusRequest {}).await?;
    drop(half_open);

    // Fewer descriptors than the server counts on, and more connections than there are descriptors for.
    let pid = Pid::from_raw(vault.server.process()?.id().try_into()?);
    let open = u64::try_from(fs::read_dir(format!("/proc/{}/fd", vault.server.process()?.id()))?.count())?;
    // The server's upper limit is this process's, and stays.
    let few = Rlimit { current: Some(open + 20), maximum: getrlimit(Resource::Nofile).maximum };
    let before = prlimit(pid, Resource::Nofile, few)?;
    let crowd: Vec<_> = (0..200).map(|_| TcpStream::connect(address)).collect::<Result<_, _>>()?;
    wait::until(wait::PATIENCE, "the server to be out of descriptors", || {
        Ok(vault.server.log()?.contains("a connection cannot be accepted").then_some(()))
    })?;
    drop(crowd);
    prlimit(pid, Resource::Nofile, before)?;
    vault.stranger()?.system().get_seal_status(GetSealStatusRequest {}).await?;
    assert!(vault.server.process()?.ended()?.is_none());
    Ok(())
}
