//! As much of ELF as tells where something is: the header, segments and sections (System V ABI, chapter 4).

use std::collections::BTreeMap;

pub(super) const MAGIC: &[u8] = b"\x7fELF";
/// Segments and sections of a program, at most.
pub const PARTS_MAX: usize = 4096;
const LOAD: u64 = 1;
/// The kind of a section that has no bytes in the file.
const NOTHING: u64 = 8;
const EXECUTE: u64 = 1;
const WRITE: u64 = 2;

/// What a program says of itself.
#[derive(Debug)]
pub(super) struct Header {
    shape: Shape,
    segments: Vec<Segment>,
    pub(super) sections_at: u64,
    sections: usize,
    section_bytes: usize,
    names: usize,
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    is_64: bool,
    is_big: bool,
}

#[derive(Debug)]
struct Segment {
    offset: u64,
    address: u64,
    size: u64,
    flags: u64,
}

/// Where a section is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section {
    pub(super) offset: u64,
    pub(super) size: u64,
}

impl Section {
    pub(super) const fn has(&self, place: u64) -> bool {
        place >= self.offset && place - self.offset < self.size
    }
}

/// A number of so many bytes.
pub(super) fn number(bytes: &[u8], at: usize, length: usize, is_big: bool) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    Some(if is_big { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) })
}

impl Shape {
    /// A number that is as wide as an address, at one place or the other.
    fn wide(self, bytes: &[u8], at_32: usize, at_64: usize) -> Option<u64> {
        if self.is_64 { number(bytes, at_64, 8, self.is_big) } else { number(bytes, at_32, 4, self.is_big) }
    }

    fn short(self, bytes: &[u8], at_32: usize, at_64: usize, length: usize) -> Option<u64> {
        number(bytes, if self.is_64 { at_64 } else { at_32 }, length, self.is_big)
    }

    fn count(self, bytes: &[u8], at_32: usize, at_64: usize) -> Option<usize> {
        usize::try_from(self.short(bytes, at_32, at_64, 2)?).ok()
    }
}

impl Header {
    /// From the first bytes of a program, which have its segments.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let shape = match bytes {
            [0x7f, b'E', b'L', b'F', class @ 1..=2, data @ 1..=2, ..] => Shape { is_64: *class == 2, is_big: *data == 2 },
            _ => return None,
        };
        let (segments_at, sections_at) = (shape.wide(bytes, 28, 32)?, shape.wide(bytes, 32, 40)?);
        let (segment_bytes, segments) = (shape.count(bytes, 42, 54)?, shape.count(bytes, 44, 56)?);
        let (section_bytes, sections, names) =
            (shape.count(bytes, 46, 58)?, shape.count(bytes, 48, 60)?, shape.count(bytes, 50, 62)?);
        let table = usize::try_from(segments_at).ok().and_then(|start| bytes.get(start..)).unwrap_or_default();
        let entries = table.chunks_exact(segment_bytes.max(1)).take(segments.min(PARTS_MAX));
        let segments = entries.filter_map(|entry| Segment::read(shape, entry)).collect();
        let sections = if sections > PARTS_MAX || section_bytes > 256 { 0 } else { sections };
        Some(Self { shape, segments, sections_at, sections, section_bytes, names })
    }

    pub(super) const fn sections_bytes(&self) -> usize {
        self.sections * self.section_bytes
    }

    /// Where what has this address is in the file.
    pub(super) fn offset_of(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let within = address.checked_sub(segment.address).filter(|within| *within < segment.size)?;
            segment.offset.checked_add(within)
        })
    }

    /// Whether a place of the file becomes data that the program may write.
    pub(super) fn is_data(&self, place: u64) -> bool {
        let is_data = |segment: &&Segment| segment.flags & (WRITE | EXECUTE) == WRITE;
        self.segments.iter().filter(is_data).any(|segment| Section { offset: segment.offset, size: segment.size }.has(place))
    }

    /// Where the names of the sections are.
    pub(super) fn names(&self, table: &[u8]) -> Option<Section> {
        Some(self.section(table, self.names)?.1)
    }

    /// A section, and where its name begins.
    fn section(&self, table: &[u8], number: usize) -> Option<(usize, Section)> {
        let start = number.checked_mul(self.section_bytes).filter(|_| number < self.sections)?;
        let entry = table.get(start..start + self.section_bytes)?;
        // What was split off for debuggers has the rows of what is in the program itself.
        if self.shape.short(entry, 4, 4, 4)? == NOTHING {
            return None;
        }
        let (offset, size) = (self.shape.wide(entry, 16, 24)?, self.shape.wide(entry, 20, 32)?);
        Some((usize::try_from(self.shape.short(entry, 0, 0, 4)?).ok()?, Section { offset, size }))
    }

    /// The sections by name.
    pub(super) fn sections(&self, table: &[u8], names: &[u8]) -> BTreeMap<Vec<u8>, Section> {
        let named = (0..self.sections).filter_map(|number| {
            let (name, section) = self.section(table, number)?;
            let name = names.get(name..)?.split(|byte| *byte == 0).next()?;
            Some((name.to_vec(), section))
        });
        // Of two with one name the first counts, as it does for Go.
        named.fold(BTreeMap::new(), |mut sections, (name, section)| {
            sections.entry(name).or_insert(section);
            sections
        })
    }
}

impl Segment {
    fn read(shape: Shape, entry: &[u8]) -> Option<Self> {
        let segment = Self {
            offset: shape.wide(entry, 4, 8)?,
            address: shape.wide(entry, 8, 16)?,
            size: shape.wide(entry, 16, 32)?,
            flags: shape.short(entry, 24, 4, 4)?,
        };
        (shape.short(entry, 0, 0, 4)? == LOAD).then_some(segment)
    }
}
