//! Saving everything at one moment, and restoring it into a new server.

use std::sync::Arc;

use coffer_barrier::{
    BarrierError,
    snapshot::{self, RECIPIENTS_MAX, Restore, RestoreError, SaveError, Saved},
};
use coffer_core::{id::VaultId, reason::Reason};
use coffer_crypto::recipients::Recipient;
use serde::Serialize;
use tokio::sync::{OwnedMutexGuard, mpsc};

use crate::{
    Failure, Unsealed,
    trail::{Outcome, Record},
    vault::Vault,
};

/// The format, as a snapshot says it about itself.
const FORMAT: u32 = 1;
/// Pieces of a snapshot that wait for a slow reader before copying waits itself.
pub const SNAPSHOT_PIECES_MAX: usize = 4;

/// What a snapshot says about itself in the clear.
#[derive(Serialize)]
struct About<'a> {
    format: u32,
    vault_id: String,
    /// Milliseconds since 1970, by the server's clock, when it was begun.
    taken_ms: u64,
    /// The store's revision then.
    store_revision: u64,
    store: &'a str,
    server_version: &'a str,
    recipients: Vec<String>,
}

/// Recipients that can be encrypted to.
pub struct Recipients(Vec<Recipient>);

impl Recipients {
    /// Reads them: 1 to [`RECIPIENTS_MAX`].
    ///
    /// # Errors
    /// Fails where there are none, too many, or one is none.
    pub fn parse(texts: &[String]) -> Result<Self, Failure> {
        if texts.is_empty() || texts.len() > RECIPIENTS_MAX {
            let message = format!("a snapshot is encrypted to 1 to {RECIPIENTS_MAX} age recipients: age1...");
            return Err(Failure::told(Reason::InvalidArgument, message));
        }
        let parse = |(number, text): (usize, &String)| {
            text.parse().map_err(|error| Failure::told(Reason::InvalidArgument, format!("recipient {number}: {error}")))
        };
        (1..).zip(texts).map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// They as text, for the record.
    #[must_use]
    pub fn names(&self) -> String {
        self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

impl Unsealed {
    /// Sends a snapshot, piece by piece, and has the audit log say how that ended. One at a time.
    ///
    /// # Errors
    /// Fails where one is under way, the store fails, or the reader is gone or too slow.
    pub async fn save_snapshot(
        &self,
        recipients: &Recipients,
        version: &str,
        out: mpsc::Sender<Vec<u8>>,
    ) -> Result<Saved, Failure> {
        let busy = |_| Failure::new(Reason::Busy, "a snapshot is being saved already: try again when that is done");
        let _one_at_a_time = self.saving.try_lock().map_err(busy)?;
        let about = About {
            format: FORMAT,
            vault_id: self.barrier.vault_id().to_string(),
            taken_ms: self.now().millis(),
            store_revision: self.barrier.revision().await?.0,
            store: self.barrier.store_kind(),
            server_version: version,
            recipients: recipients.0.iter().map(ToString::to_string).collect(),
        };
        let about = serde_json::to_string(&about).map_err(|_| Failure::internal("what a snapshot says about itself"))?;
        let saved = self.barrier.save(&about, &recipients.0, out).await;
        let record = Record::event("snapshot", self.now())?;
        match saved {
            Ok(saved) => {
                let record = record.detailed("entries", saved.entries).detailed("bytes", saved.bytes);
                let record = record.detailed("snapshot_sha256", hex::encode(*saved.digest));
                self.append(record.answered(Outcome::Ok)).await?;
                Ok(saved)
            }
            Err(error) => {
                let failure = unsaved(error);
                self.append(record.answered(Outcome::Failed(failure.reason))).await?;
                Err(failure)
            }
        }
    }
}

/// A snapshot that is being restored.
pub struct Restoring {
    vault: Arc<Vault>,
    restore: Restore,
    _one_at_a_time: OwnedMutexGuard<()>,
}

/// A snapshot that was restored.
pub struct RestoredVault {
    /// The vault.
    pub vault: VaultId,
    /// Entries that the snapshot had.
    pub entries: u64,
}

impl Vault {
    /// Begins to restore a snapshot that says this about itself. Nothing else makes a vault meanwhile.
    ///
    /// # Errors
    /// Fails where there is a vault already.
    pub async fn begin_restore(self: &Arc<Self>, about: &str) -> Result<Restoring, Failure> {
        let one_at_a_time = Arc::clone(&self.making).try_lock_owned();
        let one_at_a_time = one_at_a_time.map_err(|_| Failure::new(Reason::Busy, "a vault is being made here already"))?;
        let restore = Restore::begin(Arc::clone(&self.store), about).await.map_err(unrestored)?;
        Ok(Restoring { vault: Arc::clone(self), restore, _one_at_a_time: one_at_a_time })
    }

    /// Deletes what an attempt to restore left that was broken off.
    pub(crate) async fn clear_broken_restore(&self) -> Result<(), Failure> {
        match snapshot::clear(&*self.store).await {
            Ok(()) | Err(RestoreError::AlreadyInitialised) => Ok(()),
            Err(error) => Err(unrestored(error)),
        }
    }
}

impl Restoring {
    /// Takes the next piece of the snapshot's content.
    ///
    /// # Errors
    /// Fails where it is damaged, or the store fails.
    pub async fn take(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.restore.take(piece).await.map_err(unrestored)
    }

    /// Checks the whole and makes it the vault, sealed with what sealed it.
    ///
    /// # Errors
    /// Fails where the snapshot is cut short or damaged, or the store fails.
    pub async fn finish(self) -> Result<RestoredVault, Failure> {
        let Self { vault, restore, _one_at_a_time } = self;
        let finished = restore.finish(vault.now()).await;
        let (header, restored) = match finished {
            Ok(finished) => finished,
            Err(error) => {
                vault.clear_broken_restore().await?;
                return Err(unrestored(error));
            }
        };
        let id = header.vault_id();
        vault.header.store(Some(Arc::new(header)));
        if let Err(error) = vault.unseal_by_file().await {
            tracing::error!(error = &error as &dyn std::error::Error, "the restored vault cannot be unsealed");
        }
        Ok(RestoredVault { vault: id, entries: restored.entries })
    }

    /// Leaves the store as it was.
    pub async fn abandon(self) {
        if let Err(failure) = self.vault.clear_broken_restore().await {
            tracing::warn!(%failure, "what was restored so far is cleared away with the next attempt, or the next start");
        }
    }
}

fn unsaved(error: SaveError) -> Failure {
    match error {
        SaveError::Barrier(error) => error.into(),
        SaveError::Gone => Failure::new(Reason::Unavailable, "nobody took the snapshot to its end"),
        SaveError::TooFast => Failure::told(Reason::Unavailable, error.to_string()),
        SaveError::Recipients => Failure::invalid("the snapshot cannot be encrypted to these recipients"),
        SaveError::Internal(what) => Failure::internal(what),
    }
}

fn unrestored(error: RestoreError) -> Failure {
    let told = |reason| Failure::told(reason, format!("{error}; nothing was restored"));
    match error {
        RestoreError::AlreadyInitialised => told(Reason::AlreadyInitialised),
        RestoreError::NotEmpty => told(Reason::AlreadyInitialised),
        RestoreError::Cut | RestoreError::Damaged(_) => told(Reason::InvalidArgument),
        RestoreError::Barrier(BarrierError::Corrupt(_) | BarrierError::Newer { .. }) => told(Reason::InvalidArgument),
        RestoreError::Barrier(error) => error.into(),
    }
}
