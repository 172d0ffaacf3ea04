//! What is built into a program: modules of Go, as its linker writes them down, and crates, as `cargo auditable` does.
//!
//! A program is read as a stream, and never held whole: what could be such a list is kept where it begins like one, and the table of
//! sections, which is at the end of most programs, says which of it is.

use std::collections::BTreeMap;

use memchr::memmem;

use crate::database::Listed;

mod crates;
mod elf;
pub(crate) mod modules;

pub use elf::PARTS_MAX;
use elf::{Header, Section};

/// Bytes of what is built in, as it is stored: module lists have some ten thousand.
pub const BUILT_IN_BYTES_MAX: usize = 1 << 20;
/// Bytes of a list of crates when it is not compressed, at most.
pub const CRATES_BYTES_MAX: u64 = 8 << 20;
/// What begins like a list within one program, of each kind, at most.
pub const CANDIDATES_MAX: usize = 4;
/// Places of a program that name a version of Go, at most: only programs of before Go 1.18 are asked for them.
pub const GO_WORDS_MAX: usize = 4096;
/// Bytes that are looked at together, beside the overlap.
const WINDOW_BYTES: usize = 128 << 10;
/// Bytes behind a place that tell whether a list begins there.
const OVERLAP_BYTES: usize = 1024;
/// Bytes around the table of sections that have their names.
const NAMES_BYTES: u64 = 64 << 10;
/// Bytes of the longest name of a version of Go.
const GO_WORD_BYTES: usize = 48;

const BUILD_INFO: &[u8] = b"\xff Go buildinf:";
/// What stands before the modules, by which the Go command knows them.
const MODULES_BEGIN: &[u8] = &[0x30, 0x77, 0xaf, 0x0c, 0x92, 0x74, 0x08, 0x02, 0x41, 0xe1, 0xc1, 0x07, 0xe6, 0xd6, 0x18, 0xe6];
/// Bytes of what stands before the modules and behind them.
const MARK_BYTES: usize = 16;

/// What was built into a program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuiltIn {
    /// Its packages.
    pub listed: Listed,
    /// Why more may be in it, where that is so.
    pub unread: Option<&'static str>,
}

/// Bytes of a program that are kept, from one place on.
#[derive(Debug, Clone, Default)]
struct Kept {
    start: u64,
    max: usize,
    bytes: Vec<u8>,
}

impl Kept {
    const fn new(start: u64, max: usize) -> Self {
        Self { start, max, bytes: Vec::new() }
    }

    /// Takes what of these bytes belongs to it.
    fn take(&mut self, base: u64, bytes: &[u8]) {
        let next = self.start + self.bytes.len() as u64;
        let Some(skip) = next.checked_sub(base).and_then(|skip| usize::try_from(skip).ok()) else { return };
        let rest = bytes.get(skip..).unwrap_or_default();
        let wanted = (self.max - self.bytes.len()).min(rest.len());
        self.bytes.extend_from_slice(rest.get(..wanted).unwrap_or_default());
    }

    /// Bytes by their place in the program.
    fn at(&self, start: u64, length: usize) -> Option<&[u8]> {
        let from = usize::try_from(start.checked_sub(self.start)?).ok()?;
        self.bytes.get(from..from.checked_add(length)?)
    }
}

/// Reads a program, or what turns out to be none.
#[derive(Debug, Default)]
pub struct Program {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// Its first bytes.
    #[default]
    New,
    Begun(Vec<u8>),
    Other,
    Elf(Box<Elf>),
}

impl Program {
    /// Reads what comes next.
    pub fn feed(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Other => {}
            State::Elf(elf) => elf.feed(bytes),
            State::New | State::Begun(_) => {
                let mut begun = match std::mem::take(&mut self.state) {
                    State::Begun(begun) => begun,
                    _ => Vec::new(),
                };
                let (head, rest) = bytes.split_at_checked(elf::MAGIC.len() - begun.len()).unwrap_or((bytes, &[]));
                begun.extend_from_slice(head);
                self.state = match begun.as_slice() {
                    elf::MAGIC => {
                        let mut elf = Box::<Elf>::default();
                        elf.feed(&begun);
                        elf.feed(rest);
                        State::Elf(elf)
                    }
                    short if elf::MAGIC.starts_with(short) => State::Begun(begun),
                    _ => State::Other,
                };
            }
        }
    }

    /// What was built into it.
    #[must_use]
    pub fn finish(self) -> BuiltIn {
        match self.state {
            State::Elf(elf) => elf.finish(),
            _ => BuiltIn::default(),
        }
    }
}

