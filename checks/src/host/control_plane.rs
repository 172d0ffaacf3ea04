//! Whom the control plane believes, and how it keeps Secrets. About nothing where it runs elsewhere, as a provider's does.

use super::{
    HostCheck, Judge, each,
    facts::{ApiServer, AuditRule, Etcd, Fact, List, Text},
};
use crate::{Check, Judgement, Severity, Tier};

macro_rules! of_api_server {
    ($id:literal, $severity:ident, $tier:ident, [$($benchmark:literal),*], $judge:ident, $title:literal, $why:literal, $remedy:literal) => {
        HostCheck {
            check: row!($id, $severity, $tier, [$($benchmark),*], $title, $why, $remedy),
            judge: Judge::Each(|facts| each(&facts.api_servers, Judgement::not_applicable("no API server runs here"), |server| (String::new(), $judge(server)))),
        }
    };
}

#[rustfmt::skip]
pub(super) static CHECKS: &[HostCheck] = &[
    of_api_server!("HST-85", Critical, OptIn,
        ["CIS-Kubernetes-1.10 1.2.1", "CIS-Kubernetes-1.10 1.2.2", "CIS-Kubernetes-1.10 1.2.6", "CIS-Kubernetes-1.10 1.2.7", "CIS-Kubernetes-1.10 1.2.8"],
        authorization,
        "the API server knows who asks, and asks whether they may",
        "Without it anybody who reaches the API server reads Secrets and makes pods that ask for them.",
        "--authorization-mode=Node,RBAC, --anonymous-auth=false (or an AuthenticationConfiguration that limits it), no --token-auth-file"),
    of_api_server!("HST-86", High, Gate, ["CIS-Kubernetes-1.10 1.2.14"], node_restriction,
        "a node's kubelet can speak for its own pods alone",
        "Whoever has one node asks for tokens of the pods of every other, and with them for their secrets.",
        "--enable-admission-plugins=NodeRestriction on the API server, with Node among --authorization-mode"),
    of_api_server!("HST-87", High, OptIn, ["CIS-Kubernetes-1.10 1.2.27", "CIS-Kubernetes-1.10 1.2.28"], encryption,
        "Secrets of Kubernetes are encrypted in etcd",
        "Whoever has etcd's disk or a backup of it reads them.",
        "--encryption-provider-config with kms or secretbox first for secrets, and identity not first"),
    of_api_server!("HST-88", Medium, OptIn,
        ["CIS-Kubernetes-1.10 1.2.16", "CIS-Kubernetes-1.10 3.2.1", "CIS-Kubernetes-1.10 3.2.2"],
        audit,
        "the API server keeps an audit log, without what is in Secrets",
        "Without a log nobody sees who read a Secret; with bodies in it, whoever reads the log has them.",
        "--audit-policy-file whose first rule for secrets has the level Metadata"),
    of_api_server!("HST-91", Low, Advisory, ["CIS-Kubernetes-1.10 1.2.15"], profiling,
        "the API server cannot be profiled",
        "Profiles tell of its memory.",
        "--profiling=false"),
    HostCheck {
        check: Check {
            id: "HST-89",
            title: "etcd believes nobody without a certificate",
            severity: Severity::Critical,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Kubernetes-1.10 2.1", "CIS-Kubernetes-1.10 2.2", "CIS-Kubernetes-1.10 2.3", "CIS-Kubernetes-1.10 2.4", "CIS-Kubernetes-1.10 2.5", "CIS-Kubernetes-1.10 2.6"],
            why: "Whoever reaches its port reads every Secret, and writes whom the API server believes.",
            remedy: "--cert-file, --key-file, --trusted-ca-file, --client-cert-auth and the same with peer-; no --auto-tls",
        },
        judge: Judge::Each(|facts| each(&facts.etcds, Judgement::not_applicable("no etcd runs here"), |etcd| (etcd.data_dir.to_string(), etcd_tls(etcd)))),
    },
];

fn has(list: &List<Text>, name: &str) -> bool {
    list.iter().any(|entry| entry.as_str() == name)
}

fn names(list: &List<Text>) -> String {
    list.iter().map(Text::as_str).collect::<Vec<_>>().join(",")
}

