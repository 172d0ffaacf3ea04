//! A node of files, and the node agent on it.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{memory, process::Process, programs::Programs};
use tempfile::TempDir;

use super::pod_on;
use crate::vault::{CLUSTER, TOKEN_LIFETIME, Vault};

/// The boot that the node is in.
pub(super) const BOOT: &str = "0a1b2c3d-0000-4000-8000-123456789abc";
const SWAPS: &str = "Filename\tType\tSize\tUsed\tPriority\n";
/// Without a container runtime or a kubelet: what is about those is about nothing here.
const FILES: &[(&str, &str)] = &[
    ("proc/1/comm", "systemd\n"),
    ("proc/1/stat", "1 (systemd) S 0 1 1 0 -1 4194560 0 0\n"),
    ("proc/1/mountinfo", "25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"),
    ("proc/1/net/tcp", "  sl  local_address rem_address   st\n"),
    ("proc/1/net/tcp6", "  sl  local_address rem_address   st\n"),
    ("proc/2/comm", "kthreadd\n"),
    ("proc/2/stat", "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0\n"),
    ("proc/swaps", SWAPS),
    ("proc/sys/fs/suid_dumpable", "0\n"),
    ("proc/sys/kernel/randomize_va_space", "2\n"),
    ("proc/sys/kernel/random/boot_id", BOOT),
    ("proc/sys/kernel/seccomp/actions_avail", "kill_process kill_thread trap errno user_notif trace log allow\n"),
    ("proc/sys/kernel/core_pattern", "core\n"),
    ("sys/kernel/mm/ksm/run", "0\n"),
    ("sys/class/block/sda2/dev", "8:2\n"),
    ("sys/dev/block/8:2/uevent", "DEVNAME=sda2\n"),
    ("sys/dev/block/8:1/uevent", "DEVNAME=sda1\n"),
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    ("etc/shadow", "root:*:19000:0:99999:7:::\n"),
    ("etc/group", "root:x:0:\n"),
    ("etc/hostname", "node\n"),
];

/// A node.
pub(super) struct Node(TempDir);

impl Node {
    /// One on which every check of the gate tier passes.
    pub(super) fn good() -> Result<Self> {
        let folder = TempDir::new()?;
        for (path, text) in FILES {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().context("it lies in a folder")?)?;
            fs::write(path, text)?;
        }
        Ok(Self(folder))
    }

    /// The same, with swap on a disk.
    pub(super) fn swapping(self) -> Result<Self> {
        self.swaps(&format!("{SWAPS}/dev/sda2                               partition\t1048572\t0\t-2\n"))
    }

    /// The same, without swap.
    pub(super) fn at_rest(self) -> Result<Self> {
        self.swaps(SWAPS)
    }

    /// The rename makes it one moment.
    fn swaps(self, text: &str) -> Result<Self> {
        let new = self.path().join("proc/swaps.new");
        fs::write(&new, text)?;
        fs::rename(new, self.path().join("proc/swaps"))?;
        Ok(self)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn into_folder(self) -> TempDir {
        self.0
    }
}

/// The program, for a node of this name.
pub(super) struct Agent {
    process: Process,
    /// In memory, where a pod's token is.
    _token: TempDir,
}

impl Agent {
    pub(super) fn start(vault: &Vault, root: &Path, node: &str) -> Result<Self> {
        let token = memory::folder()?;
        let token_file = token.path().join("token");
        fs::write(&token_file, vault.token(&pod_on(node)?, TOKEN_LIFETIME)?)?;
        let mut command = Command::new(Programs::built()?.node());
        command.env_clear();
        command.arg("--address").arg(vault.server.url()?).arg("--ca-file").arg(vault.server.ca());
        command.args(["--cluster", CLUSTER, "--log-level", "info"]);
        command.arg("--token-file").arg(&token_file).arg("--root").arg(root);
        let process = Process::start(&mut command, &vault.server.folder().join(format!("node-{node}.log")))?;
        Ok(Self { process, _token: token })
    }

    pub(super) fn log(&self) -> Result<String> {
        self.process.log()
    }

    /// Has it stop, as a kubelet does.
    pub(super) fn stops(mut self) -> Result<()> {
        let status = self.process.terminate()?;
        ensure!(status.success(), "it ends with {status}: {}", self.log()?);
        Ok(())
    }
}
