//! New shares of the unseal key.
//!
//! Somebody with a session asks for them, a quorum of the present share holders agrees by handing in theirs, and, unless it
//! was asked not to, the holders of the new ones show that they have them before those of before become void. One at a
//! time; forgotten when the vault is sealed, and an hour after its last beginning.

use coffer_barrier::{
    Batch,
    seal::{Header, NewShares, Quorum, Rekey, SealKind, Taken},
};
use coffer_core::{clock::Timestamp, reason::Reason};
use coffer_secret::SecretString;

use crate::{
    Failure, Unsealed,
    trail::{self, Outcome, Record},
    vault::{Progress, Vault, refused_init, refused_share, refused_unseal, share_numbers},
};

/// New shares in the making.
pub(crate) struct Rekeying {
    new: NewShares,
    verify: bool,
    stage: Stage,
}

enum Stage {
    /// Holders of the present shares hand them in.
    Agreeing(Quorum),
    /// Holders of the new shares hand them in.
    Verifying(Box<Rekey>, Quorum),
}

/// How a rekey stands.
pub struct RekeyProgress {
    /// How the quorum stands that shares are handed in to: first of the present ones, then of the new ones.
    pub progress: Progress,
    /// Whether it is new ones that are handed in.
    pub verifying: bool,
    /// How many shares there will be.
    pub share_count: u32,
    /// How many of them will be needed.
    pub share_threshold: u32,
}

/// What a share led to.
pub struct RekeyStep {
    /// How it stands; nothing once the new shares are in force.
    pub state: Option<RekeyProgress>,
    /// The new shares, once a quorum has agreed. They are shown this once.
    pub shares: Vec<SecretString>,
}

impl Rekeying {
    fn quorum(&self) -> &Quorum {
        match &self.stage {
            Stage::Agreeing(quorum) | Stage::Verifying(_, quorum) => quorum,
        }
    }

    fn progress(&self) -> RekeyProgress {
        RekeyProgress {
            progress: self.quorum().progress().into(),
            verifying: matches!(self.stage, Stage::Verifying(..)),
            share_count: self.new.count.into(),
            share_threshold: self.new.threshold.into(),
        }
    }
}

impl Unsealed {
    /// How a rekey stands; nothing where none is under way.
    pub async fn rekey_progress(&self) -> Option<RekeyProgress> {
        let now = self.now();
        self.rekeying.lock().await.as_ref().filter(|rekeying| rekeying.quorum().is_under_way(now)).map(Rekeying::progress)
    }

    /// Begins to make new shares.
    ///
    /// # Errors
    /// Fails where one is under way, the numbers make no sense, a recipient is none, or the vault has no shares.
    pub async fn start_rekey(
        &self,
        count: u32,
        threshold: u32,
        recipients: Vec<String>,
        verify: bool,
    ) -> Result<RekeyProgress, Failure> {
        let now = self.now();
        let mut slot = self.rekeying.lock().await;
        if slot.as_ref().is_some_and(|rekeying| rekeying.quorum().is_under_way(now)) {
            return Err(Failure::new(Reason::Conflict, "new shares are being made already: go on, or cancel that first"));
        }
        let (count, threshold) = share_numbers(count, threshold)?;
        let new = NewShares { count, threshold, recipients };
        new.check_recipients().map_err(refused_init)?;
        let header = self.barrier.header().await?;
        if header.kind() != SealKind::Shamir {
            return Err(Failure::invalid("this vault is sealed with a key file: it has no shares; change the file instead"));
        }
        let mut quorum = header.quorum().ok_or_else(|| Failure::internal("a seal by shares without shares"))?;
        begin(&mut quorum, now)?;
        Ok(slot.insert(Rekeying { new, verify, stage: Stage::Agreeing(quorum) }).progress())
    }

    /// Forgets the new shares in the making; the present ones stay in force. Answers whether there were any.
    pub async fn cancel_rekey(&self) -> bool {
        self.rekeying.lock().await.take().is_some()
    }

