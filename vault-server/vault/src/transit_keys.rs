//! The transit engine's keys, and what is done with them.

use std::sync::Arc;

use coffer_core::{
    id::MountId,
    limits::{TRANSIT_BYTES_MAX, TRANSIT_ITEMS_MAX, TRANSIT_RANDOM_BYTES_MAX, TRANSIT_WRAPPED_BYTES_MAX},
    path::Path,
    principal::Name,
    reason::Reason,
};
use coffer_crypto::random;
use coffer_engines::transit::{KeyChange, KeyInfo, NewKey, Transit, TransitError, TransitKey, UseError};
use coffer_secret::SecretBytes;

use crate::{Engine, Failure, Planned, Record, Unsealed};

/// Bytes in a data key, unless said otherwise.
const DATA_KEY_BYTES_DEFAULT: usize = 32;
/// Bytes in a data key, at least.
const DATA_KEY_BYTES_MIN: usize = 16;
/// Bytes in a data key, at most.
const DATA_KEY_BYTES_MAX: usize = 64;

impl From<TransitError> for Failure {
    fn from(error: TransitError) -> Self {
        let told = |reason| Self::told(reason, error.to_string());
        match error {
            TransitError::Name | TransitError::Setting(_) | TransitError::Material(_) | TransitError::Wrapping => {
                told(Reason::InvalidArgument)
            }
            TransitError::NotFound => told(Reason::NotFound),
            TransitError::Exists => told(Reason::AlreadyExists),
            TransitError::Kept => told(Reason::Conflict),
            TransitError::TooMany | TransitError::TooManyVersions => told(Reason::LimitExceeded),
            TransitError::Record => Self::internal("a record of the engine transit cannot be read"),
            TransitError::Random => Self::internal("no random numbers"),
            TransitError::Barrier(error) => error.into(),
        }
    }
}

impl From<UseError> for Failure {
    fn from(error: UseError) -> Self {
        match error {
            UseError::Kind(_) | UseError::Form | UseError::TooOld | UseError::Open => {
                Self::told(Reason::InvalidArgument, error.to_string())
            }
            UseError::Version => Self::told(Reason::NotFound, error.to_string()),
            UseError::Fault => Self::internal("a key of the engine transit cannot be used"),
        }
    }
}

/// A path of the engine: `MOUNT/WHAT`, or `MOUNT/WHAT/NAME`.
pub struct TransitPath {
    /// The whole path.
    pub path: Path,
    name: Option<Name>,
}

impl TransitPath {
    /// The path of something that is done with a key, or of the key itself.
    ///
    /// # Errors
    /// Fails where it is not `MOUNT/WHAT/NAME`.
    pub fn of_key(text: &str, what: &'static str) -> Result<Self, Failure> {
        let path: Path = text.parse()?;
        let below: Vec<&str> = path.below_mount().collect();
        let [given, name] = below.as_slice() else { return Err(no_path(what, "/NAME")) };
        if *given != what {
            return Err(no_path(what, "/NAME"));
        }
        let name = name
            .parse()
            .map_err(|_| Failure::invalid("the name of a key has 1 to 64 of a-z 0-9 . - _ and begins with a letter"))?;
        Ok(Self { path, name: Some(name) })
    }

    /// The path of what concerns no key.
    ///
    /// # Errors
    /// Fails where it is not `MOUNT/WHAT`.
    pub fn of_mount(text: &str, what: &'static str) -> Result<Self, Failure> {
        let path: Path = text.parse()?;
        if path.below_mount().eq([what]) { Ok(Self { path, name: None }) } else { Err(no_path(what, "")) }
    }

    fn name(&self) -> Result<&Name, Failure> {
        self.name.as_ref().ok_or_else(|| Failure::internal("a path without a name"))
    }
}

fn no_path(what: &str, name: &str) -> Failure {
    Failure::told(Reason::PathInvalid, format!("the path is MOUNT/{what}{name}"))
}

/// A data key.
pub struct DataKey {
    /// The key.
    pub plaintext: SecretBytes,
    /// The key, encrypted.
    pub ciphertext: String,
    /// The version that it is encrypted with.
    pub version: u32,
}

