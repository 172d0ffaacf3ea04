//! Collecting shares until there are enough.

use std::{fmt, time::Duration};

use coffer_core::clock::Timestamp;
use coffer_crypto::{
    key::Key,
    random::{self, RandomError},
    share::{CombineError, ParseError, Share, ShareError, ShareSet},
};

/// How long an attempt may take, from its first share to its last.
pub const ATTEMPT_LIFETIME: Duration = coffer_core::limits::QUORUM_LIFETIME;

/// Why a share was not taken. The attempt stands as before, unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// The nonce is not that of the attempt under way; or one was given and there is no attempt, or none and there is one.
    #[error("the nonce is not that of the attempt under way")]
    Nonce,
    /// The text is not a share, or a damaged one.
    #[error(transparent)]
    Damaged(#[from] ParseError),
    /// The share is of another vault or another set, or it was forged.
    #[error(transparent)]
    Foreign(#[from] ShareError),
    /// The share of this number was taken already.
    #[error("share {0} was taken already")]
    Repeated(u8),
    /// The shares are right, and what they make is not: the header was tampered with. The attempt is over.
    #[error("the shares do not make the secret that they were made of: the header was tampered with")]
    WrongSecret,
    /// The operating system gave no random numbers.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// What a quorum of shares makes: the secret that wraps the root key.
pub struct SealSecret {
    key: Key,
    /// The shares that made it.
    set: ShareSet,
}

impl SealSecret {
    /// Whether it was made of shares of this set.
    pub(super) fn is_of(&self, set: &ShareSet) -> bool {
        self.set == *set
    }

    pub(super) const fn key(&self) -> &Key {
        &self.key
    }
}

impl fmt::Debug for SealSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealSecret")
    }
}

/// How far an attempt has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Names the attempt, in 32 lower-case hexadecimal digits; empty where none is under way.
    pub nonce: String,
    /// Shares taken so far.
    pub received: u8,
    /// Shares needed.
    pub needed: u8,
}

/// What follows from a share.
#[derive(Debug)]
pub enum Taken {
    /// More are needed.
    More(Progress),
    /// That was the last one needed. The attempt is over, its shares are wiped.
    Enough(SealSecret),
}

struct Attempt {
    nonce: String,
    began: Timestamp,
    shares: Vec<Share>,
}

/// Takes shares one by one until there are enough. Does no I/O.
///
/// An attempt begins with its first good share, has a nonce that every further share must come with, and ends when there
/// are enough, when it is [reset](Self::reset), or [`ATTEMPT_LIFETIME`] after it began.
pub struct Quorum {
    set: ShareSet,
    attempt: Option<Attempt>,
}

impl Quorum {
    pub(super) const fn new(set: ShareSet) -> Self {
        Self { set, attempt: None }
    }

    /// How far the attempt has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let (nonce, received) = self
            .attempt
            .as_ref()
            .map_or((String::new(), 0), |attempt| (attempt.nonce.clone(), u8::try_from(attempt.shares.len()).unwrap_or(u8::MAX)));
        Progress { nonce, received, needed: self.set.threshold() }
    }

    /// Begins an attempt that has a nonce before its first share. An attempt under way is forgotten.
    pub fn begin(&mut self, now: Timestamp) -> Result<Progress, RandomError> {
        self.attempt = Some(Attempt { nonce: fresh_nonce()?, began: now, shares: Vec::new() });
        Ok(self.progress())
    }

    /// Whether an attempt is under way.
    #[must_use]
    pub fn is_under_way(&self, now: Timestamp) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| now.since(attempt.began) <= ATTEMPT_LIFETIME)
    }

    /// Takes a share's text. `nonce` is that of the attempt, and empty for the first share.
    pub fn take(&mut self, nonce: &str, share: &str, now: Timestamp) -> Result<Taken, QuorumError> {
        self.attempt.take_if(|attempt| now.since(attempt.began) > ATTEMPT_LIFETIME);
        if self.attempt.as_ref().map_or("", |attempt| &attempt.nonce) != nonce {
            return Err(QuorumError::Nonce);
        }
        let share = Share::parse(share)?;
        self.set.check(&share)?;
        let attempt = match &mut self.attempt {
            Some(attempt) => attempt,
            none => none.insert(Attempt { nonce: fresh_nonce()?, began: now, shares: Vec::new() }),
        };
        if attempt.shares.iter().any(|other| other.index() == share.index()) {
            return Err(QuorumError::Repeated(share.index()));
        }
        attempt.shares.push(share);
        if attempt.shares.len() < self.set.threshold().into() {
            return Ok(Taken::More(self.progress()));
        }
        let shares = self.attempt.take().map(|attempt| attempt.shares).unwrap_or_default();
        match self.set.combine(&shares) {
            Ok(key) => Ok(Taken::Enough(SealSecret { key, set: self.set.clone() })),
            Err(CombineError::Share(_, error)) => Err(error.into()),
            Err(CombineError::Twice | CombineError::TooFew | CombineError::WrongSecret) => Err(QuorumError::WrongSecret),
        }
    }

    /// Forgets the shares taken so far.
    pub fn reset(&mut self) {
        self.attempt = None;
    }
}

impl fmt::Debug for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quorum({:?})", self.progress())
    }
}

fn fresh_nonce() -> Result<String, RandomError> {
    let bytes = random::bytes::<16>()?;
    Ok(bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|digit| char::from_digit(digit.into(), 16)).collect())
}
