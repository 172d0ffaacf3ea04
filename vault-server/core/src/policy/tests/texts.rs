use super::*;
use crate::limits::{FINDINGS_MAX, POLICY_BYTES_MAX};

const API: &str = "k8s:prod/payments/api";
const ALL: &str = "permit (principal, action, resource);";

fn errors(text: &str) -> Vec<(u32, String)> {
    Policies::lint(text).into_iter().filter(|finding| finding.error).map(|finding| (finding.line, finding.message)).collect()
}

#[test]
fn what_does_not_fit_the_schema_is_refused_with_its_line() {
    for (text, line, message) in [
        ("", 0, "there is no policy in it"),
        ("permit (principal,", 1, "unexpected end of input"),
        ("permit (principal, action, resource)\nwhen { context.nodes };", 2, "attribute `nodes` in context not found"),
        ("permit (principal, action, resource)\nwhen {\n context.tenant == 3 };", 3, "Long and String are not compatible"),
        ("permit (principal, action, resource) when { context.tenant };", 1, "expected Bool but saw String"),
        ("permit (principal == User::\"x\", action, resource);", 1, "unrecognized entity type `User`"),
        ("permit (principal,\naction == Action::\"rea\", resource);", 2, "did you mean `Action::\"read\"`?"),
        ("permit (principal in ?principal, action, resource);", 0, "templates are for grants"),
        ("permit (principal in Path::\"kv\", action, resource);", 1, "policy is impossible"),
        ("forbid (principal, action, resource)\nwhen { context.image.verdict == ImageVerdict::\"pased\" };", 2, "\"pased\""),
        ("forbid (principal, action, resource) when { if };", 1, "unexpected token"),
    ] {
        let found = errors(text);
        assert!(found.iter().any(|(at, what)| *at == line && what.contains(message)), "{text}: {found:?}");
        assert!(found.iter().all(|(_, what)| !what.contains("policy0")), "{text}: {found:?}");
        let compiled = Policies::compile(1, [], [("a".parse().unwrap(), text.to_owned())]);
        assert!(matches!(compiled, Err(PolicyError::Invalid { .. })), "{text}");
    }
}

#[test]
fn names_that_nothing_can_have_are_refused() {
    for name in [
        "Path::\"kv/\"",
        "Path::\"/kv\"",
        "Path::\"kv/../a\"",
        "Path::\"kv/**\"",
        "Path::\"\"",
        "Folder::\"kv//a\"",
        "Folder::\"kv/e\u{301}\"",
    ] {
        let text = format!("forbid (principal, action,\nresource in {name});");
        assert!(errors(&text).iter().any(|(_, what)| what.contains("never matches")), "{text}");
    }
    for name in [
        "Workload::\"prod/payments\"",
        "Workload::\"prod/payments/*\"",
        "Namespace::\"payments\"",
        "Namespace::\"prod/a/b\"",
        "Cluster::\"prod/a\"",
        "Operator::\"Alice\"",
        "Role::\"root\"",
    ] {
        let text = format!("forbid (principal, action, resource)\nwhen {{ principal in {name} }};");
        assert_eq!(errors(&text).first().map(|(line, what)| (*line, what.contains("never matches"))), Some((2, true)), "{text}");
    }
}

#[test]
fn what_only_roles_decide_cannot_be_named() {
    let actions = Action::ALL.iter().filter(|action| !action.on_path()).map(|action| format!("action == Action::\"{action}\""));
    let others = ["action in [Action::\"read\", Action::\"seal\"]".to_owned()];
    for action in actions.chain(others) {
        let found = errors(&format!("permit (principal, {action}, resource);"));
        assert!(found.iter().any(|(_, what)| what.contains("only roles decide")), "{action}: {found:?}");
    }
    for text in [
        "permit (principal, action, resource == System::\"system\");",
        "permit (principal == Bootstrap::\"bootstrap\", action, resource);",
        "permit (principal, action, resource) when { action == Action::\"seal\" };",
    ] {
        assert!(errors(text).iter().any(|(_, what)| what.contains("only roles decide")), "{text}");
    }
    assert!(!errors("permit (principal, action, resource is System);").is_empty());
    assert!(!errors("permit (principal is Bootstrap, action, resource);").is_empty());
}

