//! Texts of policies: what passes the check can be used, decides the same as plain Cedar, and gives nobody the vault itself.

use coffer_core::{
    action::Action,
    clock::Timestamp,
    limits::{FINDING_CHARS_MAX, FINDINGS_MAX},
    policy::{Caller, Context, ImageFacts, PodSecurity, Policies, Query, Resource},
    principal::Name,
};

pub(crate) const WORDS: &[&str] = &[
    "permit",
    "forbid",
    "(principal, action, resource)",
    "when {",
    "unless {",
    "};",
    "principal",
    "resource",
    "action",
    "context",
    " == ",
    " in ",
    " has ",
    " like ",
    " && ",
    " || ",
    "!",
    "if true then ",
    " else ",
    "Workload::\"test/shop/api\"",
    "Action::\"read\"",
    "Action::\"seal\"",
    "Path::\"kv/prod/db\"",
    "Role::\"admin\"",
    "Folder::\"kv\"",
    ".image.verdict",
    ".pod.name",
    "System::\"system\"",
    "?principal",
    "@id(\"a\")",
    ".contains(",
    "[",
    "]",
    "ip(\"10.0.0.1\")",
    "9223372036854775807",
    "-",
    "//",
    "\"",
    "\\u{0}",
    "*",
];

pub(crate) fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let findings = Policies::lint(text);
    assert!(findings.len() <= FINDINGS_MAX);
    let lines = u32::try_from(text.lines().count()).unwrap_or(u32::MAX);
    for finding in &findings {
        assert!(finding.message.chars().count() <= FINDING_CHARS_MAX, "{}", finding.message);
        assert!(finding.line <= lines.saturating_add(1), "line {} of {lines}", finding.line);
    }
    let name: Name = "fuzz".parse().expect("a good name");
    let compiled = Policies::compile(1, [], [(name, text.to_owned())]);
    let good = findings.iter().all(|finding| !finding.error);
    assert_eq!(good, compiled.is_ok(), "the check and the use of a text differ: {findings:?}");
    if let Ok(policies) = compiled {
        decides(&policies);
    }
}

fn decides(policies: &Policies) {
    for principal in ["k8s:test/shop/api", "operator:ada"] {
        let caller = Caller { principal: principal.parse().expect("a good principal"), roles: Vec::new() };
        for path in ["kv/prod/db", "kv"] {
            let resource = Resource::Path(path.parse().expect("a good path"));
            for action in [Action::Read, Action::Write] {
                let context = context();
                let query = Query { caller: &caller, action, resource: &resource, context: &context };
                assert_eq!(policies.decide(&query), policies.decide_plain(&query), "{principal} {action:?} {path}");
            }
        }
        let (resource, context) = (Resource::System, context());
        for action in [Action::Seal, Action::OperatorsManage, Action::PolicyManage] {
            let query = Query { caller: &caller, action, resource: &resource, context: &context };
            assert!(!policies.decide(&query).permitted, "a text gives {principal} {action:?}");
        }
    }
}

fn context() -> Context {
    Context {
        now: Timestamp::from_secs(1_700_000_000),
        tenant: "default".to_owned(),
        seal: "shamir".to_owned(),
        pod: None,
        image: ImageFacts::default(),
        host: None,
        workload: PodSecurity::Unknown,
        until: None,
    }
}
