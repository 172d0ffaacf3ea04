use std::time::Duration;

use super::*;
use crate::limits::DECISIONS_CACHED_MAX;

const API: &str = "k8s:prod/payments/api";
/// A policy that Cedar is to be asked about.
const OPEN: &str = "permit (principal, action == Action::\"write\", resource);";

fn ask(policies: &Policies, caller: &Caller, action: Action, resource: &Resource, context: &Context) {
    let query = Query { caller, action, resource, context };
    assert_eq!(policies.decide(&query), policies.decide_plain(&query));
}

/// How many decisions are remembered after one more question.
fn remembered(policies: &Policies, who: &str, context: &Context) -> usize {
    let before = policies.cache.len();
    ask(policies, &caller(who), Action::Read, &path("kv/a"), context);
    policies.cache.len() - before
}

#[test]
fn a_decision_is_remembered_whatever_the_time() {
    let policies =
        policies([grant(1, "read", "kv/a", API)], &["forbid (principal, action, resource) when { context.seal == \"x\" };"]);
    assert_eq!(remembered(&policies, API, &context()), 1);
    let later = Context { now: Timestamp::from_secs(2_000), ..context() };
    assert_eq!(remembered(&policies, API, &later), 0);
    assert!(permits(&policies, API, "read", "kv/a"));
}

#[test]
fn what_grants_alone_decide_is_not_remembered() {
    let policies = policies([grant(1, "read", "kv/a", API)], &["permit (principal in Cluster::\"test\", action, resource);"]);
    assert_eq!(remembered(&policies, API, &context()), 0);
    assert_eq!(remembered(&policies, "k8s:prod/payments/web", &context()), 0);
    assert_eq!(remembered(&policies, "k8s:test/payments/api", &context()), 1);
}

#[test]
fn everything_that_a_decision_can_depend_on_tells_it_apart() {
    let pod =
        || PodFacts { name: "a".to_owned(), uid: "b".to_owned(), node: "c".to_owned(), service_account_uid: "d".to_owned() };
    let with = |pod: PodFacts| Context { pod: Some(pod), ..context() };
    let contexts = [
        context(),
        Context { tenant: "other".to_owned(), ..context() },
        Context { seal: "static-key".to_owned(), ..context() },
        Context { tenant: "defaul".to_owned(), seal: "tshamir".to_owned(), ..context() },
        Context { image: image(ImageVerdict::Passed), ..context() },
        Context { image: image(ImageVerdict::Failed), ..context() },
        Context { image: ImageFacts { pinned: true, ..image(ImageVerdict::Passed) }, ..context() },
        Context {
            image: ImageFacts { signers: ["a".to_owned(), "b".to_owned()].into(), ..image(ImageVerdict::Passed) },
            ..context()
        },
        Context { image: ImageFacts { signers: ["ab".to_owned()].into(), ..image(ImageVerdict::Passed) }, ..context() },
        Context { image: ImageFacts { scanned: Some(Timestamp::from_secs(9)), ..image(ImageVerdict::Passed) }, ..context() },
        Context { host: host(HostPosture::Passed, Switch::Unknown), ..context() },
        Context { host: host(HostPosture::Failed, Switch::Unknown), ..context() },
        Context { host: host(HostPosture::Failed, Switch::Off), ..context() },
        Context { workload: PodSecurity::Baseline, ..context() },
        Context { workload: PodSecurity::Restricted, ..context() },
        with(pod()),
        with(PodFacts { name: "x".to_owned(), ..pod() }),
        with(PodFacts { uid: "x".to_owned(), ..pod() }),
        with(PodFacts { node: "x".to_owned(), ..pod() }),
        with(PodFacts { service_account_uid: "x".to_owned(), ..pod() }),
        with(PodFacts { name: "ab".to_owned(), uid: String::new(), ..pod() }),
    ];
    let policies = policies([], &[OPEN]);
    for context in &contexts {
        assert_eq!(remembered(&policies, API, context), 1, "{context:?}");
    }
    for who in ["k8s:prod/payments/web", "operator:alice", "operator:alice+admin", "operator:alice+auditor"] {
        assert_eq!(remembered(&policies, who, &contexts[0]), 1, "{who}");
    }
    assert_eq!(remembered(&policies, API, &contexts[0]), 0);
    for (who, action, resource) in [
        (API, Action::List, path("kv/a")),
        (API, Action::Read, path("kv/b")),
        ("operator:alice+admin", Action::Seal, Resource::System),
    ] {
        let before = policies.cache.len();
        ask(&policies, &caller(who), action, &resource, &contexts[0]);
        assert_eq!(policies.cache.len(), before + 1, "{action} {resource:?}");
    }
}

