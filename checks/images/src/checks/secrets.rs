//! Secrets, wherever they are in an image.

use coffer_checks::{Check, Judgement, Severity, Tier};

use super::{ImageCheck, none_of};
use crate::{
    facts::{Facts, Kind, Place, Secret},
    secrets::Certainty,
};

const REBUILD: &str = "rotate what was in it, and build the image without it: another stage, or a secret mount of the build";
const ROTATE: &str = "rotate it: whoever has the image has it, in whatever layer it is";
const AT_RUN_TIME: &str = "take it out, rotate it, and have Coffer inject it as a file";

pub(super) const CHECKS: &[ImageCheck] = &[
    ImageCheck {
        about: Check {
            id: "IMG-01",
            title: "no private key in a layer",
            severity: Severity::Critical,
            tier: Tier::Gate,
            benchmarks: &["CIS-Docker-1.6.0 4.10"],
            why: "Whoever can pull the image can be whatever the key stands for.",
            remedy: REBUILD,
        },
        judge: |facts| in_layers(facts, "no key", |secret| is_sure(secret) && is_key(secret)),
    },
    ImageCheck {
        about: Check {
            id: "IMG-02",
            title: "no token of a provider in a layer",
            severity: Severity::Critical,
            tier: Tier::Gate,
            benchmarks: &["CIS-Docker-1.6.0 4.10"],
            why: "Whoever can pull the image can act with the token.",
            remedy: REBUILD,
        },
        judge: |facts| in_layers(facts, "no token", |secret| is_sure(secret) && !is_key(secret)),
    },
    ImageCheck {
        about: Check {
            id: "IMG-03",
            title: "no token or key in the environment",
            severity: Severity::Critical,
            tier: Tier::Gate,
            benchmarks: &["CIS-Docker-1.6.0 4.10"],
            why: "The environment is in the image's configuration, in each process and in many a log.",
            remedy: AT_RUN_TIME,
        },
        judge: |facts| elsewhere(facts, "no token", |secret| is_sure(secret) && matches!(secret.place, Place::Env(_))),
    },
    ImageCheck {
        about: Check {
            id: "IMG-04",
            title: "no token or key in the history",
            severity: Severity::Critical,
            tier: Tier::Gate,
            benchmarks: &["CIS-Docker-1.6.0 4.10"],
            why: "Arguments of the build and commands are kept in the image for anybody to read.",
            remedy: "rotate it, and give it to the build as a secret mount",
        },
        judge: |facts| elsewhere(facts, "no token", |secret| is_sure(secret) && matches!(secret.place, Place::History(_))),
    },
    ImageCheck {
        about: Check {
            id: "IMG-05",
            title: "no token or key in labels and annotations",
            severity: Severity::High,
            tier: Tier::Gate,
            benchmarks: &[],
            why: "Labels are shown by every tool, and registries index them.",
            remedy: ROTATE,
        },
        judge: |facts| elsewhere(facts, "no token", |secret| is_sure(secret) && matches!(secret.place, Place::Label(_))),
    },
    ImageCheck {
        about: Check {
            id: "IMG-06",
            title: "no token or key in the image's commands",
            severity: Severity::High,
            tier: Tier::Gate,
            benchmarks: &[],
            why: "Command lines are seen by every process of the node.",
            remedy: AT_RUN_TIME,
        },
        judge: |facts| elsewhere(facts, "no token", |secret| is_sure(secret) && matches!(secret.place, Place::Command(_))),
    },
    ImageCheck {
        about: Check {
            id: "IMG-07",
            title: "no file that a program logs in with",
            severity: Severity::High,
            tier: Tier::Gate,
            benchmarks: &["CIS-Docker-1.6.0 4.10"],
            why: "Whoever can pull the image can log in there.",
            remedy: REBUILD,
        },
        judge: |facts| in_layers(facts, "no such file", |secret| matches!(secret.kind, Kind::Credentials(_))),
    },
    ImageCheck {
        about: Check {
            id: "IMG-08",
            title: "nothing that looks like a secret",
            severity: Severity::Low,
            tier: Tier::Advisory,
            benchmarks: &["CIS-Docker-1.6.0 4.10"],
            why: "It may be one: a value by its name, a key behind a password, the first half of a pair.",
            remedy: "look at it; where it is a secret, rotate it and build the image without it",
        },
        judge: |facts| {
            let likely = |secret: &Secret| matches!(secret.kind, Kind::Known(rule) if rule.certainty == Certainty::Likely);
            elsewhere(facts, "nothing", likely)
        },
    },
    ImageCheck {
        about: Check {
            id: "IMG-09",
            title: "no secret that a later layer only hides",
            severity: Severity::Critical,
            tier: Tier::Gate,
            benchmarks: &["CIS-Docker-1.6.0 4.10"],
            why: "A file that a later layer deletes or replaces is pulled with the image all the same.",
            remedy: "rotate it: deleting it does not take it back. Build in stages, and copy only what is wanted",
        },
        judge: |facts| in_layers(facts, "none", |secret| secret.gone_in.is_some() && is_gated(secret)),
    },
    ImageCheck {
        about: Check {
            id: "IMG-10",
            title: "no value that the vault stores",
            severity: Severity::Critical,
            tier: Tier::Gate,
            benchmarks: &["NIST-800-190 4.1.4"],
            why: "Whoever can pull the image has the secret, whatever the vault decides: it is no likeness, but the value itself.",
            remedy: "rotate it, build the image without it, and have Coffer inject it as a file",
        },
        judge: |facts| match facts.stored_marks {
            None => super::whole(Judgement::not_applicable("nobody asked for what the vault stores (--stored-values)")),
            Some(marks) => {
                let none = format!("none of the {marks} marks of what the vault stores");
                none_of(told(facts, |secret| matches!(secret.kind, Kind::Stored)), facts, &none)
            }
        },
    },
    ImageCheck {
        about: Check {
            id: "IMG-12",
            title: "no .env file with values that look secret",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Docker-1.6.0 4.10"],
            why: "Settings of somebody's machine often have passwords of something real.",
            remedy: "name it in .dockerignore",
        },
        judge: |facts| in_layers(facts, "none", |secret| matches!(secret.kind, Kind::Settings)),
    },
    ImageCheck {
        about: Check {
            id: "IMG-45",
            title: "no variable whose name says that it is secret",
            severity: Severity::High,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Docker-1.6.0 4.10"],
            why: "A password in the environment is in the image for anybody who pulls it.",
            remedy: AT_RUN_TIME,
        },
        judge: |facts| elsewhere(facts, "none", |secret| matches!(secret.kind, Kind::Variable)),
    },
];

