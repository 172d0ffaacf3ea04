//! What a read costs the server with ten grants and with many: every read by another pod, of another secret.

use std::{collections::HashMap, fs, rc::Rc};

use anyhow::{Context as _, Result};
use coffer_client::{Client, proto::PutSecretRequest};
use coffer_secret::SecretString;
use tokio::task::JoinSet;

use crate::vault::Vault;

/// Those who read, each with a connection and a TLS key of its own.
const CLIENTS: usize = 16;
/// Folders of secrets, and how many there are in each. With ten thousand principals there are some ten times as many pairs
/// of a principal and a path as decisions are remembered.
const FOLDERS: usize = 1_000;
const SECRETS_EACH: usize = 17;
/// Principals with a grant, where there are few.
const FEW: usize = 10;
/// Changes of the policy, with reads after each.
const CHANGES: usize = 20;

/// The clients, each with the sessions of its pods.
type Clients = Vec<(Client, Rc<Vec<SecretString>>)>;

/// Measures it with so many grants and reads.
pub(crate) async fn run(grants: usize, reads: usize) -> Result<()> {
    let mut vault = Vault::start().await?;
    let process = vault.server.process()?.id();
    write(&vault).await?;
    for number in 0..FEW {
        vault.grant(&format!("few-{number}"), &["read"], "kv/measure/**").await?;
    }
    let few = log_in(&vault, "few", FEW.max(CLIENTS)).await?;
    // The ten are heard by sixteen clients: some of the ten have two sessions.
    read(&few, reads, FOLDERS).await?;
    let before = cost(process, &few, reads, FOLDERS).await?;
    println!("{FEW:>6} grants: {before:.1} us a read");

    for number in 0..grants {
        vault.grant(&format!("many-{number}"), &["read"], &format!("kv/measure/{}/**", number % FOLDERS)).await?;
    }
    let again = cost(process, &few, reads, FOLDERS).await?;
    println!("{grants:>6} grants, the same reads: {again:.1} us a read, {:.2} times as much", again / before);
    let many = log_in(&vault, "many", grants).await?;
    read(&many, reads, 1).await?;
    let uniform = cost(process, &many, reads, 1).await?;
    println!("{grants:>6} grants, each to another principal: {uniform:.1} us a read, {:.2} times as much", uniform / before);
    let mut after = 0.0;
    for number in 0..CHANGES {
        vault.grant(&format!("late-{number}"), &["read"], "kv/measure/0/**").await?;
        after += cost(process, &many, reads / CHANGES, 1).await?;
    }
    let after = after / f64::from(u32::try_from(CHANGES)?);
    println!("{:>6} right after a change of the policy: {after:.1} us a read, {:.2} times as much", "", after / before);
    Ok(())
}

fn path(folder: usize, number: usize) -> String {
    format!("kv/measure/{folder}/{number}")
}

async fn write(vault: &Vault) -> Result<()> {
    let mut tasks = JoinSet::new();
    for first in 0..CLIENTS {
        let client = vault.reader().await?;
        tasks.spawn_local(async move {
            for number in (first..FOLDERS * SECRETS_EACH).step_by(CLIENTS) {
                let fields = HashMap::from([("value".to_owned(), format!("value {number}").into_bytes())]);
                let path = path(number % FOLDERS, number / FOLDERS);
                client.kv().put_secret(PutSecretRequest { path, fields, ..PutSecretRequest::default() }).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// Sessions of the first `count` principals of a kind, spread over the clients.
async fn log_in(vault: &Vault, kind: &str, count: usize) -> Result<Clients> {
    let mut clients = Vec::new();
    for first in 0..CLIENTS {
        let client = vault.stranger()?;
        let mut sessions = Vec::new();
        for number in (first..count).step_by(CLIENTS) {
            let number = if kind == "few" { number % FEW } else { number };
            sessions.push(vault.log_in(&client, &format!("{kind}-{number}")).await?);
        }
        clients.push((client, Rc::new(sessions)));
    }
    Ok(clients)
}

/// Processor time of the server for each of so many reads, in microseconds.
async fn cost(process: u32, clients: &Clients, reads: usize, reach: usize) -> Result<f64> {
    let before = cpu_us(process)?;
    read(clients, reads, reach).await?;
    let spent = u32::try_from(cpu_us(process)? - before)?;
    Ok(f64::from(spent) / f64::from(u32::try_from(reads)?))
}

/// Reads as pod after pod, each what it may: in its own folder, or in all of them.
async fn read(clients: &Clients, reads: usize, reach: usize) -> Result<()> {
    let mut tasks = JoinSet::new();
    for (first, (client, sessions)) in clients.iter().enumerate() {
        let (client, sessions) = (client.clone(), Rc::clone(sessions));
        tasks.spawn_local(async move {
            let mut chance = u64::try_from(first)? + 1;
            for _ in 0..reads / CLIENTS {
                // xorshift: every pair is as likely as another.
                chance ^= chance << 13;
                chance ^= chance >> 7;
                chance ^= chance << 17;
                let drawn = usize::try_from(chance >> 1)?;
                let pod = drawn % sessions.len();
                let principal = first + pod * CLIENTS;
                let folder = (principal + drawn / 7 % reach) % FOLDERS;
                client.set_session_token(sessions.get(pod).map(SecretString::duplicate));
                client.kv_get(&path(folder, drawn / 11 % SECRETS_EACH), 0).await.context("a read")?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// Processor time that a process has used, in microseconds. The kernel counts it in hundredths of a second.
fn cpu_us(process: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("the process's name ends")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || -> Result<u64> { Ok(fields.next().context("/proc/PID/stat is short")?.parse()?) };
    Ok((ticks()? + ticks()?) * 10_000)
}
