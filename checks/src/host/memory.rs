//! Where memory may be written to: swap, hibernation, core files.

use super::{
    HostCheck, Judge, each,
    facts::{Fact, HostFacts, List, Storage},
};
use crate::{Check, Judgement, Severity, Tier};

const STATE: &str = "/sys/power/state";
const RESUME: &str = "/sys/power/resume";
const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";

pub(super) static CHECKS: &[HostCheck] = &[
    HostCheck {
        check: Check {
            id: "HST-01",
            title: "no memory is swapped to a disk that is not encrypted",
            severity: Severity::High,
            tier: Tier::Gate,
            benchmarks: &["NIST-800-190 4.4.3"],
            why: "The kernel writes secrets from memory to the disk, where they stay when the pod and the machine are gone.",
            remedy: "swapoff -a and take it out of /etc/fstab, or swap to a device of dm-crypt or to zram",
        },
        judge: Judge::Each(swaps),
    },
    HostCheck {
        check: Check {
            id: "HST-03",
            title: "memory is not written to a disk by hibernation",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &["NIST-800-190 4.4.3"],
            why: "A machine that hibernates writes all of its memory to its swap.",
            remedy: "mask systemd's hibernate.target and hybrid-sleep.target, and take resume= off the kernel's command line",
        },
        judge: Judge::One(hibernation),
    },
    HostCheck {
        check: Check {
            id: "HST-05",
            title: "memory of containers is not written to core files",
            severity: Severity::High,
            tier: Tier::OptIn,
            benchmarks: &[],
            why: "A program that crashes leaves its memory, with its secrets, in a file of the host or with a program that collects them.",
            remedy: "kernel.core_pattern=|/bin/false, or LimitCORE=0 in the runtime's unit",
        },
        judge: Judge::One(core_files),
    },
];

/// Whether any memory may be written to a disk as it is.
pub(super) fn swaps_in_plain(facts: &HostFacts) -> Fact<bool> {
    match &facts.swaps {
        Fact::Known(swaps) if swaps.iter().any(|swap| matches!(swap.storage, Fact::Known(Storage::Plain | Storage::Verity))) => {
            Fact::Known(true)
        }
        Fact::Known(swaps) => match swaps.iter().find(|swap| swap.storage.known().is_none()) {
            Some(swap) => Fact::unknown(format!("it is not known what {} lies on", swap.name)),
            None => Fact::Known(false),
        },
        Fact::Absent => Fact::unknown("no list of swaps is there"),
        Fact::Unknown(why) => Fact::Unknown(why.clone()),
    }
}

fn swaps(facts: &HostFacts) -> Vec<(String, Judgement)> {
    if facts.swaps.known().is_some_and(List::is_empty) {
        return vec![(String::new(), Judgement::pass("nothing is swapped to"))];
    }
    each(&facts.swaps, Judgement::unknown("no list of swaps is there"), |swap| {
        let judgement = match &swap.storage {
            Fact::Known(Storage::Encrypted) => Judgement::pass("the device is encrypted"),
            Fact::Known(Storage::Memory) => Judgement::pass("it is in memory"),
            Fact::Known(Storage::Plain | Storage::Verity) => Judgement::fail("the device is not encrypted"),
            Fact::Absent => Judgement::unknown("its device is not seen"),
            Fact::Unknown(why) => Judgement::unknown(why.as_str()),
        };
        (swap.name.to_string(), judgement)
    })
}

fn hibernation(facts: &HostFacts) -> Judgement {
    // A kernel that cannot sleep has neither file, if /sys is there at all.
    let absent = match facts.values.of(STATE) {
        Fact::Known(_) => Judgement::pass(format!("there is no {RESUME}")),
        Fact::Absent | Fact::Unknown(_) => Judgement::unknown(format!("there is neither {STATE} nor {RESUME}")),
    };
    facts.values.of(RESUME).judged(absent, |resume| match (facts.values.of(STATE), resume.as_str()) {
        (_, "0:0") => Judgement::pass(format!("{RESUME} is 0:0")),
        (Fact::Known(state), resume) if state.as_str().split_whitespace().any(|way| way == "disk") => {
            match swaps_in_plain(facts) {
                Fact::Known(false) => Judgement::pass(format!("{RESUME} is {resume}, and nothing is swapped to a disk in plain")),
                _ => Judgement::fail(format!("{STATE} has disk, and {RESUME} is {resume}")),
            }
        }
        (Fact::Known(state), _) => Judgement::pass(format!("{STATE} is {state}")),
        (Fact::Absent | Fact::Unknown(_), _) => Judgement::unknown(format!("{STATE} cannot be read")),
    })
}

fn core_files(facts: &HostFacts) -> Judgement {
    facts.values.of(CORE_PATTERN).judged(Judgement::unknown(format!("there is no {CORE_PATTERN}")), |pattern| {
        let pattern = pattern.as_str();
        if let Some(program) = pattern.strip_prefix('|') {
            // Limits do not hold for programs.
            return match program.split_whitespace().next() {
                Some("/bin/false" | "/bin/true" | "/usr/bin/false" | "/usr/bin/true") => {
                    Judgement::pass(format!("{CORE_PATTERN} is {pattern}, which keeps nothing"))
                }
                _ => Judgement::fail(format!("{CORE_PATTERN} is {pattern}: a program is given the memory of what crashes")),
            };
        }
        match &facts.runtimes {
            Fact::Known(runtimes) if !runtimes.is_empty() => {
                let limit = runtimes.iter().find(|runtime| runtime.core_limit.known().is_none_or(|limit| limit.as_str() != "0"));
                match limit.map(|runtime| (&runtime.name, &runtime.core_limit)) {
                    None => Judgement::pass("the runtimes may write no core file"),
                    Some((name, Fact::Known(limit))) => Judgement::fail(format!(
                        "{CORE_PATTERN} is {pattern}, and what {name} starts may write core files ({limit})"
                    )),
                    Some((name, _)) => Judgement::unknown(format!("the limits of {name} are not known")),
                }
            }
            Fact::Known(_) | Fact::Absent => Judgement::not_applicable("no container runtime is seen"),
            Fact::Unknown(why) => Judgement::unknown(why.as_str()),
        }
    })
}
