//! Container runtimes.

use serde_json::Value;

use super::{
    SETTINGS_BYTES_MAX,
    arguments::Arguments,
    document::{self, Form, texts},
    processes::{Process, Processes},
};
use crate::host::{
    Root,
    facts::{Containerd, Docker, Fact, List, Runtime, Text},
    runtime::DOCKER_SOCKET,
};

/// Docker's file of settings, unless it is told otherwise.
pub(super) const DAEMON: &str = "/etc/docker/daemon.json";
/// containerd's file of settings, unless it is told otherwise.
const CONTAINERD: &str = "/etc/containerd/config.toml";
/// containerd's socket, unless it is told otherwise.
const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
/// Files that a file of containerd's brings in, at most.
pub(crate) const IMPORTS_MAX: usize = 64;

/// The runtimes that run.
pub(super) fn runtimes(root: &Root, processes: &Processes) -> Fact<List<Runtime>> {
    let all = ["containerd", "dockerd", "crio"].into_iter().flat_map(|name| processes.of_host(name));
    let all: Vec<_> =
        all.map(|process| Runtime { name: Text::cut(process.name), core_limit: core_limit(root, process.id) }).collect();
    match all.is_empty() {
        true => processes.without(root, "container runtime", &[]),
        false => List::known(all),
    }
}

/// Bytes of a core file that a process may write, as it may set it itself: the hard limit.
fn core_limit(root: &Root, id: u32) -> Fact<Text> {
    root.text(&format!("/proc/{id}/limits"), SETTINGS_BYTES_MAX).and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("Max core file size"));
        match line.and_then(|line| line.split_ascii_whitespace().nth(1)) {
            Some(hard) => Fact::Known(Text::cut(hard)),
            None => Fact::unknown("the limits of a runtime cannot be understood"),
        }
    })
}

/// How Docker is set up.
pub(super) fn docker(root: &Root, processes: &Processes) -> Fact<Docker> {
    let running = processes.of_host("dockerd");
    let arguments = Arguments(running.first().map_or(&[], |process| &process.arguments));
    let path = arguments.text("config-file").unwrap_or(DAEMON);
    let settings = match document::read(root, path, Form::Json) {
        // Docker does without a file, unless it was told of one.
        Fact::Absent if running.is_empty() => return processes.without(root, "Docker", &[DOCKER_SOCKET]),
        Fact::Absent if arguments.text("config-file").is_none() => Value::Null,
        Fact::Absent => return Fact::unknown(format!("there is no {path}")),
        Fact::Unknown(why) => return Fact::Unknown(why),
        Fact::Known(settings) => settings,
    };
    let text = |name: &str| arguments.text(name).or_else(|| settings.get(name).and_then(Value::as_str)).map(Text::cut);
    // A flag that is neither true nor false keeps Docker from starting: what is in force is not known, and not as good as set.
    let switch = |name: &str| match arguments.switch(name) {
        Some(value) => value.ok(),
        None => settings.get(name).and_then(Value::as_bool),
    };
    let mut hosts = arguments.all("host");
    hosts.extend(arguments.all("H"));
    hosts.extend(
        arguments
            .0
            .iter()
            .skip(1)
            .filter_map(|argument| argument.strip_prefix("-H").filter(|rest| rest.contains("://") && !rest.starts_with('='))),
    );
    hosts.extend(texts(&settings, "/hosts"));
    // With TLS and no word about its files, they are where a client's would be.
    let has_tls = switch("tls") == Some(true) || switch("tlsverify") == Some(true);
    let file = |name: &str, usual: &str| text(name).or_else(|| has_tls.then(|| Text::cut(usual)));
    Fact::Known(Docker {
        runs: !running.is_empty(),
        hosts: List::first(hosts.into_iter().map(Text::cut)),
        tls_verify: switch("tlsverify") == Some(true),
        userns_remap: text("userns-remap"),
        seccomp_profile: text("seccomp-profile"),
        icc: switch("icc"),
        no_new_privileges: switch("no-new-privileges"),
        certificates: List::first(
            file("tlscacert", "/root/.docker/ca.pem").into_iter().chain(file("tlscert", "/root/.docker/cert.pem")),
        ),
        keys: List::first(file("tlskey", "/root/.docker/key.pem")),
    })
}

