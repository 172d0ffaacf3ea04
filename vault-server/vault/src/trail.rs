//! The audit trail: records of requests, durable before their answers, and together with their effects.
//!
//! A write's record is stored with the write, in one transaction ("pending"), and then copied to the log. A crash between
//! the two loses neither: what is pending is copied when the vault is unsealed the next time. The store remembers how far
//! the log had come, and each checkpoint of the log how far the store had: whichever is behind the other's memory at the
//! start was put back or cut, and the vault does not go to work.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use coffer_audit::{
    checkpoint::Origin,
    log::{Log, LogConfig, LogError},
    record::{self, Entry, Kind, Pod},
};
use coffer_barrier::{Barrier, BarrierError, Batch, Expect, RecordKey};
use coffer_core::{
    action::Action,
    clock::Timestamp,
    id::RequestId,
    policy::{Decision, Resource},
    reason::Reason,
    session::Holder,
};
use coffer_crypto::{key::Key, random, sign::SigningKey};
use coffer_secret::{SecretArray, SecretBytes};

use crate::{
    Authenticated, Failure, NewSession, Unsealed, codec,
    epoch::Epoch,
    records::{EpochRecord, LogMarkRecord},
    unsealed::system_directory,
};

/// Where pending records are.
const PENDING: &str = "audit-pending";
/// Where the store remembers how far the log had come.
const MARK: &str = "audit-mark";
/// The one record there.
const MARK_NAME: &str = "newest";
/// Records no longer pending that leave the store with the next write.
pub(crate) const SETTLED_AT_ONCE: usize = 16;
/// How often the log gets a checkpoint, where something was added.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);
/// Entries read at once.
const ENTRIES_AT_ONCE: usize = 256;

/// What can be chosen about the audit log.
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// Where it is.
    pub directory: PathBuf,
    /// Go to work although store and log do not agree on how far they came.
    pub accept_divergence: bool,
    /// While this file exists, nothing becomes durable: for tests.
    pub stall_file: Option<PathBuf>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Ok,
    /// It was not permitted.
    Denied(Reason),
    /// It failed.
    Failed(Reason),
}

/// The record of a request under way.
#[derive(Clone)]
pub struct Record(record::Record);

impl Record {
    /// A record of a request. A caller's own id for it is noted beside ours.
    #[must_use]
    pub fn request(id: RequestId, rpc: String, now: Timestamp, peer: Option<String>) -> Self {
        let mut record = record::Record::new(now, id, Kind::Request, record::Outcome::Ok);
        record.rpc = Some(rpc);
        record.peer = peer;
        Self(record)
    }

    /// A record of something that the vault does without being asked.
    ///
    /// # Errors
    /// Fails where there are no random numbers.
    pub(crate) fn event(event: &str, now: Timestamp) -> Result<Self, Failure> {
        let record = record::Record::new(now, new_id()?, Kind::Event, record::Outcome::Ok);
        Ok(Self(record).detailed("event", event))
    }

    /// The record with one detail more.
    #[must_use]
    pub(crate) fn detailed(mut self, name: &str, value: impl ToString) -> Self {
        self.detail(name, value);
        self
    }

    /// Notes a detail: a name or a number, never a value of a secret.
    pub fn detail(&mut self, name: &str, value: impl ToString) {
        self.0.details.insert(name.to_owned(), value.to_string());
    }

    /// Notes several.
    pub fn details(&mut self, details: BTreeMap<String, String>) {
        self.0.details.extend(details);
    }

    /// Notes who asks.
    pub fn caller(&mut self, who: &Authenticated) {
        self.0.principal = Some(who.caller.principal.to_string());
        self.0.session = Some(who.claims.id);
        self.0.pod = pod(&who.claims.holder);
    }

    /// Notes whom a login let in.
    pub fn session(&mut self, session: &NewSession) {
        self.0.principal = Some(session.principal.to_string());
        self.0.session = Some(session.claims.id);
        self.0.pod = pod(&session.claims.holder);
    }

    /// Notes what policy was asked, and what decided.
    pub fn decision(&mut self, action: Action, resource: &Resource, decision: &Decision) {
        self.0.action = Some(action.name().to_owned());
        self.0.resource = match resource {
            Resource::Path(path) => Some(path.to_string()),
            Resource::System => None,
        };
        self.0.rules = decision.rules.iter().map(ToString::to_string).collect();
    }

