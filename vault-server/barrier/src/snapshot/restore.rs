//! Making a store of a snapshot.

use std::{collections::BTreeMap, sync::Arc};

use coffer_core::clock::Timestamp;
use coffer_crypto::{
    hash::Sha256,
    sign::{PUBLIC_KEY_BYTES, PublicKey, SIGNATURE_BYTES},
};
use coffer_store::{Condition, KEY_BYTES_MAX, Store, StoreError, TRANSACTION_BYTES_MAX, Transaction, Write};
use serde_bytes::ByteArray;

use crate::{
    encoding,
    error::BarrierError,
    keyring::is_record,
    root::is_keyring,
    seal::{Header, PLACE},
    snapshot::{ABOUT_BYTES_MAX, ALL, ALL_END, DELETE, END, MAGIC, PUT, RESTORED, RESTORING, Restored, statement},
};

/// Entries written in one transaction.
const TOGETHER_MAX: usize = 64;
/// Bytes of their keys and values. A key is counted twice: there is a condition on each.
const TOGETHER_BYTES_MAX: usize = TRANSACTION_BYTES_MAX - (16 << 10);
/// Entries read at once to be deleted.
const PAGE_ENTRIES: usize = 32;

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is a vault in the store.
    #[error("the store holds a vault already")]
    AlreadyInitialised,
    /// There are records of a vault in the store, and no header.
    #[error("the store holds records of a vault whose header is missing")]
    NotEmpty,
    /// The snapshot ends before its end.
    #[error("the snapshot is cut short")]
    Cut,
    /// The snapshot is not what was saved.
    #[error("the snapshot is damaged: {0}")]
    Damaged(&'static str),
    /// The store cannot be written to.
    #[error(transparent)]
    Barrier(#[from] BarrierError),
}

impl From<StoreError> for RestoreError {
    fn from(error: StoreError) -> Self {
        Self::Barrier(error.into())
    }
}

/// A snapshot that is being restored: takes its content piece by piece. Needs no keys.
///
/// Nothing of it can be used before [`Self::finish`], which checks the whole; where that is not reached, the store is to be
/// [cleared](clear).
pub struct Restore {
    store: Arc<dyn Store>,
    about: String,
    digest: Sha256,
    /// What was not understood yet: less than an entry.
    rest: Vec<u8>,
    /// Not written yet.
    together: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    together_bytes: usize,
    header: Option<Header>,
    entries: u64,
    end: Option<End>,
}

struct End {
    signer: [u8; PUBLIC_KEY_BYTES],
    digest: [u8; 32],
    signature: [u8; SIGNATURE_BYTES],
}

impl Restore {
    /// Begins with what the snapshot says about itself. The store must be empty, but for what an earlier attempt left.
    pub async fn begin(store: Arc<dyn Store>, about: &str) -> Result<Self, RestoreError> {
        if about.len() > ABOUT_BYTES_MAX || about.contains('\n') {
            return Err(RestoreError::Damaged("what it says about itself"));
        }
        clear(&*store).await?;
        if !store.range(ALL, ALL_END, 1).await?.is_empty() {
            return Err(RestoreError::NotEmpty);
        }
        let conditions = vec![Condition::Absent(PLACE.to_vec())];
        let writes = vec![Write::Put(RESTORING.to_vec(), b"1".to_vec())];
        store.commit(Transaction { conditions, writes }).await.map_err(initialised)?;
        let mut digest = Sha256::new();
        digest.update(&[MAGIC, about.as_bytes(), b"\n"].concat());
        Ok(Self {
            store,
            about: about.to_owned(),
            digest,
            rest: Vec::new(),
            together: BTreeMap::new(),
            together_bytes: 0,
            header: None,
            entries: 0,
            end: None,
        })
    }

    /// Takes the next piece of the content.
    pub async fn take(&mut self, piece: &[u8]) -> Result<(), RestoreError> {
        let mut bytes = std::mem::take(&mut self.rest);
        bytes.extend_from_slice(piece);
        let mut at = 0;
        while let Some(length) = self.next(bytes.get(at..).unwrap_or_default()).await? {
            at += length;
        }
        self.rest = bytes.split_off(at);
        Ok(())
    }

    /// Takes an entry from the beginning of what there is; answers its length, or nothing where it is not whole.
    async fn next(&mut self, bytes: &[u8]) -> Result<Option<usize>, RestoreError> {
        if self.end.is_some() {
            return if bytes.is_empty() { Ok(None) } else { Err(RestoreError::Damaged("more behind its end")) };
        }
        let Some((&kind, rest)) = bytes.split_first() else { return Ok(None) };
        match kind {
            PUT => {
                let Some((key, rest)) = sized(rest, KEY_BYTES_MAX)? else { return Ok(None) };
                let Some((value, _)) = sized(rest, TRANSACTION_BYTES_MAX)? else { return Ok(None) };
                let length = 9 + key.len() + value.len();
                self.digest.update(bytes.get(..length).unwrap_or_default());
                self.put(key, value).await?;
                Ok(Some(length))
            }
            DELETE => {
                let Some((key, _)) = sized(rest, KEY_BYTES_MAX)? else { return Ok(None) };
                let length = 5 + key.len();
                self.digest.update(bytes.get(..length).unwrap_or_default());
                check(key)?;
                self.add(key, None).await?;
                Ok(Some(length))
            }
            END => self.end(bytes, rest),
            _ => Err(RestoreError::Damaged("an entry of no known kind")),
        }
    }

    async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        if key == PLACE {
            self.entries += 1;
            self.header = Some(Header::of_value(value)?);
            return Ok(());
        }
        check(key)?;
        self.add(key, Some(value)).await
    }

    async fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), RestoreError> {
        self.entries += 1;
        let bytes = 2 * key.len() + value.map_or(0, <[u8]>::len);
        if self.together.len() >= TOGETHER_MAX || self.together_bytes + bytes > TOGETHER_BYTES_MAX {
            self.write().await?;
        }
        // A later entry of a key counts instead of an earlier one.
        if self.together.insert(key.to_vec(), value.map(<[u8]>::to_vec)).is_none() {
            self.together_bytes += bytes;
        } else {
            self.write().await?;
        }
        Ok(())
    }

    /// Writes what was taken. Each value is bound to be the first write of its key, so a key that has one is emptied before.
    async fn write(&mut self) -> Result<(), RestoreError> {
        self.together_bytes = 0;
        let entries = std::mem::take(&mut self.together);
        let (mut puts, mut deletes) = (Transaction::default(), Transaction::default());
        for (key, value) in entries {
            if value.is_none() || self.store.get(&key).await?.is_some() {
                deletes.writes.push(Write::Delete(key.clone()));
            }
            if let Some(value) = value {
                puts.conditions.push(Condition::Absent(key.clone()));
                puts.writes.push(Write::Put(key, value));
            }
        }
        for mut transaction in [deletes, puts] {
            if !transaction.writes.is_empty() {
                transaction.conditions.push(Condition::Absent(PLACE.to_vec()));
                self.store.commit(transaction).await.map_err(initialised)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, bytes: &[u8], rest: &[u8]) -> Result<Option<usize>, RestoreError> {
        let Some((entries, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let Some((signer, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let Some((signature, rest)) = rest.split_first_chunk() else { return Ok(None) };
        if u64::from_be_bytes(*entries) != self.entries {
            return Err(RestoreError::Damaged("entries are missing"));
        }
        let signed = bytes.len() - rest.len() - SIGNATURE_BYTES;
        self.digest.update(bytes.get(..signed).unwrap_or_default());
        let digest = self.digest.clone().finish();
        self.end = Some(End { signer: *signer, digest, signature: *signature });
        Ok(Some(signed + SIGNATURE_BYTES))
    }

    /// Checks the whole, and makes it a vault: sealed, to be unsealed with the shares or the key of the snapshot's moment.
    pub async fn finish(mut self, now: Timestamp) -> Result<(Header, Restored), RestoreError> {
        let end = self.end.take().ok_or(RestoreError::Cut)?;
        let verified = PublicKey::from_bytes(end.signer).verify(&statement(&end.digest), &end.signature);
        verified.map_err(|_| RestoreError::Damaged("its signature is wrong"))?;
        let header = self.header.take().ok_or(RestoreError::Damaged("it has no header"))?;
        self.write().await?;
        let restored = Restored {
            time: now,
            about: self.about,
            digest: ByteArray::new(end.digest),
            entries: self.entries,
            signer: ByteArray::new(end.signer),
        };
        let value = encoding::encode(&restored).map_err(|_| BarrierError::Internal("a record that cannot be encoded"))?;
        let mut transaction = Transaction::default();
        header.write(&mut transaction);
        transaction.writes.push(Write::Put(RESTORED.to_vec(), value.into_exposed()));
        transaction.writes.push(Write::Delete(RESTORING.to_vec()));
        match self.store.commit(transaction).await {
            Ok(_) => {}
            // Written after all: then it must not be cleared.
            Err(StoreError::Unknown(_)) if Header::load(&*self.store).await?.as_ref() == Some(&header) => {}
            Err(error) => return Err(initialised(error)),
        }
        Ok((header, restored))
    }
}

/// Deletes what an attempt to restore left that was broken off; nothing where there was none.
pub async fn clear(store: &dyn Store) -> Result<(), RestoreError> {
    if store.get(PLACE).await?.is_some() {
        return Err(RestoreError::AlreadyInitialised);
    }
    if store.get(RESTORING).await?.is_none() {
        return Ok(());
    }
    let mut left = true;
    while left {
        // The mark of the attempt is the last of them.
        let page = store.range(ALL, ALL_END, PAGE_ENTRIES).await?;
        left = page.len() == PAGE_ENTRIES;
        let conditions = vec![Condition::Absent(PLACE.to_vec())];
        let writes = page.into_iter().map(|entry| Write::Delete(entry.key)).collect();
        store.commit(Transaction { conditions, writes }).await.map_err(initialised)?;
    }
    Ok(())
}

fn initialised(error: StoreError) -> RestoreError {
    match error {
        StoreError::Conflict => RestoreError::AlreadyInitialised,
        error => error.into(),
    }
}

fn check(key: &[u8]) -> Result<(), RestoreError> {
    if is_record(key) || is_keyring(key) { Ok(()) } else { Err(RestoreError::Damaged("a key that no vault has")) }
}

/// What was taken off, and the rest.
type Split<'a> = (&'a [u8], &'a [u8]);

/// Takes a length and as many bytes off; nothing where they are not all there.
fn sized(bytes: &[u8], max: usize) -> Result<Option<Split<'_>>, RestoreError> {
    let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > max {
        return Err(RestoreError::Damaged("an entry is too long"));
    }
    Ok(rest.split_at_checked(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_whole_waits_and_what_is_too_long_is_refused() {
        assert_eq!(sized(&[0, 0, 0], 9).ok(), Some(None));
        assert_eq!(sized(&[0, 0, 0, 2, 7], 9).ok(), Some(None));
        assert_eq!(sized(&[0, 0, 0, 2, 7, 8, 9], 2).ok(), Some(Some((&[7, 8][..], &[9][..]))));
        assert!(matches!(sized(&[0, 0, 0, 3, 7, 8, 9], 2), Err(RestoreError::Damaged(_))));
    }
}
