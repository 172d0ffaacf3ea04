//! A tar archive that is read here and there, without being unpacked.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
};

use super::Blobs;

/// Files in an archive, at most.
pub(super) const ARCHIVE_FILES_MAX: usize = 10_000;

/// Where a file begins, and its length.
#[derive(Clone, Copy)]
struct Place {
    begin: u64,
    bytes: u64,
}

pub(super) struct Archive {
    file: File,
    places: HashMap<String, Place>,
    /// Docker's archives have links where a layer is in an image twice.
    links: HashMap<String, String>,
}

impl Archive {
    pub(super) fn open(file: File) -> io::Result<Self> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let mut start = [0; 4];
        let length = io::copy(&mut (&file).take(4), &mut &mut start[..])?;
        if length < 4 {
            return Err(wrong("it is empty"));
        }
        if start.starts_with(&[0x1f, 0x8b]) || start == [0x28, 0xb5, 0x2f, 0xfd] {
            return Err(wrong("it is compressed as a whole: decompress it first (gunzip, zstd -d)"));
        }
        (&file).seek(SeekFrom::Start(0))?;
        let (mut places, mut links) = (HashMap::new(), HashMap::new());
        let mut archive = tar::Archive::new(&file);
        for (number, entry) in archive.entries_with_seek()?.raw(true).enumerate() {
            let entry = entry?;
            if number >= ARCHIVE_FILES_MAX {
                return Err(wrong(&format!("it has more than {ARCHIVE_FILES_MAX} files")));
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
            match entry.header().entry_type() {
                kind if kind.is_file() => {
                    places.insert(name, Place { begin: entry.raw_file_position(), bytes: entry.size() });
                }
                kind if kind.is_symlink() || kind.is_hard_link() => {
                    let target = entry.link_name_bytes().map(|target| String::from_utf8_lossy(&target).into_owned());
                    links.extend(target.and_then(|target| Some((name.clone(), resolved(&name, &target, kind.is_symlink())?))));
                }
                _ => {}
            }
        }
        Ok(Self { file, places, links })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }
}

/// What a link leads to in the archive.
fn resolved(name: &str, target: &str, is_symbolic: bool) -> Option<String> {
    let mut parts: Vec<&str> = if is_symbolic { name.split('/').collect() } else { Vec::new() };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

impl Archive {
    fn place(&self, name: &str) -> io::Result<Place> {
        // One step: a link to a link is not made by anybody.
        let name = self.links.get(name).map_or(name, String::as_str);
        self.places.get(name).copied().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("it has no {name}")))
    }
}

impl Blobs for Archive {
    fn open(&mut self, name: &str) -> io::Result<Box<dyn Read + Send + '_>> {
        let place = self.place(name)?;
        self.file.seek(SeekFrom::Start(place.begin))?;
        Ok(Box::new((&self.file).take(place.bytes)))
    }

    fn size(&mut self, name: &str) -> io::Result<u64> {
        Ok(self.place(name)?.bytes)
    }
}