fn authorization(server: &ApiServer) -> Judgement {
    if server.has_token_file {
        return Judgement::fail("--token-auth-file is set");
    }
    let modes =
        server.authorization.judged(Judgement::fail("--authorization-mode is not set, which means AlwaysAllow"), |modes| {
            let told = format!("the modes of authorization are {}", names(modes));
            let holds = !has(modes, "AlwaysAllow") && has(modes, "Node") && has(modes, "RBAC");
            if holds { Judgement::pass(told) } else { Judgement::fail(told) }
        });
    if modes.status != crate::Status::Pass {
        return modes;
    }
    server.anonymous.judged(Judgement::unknown("--anonymous-auth is not known"), |anonymous| match anonymous {
        false => Judgement::pass(format!("{}, and nobody is anonymous", modes.evidence)),
        true => Judgement::fail(format!("{}, but who does not say who they are is answered", modes.evidence)),
    })
}

fn node_restriction(server: &ApiServer) -> Judgement {
    const PLUGIN: &str = "NodeRestriction";
    if has(&server.admission_disabled, PLUGIN) {
        return Judgement::fail(format!("--disable-admission-plugins has {PLUGIN}"));
    }
    if !has(&server.admission_enabled, PLUGIN) {
        return Judgement::fail(format!("--enable-admission-plugins does not have {PLUGIN}"));
    }
    // The plugin alone keeps a node from changing others; what it reads is for the authorizer.
    server.authorization.judged(Judgement::fail("--authorization-mode is not set, which means AlwaysAllow"), |modes| {
        match (has(modes, "Node"), has(modes, "AlwaysAllow")) {
            (true, false) => Judgement::pass(format!("{PLUGIN} is on, and the modes of authorization are {}", names(modes))),
            _ => Judgement::fail(format!("{PLUGIN} is on, but the modes of authorization are {}", names(modes))),
        }
    })
}

fn encryption(server: &ApiServer) -> Judgement {
    server.encryption.judged(Judgement::fail("nothing encrypts Secrets"), |providers| {
        let told = format!("the providers for secrets are {}", names(providers));
        match providers.iter().next().map(Text::as_str) {
            Some("identity") | None => Judgement::fail(told),
            Some("aescbc" | "aesgcm" | "secretbox" | "kms") => Judgement::pass(told),
            Some(_) => Judgement::unknown(told),
        }
    })
}

fn audit(server: &ApiServer) -> Judgement {
    server.audit.judged(Judgement::fail("there is no audit policy"), |rules: &List<AuditRule>| {
        for (number, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.may_match) {
            let number = number + 1;
            match rule.level.as_str() {
                "None" | "Metadata" if rule.matches_all => {
                    return Judgement::pass(format!("rule {number} has {} for all of secrets", rule.level));
                }
                "None" | "Metadata" => {}
                "Request" | "RequestResponse" => {
                    return Judgement::fail(format!("rule {number} has {} for secrets", rule.level));
                }
                other => return Judgement::unknown(format!("rule {number} has the level {other}")),
            }
        }
        Judgement::pass("no rule has the bodies of secrets")
    })
}

fn profiling(server: &ApiServer) -> Judgement {
    server.profiling.judged(Judgement::unknown("--profiling is not known"), |is_on| match is_on {
        false => Judgement::pass("--profiling is false"),
        true => Judgement::fail("--profiling is on"),
    })
}

fn etcd_tls(etcd: &Etcd) -> Judgement {
    let wanted = [
        ("clients come by TLS", &etcd.client_tls, true),
        ("clients show a certificate (--client-cert-auth)", &etcd.client_auth, true),
        ("peers come by TLS and show a certificate (--peer-client-cert-auth)", &etcd.peer_auth, true),
        ("it makes its certificates itself (--auto-tls)", &etcd.auto_tls, false),
    ];
    if let Some((what, _, wanted)) = wanted.iter().find(|(_, fact, wanted)| fact.known().is_some_and(|value| value != wanted)) {
        return Judgement::fail(match wanted {
            true => format!("not so: {what}"),
            false => (*what).to_owned(),
        });
    }
    match wanted.iter().find_map(|(what, fact, _)| match fact {
        Fact::Known(_) => None,
        Fact::Absent => Some(format!("it is not known whether {what}")),
        Fact::Unknown(why) => Some(why.to_string()),
    }) {
        Some(why) => Judgement::unknown(why),
        None => Judgement::pass("clients and peers come by TLS, and show certificates"),
    }
}
