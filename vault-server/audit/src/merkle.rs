//! Merkle trees of RFC 6962, section 2.1: roots, inclusion proofs, consistency proofs.
//!
//! Nothing here keeps leaves. A tree is its size and the roots of the complete trees it is made of, one for each set
//! bit of the size; a proof is a list of ranges of leaves, whose roots one pass over the leaves yields.

use std::{fmt, ops::Range, str::FromStr};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use coffer_crypto::hash::{Sha256, sha256};

/// Bytes in a hash.
pub const HASH_BYTES: usize = 32;

/// A hash of a leaf, a node or a tree. Written in base64, as C2SP checkpoints do.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; HASH_BYTES]);

/// The text is no hash: not the base64 of 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 32 bytes in base64")]
pub struct HashError;

impl Hash {
    /// The hash of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }

    /// The hash's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }

    /// The hash of a leaf: SHA-256 of a zero byte and the data.
    #[must_use]
    pub fn of_leaf(data: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(&[0]);
        hash.update(data);
        Self(hash.finish())
    }

    /// The hash of a node: SHA-256 of a one byte and the hashes of its children.
    #[must_use]
    pub fn of_node(left: &Self, right: &Self) -> Self {
        let mut hash = Sha256::new();
        hash.update(&[1]);
        hash.update(&left.0);
        hash.update(&right.0);
        Self(hash.finish())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let bytes = BASE64_STANDARD.decode(text).map_err(|_| HashError)?;
        bytes.try_into().map(Self).map_err(|_| HashError)
    }
}

/// A tree that grows at its right end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    size: u64,
    /// Roots of the complete trees it is made of, the largest first.
    peaks: Vec<Hash>,
}

impl Tree {
    /// The tree without leaves.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, peaks: Vec::new() }
    }

    /// The tree of this size that is made of complete trees with these roots, the largest first; nothing where that is
    /// another number of trees.
    pub(crate) fn from_peaks(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == usize::try_from(size.count_ones()).ok()?).then_some(Self { size, peaks })
    }

    /// Roots of the complete trees it is made of, the largest first.
    pub(crate) fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// How many leaves there are.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf, of which `leaf` is the hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = Hash::of_node(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root: that of no leaves is SHA-256 of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else {
            return Hash(sha256(&[]));
        };
        peaks.fold(*last, |right, left| Hash::of_node(left, &right))
    }
}

/// The largest power of two below `size`, which is 2 at least.
const fn split(size: u64) -> u64 {
    1 << (63 - (size - 1).leading_zeros())
}

/// The ranges of leaves whose roots are the proof that leaf `index` is in the tree of the first `size` leaves, in the
/// order of the proof (RFC 6962, section 2.1.1). Nothing where `index` is not below `size`.
#[must_use]
pub fn inclusion_ranges(index: u64, size: u64) -> Option<Vec<Range<u64>>> {
    if index >= size {
        return None;
    }
    let (mut low, mut high) = (0, size);
    let mut ranges = Vec::new();
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            ranges.push(middle..high);
            high = middle;
        } else {
            ranges.push(low..middle);
            low = middle;
        }
    }
    ranges.reverse();
    Some(ranges)
}

/// The ranges of leaves whose roots are the proof that the tree of the first `new` leaves begins with that of the first
/// `old`, in the order of the proof (RFC 6962, section 2.1.2). Nothing where `old` is above `new`.
#[must_use]
pub fn consistency_ranges(old: u64, new: u64) -> Option<Vec<Range<u64>>> {
    if old > new {
        return None;
    }
    let (mut low, mut high) = (0, new);
    let mut ranges = Vec::new();
    while old != 0 && old != high {
        let middle = low + split(high - low);
        if old <= middle {
            ranges.push(middle..high);
            high = middle;
        } else {
            ranges.push(low..middle);
            low = middle;
        }
    }
    if low != 0 {
        ranges.push(low..high);
    }
    ranges.reverse();
    Some(ranges)
}

/// Roots of ranges of leaves, from one pass over the leaves in order.
#[derive(Debug, Clone)]
pub struct RangeRoots(Vec<(Range<u64>, Tree)>);

impl RangeRoots {
    /// Begins with no leaf seen.
    #[must_use]
    pub fn new(ranges: Vec<Range<u64>>) -> Self {
        Self(ranges.into_iter().map(|range| (range, Tree::new())).collect())
    }

    /// Takes note of the leaf at `index`, of which `leaf` is the hash.
    pub fn leaf(&mut self, index: u64, leaf: Hash) {
        for (range, tree) in &mut self.0 {
            if range.contains(&index) {
                tree.push(leaf);
            }
        }
    }

    /// The roots, in the order that the ranges were given in; nothing where a leaf was not seen.
    #[must_use]
    pub fn finish(self) -> Option<Vec<Hash>> {
        let whole = |(range, tree): (Range<u64>, Tree)| (tree.size() == range.end - range.start).then(|| tree.root());
        self.0.into_iter().map(whole).collect()
    }
}

/// Whether `proof` shows that the leaf of this hash is at `index` of the tree of this size and root (RFC 9162, section
/// 2.1.3.2).
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for other in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = Hash::of_node(other, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = Hash::of_node(&hash, other);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree of size `new.0` and root `new.1` begins with that of size `old.0` and root
/// `old.1` (RFC 9162, section 2.1.4.2).
#[must_use]
pub fn verify_consistency(old: (u64, &Hash), new: (u64, &Hash), proof: &[Hash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size == 0 || old_size >= new_size {
        return proof.is_empty() && (old_size == 0 || (old_size == new_size && old_root == new_root));
    }
    let mut path = proof.iter();
    let first = if old_size.is_power_of_two() { Some(old_root) } else { path.next() };
    let Some(first) = first else {
        return false;
    };
    let shift = (old_size - 1).trailing_ones();
    let (mut at, mut last) = ((old_size - 1) >> shift, (new_size - 1) >> shift);
    let (mut old_hash, mut new_hash) = (*first, *first);
    for other in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old_hash = Hash::of_node(other, &old_hash);
            new_hash = Hash::of_node(other, &new_hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = Hash::of_node(&new_hash, other);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

#[cfg(test)]
mod tests;
