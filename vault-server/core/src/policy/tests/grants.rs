use std::collections::BTreeSet;

use cedar_policy::Policy;

use super::*;

const PAYMENTS: &str = "k8s:prod/payments/api";

#[test]
fn a_grant_gives_its_actions_on_its_path_to_its_principal() {
    let policies = policies([grant(1, "read list", "kv/prod/payments", PAYMENTS)], &[]);
    for (who, action, path, expected) in [
        (PAYMENTS, "read", "kv/prod/payments", true),
        (PAYMENTS, "list", "kv/prod/payments", true),
        (PAYMENTS, "write", "kv/prod/payments", false),
        (PAYMENTS, "read", "kv/prod/payments/db", false),
        (PAYMENTS, "read", "kv/prod", false),
        (PAYMENTS, "read", "kv/prod/payments2", false),
        ("k8s:prod/payments/web", "read", "kv/prod/payments", false),
        ("k8s:test/payments/api", "read", "kv/prod/payments", false),
        ("operator:api", "read", "kv/prod/payments", false),
    ] {
        assert_eq!(permits(&policies, who, action, path), expected, "{who} {action} {path}");
    }
}

#[test]
fn a_grant_below_a_path_is_for_everything_below_and_not_for_the_path() {
    let policies = policies([grant(1, "read", "kv/prod/**", PAYMENTS)], &[]);
    for (path, expected) in
        [("kv/prod", false), ("kv/prod/a", true), ("kv/prod/a/b/c", true), ("kv/production", false), ("kv/production/a", false)]
    {
        assert_eq!(permits(&policies, PAYMENTS, "read", path), expected, "{path}");
    }
}

#[test]
fn a_grant_with_stars_is_for_all_in_the_place() {
    for (to, who, expected) in [
        ("k8s:prod/payments/*", "k8s:prod/payments/web", true),
        ("k8s:prod/payments/*", "k8s:prod/payments2/web", false),
        ("k8s:prod/*/*", "k8s:prod/other/web", true),
        ("k8s:prod/*/*", "k8s:prod2/other/web", false),
        ("role:auditor", "operator:bob+auditor", true),
        ("role:auditor", "operator:bob+admin", false),
    ] {
        let policies = policies([grant(1, "delete", "kv/a", to)], &["forbid (principal in Role::\"admin\", action, resource);"]);
        assert_eq!(permits(&policies, who, "delete", "kv/a"), expected, "{to} {who}");
    }
}

#[test]
fn names_that_look_like_other_kinds_are_not_taken_for_them() {
    // A cluster, an operator and a role of one name; a service account whose name has dots.
    let policies = policies([grant(1, "write", "kv/a", "operator:admin"), grant(2, "write", "kv/b", "k8s:admin/*/*")], &[]);
    assert!(!permits(&policies, "operator:x+auditor", "write", "kv/a"));
    assert!(permits(&policies, "operator:admin", "write", "kv/a"));
    assert!(!permits(&policies, "operator:admin", "write", "kv/b"));
    assert!(permits(&policies, "k8s:admin/a/b.c", "write", "kv/b"));
}

#[test]
fn a_decision_names_the_grants_that_made_it() {
    let policies = policies([grant(2, "read", "kv/**", PAYMENTS), grant(1, "read", "kv/a", PAYMENTS)], &[]);
    let decision = decide(&policies, PAYMENTS, "read", &path("kv/a"));
    let ids = [1, 2].map(|id| RuleId::Grant(GrantId::from_bytes([id; 16])));
    assert_eq!(decision, Decision { permitted: true, rules: ids.to_vec() });
}

#[test]
fn adding_and_taking_away_leaves_the_other_states_as_they_were() {
    let before = policies([grant(1, "read", "kv/a", PAYMENTS)], &[]);
    let with = before.with_grant(2, grant(2, "read", "kv/b", PAYMENTS)).unwrap();
    let without = with.without_grant(3, &GrantId::from_bytes([1; 16]));
    for (state, a, b, version) in [(&before, true, false, 1), (&with, true, true, 2), (&without, false, true, 3)] {
        assert_eq!((permits(state, PAYMENTS, "read", "kv/a"), permits(state, PAYMENTS, "read", "kv/b")), (a, b));
        assert_eq!(state.version(), version);
        assert_eq!(state.grants().count(), usize::from(a) + usize::from(b));
    }
    assert_eq!(without.without_grant(4, &GrantId::from_bytes([9; 16])).grants().count(), 1);
}

