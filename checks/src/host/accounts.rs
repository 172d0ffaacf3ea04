//! Who can log in to the host, and its clock.

use super::{
    HostCheck, Judge,
    facts::{Fact, HostFacts, List, Text},
};
use crate::{Check, Judgement, Severity, Tier};

pub(super) static CHECKS: &[HostCheck] = &[
    HostCheck {
        check: Check {
            id: "HST-46",
            title: "root is the only superuser, and everybody needs a password",
            severity: Severity::High,
            tier: Tier::OptIn,
            benchmarks: &["NIST-800-190 4.5.4"],
            why: "Another name with the user id 0, or without a password, is a way in that nobody looks at.",
            remedy: "userdel the account, or passwd -l it",
        },
        judge: Judge::One(accounts),
    },
    HostCheck {
        check: Check {
            id: "HST-47",
            title: "nobody is root by way of the group docker",
            severity: Severity::High,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Docker-1.6.0 1.1.2"],
            why: "Whoever reaches Docker's socket starts a container with the host's root in it.",
            remedy: "gpasswd -d USER docker",
        },
        judge: Judge::One(docker_group),
    },
];

fn names(list: &List<Text>) -> String {
    list.iter().map(Text::as_str).collect::<Vec<_>>().join(", ")
}

fn accounts(facts: &HostFacts) -> Judgement {
    let no_file = |name| Judgement::unknown(format!("there is no {name}"));
    let accounts = &facts.accounts;
    let superusers = accounts.superusers.judged(no_file("/etc/passwd"), |list| {
        match list.iter().filter(|name| name.as_str() != "root").count() {
            0 => Judgement::pass("root is the only one"),
            _ => Judgement::fail(format!("with the user id 0: {}", names(list))),
        }
    });
    let open = accounts.open.judged(no_file("/etc/shadow"), |list| match list.is_empty() {
        true => Judgement::pass("root is the only superuser, and nobody is without a password"),
        false => Judgement::fail(format!("without a password: {}", names(list))),
    });
    // What fails is told before what is unknown, and that before what passes.
    if (superusers.status, 0) <= (open.status, 1) && superusers.status != crate::Status::Pass { superusers } else { open }
}

fn docker_group(facts: &HostFacts) -> Judgement {
    match &facts.accounts.docker_members {
        Fact::Absent => Judgement::not_applicable("there is no group docker"),
        Fact::Unknown(why) => Judgement::unknown(why.as_str()),
        Fact::Known(members) if members.is_empty() => Judgement::pass("the group docker has no members"),
        Fact::Known(members) => Judgement::fail(format!("in the group docker: {}", names(members))),
    }
}
