use super::*;
use crate::limits::NEAR_MISSES_MAX;

const API: &str = "k8s:prod/payments/api";

fn explain(policies: &Policies, who: &str, action: &str, resource: &Resource) -> Explanation {
    policies.explain(&Query { caller: &caller(who), action: action.parse().unwrap(), resource, context: &context() })
}

#[test]
fn a_permission_is_explained_by_the_grant_that_gives_it() {
    let policies = policies([grant(0x3f, "read", "kv/prod/payments", API)], &[]);
    let id = "3f".repeat(16);
    let explanation = explain(&policies, API, "read", &path("kv/prod/payments"));
    assert_eq!(explanation.summary, format!("permitted by grant {id}: read kv/prod/payments to {API}"));
    let text = r#"permit (principal in Workload::"prod/payments/api", action in [Action::"read"], resource == Path::"kv/prod/payments");"#;
    assert_eq!(explanation.rules, [DecidingRule { kind: "grant", id, forbids: false, text: text.to_owned() }]);
    assert!(explanation.permitted && explanation.near_misses.is_empty());
}

#[test]
fn a_denial_without_a_rule_names_the_nearest_grants() {
    let grants = [
        grant(1, "read", "kv/prod/payments", API),
        grant(2, "read", "kv/prod/web", "k8s:prod/payments/web"),
        grant(3, "read", "kv/other", "k8s:prod/other/x"),
    ];
    let explanation = explain(&policies(grants, &[]), "k8s:prod/payments/web", "read", &path("kv/prod/payments"));
    let nearest = "02".repeat(16);
    assert_eq!(
        explanation.summary,
        format!(
            "no grant gives k8s:prod/payments/web the action read on kv/prod/payments; \
             nearest: read kv/prod/web to k8s:prod/payments/web, grant {nearest}"
        )
    );
    assert_eq!(explanation.near_misses, [2, 1].map(|id| GrantId::from_bytes([id; 16])));
    assert!(!explanation.permitted && explanation.rules.is_empty());

    let none = explain(&policies([], &[]), API, "read", &path("kv/a"));
    assert_eq!(none.summary, format!("no grant gives {API} the action read on kv/a"));
}

#[test]
fn the_right_principal_and_path_with_another_action_comes_first() {
    let grants =
        [grant(1, "read", "kv/b", API), grant(2, "list", "kv/a", API), grant(3, "read", "kv/a", "k8s:prod/payments/web")];
    let explanation = explain(&policies(grants, &[]), API, "read", &path("kv/a"));
    assert_eq!(explanation.near_misses, [2, 1, 3].map(|id| GrantId::from_bytes([id; 16])));
}

#[test]
fn near_misses_hold_to_their_limit() {
    for (grants, expected) in [(NEAR_MISSES_MAX, NEAR_MISSES_MAX), (NEAR_MISSES_MAX + 1, NEAR_MISSES_MAX)] {
        let grants = (0..grants).map(|id| grant(u8::try_from(id).unwrap(), "read", "kv/b", API));
        assert_eq!(explain(&policies(grants, &[]), API, "read", &path("kv/a")).near_misses.len(), expected);
    }
}

#[test]
fn roles_policies_and_failures_are_explained() {
    let forbid = "forbid (principal in Namespace::\"prod/payments\", action, resource);";
    let fails = "permit (principal == Operator::\"bob\", action, resource) when { context.now + 9223372036854775807 > 0 };";
    let policies = policies([grant(1, "read", "kv/**", "operator:alice"), grant(2, "read", "kv/a", API)], &[forbid, fails]);
    for (who, action, resource, summary) in [
        ("operator:alice+admin", "write", path("kv/a"), "permitted by role admin, which operator:alice has"),
        ("operator:alice+admin", "read", path("kv/a"), "forbidden by role admin, which operator:alice has"),
        (
            "operator:alice+admin+officer",
            "read",
            path("kv/a"),
            "forbidden by role admin, which operator:alice has (and one more rule)",
        ),
        ("operator:alice", "seal", Resource::System, "no role of operator:alice gives the action seal"),
        ("bootstrap", "operators:manage", Resource::System, "permitted by role bootstrap"),
        (API, "read", path("kv/a"), "forbidden by policy p0"),
        ("operator:bob", "read", path("kv/a"), "denied, because policy p1 fails for this request"),
    ] {
        assert_eq!(explain(&policies, who, action, &resource).summary, summary);
    }
    let forbidden = explain(&policies, API, "read", &path("kv/a"));
    let rule = DecidingRule { kind: "policy", id: "p0".to_owned(), forbids: true, text: forbid.to_owned() };
    assert_eq!(forbidden.rules, [rule]);
    assert!(forbidden.near_misses.is_empty());
}
