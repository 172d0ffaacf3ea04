//! Clients at work, and what they know: each answer is noted in the trace when it has arrived.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client, Error,
    proto::{CreateGrantRequest, DeleteVersionsRequest, GetSecretRequest, PutSecretRequest},
};
use coffer_tests::issuer::Pod;
use tokio::task::JoinSet;

use super::disk;
use crate::{
    rpcs::named,
    vault::{ADMIN, CLUSTER, OFFICER, Vault},
};

/// Writers, each with a secret of its own.
pub(crate) const WRITERS: usize = 3;
/// Readers.
const READERS: usize = 2;

/// The secret of a writer.
pub(crate) fn path(writer: usize) -> String {
    format!("kv/power/{writer}")
}

/// The service account that the grant of this number is for.
pub(crate) fn grantee(grant: u64) -> String {
    format!("grantee-{grant}")
}

/// What a writer's secret is after so many of its operations: the newest version, and its value unless it is deleted.
pub(crate) fn state(writer: usize, operations: u64) -> (u64, Option<String>) {
    let version = (1..=operations).filter(|operation| !deletes(*operation)).count() as u64;
    (version, (operations > 0 && !deletes(operations)).then(|| value(writer, operations)))
}

const fn deletes(operation: u64) -> bool {
    operation % 9 == 8
}

/// Small values, some that are cut into pieces, and a few large ones.
fn value(writer: usize, operation: u64) -> String {
    let bytes = match operation % 16 {
        5 => 200_000,
        1 | 9 => 6_000,
        _ => 40,
    };
    let mut value = format!("{writer} {operation} ").repeat(bytes / 4);
    value.truncate(bytes);
    value
}

pub(crate) fn operation_id(writer: usize, operation: u64) -> String {
    format!("write-{writer}-{operation}")
}

/// The end of a trace, to append notes to.
#[derive(Clone)]
struct Notes(Arc<File>);

impl Notes {
    fn add(&self, text: &str) -> Result<()> {
        Ok((&*self.0).write_all(&disk::note(text))?)
    }
}

/// What clients knew at some place of a trace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// Operations that were acknowledged, by writer.
    pub(crate) written: BTreeMap<usize, u64>,
    /// Reads that were answered: ids and receipts.
    pub(crate) reads: Vec<(String, u64)>,
    /// Grants that were acknowledged.
    pub(crate) grants: u64,
}

impl Known {
    pub(crate) fn add(&mut self, note: &str) -> Result<()> {
        let words: Vec<&str> = note.split(' ').collect();
        match words.as_slice() {
            ["write", writer, operation] => drop(self.written.insert(writer.parse()?, operation.parse()?)),
            ["read", id, receipt] => self.reads.push(((*id).to_owned(), receipt.parse()?)),
            ["grant", grant] => self.grants = grant.parse()?,
            _ => anyhow::bail!("no note: {note}"),
        }
        Ok(())
    }
}

/// What the clients of a load share.
#[derive(Clone)]
struct Load {
    notes: Notes,
    stop: Arc<AtomicBool>,
}

/// Lets clients work until `enough`, and then until each has its last answer.
pub(crate) async fn run(vault: &Vault, trace: &Path, enough: impl Future<Output = Result<()>>) -> Result<()> {
    let notes = Notes(Arc::new(File::options().append(true).open(trace)?));
    let load = Load { notes, stop: Arc::default() };
    let mut clients = JoinSet::new();
    let admin = vault.operator(ADMIN).await?;
    let officer = vault.operator(OFFICER).await?;
    for writer in 0..WRITERS {
        clients.spawn(write(admin.clone(), writer, load.clone()));
    }
    let reader = vault.workload(&Pod::new("shop", "api")?).await?;
    for number in 0..READERS {
        clients.spawn(read(reader.clone(), number, load.clone()));
    }
    clients.spawn(grant(officer, load.clone()));
    let failed = tokio::select! {
        ended = enough => { ended?; None }
        failed = clients.join_next() => failed,
    };
    load.stop.store(true, Ordering::SeqCst);
    if let Some(failed) = failed {
        failed??;
    }
    for ended in clients.join_all().await {
        ended?;
    }
    Ok(())
}

async fn write(client: Client, writer: usize, load: Load) -> Result<()> {
    for operation in 1.. {
        if load.stop.load(Ordering::SeqCst) {
            break;
        }
        let id = operation_id(writer, operation);
        if deletes(operation) {
            let request = DeleteVersionsRequest { path: path(writer), versions: Vec::new() };
            client.kv().delete_versions(named(request, &id)).await?;
        } else {
            let fields = HashMap::from([("value".to_owned(), value(writer, operation).into_bytes())]);
            let request = PutSecretRequest { path: path(writer), fields, ..PutSecretRequest::default() };
            let answer = client.kv().put_secret(named(request, &id)).await?.into_inner();
            let version = answer.version.context("it is shown")?.version;
            ensure!(version == state(writer, operation).0, "{id} is version {version}");
        }
        load.notes.add(&format!("write {writer} {operation}"))?;
    }
    Ok(())
}

async fn read(client: Client, number: usize, load: Load) -> Result<()> {
    for read in 1.. {
        if load.stop.load(Ordering::SeqCst) {
            break;
        }
        let id = format!("read-{number}-{read}");
        let request = GetSecretRequest { path: path(read % WRITERS), version: 0 };
        match client.kv().get_secret(named(request, &id)).await {
            Ok(answer) => load.notes.add(&format!("read {id} {}", answer.into_inner().receipt))?,
            Err(status) => {
                let error = Error::from(status);
                ensure!(!error.detail().retryable, "{error}");
            }
        }
    }
    Ok(())
}

async fn grant(officer: Client, load: Load) -> Result<()> {
    for grant in 1_u64.. {
        if load.stop.load(Ordering::SeqCst) {
            break;
        }
        let request = CreateGrantRequest {
            actions: vec!["read".to_owned()],
            path: "kv/granted".to_owned(),
            principal: format!("k8s:{CLUSTER}/shop/{}", grantee(grant)),
            idempotency_key: String::new(),
            require: Vec::new(),
        };
        officer.grants().create_grant(named(request, &format!("grant-{grant}"))).await?;
        load.notes.add(&format!("grant {grant}"))?;
    }
    Ok(())
}