/// An item of a request to a key.
pub trait Item: Send + Sync {
    /// Bytes that it counts for.
    fn bytes(&self) -> usize;
}

impl Unsealed {
    fn transit(&self, path: &TransitPath) -> Result<Transit, Failure> {
        Ok(Transit::new(self.tenant.id, self.mount_of(&path.path, Engine::Transit)?))
    }

    /// Fails where a mount has a key that may not be deleted.
    pub(crate) async fn check_deletable_keys(&self, mount: MountId) -> Result<(), Failure> {
        let Some(name) = Transit::new(self.tenant.id, mount).undeletable(&self.barrier).await? else { return Ok(()) };
        let message = format!("the key {name} of this mount may not be deleted: first, allow it for each key");
        Err(Failure::told(Reason::Conflict, message))
    }

    /// Plans a key.
    ///
    /// # Errors
    /// Fails where there is one of this name, or there are too many.
    pub async fn create_transit_key(&self, path: &TransitPath, new: NewKey) -> Result<Planned<u32>, Failure> {
        Ok(self.transit(path)?.create(&self.barrier, path.name()?, new, self.now()).await?.into())
    }

    /// Plans a key, or a version of one, that was made elsewhere.
    ///
    /// # Errors
    /// Fails where the material cannot be unwrapped or used, and as [`create_transit_key`](Self::create_transit_key).
    pub async fn import_transit_key(
        &self,
        path: &TransitPath,
        new: NewKey,
        as_version: bool,
        wrapped: &[u8],
    ) -> Result<Planned<u32>, Failure> {
        if wrapped.len() > TRANSIT_WRAPPED_BYTES_MAX {
            let message = format!("wrapped material has at most {TRANSIT_WRAPPED_BYTES_MAX} bytes");
            return Err(Failure::told(Reason::LimitExceeded, message));
        }
        let transit = self.transit(path)?;
        Ok(transit.import(&self.barrier, path.name()?, new, as_version, wrapped, self.now()).await?.into())
    }

    /// The key that material is wrapped for. Planned where the mount has none yet.
    ///
    /// # Errors
    /// Fails where there is no such mount.
    pub async fn wrapping_key(&self, path: &TransitPath) -> Result<Planned<String>, Failure> {
        Ok(self.transit(path)?.wrapping_key(&self.barrier).await?.into())
    }

    /// What is known of a key.
    ///
    /// # Errors
    /// Fails where there is none of this name.
    pub async fn transit_key(&self, path: &TransitPath) -> Result<KeyInfo, Failure> {
        Ok(self.transit(path)?.info(&self.barrier, path.name()?).await?)
    }

    /// The names of a mount's keys.
    ///
    /// # Errors
    /// Fails where there is no such mount.
    pub async fn transit_keys(&self, path: &TransitPath) -> Result<Vec<String>, Failure> {
        Ok(self.transit(path)?.names(&self.barrier).await?)
    }

    /// Plans a new version of a key.
    ///
    /// # Errors
    /// Fails where there is no such key, or it has too many versions.
    pub async fn rotate_transit_key(&self, path: &TransitPath) -> Result<Planned<u32>, Failure> {
        Ok(self.transit(path)?.rotate(&self.barrier, path.name()?, self.now()).await?.into())
    }

    /// Plans other settings for a key.
    ///
    /// # Errors
    /// Fails where they cannot be.
    pub async fn update_transit_key(&self, path: &TransitPath, change: KeyChange) -> Result<Planned<()>, Failure> {
        Ok(self.transit(path)?.update(&self.barrier, path.name()?, change).await?.into())
    }

    /// What is planned, after which no key is in memory that was used before.
    fn keys_forgotten<T>(&self, planned: coffer_engines::Planned<T>) -> Planned<T> {
        let mut planned = Planned::from(planned);
        let in_use = Arc::clone(&self.transit_in_use);
        planned.then.push(Box::new(move || in_use.clear()));
        planned
    }

    /// Plans that old versions are erased.
    ///
    /// # Errors
    /// Fails where there is no such key.
    pub async fn trim_transit_key(&self, path: &TransitPath) -> Result<Planned<usize>, Failure> {
        Ok(self.keys_forgotten(self.transit(path)?.trim(&self.barrier, path.name()?).await?))
    }

