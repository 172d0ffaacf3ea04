//! Gathering: files are read, and what is in them is told. Nothing is judged here.

mod accounts;
mod arguments;
mod control_plane;
mod document;
mod kubelet;
mod network;
mod processes;
mod registries;
mod runtime;
mod shown;
mod storage;

use self::processes::Processes;
use super::{
    FACTS_VERSION, HostFacts, Root,
    facts::{Fact, List, Table, Text},
    files, kernel, mounts,
    root::joined,
    runtime as rules,
};

/// Bytes of a small file of the kernel, at most.
pub(crate) const VALUE_BYTES_MAX: usize = 4 << 10;
/// Bytes of a file of settings, at most.
pub(crate) const SETTINGS_BYTES_MAX: usize = 1 << 20;
/// Bytes of a list of the kernel's, at most: of mounts, of what listens.
pub(crate) const KERNEL_LIST_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
pub(crate) use self::{
    kubelet::{DROP_IN_DEPTH_MAX, DROP_INS_MAX},
    processes::COMMAND_BYTES_MAX,
    runtime::IMPORTS_MAX,
    storage::DEVICE_DEPTH_MAX,
};

impl HostFacts {
    /// Reads what is known of the host below this root. What cannot be read is unknown, and says why.
    #[must_use]
    pub fn gather(root: &Root) -> Self {
        let processes = Processes::seen(root);
        let mut values = Table::default();
        for path in kernel::values() {
            values.add(path, value(root, path));
        }
        let lines = storage::lines(root);
        let docker = runtime::docker(root, &processes);
        let containerd = runtime::containerd(root, &processes);
        let kubelets = kubelet::kubelets(root, &processes);
        let etcds = control_plane::etcds(root, &processes);
        let mut folders = Table::default();
        for folder in [files::MANIFESTS, files::PKI, files::PKI_ETCD] {
            folders.add(folder, names(root, folder));
        }
        for certificates in files::REGISTRY_CERTIFICATES {
            for name in root.names(certificates).known().into_iter().flatten() {
                folders.add(&joined(certificates, name), names(root, &joined(certificates, name)));
            }
        }
        let mut files = Table::default();
        let sockets = rules::docker_paths(docker.known()).into_iter().chain(rules::SOCKETS.map(str::to_owned));
        let mut paths: Vec<String> = sockets.collect();
        paths.extend(files::DOCKER_FILES.into_iter().chain(files::KUBECONFIGS).chain(mounts::STORES).map(str::to_owned));
        paths.push(joined(super::kubelet::ROOT_DIR, "pods"));
        if let Some(docker) = docker.known() {
            paths.extend(docker.certificates.iter().chain(&docker.keys).map(Text::to_string));
        }
        paths.extend(containerd.known().into_iter().flatten().map(|containerd| containerd.socket.to_string()));
        for kubelet in kubelets.known().into_iter().flatten() {
            paths.push(joined(kubelet.root_dir.as_str(), "pods"));
            paths.extend(kubelet.config.iter().chain(&kubelet.kubeconfig).map(Text::to_string));
        }
        paths.extend(etcds.known().into_iter().flatten().map(|etcd| etcd.data_dir.to_string()));
        for (folder, names) in folders.iter() {
            paths.extend(names.known().into_iter().flatten().map(|name: &Text| joined(folder, name.as_str())));
        }
        for path in paths {
            files.add(&path, root.file(&path));
        }
        Self {
            version: FACTS_VERSION,
            values,
            files,
            folders,
            swaps: storage::swaps(root, &lines),
            mounts: storage::mounts(root, &lines),
            listeners: network::listeners(root),
            accounts: accounts::accounts(root),
            runtimes: runtime::runtimes(root, &processes),
            registries: registries::registries(root, &processes, &docker),
            shown_sockets: shown::sockets(root, &processes, &lines, docker.known()),
            api_servers: control_plane::api_servers(root, &processes),
            docker,
            containerd,
            kubelets,
            etcds,
        }
    }
}

/// A small file, without the space around what is in it.
fn value(root: &Root, path: &str) -> Fact<Text> {
    match root.text(path, VALUE_BYTES_MAX).map(|text| Text::cut(text.trim())) {
        // That a file is not there says something only where the folder of all of them is what it should be.
        Fact::Absent if path.starts_with("/proc/") && !root.has("/proc/1") => Fact::unknown("there is no /proc"),
        Fact::Absent if path.starts_with("/sys/") && !root.has("/sys/kernel") => Fact::unknown("there is no /sys"),
        value => value,
    }
}

fn names(root: &Root, folder: &str) -> Fact<List<Text>> {
    root.names(folder).and_then(|names| List::known(names.iter().map(|name| Text::cut(name))))
}
