//! Packages of an image: those that can be seen in a container, for what a later layer takes away is in no container.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use coffer_packages::{DATABASE_BYTES_MAX, Database, Distribution, Package, Program};

use crate::{facts::Facts, files::KNOWN_FILE_BYTES_MAX, view::taken};

/// Packages of an image, at most.
pub const PACKAGES_MAX: usize = 200_000;
/// Files that are told to have a package, at most.
pub const PLACES_MAX: usize = 50;
/// Where distributions say which they are; the first that is there counts.
const RELEASES: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

/// Looks at a file for packages, while it is read for something else.
pub(crate) enum Watch {
    Database(Database, Vec<u8>),
    Release(Vec<u8>),
    Program(Program),
}

impl Watch {
    /// By the path, for a program can have any.
    pub(crate) fn of(path: &str) -> Self {
        match Database::of(path) {
            Some(database) => Self::Database(database, Vec::new()),
            None if RELEASES.contains(&path) => Self::Release(Vec::new()),
            None => Self::Program(Program::default()),
        }
    }

    fn feed(&mut self, read: &[u8]) {
        let (bytes, max) = match self {
            Self::Program(program) => return program.feed(read),
            Self::Database(_, bytes) => (bytes, DATABASE_BYTES_MAX),
            Self::Release(bytes) => (bytes, usize::try_from(KNOWN_FILE_BYTES_MAX).unwrap_or_default()),
        };
        // One more than there may be tells that there were more.
        let left = (max + 1 - bytes.len()).min(read.len());
        bytes.extend_from_slice(read.get(..left).unwrap_or_default());
    }
}

/// Reads, and shows what was read to a watch.
pub(crate) struct Watched<'a> {
    pub(crate) inner: &'a mut dyn Read,
    pub(crate) watch: &'a mut Watch,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.watch.feed(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// What one file tells.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    packages: Vec<Package>,
    distribution: Option<Distribution>,
    unread: Option<String>,
}

impl Told {
    const fn is_nothing(&self) -> bool {
        self.packages.is_empty() && self.distribution.is_none() && self.unread.is_none()
    }

    /// What it counts for against the limit: as one package, where it has none.
    const fn weight(&self) -> usize {
        if self.packages.is_empty() { 1 } else { self.packages.len() }
    }
}

/// What can be seen so far, by the file that tells it.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    files: BTreeMap<String, Told>,
    weight: usize,
    has_more: bool,
}

impl Inventory {
    /// A file was read to its end.
    pub(crate) fn saw(&mut self, path: &str, watch: Watch) {
        let too_large = |bytes: &[u8], max: usize| (bytes.len() > max).then(|| format!("it is larger than {max} bytes"));
        let left_out = |count: usize| (count > 0).then(|| format!("{count} of its packages are not written as packages are"));
        let told = match watch {
            Watch::Release(bytes) => {
                Told { distribution: Distribution::read(&String::from_utf8_lossy(&bytes)), ..Told::default() }
            }
            Watch::Database(database, bytes) => match too_large(&bytes, DATABASE_BYTES_MAX) {
                Some(unread) => Told { unread: Some(unread), ..Told::default() },
                None => {
                    let listed = database.read(&bytes);
                    Told { packages: listed.packages, unread: left_out(listed.left_out), ..Told::default() }
                }
            },
            Watch::Program(program) => {
                let built = program.finish();
                let unread = built.unread.map(str::to_owned).or_else(|| left_out(built.listed.left_out));
                Told { packages: built.listed.packages, unread, ..Told::default() }
            }
        };
        self.put(path, told);
    }

    /// What the file at this path tells, for another name of it.
    pub(crate) fn at(&self, path: &str) -> Told {
        self.files.get(path).cloned().unwrap_or_default()
    }

    pub(crate) fn put(&mut self, path: &str, mut told: Told) {
        if told.is_nothing() {
            return;
        }
        let left = PACKAGES_MAX - self.weight;
        self.has_more |= told.weight() > left;
        told.packages.truncate(left);
        if left == 0 {
            return;
        }
        self.weight += told.weight();
        let before = self.files.insert(path.to_owned(), told);
        self.weight -= before.map_or(0, |before| before.weight());
    }

    pub(crate) fn hide(&mut self, path: &str, is_content_alone: bool) {
        let hidden = taken(&mut self.files, path, is_content_alone);
        self.weight -= hidden.iter().map(|(_, told)| told.weight()).sum::<usize>();
    }

    pub(crate) fn into_facts(self, facts: &mut Facts) {
        facts.distribution = RELEASES.iter().find_map(|path| self.files.get(*path)?.distribution.clone());
        for (path, told) in self.files {
            let path = format!("/{path}");
            for package in told.packages {
                let places = facts.packages.entry(package).or_default();
                if places.len() < PLACES_MAX && places.last() != Some(&path) {
                    places.push(path.clone());
                }
            }
            facts.unread_packages.extend(told.unread.map(|why| (path, why)));
        }
        if self.has_more {
            facts.unread_packages.insert(String::new(), format!("the image has more than {PACKAGES_MAX} packages"));
        }
    }
}

#[cfg(test)]
mod tests {
    use coffer_packages::Ecosystem;

    use super::*;
    use crate::kit::{Layer, facts};

    const STATUS: &[u8] = b"Package: base\nStatus: install ok installed\nVersion: 1\n";

