//! The gate: what is known of pods, their images and their nodes, and what that withholds.
//!
//! Verdicts on images are kept here, signed by keys of the engine transit; postures of nodes are in `postures`; what pods are made of
//! is what their API server says. All of it reaches policy as the context of a request, and changes of it as
//! [`Unsealed::gate_changes`]: watches ask policy again, and credentials end that would not be given now.

mod advisories;
mod facts;
mod images;
mod import;
mod packages;
mod pods;
mod preview;
mod record;
mod statement;
mod stored;
mod verdicts;
mod withdraw;

use std::sync::Arc;

use coffer_barrier::{Barrier, RecordKey};
use coffer_core::{clock::Timestamp, id::TenantId};
use tokio::sync::watch;

use self::images::Images;
pub use self::{
    advisories::{AdvisoriesRecord, AdvisoryMatch, ScopeImport},
    facts::Withheld,
    images::Standing,
    import::{Imported, NewImport},
    packages::{ImagePackage, PackageList},
    pods::{GatedGrant, GatedPod, JudgedImage},
    preview::{Held, Loss, Preview, PreviewedPod, Proposal},
    record::{ImageFinding, PackageSummary, Revocation, Scan, ScanException, SignerRecord, VerdictRecord},
    stored::StoredMarks,
    verdicts::{NewVerdict, Unsigned},
};
use crate::{Failure, Unsealed, table::Table, unsealed::directory};

/// What the gate keeps.
pub(crate) struct Gate {
    pub(crate) signers: Arc<Table<SignerRecord>>,
    pub(crate) verdicts: Arc<Table<VerdictRecord>>,
    /// Advisories that came out after images were attested: one record.
    advisories: Arc<Table<AdvisoriesRecord>>,
    /// Where the packages of verdicts' images are.
    packages: RecordKey,
    /// What verdicts come to for images that were asked for lately.
    images: Arc<Images>,
    pub(crate) changes: Arc<Changes>,
    /// When the vault went to work.
    began: Timestamp,
}

impl Gate {
    /// What a tenant's gate keeps, read from the store.
    pub(crate) async fn load(barrier: &Barrier, tenant: TenantId, began: Timestamp) -> Result<Self, Failure> {
        Ok(Self {
            signers: Arc::new(Table::load(barrier, directory(tenant, "signer")?).await?),
            verdicts: Arc::new(Table::load(barrier, directory(tenant, "verdict")?).await?),
            advisories: Arc::new(Table::load(barrier, directory(tenant, "advisories")?).await?),
            packages: directory(tenant, "verdict-packages")?,
            images: Arc::default(),
            changes: Arc::default(),
            began,
        })
    }

    /// Takes note that a record was re-encrypted.
    pub(crate) fn rewritten(&self, key: &RecordKey, version: u64) {
        self.signers.rewritten(key, version);
        self.verdicts.rewritten(key, version);
        self.advisories.rewritten(key, version);
    }

    /// Reads all tables again.
    pub(crate) async fn reload(&self, barrier: &Barrier) -> Result<(), Failure> {
        self.signers.reload(barrier).await?;
        self.verdicts.reload(barrier).await?;
        self.advisories.reload(barrier).await?;
        self.images.forget();
        self.changes.tell();
        Ok(())
    }
}

/// Tells when something is known of pods, images or nodes that was not.
#[derive(Default)]
pub(crate) struct Changes(watch::Sender<u64>);

impl Changes {
    pub(crate) fn tell(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Unsealed {
    /// Something is known of pods, images or nodes that was not, or is known no more.
    pub(crate) fn gate_changed(&self) {
        self.gate.changes.tell();
    }

    /// Tells each time that something is known of pods, images or nodes that was not.
    #[must_use]
    pub fn gate_changes(&self) -> watch::Receiver<u64> {
        self.gate.changes.0.subscribe()
    }
}
