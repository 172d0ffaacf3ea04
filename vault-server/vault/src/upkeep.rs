//! What goes on while a vault is at work, and how the work ends.

use std::{sync::Arc, time::Duration};

use coffer_barrier::{Batch, Expect};
use tokio::sync::watch;

use crate::{Failure, Unsealed, codec, records::IdempotencyRecord};

/// How long requests under way may take once the vault is sealed.
const REQUESTS_TIME_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether they are done.
const REQUESTS_LOOK: Duration = Duration::from_millis(5);
/// How long to wait before what panicked is begun again.
const BEGIN_AGAIN: Duration = Duration::from_secs(1);
/// How often old idempotency records are looked for.
const FORGET_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Idempotency records forgotten at once.
const FORGET_AT_ONCE: usize = 64;

impl Unsealed {
    /// Runs something until the vault is sealed: what it does must end by itself when [`Self::ending`] says so.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Runs what must not stop while the vault is at work: it is begun again where it panics.
    fn keep_up<T>(self: &Arc<Self>, what: &'static str, task: impl Fn(Arc<Self>) -> T + Send + 'static)
    where
        T: Future<Output = ()> + Send + 'static,
    {
        let vault = Arc::clone(self);
        self.spawn(async move {
            while let Err(ended) = vault.tasks.spawn(task(Arc::clone(&vault))).await {
                tracing::error!(%ended, what, "it ended before its time, and is begun again");
                tokio::select! {
                    () = vault.ending.cancelled() => return,
                    () = tokio::time::sleep(BEGIN_AGAIN) => {}
                }
            }
        });
    }

    /// Tells when sessions may have ended before their time: pods went, somebody was logged out, deleted or denied.
    #[must_use]
    pub fn session_losses(&self) -> watch::Receiver<u64> {
        self.session_losses.subscribe()
    }

    /// Has streams look whether their sessions still hold.
    pub(crate) fn look_at_sessions(&self) {
        self.session_losses.tell();
    }

    /// What goes on while the vault is at work.
    pub(crate) fn begin_upkeep(vault: &Arc<Self>) {
        vault.keep_up("passing changes on", |vault| async move { vault.pass_changes_on().await });
        vault.keep_up("checkpoints", |vault| async move { vault.keep_checkpoints().await });
        vault.keep_up("forgetting old idempotency records", |vault| async move { vault.forget_now_and_then().await });
        vault.keep_up("re-encryption", |vault| async move { vault.resume_rewrap().await });
        vault.keep_up("erasing what was deleted", |vault| async move { vault.erase_deleted_mounts().await });
        vault.keep_up("the look for what is due", Self::end_what_is_due);
        vault.keep_up("the look for owners who are gone", Self::end_with_owners);
        vault.keep_up("the look for conditions that hold no longer", Self::withdraw_what_conditions_held);
        vault.keep_up("rotation of static roles", Self::rotate_static_roles);
        vault.keep_up("looking after postures of nodes", |vault| async move { vault.keep_postures().await });
        vault.keep_up("tidying certificates", |vault| async move { vault.tidy_certificates().await });
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