    fn names(facts: &Facts) -> Vec<String> {
        facts
            .packages
            .iter()
            .map(|(package, places)| format!("{} {} {}", package.name, package.version, places.join(" ")))
            .collect()
    }

    /// A program with crates in it, and no table of sections.
    fn program(name: &str) -> Vec<u8> {
        let mut program = b"\x7fELF\x02\x01\x01".to_vec();
        program.resize(64, 0);
        let text = format!(r#"{{"packages":[{{"name":"{name}","version":"1.0.0"}}]}}"#);
        let mut zlib = flate2::write::ZlibEncoder::new(program, flate2::Compression::fast());
        io::Write::write_all(&mut zlib, text.as_bytes()).unwrap();
        zlib.finish().unwrap()
    }

    #[test]
    fn packages_are_those_that_a_container_would_see() {
        let base = || {
            let release = b"ID=debian\nVERSION_ID=12\n";
            Layer::new().file("usr/lib/os-release", release).file("var/lib/dpkg/status", STATUS).file("app/run", &program("a"))
        };
        let all = ["base 1 /var/lib/dpkg/status", "a 1.0.0 /app/run"];
        let one = facts(vec![base()]);
        assert_eq!(
            (names(&one).as_slice(), one.distribution.unwrap().to_string().as_str()),
            (&all.map(str::to_owned)[..], "debian:12")
        );
        for (upper, left) in [
            (Layer::new().file("var/lib/dpkg/.wh.status", b""), &all[1..]),
            (Layer::new().file("var/lib/.wh..wh..opq", b""), &all[1..]),
            (Layer::new().file(".wh.var", b""), &all[1..]),
            (Layer::new().file("var/lib/dpkg/status", b""), &all[1..]),
            (Layer::new().file("app/run", b"#!/bin/sh\n"), &all[..1]),
            (Layer::new().file("app/run", &program("b")), &["base 1 /var/lib/dpkg/status", "b 1.0.0 /app/run"][..]),
            (Layer::new().entry("app/", tar::EntryType::Directory, 0o755, b""), &all[..]),
        ] {
            assert_eq!(names(&facts(vec![base(), upper])), left);
        }
        assert_eq!(facts(vec![base(), Layer::new().file("etc/os-release", b"ID=x\n")]).distribution.unwrap().id, "x");
        assert_eq!(facts(vec![base(), Layer::new().file(".wh.usr", b"")]).distribution, None);
    }

    #[test]
    fn another_name_of_a_program_outlives_the_first() {
        let link = Layer::new().file("app/run", &program("a")).link("app/again", "app/run");
        assert_eq!(names(&facts(vec![link])), ["a 1.0.0 /app/again /app/run"]);
        let link = Layer::new().file("app/run", &program("a")).link("app/again", "app/run");
        assert_eq!(names(&facts(vec![link, Layer::new().file("app/.wh.run", b"")])), ["a 1.0.0 /app/again"]);
    }

    #[test]
    fn what_cannot_be_read_of_packages_is_told() {
        let facts = facts(vec![Layer::new().file("var/lib/dpkg/status", b"Package: x\n")]);
        assert_eq!(
            facts.unread_packages.get("/var/lib/dpkg/status").map(String::as_str),
            Some("1 of its packages are not written as packages are")
        );
    }

    #[test]
    fn a_database_is_read_up_to_its_limit() {
        let unread = |bytes: usize| {
            let mut watch = Watch::of("var/lib/dpkg/status");
            let mut text = STATUS.to_vec();
            text.resize(bytes, b'\n');
            io::copy(&mut Watched { inner: &mut text.as_slice(), watch: &mut watch }, &mut io::sink()).unwrap();
            let mut inventory = Inventory::default();
            inventory.saw("var/lib/dpkg/status", watch);
            let told = inventory.at("var/lib/dpkg/status");
            (told.packages.len(), told.unread.is_some())
        };
        assert_eq!(unread(DATABASE_BYTES_MAX), (1, false));
        assert_eq!(unread(DATABASE_BYTES_MAX + 1), (0, true));
    }

    #[test]
    fn packages_and_places_past_their_limits_are_told_or_left_out() {
        let package = |number: usize| Package::new(Ecosystem::Rust, &format!("p{number}"), "1.0.0").unwrap();
        let told = |count: usize| Told { packages: (0..count).map(package).collect(), ..Told::default() };
        let of = |counts: &[usize]| {
            let (mut inventory, mut facts) = (Inventory::default(), Facts::default());
            counts.iter().enumerate().for_each(|(number, count)| inventory.put(&number.to_string(), told(*count)));
            inventory.into_facts(&mut facts);
            (facts.packages.len(), facts.packages.values().map(Vec::len).max(), facts.unread_packages.len())
        };
        assert_eq!(of(&[PACKAGES_MAX]), (PACKAGES_MAX, Some(1), 0));
        assert_eq!(of(&[PACKAGES_MAX + 1]), (PACKAGES_MAX, Some(1), 1));
        assert_eq!(of(&[1; PLACES_MAX]), (1, Some(PLACES_MAX), 0));
        assert_eq!(of(&[1; PLACES_MAX + 1]), (1, Some(PLACES_MAX), 0));
        let mut inventory = Inventory::default();
        inventory.put("a/b", told(PACKAGES_MAX));
        inventory.hide("a", false);
        inventory.put("c", told(PACKAGES_MAX));
        assert!(!inventory.has_more);
    }
}
