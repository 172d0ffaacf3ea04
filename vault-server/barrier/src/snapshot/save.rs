//! Saving.

use coffer_crypto::recipients::Recipient;
use coffer_store::{Entry, Store, TRANSACTION_BYTES_MAX};
use serde_bytes::ByteArray;
use tokio::sync::mpsc;

use crate::{
    barrier::Barrier,
    envelope::Place,
    error::BarrierError,
    keyring::is_record,
    keyrings::{Keyrings, behind},
    root::is_keyring,
    seal::{Header, PLACE},
    snapshot::{ALL, ALL_END, DELETE, END, PUT, file::File, follow::Follow, statement},
};

/// Entries read at once: with the largest values 10 MiB.
const PAGE_ENTRIES: usize = 8;
/// Rounds over what has changed while the round before was copied.
const ROUNDS_MAX: usize = 16;
/// Keys that may be left for the moment in which writes are held.
const HELD_KEYS_MAX: usize = 512;
/// Bytes of their values.
const HELD_BYTES_MAX: usize = 32 << 20;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// What is stored cannot be read.
    #[error(transparent)]
    Barrier(#[from] BarrierError),
    /// Whoever asked for it no longer listens.
    #[error("nobody takes the snapshot any more")]
    Gone,
    /// It cannot be encrypted to the recipients.
    #[error("the snapshot cannot be encrypted to its recipients")]
    Recipients,
    /// Copying does not keep up with writing.
    #[error("more is written than the snapshot's reader takes: try when less is written, or nearer to the server")]
    TooFast,
    /// A fault of the barrier's own.
    #[error("a fault of the vault's own: {0}")]
    Internal(&'static str),
}

/// A snapshot that was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Entries in it: one that changed meanwhile is there more than once.
    pub entries: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the content.
    pub digest: ByteArray<32>,
}

impl Barrier {
    /// Sends a snapshot's file, piece by piece, into a channel. `about` is what it says about itself in the clear, one line
    /// of at most [`ABOUT_BYTES_MAX`](super::ABOUT_BYTES_MAX). Memory is bounded; writes are held for a moment at the end.
    pub async fn save(&self, about: &str, recipients: &[Recipient], out: mpsc::Sender<Vec<u8>>) -> Result<Saved, SaveError> {
        let follow = Follow::default();
        let feed = self.store().changes(self.store().revision().await?).await?;
        let file = File::begin(about, recipients, out).await?;
        let keyrings = Keyrings::load(self.store(), self.root()).await?;
        let save = Save { barrier: self, store: self.store(), keyrings, file, entries: 0 };
        tokio::select! {
            saved = save.run(&follow) => saved,
            error = follow.run(self.store(), feed) => Err(error),
        }
    }
}

struct Save<'a> {
    barrier: &'a Barrier,
    store: &'a dyn Store,
    keyrings: Keyrings,
    file: File,
    entries: u64,
}

