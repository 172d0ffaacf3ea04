use cedar_policy::{PolicySet, ValidationMode};

use super::*;
use crate::policy::{check, grant::TEMPLATES};

/// What each caller may do without any grant: on the system, and on paths.
const MATRIX: &[(&str, &[&str], &[&str])] = &[
    ("k8s:prod/payments/api", &[], &[]),
    ("operator:alice", &[], &[]),
    (
        "operator:alice+admin",
        &[
            "status:read",
            "seal",
            "keys:manage",
            "snapshot:save",
            "operators:read",
            "operators:manage",
            "sessions:read",
            "sessions:manage",
            "clusters:read",
            "clusters:manage",
            "mounts:read",
            "mounts:manage",
            "leases:read",
            "leases:manage",
            "gate:read",
        ],
        &["list", "write", "delete", "destroy"],
    ),
    (
        "operator:alice+officer",
        &[
            "status:read",
            "policy:read",
            "policy:manage",
            "gate:read",
            "gate:manage",
            "clusters:read",
            "mounts:read",
            "operators:read",
            "operators:manage",
        ],
        &["list"],
    ),
    (
        "operator:alice+auditor",
        &[
            "status:read",
            "audit:read",
            "operators:read",
            "sessions:read",
            "clusters:read",
            "mounts:read",
            "leases:read",
            "policy:read",
            "gate:read",
        ],
        &["list"],
    ),
    ("bootstrap", &["operators:manage"], &[]),
];

#[test]
fn each_role_gives_its_actions_and_no_other() {
    let policies = policies([], &[]);
    for (who, on_system, on_paths) in MATRIX {
        for action in Action::ALL {
            let name = action.name();
            for (resource, expected) in [(Resource::System, on_system), (path("kv/prod/a"), on_paths)] {
                let permitted = decide(&policies, who, name, &resource).permitted;
                assert_eq!(permitted, expected.contains(&name), "{who} {name} {resource:?}");
            }
        }
    }
}

#[test]
fn holding_two_roles_gives_what_either_gives() {
    let policies = policies([], &[]);
    let who = "operator:alice+admin+officer";
    for (action, resource) in [("seal", Resource::System), ("policy:manage", Resource::System), ("write", path("kv/a"))] {
        assert!(decide(&policies, who, action, &resource).permitted, "{action}");
    }
    assert!(!decide(&policies, who, "audit:read", &Resource::System).permitted);
    assert!(!permits(&policies, who, "read", "kv/a"));
}

#[test]
fn roles_count_for_operators_only() {
    let policies = policies([grant(1, "write", "kv/**", "role:officer")], &[]);
    for who in ["k8s:prod/payments/api+admin", "bootstrap+admin"] {
        assert!(!permits(&policies, who, "write", "kv/a"), "{who}");
        assert!(!decide(&policies, who, "seal", &Resource::System).permitted, "{who}");
    }
}

#[test]
fn no_grant_and_no_policy_lets_the_holder_of_a_role_read_or_use_keys() {
    let grants = [
        grant(1, "read", "kv/**", "operator:alice"),
        grant(2, "read", "kv/a", "role:admin"),
        grant(3, "read", "kv/a", "role:officer"),
        grant(4, "read", "kv/a", "role:auditor"),
        grant(5, "use", "kv/**", "operator:alice"),
    ];
    let policies = policies(grants, &["permit (principal, action, resource);"]);
    for action in ["read", "use"] {
        for roles in ["+admin", "+officer", "+auditor", "+admin+officer+auditor"] {
            assert!(!permits(&policies, &format!("operator:alice{roles}"), action, "kv/a"), "{roles} {action}");
        }
        assert!(permits(&policies, "operator:alice", action, "kv/a"));
    }
}

#[test]
fn an_officer_gains_nothing_from_what_officers_decide() {
    let grants = [grant(1, "write delete destroy", "kv/**", "operator:olga")];
    let policies = policies(grants, &["permit (principal == Operator::\"olga\", action, resource);"]);
    for action in ["read", "use", "write", "delete", "destroy"] {
        assert!(!permits(&policies, "operator:olga+officer", action, "kv/a"), "{action}");
    }
    assert!(permits(&policies, "operator:olga+officer", "list", "kv/a"));
    assert!(permits(&policies, "operator:olga+officer+admin", "write", "kv/a"), "what another role gives stays");
}

#[test]
fn no_policy_has_a_say_about_the_vault_itself() {
    let gives = policies([], &["permit (principal, action, resource);"]);
    for action in Action::ALL.iter().filter(|action| !action.on_path()) {
        for who in ["operator:olga", "k8s:prod/payments/api", "bootstrap+admin"] {
            let role = who == "bootstrap+admin" && *action == Action::OperatorsManage;
            assert_eq!(decide(&gives, who, action.name(), &Resource::System).permitted, role, "{who} {action}");
        }
    }
    let takes = policies([], &["forbid (principal, action, resource);"]);
    assert!(decide(&takes, "operator:alice+admin", "seal", &Resource::System).permitted);
    assert!(!permits(&takes, "operator:alice+admin", "list", "kv/a"));
}

#[test]
fn the_roles_and_the_templates_of_grants_pass_strict_validation() {
    let validator = check::system_validator();
    let result = validator.validate(&check::roles(), ValidationMode::Strict);
    assert!(result.validation_passed_without_warnings(), "{result}");

    assert_eq!(TEMPLATES.len(), 126, "63 sets of actions, on a path or below it");
    let mut set = PolicySet::new();
    for template in TEMPLATES.values() {
        set.add_template(template.clone()).unwrap();
    }
    let principals = ["k8s:prod/payments/api", "k8s:prod/payments/*", "k8s:prod/*/*", "operator:alice", "role:admin"];
    for (id, (principal, path)) in (0..).zip(principals.iter().flat_map(|p| [(p, "kv/prod/a"), (p, "kv/prod/**")])) {
        grant(id, "read list", path, principal).link(&mut set).unwrap();
    }
    let result = validator.validate(&set, ValidationMode::Strict);
    assert!(result.validation_passed_without_warnings(), "{result}");
}

#[test]
fn the_schema_knows_every_action() {
    let validator = check::system_validator();
    let mut known: Vec<_> = validator.schema().actions().map(ToString::to_string).collect();
    let mut ours: Vec<_> = Action::ALL.iter().map(|action| format!("Action::\"{action}\"")).collect();
    known.sort();
    ours.sort();
    assert_eq!(known, ours);
}
