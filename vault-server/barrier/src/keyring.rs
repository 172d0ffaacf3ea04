//! Keyrings: one a scope, each with the keys of its records and of their names.

use coffer_core::{clock::Timestamp, id::TenantId};
use coffer_crypto::{
    derive::{self, Label},
    key::{KEY_BYTES, Key},
    random::{self, RandomError},
    siv::NamesKey,
    xaes::Cipher,
};
use coffer_secret::{SecretArray, SecretBytes};
use coffer_store::{Condition, Entry, KEY_BYTES_MAX};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use crate::{
    batch::Record,
    directories::Directories,
    encoding::SecretField,
    envelope::{self, KeyName, Place},
    error::BarrierError,
    key::{PhysicalKey, RecordKey, Scope},
};

/// Terms in a keyring.
pub const TERMS_MAX: usize = coffer_core::limits::KEY_TERMS_MAX;

/// Physical keys of records begin with this; then follows their keyring's id.
pub(crate) const RECORDS: &[u8] = b"coffer/r/";
/// They end before this.
pub(crate) const RECORDS_END: &[u8] = b"coffer/r0";

/// Whether a physical key is a record's.
pub(crate) fn is_record(key: &[u8]) -> bool {
    key.starts_with(RECORDS)
}

/// The id of the keyring of the record that stands here.
pub(crate) fn record_keyring(key: &[u8]) -> Option<&[u8; 16]> {
    key.strip_prefix(RECORDS)?.first_chunk()
}

/// Takes the first segment off what follows a parent's physical key: its encrypted name, and the rest.
pub(crate) fn split_segment(below: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = below.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

/// A keyring as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyringRecord {
    id: ByteArray<16>,
    /// The tenant's id; nothing for the system.
    tenant: Option<ByteArray<16>>,
    /// What the key of names is derived from.
    names: SecretField,
    /// What keys for other uses are derived from.
    derivation: SecretField,
    terms: Vec<TermRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TermRecord {
    number: u32,
    key: SecretField,
    created: Timestamp,
}

pub(crate) const fn no_random(_: RandomError) -> BarrierError {
    BarrierError::Internal("the operating system gave no random numbers")
}

fn fresh() -> Result<SecretField, BarrierError> {
    let key = random::key().map_err(no_random)?;
    Ok(SecretField(SecretBytes::copied_from(key.expose())))
}

fn key(field: &SecretField) -> Result<Key, BarrierError> {
    let array = SecretArray::<KEY_BYTES>::try_from(field.0.expose());
    array.map(Key::from_array).map_err(|_| BarrierError::corrupt("a key in a keyring"))
}

fn tenant_id(scope: Scope) -> Option<ByteArray<16>> {
    match scope {
        Scope::System => None,
        Scope::Tenant(id) => Some(ByteArray::new(*id.as_bytes())),
    }
}

impl KeyringRecord {
    /// A keyring of new keys, with its first term.
    pub(crate) fn generate(scope: Scope, now: Timestamp) -> Result<Self, BarrierError> {
        let mut record = Self {
            id: ByteArray::new(random::bytes().map_err(no_random)?),
            tenant: tenant_id(scope),
            names: fresh()?,
            derivation: fresh()?,
            terms: Vec::new(),
        };
        record.add_term(now)?;
        Ok(record)
    }

    /// Adds a term, which is the one that writes from then on.
    pub(crate) fn add_term(&mut self, now: Timestamp) -> Result<(), BarrierError> {
        if self.terms.len() >= TERMS_MAX {
            return Err(BarrierError::Limit("terms of a keyring"));
        }
        let number = self.terms.last().map_or(0, |term| term.number).checked_add(1);
        let number = number.ok_or(BarrierError::Limit("terms of a keyring"))?;
        self.terms.push(TermRecord { number, key: fresh()?, created: now });
        Ok(())
    }

    /// Whose it is.
    pub(crate) fn scope(&self) -> Scope {
        self.tenant.map_or(Scope::System, |id| Scope::Tenant(TenantId::from_bytes(id.into_array())))
    }

    /// Drops the terms below a number, and never the newest.
    pub(crate) fn drop_terms(&mut self, from: u32) {
        let newest = self.terms.last().map_or(0, |term| term.number);
        self.terms.retain(|term| term.number >= from.min(newest));
    }

    /// The terms, the oldest first.
    pub(crate) fn terms(&self) -> Vec<Term> {
        self.terms.iter().map(|term| Term { number: term.number, created: term.created }).collect()
    }
}

/// A term of a keyring: a key that records were written under from some day on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// Its number, from 1.
    pub number: u32,
    /// When it was added.
    pub created: Timestamp,
}

/// A keyring in use.
pub(crate) struct Keyring {
    id: [u8; 16],
    names: NamesKey,
    derivation: Key,
    directories: Directories,
    /// By number, ascending; never empty.
    terms: Vec<(u32, Cipher)>,
    /// Where the keyring itself is stored, and as which version.
    place: Vec<u8>,
    version: u64,
}

