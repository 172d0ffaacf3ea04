//! Reads the log of one epoch from beginning to end and checks everything that can be checked: for the writer, which
//! goes on from there, and for the verifier. Memory does not grow with the log.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use coffer_crypto::sign::PublicKey;

use self::{
    lines::{Lines, Piece},
    notes::Notes,
};
use crate::{
    checkpoint::{Checkpoint, Origin},
    fault::{Problem, VerifyError},
    format::{BATCH_BYTES_MAX, HeaderError, LINE_BYTES_MAX, LineHead, check_segment_version, segment_first, segment_header},
    merkle::{Hash, Tree},
};

pub(crate) mod lines;
pub(crate) mod notes;

/// The end of a file that a loss of power tore: bytes that nobody was told were durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub file: PathBuf,
    /// The line that it begins at, from 1.
    pub line: u64,
    /// The byte that it begins at.
    pub offset: u64,
    /// How many bytes there are.
    pub bytes: u64,
}

/// What the log must be, as far as the caller knows.
#[derive(Default)]
pub(crate) struct Expected<'a> {
    pub(crate) origin: Option<&'a Origin>,
    pub(crate) public: Option<&'a PublicKey>,
    /// A checkpoint of this log from elsewhere: its entries must be there.
    pub(crate) known: Option<&'a Checkpoint>,
}

/// An entry as it is read.
pub(crate) struct Seen<'a> {
    pub(crate) head: LineHead,
    /// The line, without its newline.
    pub(crate) line: &'a [u8],
    pub(crate) leaf: Hash,
    /// Where the line begins in its segment.
    pub(crate) offset: u64,
}

/// Takes note of what is read.
pub(crate) trait Visit {
    /// A segment begins, behind the entries of this tree.
    fn segment(&mut self, _path: &Path, _before: &Tree) {}
    /// An entry.
    fn entry(&mut self, entry: &Seen<'_>);
}

/// What was found.
pub(crate) struct Scanned {
    pub(crate) tree: Tree,
    pub(crate) notes: Notes,
    /// The last segment and how many of its bytes are whole.
    pub(crate) end: Option<(PathBuf, u64)>,
    pub(crate) torn: Option<Torn>,
}

/// Reads and checks the log in this folder.
pub(crate) fn scan(dir: &Path, expected: &Expected<'_>, visit: &mut dyn Visit) -> Result<Scanned, VerifyError> {
    // Checkpoints are read as far as they go now, and the segments after that: so the entries of all of them are there,
    // though a server may be writing.
    let mut notes = Notes::open(dir, expected.origin, expected.public)?;
    let next = notes.next()?;
    let mut scan = Scan { notes, next, known: expected.known, tree: Tree::new(), since: None, end: None, torn: None };
    scan.compare(dir, 0)?;
    let segments = segments(dir)?;
    for (number, (first, path)) in segments.iter().enumerate() {
        scan.segment(*first, path, number + 1 == segments.len(), visit)?;
    }
    scan.finish(dir)
}

/// The segments in this folder, in order.
pub(crate) fn segments(dir: &Path) -> Result<Vec<(u64, PathBuf)>, VerifyError> {
    let unreadable = |error: io::Error| Problem::Read(error).of(dir);
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if let Some(first) = entry.file_name().to_str().and_then(segment_first) {
            segments.push((first, entry.path()));
        }
    }
    segments.sort();
    Ok(segments)
}

struct Scan<'a> {
    notes: Notes,
    /// The next checkpoint that was not reached yet.
    next: Option<Checkpoint>,
    known: Option<&'a Checkpoint>,
    tree: Tree,
    /// Index and place of the first entry behind what was last compared with something signed.
    since: Option<(u64, PathBuf, u64)>,
    end: Option<(PathBuf, u64)>,
    torn: Option<Torn>,
}