    /// Notes keyed hashes of values.
    pub(crate) fn values<'a>(&mut self, hashes: impl Iterator<Item = (&'a String, String)>) {
        self.0.value_hmacs = hashes.map(|(name, hash)| (name.clone(), hash)).collect();
    }

    /// The record, once it is known how the request ended.
    #[must_use]
    pub fn answered(mut self, outcome: Outcome) -> Self {
        let (outcome, reason) = match outcome {
            Outcome::Ok => (record::Outcome::Ok, None),
            Outcome::Denied(reason) => (record::Outcome::Denied, Some(reason)),
            Outcome::Failed(reason) => (record::Outcome::Error, Some(reason)),
        };
        self.0.outcome = outcome;
        self.0.reason = reason.map(|reason| reason.code().to_owned());
        self
    }
}

fn pod(holder: &Holder) -> Option<Pod> {
    let Holder::Workload { cluster_id, namespace, service_account_uid, pod: Some(pod), .. } = holder else { return None };
    Some(Pod {
        cluster: cluster_id.to_string(),
        namespace: namespace.to_string(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        service_account_uid: Some(service_account_uid.clone()),
        node: pod.node.clone(),
        unknown: BTreeMap::new(),
    })
}

fn new_id() -> Result<RequestId, Failure> {
    random::bytes().map(RequestId::from_bytes).map_err(|_| Failure::internal("no random numbers"))
}

/// Records that are in the log and may leave the store.
#[derive(Default)]
pub(crate) struct Settled(Mutex<Vec<RequestId>>);

impl Settled {
    fn take(&self) -> Vec<RequestId> {
        let mut settled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = settled.len().saturating_sub(SETTLED_AT_ONCE);
        settled.split_off(rest)
    }

    fn add(&self, ids: impl IntoIterator<Item = RequestId>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(ids);
    }
}

fn unwritten(error: &LogError) -> Failure {
    tracing::error!(%error, "the audit log cannot be written: nothing is answered");
    if error.is_disk_full() { Failure::disk_full() } else { Failure::unavailable() }
}

fn pending_key(id: RequestId) -> Result<RecordKey, Failure> {
    system_directory(PENDING)?.child(id.as_bytes()).map_err(|_| Failure::internal("a record's name is not one"))
}

/// The record of a write that is in the store: the log is to have it, too ([`Unsealed::append_written`]).
#[must_use]
pub struct StoredRecord {
    id: RequestId,
    text: Vec<u8>,
}

/// Adds a record to a write.
pub(crate) fn add_pending(batch: &mut Batch, record: &Record) -> Result<StoredRecord, Failure> {
    let text = serde_json::to_vec(&record.0).map_err(|_| Failure::internal("an audit record cannot be written"))?;
    let id = record.0.id;
    batch.put(pending_key(id)?, Expect::New, SecretBytes::copied_from(&text));
    Ok(StoredRecord { id, text })
}

/// A log that was opened, and the latest time that the vault is known to have seen.
pub(crate) struct OpenedLog {
    pub(crate) log: Arc<Log>,
    pub(crate) not_before: Timestamp,
}

/// Opens the log of this vault, and compares it with the store.
pub(crate) async fn open(
    config: &AuditConfig,
    node: &str,
    barrier: &Barrier,
    key: &Key,
    epoch: &Epoch,
) -> Result<OpenedLog, Failure> {
    let unusable = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, directory = %config.directory.display(), "the audit log cannot be used");
        Failure::new(Reason::Unavailable, "the audit log cannot be used; the server's log says why")
    };
    let origin = Origin::new(barrier.vault_id(), node, epoch.number).map_err(|error| unusable(&error))?;
    let log_config = LogConfig { stall_file: config.stall_file.clone(), ..LogConfig::new(config.directory.clone(), origin) };
    let signing = SigningKey::from_seed(SecretArray::copied_from(key.expose()));
    let mark: Option<LogMarkRecord> =
        barrier.get(&mark_key()?).await?.map(|record| codec::decode(record.value.expose())).transpose()?;
    // There is none of this epoch yet where the vault was just restored.
    let note = mark.as_ref().map(|mark| mark.checkpoint.clone()).filter(|note| !note.is_empty());
    let revision = barrier.revision().await?.0;
    let opening = tokio::task::spawn_blocking(move || {
        let (log, opened) = Log::open(log_config, signing)?;
        let agreed = match log.compare(note.as_deref(), revision) {
            Err(LogError::Rollback(rollback)) => Err(rollback),
            compared => Ok(compared?),
        };
        Ok::<_, LogError>((log, opened, agreed))
    });
    let opening = opening.await.map_err(|_| Failure::internal("opening the audit log ended early"))?;
    let (log, opened, agreed) = opening.map_err(|error| match unusable(&error) {
        _ if error.is_disk_full() => Failure::disk_full(),
        failure => failure,
    })?;
    tracing::info!(entries = opened.size, unread = opened.unread, "the audit log is open");
    if opened.truncated_tail.is_some() || opened.truncated_checkpoint.is_some() {
        tracing::warn!("the end of the audit log, torn by a stop, was cut off: nothing of it had been answered");
    }
    if let Err(rollback) = agreed {
        if !config.accept_divergence {
            tracing::error!(%rollback, "store and audit log are not of the same moment");
            let message = format!("{rollback}; if that is meant, start once with audit.accept_divergence = true");
            return Err(Failure::told(Reason::Unavailable, message));
        }
        tracing::warn!(%rollback, "going to work all the same, as configured");
    }
    if let Some(restored) = &epoch.restored
        && log.size() == 0
    {
        let Record(first) = restoration(restored)?;
        log.append(first).await.map_err(|error| unusable(&error))?;
    }
    Ok(OpenedLog { log: Arc::new(log), not_before: mark.map_or_else(Timestamp::default, |mark| mark.clock) })
}

