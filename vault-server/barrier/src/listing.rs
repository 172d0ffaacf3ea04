//! What lies below a key.

use std::ops::ControlFlow;

use coffer_store::{Entry, Store};

use crate::{
    batch::Record,
    error::BarrierError,
    key::PhysicalKey,
    keyring::{Keyring, split_segment},
};

/// Names in a directory that is read, at most.
pub const CHILDREN_MAX: usize = 100_000;
/// Bytes of the values of a directory that is read with its records, at most.
pub const CHILDREN_BYTES_MAX: usize = 64 << 20;

/// Entries asked of the store at once: so few that a page of the largest values is within the store's bounds.
pub(crate) const PAGE_ENTRIES: usize = 48;
/// Segments begin with their length in two bytes, below this.
const BEHIND_SEGMENTS: u8 = 2;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Child {
    /// The name: one segment.
    pub name: Vec<u8>,
    /// Whether there is a record of this name.
    pub record: bool,
    /// Whether there are records below this name.
    pub below: bool,
}

/// How much of a directory is read, at most.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) children: usize,
    pub(crate) bytes: usize,
}

impl Bounds {
    pub(crate) const DEFAULT: Self = Self { children: CHILDREN_MAX, bytes: CHILDREN_BYTES_MAX };
}

/// A directory as it is read: names in the order of the store, which is none.
struct Walk<'a> {
    keyring: &'a Keyring,
    parent: &'a PhysicalKey,
    bounds: Bounds,
    children: Vec<Child>,
    /// The physical key of the last of `children`.
    last: Vec<u8>,
}

impl Walk<'_> {
    /// Takes the next entry below the parent; says whether it is a record directly below.
    fn take(&mut self, entry: &Entry) -> Result<bool, BarrierError> {
        let outside = || BarrierError::corrupt("the store answered with a key outside the range");
        let below = entry.key.strip_prefix(self.parent.as_bytes()).ok_or_else(outside)?;
        let (sealed, rest) = split_segment(below).ok_or_else(|| BarrierError::corrupt("a record's name"))?;
        let record = rest.is_empty();
        let key = entry.key.get(..entry.key.len() - rest.len()).ok_or_else(outside)?;
        if key != self.last {
            if self.children.len() >= self.bounds.children {
                return Err(BarrierError::Limit("names in a directory"));
            }
            let name = self.keyring.open_name(self.parent, sealed)?;
            self.children.push(Child { name, record: false, below: false });
            self.last = key.to_vec();
        }
        if let Some(child) = self.children.last_mut() {
            child.record |= record;
            child.below |= !record;
        }
        Ok(record)
    }

    /// Where to go on after `last`: behind all that is below the child it belongs to, once that is known to have
    /// something below.
    fn next_start(&self, last: &Entry) -> Vec<u8> {
        if self.children.last().is_some_and(|child| child.below) {
            behind(&self.last)
        } else {
            let mut start = last.key.clone();
            start.push(0);
            start
        }
    }
}

/// The first key behind everything below `key`.
fn behind(key: &[u8]) -> Vec<u8> {
    [key, &[BEHIND_SEGMENTS]].concat()
}

/// Where everything below a key begins, and where it has ended.
pub(crate) fn range_below(key: &PhysicalKey) -> (Vec<u8>, Vec<u8>) {
    ([key.as_bytes(), &[0]].concat(), behind(key.as_bytes()))
}

/// The names below `parent`, in byte order.
pub(crate) async fn children(
    store: &dyn Store,
    keyring: &Keyring,
    parent: &PhysicalKey,
    bounds: Bounds,
) -> Result<Vec<Child>, BarrierError> {
    let mut walk = Walk { keyring, parent, bounds, children: Vec::new(), last: Vec::new() };
    each(store, &mut walk, |_, _| Ok(ControlFlow::Continue(()))).await?;
    let mut children = walk.children;
    children.sort_unstable();
    Ok(children)
}

