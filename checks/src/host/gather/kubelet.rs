//! Kubelets: what is in force of flags, drop-ins and the file.

use serde_json::Value;

use super::{
    arguments::Arguments,
    document::{self, Form},
    processes::{Process, Processes},
};
use crate::host::{
    Root,
    facts::{Fact, Kubelet, List, Setting, Text},
    kubelet::ROOT_DIR,
    root::joined,
};

/// Files in a kubelet's folder of drop-ins, at most.
pub(crate) const DROP_INS_MAX: usize = 128;
/// Folders in that folder, one in another, at most.
pub(crate) const DROP_IN_DEPTH_MAX: usize = 4;
/// What is there where a kubelet runs, or should.
const TRACES: [&str; 3] = ["/var/lib/kubelet/config.yaml", "/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/kubeconfig"];

/// All kubelets of the host.
pub(super) fn kubelets(root: &Root, processes: &Processes) -> Fact<List<Kubelet>> {
    let running = processes.of_host("kubelet");
    if running.is_empty() {
        return processes.embedding("kubelet").unwrap_or_else(|| processes.without(root, "kubelet", &TRACES));
    }
    List::known(running.into_iter().map(|process| kubelet(root, process)))
}

/// The files of a kubelet, the last one wins.
struct Files {
    /// Their paths and contents, in the order in which they are laid over each other.
    files: Vec<(String, Value)>,
    merged: Value,
    /// How many drop-ins there may be yet.
    room: usize,
    /// Why they are not known.
    unknown: Option<Text>,
}

impl Files {
    fn read(root: &Root, process: &Process, arguments: Arguments<'_>) -> Self {
        let mut read = Self { files: Vec::new(), merged: Value::Null, room: DROP_INS_MAX, unknown: None };
        if let Some(path) = arguments.text("config").filter(|path| !path.is_empty()) {
            read.add(root, &process.path(root, path));
        }
        if let Some(folder) = arguments.text("config-dir").filter(|path| !path.is_empty()) {
            read.drop_ins(root, &process.path(root, folder), DROP_IN_DEPTH_MAX);
        }
        for (_, file) in &read.files {
            document::merge(&mut read.merged, file);
        }
        read
    }

    fn add(&mut self, root: &Root, path: &str) {
        match document::read(root, path, Form::Yaml) {
            Fact::Known(settings) => self.files.push((path.to_owned(), settings)),
            Fact::Absent => self.unknown = Some(Text::cut(&format!("the kubelet was told of {path}, and there is no such file"))),
            Fact::Unknown(why) => self.unknown = Some(why),
        }
    }

    /// Files that end with `.conf`, in the order of their names, those in folders below too.
    fn drop_ins(&mut self, root: &Root, folder: &str, depth: usize) {
        let names = match root.names(folder) {
            Fact::Known(names) => names,
            Fact::Absent => {
                self.unknown = Some(Text::cut(&format!("the kubelet was told of {folder}, and there is no such folder")));
                return;
            }
            Fact::Unknown(why) => {
                self.unknown = Some(why);
                return;
            }
        };
        for name in names {
            let path = joined(folder, &name);
            if root.file(&path).known().is_some_and(|file| file.kind == crate::host::facts::FileKind::Folder) {
                match depth {
                    0 => self.unknown = Some(Text::cut(&format!("{path} is too deep"))),
                    _ => self.drop_ins(root, &path, depth - 1),
                }
            } else if name.ends_with(".conf") {
                let Some(room) = self.room.checked_sub(1) else {
                    self.unknown = Some(Text::cut(&format!("{folder} has more than {DROP_INS_MAX} files")));
                    return;
                };
                self.room = room;
                self.add(root, &path);
            }
        }
    }

    /// What the files say, and which of them.
    fn said(&self, pointer: &str) -> Option<(&Value, &str)> {
        let value = self.merged.pointer(pointer).filter(|value| !value.is_null())?;
        let from = self.files.iter().rev().find(|(_, file)| file.pointer(pointer).is_some())?;
        Some((value, &from.0))
    }

