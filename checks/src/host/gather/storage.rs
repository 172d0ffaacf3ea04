//! Mounts, swap, and what lies below them.

use super::{KERNEL_LIST_BYTES_MAX, VALUE_BYTES_MAX};
use crate::host::{
    Root,
    facts::{Fact, List, Mount, Storage, Swap, Text},
    mounts as rules,
    root::joined,
};

/// Devices below a device that are followed down, at most.
pub(crate) const DEVICE_DEPTH_MAX: usize = 8;
/// Where else something is mounted that matters.
const POINTS: [&str; 7] = ["/", "/usr", "/tmp", "/dev/shm", "/var", "/var/lib", "/var/lib/kubelet"];

/// A line of a list of mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The device's number: `8:1`.
    pub(super) device: String,
    /// What of the file system is mounted.
    pub(super) root: String,
    /// Where.
    pub(super) point: String,
    options: String,
    kind: String,
    source: String,
    more_options: String,
}

/// The mounts that the host's first process sees.
pub(super) fn lines(root: &Root) -> Fact<Vec<Line>> {
    match of_process(root, "1") {
        Fact::Absent => Fact::unknown("there is no /proc/1/mountinfo"),
        // Who is not root may look at their own, which are the same unless they are in a container.
        Fact::Unknown(why) => match (root.link("/proc/1/ns/mnt"), of_process(root, "self")) {
            (Fact::Unknown(_), Fact::Known(lines)) if !lines.iter().any(|line| line.point == "/" && line.kind == "overlay") => {
                Fact::Known(lines)
            }
            _ => Fact::Unknown(why),
        },
        lines => lines,
    }
}

/// The mounts that a process sees.
pub(super) fn of_process(root: &Root, id: &str) -> Fact<Vec<Line>> {
    let path = format!("/proc/{id}/mountinfo");
    root.text(&path, KERNEL_LIST_BYTES_MAX).and_then(|text| {
        let lines: Option<Vec<_>> = text.lines().map(line).collect();
        lines.map_or_else(|| Fact::unknown(format!("{path} has a line that cannot be understood")), Fact::Known)
    })
}

fn line(line: &str) -> Option<Line> {
    let (before, after) = line.split_once(" - ")?;
    let (mut before, mut after) = (before.split(' ').skip(2), after.split(' '));
    Some(Line {
        device: before.next()?.to_owned(),
        root: unescaped(before.next()?),
        point: unescaped(before.next()?),
        options: before.next()?.to_owned(),
        kind: after.next()?.to_owned(),
        source: unescaped(after.next()?),
        more_options: after.next().unwrap_or_default().to_owned(),
    })
}

/// What the kernel writes as `\040`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend(part.bytes().skip(3));
            }
            None => {
                bytes.push(b'\\');
                bytes.extend(part.bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The mounts that checks look at, with what they lie on.
pub(super) fn mounts(root: &Root, lines: &Fact<Vec<Line>>) -> Fact<List<Mount>> {
    lines.clone().and_then(|lines| {
        let matters = |line: &&Line| {
            POINTS.contains(&line.point.as_str())
                || rules::is_secrets(&line.point)
                || rules::STORES.iter().any(|store| is_at_or_above(&line.point, store))
        };
        List::known(lines.iter().filter(matters).map(|line| Mount {
            point: Text::cut(&line.point),
            kind: Text::cut(&line.kind),
            options: Text::cut(&format!("{},{}", line.options, line.more_options)),
            storage: below_mount(root, line),
        }))
    })
}

/// Whether a path is this folder or one above it.
pub(super) fn is_at_or_above(folder: &str, path: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The mount that a path is on: of several at one place the last.
pub(super) fn covering<'a>(lines: &'a [Line], path: &str) -> Option<&'a Line> {
    lines.iter().filter(|line| is_at_or_above(&line.point, path)).max_by_key(|line| line.point.len())
}

fn below_mount(root: &Root, line: &Line) -> Fact<Storage> {
    if matches!(line.kind.as_str(), "tmpfs" | "ramfs") {
        return Fact::Known(Storage::Memory);
    }
    match line.source.strip_prefix("/dev/") {
        // Several devices in one file system have a number of none of them.
        Some(name) if line.device.starts_with("0:") => named(root, name),
        _ if line.device.starts_with("0:") => Fact::unknown(format!("{} is {}, whose device is not seen", line.point, line.kind)),
        _ => numbered(root, &line.device),
    }
}

/// What a device of this name below `/dev` is.
fn named(root: &Root, name: &str) -> Fact<Storage> {
    let number = match name.strip_prefix("mapper/") {
        None => root.text(&format!("/sys/class/block/{name}/dev"), VALUE_BYTES_MAX).map(|text| text.trim().to_owned()),
        Some(mapped) => root.names("/sys/class/block").and_then(|names| {
            let is_it = |device: &&String| {
                let path = format!("/sys/class/block/{device}/dm/name");
                device.starts_with("dm-") && root.text(&path, VALUE_BYTES_MAX).known().is_some_and(|text| text.trim() == mapped)
            };
            match names.iter().find(is_it) {
                Some(device) => {
                    root.text(&format!("/sys/class/block/{device}/dev"), VALUE_BYTES_MAX).map(|text| text.trim().to_owned())
                }
                None => Fact::Absent,
            }
        }),
    };
    match number {
        Fact::Known(number) => numbered(root, &number),
        Fact::Absent => Fact::unknown(format!("/dev/{name} is not seen below /sys")),
        Fact::Unknown(why) => Fact::Unknown(why),
    }
}

/// What a device of this number is.
fn numbered(root: &Root, number: &str) -> Fact<Storage> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match number.split_once(':') {
        Some((major, minor)) if is_number(major) && is_number(minor) => {
            device(root, &format!("/sys/dev/block/{number}"), DEVICE_DEPTH_MAX)
        }
        _ => Fact::unknown("a device's number cannot be understood"),
    }
}

