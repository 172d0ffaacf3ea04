//! What goes on while a vault is at work, and how the work ends.

use std::{sync::Arc, time::Duration};

use coffer_barrier::{Batch, Expect};
use tokio::sync::watch;

use crate::{Failure, Unsealed, codec, records::IdempotencyRecord};

/// How long requests under way may take once the vault is sealed.
const REQUESTS_TIME_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether they are done.
const REQUESTS_LOOK: Duration = Duration::from_millis(5);
/// How often old idempotency records are looked for.
const FORGET_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Idempotency records forgotten at once.
const FORGET_AT_ONCE: usize = 64;

impl Unsealed {
    /// Runs something until the vault is sealed: what it does must end by itself when [`Self::ending`] says so.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Tells when sessions may have ended before their time: pods went, somebody was logged out, deleted or denied.
    #[must_use]
    pub fn session_losses(&self) -> watch::Receiver<u64> {
        self.session_losses.subscribe()
    }

    /// Has streams look whether their sessions still hold.
    pub(crate) fn look_at_sessions(&self) {
        self.session_losses.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// What goes on while the vault is at work.
    pub(crate) fn begin_upkeep(vault: &Arc<Self>) {
        let upkeep = Arc::clone(vault);
        vault.spawn(async move { upkeep.pass_changes_on().await });
        let upkeep = Arc::clone(vault);
        vault.spawn(async move { upkeep.keep_checkpoints().await });
        let upkeep = Arc::clone(vault);
        vault.spawn(async move { upkeep.forget_now_and_then().await });
        let upkeep = Arc::clone(vault);
        vault.spawn(async move { upkeep.resume_rewrap().await });
        let upkeep = Arc::clone(vault);
        vault.spawn(async move { upkeep.erase_deleted_mounts().await });
        vault.spawn(Arc::clone(vault).end_what_is_due());
        vault.spawn(Arc::clone(vault).end_with_owners());
        vault.spawn(Arc::clone(vault).rotate_static_roles());
        let upkeep = Arc::clone(vault);
        vault.spawn(async move { upkeep.tidy_certificates().await });
    }

    /// Ends the work: streams and upkeep stop, requests under way are waited for, the log gets its last checkpoint.
    pub(crate) async fn end(self: Arc<Self>) {
        self.ending.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let mut waited = Duration::ZERO;
        while Arc::strong_count(&self) > 1 && waited < REQUESTS_TIME_MAX {
            tokio::time::sleep(REQUESTS_LOOK).await;
            waited += REQUESTS_LOOK;
        }
        if let Err(failure) = self.checkpoint_now().await {
            tracing::warn!(%failure, "the audit log ends without a checkpoint");
        }
        self.log.close().await;
    }

    async fn forget_now_and_then(&self) {
        let mut interval = tokio::time::interval(FORGET_INTERVAL);
        loop {
            tokio::select! {
                () = self.ending.cancelled() => return,
                _ = interval.tick() => {}
            }
            if let Err(failure) = self.forget_repeats().await {
                tracing::warn!(%failure, "old idempotency records cannot be forgotten; trying again");
            }
        }
    }

    /// Forgets idempotency records whose time is over.
    async fn forget_repeats(&self) -> Result<(), Failure> {
        let now = self.now();
        let mut batch = Batch::default();
        for (name, record) in self.barrier.children_records(&self.repeats).await? {
            let repeat: IdempotencyRecord = codec::decode(record.value.expose())?;
            if repeat.expires <= now && batch.len() < FORGET_AT_ONCE {
                let key = self.repeats.child(&name).map_err(|_| Failure::internal("a record's name is not one"))?;
                batch.delete(key, Expect::Version(record.version));
            }
        }
        if !batch.is_empty() {
            self.barrier.commit(batch).await?;
        }
        Ok(())
    }
}
