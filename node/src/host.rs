//! The node's folders, as far as they are mounted.

use std::{fs, path::Path};

use coffer_checks::host::Root;

use crate::Failure;

/// Where the process's own mounts are listed.
const OWN_MOUNTS: &str = "/proc/self/mountinfo";
/// What is in the path of a pod's volume.
const OF_PODS: &str = "/pods/";

/// Opens the folder that the node's are mounted below. What is not mounted there is unknown, and never taken for absent.
pub(crate) fn open(path: &Path) -> Result<Root, Failure> {
    let root =
        Root::open(path).map_err(|error| Failure::Config(format!("{} cannot be opened: {error} (--root)", path.display())))?;
    let own =
        fs::read_to_string(OWN_MOUNTS).map_err(|error| Failure::Internal(format!("{OWN_MOUNTS} cannot be read: {error}")))?;
    let Some(folders) = mounted_below(&own, path) else { return Ok(root) };
    // Without it nothing is known that depends on mounts, and little else.
    let of_node = fs::read_to_string(path.join("proc/1/mountinfo")).unwrap_or_default();
    let hidden = hidden(&of_node, &folders);
    tracing::debug!("of the node are here: {}; but not: {}", folders.join(", "), hidden.join(", "));
    Ok(root.with_only(folders, hidden))
}

/// Where things are mounted.
fn points(mounts: &str) -> impl Iterator<Item = String> {
    mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped)
}

/// What is mounted below a folder, as it is called there; nothing where the folder is mounted as a whole, or nothing is mounted below it.
fn mounted_below(mounts: &str, folder: &Path) -> Option<Vec<String>> {
    let folder = folder.to_str()?.trim_end_matches('/');
    if points(mounts).any(|point| point.trim_end_matches('/') == folder) {
        return None;
    }
    let below = |point: String| point.strip_prefix(folder).filter(|rest| rest.starts_with('/')).map(str::to_owned);
    let below: Vec<_> = points(mounts).filter_map(below).collect();
    (!below.is_empty()).then_some(below)
}

/// What the node has mounted in the folders that are here, and is not here itself: a folder that is mounted alone comes without that. What pods have
/// mounted is nothing that is looked for.
fn hidden(of_node: &str, folders: &[String]) -> Vec<String> {
    let is_in = |point: &str, folder: &String| point.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'));
    points(of_node)
        .filter(|point| !point.contains(OF_PODS) && !folders.contains(point) && folders.iter().any(|folder| is_in(point, folder)))
        .collect()
}

/// What the kernel writes as `\040`.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(text.to_owned(), |text, (written, meant)| text.replace(written, meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        600 1 0:50 / / rw - overlay overlay rw\n\
        601 600 0:51 / /host/proc ro - proc proc rw\n\
        602 600 8:1 /etc /host/etc ro - ext4 /dev/sda1 rw\n\
        603 600 8:1 /x /hostile rw - ext4 /dev/sda1 rw\n\
        604 600 8:1 / /whole ro - ext4 /dev/sda1 rw\n\
        605 604 0:51 / /whole/proc ro - proc proc rw\n\
        606 600 8:1 /a /host/a\\040b ro - ext4 /dev/sda1 rw\n";

    #[test]
    fn what_is_mounted_is_seen_and_a_root_that_is_whole_is_seen_whole() {
        let below = |folder: &str| mounted_below(MOUNTS, Path::new(folder));
        assert_eq!(below("/host").unwrap(), ["/proc", "/etc", "/a b"]);
        assert_eq!(below("/host/").unwrap(), ["/proc", "/etc", "/a b"]);
        for whole in ["/", "/whole", "/nothing/below"] {
            assert_eq!(below(whole), None, "{whole}");
        }
    }

    #[test]
    fn what_the_node_has_mounted_in_a_folder_and_is_not_here_is_hidden() {
        const NODE: &str = "\
            21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            22 21 0:20 / /run rw - tmpfs tmpfs rw\n\
            23 22 0:21 / /run/containerd rw - tmpfs tmpfs rw\n\
            24 21 0:22 / /sys rw - sysfs sysfs rw\n\
            25 24 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
            26 21 0:24 / /var/lib/kubelet/pods/1/volumes/a rw - tmpfs tmpfs rw\n\
            27 21 0:24 / /runner rw - tmpfs tmpfs rw\n";
        let folders = ["/run", "/sys", "/sys/fs/cgroup", "/var/lib/kubelet"].map(str::to_owned);
        assert_eq!(hidden(NODE, &folders), ["/run/containerd"]);
    }
}