#[test]
fn texts_hold_to_their_limits() {
    let padded = |bytes: usize| format!("{ALL}{}", " ".repeat(bytes - ALL.len()));
    assert!(errors(&padded(POLICY_BYTES_MAX)).is_empty());
    assert_eq!(errors(&padded(POLICY_BYTES_MAX + 1)).len(), 1);

    let named = |n: usize| (0..n).map(|n| (format!("p{n}").parse().unwrap(), ALL.to_owned()));
    assert!(Policies::compile(1, [], named(POLICIES_MAX)).is_ok());
    assert_eq!(Policies::compile(1, [], named(POLICIES_MAX + 1)).map(|_| ()).unwrap_err(), PolicyError::TooManyPolicies);
    let twice = named(1).chain(named(1));
    assert!(matches!(Policies::compile(1, [], twice), Err(PolicyError::DuplicatePolicy(_))));

    let wrong = "permit (principal, action, resource) when { context.x };\n".repeat(FINDINGS_MAX + 1);
    assert_eq!(errors(&wrong).len(), FINDINGS_MAX);
}

#[test]
fn a_forbid_wins_over_grants_and_permits() {
    let grants = [grant(1, "read", "kv/**", API)];
    let policies =
        policies(grants, &[ALL, "forbid (principal in Namespace::\"prod/payments\", action, resource in Path::\"kv/hr\");"]);
    for (path, expected) in [("kv/a", true), ("kv/hr", false), ("kv/hr/a", false), ("kv/hrs", true)] {
        assert_eq!(permits(&policies, API, "read", path), expected, "{path}");
    }
    let decision = decide(&policies, API, "read", &path("kv/hr/a"));
    assert_eq!(decision.rules, [RuleId::Policy("p1".parse().unwrap())]);
}

#[test]
fn gating_on_image_and_host_takes_unknown_for_not_passed() {
    let gate = "forbid (principal is Workload, action, resource)\n\
        unless { context.image.verdict == ImageVerdict::\"passed\" && context.host.posture == HostPosture::\"passed\" };";
    let policies = policies([grant(1, "read", "kv/a", API)], &[gate]);
    for verdict in [ImageVerdict::Unknown, ImageVerdict::Passed, ImageVerdict::Failed] {
        for posture in [HostPosture::Unknown, HostPosture::Passed, HostPosture::Failed] {
            let context = Context { image: image(verdict), host: host(posture, Switch::Unknown), ..context() };
            let expected = verdict == ImageVerdict::Passed && posture == HostPosture::Passed;
            assert_eq!(decide_in(&policies, API, "read", &path("kv/a"), &context).permitted, expected, "{verdict:?} {posture:?}");
        }
    }
}

#[test]
fn every_attribute_of_the_context_is_there_and_says_what_it_should() {
    let pod = PodFacts {
        name: "api-0".to_owned(),
        uid: "77aa".to_owned(),
        node: "node-1".to_owned(),
        service_account_uid: "9f1e".to_owned(),
    };
    let image = ImageFacts {
        verdict: ImageVerdict::Passed,
        pinned: true,
        signers: ["release".to_owned()].into(),
        scanned: Some(Timestamp::from_secs(900)),
        until: None,
    };
    let host = host(HostPosture::Failed, Switch::Off);
    let known = Context { pod: Some(pod), image, host, workload: PodSecurity::Baseline, ..context() };
    let holds = |condition: &str, context: &Context| {
        let policies = policies([], &[&format!("permit (principal, action, resource) when {{ {condition} }};")]);
        decide_in(&policies, API, "read", &path("kv/a"), context).permitted
    };
    for condition in [
        "context.now == 1000",
        "context.tenant == \"default\"",
        "context.seal == \"shamir\"",
        "context.pod.known && context.pod.name == \"api-0\" && context.pod.uid == \"77aa\"",
        "context.pod.node == \"node-1\" && context.pod.service_account_uid == \"9f1e\"",
        "context.image.verdict == ImageVerdict::\"passed\" && context.image.pinned && context.image.scanned == 900",
        "context.image.signed_by.contains(\"release\") && !context.image.signed_by.contains(\"build\")",
        "context.host.posture == HostPosture::\"failed\" && context.host.swap == Switch::\"off\"",
        "context.workload.level == PodSecurity::\"baseline\"",
    ] {
        assert!(holds(condition, &known), "{condition}");
    }
    for attribute in ["name", "uid", "node", "service_account_uid"] {
        assert!(holds(&format!("!context.pod.known && context.pod.{attribute} == \"unknown\""), &context()), "{attribute}");
    }
    assert!(holds("context.image.verdict == ImageVerdict::\"unknown\"", &context()));
    assert!(holds("!context.image.pinned && context.image.signed_by.isEmpty() && context.image.scanned == 0", &context()));
    assert!(holds("context.host.posture == HostPosture::\"unknown\" && context.host.swap == Switch::\"unknown\"", &context()));
    assert!(holds("context.workload.level == PodSecurity::\"unknown\"", &context()));
    let late = Context { now: Timestamp::from_millis(u64::MAX), ..context() };
    assert!(holds("context.now > 1000", &late), "no time wraps around");
}

