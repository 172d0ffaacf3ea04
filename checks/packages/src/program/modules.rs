//! Go's build information, as `debug/buildinfo` reads it: in one piece since Go 1.18, by pointers before.

use super::{MARK_BYTES, elf::number};
use crate::{Ecosystem, Package, database::Listed};

/// Bytes of what stands before the texts.
pub(super) const HEADER_BYTES: usize = 32;
/// Bytes of a text of Go's in memory: its address and its length.
pub(super) const STRING_BYTES: usize = 16;
/// Flags: the machine has the big end first; the texts follow at once.
const IS_BIG: u8 = 1;
const IS_INLINE: u8 = 2;
/// Bytes of a revision that versions have.
const REVISION_BYTES: usize = 12;

/// What a Go command without a version for it calls the program's own module.
pub(crate) const DEVEL: &str = "(devel)";

/// Whether it is what it begins like.
pub(super) fn is_info(info: &[u8]) -> bool {
    matches!(info.get(14..16), Some([size, flags]) if *flags <= 3 && (flags & IS_INLINE != 0 || matches!(size, 4 | 8)))
}

/// The addresses of the version and the modules, where they are elsewhere.
pub(super) fn pointers(info: &[u8]) -> Option<[u64; 2]> {
    let [size, flags] = info.get(14..16)? else { return None };
    let (size, is_big) = (usize::from(*size), flags & IS_BIG != 0);
    let of = |number_of: usize| number(info, 16 + number_of * size, size, is_big);
    (flags & IS_INLINE == 0).then_some([of(0)?, of(1)?])
}

/// The packages. `string` is what is at the address of a text, `text` the bytes at an address, of such a length.
pub(super) fn read<'a>(
    info: &'a [u8],
    string: &dyn Fn(u64) -> Option<Vec<u8>>,
    text: &dyn Fn(u64, usize) -> Option<&'a [u8]>,
) -> Result<Listed, &'static str> {
    const WRONG: &str = "its Go build information cannot be read, or is larger than is";
    let (version, modules) = match pointers(info) {
        None => {
            let mut rest = info.get(HEADER_BYTES..).ok_or(WRONG)?;
            (counted(&mut rest).ok_or(WRONG)?, counted(&mut rest).ok_or(WRONG)?)
        }
        Some([version, modules]) => {
            let [size, flags] = info.get(14..16).ok_or(WRONG)? else { return Err(WRONG) };
            let (size, is_big) = (usize::from(*size), flags & IS_BIG != 0);
            let at = |address: u64| {
                // No address is no text.
                if address == 0 {
                    return Some(&[][..]);
                }
                let string = string(address)?;
                let length = usize::try_from(number(&string, size, size, is_big)?).ok()?;
                if length == 0 { Some(&[][..]) } else { text(number(&string, 0, size, is_big)?, length) }
            };
            (at(version).ok_or(WRONG)?, at(modules).ok_or(WRONG)?)
        }
    };
    let version = String::from_utf8_lossy(version);
    // The modules stand between two marks.
    let is_marked = modules.len() > 2 * MARK_BYTES && modules.get(modules.len() - MARK_BYTES - 1) == Some(&b'\n');
    let modules = if is_marked { modules.get(MARK_BYTES..modules.len() - MARK_BYTES).unwrap_or_default() } else { &[] };
    Ok(packages(&version, &String::from_utf8_lossy(modules)))
}

/// A text behind its length (a varint).
fn counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut length = 0_u64;
    for shift in (0..35).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let (text, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            *rest = after;
            return Some(text);
        }
    }
    None
}

/// A module and its version.
type Module = (String, String);

fn packages(version: &str, text: &str) -> Listed {
    let mut listed = Listed::default();
    let mut add = |name: &str, version: &str| match Package::new(Ecosystem::Go, name, version) {
        Some(package) => listed.packages.push(package),
        None => listed.left_out += 1,
    };
    let toolchain = version.split(' ').next().unwrap_or_default();
    if !toolchain.is_empty() {
        add("stdlib", toolchain);
    }
    let (mut main, mut modules): (Option<Module>, Vec<Module>) = (None, Vec::new());
    let mut settings: Vec<(&str, &str)> = Vec::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        let kind = fields.next().unwrap_or_default();
        let (first, second) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        match kind {
            // Programs of the Go distribution have a path and no module.
            "path" => main = Some((first.to_owned(), DEVEL.to_owned())),
            "mod" => main = Some((first.to_owned(), second.to_owned())),
            "dep" => modules.push((first.to_owned(), second.to_owned())),
            // What the module before it was replaced by; a folder of the builder's has no name that anybody knows.
            "=>" => {
                let Some(replaced) = modules.last_mut().or(main.as_mut()) else { continue };
                // A folder of the builder's has no name that anybody knows, and which version it is nobody can tell.
                if !first.starts_with(['.', '/']) {
                    first.clone_into(&mut replaced.0);
                }
                let version = if second.is_empty() { DEVEL } else { second };
                version.clone_into(&mut replaced.1);
            }
            "build" => settings.extend(line.split_once('\t').and_then(|(_, setting)| setting.split_once('='))),
            _ => {}
        }
    }
    if let Some((name, version)) = main.filter(|(name, _)| !name.is_empty()) {
        let version = if matches!(version.as_str(), DEVEL | "") { guessed(&settings) } else { version };
        add(&name, &version);
    }
    for (name, version) in &modules {
        add(name, version);
    }
    listed
}

/// The version of a program that was built from a folder: the one that the linker was told, or where the folder's history stood.
fn guessed(settings: &[(&str, &str)]) -> String {
    let of = |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"'));
    if let Some(version) = of("-ldflags").and_then(told) {
        return version;
    }
    let (Some(revision), Some(time)) = (of("vcs.revision"), of("vcs.time")) else { return DEVEL.to_owned() };
    let time: String = time.chars().filter(char::is_ascii_digit).take(14).collect();
    let revision: String = revision.chars().take(REVISION_BYTES).collect();
    format!("v0.0.0-{time}-{revision}")
}

/// A version in the linker's flags: `-X example.com/app.version=1.2.3`, or a tag.
fn told(flags: &str) -> Option<String> {
    let is_version = |name: &str| {
        let name = name.to_ascii_lowercase();
        let name = name.strip_prefix("git").unwrap_or(&name);
        matches!(name.strip_prefix("build").unwrap_or(name), "version" | "ver")
    };
    let settings = || {
        flags.split([' ', '\t', '"', '\'']).filter_map(|flag| flag.rsplit_once('=')).filter_map(|(name, value)| {
            let value = value.rsplit_once('/').map_or(value, |(_, value)| value);
            Some((name.rsplit_once('.')?.1, released(value)?))
        })
    };
    settings()
        .find(|(name, _)| is_version(name))
        .or_else(|| settings().find(|(name, _)| matches!(*name, "tag" | "Tag")))
        .map(|(_, version)| version)
}

/// The beginning that is three numbers and what follows of the last.
fn released(value: &str) -> Option<String> {
    let bare = value.strip_prefix('v').unwrap_or(value);
    let is_within = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
    let end = bare.find(|letter| !is_within(letter)).unwrap_or(bare.len());
    let mut numbers = bare.get(..end)?.splitn(3, '.');
    let (major, minor, patch) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A fourth number is none of a version's; words before a release have points, too.
    let patch = if patch.contains('-') { patch } else { patch.split('.').next().unwrap_or_default() };
    (is_number(major) && is_number(minor) && patch.starts_with(|letter: char| letter.is_ascii_digit()))
        .then(|| format!("v{major}.{minor}.{patch}"))
}