/// A program in the format of Linux.
#[derive(Debug, Default)]
struct Elf {
    /// Where the window begins.
    base: u64,
    window: Vec<u8>,
    header: Option<Header>,
    /// The table of sections, what is around it, and their names where these are far from it.
    table: Kept,
    around: Vec<Kept>,
    has_names: bool,
    /// What begins like Go's build information.
    infos: Vec<Kept>,
    /// What begins like modules.
    modules: Vec<Kept>,
    /// Texts of Go that those of before 1.18 point to.
    strings: Vec<Kept>,
    words: Vec<Kept>,
    /// What begins like crates.
    crates: Vec<Kept>,
    has_more: bool,
}

impl Elf {
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let free = (WINDOW_BYTES + OVERLAP_BYTES).saturating_sub(self.window.len());
            let (now, later) = bytes.split_at_checked(free).unwrap_or((bytes, &[]));
            self.window.extend_from_slice(now);
            bytes = later;
            if self.window.len() >= WINDOW_BYTES + OVERLAP_BYTES {
                self.look(WINDOW_BYTES);
            }
        }
    }

    /// Looks at the first bytes of the window, and lets go of them.
    fn look(&mut self, end: usize) {
        let window = std::mem::take(&mut self.window);
        if self.base == 0 {
            self.begin(&window);
        }
        self.search(&window, end);
        let looked = window.get(..end).unwrap_or(&window);
        let kept = [&mut self.around, &mut self.infos, &mut self.modules, &mut self.strings, &mut self.words, &mut self.crates];
        kept.into_iter().flatten().chain([&mut self.table]).for_each(|kept| kept.take(self.base, looked));
        self.base += looked.len() as u64;
        self.far_names();
        let rest = looked.len();
        self.window = window;
        self.window.drain(..rest);
    }

    fn begin(&mut self, window: &[u8]) {
        let Some(header) = Header::read(window) else { return };
        let (start, bytes) = (header.sections_at, header.sections_bytes());
        self.table = Kept::new(start, bytes);
        let before = start.min(NAMES_BYTES);
        let around = |start, bytes: u64| Kept::new(start, usize::try_from(bytes).unwrap_or_default());
        self.around = vec![around(start - before, before), around(start.saturating_add(bytes as u64), NAMES_BYTES)];
        self.header = Some(header);
    }

    /// Where the table of sections is before their names and far from them, the names are kept when they come.
    fn far_names(&mut self) {
        let Some(header) = self.header.as_ref().filter(|_| !self.has_names && self.table.bytes.len() == self.table.max) else {
            return;
        };
        self.has_names = true;
        let names = header.names(&self.table.bytes).filter(|names| names.size <= NAMES_BYTES && names.offset >= self.base);
        self.around.extend(names.map(|names| Kept::new(names.offset, usize::try_from(names.size).unwrap_or_default())));
    }

    fn search(&mut self, window: &[u8], end: usize) {
        let base = self.base;
        for at in memmem::find_iter(window, BUILD_INFO).take_while(|at| *at < end) {
            let (place, info) = (base + at as u64, window.get(at..).unwrap_or_default());
            if place.is_multiple_of(16) && modules::is_info(info) {
                self.info(place, info);
            }
        }
        for at in memmem::find_iter(window, MODULES_BEGIN).take_while(|at| *at < end) {
            push(&mut self.modules, Kept::new(base + at as u64, BUILT_IN_BYTES_MAX), CANDIDATES_MAX, &mut self.has_more);
        }
        for at in memmem::find_iter(window, b"go1.").take_while(|at| *at < end) {
            // Those that are missing are noticed where they are looked for.
            push(&mut self.words, Kept::new(base + at as u64, GO_WORD_BYTES), GO_WORDS_MAX, &mut false);
        }
        for at in memchr::memchr_iter(crates::ZLIB, window).take_while(|at| *at < end) {
            if crates::begins(window.get(at..).unwrap_or_default()) {
                push(&mut self.crates, Kept::new(base + at as u64, BUILT_IN_BYTES_MAX), CANDIDATES_MAX, &mut self.has_more);
            }
        }
    }

    /// Build information, perhaps. That of before Go 1.18 has two addresses, of texts whose places are behind it.
    fn info(&mut self, place: u64, info: &[u8]) {
        let addresses = modules::pointers(info);
        let max = if addresses.is_some() { modules::HEADER_BYTES } else { BUILT_IN_BYTES_MAX };
        push(&mut self.infos, Kept::new(place, max), CANDIDATES_MAX, &mut self.has_more);
        let header = self.header.as_ref();
        for address in addresses.into_iter().flatten() {
            let string = header.and_then(|header| header.offset_of(address)).filter(|offset| *offset >= place);
            let kept = string.map(|offset| Kept::new(offset, modules::STRING_BYTES));
            kept.into_iter().for_each(|kept| push(&mut self.strings, kept, 2 * CANDIDATES_MAX, &mut false));
        }
    }

    fn finish(mut self) -> BuiltIn {
        while !self.window.is_empty() {
            let end = self.window.len().min(WINDOW_BYTES);
            self.look(end);
        }
        let Some(header) = &self.header else { return BuiltIn::default() };
        let sections = self.sections(header);
        let mut built = BuiltIn::default();
        let parts = [self.go(header, sections.as_ref()), self.rust(sections.as_ref())];
        for part in parts.into_iter().flatten() {
            match part {
                Ok(listed) => {
                    built.listed.packages.extend(listed.packages);
                    built.listed.left_out += listed.left_out;
                }
                Err(why) => built.unread = Some(why),
            }
        }
        if sections.is_none() && self.has_more {
            built.unread = Some("more in it begins like a list of what is built in than is looked at");
        }
        built
    }

    fn sections(&self, header: &Header) -> Option<BTreeMap<Vec<u8>, Section>> {
        let names = header.names(&self.table.bytes)?;
        let size = usize::try_from(names.size).ok()?;
        let text = self.around.iter().find_map(|kept| kept.at(names.offset, size))?;
        Some(header.sections(&self.table.bytes, text))
    }

    /// Go's modules: none where it is no program of Go's.
    fn go(&self, header: &Header, sections: Option<&BTreeMap<Vec<u8>, Section>>) -> Option<Result<Listed, &'static str>> {
        let section = sections.and_then(|sections| sections.get(&b".go.buildinfo"[..]));
        let info = match section {
            Some(section) => self.infos.iter().find(|info| section.has(info.start)),
            None => self.infos.iter().find(|info| header.is_data(info.start)),
        };
        let Some(info) = info else {
            return section.filter(|section| section.size > 0).map(|_| Err("its Go build information is not where it should be"));
        };
        let text = |address, length| {
            let offset = header.offset_of(address)?;
            let kept = self.words.iter().chain(&self.modules);
            kept.filter(|kept| kept.start == offset).find_map(|kept| kept.at(offset, length))
        };
        let string = |address| {
            let offset = header.offset_of(address)?;
            let bytes = self.strings.iter().find_map(|kept| kept.at(offset, modules::STRING_BYTES))?;
            Some(bytes.to_vec())
        };
        Some(modules::read(&info.bytes, &string, &text))
    }

    /// Crates: none where `cargo auditable` did not make it.
    fn rust(&self, sections: Option<&BTreeMap<Vec<u8>, Section>>) -> Option<Result<Listed, &'static str>> {
        match sections {
            None => {
                let readable = self.crates.iter().find_map(|kept| crates::read(&kept.bytes).ok());
                readable.map(Ok).or_else(|| self.crates.first().map(|kept| crates::read(&kept.bytes)))
            }
            Some(sections) => {
                let section = sections.get(&b".dep-v0"[..])?;
                let kept = self.crates.iter().find(|kept| kept.start == section.offset);
                let size = usize::try_from(section.size).ok().filter(|size| *size <= BUILT_IN_BYTES_MAX);
                let (Some(kept), Some(size)) = (kept, size) else {
                    return Some(Err("its list of crates is larger than is read, or none"));
                };
                Some(crates::read(kept.bytes.get(..size).unwrap_or(&kept.bytes)))
            }
        }
    }
}

fn push(list: &mut Vec<Kept>, kept: Kept, max: usize, has_more: &mut bool) {
    if list.len() < max {
        list.push(kept);
    } else {
        *has_more = true;
    }
}

#[cfg(test)]
mod tests;
