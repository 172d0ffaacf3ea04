//! Registries that images come from without proof.

use serde_json::Value;

use super::{
    arguments::Arguments,
    document::{self, Form, texts},
    processes::Processes,
    runtime::{DAEMON, containerd_settings},
};
use crate::host::{
    Root,
    facts::{Docker, Fact, List, Registries, Registry, Text},
    root::joined,
};

/// The parts of containerd's settings that are about registries: of versions 1 and 2, and of 3.
const OF_CONTAINERD: [&str; 3] =
    ["/plugins/io.containerd.grpc.v1.cri/registry", "/plugins/io.containerd.cri.v1.images/registry", "/plugins/cri/registry"];
/// The file of CRI-O and Podman.
const CONTAINERS: &str = "/etc/containers/registries.conf";

#[derive(Default)]
struct Seen {
    insecure: Vec<Registry>,
    unread: Vec<Text>,
    has_settings: bool,
}

impl Seen {
    fn add(&mut self, name: &str, file: &str) {
        self.insecure.push(Registry { name: Text::cut(name), file: Text::cut(file) });
    }

    fn read(&mut self, root: &Root, path: &str, form: Form) -> Option<Value> {
        match document::read(root, path, form) {
            Fact::Known(value) => {
                self.has_settings = true;
                Some(value)
            }
            Fact::Absent => None,
            Fact::Unknown(why) => {
                self.unread.push(why);
                None
            }
        }
    }
}

/// All that the settings of the runtimes say.
pub(super) fn registries(root: &Root, processes: &Processes, docker: &Fact<Docker>) -> Fact<Registries> {
    let mut seen = Seen::default();
    of_docker(root, processes, docker, &mut seen);
    of_containerd(root, processes, &mut seen);
    of_containers(root, &mut seen);
    if !seen.has_settings && seen.unread.is_empty() && seen.insecure.is_empty() {
        return processes.without(root, "container runtime", &[]);
    }
    let insecure = List::known(seen.insecure);
    insecure.map(|insecure| Registries { insecure, unread: List::first(seen.unread) })
}

fn of_docker(root: &Root, processes: &Processes, docker: &Fact<Docker>, seen: &mut Seen) {
    seen.has_settings |= docker.known().is_some();
    let mut path = DAEMON;
    let running = processes.of_host("dockerd");
    for process in &running {
        let arguments = Arguments(&process.arguments);
        path = arguments.text("config-file").unwrap_or(path);
        arguments.all("insecure-registry").iter().for_each(|name| seen.add(name, "--insecure-registry"));
        arguments.all("registry-mirror").iter().filter(|url| is_plain(url)).for_each(|url| seen.add(url, "--registry-mirror"));
    }
    if let Some(settings) = seen.read(root, path, Form::Json) {
        texts(&settings, "/insecure-registries").into_iter().for_each(|name| seen.add(name, path));
        texts(&settings, "/registry-mirrors").into_iter().filter(|url| is_plain(url)).for_each(|url| seen.add(url, path));
    }
}

fn of_containerd(root: &Root, processes: &Processes, seen: &mut Seen) {
    let running = processes.of_host("containerd");
    let files: Vec<_> = match running.is_empty() {
        true => vec![containerd_settings(root, None)],
        false => running.into_iter().map(|process| containerd_settings(root, Some(process))).collect(),
    };
    for files in files {
        let files = match files {
            Fact::Known(files) => files,
            Fact::Absent => continue,
            Fact::Unknown(why) => {
                seen.unread.push(why);
                continue;
            }
        };
        seen.has_settings = true;
        for (path, settings) in &files {
            for part in OF_CONTAINERD {
                if let Some(part) = settings.pointer(part) {
                    registry(root, path, part, seen);
                }
            }
        }
    }
}

fn registry(root: &Root, path: &str, part: &Value, seen: &mut Seen) {
    for (_, mirror) in entries(part, "mirrors") {
        texts(mirror, "/endpoint").into_iter().filter(|url| is_plain(url)).for_each(|url| seen.add(url, path));
    }
    for (name, config) in entries(part, "configs") {
        if config.pointer("/tls/insecure_skip_verify").and_then(Value::as_bool) == Some(true) {
            seen.add(name, path);
        }
    }
    let folders = part.get("config_path").and_then(Value::as_str).unwrap_or_default();
    for folder in folders.split(':').filter(|folder| !folder.is_empty()) {
        match root.names(folder) {
            Fact::Known(names) => {
                names.iter().for_each(|name| hosts(root, name, &format!("{}/hosts.toml", joined(folder, name)), seen))
            }
            // Registries without a folder are spoken to over TLS.
            Fact::Absent => {}
            Fact::Unknown(why) => seen.unread.push(why),
        }
    }
}

/// A registry's `hosts.toml`: its own address, and others to ask before it.
fn hosts(root: &Root, name: &str, path: &str, seen: &mut Seen) {
    let Some(settings) = seen.read(root, path, Form::Toml) else { return };
    if let Some(server) = settings.get("server").and_then(Value::as_str).filter(|url| is_plain(url)) {
        seen.add(server, path);
    }
    if is_unverified(&settings) {
        seen.add(name, path);
    }
    for (url, host) in entries(&settings, "host") {
        if is_plain(url) || is_unverified(host) {
            seen.add(url, path);
        }
    }
}

fn of_containers(root: &Root, seen: &mut Seen) {
    let drop_ins = format!("{CONTAINERS}.d");
    let names = root.names(&drop_ins).known().cloned().unwrap_or_default();
    let paths = names.iter().filter(|name| name.ends_with(".conf")).map(|name| joined(&drop_ins, name));
    for path in std::iter::once(CONTAINERS.to_owned()).chain(paths) {
        let Some(settings) = seen.read(root, &path, Form::Toml) else { continue };
        // The first format, which CRI-O reads still.
        texts(&settings, "/registries/insecure/registries").into_iter().for_each(|name| seen.add(name, &path));
        for registry in settings.get("registry").and_then(Value::as_array).into_iter().flatten() {
            let mirrors = registry.get("mirror").and_then(Value::as_array).into_iter().flatten();
            for registry in std::iter::once(registry).chain(mirrors) {
                if registry.get("insecure").and_then(Value::as_bool) == Some(true) {
                    let named = registry.get("location").or_else(|| registry.get("prefix")).and_then(Value::as_str);
                    seen.add(named.unwrap_or("a registry without a name"), &path);
                }
            }
        }
    }
}

fn entries<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.get(name).and_then(Value::as_object).into_iter().flatten()
}

fn is_plain(url: &str) -> bool {
    url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"))
}

fn is_unverified(host: &Value) -> bool {
    host.get("skip_verify").and_then(Value::as_bool) == Some(true)
}
