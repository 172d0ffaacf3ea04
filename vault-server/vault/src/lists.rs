//! Revocation lists, as anybody may ask for them; and clearing away what is over.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use coffer_core::{
    clock::Timestamp,
    id::{IssuerId, MountId},
    limits::PKI_CRL_LIFETIME,
    reason::Reason,
};
use coffer_engines::pki::{Part, Pki};

use crate::{Engine, Failure, Record, Unsealed};

/// Lists that are kept once they are signed.
const LISTS_KEPT_MAX: usize = 1_024;
/// How often one is signed anew because something was taken back meanwhile, before it is answered as it is.
const ATTEMPTS_MAX: usize = 4;
/// How often it is looked for certificates that ended long ago.
const TIDY_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// The rest after a page is as long as erasing it took, and no longer than this.
const REST_MAX: Duration = Duration::from_secs(1);

/// A list: which issuer's, and which part.
type Name = (MountId, IssuerId, Part);

/// Lists that were signed lately.
#[derive(Default)]
pub(crate) struct Lists {
    signed: Mutex<BTreeMap<Name, Signed>>,
    /// Counts what was taken back.
    changes: AtomicU64,
    /// One is signed at a time, however many ask.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Signed {
    der: Arc<[u8]>,
    /// From when on it is signed anew.
    old: Timestamp,
}

impl Lists {
    /// Forgets the lists of an issuer: something was taken back.
    pub(crate) fn outdated(&self, mount: MountId, issuer: IssuerId) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.with(|signed| signed.retain(|(of, by, _), _| (*of, *by) != (mount, issuer)));
    }

    fn find(&self, name: &Name, now: Timestamp) -> Option<Arc<[u8]>> {
        self.with(|signed| signed.get(name).filter(|list| now < list.old).map(|list| Arc::clone(&list.der)))
    }

    /// Keeps a list, unless something was taken back since its making began.
    fn keep(&self, name: Name, list: Signed, changes: u64) -> bool {
        self.with(|signed| {
            if self.changes.load(Ordering::Acquire) != changes {
                return false;
            }
            if signed.len() >= LISTS_KEPT_MAX {
                signed.clear();
            }
            signed.insert(name, list);
            true
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut BTreeMap<Name, Signed>) -> T) -> T {
        look(&mut self.signed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Unsealed {
    /// The engine of a mount by its id, while the mount is there.
    fn pki_of(&self, mount: MountId) -> Result<Pki, Failure> {
        let there = self.mounts.all().into_iter().any(|(_, row)| row.value.id == mount && row.value.engine == Engine::Pki.name());
        if there { Ok(Pki::new(self.tenant.id, mount)) } else { Err(Failure::new(Reason::NotFound, "there is no such mount")) }
    }

    /// The certificate of an issuer, DER: for whoever asks.
    ///
    /// # Errors
    /// Fails where there is none.
    pub async fn issuer_der(&self, mount: MountId, issuer: IssuerId) -> Result<Vec<u8>, Failure> {
        Ok(self.pki_of(mount)?.issuer_certificate(&self.barrier, issuer).await?)
    }

    /// A revocation list, DER: for whoever asks. Signed anew when half of its time has passed, and when something was taken
    /// back.
    ///
    /// # Errors
    /// Fails where there is no such issuer.
    pub async fn list_der(&self, mount: MountId, issuer: IssuerId, part: Part) -> Result<Arc<[u8]>, Failure> {
        let (name, now) = ((mount, issuer, part), self.now());
        let pki = self.pki_of(mount)?;
        if let Some(der) = self.lists.find(&name, now) {
            return Ok(der);
        }
        let _turn = self.lists.turn.lock().await;
        if let Some(der) = self.lists.find(&name, now) {
            return Ok(der);
        }
        for _ in 0..ATTEMPTS_MAX {
            let changes = self.lists.changes.load(Ordering::Acquire);
            let list = pki.crl(&self.barrier, issuer, part, self.now()).await?;
            let der: Arc<[u8]> = list.der.into();
            if self.lists.keep(name, Signed { der: Arc::clone(&der), old: now.plus(PKI_CRL_LIFETIME / 2) }, changes) {
                return Ok(der);
            }
        }
        Ok(pki.crl(&self.barrier, issuer, part, self.now()).await?.der.into())
    }

    /// Erases what is kept of certificates that ended long ago, and spreads those to come over more lists where there are
    /// many, until the vault is sealed.
    pub(crate) async fn tidy_certificates(&self) {
        let mut interval = tokio::time::interval(TIDY_INTERVAL);
        loop {
            tokio::select! {
                () = self.ending.cancelled() => return,
                _ = interval.tick() => {}
            }
            let mounts = self.mounts.all().into_iter().filter(|(_, row)| row.value.engine == Engine::Pki.name());
            for (name, row) in mounts {
                let tidied = tokio::select! {
                    () = self.ending.cancelled() => return,
                    tidied = self.tidy(&name, row.value.id) => tidied,
                };
                if let Err(failure) = tidied {
                    tracing::warn!(%failure, mount = name, "certificates that are over cannot be erased; trying again");
                }
            }
        }
    }

    async fn tidy(&self, name: &str, mount: MountId) -> Result<(), Failure> {
        let (pki, mut records) = (Pki::new(self.tenant.id, mount), 0_usize);
        loop {
            let began = tokio::time::Instant::now();
            match pki.tidy(&self.barrier, self.now()).await? {
                0 => break,
                erased => records += erased,
            }
            tokio::time::sleep(began.elapsed().min(REST_MAX)).await;
        }
        let batch = pki.spread(&self.barrier).await?;
        if records == 0 && batch.is_empty() {
            return Ok(());
        }
        let _one_at_a_time = self.change().await;
        let record = Record::event("certificates_tidied", self.now())?.detailed("mount", name).detailed("records", records);
        let stored = self.write(batch, &record).await?;
        self.append_written(stored).await
    }
}
