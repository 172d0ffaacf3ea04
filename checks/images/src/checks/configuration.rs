//! How an image is run, and how it was made.

use coffer_checks::{Check, Judgement, Severity, Tier};

use super::{ImageCheck, whole};
use crate::facts::Facts;

/// Folders that no volume should stand in the place of.
const SENSITIVE_FOLDERS: &[&str] =
    &["/", "/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/root", "/run", "/sbin", "/sys", "/usr", "/var/run"];

pub(super) const CHECKS: &[ImageCheck] = &[
    ImageCheck {
        about: Check {
            id: "IMG-14",
            title: "it does not run as root",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Docker-1.6.0 4.1"],
            why: "Whoever breaks into a program of root's has more to break out with.",
            remedy: "USER 65532 at the end of the Dockerfile, or runAsUser in the pod",
        },
        judge: |facts| {
            let user = facts.config.config.user.as_deref().unwrap_or_default();
            let name = user.split(':').next().unwrap_or_default();
            whole(match name {
                "" => Judgement::fail("no user is named, so it is root"),
                "0" | "root" => Judgement::fail(format!("the user is {name}")),
                name => Judgement::pass(format!("the user is {name}")),
            })
        },
    },
    ImageCheck {
        about: Check {
            id: "IMG-15",
            title: "its user is a number",
            severity: Severity::Low,
            tier: Tier::Advisory,
            benchmarks: &[],
            why: "The kubelet cannot tell whether a name is root's, and refuses it under runAsNonRoot.",
            remedy: "USER 65532 in place of a name",
        },
        judge: |facts| {
            let user = facts.config.config.user.as_deref().unwrap_or_default();
            let name = user.split(':').next().unwrap_or_default();
            whole(match name.parse::<u32>() {
                _ if name.is_empty() => Judgement::not_applicable("no user is named"),
                Ok(_) => Judgement::pass(format!("the user is {name}")),
                Err(_) => Judgement::fail(format!("the user is {name}")),
            })
        },
    },
    ImageCheck {
        about: Check {
            id: "IMG-29",
            title: "nothing was added from an address",
            severity: Severity::Medium,
            tier: Tier::Advisory,
            benchmarks: &["CIS-Docker-1.6.0 4.9"],
            why: "What is at an address today need not be what was there yesterday.",
            remedy: "ADD --checksum, or fetch it in a stage of the build and verify it",
        },
        judge: |facts| {
            let from = |step: &str| step.contains("ADD http://") || step.contains("ADD https://") || step.contains("ADD ftp://");
            history(facts, |step| from(step) && !step.contains("--checksum"), "adds from an address")
        },
    },
    ImageCheck {
        about: Check {
            id: "IMG-31",
            title: "nothing was piped from the network into a shell",
            severity: Severity::Medium,
            tier: Tier::Advisory,
            benchmarks: &["CIS-Docker-1.6.0 4.11"],
            why: "Whatever the server sent was run, and nobody can say what that was.",
            remedy: "download, compare with a checksum that is written down, then run",
        },
        judge: |facts| history(facts, is_piped, "runs what it downloads"),
    },
    ImageCheck {
        about: Check {
            id: "IMG-32",
            title: "no switch in the environment that turns TLS off",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &[],
            why: "The application talks to whoever answers.",
            remedy: "take it out, and give the application the CA that it lacks",
        },
        judge: |facts| {
            let off = [
                ("NODE_TLS_REJECT_UNAUTHORIZED", "0"),
                ("GIT_SSL_NO_VERIFY", "1"),
                ("GIT_SSL_NO_VERIFY", "true"),
                ("PYTHONHTTPSVERIFY", "0"),
            ];
            let variables = facts.config.config.env.iter().flatten().filter_map(|variable| variable.split_once('='));
            let found: Vec<_> = variables
                .filter(|variable| off.contains(variable))
                .map(|(name, value)| (format!("environment: {name}"), Judgement::fail(format!("{name}={value}"))))
                .collect();
            if found.is_empty() { whole(Judgement::pass("none")) } else { found }
        },
    },
    ImageCheck {
        about: Check {
            id: "IMG-40",
            title: "no volume in the place of a folder of the system",
            severity: Severity::Low,
            tier: Tier::Advisory,
            benchmarks: &[],
            why: "What the image has there is hidden, or written by whoever can write the volume.",
            remedy: "VOLUME for folders of the application alone",
        },
        judge: |facts| {
            let volumes = facts.config.config.volumes.iter().flatten().map(|(path, _)| path.trim_end_matches('/'));
            let found: Vec<_> = volumes
                .filter(|path| SENSITIVE_FOLDERS.contains(path) || path.is_empty())
                .map(|path| (String::new(), Judgement::fail(format!("a volume at {path}/"))))
                .collect();
            if found.is_empty() { whole(Judgement::pass("none")) } else { found }
        },
    },
];

/// Whether a shell or an interpreter runs what came down the line before it.
fn is_piped(step: &str) -> bool {
    const SHELLS: &[&str] = &["sh", "bash", "ash", "dash", "zsh", "python", "python3", "perl"];
    let mut is_fetched = false;
    for command in step.split('|') {
        let program = command.trim_start().trim_start_matches("sudo ").split_whitespace().next().unwrap_or_default();
        if is_fetched && SHELLS.contains(&program.rsplit('/').next().unwrap_or_default()) {
            return true;
        }
        let last = command.rsplit("&&").next().and_then(|command| command.rsplit(';').next()).unwrap_or_default();
        is_fetched = last.contains("curl ") || last.contains("wget ") || (is_fetched && last.len() == command.len());
    }
    false
}

/// Steps of which it is true: how an image was made is told in its history, unless somebody squashed it.
fn history(facts: &Facts, is: impl Fn(&str) -> bool, what: &str) -> Vec<(String, Judgement)> {
    let steps =
        facts.config.history.iter().enumerate().filter_map(|(number, step)| Some((number + 1, step.created_by.as_deref()?)));
    let mut steps = steps.peekable();
    if steps.peek().is_none() {
        return whole(Judgement::unknown("the image does not tell how it was made"));
    }
    let found: Vec<_> = steps
        .filter(|(_, step)| is(step))
        .map(|(number, _)| (format!("history: step {number}"), Judgement::fail(what)))
        .collect();
    if found.is_empty() { whole(Judgement::pass("no step does")) } else { found }
}