#[test]
fn a_policy_that_fails_denies_whether_it_permits_or_forbids() {
    let fails = "when { context.now + 9223372036854775807 > 0 };";
    for effect in ["permit", "forbid"] {
        for scope in ["principal, action, resource", "principal in Cluster::\"prod\", action, resource in Folder::\"kv\""] {
            let text = format!("{effect} ({scope}) {fails}");
            assert_eq!(errors(&text), [], "it can only fail when it is evaluated");
            let policies = policies([grant(1, "read", "kv/a", API)], &[ALL, &text]);
            let decision = decide(&policies, API, "read", &path("kv/a"));
            assert_eq!(decision, Decision { permitted: false, rules: vec![RuleId::Policy("p1".parse().unwrap())] }, "{text}");
        }
    }
}

#[test]
fn a_policy_that_fails_does_not_matter_to_requests_outside_its_scope() {
    let text = "forbid (principal in Cluster::\"test\", action, resource) when { context.now + 9223372036854775807 > 0 };";
    let policies = policies([grant(1, "read", "kv/a", API)], &[text]);
    assert!(permits(&policies, API, "read", "kv/a"));
    assert!(!permits(&policies, "k8s:test/payments/api", "read", "kv/a"));
}

#[test]
fn a_text_can_hold_several_policies() {
    let text = "permit (principal, action == Action::\"read\", resource in Folder::\"kv/a\");\n\
        forbid (principal, action, resource == Path::\"kv/a/secret\");";
    let policies = policies([], &[text]);
    assert!(permits(&policies, API, "read", "kv/a/b"));
    assert!(!permits(&policies, API, "read", "kv/a/secret"));
    assert!(!permits(&policies, API, "read", "kv/b"));
}

#[test]
fn other_texts_replace_the_old_ones_and_leave_the_grants() {
    let before = policies([grant(1, "read", "kv/a", API)], &["forbid (principal, action, resource);"]);
    let after = before.with_texts(2, []).unwrap();
    assert!(!permits(&before, API, "read", "kv/a"));
    assert!(permits(&after, API, "read", "kv/a"));
    assert!(before.with_texts(3, [("a".parse().unwrap(), "nonsense".to_owned())]).is_err());
}

#[test]
fn a_finding_is_bounded_whatever_the_text_names() {
    use crate::limits::FINDING_CHARS_MAX;
    for kind in ["Role", "Action", "System", "Nothing", "Workload"] {
        let name = "x".repeat(10 * FINDING_CHARS_MAX);
        let findings = Policies::lint(&format!("permit (principal == {kind}::\"{name}\", action, resource);"));
        assert!(!findings.is_empty(), "{kind}");
        for finding in findings {
            let chars = finding.message.chars().count();
            assert!(chars <= FINDING_CHARS_MAX, "{kind}: {chars} characters");
        }
    }
}

#[test]
fn policies_that_look_at_the_pod_are_named_where_they_are_what_withholds() {
    let names = |texts: &[&str], action: &str| {
        let policies = policies([grant(1, "read", "kv/a", API)], texts);
        let (caller, resource, context) = (caller(API), path("kv/a"), context());
        let query = Query { caller: &caller, action: action.parse().unwrap(), resource: &resource, context: &context };
        assert_eq!(policies.explain(&query).permitted, policies.decide(&query).permitted);
        let found = policies.withheld_by_policies(&query).into_iter();
        found.map(|(name, looks_at_nodes)| format!("{name}{}", if looks_at_nodes { " node" } else { "" })).collect::<Vec<_>>()
    };
    let passed = "{ context.image.verdict == ImageVerdict::\"passed\" }";
    let forbids = format!("forbid (principal is Workload, action == Action::\"read\", resource) unless {passed};");
    let permits = format!("permit (principal is Workload, action in [Action::\"list\"], resource) when {passed};");
    let plain = "forbid (principal is Workload, action == Action::\"read\", resource);";
    assert_eq!(names(&[&forbids], "read"), ["p0"]);
    assert_eq!(names(&[plain, &forbids], "read"), ["p1"]);
    assert_eq!(names(&[&forbids], "list"), <[&str; 0]>::default(), "it is about another action");
    assert_eq!(names(&[plain, &permits], "list"), ["p1"]);
    assert_eq!(names(&[&permits], "write"), <[&str; 0]>::default());
    let swaps = "forbid (principal, action, resource) unless { context.host.swap == Switch::\"off\" };";
    assert_eq!(names(&[swaps, &forbids], "read"), ["p0 node", "p1"]);
    assert_eq!(names(&[plain], "read"), <[&str; 0]>::default(), "it looks at nothing");
}
