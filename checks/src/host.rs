//! A host: what is known of it, and what is found in that.
//!
//! [`HostFacts::gather`] reads files and nothing else; [`judge`] reads nothing. The families of checks are tables beside this file.

/// A check, from a row of a table that has many alike.
macro_rules! row {
    ($id:literal, $severity:ident, $tier:ident, [$($benchmark:literal),*], $title:literal, $why:literal, $remedy:literal) => {
        $crate::Check {
            id: $id,
            title: $title,
            severity: $crate::Severity::$severity,
            tier: $crate::Tier::$tier,
            benchmarks: &[$($benchmark),*],
            why: $why,
            remedy: $remedy,
        }
    };
}

pub mod facts;

mod accounts;
mod control_plane;
mod files;
mod gather;
mod kernel;
mod kubelet;
mod memory;
mod mounts;
mod posture;
mod root;
mod runtime;

pub use facts::{FACT_LIST_MAX, FACT_TEXT_BYTES_MAX, FACTS_VERSION, Fact, HostFacts};
pub use posture::{FACTS_BYTES_MAX, signed_bytes};
pub use root::{FOLDER_NAMES_MAX, Root};

use crate::{Check, Finding, Judgement, Report};

/// What a check is looked at with: nothing but facts.
#[derive(Debug, Clone, Copy)]
enum Judge {
    /// A small file of the kernel, and what must be in it.
    Value(&'static str, Wanted),
    /// Something about the host as a whole.
    One(fn(&HostFacts) -> Judgement),
    /// Something about each of a kind: what it is, and how it came out. Where there is none, the check is about nothing here.
    Each(fn(&HostFacts) -> Vec<(String, Judgement)>),
}

/// What must be in a small file.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A number, at least.
    AtLeast(i64),
}

#[derive(Debug)]
struct HostCheck {
    check: Check,
    judge: Judge,
}

fn table() -> impl Iterator<Item = &'static HostCheck> {
    [
        kernel::CHECKS,
        memory::CHECKS,
        mounts::CHECKS,
        accounts::CHECKS,
        runtime::CHECKS,
        kubelet::CHECKS,
        files::CHECKS,
        control_plane::CHECKS,
    ]
    .into_iter()
    .flatten()
}

/// The checks of a host.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    table().map(|entry| &entry.check)
}

/// What is found in facts. Facts of a version that is not this one's are judged to be unknown.
#[must_use]
pub fn judge(target: &str, facts: &HostFacts) -> Report {
    let mut findings = Vec::new();
    for entry in table() {
        if facts.version != FACTS_VERSION {
            let why = format!("facts have version {}, and these checks are for {FACTS_VERSION}", facts.version);
            findings.push(Finding::new(&entry.check, Judgement::unknown(why)));
            continue;
        }
        match entry.judge {
            Judge::Value(path, wanted) => findings.push(Finding::new(&entry.check, wanted.judged(path, facts))),
            Judge::One(judge) => findings.push(Finding::new(&entry.check, judge(facts))),
            Judge::Each(judge) => {
                let found = judge(facts);
                if found.is_empty() {
                    findings.push(Finding::new(&entry.check, Judgement::not_applicable("there is nothing of the kind here")));
                }
                findings.extend(found.into_iter().map(|(subject, judgement)| Finding::about(&entry.check, subject, judgement)));
            }
        }
    }
    Report::new(target, findings)
}

impl Wanted {
    fn judged(self, path: &str, facts: &HostFacts) -> Judgement {
        // That the kernel has no such setting says nothing about what it does.
        let absent = Judgement::unknown(format!("there is no {path}"));
        facts.values.of(path).judged(absent, |value| {
            let value = value.as_str();
            let (holds, wanted) = match self {
                Self::OneOf(good) => (Some(good.contains(&value)), good.join(" or ")),
                Self::AtLeast(least) => (value.parse::<i64>().ok().map(|value| value >= least), format!("at least {least}")),
            };
            match holds {
                Some(true) => Judgement::pass(format!("{path} is {value}")),
                Some(false) => Judgement::fail(format!("{path} is {value}, not {wanted}")),
                None => Judgement::unknown(format!("{path} is {value}, which is no number")),
            }
        })
    }
}

/// The judgement of one thing among those that are listed as known; what the list's own state means where it is not.
fn each<T>(
    list: &Fact<facts::List<T>>,
    absent: Judgement,
    judge: impl Fn(&T) -> (String, Judgement),
) -> Vec<(String, Judgement)> {
    match list {
        Fact::Known(list) => list.iter().map(judge).collect(),
        Fact::Absent => vec![(String::new(), absent)],
        Fact::Unknown(why) => vec![(String::new(), Judgement::unknown(why.as_str()))],
    }
}

#[cfg(test)]
mod tests;