    /// Plans that a key goes.
    ///
    /// # Errors
    /// Fails where it may not.
    pub async fn delete_transit_key(&self, path: &TransitPath) -> Result<Planned<()>, Failure> {
        Ok(self.keys_forgotten(self.transit(path)?.delete(&self.barrier, path.name()?).await?))
    }

    /// Does something with a key for each item; what fails for one is that one's.
    ///
    /// # Errors
    /// Fails where there is no such key, it does something else, or there are none, too many or too large items.
    pub async fn use_transit_key<I: Item, T: Send>(
        &self,
        path: &TransitPath,
        items: &[I],
        record: &mut Record,
        act: impl Fn(&TransitKey, &I) -> Result<T, UseError> + Send,
    ) -> Result<Vec<Result<T, Failure>>, Failure> {
        if items.is_empty() {
            return Err(Failure::invalid("there is nothing to do: the request has no items"));
        }
        if items.len() > TRANSIT_ITEMS_MAX {
            return Err(Failure::told(Reason::LimitExceeded, format!("a request has at most {TRANSIT_ITEMS_MAX} items")));
        }
        if items.iter().map(Item::bytes).sum::<usize>() > TRANSIT_BYTES_MAX {
            let message = format!("the items of a request have at most {TRANSIT_BYTES_MAX} bytes");
            return Err(Failure::told(Reason::LimitExceeded, message));
        }
        let key = self.transit(path)?.key(&self.barrier, &self.transit_in_use, path.name()?).await?;
        let (mut results, mut failed) = (Vec::with_capacity(items.len()), 0_usize);
        for item in items {
            // Others have their turn in between: signing a thousand times takes a while.
            if !results.is_empty() {
                tokio::task::yield_now().await;
            }
            let result = act(&key, item);
            if let Err(error @ (UseError::Kind(_) | UseError::Fault)) = result {
                return Err(error.into());
            }
            failed += usize::from(result.is_err());
            results.push(result.map_err(Failure::from));
        }
        record.detail("items", items.len());
        if failed > 0 {
            record.detail("failed", failed);
        }
        Ok(results)
    }

    /// Makes a key of so many bytes (0 for 32) for somebody else.
    ///
    /// # Errors
    /// Fails where there is no such key, it does not encrypt, or the length cannot be.
    pub async fn data_key(&self, path: &TransitPath, bytes: usize, associated: &[u8]) -> Result<DataKey, Failure> {
        let bytes = if bytes == 0 { DATA_KEY_BYTES_DEFAULT } else { bytes };
        if !(DATA_KEY_BYTES_MIN..=DATA_KEY_BYTES_MAX).contains(&bytes) {
            let message = format!("a data key has {DATA_KEY_BYTES_MIN} to {DATA_KEY_BYTES_MAX} bytes");
            return Err(Failure::told(Reason::InvalidArgument, message));
        }
        if associated.len() > TRANSIT_BYTES_MAX {
            let message = format!("associated data has at most {TRANSIT_BYTES_MAX} bytes");
            return Err(Failure::told(Reason::LimitExceeded, message));
        }
        let key = self.transit(path)?.key(&self.barrier, &self.transit_in_use, path.name()?).await?;
        let (version, plaintext, ciphertext) = key.data_key(bytes, associated)?;
        Ok(DataKey { plaintext, ciphertext, version })
    }

    /// Random bytes.
    ///
    /// # Errors
    /// Fails where none, or too many, are asked for.
    pub fn transit_random(&self, path: &TransitPath, bytes: usize) -> Result<SecretBytes, Failure> {
        self.transit(path)?;
        if !(1..=TRANSIT_RANDOM_BYTES_MAX).contains(&bytes) {
            let message = format!("1 to {TRANSIT_RANDOM_BYTES_MAX} random bytes can be had at once");
            return Err(Failure::told(Reason::LimitExceeded, message));
        }
        let mut random = SecretBytes::from(vec![0; bytes]);
        random::fill(random.expose_mut()).map_err(|_| Failure::internal("no random numbers"))?;
        Ok(random)
    }
}
