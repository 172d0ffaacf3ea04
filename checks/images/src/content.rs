//! What is in a file: secrets, also in archives within it.

use std::io::{self, Cursor, Read};

use crate::{
    entries::{self, ArchiveError},
    secrets::{Found, Scanner},
    unpack::{Packing, plain, sampled},
};

/// Archives within archives that are opened, at most.
pub const NESTING_MAX: usize = 4;
/// Bytes of a zip archive within a layer that is opened: its directory is at its end, so that it is held in memory.
pub const ZIP_BYTES_MAX: u64 = 32 << 20;
/// Bytes out of all archives within an image, at most.
pub const NESTED_BYTES_MAX: u64 = 4 << 30;

/// Looks into files.
pub(crate) struct Content<'a> {
    pub(crate) scanner: &'a mut Scanner,
    /// Bytes that may still come out of archives.
    pub(crate) budget: &'a mut u64,
    /// Whether something was not looked into.
    pub(crate) is_partial: bool,
}

/// Reads, and counts against a budget.
struct Metered<'a, R> {
    inner: R,
    budget: &'a mut u64,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        *self.budget = self
            .budget
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other("more comes out of archives than is looked at"))?;
        Ok(read)
    }
}

impl Content<'_> {
    /// Looks into a file. `found` is told the place in it, which is empty where it is the file itself.
    pub(crate) fn look(&mut self, reader: &mut dyn Read, found: &mut dyn FnMut(&str, Found)) -> io::Result<()> {
        self.at("", reader, 0, found)
    }

    fn at(&mut self, place: &str, reader: &mut dyn Read, depth: usize, found: &mut dyn FnMut(&str, Found)) -> io::Result<()> {
        let (sample, mut reader) = sampled(reader)?;
        let packing = Packing::of(&sample);
        if packing == Packing::Plain || depth == NESTING_MAX {
            self.is_partial |= packing != Packing::Plain;
            self.scanner.read(reader)?.into_iter().for_each(|secret| found(place, secret));
            return Ok(());
        }
        // What cannot be opened is somebody else's trouble: a program's test file, cut off on purpose.
        let opened = match packing {
            Packing::Tar => self.tar(place, &mut reader, depth, found),
            Packing::Zip => self.zip(place, &mut reader, depth, found),
            _ => {
                let mut budget = *self.budget;
                let mut inner = Metered { inner: plain(packing, &mut reader), budget: &mut budget };
                let result = self.at(place, &mut inner, depth + 1, found);
                *self.budget = budget.min(*self.budget);
                result
            }
        };
        self.is_partial |= opened.is_err();
        // The layer's own reader goes on behind it.
        io::copy(&mut reader, &mut io::sink()).map(drop)
    }

    fn tar(&mut self, place: &str, reader: &mut dyn Read, depth: usize, found: &mut dyn FnMut(&str, Found)) -> io::Result<()> {
        let result = entries::each(reader, |entry| {
            if entry.kind.is_file() {
                self.at(&joined(place, &entry.path), entry.content, depth + 1, found)?;
            }
            Ok(())
        });
        result.map_err(|error| match error {
            ArchiveError::Read(error) => error,
            ArchiveError::Malformed(what) => io::Error::new(io::ErrorKind::InvalidData, what),
        })
    }

    fn zip(&mut self, place: &str, reader: &mut dyn Read, depth: usize, found: &mut dyn FnMut(&str, Found)) -> io::Result<()> {
        let mut bytes = Vec::new();
        reader.take(ZIP_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > ZIP_BYTES_MAX {
            return Err(io::Error::other("a zip archive that is not opened for its size"));
        }
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes))?;
        for number in 0..archive.len() {
            let entry = archive.by_index(number)?;
            if entry.is_file() {
                let place = joined(place, &entry.name()?);
                let mut budget = *self.budget;
                let mut inner = Metered { inner: entry, budget: &mut budget };
                let result = self.at(&place, &mut inner, depth + 1, found);
                *self.budget = budget.min(*self.budget);
                result?;
            }
        }
        Ok(())
    }
}

/// A place within a place.
fn joined(place: &str, path: &str) -> String {
    if place.is_empty() { path.to_owned() } else { format!("{place}!{path}") }
}
