//! What the kernel lets processes do to each other.

use super::{HostCheck, Judge, Wanted, facts::HostFacts};
use crate::{Check, Judgement, Severity, Tier};

/// A row about one setting of the kernel.
macro_rules! setting {
    ($id:literal, $severity:ident, $tier:ident, $path:literal, $wanted:expr, $title:literal, [$($benchmark:literal),*], $why:literal, $remedy:literal) => {
        HostCheck {
            check: row!($id, $severity, $tier, [$($benchmark),*], $title, $why, $remedy),
            judge: Judge::Value($path, $wanted),
        }
    };
}

pub(super) const TAINTED: &str = "/proc/sys/kernel/tainted";
pub(super) const LSM: &str = "/sys/kernel/security/lsm";
pub(super) const SECCOMP: &str = "/proc/sys/kernel/seccomp/actions_avail";
pub(super) const SELINUX: &str = "/sys/fs/selinux/enforce";

#[rustfmt::skip]
pub(super) static CHECKS: &[HostCheck] = &[
    setting!("HST-06", Medium, Gate, "/proc/sys/fs/suid_dumpable", Wanted::OneOf(&["0"]),
        "programs that change their user leave no core file", [],
        "The memory of a program that became root, with its secrets, is written to a file.",
        "sysctl -w fs.suid_dumpable=0, and in a file of /etc/sysctl.d"),
    setting!("HST-07", High, OptIn, "/proc/sys/kernel/yama/ptrace_scope", Wanted::AtLeast(1),
        "processes cannot read the memory of those beside them", [],
        "A process of the same user reads a secret out of another's memory.",
        "sysctl -w kernel.yama.ptrace_scope=1, and in a file of /etc/sysctl.d; the kernel needs Yama"),
    setting!("HST-08", Medium, OptIn, "/sys/kernel/mm/ksm/run", Wanted::OneOf(&["0"]),
        "equal pages of memory are not merged", ["NIST-800-190 4.5.2"],
        "How long a write takes tells a process that another has a page that it has guessed.",
        "echo 2 > /sys/kernel/mm/ksm/run, which also separates what is merged, then 0; switch off what turns it on"),
    setting!("HST-09", Medium, Advisory, "/proc/sys/kernel/kexec_load_disabled", Wanted::OneOf(&["1"]),
        "no other kernel can be started in the place of this one", [],
        "Whoever is root starts a kernel that keeps memory as it is, and reads it.",
        "sysctl -w kernel.kexec_load_disabled=1 (until the next start)"),
    setting!("HST-11", Low, Advisory, "/proc/sys/kernel/kptr_restrict", Wanted::AtLeast(1),
        "addresses in the kernel are not told", [],
        "An attack on the kernel needs them.",
        "sysctl -w kernel.kptr_restrict=1"),
    setting!("HST-12", Low, Advisory, "/proc/sys/kernel/dmesg_restrict", Wanted::OneOf(&["1"]),
        "the kernel's log is for root", [],
        "It has addresses in the kernel, and parts of what processes did.",
        "sysctl -w kernel.dmesg_restrict=1"),
    setting!("HST-13", Medium, Advisory, "/proc/sys/kernel/perf_event_paranoid", Wanted::AtLeast(2),
        "performance counters of the kernel are for root", [],
        "Counters tell what code with a key does.",
        "sysctl -w kernel.perf_event_paranoid=2"),
    setting!("HST-14", High, OptIn, "/proc/sys/kernel/unprivileged_bpf_disabled", Wanted::OneOf(&["1", "2"]),
        "programs in the kernel (BPF) are for root", [],
        "Faults of the BPF verifier have given any user the kernel's memory.",
        "sysctl -w kernel.unprivileged_bpf_disabled=1"),
    setting!("HST-15", Low, Advisory, "/proc/sys/net/core/bpf_jit_harden", Wanted::OneOf(&["2"]),
        "code that is made of BPF programs is hardened", [],
        "Constants in a BPF program become code of the attacker's in the kernel.",
        "sysctl -w net.core.bpf_jit_harden=2"),
    setting!("HST-16", High, Gate, "/proc/sys/kernel/randomize_va_space", Wanted::OneOf(&["2"]),
        "addresses in processes are random", [],
        "A fault in any program that holds secrets can be used at known addresses.",
        "sysctl -w kernel.randomize_va_space=2, and look for what switches it off"),
    setting!("HST-17", Low, Advisory, "/proc/sys/vm/mmap_min_addr", Wanted::AtLeast(65_536),
        "the lowest addresses cannot be mapped", [],
        "A null pointer in the kernel leads to memory of the attacker's.",
        "sysctl -w vm.mmap_min_addr=65536"),
    setting!("HST-18", Medium, Advisory, "/proc/sys/kernel/io_uring_disabled", Wanted::AtLeast(1),
        "io_uring is restricted", [],
        "Many faults of the kernel were reached by io_uring, which seccomp does not see into.",
        "sysctl -w kernel.io_uring_disabled=1"),
    setting!("HST-19", Medium, Advisory, "/proc/sys/vm/unprivileged_userfaultfd", Wanted::OneOf(&["0"]),
        "userfaultfd is for root", [],
        "It makes races in the kernel easy to win.",
        "sysctl -w vm.unprivileged_userfaultfd=0"),
    setting!("HST-20", Low, Advisory, "/proc/sys/kernel/sysrq", Wanted::OneOf(&["0"]),
        "the keyboard has no way into the kernel", [],
        "Whoever is at the console dumps memory and registers.",
        "sysctl -w kernel.sysrq=0"),
    setting!("HST-21", Low, Advisory, "/proc/sys/dev/tty/ldisc_autoload", Wanted::OneOf(&["0"]),
        "line disciplines are not loaded for anybody", [],
        "Old, little used code of the kernel is in reach.",
        "sysctl -w dev.tty.ldisc_autoload=0"),
    HostCheck {
        check: Check {
            id: "HST-22",
            title: "links in shared folders are followed for their owners alone",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &[],
            why: "A program that writes into /tmp is led to a file of somebody else's.",
            remedy: "sysctl -w fs.protected_symlinks=1 fs.protected_hardlinks=1, and in a file of /etc/sysctl.d",
        },
        judge: Judge::Each(protected_links),
    },
    HostCheck {
        check: Check {
            id: "HST-25",
            title: "the kernel has no module that was forced, unsigned or built elsewhere",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &["NIST-800-190 4.5.5"],
            why: "Such a module can read all memory, and nobody has vouched for it.",
            remedy: "look in dmesg for `taints kernel`, remove the module and start the machine anew",
        },
        judge: Judge::One(tainted),
    },
    HostCheck {
        check: Check {
            id: "HST-29",
            title: "AppArmor or SELinux is active",
            severity: Severity::High,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Docker-1.6.0 5.2", "CIS-Docker-1.6.0 5.3", "NIST-800-190 4.4.3"],
            why: "Without one, a process that leaves its container has everything that its user has.",
            remedy: "start the kernel with lsm=...,apparmor (or selinux) and install its profiles",
        },
        judge: Judge::One(security_module),
    },
    HostCheck {
        check: Check {
            id: "HST-31",
            title: "SELinux enforces, where it is there",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Docker-1.6.0 5.3"],
            why: "A policy that is only logged keeps nobody out.",
            remedy: "setenforce 1, and SELINUX=enforcing in /etc/selinux/config",
        },
        judge: Judge::One(selinux),
    },
    HostCheck {
        check: Check {
            id: "HST-32",
            title: "the kernel can filter system calls",
            severity: Severity::High,
            tier: Tier::Gate,
            benchmarks: &["CIS-Docker-1.6.0 5.22"],
            why: "Without seccomp every container reaches every system call, and each fault of the kernel behind them.",
            remedy: "use a kernel with CONFIG_SECCOMP_FILTER",
        },
        judge: Judge::One(seccomp),
    },
];