#[test]
fn a_grant_is_taken_away_alone_where_two_have_one_scope() {
    let both = policies([grant(1, "read", "kv/a", PAYMENTS), grant(2, "read list", "kv/a", PAYMENTS)], &[]);
    let one = both.without_grant(2, &GrantId::from_bytes([2; 16]));
    assert!(permits(&one, PAYMENTS, "read", "kv/a"));
    assert!(!permits(&one, PAYMENTS, "list", "kv/a"));
}

#[test]
fn grants_that_cannot_be_are_refused() {
    let id = GrantId::from_bytes([1; 16]);
    let good = grant(1, "read", "kv/a", PAYMENTS);
    let refused = |grants: Vec<Grant>| Policies::compile(1, grants, []).map(|_| ()).unwrap_err();
    assert_eq!(refused(vec![Grant { actions: BTreeSet::new(), ..good.clone() }]), PolicyError::NoAction(id));
    assert_eq!(refused(vec![good.clone(), good.clone()]), PolicyError::DuplicateGrant(id));
    for action in Action::ALL.iter().filter(|action| !action.on_path()) {
        let grant = Grant { actions: [Action::Read, *action].into(), ..good.clone() };
        assert_eq!(refused(vec![grant.clone()]), PolicyError::SystemAction(id));
        assert_eq!(policies([], &[]).with_grant(2, grant).map(|_| ()).unwrap_err(), PolicyError::SystemAction(id));
    }
}

#[test]
fn grants_hold_to_their_limit() {
    let many = |n: usize| {
        (0..n as u128).map(|n| Grant { id: GrantId::from_bytes(n.to_be_bytes()), ..grant(0, "read", "kv/a", PAYMENTS) })
    };
    let full = Policies::compile(1, many(GRANTS_MAX), []).unwrap();
    assert_eq!(full.grants().count(), GRANTS_MAX);
    assert_eq!(full.with_grant(2, grant(0xff, "read", "kv/a", PAYMENTS)).map(|_| ()).unwrap_err(), PolicyError::TooManyGrants);
    assert_eq!(Policies::compile(1, many(GRANTS_MAX + 1), []).map(|_| ()).unwrap_err(), PolicyError::TooManyGrants);
}

#[test]
fn a_grants_text_is_cedar_and_means_the_grant() {
    for (principal, path, text) in [
        (
            PAYMENTS,
            "kv/prod/it's \"here\"\\",
            r#"permit (principal in Workload::"prod/payments/api", action in [Action::"read", Action::"list"], resource == Path::"kv/prod/it\'s \"here\"\\");"#,
        ),
        (
            "role:admin",
            "kv/prod/**",
            r#"permit (principal in Role::"admin", action in [Action::"read", Action::"list"], resource in Folder::"kv/prod");"#,
        ),
    ] {
        let grant = grant(1, "list read", path, principal);
        assert_eq!(grant.to_cedar(), text);
        assert!(Policies::lint(&grant.to_cedar()).is_empty());

        let mut set = PolicySet::new();
        grant.link(&mut set).unwrap();
        let (linked, parsed) = (set.policies().next().unwrap(), Policy::parse(None, grant.to_cedar()).unwrap());
        let scope = |policy: &Policy| (policy.principal_constraint(), policy.action_constraint(), policy.resource_constraint());
        assert_eq!(scope(linked), scope(&parsed));
        assert_eq!((linked.effect(), linked.has_non_scope_constraint()), (parsed.effect(), false));
    }
}