fn is_sure(secret: &Secret) -> bool {
    matches!(secret.kind, Kind::Known(rule) if rule.certainty == Certainty::Sure)
}

fn is_key(secret: &Secret) -> bool {
    matches!(secret.kind, Kind::Known(rule) if matches!(rule.id, "private-key" | "age-secret-key"))
}

fn is_gated(secret: &Secret) -> bool {
    is_sure(secret) || matches!(secret.kind, Kind::Credentials(_) | Kind::Stored)
}

/// Those in files, which one can be sure of only where all layers were read.
fn in_layers(facts: &Facts, none: &str, is: impl Fn(&Secret) -> bool) -> Vec<(String, Judgement)> {
    let is_file = |secret: &Secret| matches!(secret.place, Place::File { .. });
    none_of(told(facts, |secret| is_file(secret) && is(secret)), facts, none)
}

/// Those in the configuration, or anywhere.
fn elsewhere(facts: &Facts, none: &str, is: impl Fn(&Secret) -> bool) -> Vec<(String, Judgement)> {
    match told(facts, is) {
        failures if failures.is_empty() => super::whole(Judgement::pass(none)),
        failures => failures,
    }
}

fn told(facts: &Facts, is: impl Fn(&Secret) -> bool) -> Vec<(String, Judgement)> {
    facts
        .secrets
        .iter()
        .filter(|secret| is(secret))
        .map(|secret| (secret.place.to_string(), Judgement::fail(evidence(secret))))
        .collect()
}

/// What it is and in which line: nothing of the secret itself.
fn evidence(secret: &Secret) -> String {
    let what = match secret.kind {
        Kind::Known(rule) => format!("{} ({})", rule.what, rule.id),
        Kind::Credentials(what) => what.to_owned(),
        Kind::Settings => "values that look secret".to_owned(),
        Kind::Variable => "a value that looks like a password".to_owned(),
        Kind::Stored => "a value that the vault stores".to_owned(),
    };
    let line = secret.line.map(|line| format!(", line {line}")).unwrap_or_default();
    let gone = secret.gone_in.map(|layer| format!("; layer {layer} hides it, and it is pulled all the same")).unwrap_or_default();
    format!("{what}{line}{gone}")
}
