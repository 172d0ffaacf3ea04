//! Names of records: as the vault knows them, and as the store sees them.

use std::fmt;

use coffer_core::id::TenantId;

/// Segments in a [`RecordKey`].
pub const SEGMENTS_MAX: usize = 40;
/// Bytes in a segment of a [`RecordKey`]; at least one.
pub const SEGMENT_BYTES_MAX: usize = 255;

/// Whose a record is: each scope has a keyring of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The vault's own.
    System,
    /// A tenant's: erased by deleting its keyring.
    Tenant(TenantId),
}

/// Why segments do not make a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A segment is empty, or longer than [`SEGMENT_BYTES_MAX`].
    #[error("a segment of a record's key has 1 to {SEGMENT_BYTES_MAX} bytes")]
    Segment,
    /// There are more than [`SEGMENTS_MAX`].
    #[error("a record's key has {SEGMENTS_MAX} segments at most")]
    TooMany,
}

/// The name of a record, or of a directory of records: a scope and up to [`SEGMENTS_MAX`] segments of 1 to
/// [`SEGMENT_BYTES_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    scope: Scope,
    segments: Vec<Box<[u8]>>,
}

impl RecordKey {
    /// The top directory of a scope, which holds no record itself.
    #[must_use]
    pub const fn root(scope: Scope) -> Self {
        Self { scope, segments: Vec::new() }
    }

    /// The key of these segments.
    pub fn new<S: AsRef<[u8]>>(scope: Scope, segments: impl IntoIterator<Item = S>) -> Result<Self, KeyError> {
        segments.into_iter().try_fold(Self::root(scope), |key, segment| key.with(segment.as_ref()))
    }

    /// The key one segment longer.
    pub fn child(&self, segment: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        self.clone().with(segment.as_ref())
    }

    fn with(mut self, segment: &[u8]) -> Result<Self, KeyError> {
        if segment.is_empty() || segment.len() > SEGMENT_BYTES_MAX {
            return Err(KeyError::Segment);
        }
        if self.segments.len() >= SEGMENTS_MAX {
            return Err(KeyError::TooMany);
        }
        self.segments.push(segment.into());
        Ok(self)
    }

    /// The scope.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// The segments, the topmost first.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
        self.segments.iter().map(AsRef::as_ref)
    }

    /// The same, as they are kept.
    pub(crate) fn segment_list(&self) -> &[Box<[u8]>] {
        &self.segments
    }

    /// Whether this is the top directory of its scope.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.segments.is_empty()
    }
}

/// Readable segments as text, others in hexadecimal: for tests and faults, not for logs.
impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordKey({:?}", self.scope)?;
        for segment in &self.segments {
            write!(f, "/{}", segment.escape_ascii())?;
        }
        f.write_str(")")
    }
}

/// The name of a record or directory as the store sees it: encrypted, and the same for the same [`RecordKey`] as long as
/// the scope exists.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhysicalKey(Vec<u8>);

impl PhysicalKey {
    pub(crate) const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Whether this is `directory`, or lies below it.
    #[must_use]
    pub fn is_within(&self, directory: &Self) -> bool {
        self.0.starts_with(&directory.0)
    }
}

impl fmt::Debug for PhysicalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhysicalKey({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hold_to_their_limits() {
        let key = |count: usize, bytes: usize| RecordKey::new(Scope::System, vec![vec![b'a'; bytes]; count]);
        assert!(key(SEGMENTS_MAX, SEGMENT_BYTES_MAX).is_ok());
        assert_eq!(key(SEGMENTS_MAX + 1, 1), Err(KeyError::TooMany));
        assert_eq!(key(1, SEGMENT_BYTES_MAX + 1), Err(KeyError::Segment));
        assert_eq!(key(1, 0), Err(KeyError::Segment));
        assert!(key(0, 0).unwrap().is_root());
    }
}