impl Scan<'_> {
    fn segment(&mut self, first: u64, path: &Path, is_last: bool, visit: &mut dyn Visit) -> Result<(), VerifyError> {
        let unreadable = |error: io::Error| Problem::Read(error).of(path);
        if first != self.tree.size() {
            return Err(Problem::SegmentMissing { expected: self.tree.size(), found: first }.of(path));
        }
        let mut lines = Lines::open(path).map_err(unreadable)?;
        let piece = lines.next(LINE_BYTES_MAX).map_err(unreadable)?;
        self.header(path, piece, &lines.line)?;
        visit.segment(path, &self.tree);
        loop {
            let piece = lines.next(LINE_BYTES_MAX).map_err(unreadable)?;
            if piece == Piece::End {
                break;
            }
            if lines.torn(piece) {
                if !is_last || lines.rest() > BATCH_BYTES_MAX as u64 {
                    return Err(Problem::Incomplete.at(path, lines.number));
                }
                let (line, offset, bytes) = (lines.number, lines.offset, lines.rest());
                self.torn = Some(Torn { file: path.to_owned(), line, offset, bytes });
                break;
            }
            self.entry(path, &lines, visit)?;
        }
        self.end = Some((path.to_owned(), if self.torn.is_some() { lines.offset } else { lines.end }));
        Ok(())
    }

    fn header(&self, path: &Path, piece: Piece, line: &[u8]) -> Result<(), VerifyError> {
        let version = if piece == Piece::Line { check_segment_version(line) } else { Err(HeaderError::Other) };
        version.map_err(|error| match error {
            HeaderError::Newer(version) => Problem::Newer(version).at(path, 1),
            HeaderError::Other => Problem::Header.at(path, 1),
        })?;
        let header = |root: &Hash| segment_header(&self.notes.origin, self.tree.size(), root);
        if header(&self.tree.root()).as_bytes() == line {
            return Ok(());
        }
        let found: Option<serde_json::Value> = serde_json::from_slice(line).ok();
        let root = found.as_ref().and_then(|header| header.get("root")?.as_str()?.parse().ok());
        match &self.since {
            // Only the root differs: what is wrong is before this segment.
            Some(since) if root.is_some_and(|root| header(&root).as_bytes() == line) => Err(self.changed(since)),
            _ => Err(Problem::Header.at(path, 1)),
        }
    }

    fn entry(&mut self, path: &Path, lines: &Lines, visit: &mut dyn Visit) -> Result<(), VerifyError> {
        let head: LineHead = serde_json::from_slice(&lines.line).map_err(|_| Problem::Line.at(path, lines.number))?;
        let (expected, found) = (self.tree.size(), head.index);
        if found != expected {
            let problem = if found > expected && !holds(path, expected).map_err(|error| Problem::Read(error).of(path))? {
                Problem::Missing { expected, found }
            } else {
                Problem::Misplaced { expected, found }
            };
            return Err(problem.at(path, lines.number));
        }
        let leaf = Hash::of_leaf(&lines.line);
        self.tree.push(leaf);
        self.since.get_or_insert_with(|| (found, path.to_owned(), lines.number));
        visit.entry(&Seen { head, line: &lines.line, leaf, offset: lines.offset });
        self.compare(path, lines.number)
    }

    /// Compares with what was signed at the present size.
    fn compare(&mut self, path: &Path, line: u64) -> Result<(), VerifyError> {
        let mut compared = false;
        while let Some(checkpoint) = self.next.as_ref().filter(|checkpoint| checkpoint.size == self.tree.size()) {
            compared = true;
            self.same_root(checkpoint, path, line)?;
            self.next = self.notes.next()?;
        }
        if let Some(known) = self.known.filter(|known| known.size == self.tree.size()) {
            compared = true;
            self.same_root(known, path, line)?;
        }
        if compared {
            self.since = None;
        }
        Ok(())
    }

    fn same_root(&self, checkpoint: &Checkpoint, path: &Path, line: u64) -> Result<(), VerifyError> {
        if checkpoint.root == self.tree.root() {
            return Ok(());
        }
        let last = self.tree.size().saturating_sub(1);
        Err(self
            .since
            .as_ref()
            .map_or_else(|| Problem::Changed { first: last, last }.at(path, line), |since| self.changed(since)))
    }

    fn changed(&self, (first, path, line): &(u64, PathBuf, u64)) -> VerifyError {
        Problem::Changed { first: *first, last: self.tree.size().saturating_sub(1) }.at(path, *line)
    }

    fn finish(self, dir: &Path) -> Result<Scanned, VerifyError> {
        let entries = self.tree.size();
        let signed = self.next.iter().chain(self.known).map(|checkpoint| checkpoint.size).max().unwrap_or(0);
        if signed > entries {
            let file = self.end.map_or_else(|| dir.to_owned(), |(path, _)| path);
            return Err(Problem::CutOff { entries, signed }.of(file));
        }
        let Self { notes, tree, end, torn, .. } = self;
        Ok(Scanned { tree, notes, end, torn })
    }
}

/// Whether the segment has this entry anywhere.
fn holds(path: &Path, index: u64) -> io::Result<bool> {
    let mut lines = Lines::open(path)?;
    while lines.next(LINE_BYTES_MAX)? != Piece::End {
        if serde_json::from_slice(&lines.line).is_ok_and(|head: LineHead| head.index == index) {
            return Ok(true);
        }
    }
    Ok(false)
}
