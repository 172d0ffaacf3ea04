//! Gathers facts, signs them, and sends them.

use std::{
    cell::Cell,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use coffer_checks::host::{FACTS_BYTES_MAX, HostFacts, signed_bytes};
use coffer_client::{
    Backoff, Client, Error, Identity, Options, SessionKeeper, WorkloadLogin,
    proto::{ReportPostureRequest, ReportPostureResponse},
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{Failure, args::Args, host, watch::Watch};

/// How long a report counts, as the vault has it.
pub(crate) const COUNTS_FOR: Duration = Duration::from_secs(5 * 60);
/// How often the vault hears of the node at least.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);
/// How often facts are gathered where nothing is told to have changed.
const GATHER_INTERVAL: Duration = Duration::from_secs(10);
/// How long changes have to settle: a pod's start is many mounts.
const SETTLE: Duration = Duration::from_millis(100);
/// How far gatherings are apart at least, however much changes.
const REST: Duration = Duration::from_secs(2);
/// The first wait after a report that was not taken; it doubles.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest wait after one.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Reports on a node.
pub(crate) struct Reporter<'a> {
    path: PathBuf,
    identity: Identity,
    keeper: SessionKeeper,
    /// The number of the last report.
    sequence: Cell<u64>,
    /// When the vault took a report last.
    heard: &'a Cell<Option<Instant>>,
    /// What the vault said to it.
    said: String,
}

impl<'a> Reporter<'a> {
    /// Opens the node's folders; says nothing yet.
    pub(crate) fn new(args: &Args, heard: &'a Cell<Option<Instant>>) -> Result<Self, Failure> {
        // Opened anew each time, for what is mounted changes; that it can be is seen now.
        host::open(&args.root)?;
        let identity = Identity::generate().map_err(|error| Failure::Internal(format!("no key can be made: {error}")))?;
        let mut options = Options::new(args.address.as_str(), identity.clone());
        options.ca = Some(args.ca_file.clone());
        options.server_name.clone_from(&args.server_name);
        let client = Client::connect(options).map_err(|error| Failure::Config(error.to_string()))?;
        let login =
            WorkloadLogin { tenant: args.tenant.clone(), cluster: args.cluster.clone(), token_file: args.token_file.clone() };
        Ok(Self {
            path: args.root.clone(),
            identity,
            keeper: SessionKeeper::new(client, login),
            sequence: Cell::new(0),
            heard,
            said: String::new(),
        })
    }

    /// Reports at once, where something has changed, and now and then, for ever.
    pub(crate) async fn run(&mut self) {
        let mut watch = Watch::new(&self.path);
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
        let mut told: Option<(HostFacts, Instant)> = None;
        loop {
            let began = Instant::now();
            let facts = match host::open(&self.path) {
                Ok(root) => HostFacts::gather(&root),
                Err(failure) => {
                    tracing::warn!("{failure}");
                    sleep(backoff.wait()).await;
                    continue;
                }
            };
            let is_due = told.as_ref().is_none_or(|(before, at)| *before != facts || began.duration_since(*at) >= SIGN_OF_LIFE);
            if is_due {
                match self.report(&facts).await {
                    Ok(answer) => {
                        self.note(&answer);
                        told = Some((facts, began));
                        backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
                    }
                    Err(error) => {
                        tracing::warn!("the vault has not taken the report: {error}");
                        // What is gathered then is newer.
                        sleep(backoff.wait()).await;
                        continue;
                    }
                }
            }
            tokio::select! {
                () = watch.changed() => sleep(SETTLE).await,
                () = sleep_until(began + GATHER_INTERVAL) => {}
            }
            sleep_until(began + REST).await;
        }
    }

    fn note(&mut self, answer: &ReportPostureResponse) {
        self.heard.set(Some(Instant::now()));
        if self.said != answer.posture {
            tracing::info!("the vault knows this node as {}: {}", answer.node, answer.posture);
            self.said.clone_from(&answer.posture);
        }
    }

    async fn report(&self, facts: &HostFacts) -> Result<ReportPostureResponse, Error> {
        let gathered_ms = wall_clock_ms();
        let facts = serde_json::to_vec(facts).map_err(|error| Error::config(format!("the facts cannot be written: {error}")))?;
        if facts.len() > FACTS_BYTES_MAX {
            return Err(Error::config(format!(
                "the node's facts have {} bytes, and the vault takes {FACTS_BYTES_MAX}",
                facts.len()
            )));
        }
        let facts = facts.as_slice();
        self.keeper
            .call(async |client: Client| {
                // The session that the call is made with: a login on the way makes another.
                let session = session_bytes(&self.keeper.ensure().await?.id)?;
                let sequence = self.sequence.get() + 1;
                self.sequence.set(sequence);
                let signature = self.identity.sign(&signed_bytes(&session, sequence, gathered_ms, facts));
                let request = ReportPostureRequest {
                    facts: facts.to_vec(),
                    signature: signature.map_err(|error| Error::config(error.to_string()))?,
                    public_key: self.identity.public_key(),
                    sequence,
                    gathered: Some(prost_types::Timestamp {
                        seconds: i64::try_from(gathered_ms / 1_000).unwrap_or(i64::MAX),
                        nanos: i32::try_from(gathered_ms % 1_000 * 1_000_000).unwrap_or(0),
                    }),
                };
                Ok(client.postures().report_posture(request).await?.into_inner())
            })
            .await
    }
}

/// A session's id as the bytes that are signed.
fn session_bytes(id: &str) -> Result<[u8; 16], Error> {
    let number = u128::from_str_radix(id, 16).ok().filter(|_| id.len() == 32);
    number.map(u128::to_be_bytes).ok_or_else(|| Error::config(format!("the session's id is none: {id}")))
}

#[expect(clippy::disallowed_methods, reason = "when facts were gathered is told to people as a time of day")]
fn wall_clock_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_s_id_is_signed_as_its_bytes() {
        assert_eq!(
            session_bytes("000102030405060708090a0b0c0d0e0f").unwrap(),
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
        );
        for wrong in ["", "00", "g00102030405060708090a0b0c0d0e0f", "000102030405060708090a0b0c0d0e0f00"] {
            assert!(session_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