/// How each containerd is set up.
pub(super) fn containerd(root: &Root, processes: &Processes) -> Fact<List<Containerd>> {
    let running = processes.of_host("containerd");
    if running.is_empty() {
        return processes.without(root, "containerd", &[CONTAINERD_SOCKET]);
    }
    let mut all = Vec::new();
    for process in running {
        let arguments = Arguments(&process.arguments);
        let settings = match containerd_settings(root, Some(process)) {
            Fact::Known(files) => files,
            Fact::Absent => Vec::new(),
            Fact::Unknown(why) => return Fact::Unknown(why),
        };
        // The last file that says something counts.
        let text = |pointer: &str| {
            let said = settings.iter().rev().find_map(|(_, settings)| settings.pointer(pointer).and_then(Value::as_str));
            said.filter(|text| !text.is_empty())
        };
        let socket = arguments
            .text("address")
            .or_else(|| arguments.text("a"))
            .or_else(|| text("/grpc/address"))
            .unwrap_or(CONTAINERD_SOCKET);
        all.push(Containerd {
            socket: Text::cut(socket),
            tcp: text("/grpc/tcp_address").map(Text::cut),
            tcp_tls: text("/grpc/tcp_tls_cert").is_some() && text("/grpc/tcp_tls_ca").is_some(),
        });
    }
    List::known(all)
}

/// The settings of a containerd that runs, or that would be those of one: each file, in the order in which they are read.
pub(super) fn containerd_settings(root: &Root, process: Option<&Process>) -> Fact<Vec<(String, Value)>> {
    let told = process.and_then(|process| {
        let arguments = Arguments(&process.arguments);
        arguments.text("config").or_else(|| arguments.text("c")).map(|path| process.path(root, path))
    });
    let path = told.clone().unwrap_or_else(|| CONTAINERD.to_owned());
    let settings = match document::read(root, &path, Form::Toml) {
        // containerd does without a file, unless it was told of one.
        Fact::Absent if told.is_some() => return Fact::unknown(format!("there is no {path}")),
        Fact::Absent => return Fact::Absent,
        Fact::Unknown(why) => return Fact::Unknown(why),
        Fact::Known(settings) => settings,
    };
    let patterns: Vec<String> = texts(&settings, "/imports").into_iter().map(str::to_owned).collect();
    let mut files = vec![(path, settings)];
    for pattern in patterns {
        let Some((folder, name)) =
            pattern.rsplit_once('/').filter(|(folder, _)| folder.starts_with('/') && !folder.contains(['*', '?', '[']))
        else {
            return Fact::unknown(format!("containerd's imports have {pattern}, which is not followed"));
        };
        let names = match name.split_once('*') {
            None if !name.contains(['?', '[']) => vec![name.to_owned()],
            Some((start, end)) if !end.contains(['*', '?', '[']) && !start.contains(['?', '[']) => match root.names(folder) {
                Fact::Known(names) => {
                    let is_meant =
                        |text: &String| text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end);
                    names.into_iter().filter(is_meant).collect()
                }
                Fact::Absent => Vec::new(),
                Fact::Unknown(why) => return Fact::Unknown(why),
            },
            _ => return Fact::unknown(format!("containerd's imports have {pattern}, which is not followed")),
        };
        for name in names {
            if files.len() > IMPORTS_MAX {
                return Fact::unknown(format!("containerd imports more than {IMPORTS_MAX} files"));
            }
            let path = format!("{folder}/{name}");
            match document::read(root, &path, Form::Toml) {
                Fact::Known(settings) => files.push((path, settings)),
                Fact::Absent => return Fact::unknown(format!("there is no {path}")),
                Fact::Unknown(why) => return Fact::Unknown(why),
            }
        }
    }
    Fact::Known(files)
}
