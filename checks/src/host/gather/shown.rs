//! Sockets of runtimes that containers see.

use std::collections::BTreeSet;

use super::{
    VALUE_BYTES_MAX,
    processes::Processes,
    storage::{Line, covering, is_at_or_above, of_process},
};
use crate::host::{
    Root,
    facts::{Docker, Fact, FileKind, List, ShownSocket, Text},
    runtime::{SOCKETS, docker_paths},
};

/// A socket as its file system knows it, whatever it is mounted as.
struct Place {
    path: String,
    device: String,
    within: String,
}

/// Looks into each mount namespace for the file systems that the sockets lie in. Namespaces of the host's own services have its root, those of
/// containers another one.
pub(super) fn sockets(
    root: &Root,
    processes: &Processes,
    lines: &Fact<Vec<Line>>,
    docker: Option<&Docker>,
) -> Fact<List<ShownSocket>> {
    let lines = match lines {
        Fact::Known(lines) => lines,
        Fact::Absent => return Fact::unknown("no list of mounts is there"),
        Fact::Unknown(why) => return Fact::Unknown(why.clone()),
    };
    let mut places = Vec::new();
    for path in docker_paths(docker).into_iter().chain(SOCKETS.map(str::to_owned)) {
        match root.file(&path) {
            Fact::Known(file) if file.kind == FileKind::Socket => {}
            Fact::Known(_) | Fact::Absent => continue,
            Fact::Unknown(why) => return Fact::Unknown(why),
        }
        // /var/run is a link to /run on every system of today.
        let real = match (root.link("/var/run"), path.strip_prefix("/var/run/")) {
            (Fact::Known(_), Some(rest)) => format!("/run/{rest}"),
            _ => path.clone(),
        };
        let Some(line) = covering(lines, &real) else { return Fact::unknown(format!("the mount of {path} is not seen")) };
        let rest = real.strip_prefix(line.point.trim_end_matches('/')).unwrap_or_default();
        places.push(Place { path, device: line.device.clone(), within: format!("{}{rest}", line.root.trim_end_matches('/')) });
    }
    if places.is_empty() {
        return processes.without(root, "runtime's socket", &[]);
    }
    let host_root = covering(lines, "/").map(|line| (line.device.clone(), line.root.clone()));
    let mut namespaces: BTreeSet<String> = root.link("/proc/1/ns/mnt").known().cloned().into_iter().collect();
    let mut shown = Vec::new();
    // Whoever looks at a socket has it mounted: that says nothing about others.
    let own = root.link("/proc/self");
    for id in &processes.ids {
        if own.known().is_some_and(|own| *own == id.to_string()) {
            continue;
        }
        match root.link(&format!("/proc/{id}/ns/mnt")) {
            Fact::Known(namespace) if !namespaces.insert(namespace.clone()) => continue,
            // Who may not see namespaces looks at every process.
            Fact::Known(_) | Fact::Unknown(_) => {}
            // One that has ended meanwhile.
            Fact::Absent => continue,
        }
        let theirs = match of_process(root, &id.to_string()) {
            Fact::Known(lines) => lines,
            Fact::Absent => continue,
            Fact::Unknown(why) => return Fact::Unknown(why),
        };
        if covering(&theirs, "/").map(|line| (line.device.clone(), line.root.clone())) == host_root {
            continue;
        }
        for place in &places {
            let sees = |line: &&Line| line.device == place.device && is_at_or_above(&line.root, &place.within);
            if let Some(line) = theirs.iter().find(sees) {
                let rest = place.within.strip_prefix(line.root.trim_end_matches('/')).unwrap_or_default();
                let program = root.text(&format!("/proc/{id}/comm"), VALUE_BYTES_MAX);
                let socket = ShownSocket {
                    socket: Text::cut(&place.path),
                    program: Text::cut(program.known().map_or("?", |text| text.trim_end_matches('\n'))),
                    at: Text::cut(&format!("{}{rest}", line.point.trim_end_matches('/'))),
                };
                if !shown.contains(&socket) {
                    shown.push(socket);
                }
            }
        }
    }
    List::known(shown)
}
