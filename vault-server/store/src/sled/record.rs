//! The records in sled, format 1. Numbers are big-endian. One tree; the first byte of a key is the kind:
//!
//! | key | value |
//! |---|---|
//! | `00` | revision (8), CRC-32 of it (4) |
//! | `01`, the key | head: format `01` (1), version (8), revision (8), ordinal (2), bytes of the value (4), CRC-32 of the value (4), CRC-32 of the key's length (4), the key and all before (4); then the value, where it has at most 4,096 bytes |
//! | `02`, revision (8), ordinal (2), number (2) | piece of a larger value: 4,096 bytes, the last one fewer |
//! | `03`, revision (8), number (4) | values whose pieces are to be deleted: revision (8), ordinal (2), bytes (4), for each |
//!
//! The ordinal is the write's place in its transaction: with the revision it names a value for ever, so that pieces are
//! never overwritten.

use crc32fast::Hasher;

use crate::{Revision, StoreError};

/// Bytes of a value that are kept in one place.
pub(super) const PIECE_BYTES_MAX: usize = 4_096;
/// The key of the store's revision.
pub(super) const REVISION_KEY: &[u8] = &[KIND_REVISION];
/// All keys of heads are below.
pub(super) const HEADS_END: &[u8] = &[KIND_PIECE];

const KIND_REVISION: u8 = 0;
pub(super) const KIND_HEAD: u8 = 1;
pub(super) const KIND_PIECE: u8 = 2;
pub(super) const KIND_GARBAGE: u8 = 3;
const HEAD_FORMAT: u8 = 1;
/// Values in a record of garbage.
pub(super) const GARBAGE_VALUES_MAX: usize = PIECE_BYTES_MAX / 14;
/// Bytes of a head's record without its value.
pub(super) const HEAD_BYTES: usize = 31;

/// What is known of a value without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) version: u64,
    pub(super) value: ValueId,
    value_crc: u32,
}

/// Names a value for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ValueId {
    pub(super) modified: Revision,
    ordinal: u16,
    bytes: u32,
}

impl ValueId {
    /// Keys of the value's pieces; none where it is kept in its head.
    pub(super) fn pieces(self) -> impl Iterator<Item = [u8; 13]> {
        let bytes = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        let pieces = if bytes > PIECE_BYTES_MAX { bytes.div_ceil(PIECE_BYTES_MAX) } else { 0 };
        let pieces = u16::try_from(pieces).unwrap_or(u16::MAX);
        (0..pieces).map(move |number| {
            let mut key = [KIND_PIECE; 13];
            if let Some((revision, rest)) = key.split_at_mut(1).1.split_first_chunk_mut::<8>() {
                *revision = self.modified.0.to_be_bytes();
                if let Some((ordinal, rest)) = rest.split_first_chunk_mut::<2>() {
                    *ordinal = self.ordinal.to_be_bytes();
                    rest.copy_from_slice(&number.to_be_bytes());
                }
            }
            key
        })
    }

    pub(super) const fn has_pieces(self) -> bool {
        self.bytes as usize > PIECE_BYTES_MAX
    }
}

pub(super) fn head_key(key: &[u8]) -> Vec<u8> {
    let mut head_key = Vec::with_capacity(key.len().saturating_add(1));
    head_key.push(KIND_HEAD);
    head_key.extend_from_slice(key);
    head_key
}

/// The key that a head's key was made from.
pub(super) fn key_of(head_key: &[u8]) -> Result<&[u8], StoreError> {
    match head_key.split_first() {
        Some((&KIND_HEAD, key)) if !key.is_empty() => Ok(key),
        _ => Err(StoreError::Corrupt("a record is among those of another kind".into())),
    }
}

impl Head {
    pub(super) fn new(version: u64, modified: Revision, ordinal: u16, value: &[u8]) -> Result<Self, StoreError> {
        let bytes = u32::try_from(value.len()).map_err(|_| StoreError::Limit("bytes in a value"))?;
        Ok(Self { version, value: ValueId { modified, ordinal, bytes }, value_crc: crc32fast::hash(value) })
    }

