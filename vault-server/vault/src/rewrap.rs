//! Re-encryption of everything under the newest terms, in the background.
//!
//! How far it has come is stored, so that it goes on where it was when the vault was sealed or the server ended. It looks at
//! a few records at a time, and rests as long as it has worked. In the end it counts: where no record is left under an old
//! term, old terms are dropped, and what was encrypted under them (in old copies of the store) is as good as destroyed once
//! those copies' keyrings are gone.

use std::{sync::Arc, time::Duration};

use coffer_barrier::{Batch, Expect, RecordKey, Survey};
use coffer_core::clock::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Authenticated, Failure, Planned, PolicyChange, Record, Unsealed, codec, unsealed::system_directory};

/// Where it is remembered how far re-encryption has come.
const REWRAP: &str = "rewrap";
/// The one record there.
const NEWEST: &str = "newest";
/// Steps between two notes of how far it has come.
const STEPS_PER_NOTE: u32 = 32;
/// How long to wait after a failure.
const RETRY: Duration = Duration::from_secs(5);
/// A step's rest is as long as the step, and no longer than this.
const REST_MAX: Duration = Duration::from_secs(1);

/// How far re-encryption has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrap {
    /// When it began.
    pub started: Timestamp,
    /// Who had it begin.
    pub started_by: String,
    /// Records there were when it began; 0 while they are counted.
    pub total: u64,
    /// Records looked at.
    pub seen: u64,
    /// Records re-encrypted.
    pub rewrapped: u64,
    /// When it was done.
    pub finished: Option<Timestamp>,
    /// Terms dropped in the end.
    pub dropped: u64,
    /// Where it goes on.
    #[serde(with = "serde_bytes")]
    after: Vec<u8>,
}

fn key() -> Result<RecordKey, Failure> {
    system_directory(REWRAP)?.child(NEWEST).map_err(|_| Failure::internal("a record's name is not one"))
}

impl Unsealed {
    /// How far re-encryption has come; nothing where there never was one.
    ///
    /// # Errors
    /// Fails where the store does.
    pub async fn rewrap_state(&self) -> Result<Option<Rewrap>, Failure> {
        let running = self.rewrap.borrow().clone();
        match running {
            Some(state) => Ok(Some(state)),
            None => self.stored_rewrap().await.map(|(state, _)| state),
        }
    }

    async fn stored_rewrap(&self) -> Result<(Option<Rewrap>, Expect), Failure> {
        let stored = self.barrier.get(&key()?).await?;
        let expect = Expect::unchanged(stored.as_ref());
        Ok((stored.map(|record| codec::decode(record.value.expose())).transpose()?, expect))
    }

    /// Plans re-encryption to begin; where it is under way, tells how far it has come.
    ///
    /// # Errors
    /// Fails where the store does.
    pub async fn begin_rewrap(self: &Arc<Self>, who: &Authenticated) -> Result<Planned<Rewrap>, Failure> {
        let (stored, expect) = self.stored_rewrap().await?;
        if let Some(under_way) = stored.filter(|state| state.finished.is_none()) {
            return Ok(Planned::read(self.rewrap.borrow().clone().unwrap_or(under_way)));
        }
        let state = Rewrap {
            started: self.now(),
            started_by: who.caller.principal.to_string(),
            total: 0,
            seen: 0,
            rewrapped: 0,
            finished: None,
            dropped: 0,
            after: Vec::new(),
        };
        let mut batch = Batch::default();
        batch.put(key()?, expect, codec::encode(&state)?);
        let (vault, begun) = (Arc::clone(self), state.clone());
        let then: crate::Change = Box::new(move || {
            let running = Arc::clone(&vault);
            vault.spawn(async move { running.run_rewrap(begun).await });
        });
        Ok(Planned { batch, answer: state, then: vec![then], policy: PolicyChange::None })
    }

    /// Goes on with what was under way when the vault ended.
    pub(crate) async fn resume_rewrap(&self) {
        match self.stored_rewrap().await {
            Ok((Some(state), _)) if state.finished.is_none() => self.run_rewrap(state).await,
            Ok(_) => {}
            Err(failure) => tracing::warn!(%failure, "whether records are to be re-encrypted cannot be read"),
        }
    }