#[test]
fn nothing_is_served_once_a_fact_has_expired() {
    let policies = policies([grant(1, "read", "kv/a", API)], &[OPEN]);
    let until = Timestamp::from_secs(1_010);
    let fact = Context { until: Some(until), ..context() };
    let (who, resource) = (caller(API), path("kv/a"));
    let key =
        |context| crate::policy::cache::Key::of(&Query { caller: &who, action: Action::Read, resource: &resource, context });
    assert_eq!(remembered(&policies, API, &fact), 1);
    let last = Timestamp::from_millis(until.millis() - 1);
    assert!(policies.cache.get(&key(&fact), last).is_some());
    assert!(policies.cache.get(&key(&fact), until).is_none());
    assert!(policies.cache.get(&key(&fact), until.plus(Duration::from_secs(1))).is_none());

    // A newer fact of the same content counts anew.
    let newer = Context { now: until, until: Some(until.plus(Duration::from_secs(5))), ..context() };
    remembered(&policies, API, &newer);
    assert!(policies.cache.get(&key(&newer), until).is_some());
}

#[test]
fn a_decision_that_looked_at_the_time_is_not_remembered() {
    for condition in [
        "context.now < 1500",
        "context[\"now\"] < 1500",
        "context[\"\\u{6e}ow\"] < 1500",
        "(if true then context else context).now < 1500",
        "[context].contains(context) && context.now < 1500",
        "context has now && context.now < 1500",
        "{ \"Var\": context }[\"Var\"].now < 1500",
    ] {
        let policies = policies([], &[&format!("permit (principal, action, resource) when {{ {condition} }};")]);
        assert_eq!(remembered(&policies, API, &context()), 0, "{condition}");
        let later = Context { now: Timestamp::from_secs(1_500), ..context() };
        let (early, late) = (context(), later);
        assert!(decide_in(&policies, API, "read", &path("kv/a"), &early).permitted, "{condition}");
        assert!(!decide_in(&policies, API, "read", &path("kv/a"), &late).permitted, "{condition}");
    }
}

#[test]
fn a_policy_that_looks_at_the_time_elsewhere_does_not_keep_others_from_being_remembered() {
    let text = "permit (principal in Cluster::\"test\", action, resource) when { context.now < 1500 };";
    let policies = policies([], &[text, "permit (principal in Cluster::\"prod\", action, resource);"]);
    assert_eq!(remembered(&policies, API, &context()), 1);
    assert_eq!(remembered(&policies, "k8s:test/payments/api", &context()), 0);
}

#[test]
fn the_cache_does_not_outgrow_its_limit() {
    let policies = policies([], &[]);
    let (who, resource) = (caller("operator:alice+admin"), Resource::System);
    for n in 0..3 * DECISIONS_CACHED_MAX {
        let context = Context { tenant: n.to_string(), ..context() };
        ask(&policies, &who, Action::Seal, &resource, &context);
        assert!(n % 1_000 != 0 || policies.cache.len() <= DECISIONS_CACHED_MAX);
    }
    let kept = policies.cache.len();
    assert!((DECISIONS_CACHED_MAX / 4..=DECISIONS_CACHED_MAX).contains(&kept), "{kept}");
}