    /// The head's record, with the value where it belongs there.
    pub(super) fn encode(&self, key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut record = Vec::with_capacity(PIECE_BYTES_MAX.min(value.len()).saturating_add(HEAD_BYTES));
        record.push(HEAD_FORMAT);
        record.extend_from_slice(&self.version.to_be_bytes());
        record.extend_from_slice(&self.value.modified.0.to_be_bytes());
        record.extend_from_slice(&self.value.ordinal.to_be_bytes());
        record.extend_from_slice(&self.value.bytes.to_be_bytes());
        record.extend_from_slice(&self.value_crc.to_be_bytes());
        record.extend_from_slice(&head_crc(key, &record).to_be_bytes());
        if !self.value.has_pieces() {
            record.extend_from_slice(value);
        }
        record
    }

    /// The head, and the value as far as it is kept with it.
    pub(super) fn decode<'a>(key: &[u8], record: &'a [u8]) -> Result<(Self, &'a [u8]), StoreError> {
        let damaged = || StoreError::Corrupt("a record's head does not match its checksum".into());
        let (fields, rest) = record.split_first_chunk::<27>().ok_or_else(damaged)?;
        let (crc, inline) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        if head_crc(key, fields) != u32::from_be_bytes(*crc) {
            return Err(damaged());
        }
        let mut fields = Fields(fields);
        if fields.take::<1>() != Some([HEAD_FORMAT]) {
            return Err(StoreError::Corrupt("a record has a format that this program does not know".into()));
        }
        let head = (|| {
            let version = u64::from_be_bytes(fields.take()?);
            let modified = Revision(u64::from_be_bytes(fields.take()?));
            let ordinal = u16::from_be_bytes(fields.take()?);
            let bytes = u32::from_be_bytes(fields.take()?);
            Some(Self { version, value: ValueId { modified, ordinal, bytes }, value_crc: u32::from_be_bytes(fields.take()?) })
        })();
        Ok((head.ok_or_else(damaged)?, inline))
    }

    /// Whether these are the value's bytes.
    pub(super) fn verify(&self, value: &[u8]) -> Result<(), StoreError> {
        if u32::try_from(value.len()) == Ok(self.value.bytes) && crc32fast::hash(value) == self.value_crc {
            Ok(())
        } else {
            Err(StoreError::Corrupt("a value does not match its checksum".into()))
        }
    }
}

fn head_crc(key: &[u8], fields: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes());
    hasher.update(key);
    hasher.update(fields);
    hasher.finalize()
}

/// Bytes that are read from the front.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    pub(super) fn slice(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(field)
    }
}

/// A revision and its checksum: the record in sled, and the mark beside the log.
pub(super) fn encode_revision(revision: Revision) -> [u8; 12] {
    let mut record = [0; 12];
    let (number, crc) = record.split_at_mut(8);
    number.copy_from_slice(&revision.0.to_be_bytes());
    crc.copy_from_slice(&crc32fast::hash(number).to_be_bytes());
    record
}

/// `None` where it does not match its checksum.
pub(super) fn decode_revision(record: &[u8]) -> Option<Revision> {
    let mut fields = Fields(record);
    let number = fields.take::<8>()?;
    let crc = u32::from_be_bytes(fields.take()?);
    (fields.0.is_empty() && crc32fast::hash(&number) == crc).then(|| Revision(u64::from_be_bytes(number)))
}

/// Records that name values whose pieces are to be deleted, numbered from `first` on.
pub(super) fn encode_garbage(revision: Revision, first: u32, values: &[ValueId]) -> Vec<([u8; 13], Vec<u8>)> {
    let mut records = Vec::new();
    for (number, values) in (first..).zip(values.chunks(GARBAGE_VALUES_MAX)) {
        let mut key = [KIND_GARBAGE; 13];
        let (_, place) = key.split_at_mut(1);
        let (revision_bytes, number_bytes) = place.split_at_mut(8);
        revision_bytes.copy_from_slice(&revision.0.to_be_bytes());
        number_bytes.copy_from_slice(&number.to_be_bytes());
        let mut record = Vec::with_capacity(values.len().saturating_mul(14));
        for value in values {
            record.extend_from_slice(&value.modified.0.to_be_bytes());
            record.extend_from_slice(&value.ordinal.to_be_bytes());
            record.extend_from_slice(&value.bytes.to_be_bytes());
        }
        records.push((key, record));
    }
    records
}