/// The records directly below `parent`, in byte order of their names.
pub(crate) async fn records(
    store: &dyn Store,
    keyring: &Keyring,
    parent: &PhysicalKey,
    bounds: Bounds,
) -> Result<Vec<(Vec<u8>, Record)>, BarrierError> {
    let mut walk = Walk { keyring, parent, bounds, children: Vec::new(), last: Vec::new() };
    let mut records = Vec::new();
    let mut bytes = 0_usize;
    each(store, &mut walk, |walk, entry| {
        bytes = bytes.saturating_add(entry.value.len());
        if bytes > walk.bounds.bytes {
            return Err(BarrierError::Limit("bytes in a directory that is read with its records"));
        }
        let name = walk.children.last().map(|child| child.name.clone()).unwrap_or_default();
        records.push((name, keyring.open(&PhysicalKey::new(entry.key.clone()), entry)?));
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    records.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(records)
}

/// The first records directly below `parent` that the store has, in its order; behind `after`, where that is given.
pub(crate) async fn some_records(
    store: &dyn Store,
    keyring: &Keyring,
    parent: &PhysicalKey,
    after: Option<&PhysicalKey>,
    limit: usize,
) -> Result<Vec<(Vec<u8>, Record)>, BarrierError> {
    let mut walk = Walk { keyring, parent, bounds: Bounds::DEFAULT, children: Vec::new(), last: Vec::new() };
    let mut records = Vec::new();
    if limit > 0 {
        each_after(store, &mut walk, after, |walk, entry| {
            let name = walk.children.last().map(|child| child.name.clone()).unwrap_or_default();
            records.push((name, keyring.open(&PhysicalKey::new(entry.key.clone()), entry)?));
            Ok(if records.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
        .await?;
    }
    Ok(records)
}

/// The first names below `parent`, in the order of the store: `limit`, or as many more as a page of it has. Behind `after`,
/// where that is given.
pub(crate) async fn some_children(
    store: &dyn Store,
    keyring: &Keyring,
    parent: &PhysicalKey,
    after: Option<&PhysicalKey>,
    limit: usize,
) -> Result<Vec<Child>, BarrierError> {
    let mut walk = Walk { keyring, parent, bounds: Bounds::DEFAULT, children: Vec::new(), last: Vec::new() };
    let (mut start, end) = range_from(parent, after);
    while walk.children.len() < limit {
        let page = store.range(&start, &end, PAGE_ENTRIES).await?;
        for entry in &page {
            walk.take(entry)?;
        }
        match page.last() {
            Some(last) if page.len() == PAGE_ENTRIES => start = walk.next_start(last),
            _ => break,
        }
    }
    Ok(walk.children)
}

/// What is below a key, behind all that is at and below one child of it where that is given.
fn range_from(parent: &PhysicalKey, after: Option<&PhysicalKey>) -> (Vec<u8>, Vec<u8>) {
    let (start, end) = range_below(parent);
    (after.map_or(start, |after| behind(after.as_bytes())), end)
}

/// Walks over everything directly below the parent, skipping what is further below, and calls back for each record until it
/// is told to stop.
async fn each(
    store: &dyn Store,
    walk: &mut Walk<'_>,
    record: impl FnMut(&Walk<'_>, &Entry) -> Result<ControlFlow<()>, BarrierError> + Send,
) -> Result<(), BarrierError> {
    each_after(store, walk, None, record).await
}

/// The same behind one child.
async fn each_after(
    store: &dyn Store,
    walk: &mut Walk<'_>,
    after: Option<&PhysicalKey>,
    mut record: impl FnMut(&Walk<'_>, &Entry) -> Result<ControlFlow<()>, BarrierError> + Send,
) -> Result<(), BarrierError> {
    let (mut start, end) = range_from(walk.parent, after);
    loop {
        let page = store.range(&start, &end, PAGE_ENTRIES).await?;
        for entry in &page {
            if walk.take(entry)? && record(walk, entry)?.is_break() {
                return Ok(());
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE_ENTRIES => start = walk.next_start(last),
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