/// The first record of an epoch.
fn restoration(restored: &EpochRecord) -> Result<Record, Failure> {
    Ok(Record::event("restore", restored.restored)?
        .detailed("snapshot", &restored.about)
        .detailed("snapshot_sha256", hex::encode(&restored.digest))
        .detailed("entries", restored.entries)
        .detailed("epoch_before", restored.before)
        .answered(Outcome::Ok))
}

pub(crate) fn mark_key() -> Result<RecordKey, Failure> {
    system_directory(MARK)?.child(MARK_NAME).map_err(|_| Failure::internal("a record's name is not one"))
}

impl Unsealed {
    /// Adds a record to the log. When this returns, it is durable; answers with its position.
    ///
    /// # Errors
    /// Fails where the log does; nothing may be answered then.
    pub async fn append(&self, mut record: Record) -> Result<u64, Failure> {
        if self.doubtful.lock().unwrap_or_else(PoisonError::into_inner).remove(&record.0.id) {
            record.0.parent = Some(record.0.id);
            record.0.id = new_id()?;
        }
        let receipt = self.log.append(record.0).await.map_err(|error| unwritten(&error))?;
        Ok(receipt.index)
    }

    /// Adds the record of a write that is in the store, and durable there: the log has it with its next sync.
    ///
    /// # Errors
    /// Fails where the log has failed. The record is in the store, and comes to the log when the vault is unsealed again.
    pub async fn append_written(&self, StoredRecord { id, text }: StoredRecord) -> Result<(), Failure> {
        let settled = Arc::clone(&self.settled);
        let durable = Arc::new(move |id| settled.add([id]));
        self.log.append_stored(id, text, durable).await.map_err(|error| unwritten(&error))
    }

    /// Writes a batch with its record, and takes along records that need be pending no longer.
    pub(crate) async fn write(&self, mut batch: Batch, record: &Record) -> Result<StoredRecord, Failure> {
        // It says that all went well, as every record does until its request is answered otherwise.
        let stored = add_pending(&mut batch, record)?;
        self.write_recorded(batch, &[record]).await?;
        Ok(stored)
    }

    /// Writes a batch that has its records already.
    pub(crate) async fn write_recorded(&self, mut batch: Batch, records: &[&Record]) -> Result<(), Failure> {
        let settled = self.settled.take();
        for id in &settled {
            batch.delete(pending_key(*id)?, Expect::Any);
        }
        match self.barrier.commit(batch).await {
            Ok(_) => Ok(()),
            Err(error) => {
                self.settled.add(settled);
                if matches!(error, BarrierError::Unknown(_)) {
                    // It may be written after all, and then its record is copied to the log at the next start: what is
                    // answered now needs a record of its own.
                    let ids = records.iter().map(|record| record.0.id);
                    self.doubtful.lock().unwrap_or_else(PoisonError::into_inner).extend(ids);
                    self.reload().await?;
                }
                Err(error.into())
            }
        }
    }

