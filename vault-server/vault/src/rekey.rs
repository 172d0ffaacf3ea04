//! New shares of the unseal key.
//!
//! Somebody with a session asks for them, a quorum of the present share holders agrees by handing in theirs (where a key file
//! seals the vault, whoever speaks to it on its local socket), and, unless it was asked not to, the holders of the new ones show that they have them before those of before become void. One at a
//! time; forgotten when the vault is sealed, and an hour after its last beginning.

use coffer_barrier::{
    Batch,
    seal::{ATTEMPT_LIFETIME, Header, NewShares, Quorum, QuorumError, Rekey, Taken},
};
use coffer_core::{clock::Timestamp, reason::Reason};
use coffer_crypto::random;
use coffer_secret::SecretString;

use crate::{
    Failure, Unsealed,
    trail::{self, Outcome, Record},
    vault::{Progress, StaticKeys, Vault, refused_init, refused_share, refused_unseal, share_numbers},
};

/// New shares in the making.
pub(crate) struct Rekeying {
    new: NewShares,
    verify: bool,
    stage: Stage,
}

enum Stage {
    /// Whoever has the key file is to say so.
    AgreeingByFile(Asked),
    /// Holders of the present shares hand them in.
    Agreeing(Quorum),
    /// Holders of the new shares hand them in.
    Verifying(Box<Rekey>, Quorum),
}

/// When somebody asked, and what names the attempt.
struct Asked {
    nonce: String,
    began: Timestamp,
}

/// How a rekey stands.
pub struct RekeyProgress {
    /// How the quorum stands that shares are handed in to: first of the present ones, then of the new ones. Where a key file seals the
    /// vault, none of the present ones are needed.
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
    fn is_under_way(&self, now: Timestamp) -> bool {
        match &self.stage {
            Stage::AgreeingByFile(asked) => now.since(asked.began) <= ATTEMPT_LIFETIME,
            Stage::Agreeing(quorum) | Stage::Verifying(_, quorum) => quorum.is_under_way(now),
        }
    }

    fn progress(&self) -> RekeyProgress {
        let progress = match &self.stage {
            Stage::AgreeingByFile(asked) => Progress { nonce: asked.nonce.clone(), received: 0, needed: 0 },
            Stage::Agreeing(quorum) | Stage::Verifying(_, quorum) => quorum.progress().into(),
        };
        RekeyProgress {
            progress,
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
        self.rekeying.lock().await.as_ref().filter(|rekeying| rekeying.is_under_way(now)).map(Rekeying::progress)
    }

    /// Begins to make new shares.
    ///
    /// # Errors
    /// Fails where one is under way, the numbers make no sense, or a recipient is none.
    pub async fn start_rekey(
        &self,
        count: u32,
        threshold: u32,
        recipients: Vec<String>,
        verify: bool,
    ) -> Result<RekeyProgress, Failure> {
        let now = self.now();
        let mut slot = self.rekeying.lock().await;
        if slot.as_ref().is_some_and(|rekeying| rekeying.is_under_way(now)) {
            return Err(Failure::new(Reason::Conflict, "new shares are being made already: go on, or cancel that first"));
        }
        let (count, threshold) = share_numbers(count, threshold)?;
        let new = NewShares { count, threshold, recipients };
        new.check_recipients().map_err(refused_init)?;
        let header = self.barrier.header().await?;
        let stage = match header.quorum() {
            Some(mut quorum) => {
                begin(&mut quorum, now)?;
                Stage::Agreeing(quorum)
            }
            None => {
                let nonce = random::bytes::<16>().map_err(|_| Failure::internal("no random numbers"))?;
                Stage::AgreeingByFile(Asked { nonce: hex::encode(nonce), began: now })
            }
        };
        Ok(slot.insert(Rekeying { new, verify, stage }).progress())
    }

    /// Forgets the new shares in the making; the present ones stay in force. Answers whether there were any.
    pub async fn cancel_rekey(&self) -> bool {
        self.rekeying.lock().await.take().is_some()
    }

    /// Has shares take the key file's place, by the right of who has the file.
    async fn rekey_by_file(&self, keys: StaticKeys, nonce: &str, record: &Record) -> Result<RekeyStep, Failure> {
        let now = self.now();
        let mut slot = self.rekeying.lock().await;
        let Some(Rekeying { stage: Stage::AgreeingByFile(asked), .. }) =
            slot.as_ref().filter(|rekeying| rekeying.is_under_way(now))
        else {
            return Err(none_under_way());
        };
        if asked.nonce != nonce {
            return Err(refused_share(QuorumError::Nonce));
        }
        let Some(Rekeying { new, verify, .. }) = slot.take() else { return Err(none_under_way()) };
        let made = self.barrier.rekey_static(&keys.key, keys.previous.as_ref(), &new).await;
        drop(keys);
        let (rekey, shares) = made.map_err(refused_rekey)?;
        self.agreed(&mut slot, (new, verify), rekey, shares, record).await
    }

    /// The new shares are made: they are in force at once, or wait until their holders have shown them.
    async fn agreed(
        &self,
        slot: &mut Option<Rekeying>,
        (new, verify): (NewShares, bool),
        rekey: Rekey,
        shares: Vec<SecretString>,
        record: &Record,
    ) -> Result<RekeyStep, Failure> {
        if !verify {
            self.put_in_force(&rekey, record).await?;
            return Ok(RekeyStep { state: None, shares });
        }
        let mut quorum = rekey.quorum();
        begin(&mut quorum, self.now())?;
        self.append(record.clone().detailed("agreed", true).answered(Outcome::Ok)).await?;
        let next = slot.insert(Rekeying { new, verify, stage: Stage::Verifying(Box::new(rekey), quorum) });
        Ok(RekeyStep { state: Some(next.progress()), shares })
    }

    /// Takes a share, which must come with the nonce; `record` is written with what follows from it.
    async fn rekey_share(&self, share: &SecretString, nonce: &str, record: &Record) -> Result<RekeyStep, Failure> {
        let now = self.now();
        let mut slot = self.rekeying.lock().await;
        let rekeying = slot.as_mut().filter(|rekeying| rekeying.is_under_way(now)).ok_or_else(none_under_way)?;
        let taken = match &mut rekeying.stage {
            Stage::AgreeingByFile(_) => {
                let message = "a key file seals this vault: on the server's local socket, without a share";
                return Err(Failure::new(Reason::LocalOnly, message));
            }
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
            Stage::AgreeingByFile(_) => Err(none_under_way()),
            Stage::Agreeing(_) => {
                let (rekey, shares) = self.barrier.rekey(&secret, &new).await.map_err(refused_rekey)?;
                drop(secret);
                self.agreed(&mut slot, (new, verify), rekey, shares, record).await
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
    /// one needed, new shares come to be, and in the end are in force. Where a key file seals the vault, no share, from the local socket,
    /// stands for a quorum of the present ones: whoever is there can read that file.
    ///
    /// # Errors
    /// Fails where none is under way, the nonce is another's, or the share is damaged, or of another vault or set.
    pub async fn rekey(&self, share: &SecretString, nonce: &str, local: bool, record: Record) -> Result<RekeyStep, Failure> {
        let vault = self.unsealed()?;
        let keys = if local && share.is_empty() { self.static_keys()? } else { None };
        let step = match keys {
            Some(keys) => vault.rekey_by_file(keys, nonce, &record).await,
            None => vault.rekey_share(share, nonce, &record).await,
        };
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