    /// Takes a share, which must come with the nonce; `record` is written with what follows from it.
    async fn rekey_share(&self, share: &SecretString, nonce: &str, record: &Record) -> Result<RekeyStep, Failure> {
        let now = self.now();
        let mut slot = self.rekeying.lock().await;
        let rekeying = slot.as_mut().filter(|rekeying| rekeying.quorum().is_under_way(now)).ok_or_else(none_under_way)?;
        let taken = match &mut rekeying.stage {
            Stage::Agreeing(quorum) | Stage::Verifying(_, quorum) => quorum.take(nonce, share.expose().trim(), now),
        };
        let secret = match taken.map_err(refused_share)? {
            Taken::More(_) => {
                let progress = rekeying.progress();
                let record = record.clone().detailed("shares", progress.progress.received);
                self.append(record.detailed("verifying", progress.verifying).answered(Outcome::Ok)).await?;
                return Ok(RekeyStep { state: Some(progress), shares: Vec::new() });
            }
            Taken::Enough(secret) => secret,
        };
        // From here on what fails ends the attempt: its shares are used up.
        let Some(Rekeying { new, verify, stage }) = slot.take() else { return Err(none_under_way()) };
        match stage {
            Stage::Agreeing(_) => {
                let (rekey, shares) = self.barrier.rekey(&secret, &new).await.map_err(refused_rekey)?;
                drop(secret);
                if !verify {
                    self.put_in_force(&rekey, record).await?;
                    return Ok(RekeyStep { state: None, shares });
                }
                let mut quorum = rekey.quorum();
                begin(&mut quorum, now)?;
                self.append(record.clone().detailed("agreed", true).answered(Outcome::Ok)).await?;
                let next = slot.insert(Rekeying { new, verify, stage: Stage::Verifying(Box::new(rekey), quorum) });
                Ok(RekeyStep { state: Some(next.progress()), shares })
            }
            Stage::Verifying(rekey, _) => {
                rekey.check(&secret).map_err(refused_unseal)?;
                drop(secret);
                self.put_in_force(&rekey, record).await?;
                Ok(RekeyStep { state: None, shares: Vec::new() })
            }
        }
    }

    /// Writes the new seal in one transaction with its record.
    async fn put_in_force(&self, rekey: &Rekey, record: &Record) -> Result<(), Failure> {
        let record = record.clone().detailed("in_force", true).answered(Outcome::Ok);
        let mut batch = Batch::default();
        let stored = trail::add_pending(&mut batch, &record)?;
        rekey.put_in_force(&self.barrier, &batch).await?;
        self.append_written(stored).await?;
        Ok(())
    }
}

impl Vault {
    /// Takes a share for a rekey that is under way: a present one, or, once a quorum has agreed, a new one. With the last
    /// one needed, new shares come to be, and in the end are in force.
    ///
    /// # Errors
    /// Fails where none is under way, the nonce is another's, or the share is damaged, or of another vault or set.
    pub async fn rekey(&self, share: &SecretString, nonce: &str, record: Record) -> Result<RekeyStep, Failure> {
        let vault = self.unsealed()?;
        let step = vault.rekey_share(share, nonce, &record).await;
        // In force, or perhaps so: what is stored tells.
        let perhaps = |failure: &Failure| matches!(failure.reason, Reason::Unavailable | Reason::DiskFull);
        if step.as_ref().map_or_else(perhaps, |step| step.state.is_none())
            && let Ok(header) = vault.barrier.header().await
        {
            self.seal_changed(header).await;
        }
        step
    }

    /// Shares of before, handed in for something else, are of no use any more.
    async fn seal_changed(&self, header: Header) {
        *self.unsealing.lock().await = None;
        *self.recovering.lock().await = None;
        self.header.store(Some(std::sync::Arc::new(header)));
    }
}

fn begin(quorum: &mut Quorum, now: Timestamp) -> Result<(), Failure> {
    quorum.begin(now).map(drop).map_err(|_| Failure::internal("no random numbers"))
}

fn none_under_way() -> Failure {
    Failure::new(Reason::NonceMismatch, "no new shares are being made: an admin begins with `coffer operator rekey start`")
}

fn refused_rekey(error: coffer_barrier::seal::RekeyError) -> Failure {
    match error {
        coffer_barrier::seal::RekeyError::Quorum(error) => refused_unseal(error),
        coffer_barrier::seal::RekeyError::Shares(error) => refused_init(error),
    }
}