fn protected_links(facts: &HostFacts) -> Vec<(String, Judgement)> {
    ["/proc/sys/fs/protected_symlinks", "/proc/sys/fs/protected_hardlinks"]
        .map(|path| (path.to_owned(), Wanted::OneOf(&["1"]).judged(path, facts)))
        .into()
}

fn tainted(facts: &HostFacts) -> Judgement {
    facts.values.of(TAINTED).judged(Judgement::unknown(format!("there is no {TAINTED}")), |value| {
        let Ok(bits) = value.as_str().parse::<u64>() else {
            return Judgement::unknown(format!("{TAINTED} is {value}, which is no number"));
        };
        let words = [(1, "a module was forced"), (12, "a module was built elsewhere"), (13, "a module is not signed")];
        let found: Vec<_> = words.into_iter().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, word)| word).collect();
        match found.is_empty() {
            true => Judgement::pass(format!("{TAINTED} is {value}")),
            false => Judgement::fail(format!("{TAINTED} is {value}: {}", found.join(", "))),
        }
    })
}

fn security_module(facts: &HostFacts) -> Judgement {
    // securityfs may not be mounted, which says nothing about the kernel.
    facts.values.of(LSM).judged(Judgement::unknown(format!("there is no {LSM}: is securityfs mounted?")), |value| {
        match value.as_str().split(',').find(|name| matches!(*name, "apparmor" | "selinux")) {
            Some(name) => Judgement::pass(format!("{LSM} has {name}")),
            None => Judgement::fail(format!("{LSM} is {value}")),
        }
    })
}

fn selinux(facts: &HostFacts) -> Judgement {
    let absent = match facts.values.of(LSM).known() {
        Some(value) if value.as_str().split(',').any(|name| name == "selinux") => {
            Judgement::unknown(format!("{LSM} has selinux, and there is no {SELINUX}"))
        }
        Some(_) => Judgement::not_applicable("the kernel has no SELinux"),
        None => Judgement::unknown(format!("there is neither {SELINUX} nor {LSM}")),
    };
    facts.values.of(SELINUX).judged(absent, |_| Wanted::OneOf(&["1"]).judged(SELINUX, facts))
}

fn seccomp(facts: &HostFacts) -> Judgement {
    facts.values.of(SECCOMP).judged(Judgement::unknown(format!("there is no {SECCOMP}")), |value| {
        match ["errno", "kill_process"].iter().all(|action| value.as_str().split_whitespace().any(|has| has == *action)) {
            true => Judgement::pass(format!("{SECCOMP} has errno and kill_process")),
            false => Judgement::fail(format!("{SECCOMP} is {value}")),
        }
    })
}

/// Paths of small files that these checks, and the others' that look at one, read.
pub(super) fn values() -> impl Iterator<Item = &'static str> {
    let named = super::table().filter_map(|entry| match entry.judge {
        Judge::Value(path, _) => Some(path),
        Judge::One(_) | Judge::Each(_) => None,
    });
    named.chain([
        TAINTED,
        LSM,
        SECCOMP,
        SELINUX,
        "/proc/sys/fs/protected_symlinks",
        "/proc/sys/fs/protected_hardlinks",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/random/boot_id",
        "/proc/sys/kernel/osrelease",
        "/proc/sys/kernel/hostname",
        "/etc/hostname",
        "/sys/power/resume",
        "/sys/power/state",
        "/sys/fs/cgroup/cgroup.controllers",
    ])
}
