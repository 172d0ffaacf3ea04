//! Changing what is known about a secret.

use coffer_barrier::{Barrier, Batch, Expect, encoding};
use coffer_core::{clock::Timestamp, path::Path};

use super::{Found, Kv, KvError, Metadata, Settings, check};
use crate::Planned;

/// New settings of a secret, in place of the old.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettingsChange {
    /// The settings.
    pub settings: Settings,
    /// The state that the change is meant for; `None` for any. Where there is no secret, no state is met.
    pub etag: Option<String>,
}

impl Kv {
    /// Plans to change a secret's settings; makes the secret, without a version, where there is none. Where fewer versions
    /// are to be kept, the older ones are destroyed with it.
    pub async fn put_metadata(
        &self,
        barrier: &Barrier,
        path: &Path,
        change: SettingsChange,
        now: Timestamp,
    ) -> Result<Planned<Metadata>, KvError> {
        let SettingsChange { settings, etag } = change;
        check::settings(&settings)?;
        let Found { key, expect, mut record } = match self.find(barrier, path).await? {
            Some(found) => found,
            None => self.absent(path, now)?,
        };
        let current = match expect {
            Expect::Absent | Expect::New => None,
            Expect::Version(_) | Expect::Any => Some(record.etag()?),
        };
        if etag.is_some() && etag != current {
            return Err(KvError::Etag);
        }
        record.custom = settings.custom_metadata;
        record.max_versions = settings.max_versions;
        record.cas_required = settings.cas_required;
        let mut batch = Batch::new();
        self.settle(&mut batch, &mut record, now)?;
        let outcome = record.metadata(now)?;
        batch.put(key, expect, encoding::encode(&record)?);
        Ok(Planned { batch, outcome })
    }
}
