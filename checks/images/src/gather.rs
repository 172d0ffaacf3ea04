//! From an image to what is known of it: one pass over each layer.

use std::io::{self, Read};

use crate::{
    content::{Content, NESTED_BYTES_MAX},
    digest::Hashing,
    entries::{self, ArchiveError, Entry},
    facts::{Facts, Kind, LayerFacts, Outcome, Place, Secret},
    files::{self, KNOWN_FILE_BYTES_MAX, Known},
    inventory::{Watch, Watched},
    secrets::{FILE_SECRETS_MAX, Scanner, Stored},
    source::{Image, LayerSource},
    unpack::{Packing, plain, sampled},
    view::View,
};

/// Files of an image, at most.
pub const FILES_MAX: u64 = 5_000_000;
/// Bytes of a layer when it is not compressed, at most.
pub const LAYER_BYTES_MAX: u64 = 64 << 30;
/// How many times more may come out of a layer than is in it, once it is more than [`BOMB_BYTES_MIN`].
pub const RATIO_MAX: u64 = 400;
/// What comes out of a layer before its ratio counts.
pub const BOMB_BYTES_MIN: u64 = 256 << 20;
/// Secrets of an image that are told, at most.
pub const SECRETS_MAX: usize = 10_000;

/// What a scan has come to, for whoever waits.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// The layer that is read, from 1.
    pub layer: usize,
    /// How many there are.
    pub layers: usize,
    /// Bytes that were looked at.
    pub bytes: u64,
}

/// Gathers what the checks look at. `progress` is told now and then.
pub fn gather(image: Image, progress: &mut dyn FnMut(Progress)) -> Facts {
    gather_with(image, None, progress)
}

/// As [`gather`], and looks for what a vault stores.
pub fn gather_with(mut image: Image, stored: Option<Stored>, progress: &mut dyn FnMut(Progress)) -> Facts {
    let stored_marks = stored.as_ref().map(Stored::len);
    let mut gathering = Gathering {
        scanner: Scanner::with(stored),
        nested: NESTED_BYTES_MAX,
        files: 0,
        facts: Facts::default(),
        view: View::default(),
    };
    let layers = std::mem::take(&mut image.layers);
    let mut done = 0;
    for (number, layer) in layers.iter().enumerate() {
        let mut say = |bytes| progress(Progress { layer: number + 1, layers: layers.len(), bytes: done + bytes });
        let facts = gathering.layer(number + 1, &mut image, layer, &mut say);
        done += facts.bytes;
        gathering.facts.layers.push(facts);
    }
    let Gathering { mut facts, view, mut scanner, .. } = gathering;
    crate::texts::gather(&image, &mut scanner, &mut facts.secrets);
    facts.has_more_secrets |= facts.secrets.len() > SECRETS_MAX;
    facts.secrets.truncate(SECRETS_MAX);
    view.into_facts(&mut facts);
    Facts {
        reference: image.reference,
        index: image.index,
        index_images: image.index_images,
        manifest: image.manifest,
        config_digest: Some(image.config_digest),
        config: image.config,
        stored_marks,
        ..facts
    }
}

struct Gathering {
    scanner: Scanner,
    nested: u64,
    files: u64,
    facts: Facts,
    view: View,
}

/// Stops reading where too much comes out.
struct Bounded<'a, R> {
    inner: R,
    read: u64,
    packed: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        (self.progress)(self.read);
        let is_bomb = self.read > BOMB_BYTES_MIN && self.read / self.packed.max(1) > RATIO_MAX;
        match is_bomb || self.read > LAYER_BYTES_MAX {
            true => Err(io::Error::new(io::ErrorKind::QuotaExceeded, "more comes out of it than any layer has")),
            false => Ok(read),
        }
    }
}

fn unread(error: io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::QuotaExceeded => Outcome::Malformed(error.to_string()),
        _ => Outcome::Unread(error.to_string()),
    }
}

impl Gathering {
    fn layer(&mut self, number: usize, image: &mut Image, layer: &LayerSource, progress: &mut dyn FnMut(u64)) -> LayerFacts {
        let name = layer.digest.as_ref().or(layer.diff_id.as_ref()).map_or_else(|| layer.name.clone(), ToString::to_string);
        let mut facts = LayerFacts { name, outcome: Outcome::Read, files: 0, bytes: 0, is_partial: false };
        let packed = image.blobs.size(&layer.name);
        let opened = image.blobs.open(&layer.name).map_err(|error| Outcome::Unread(error.to_string()));
        let read = packed
            .map_err(|error| Outcome::Unread(error.to_string()))
            .and_then(|packed| Ok((packed, opened?)))
            .and_then(|(packed, blob)| self.stream(number, layer, packed, blob, &mut facts, progress));
        facts.outcome = read.err().unwrap_or(Outcome::Read);
        facts
    }