/// Where the records of [`encode_garbage`] lie.
pub(super) const GARBAGE_PREFIX: &[u8] = &[KIND_GARBAGE];

pub(super) fn decode_garbage(record: &[u8]) -> Option<Vec<ValueId>> {
    let mut fields = Fields(record);
    let mut values = Vec::new();
    while !fields.0.is_empty() {
        let modified = Revision(u64::from_be_bytes(fields.take()?));
        let ordinal = u16::from_be_bytes(fields.take()?);
        values.push(ValueId { modified, ordinal, bytes: u32::from_be_bytes(fields.take()?) });
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::{Head, PIECE_BYTES_MAX, decode_garbage, decode_revision, encode_garbage, encode_revision};
    use crate::{Revision, StoreError};

    #[test]
    fn a_head_does_not_open_under_another_key_or_with_a_flipped_bit() {
        let head = Head::new(3, Revision(9), 127, b"value").unwrap();
        let record = head.encode(b"key", b"value");
        let (decoded, value) = Head::decode(b"key", &record).unwrap();
        assert_eq!((decoded, value), (head, b"value".as_slice()));
        decoded.verify(value).unwrap();
        assert!(matches!(Head::decode(b"kez", &record), Err(StoreError::Corrupt(_))));
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let noticed = Head::decode(b"key", &flipped).and_then(|(head, value)| head.verify(value));
            assert!(matches!(noticed, Err(StoreError::Corrupt(_))), "bit {bit}");
        }
        for len in 0..record.len() {
            assert!(Head::decode(b"key", &record[..len]).and_then(|(head, value)| head.verify(value)).is_err());
        }
    }

    #[test]
    fn only_a_value_above_four_kibibytes_has_pieces() {
        for (bytes, pieces) in [(0, 0), (PIECE_BYTES_MAX, 0), (PIECE_BYTES_MAX + 1, 2), (1 << 20, 256), ((1 << 20) + 1, 257)] {
            let head = Head::new(1, Revision(0x0102_0304), 5, &vec![0; bytes]).unwrap();
            let keys: Vec<_> = head.value.pieces().collect();
            assert_eq!(keys.len(), pieces, "{bytes}");
            assert_eq!(head.value.has_pieces(), pieces > 0);
            assert!(keys.is_sorted());
            if let Some(last) = keys.last() {
                assert_eq!(last[..11], [2, 0, 0, 0, 0, 1, 2, 3, 4, 0, 5]);
                assert_eq!(usize::from(u16::from_be_bytes([last[11], last[12]])), pieces - 1);
            }
        }
    }

    #[test]
    fn a_revision_with_a_flipped_bit_is_noticed() {
        let record = encode_revision(Revision(77));
        assert_eq!(decode_revision(&record), Some(Revision(77)));
        for bit in 0..record.len() * 8 {
            let mut flipped = record;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_revision(&flipped), None);
        }
    }

    #[test]
    fn garbage_is_listed_in_records_that_stay_small() {
        let values = vec![Head::new(1, Revision(4), 2, &[0; 5_000]).unwrap().value; 1_000];
        let records = encode_garbage(Revision(8), 0, &values);
        assert!(records.iter().all(|(_, record)| record.len() <= PIECE_BYTES_MAX));
        assert!(records.is_sorted_by_key(|(key, _)| *key));
        let decoded: Vec<_> = records.iter().flat_map(|(_, record)| decode_garbage(record).unwrap()).collect();
        assert_eq!(decoded, values);
    }
}