    async fn run_rewrap(&self, mut state: Rewrap) {
        let ending = self.ending();
        loop {
            self.rewrap.send_replace(Some(state.clone()));
            let step = tokio::select! {
                () = ending.cancelled() => return,
                done = self.rewrap_all(&mut state) => done,
            };
            match step {
                Ok(()) => {
                    self.rewrap.send_replace(Some(state));
                    return;
                }
                Err(failure) => tracing::warn!(%failure, "re-encryption was interrupted; trying again"),
            }
            tokio::select! {
                () = ending.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    async fn rewrap_all(&self, state: &mut Rewrap) -> Result<(), Failure> {
        if state.total == 0 {
            state.total = self.survey().await?.all();
        }
        loop {
            self.rewrap_pass(state).await?;
            let survey = self.survey().await?;
            if survey.old() == 0 {
                return self.finish_rewrap(state, &survey).await;
            }
            // Keys were rotated meanwhile, or records changed while they were looked at.
            state.after.clear();
            state.seen = 0;
            state.total = survey.all();
        }
    }

    async fn rewrap_pass(&self, state: &mut Rewrap) -> Result<(), Failure> {
        let mut steps = 0;
        loop {
            let began = tokio::time::Instant::now();
            let step = {
                // Tables know their rows' versions: nobody may plan a change of one while it is re-encrypted.
                let _one_at_a_time = self.change().await;
                let step = self.barrier.rewrap(&state.after).await?;
                for (key, version) in &step.changed {
                    self.rewritten(key, *version);
                }
                step
            };
            state.seen += step.seen;
            state.rewrapped += u64::try_from(step.changed.len()).unwrap_or(u64::MAX);
            let Some(next) = step.next else { return Ok(()) };
            state.after = next;
            steps += 1;
            if steps % STEPS_PER_NOTE == 0 {
                self.note_rewrap(state).await?;
            }
            self.rewrap.send_replace(Some(state.clone()));
            tokio::time::sleep(began.elapsed().min(REST_MAX)).await;
        }
    }

    async fn survey(&self) -> Result<Survey, Failure> {
        let (mut survey, mut after) = (Survey::default(), Vec::new());
        loop {
            let began = tokio::time::Instant::now();
            match self.barrier.survey(&after, &mut survey).await? {
                Some(next) => after = next,
                None => return Ok(survey),
            }
            tokio::time::sleep(began.elapsed().min(REST_MAX)).await;
        }
    }

    async fn note_rewrap(&self, state: &Rewrap) -> Result<(), Failure> {
        let (_, expect) = self.stored_rewrap().await?;
        let mut batch = Batch::default();
        batch.put(key()?, expect, codec::encode(state)?);
        self.barrier.commit(batch).await?;
        Ok(())
    }

    /// Drops the terms that nothing is encrypted under any more, and says so in the audit log.
    async fn finish_rewrap(&self, state: &mut Rewrap, survey: &Survey) -> Result<(), Failure> {
        let _one_at_a_time = self.change().await;
        let mut batch = Batch::default();
        let mut dropped = 0;
        for (scope, _) in self.scopes() {
            // The count is of the terms of its time: one that was added since is kept, and so is the one before it.
            let Some(newest) = survey.newest.get(&scope) else { continue };
            let old = self.barrier.terms(scope).await?.iter().filter(|term| term.number < *newest).count();
            if old > 0 {
                batch.drop_terms(scope, *newest);
                dropped += u64::try_from(old).unwrap_or(u64::MAX);
            }
        }
        let done = Rewrap { finished: Some(self.now()), dropped, after: Vec::new(), ..state.clone() };
        let (_, expect) = self.stored_rewrap().await?;
        batch.put(key()?, expect, codec::encode(&done)?);
        let record = Record::event("rewrap", self.now())?
            .detailed("records", done.seen)
            .detailed("rewrapped", done.rewrapped)
            .detailed("terms_dropped", done.dropped)
            .detailed("started_by", &done.started_by);
        let stored = self.write(batch, &record).await?;
        *state = done;
        self.append_written(stored).await?;
        Ok(())
    }
}
