//! `coffer scan access` on recorded roles and bindings, without a vault and without a cluster.

use std::fs;

use anyhow::{Result, ensure};
use coffer_tests::{command::Coffer, programs::Programs};
use serde_json::Value;

const ROLES: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: exec}
rules: [{apiGroups: [""], resources: [pods/exec], verbs: [create]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: support, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: exec}
subjects: [{kind: Group, apiGroup: rbac.authorization.k8s.io, name: support}]
"#;

#[test]
fn whoever_can_get_into_a_workload_is_told_by_recorded_roles() -> Result<()> {
    let coffer = Coffer::new(Programs::built()?)?;
    let file = coffer.home().join("rbac.yaml");
    fs::write(&file, ROLES)?;
    let file = file.display().to_string();
    let ran = coffer.run(["scan", "access", "--service-account", "shop/api", "-f", &file])?;
    ensure!(ran.code == 7, "{ran:?}");
    for told in ["RBA-05", "Group support at namespace shop", "may create pods/exec (ClusterRole exec, RoleBinding shop/support)"]
    {
        ensure!(ran.stdout.contains(told), "{told}: {ran:?}");
    }
    let ran = coffer.run(["scan", "access", "--service-account", "other/api", "-f", &file, "-o", "json", "--all"])?;
    let report: Value = serde_json::from_str(&ran.stdout)?;
    ensure!(ran.code == 0 && report["failed"] == 0 && report["passed"] == 7 && report["unknown"] == 1, "{ran:?}");
    let exceptions = coffer.home().join("exceptions.yaml");
    let exception = "exceptions:\n- {check: RBA-05, subject: Group support at namespace shop, reason: on call, owner: ops, until: 2999-12-31}\n";
    fs::write(&exceptions, exception)?;
    let exceptions = exceptions.display().to_string();
    let ran = coffer.run(["scan", "access", "--service-account", "shop/api", "-f", &file, "--exceptions", &exceptions])?;
    ensure!(ran.code == 0 && ran.stdout.contains("excepted: on call"), "{ran:?}");
    Ok(())
}

#[test]
fn what_cannot_be_judged_is_refused_with_what_to_do() -> Result<()> {
    let coffer = Coffer::new(Programs::built()?)?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = coffer.home().join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let (empty, broken, none) = (
        file("empty.yaml", "kind: Pod\nmetadata: {name: x}\n")?,
        file("broken.yaml", "kind: ClusterRole\nmetadata: {name: x}\nrules: 7\n")?,
        file("none.yaml", "{")?,
    );
    for (arguments, told) in [
        (vec!["--service-account", "shop/api", "-f", &empty], "there is no role and no binding"),
        (vec!["--service-account", "shop/api", "-f", &broken], "ClusterRole x cannot be read"),
        (vec!["--service-account", "shop/api", "-f", &none], "has no roles that can be judged"),
        (vec!["--service-account", "api", "-f", &empty], "write NAMESPACE/NAME"),
        (vec!["-f", &empty], "PATH"),
        (vec!["kv/a", "--service-account", "shop/api"], "cannot be used with"),
    ] {
        let ran = coffer.run([&["scan", "access"], &arguments[..]].concat())?;
        ensure!(ran.code == 2 && ran.stderr.contains(told), "{arguments:?}: {ran:?}");
    }
    Ok(())
}