impl Keyring {
    /// The keyring of a record that stands at `place` as `version`.
    pub(crate) fn new(record: &KeyringRecord, scope: Scope, place: Vec<u8>, version: u64) -> Result<Self, BarrierError> {
        if record.tenant != tenant_id(scope) {
            return Err(BarrierError::corrupt("a keyring of another scope"));
        }
        let terms = record.terms.iter().map(|term| key(&term.key).map(|key| (term.number, Cipher::new(&key))));
        let terms = terms.collect::<Result<Vec<_>, _>>()?;
        if terms.is_empty() || !terms.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err(BarrierError::corrupt("a keyring's terms"));
        }
        Ok(Self {
            id: record.id.into_array(),
            names: derive::names(&key(&record.names)?, record.id.as_slice()),
            derivation: key(&record.derivation)?,
            directories: Directories::default(),
            terms,
            place,
            version,
        })
    }

    /// What must hold for a write under this keyring: that it is still the one that is stored.
    pub(crate) fn condition(&self) -> Condition {
        Condition::Version(self.place.clone(), self.version)
    }

    pub(crate) const fn id(&self) -> [u8; 16] {
        self.id
    }

    /// The number of the term that writes.
    pub(crate) fn newest(&self) -> u32 {
        self.terms.last().map_or(0, |(number, _)| *number)
    }

    /// Whether this is where the keyring is stored.
    pub(crate) fn stands_at(&self, place: &[u8]) -> bool {
        self.place == place
    }

    /// The key for a use outside the store.
    pub(crate) fn derived(&self, label: Label) -> Key {
        derive::derive(&self.derivation, label, &[])
    }

    /// The name of a record or directory as the store sees it.
    pub(crate) fn physical(&self, key: &RecordKey) -> Result<PhysicalKey, BarrierError> {
        let mut physical = Vec::new();
        self.append_physical(key.segment_list(), &mut physical)?;
        if physical.len() > KEY_BYTES_MAX {
            return Err(BarrierError::Limit("bytes in a key"));
        }
        Ok(PhysicalKey::new(physical))
    }

    /// Puts the directory first, which is likely to be known, and then the last segment.
    fn append_physical(&self, segments: &[Box<[u8]>], physical: &mut Vec<u8>) -> Result<(), BarrierError> {
        let Some((last, above)) = segments.split_last() else {
            physical.extend_from_slice(RECORDS);
            physical.extend_from_slice(&self.id);
            return Ok(());
        };
        if let Some(known) = self.directories.get(above) {
            physical.extend_from_slice(&known);
        } else {
            self.append_physical(above, physical)?;
            self.directories.put(above, physical);
        }
        let sealed = self.names.seal(&[physical.as_slice()], last);
        let length = u16::try_from(sealed.len()).map_err(|_| BarrierError::Internal("a name's length"))?;
        physical.extend_from_slice(&length.to_be_bytes());
        physical.extend_from_slice(&sealed);
        Ok(())
    }

    /// The name that stands encrypted below `parent`.
    pub(crate) fn open_name(&self, parent: &PhysicalKey, sealed: &[u8]) -> Result<Vec<u8>, BarrierError> {
        let name = self.names.open(&[parent.as_bytes()], sealed);
        let name = name.map_err(|_| BarrierError::corrupt("a record's name was moved or changed"))?;
        Ok(name.into_exposed())
    }

    /// The name of the record that stands at a physical key.
    pub(crate) fn logical(&self, scope: Scope, physical: &[u8]) -> Result<RecordKey, BarrierError> {
        let damaged = || BarrierError::corrupt("a record's name");
        let mut parent = [RECORDS, &self.id].concat();
        let mut rest = physical.strip_prefix(parent.as_slice()).ok_or_else(damaged)?;
        let mut key = RecordKey::root(scope);
        while !rest.is_empty() {
            let (sealed, below) = split_segment(rest).ok_or_else(damaged)?;
            key = key.child(self.open_name(&PhysicalKey::new(parent), sealed)?)?;
            parent = physical.get(..physical.len() - below.len()).unwrap_or_default().to_vec();
            rest = below;
        }
        Ok(key)
    }

    /// Encrypts a value for its place, under the newest term.
    pub(crate) fn seal(&self, place: Place<'_>, value: &[u8]) -> Result<Vec<u8>, BarrierError> {
        let (term, key) = self.terms.last().ok_or(BarrierError::Internal("a keyring without terms"))?;
        envelope::seal(key, KeyName { keyring: self.id, term: *term }, place, value)
    }

    /// Whether the keyring, as it is known here, has the key of this value.
    pub(crate) fn knows(&self, value: &[u8]) -> bool {
        envelope::key_name(value).is_ok_and(|name| name.keyring != self.id || self.term(name.term).is_some())
    }

    /// Decrypts the value that was asked for as `key`.
    pub(crate) fn open(&self, key: &PhysicalKey, entry: &Entry) -> Result<Record, BarrierError> {
        let name = envelope::key_name(&entry.value)?;
        if name.keyring != self.id {
            return Err(BarrierError::corrupt("a value of another scope"));
        }
        let term = self.term(name.term).ok_or_else(|| BarrierError::corrupt("a value under an unknown term"))?;
        let place = Place { key: key.as_bytes(), version: entry.version };
        let value = envelope::open(term, place, &entry.value)?;
        Ok(Record { value, version: entry.version, modified: entry.modified })
    }

    fn term(&self, number: u32) -> Option<&Cipher> {
        let at = self.terms.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.terms.get(at).map(|(_, key)| key)
    }
}

/// Names no key: for tests and faults.
impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyring({} terms)", self.terms.len())
    }
}