#[test]
fn a_grant_with_conditions_holds_where_all_of_them_do() {
    let asks = |require: &str| Grant { require: require.parse().unwrap(), ..grant(1, "read", "kv/a", PAYMENTS) };
    let good = Context {
        image: ImageFacts {
            verdict: ImageVerdict::Passed,
            pinned: true,
            signers: ["release".to_owned()].into(),
            scanned: Some(Timestamp::from_secs(940)),
            until: None,
        },
        host: host(HostPosture::Passed, Switch::Off),
        workload: PodSecurity::Restricted,
        ..context()
    };
    let failed = ImageFacts { verdict: ImageVerdict::Failed, ..good.image.clone() };
    let old = ImageFacts { scanned: Some(Timestamp::from_secs(939)), ..good.image.clone() };
    let unsigned = ImageFacts { signers: ["build".to_owned()].into(), ..good.image };
    let worse = [
        ("image=pass", Condition::Image, Context { image: failed, ..good.clone() }),
        ("image=pass", Condition::Image, Context { image: ImageFacts::default(), ..good.clone() }),
        ("signed-by=release", Condition::SignedBy, Context { image: unsigned, ..good.clone() }),
        ("host=pass", Condition::Host, Context { host: host(HostPosture::Failed, Switch::Off), ..good.clone() }),
        ("host=pass", Condition::Host, Context { host: None, ..good.clone() }),
        ("swap=off", Condition::Swap, Context { host: host(HostPosture::Passed, Switch::On), ..good.clone() }),
        ("swap=off", Condition::Swap, Context { host: None, ..good.clone() }),
        ("workload=restricted", Condition::Workload, Context { workload: PodSecurity::Baseline, ..good.clone() }),
        ("workload=baseline", Condition::Workload, Context { workload: PodSecurity::Privileged, ..good.clone() }),
        ("workload=baseline", Condition::Workload, Context { workload: PodSecurity::Unknown, ..good.clone() }),
        ("image=pass,max-age=61s", Condition::MaxAge, Context { image: old, ..good.clone() }),
    ];
    for (require, condition, context) in &worse {
        let policies = policies([asks(require)], &[]);
        assert!(decide_in(&policies, PAYMENTS, "read", &path("kv/a"), &good).permitted, "{require}");
        assert!(!decide_in(&policies, PAYMENTS, "read", &path("kv/a"), context).permitted, "{require} {context:?}");
        let (caller, resource) = (caller(PAYMENTS), path("kv/a"));
        let query = Query { caller: &caller, action: Action::Read, resource: &resource, context };
        let withheld: Vec<_> = policies.withheld(&query).into_iter().map(|(grant, unmet)| (grant.id, unmet)).collect();
        assert_eq!(withheld, [(GrantId::from_bytes([1; 16]), vec![*condition])]);
        assert!(policies.depends_on_facts(&query) && policies.looks_at_facts());
        let explained = policies.explain(&query);
        assert!(explained.summary.contains(&format!("where {require}")), "{}", explained.summary);
    }
    // Another grant gives it all the same, and then nothing depends on them.
    let both = policies([asks("host=pass"), grant(2, "read", "kv/**", PAYMENTS)], &[]);
    assert!(decide_in(&both, PAYMENTS, "read", &path("kv/a"), &context()).permitted);
    let (caller, resource, context) = (caller(PAYMENTS), path("kv/a"), context());
    let query = Query { caller: &caller, action: Action::Read, resource: &resource, context: &context };
    assert!(!both.depends_on_facts(&query) && both.looks_at_facts());
    assert!(!both.without_grant(2, &GrantId::from_bytes([1; 16])).looks_at_facts());
}

#[test]
fn an_age_that_is_over_is_not_remembered_to_be_met() {
    let asks = Grant { require: "image=pass,max-age=10s".parse().unwrap(), ..grant(1, "read", "kv/a", PAYMENTS) };
    // A text that concerns the request has Cedar asked, and what Cedar says remembered.
    let policies = policies([asks], &["permit (principal, action == Action::\"list\", resource);"]);
    let image = ImageFacts { scanned: Some(Timestamp::from_secs(995)), ..image(ImageVerdict::Passed) };
    for (now, permitted) in [(1_000, true), (1_004, true), (1_005, false)] {
        let context = Context { now: Timestamp::from_secs(now), image: image.clone(), ..context() };
        assert_eq!(decide_in(&policies, PAYMENTS, "read", &path("kv/a"), &context).permitted, permitted, "{now}");
    }
}