    fn setting<T>(
        &self,
        pointer: &str,
        flag: Option<(String, Fact<T>)>,
        default: Fact<T>,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Setting<T> {
        let (value, from) = match (flag, &self.unknown, self.said(pointer)) {
            (Some((flag, value)), _, _) => (value, flag),
            (None, Some(why), _) => (Fact::Unknown(why.clone()), String::new()),
            (None, None, Some((value, from))) => match read(value) {
                Some(value) => (Fact::Known(value), from.to_owned()),
                None => (Fact::unknown(format!("{pointer} in {from} is not of the kind that it should be")), from.to_owned()),
            },
            (None, None, None) => (default, "the default".to_owned()),
        };
        Setting { value, from: Text::cut(&from) }
    }
}

/// What the flags, the files and the defaults come to.
struct Effective<'a> {
    arguments: Arguments<'a>,
    files: Files,
}

impl Effective<'_> {
    fn switch(&self, flag: &str, pointer: &str, default: bool) -> Setting<bool> {
        let given = self.arguments.switch(flag).map(|value| {
            let value = value.map_or_else(|other| Fact::unknown(format!("--{flag} is {other}")), Fact::Known);
            (format!("--{flag}"), value)
        });
        self.files.setting(pointer, given, Fact::Known(default), Value::as_bool)
    }

    fn text(&self, flag: &str, pointer: &str, default: Option<&str>) -> Setting<Text> {
        let given = self.arguments.text(flag).map(|value| (format!("--{flag}"), Fact::Known(Text::cut(value))));
        let default = default.map_or(Fact::Absent, |default| Fact::Known(Text::cut(default)));
        self.files.setting(pointer, given, default, |value| value.as_str().map(Text::cut))
    }

    fn number(&self, flag: &str, pointer: &str, default: i64) -> Setting<i64> {
        let given = self.arguments.text(flag).map(|value| {
            let value =
                value.parse().map_or_else(|_| Fact::unknown(format!("--{flag} is {value}, which is no number")), Fact::Known);
            (format!("--{flag}"), value)
        });
        self.files.setting(pointer, given, Fact::Known(default), Value::as_i64)
    }
}

fn kubelet(root: &Root, process: &Process) -> Kubelet {
    let arguments = Arguments(&process.arguments);
    let files = Files::read(root, process, arguments);
    let path = |name: &str| arguments.text(name).filter(|path| !path.is_empty()).map(|path| Text::cut(&process.path(root, path)));
    // What says nothing is safe in a file and open in flags alone, which are older.
    let has_file = arguments.text("config").is_some() || arguments.text("config-dir").is_some();
    let effective = Effective { arguments, files };
    Kubelet {
        root_dir: path("root-dir").unwrap_or_else(|| Text::cut(ROOT_DIR)),
        config: path("config"),
        kubeconfig: path("kubeconfig"),
        anonymous: effective.switch("anonymous-auth", "/authentication/anonymous/enabled", !has_file),
        authorization: effective.text(
            "authorization-mode",
            "/authorization/mode",
            Some(if has_file { "Webhook" } else { "AlwaysAllow" }),
        ),
        client_ca: effective.text("client-ca-file", "/authentication/x509/clientCAFile", None),
        read_only_port: effective.number("read-only-port", "/readOnlyPort", if has_file { 0 } else { 10_255 }),
        fail_swap_on: effective.switch("fail-swap-on", "/failSwapOn", true),
        swap_behavior: effective.text("memory-swap-behavior", "/memorySwap/swapBehavior", None),
        seccomp_default: effective.switch("seccomp-default", "/seccompDefault", false),
        pod_pids_limit: effective.number("pod-max-pids", "/podPidsLimit", -1),
        iptables_chains: effective.switch("make-iptables-util-chains", "/makeIPTablesUtilChains", true),
        streaming_idle: effective.text("streaming-connection-idle-timeout", "/streamingConnectionIdleTimeout", Some("4h0m0s")),
    }
}
