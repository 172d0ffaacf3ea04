//! What an image is made of: files that help whoever breaks in.

use coffer_checks::{Check, Judgement, Severity, Tier};

use super::{ImageCheck, none_of, whole};
use crate::facts::{Facts, Remark};

/// Files that are named in one finding, at most.
const NAMED_MAX: usize = 20;

/// Programs of distributions that are meant to run as their owner or group.
const USUAL_SET_ID: &[&str] = &[
    "bin/mount",
    "bin/ping",
    "bin/ping6",
    "bin/su",
    "bin/umount",
    "sbin/unix_chkpwd",
    "usr/bin/chage",
    "usr/bin/chfn",
    "usr/bin/chsh",
    "usr/bin/expiry",
    "usr/bin/gpasswd",
    "usr/bin/mount",
    "usr/bin/newgrp",
    "usr/bin/passwd",
    "usr/bin/ping",
    "usr/bin/su",
    "usr/bin/umount",
    "usr/bin/wall",
    "usr/bin/write",
    "usr/sbin/pam_timestamp_check",
    "usr/sbin/unix_chkpwd",
];

pub(super) const CHECKS: &[ImageCheck] = &[
    ImageCheck {
        about: Check {
            id: "IMG-11",
            title: "no repository of source",
            severity: Severity::Medium,
            tier: Tier::Advisory,
            benchmarks: &[],
            why: "Its history has what was ever committed, secrets that were taken out again among it.",
            remedy: "name .git in .dockerignore",
        },
        judge: |facts| with(facts, Remark::Repository, |_| true),
    },
    ImageCheck {
        about: Check {
            id: "IMG-13",
            title: "no shell history, known hosts or core dump",
            severity: Severity::Low,
            tier: Tier::Advisory,
            benchmarks: &[],
            why: "They tell of the machine that it was made on, and core dumps have its memory.",
            remedy: "delete them in the step that makes them",
        },
        judge: |facts| with(facts, Remark::Trace, |_| true),
    },
    ImageCheck {
        about: Check {
            id: "IMG-26",
            title: "no set-user-id or set-group-id program but the usual ones",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Docker-1.6.0 4.8"],
            why: "A flaw in it makes anybody its owner.",
            remedy: "chmod a-s, or allowPrivilegeEscalation: false in the pod",
        },
        judge: |facts| with(facts, Remark::SetId, |path| !USUAL_SET_ID.contains(&path)),
    },
    ImageCheck {
        about: Check {
            id: "IMG-27",
            title: "no file with capabilities",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Docker-1.6.0 4.8"],
            why: "Whoever runs it has more rights than they had.",
            remedy: "setcap -r, or allowPrivilegeEscalation: false in the pod",
        },
        judge: |facts| with(facts, Remark::Capabilities, |_| true),
    },
    ImageCheck {
        about: Check {
            id: "IMG-28",
            title: "nothing that everybody may write",
            severity: Severity::Low,
            tier: Tier::Advisory,
            benchmarks: &[],
            why: "Any process in the container can change what others read or run.",
            remedy: "chmod o-w, or the sticky bit for folders",
        },
        judge: |facts| with(facts, Remark::WorldWritable, |_| true),
    },
    ImageCheck {
        about: Check {
            id: "IMG-36",
            title: "no server for secure shell",
            severity: Severity::Medium,
            tier: Tier::Advisory,
            benchmarks: &["CIS-Docker-1.6.0 5.7"],
            why: "It is a way in that Kubernetes knows nothing of.",
            remedy: "kubectl exec and debug containers need none",
        },
        judge: |facts| {
            let ports = facts.config.config.exposed_ports.iter().flatten();
            match ports.map(|(port, _)| port.as_str()).find(|port| matches!(*port, "22" | "22/tcp")) {
                Some(port) => whole(Judgement::fail(format!("port {port} is exposed"))),
                None => with(facts, Remark::SshServer, |_| true),
            }
        },
    },
    ImageCheck {
        about: Check {
            id: "IMG-37",
            title: "no shell, package manager or compiler",
            severity: Severity::Low,
            tier: Tier::Advisory,
            benchmarks: &["CIS-Docker-1.6.0 4.3"],
            why: "They are what somebody who breaks in works with.",
            remedy: "a base image that has nothing but what the application needs",
        },
        judge: |facts| with(facts, Remark::Tool, |_| true),
    },
    ImageCheck {
        about: Check {
            id: "IMG-38",
            title: "no user without a password",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &[],
            why: "Anybody in the container can become that user.",
            remedy: "passwd --lock USER",
        },
        judge: |facts| {
            let users = facts.users_without_password.iter();
            let found = users.map(|user| (String::new(), Judgement::fail(format!("the user {user} has none")))).collect();
            none_of(found, facts, "none")
        },
    },
];

/// Files with this remark, in one finding.
fn with(facts: &Facts, remark: Remark, counts: impl Fn(&str) -> bool) -> Vec<(String, Judgement)> {
    let paths =
        facts.files.iter().filter(|(path, remarks)| remarks.contains(&remark) && counts(path)).map(|(path, _)| path.as_str());
    let paths: Vec<&str> = paths.collect();
    if paths.is_empty() {
        return match facts.has_more_files {
            true => whole(Judgement::unknown("more files are remarkable than are looked at")),
            false => none_of(Vec::new(), facts, "none"),
        };
    }
    let named: Vec<String> = paths.iter().take(NAMED_MAX).map(|path| format!("/{path}")).collect();
    let more =
        paths.len().checked_sub(NAMED_MAX).filter(|more| *more > 0).map(|more| format!(" and {more} more")).unwrap_or_default();
    whole(Judgement::fail(format!("{}{more}", named.join(", "))))
}
