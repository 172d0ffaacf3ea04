//! What package managers of distributions have installed, as their databases say.

use crate::{Ecosystem, Package, Source, package::is_text};

/// Bytes of a database, at most: the largest of Debian's installations have ten million.
pub const DATABASE_BYTES_MAX: usize = 64 << 20;

/// A database of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// dpkg's `status`, or one of the files that Distroless has in its place.
    Dpkg,
    /// apk's `installed`.
    Apk,
}

/// What was in a database or a program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Its packages.
    pub packages: Vec<Package>,
    /// How many were left out because they are not written as packages are.
    pub left_out: usize,
}

impl Database {
    /// Which one is at this path of an image; roots within the root count, too.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        let is =
            |path: &str, wanted: &str| path.strip_suffix(wanted).is_some_and(|before| before.is_empty() || before.ends_with('/'));
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let is_distroless = is(folder, "lib/dpkg/status.d") && !name.ends_with(".md5sums");
        if is_distroless || is(path, "lib/dpkg/status") {
            return Some(Self::Dpkg);
        }
        is(path, "lib/apk/db/installed").then_some(Self::Apk)
    }

    /// Its packages.
    #[must_use]
    pub fn read(self, text: &[u8]) -> Listed {
        let text = String::from_utf8_lossy(text);
        let mut listed = Listed::default();
        for paragraph in Paragraphs(&text) {
            match self {
                Self::Dpkg => dpkg(paragraph, &mut listed),
                Self::Apk => apk(paragraph, &mut listed),
            }
        }
        listed
    }
}

/// What empty lines part.
struct Paragraphs<'a>(&'a str);

impl<'a> Iterator for Paragraphs<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start_matches(['\n', '\r']);
        if text.is_empty() {
            return None;
        }
        let mut end = 0;
        for line in text.split_inclusive('\n') {
            if line.trim_end_matches([' ', '\t', '\r', '\n']).is_empty() {
                break;
            }
            end += line.len();
        }
        let (paragraph, rest) = text.split_at_checked(end)?;
        // A line of blanks is an end as well.
        self.0 = rest.split_once('\n').map_or("", |(_, rest)| rest);
        Some(paragraph)
    }
}

/// A paragraph of `status` (deb822): fields, whose values may go on in lines that begin with a blank.
fn dpkg(paragraph: &str, listed: &mut Listed) {
    let field = |name: &str| {
        let mut lines = paragraph.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    // `install ok installed`: the last word is what it is, the first only what is wished for.
    let state = field("Status").and_then(|status| status.split_whitespace().last());
    if matches!(state, Some("config-files" | "not-installed")) {
        return;
    }
    let (Some(name), Some(version)) = (field("Package"), field("Version")) else {
        listed.left_out += 1;
        return;
    };
    let package = Package::new(Ecosystem::Debian, name, version).filter(|package| !package.version.is_empty());
    let source = field("Source").map(|source| match source.split_once('(') {
        Some((name, of)) => Source { name: name.trim().to_owned(), version: of.trim_end_matches(')').trim().to_owned() },
        None => Source { name: source.to_owned(), version: version.to_owned() },
    });
    if source.as_ref().is_some_and(|source| !is_text(&source.name) || !is_text(&source.version)) {
        listed.left_out += 1;
        return;
    }
    add(package, source, field("Architecture"), listed);
}

/// A paragraph of `installed`: one letter, a colon, a value.
fn apk(paragraph: &str, listed: &mut Listed) {
    let field = |letter: char| paragraph.lines().find_map(|line| line.strip_prefix(letter)?.strip_prefix(':')).map(str::trim);
    let (Some(name), Some(version)) = (field('P'), field('V')) else {
        listed.left_out += 1;
        return;
    };
    let package = Package::new(Ecosystem::Alpine, name, version).filter(|package| !package.version.is_empty());
    let source = field('o').map(|origin| Source { name: origin.to_owned(), version: version.to_owned() });
    if source.as_ref().is_some_and(|source| !is_text(&source.name)) {
        listed.left_out += 1;
        return;
    }
    add(package, source, field('A'), listed);
}

fn add(package: Option<Package>, source: Option<Source>, architecture: Option<&str>, listed: &mut Listed) {
    let Some(package) = package else {
        listed.left_out += 1;
        return;
    };
    let source =
        source.filter(|source| !source.name.is_empty() && (source.name != package.name || source.version != package.version));
    let architecture = architecture.filter(|text| !text.is_empty() && is_text(text)).map(str::to_owned);
    listed.packages.push(Package { source, architecture, ..package });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(database: Database, text: &str) -> (Vec<String>, usize) {
        let Listed { packages, left_out } = database.read(text.as_bytes());
        let told = |package: &Package| {
            let (name, version) = package.advised();
            format!("{} {} ({name} {version})", package.name, package.version)
        };
        (packages.iter().map(told).collect(), left_out)
    }

    #[test]
    fn databases_are_known_by_their_paths() {
        for (path, database) in [
            ("var/lib/dpkg/status", Some(Database::Dpkg)),
            ("srv/root/var/lib/dpkg/status", Some(Database::Dpkg)),
            ("var/lib/dpkg/status.d/base", Some(Database::Dpkg)),
            ("var/lib/dpkg/status.d/base.md5sums", None),
            ("var/lib/dpkg/status-old", None),
            ("var/mylib/dpkg/status", None),
            ("lib/apk/db/installed", Some(Database::Apk)),
            ("usr/lib/apk/db/installed", Some(Database::Apk)),
            ("lib/apk/db/triggers", None),
        ] {
            assert_eq!(Database::of(path), database, "{path}");
        }
    }

    #[test]
    fn what_dpkg_has_installed_is_read_with_its_source() {
        let text = "Package: libssl3\nStatus: install ok installed\nArchitecture: amd64\nSource: openssl\nVersion: 3.0.1-1\n\
            Description: it\n has lines\n Package: no field\n\n\
            Package: perl-base\nStatus: install ok installed\nVersion: 5.36-7+b1\nSource: perl (5.36-7)\n \t \n\
            Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\n\
            Package: half\nStatus: install ok half-configured\nVersion: 1:2\n\nPackage: nothing\n\nVersion: 1\n\nPackage: a b\nVersion: 1\n";
        let (packages, left_out) = read(Database::Dpkg, text);
        assert_eq!(packages, ["libssl3 3.0.1-1 (openssl 3.0.1-1)", "perl-base 5.36-7+b1 (perl 5.36-7)", "half 1:2 (half 1:2)"]);
        assert_eq!(left_out, 3);
    }

    #[test]
    fn a_file_of_distroless_has_no_status() {
        assert_eq!(read(Database::Dpkg, "Package: tzdata\r\nVersion: 2024a-0\r\n").0, ["tzdata 2024a-0 (tzdata 2024a-0)"]);
    }

    #[test]
    fn what_apk_has_installed_is_read_with_its_origin() {
        let text = "C:Q1=\nP:libcrypto3\nV:3.3.2-r1\nA:x86_64\no:openssl\nF:usr\nR:x\n\nP:musl\nV:1.2.5-r0\no:musl\n\nP:x\n\n";
        let (packages, left_out) = read(Database::Apk, text);
        assert_eq!(packages, ["libcrypto3 3.3.2-r1 (openssl 3.3.2-r1)", "musl 1.2.5-r0 (musl 1.2.5-r0)"]);
        assert_eq!(left_out, 1);
        assert_eq!(Database::Apk.read(text.as_bytes()).packages[0].architecture.as_deref(), Some("x86_64"));
    }
}