    fn stream(
        &mut self,
        number: usize,
        layer: &LayerSource,
        packed: u64,
        blob: Box<dyn Read + Send + '_>,
        facts: &mut LayerFacts,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Outcome> {
        if layer.media_type.contains("encrypted") {
            return Err(Outcome::Unread("it is encrypted".to_owned()));
        }
        let mut stored = Hashing::new(blob);
        let (sample, reader) = sampled(&mut stored).map_err(unread)?;
        let bounded = Bounded { inner: plain(Packing::of(&sample), reader), read: 0, packed, progress };
        let mut layered = Hashing::new(bounded);
        let result = self.entries(number, &mut layered, facts);
        facts.bytes = layered.bytes;
        result.map_err(|error| match error {
            ArchiveError::Read(error) => unread(error),
            ArchiveError::Malformed(what) => Outcome::Malformed(what),
        })?;
        let diff_id = layered.digest();
        drop(layered);
        io::copy(&mut stored, &mut io::sink()).map_err(unread)?;
        for (what, wanted, found) in [("blob", &layer.digest, stored.digest()), ("diff id", &layer.diff_id, diff_id)] {
            if wanted.as_ref().is_some_and(|wanted| *wanted != found) {
                return Err(Outcome::WrongDigest(format!("the {what} is {found}")));
            }
        }
        Ok(())
    }

    /// Every entry, and what is behind the last.
    fn entries(&mut self, number: usize, mut reader: &mut dyn Read, facts: &mut LayerFacts) -> Result<(), ArchiveError> {
        let mut leads_out = false;
        entries::each(&mut reader, |entry| {
            self.files += 1;
            facts.files += 1;
            if self.files > FILES_MAX {
                return Err(ArchiveError::Read(io::Error::other(format!("the image has more than {FILES_MAX} files"))));
            }
            leads_out |= entry.leads_out;
            self.entry(number, entry, facts)
        })?;
        // Bytes behind the archive's end are in the image, though no container sees them.
        self.look(number, "(behind the archive's end)", reader, facts)?;
        match leads_out {
            true => Err(ArchiveError::Malformed("a path that leads out of the image".to_owned())),
            false => Ok(()),
        }
    }

    fn entry(&mut self, number: usize, entry: Entry<'_>, facts: &mut LayerFacts) -> Result<(), ArchiveError> {
        let (folder, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
        if name == ".wh..wh..opq" {
            self.view.hide(number, folder, true, &mut self.facts.secrets);
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(".wh.") {
            let path = if folder.is_empty() { hidden.to_owned() } else { format!("{folder}/{hidden}") };
            self.view.hide(number, &path, false, &mut self.facts.secrets);
            return Ok(());
        }
        self.view.add(number, &entry, &mut self.facts);
        if !entry.kind.is_file() {
            return Ok(());
        }
        let Entry { path, content, .. } = entry;
        let mut watch = Watch::of(&path);
        let mut content = Watched { inner: content, watch: &mut watch };
        match Known::of(&path) {
            Some(known) => self.known(number, &path, known, &mut content, facts)?,
            None => self.look(number, &path, &mut content, facts)?,
        }
        self.view.inventory().saw(&path, watch);
        Ok(())
    }

    /// A file that is known by its path.
    fn known(
        &mut self,
        number: usize,
        path: &str,
        known: Known,
        content: &mut dyn Read,
        facts: &mut LayerFacts,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        content.take(KNOWN_FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let kind = match known {
            Known::Credentials(what, holds) => holds(&text).then_some(Kind::Credentials(what)),
            Known::Settings => files::has_secret_settings(&text).then_some(Kind::Settings),
            Known::Shadow => {
                self.view.shadow(files::without_password(&text));
                None
            }
        };
        if let Some(kind) = kind {
            self.tell(number, path, "", kind, None);
        }
        let text = bytes.as_slice();
        self.look(number, path, &mut text.chain(content), facts)
    }

    fn look(&mut self, number: usize, path: &str, reader: &mut dyn Read, facts: &mut LayerFacts) -> io::Result<()> {
        let Self { scanner, nested, .. } = self;
        let mut content = Content { scanner, budget: nested, is_partial: false };
        let mut found = Vec::new();
        content.look(reader, &mut |within, secret| {
            if found.len() < FILE_SECRETS_MAX {
                found.push((within.to_owned(), secret));
            }
        })?;
        facts.is_partial |= content.is_partial;
        for (within, secret) in found {
            self.tell(number, path, &within, secret.what.into(), secret.line);
        }
        Ok(())
    }

    fn tell(&mut self, layer: usize, path: &str, within: &str, kind: Kind, line: Option<u64>) {
        if self.facts.secrets.len() >= SECRETS_MAX {
            self.facts.has_more_secrets = true;
            return;
        }
        let place = Place::File { layer, path: path.to_owned(), within: within.to_owned() };
        self.view.holds(path, self.facts.secrets.len());
        self.facts.secrets.push(Secret { kind, place, line, gone_in: None });
    }
}

#[cfg(test)]
mod tests;