    /// Takes note that nothing else will have the id of this record, of which it may not be known whether it is stored.
    pub(crate) fn let_go_of(&self, record: &Record) {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner).remove(&record.0.id);
    }

    /// Copies to the log what was pending when the vault ended.
    pub(crate) async fn replay(&self) -> Result<(), Failure> {
        let mut replayed = 0_usize;
        for (name, stored) in self.barrier.children_records(&system_directory(PENDING)?).await? {
            let record: record::Record = serde_json::from_slice(stored.value.expose())
                .map_err(|_| Failure::internal("a pending audit record cannot be read"))?;
            if name.as_slice() != record.id.as_bytes() {
                return Err(Failure::internal("a pending audit record has another's name"));
            }
            let id = record.id;
            if !self.log.contains_recent(&id) {
                self.append(Record(record).detailed("replayed", true)).await?;
                replayed += 1;
            }
            self.settled.add([id]);
        }
        if replayed > 0 {
            tracing::warn!(replayed, "records of writes that were stored and not logged were copied to the audit log");
        }
        Ok(())
    }

    /// Has the store remember how far the log has come, and the log how far the store.
    pub(crate) async fn checkpoint_now(&self) -> Result<String, Failure> {
        let unsigned = |error: LogError| {
            tracing::error!(%error, "the audit log cannot be given a checkpoint");
            if error.is_disk_full() { Failure::disk_full() } else { Failure::unavailable() }
        };
        let signed = self.log.checkpoint_now(self.barrier.revision().await?.0).await.map_err(unsigned)?;
        let mark = LogMarkRecord { checkpoint: signed.note.clone(), clock: self.now() };
        let key = mark_key()?;
        let before = self.barrier.get(&key).await?;
        let mut batch = Batch::default();
        batch.put(key, Expect::unchanged(before.as_ref()), codec::encode(&mark)?);
        for id in self.settled.take() {
            batch.delete(pending_key(id)?, Expect::Any);
        }
        self.barrier.commit(batch).await?;
        Ok(signed.note)
    }

    /// The newest checkpoint, made now, and the key that signs it.
    ///
    /// # Errors
    /// Fails where store or log do.
    pub async fn checkpoint(&self) -> Result<(String, String), Failure> {
        let _one_at_a_time = self.change().await;
        Ok((self.checkpoint_now().await?, self.log.verifier_key()))
    }

    /// Checkpoints now and then, until the vault is sealed.
    pub(crate) async fn keep_checkpoints(&self) {
        let mut last = self.log.size();
        let mut interval = tokio::time::interval(CHECKPOINT_INTERVAL);
        loop {
            tokio::select! {
                () = self.ending.cancelled() => return,
                _ = interval.tick() => {}
            }
            if self.log.size() == last {
                continue;
            }
            let _one_at_a_time = self.change().await;
            match self.checkpoint_now().await {
                Ok(_) => last = self.log.size(),
                Err(failure) => tracing::warn!(%failure, "no checkpoint; trying again"),
            }
        }
    }

    /// Tells how long the log is as it grows.
    #[must_use]
    pub fn audit_sizes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.log.subscribe()
    }

    /// Entries from a position on, before `end`: some at once, none at the end.
    ///
    /// # Errors
    /// Fails where the log cannot be read.
    pub async fn audit_entries(&self, from: u64, end: u64) -> Result<Vec<(u64, Timestamp, String)>, Failure> {
        let wanted = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX).min(ENTRIES_AT_ONCE);
        let log = Arc::clone(&self.log);
        let read = tokio::task::spawn_blocking(move || log.read(from, wanted));
        let read = read.await.map_err(|_| Failure::internal("reading the audit log ended early"))?;
        let entries = read.map_err(|error| {
            tracing::error!(%error, "the audit log cannot be read");
            Failure::unavailable()
        })?;
        let timed = entries.into_iter().map(|(index, json)| {
            let entry: Entry =
                serde_json::from_str(&json).map_err(|_| Failure::internal("an entry of the audit log cannot be read"))?;
            Ok((index, entry.record.time.timestamp(), json))
        });
        timed.collect()
    }
}