fn device(root: &Root, folder: &str, depth: usize) -> Fact<Storage> {
    if !root.has(folder) {
        return Fact::unknown(format!("there is no {folder}"));
    }
    if let Fact::Known(id) = root.text(&joined(folder, "dm/uuid"), VALUE_BYTES_MAX) {
        match id.trim() {
            id if id.starts_with("CRYPT-VERITY") => return Fact::Known(Storage::Verity),
            id if id.starts_with("CRYPT-") && !id.starts_with("CRYPT-INTEGRITY") => return Fact::Known(Storage::Encrypted),
            _ => {}
        }
    }
    match root.text(&joined(folder, "backing_dev"), VALUE_BYTES_MAX) {
        // zram, which may write what it has no use for to a disk.
        Fact::Known(backing) if backing.trim() == "none" => return Fact::Known(Storage::Memory),
        Fact::Known(backing) => {
            return match backing.trim().strip_prefix("/dev/") {
                Some(name) if depth > 0 && !name.starts_with("zram") => named(root, name),
                _ => Fact::unknown(format!("{folder} writes back to what is not known")),
            };
        }
        Fact::Absent => {}
        Fact::Unknown(why) => return Fact::Unknown(why),
    }
    let event = root.text(&joined(folder, "uevent"), VALUE_BYTES_MAX);
    let name = event.known().and_then(|text| text.lines().find_map(|line| line.strip_prefix("DEVNAME=")));
    match name {
        // Without the means to write back.
        Some(name) if name.starts_with("zram") || name.starts_with("ram") => return Fact::Known(Storage::Memory),
        Some(name) if name.starts_with("loop") => return Fact::unknown(format!("/dev/{name} is a file")),
        Some(_) => {}
        None => return Fact::unknown(format!("{folder} does not say what it is")),
    }
    let below = root.names(&joined(folder, "slaves"));
    let Fact::Known(below) = below else { return Fact::Known(Storage::Plain) };
    if below.is_empty() {
        return Fact::Known(Storage::Plain);
    }
    if depth == 0 {
        return Fact::unknown(format!("there are too many devices below {folder}"));
    }
    // All of those below must be encrypted: data lie on any of them.
    let mut worst = Fact::Known(Storage::Encrypted);
    for name in below {
        match device(root, &format!("{folder}/slaves/{name}"), depth - 1) {
            Fact::Known(Storage::Encrypted | Storage::Memory) => {}
            found @ Fact::Known(Storage::Plain | Storage::Verity) => return found,
            found => worst = found,
        }
    }
    worst
}

/// What memory is swapped to.
pub(super) fn swaps(root: &Root, lines: &Fact<Vec<Line>>) -> Fact<List<Swap>> {
    let text = match root.text("/proc/swaps", KERNEL_LIST_BYTES_MAX) {
        Fact::Known(text) => text,
        // A kernel that cannot swap has no such file; nor has a folder that is no /proc, so that another word is needed.
        Fact::Absent => {
            let total = root.text("/proc/meminfo", VALUE_BYTES_MAX);
            let total = total.known().and_then(|text| text.lines().find_map(|line| line.strip_prefix("SwapTotal:")));
            return match total.map(str::trim) {
                Some("0 kB") => List::known([]),
                _ => Fact::unknown("there is no /proc/swaps"),
            };
        }
        Fact::Unknown(why) => return Fact::Unknown(why),
    };
    if !text.starts_with("Filename") {
        return Fact::unknown("/proc/swaps is not what it should be");
    }
    let swap = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (name, kind) = (unescaped(words.next()?), words.next()?);
        let storage = match (kind, name.strip_prefix("/dev/")) {
            ("partition", Some(name)) => named(root, name),
            ("file", _) => match lines {
                Fact::Known(lines) => match covering(lines, &name) {
                    Some(line) => below_mount(root, line),
                    None => Fact::unknown("the mount that it is on is not seen"),
                },
                Fact::Absent => Fact::unknown("no list of mounts is there"),
                Fact::Unknown(why) => Fact::Unknown(why.clone()),
            },
            _ => Fact::unknown("what it is cannot be understood"),
        };
        Some(Swap { name: Text::cut(&name), storage })
    };
    let swaps: Option<Vec<_>> = text.lines().skip(1).map(swap).collect();
    swaps.map_or_else(|| Fact::unknown("/proc/swaps has a line that cannot be understood"), List::known)
}