impl Save<'_> {
    async fn run(mut self, follow: &Follow) -> Result<Saved, SaveError> {
        self.copy_all().await?;
        let mut rounds = 0;
        let (held, header) = loop {
            rounds += 1;
            if rounds > ROUNDS_MAX {
                return Err(SaveError::TooFast);
            }
            if follow.len() > HELD_KEYS_MAX {
                self.copy_changed(follow).await?;
                continue;
            }
            if let Some(held) = self.hold(follow).await? {
                break held;
            }
            self.copy_changed(follow).await?;
        };
        for entry in held {
            self.file.write(&entry).await?;
            self.entries += 1;
        }
        self.put(PLACE, &header.moved().value()).await?;
        self.end().await
    }

    async fn copy_all(&mut self) -> Result<(), SaveError> {
        let mut start = ALL.to_vec();
        loop {
            let page = self.store.range(&start, ALL_END, PAGE_ENTRIES).await?;
            let full = page.len() == PAGE_ENTRIES;
            for entry in &page {
                if let Some(value) = self.moved(entry).await? {
                    self.put(&entry.key, &value).await?;
                }
            }
            match page.last() {
                Some(last) if full => start = behind(&last.key),
                _ => return Ok(()),
            }
        }
    }

    async fn copy_changed(&mut self, follow: &Follow) -> Result<(), SaveError> {
        for key in follow.take() {
            if let Some(encoded) = self.now(&key).await? {
                self.file.write(&encoded).await?;
                self.entries += 1;
            }
        }
        Ok(())
    }

    /// Holds writes and reads what has changed; nothing where that is too much, and it is in what has changed again.
    async fn hold(&mut self, follow: &Follow) -> Result<Option<(Vec<Vec<u8>>, Header)>, SaveError> {
        let _held = self.barrier.hold().await;
        follow.catch_up(self.store).await?;
        if follow.len() > HELD_KEYS_MAX {
            return Ok(None);
        }
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for key in follow.take() {
            if let Some(encoded) = self.now(&key).await? {
                bytes += encoded.len();
                entries.push(encoded);
            }
            if bytes > HELD_BYTES_MAX {
                return Err(SaveError::TooFast);
            }
        }
        let header = Header::load(self.store).await?.ok_or(SaveError::Internal("a vault without a header"))?;
        Ok(Some((entries, header)))
    }

    /// The entry of a key as it is now, as it stands in a snapshot.
    async fn now(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, SaveError> {
        if !is_record(key) && !is_keyring(key) {
            return Ok(None);
        }
        match self.store.get(key).await? {
            None => Ok(Some(encoded(DELETE, key, None)?)),
            Some(entry) => self.moved(&entry).await?.map(|value| encoded(PUT, key, Some(&value))).transpose(),
        }
    }

    /// The value of an entry as the first write of its key; nothing for what no snapshot holds.
    async fn moved(&mut self, entry: &Entry) -> Result<Option<Vec<u8>>, SaveError> {
        if is_keyring(&entry.key) {
            return Ok(Some(self.barrier.root().moved(entry)?));
        }
        if !is_record(&entry.key) {
            return Ok(None);
        }
        if !self.keyrings.know(entry) {
            self.keyrings = Keyrings::load(self.store, self.barrier.root()).await?;
        }
        // A tenant that is gone leaves records that nobody can open.
        let Some((_, keyring)) = self.keyrings.of(&entry.key) else { return Ok(None) };
        let value = keyring.open(&Keyrings::physical(entry), entry)?.value;
        Ok(Some(keyring.seal(Place { key: &entry.key, version: 1 }, value.expose())?))
    }

    async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), SaveError> {
        self.entries += 1;
        self.file.write(&encoded(PUT, key, Some(value))?).await
    }

    async fn end(mut self) -> Result<Saved, SaveError> {
        let signing = self.barrier.snapshot_key().await?;
        let public = signing.public_key().as_bytes();
        self.file.write(&[&[END], self.entries.to_be_bytes().as_slice(), public].concat()).await?;
        let digest = self.file.digest();
        self.file.write_unsigned(&signing.sign(&statement(&digest))).await?;
        let bytes = self.file.finish(self.entries).await?;
        Ok(Saved { entries: self.entries, bytes, digest: ByteArray::new(digest) })
    }
}

/// An entry as it stands in a snapshot.
fn encoded(kind: u8, key: &[u8], value: Option<&[u8]>) -> Result<Vec<u8>, SaveError> {
    let length =
        |bytes: &[u8]| u32::try_from(bytes.len()).map(u32::to_be_bytes).map_err(|_| SaveError::Internal("an entry's length"));
    let mut entry = [&[kind], length(key)?.as_slice(), key].concat();
    if let Some(value) = value {
        if value.len() > TRANSACTION_BYTES_MAX {
            return Err(SaveError::Internal("a value longer than a transaction"));
        }
        entry.extend_from_slice(&length(value)?);
        entry.extend_from_slice(value);
    }
    Ok(entry)
}
