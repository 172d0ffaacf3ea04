//! Lines of a file that may grow while it is read, and may end in the middle of one.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Take},
    path::Path,
};

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A line, with its newline.
    Line,
    /// Bytes without a newline, at the end of the file or too many for a line.
    Fragment,
    /// Nothing: the file ends.
    End,
}

/// Reads a file line by line, as far as it went when it was opened.
pub(crate) struct Lines {
    reader: Take<BufReader<File>>,
    /// The line, without its newline.
    pub(crate) line: Vec<u8>,
    /// The line's number, from 1.
    pub(crate) number: u64,
    /// Where the line begins.
    pub(crate) offset: u64,
    /// Where the line ends, its newline included.
    pub(crate) end: u64,
    /// Bytes in the file.
    pub(crate) length: u64,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { reader: BufReader::new(file).take(length), line: Vec::new(), number: 0, offset: 0, end: 0, length })
    }

    /// Reads the next line of `max` bytes at most.
    pub(crate) fn next(&mut self, max: usize) -> io::Result<Piece> {
        self.line.clear();
        self.offset = self.end;
        let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.line)?;
        self.end += u64::try_from(read).unwrap_or(u64::MAX);
        if read == 0 {
            return Ok(Piece::End);
        }
        self.number += 1;
        Ok(if self.line.pop_if(|byte| *byte == b'\n').is_some() { Piece::Line } else { Piece::Fragment })
    }

    /// Whether what came cannot be what was written, but can be what a loss of power leaves of it: pages that never
    /// reached the disk read as zeros, which no line has in it.
    pub(crate) fn torn(&self, piece: Piece) -> bool {
        piece == Piece::Fragment || self.line.contains(&0)
    }

    /// Bytes from where the line begins to the end of the file.
    pub(crate) const fn rest(&self) -> u64 {
        self.length - self.offset
    }
}
