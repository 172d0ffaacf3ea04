//! The processes that matter.

use super::VALUE_BYTES_MAX;
use crate::host::{Root, facts::Fact};

/// Bytes of a command line, at most.
pub(crate) const COMMAND_BYTES_MAX: usize = 256 << 10;
/// The bit of a process's flags that says that it is the kernel's own.
const KERNEL_THREAD: u64 = 0x0020_0000;
/// Programs that have a kubelet or an API server within themselves, whose command lines do not tell how it is set up.
const EMBEDDING: [&str; 4] = ["k3s", "k3s-server", "k3s-agent", "kubelite"];
/// Programs that are several, by their first argument.
const MANY: [&str; 2] = ["hyperkube", "kube"];
/// Programs whose command lines are read.
const KNOWN: [&str; 7] = ["kubelet", "kube-apiserver", "etcd", "dockerd", "containerd", "crio", "cri-dockerd"];

/// A process that matters.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: u32,
    /// The name of what it does.
    pub(super) name: &'static str,
    /// What it was started with, the program first.
    pub(super) arguments: Vec<String>,
    /// Whether it sees the processes that the first one does: what a container calls itself counts for nothing. True where that cannot be seen.
    is_of_host: bool,
}

/// What is seen of all processes.
#[derive(Debug)]
pub(super) struct Processes {
    list: Vec<Process>,
    /// Every process's number.
    pub(super) ids: Vec<u32>,
    /// Why some may be missing, where that may be so.
    hidden: Option<String>,
    embedding: Option<String>,
}

impl Processes {
    /// Looks at all.
    pub(super) fn seen(root: &Root) -> Self {
        let mut seen = Self { list: Vec::new(), ids: Vec::new(), hidden: None, embedding: None };
        let names = match root.names("/proc") {
            Fact::Known(names) => names,
            Fact::Absent => Vec::new(),
            Fact::Unknown(why) => {
                seen.hidden = Some(why.to_string());
                return seen;
            }
        };
        seen.ids = names.iter().filter_map(|name| name.parse().ok()).collect();
        seen.ids.sort_unstable();
        // The kernel's own processes are in the machine's first namespace alone, where the second one is the first of them.
        let is_whole = root.text("/proc/2/stat", VALUE_BYTES_MAX).known().is_some_and(|text| is_kernel_thread(text));
        let first = root.link(if is_whole { "/proc/2/ns/pid" } else { "/proc/1/ns/pid" });
        if seen.ids.first() != Some(&1) {
            seen.hidden = Some("the processes of the host are not seen in /proc".into());
        } else if !is_whole {
            seen.hidden =
                Some("not all processes of the machine are seen: /proc is that of a container, or hides those of others".into());
        }
        for &id in &seen.ids {
            let Fact::Known(name) = root.text(&format!("/proc/{id}/comm"), VALUE_BYTES_MAX) else { continue };
            let name = name.trim_end_matches('\n');
            if let Some(embedding) = EMBEDDING.iter().find(|known| **known == name) {
                seen.embedding = Some((*embedding).to_owned());
            }
            if !KNOWN.contains(&name) && !MANY.contains(&name) {
                continue;
            }
            let Fact::Known(line) = root.text(&format!("/proc/{id}/cmdline"), COMMAND_BYTES_MAX) else {
                seen.hidden.get_or_insert_with(|| format!("the command line of {name} cannot be read"));
                continue;
            };
            let mut arguments: Vec<String> = line.trim_end_matches('\0').split('\0').map(str::to_owned).collect();
            let name = match name {
                // `hyperkube kubelet ...`: the program that is meant comes second.
                many if MANY.contains(&many) && arguments.len() > 1 => arguments.remove(1),
                name => name.to_owned(),
            };
            let wanted = |known: &&&str| **known == name || known.strip_prefix("kube-") == Some(&name);
            let Some(name) = KNOWN.iter().find(wanted) else { continue };
            let namespace = root.link(&format!("/proc/{id}/ns/pid"));
            let is_of_host = first.known().is_none() || namespace.known().is_none() || namespace == first;
            seen.list.push(Process { id, name, arguments, is_of_host });
        }
        seen
    }

    /// The processes of a program of the host itself.
    pub(super) fn of_host(&self, name: &str) -> Vec<&Process> {
        self.list.iter().filter(|process| process.name == name && process.is_of_host).collect()
    }

    /// The processes of a program, in containers too.
    pub(super) fn anywhere(&self, name: &str) -> Vec<&Process> {
        self.list.iter().filter(|process| process.name == name).collect()
    }

    /// What it means that a program is not among the processes: that it does not run, or that this cannot be told. `traces` are there where it
    /// does.
    pub(super) fn without<T>(&self, root: &Root, name: &str, traces: &[&str]) -> Fact<T> {
        if let Some(trace) = traces.iter().find(|path| root.has(path)) {
            return Fact::unknown(format!("{trace} is there, but no {name} is seen among the processes"));
        }
        match &self.hidden {
            Some(why) => Fact::unknown(format!("no {name} is seen; but {why}")),
            None => Fact::Absent,
        }
    }

    /// A program that has the parts of Kubernetes within itself, where one runs.
    pub(super) fn embedding<T>(&self, part: &str) -> Option<Fact<T>> {
        let program = self.embedding.as_ref()?;
        Some(Fact::unknown(format!("{program} has the {part} within itself, and its settings are not on its command line")))
    }
}

/// Whether a line of `/proc/PID/stat` is about one: the flags are the seventh word behind the name, which may have anything in it.
fn is_kernel_thread(line: &str) -> bool {
    let flags = line.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(6));
    flags.and_then(|flags| flags.parse::<u64>().ok()).is_some_and(|flags| flags & KERNEL_THREAD != 0)
}

impl Process {
    /// A path as the process means it: where it is relative, from its folder.
    pub(super) fn path(&self, root: &Root, path: &str) -> String {
        if path.starts_with('/') {
            return path.to_owned();
        }
        match root.link(&format!("/proc/{}/cwd", self.id)) {
            Fact::Known(folder) => crate::host::root::joined(&folder, path),
            Fact::Absent | Fact::Unknown(_) => format!("/{path}"),
        }
    }
}
