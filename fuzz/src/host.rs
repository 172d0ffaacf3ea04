//! Files of a host, which those on it can write: facts and what is found in them.

use std::{fs, os::unix::fs::symlink, path::Path};

use coffer_checks::{
    Status,
    host::{HostFacts, Root, judge},
};

pub(crate) const WORDS: &[&str] = &[
    "authentication: ",
    "anonymous: ",
    "enabled: true",
    "{",
    "}",
    "[",
    "]",
    "null",
    "&a ",
    "*a",
    "<<: ",
    "---\n",
    "\n",
    "\0",
    " - ",
    "\\040",
    "\\777",
    ":",
    "0A ",
    "FFFFFFFF:FFFF",
    "--config-dir=/",
    "--anonymous-auth=",
    "imports = ['/*']",
    "[host.\"http://a\"]",
    "99999999999999999999",
    "dm-0",
    "/dev/",
    "/dev/mapper/",
    "..",
    "/proc/1/root",
    "- level: ",
    "resources",
    "providers",
    "identity",
    "secrets",
    "unlimited",
];
/// Bytes of facts as JSON that come of a few small files, at most.
const FACTS_BYTES_MAX: usize = 1 << 20;
/// What is in the file of keys.
const KEY: &str = "q9Z-value-of-a-key-q9Z";
const KUBELET: &str = "/var/lib/kubelet/config.yaml";
const ENCRYPTION: &str = "/etc/kubernetes/encryption.yaml";

/// A host on which everything runs: the files that are changed, one at a time.
const FILES: &[(&str, &str)] = &[
    (KUBELET, "authentication: {anonymous: {enabled: false}}\n"),
    ("/var/lib/kubelet/config.d/a.conf", "readOnlyPort: 0\n"),
    ("/etc/docker/daemon.json", "{}"),
    (
        "/etc/containerd/config.toml",
        "imports = ['/etc/containerd/conf.d/*.toml']\n[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/certs.d'\n",
    ),
    ("/certs.d/a/hosts.toml", "server = 'http://a'\n"),
    ("/etc/containers/registries.conf", "[[registry]]\nlocation = 'a'\n"),
    (
        ENCRYPTION,
        "resources:\n- resources: [secrets]\n  providers: [{aescbc: {keys: [{name: a, secret: q9Z-value-of-a-key-q9Z}]}}]\n",
    ),
    ("/etc/kubernetes/audit.yaml", "rules: [{level: Metadata}]\n"),
    ("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/dm-0 partition 1 0 -2\n"),
    ("/proc/1/mountinfo", "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:20 / /run rw - tmpfs tmpfs rw\n"),
    ("/proc/1/net/tcp", "head\n 0: 0100007F:1F90 00000000:0000 0A 0\n"),
    ("/proc/1/net/tcp6", "head\n 0: 00000000000000000000000001000000:1F90 00000000:0000 0A 0\n"),
    ("/proc/2/stat", "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0"),
    ("/proc/10/cmdline", "kubelet\0--config=/var/lib/kubelet/config.yaml\0--config-dir\0/var/lib/kubelet/config.d\0"),
    ("/proc/11/cmdline", "dockerd\0-H\0tcp://0.0.0.0:2375\0"),
    ("/proc/12/cmdline", "containerd\0"),
    (
        "/proc/13/cmdline",
        "kube-apiserver\0--encryption-provider-config=/etc/kubernetes/encryption.yaml\0--audit-policy-file=/etc/kubernetes/audit.yaml\0",
    ),
    ("/proc/14/cmdline", "etcd\0--data-dir=/var/lib/etcd\0"),
    ("/proc/12/limits", "Max core file size        0                    0                    bytes\n"),
    ("/etc/passwd", "root:x:0:0::/:/bin/sh\n"),
    ("/etc/shadow", "root:*:1::::::\n"),
    ("/etc/group", "docker:x:1:a,b\n"),
    ("/proc/sys/kernel/core_pattern", "|/bin/false\n"),
    ("/proc/sys/kernel/tainted", "0\n"),
    ("/sys/devices/dm-0/dm/uuid", "LVM-1\n"),
    ("/sys/devices/dm-0/dev", "253:0\n"),
];
const NAMES: &[(&str, &str)] =
    &[("1", "init"), ("10", "kubelet"), ("11", "dockerd"), ("12", "containerd"), ("13", "kube-apiserver"), ("14", "etcd")];

fn write(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("there is room");
    fs::write(path, bytes).expect("there is room");
}

fn host() -> tempfile::TempDir {
    let host = tempfile::tempdir().expect("there is room for a folder");
    FILES.iter().for_each(|(path, text)| write(host.path(), path, text.as_bytes()));
    NAMES.iter().for_each(|(id, name)| write(host.path(), &format!("/proc/{id}/comm"), format!("{name}\n").as_bytes()));
    write(host.path(), "/sys/devices/dm-0/uevent", b"DEVNAME=dm-0\n");
    // A device that lies on itself.
    for (link, target) in [
        ("sys/class/block/dm-0", "/sys/devices/dm-0"),
        ("sys/dev/block/253:0", "/sys/devices/dm-0"),
        ("sys/devices/dm-0/slaves/dm-0", "/sys/devices/dm-0"),
    ] {
        let link = host.path().join(link);
        fs::create_dir_all(link.parent().expect("a link is in a folder")).expect("there is room");
        symlink(target, link).expect("there is no such link yet");
    }
    host
}

/// The first line says which file (by its path, else by its length), the rest is what is in it.
pub(crate) fn check(input: &[u8]) {
    thread_local! {
        static HOST: tempfile::TempDir = host();
    }
    let (line, rest) = input.split_at(input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len()));
    let named = FILES.iter().find(|(path, _)| path.as_bytes() == line);
    let Some((path, usual)) = named.or_else(|| FILES.get(line.len() % FILES.len())) else { return };
    let bytes = rest.get(1..).unwrap_or_default();
    HOST.with(|host| {
        write(host.path(), path, bytes);
        let root = Root::open(host.path()).expect("the folder is there");
        let facts = HostFacts::gather(&root);
        let report = judge("host", &facts);
        write(host.path(), path, usual.as_bytes());

        let text = serde_json::to_string(&facts).expect("facts are JSON");
        assert!(text.len() <= FACTS_BYTES_MAX, "{} bytes of facts", text.len());
        let read: HostFacts = serde_json::from_str(&text).expect("facts are within their own bounds");
        assert_eq!(read, facts);
        assert_eq!(judge("host", &read), report, "the same facts come to something else");
        assert!(!text.contains(KEY) || *path != ENCRYPTION, "a key is in facts");
        if *path == KUBELET && std::str::from_utf8(bytes).is_err() {
            let kubelet = report.findings.iter().filter(|finding| matches!(finding.check.id, "HST-71" | "HST-72" | "HST-74"));
            assert!(kubelet.into_iter().all(|finding| finding.status == Status::Unknown), "what cannot be read is judged");
        }
    });
}
