//! `coffer scan host`.

use std::path::{Path, PathBuf};

use clap::Args;
use coffer_checks::host::{HostFacts, Root, judge};

use super::report::{Options, show};
use crate::{
    app::App,
    exit::Exit,
    failure::{Failure, Result},
};

/// Check this host: what could take a secret out of a pod's memory, or hand it to somebody else
///
/// Swap, core files, the kernel's settings, mounts, the container runtime and its registries, the kubelet and, where it is here, the
/// control plane. Nothing is changed and no program is run: files are read, below /proc, /sys, /etc and /var/lib. Without root some of them
/// cannot be, and what they would tell is unknown.
///
/// In a container, mount the host's root and name it: --root /host. Settings count as they are in force: of the kubelet, flags win over
/// drop-ins and these over its file.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer scan host
  coffer scan host --all -o json
  coffer scan host --root /host --exceptions exceptions.yaml --fail-on critical
  coffer scan host --sarif host.sarif")]
pub(crate) struct Host {
    /// The folder that the host's root is mounted at
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    #[command(flatten)]
    options: Options,
}

impl Host {
    pub(crate) fn run(&self, app: &App) -> Result<Exit> {
        let root = Root::open(&self.root).map_err(|error| Failure::file("open", &self.root, &error))?;
        let facts = HostFacts::gather(&root);
        // What the kernel says is the name of whoever asks, which is not that of another root.
        let names =
            if self.root == Path::new("/") { ["/proc/sys/kernel/hostname", "/etc/hostname"] } else { ["/etc/hostname", ""] };
        let name = names.iter().find_map(|path| facts.values.of(path).known().map(|name| name.to_string()));
        let name = name.unwrap_or_else(|| self.root.display().to_string());
        show(app, &mut judge(&name, &facts), &self.options)
    }
}
