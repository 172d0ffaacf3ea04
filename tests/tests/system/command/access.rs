//! `coffer scan access PATH`: the workloads are those that grants name.

use std::fs;

use anyhow::{Result, ensure};

use super::Office;

/// Somebody who can get into pods of each namespace.
const ROLES: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: exec}
rules: [{apiGroups: [""], resources: [pods/exec], verbs: [create]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: shop, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: exec}
subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: sam}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: bank, namespace: bank}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: exec}
subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: bea}]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_can_get_into_the_pods_that_a_grant_names_is_told() -> Result<()> {
    let office = Office::new().await?;
    let officer = super::person(&office.vault, crate::vault::OFFICER)?;
    let file = officer.home().join("rbac.yaml");
    fs::write(&file, ROLES)?;
    let file = file.display().to_string();
    let scan = |path: &str, more: &[&str]| officer.run([&["scan", "access", path, "-f", &file], more].concat());

    let none = scan("kv/access/a", &[])?;
    ensure!(none.code == 2 && none.stderr.contains("no grant lets a workload read or use kv/access/a"), "{none:?}");
    officer.ok(["grant", "read", "kv/access/a", "--to", "k8s:test/shop/api"])?;
    officer.ok(["grant", "write", "kv/access/a", "--to", "k8s:test/bank/api"])?;
    let one = scan("kv/access/a", &[])?;
    ensure!(one.code == 7 && one.stderr.contains("given to shop/api"), "{one:?}");
    ensure!(one.stdout.contains("User sam at namespace shop") && !one.stdout.contains("bea"), "{one:?}");

    // A grant above the path, to every workload of every namespace.
    officer.ok(["grant", "read", "kv/access/**", "--to", "k8s:test/*/*"])?;
    let all = scan("kv/access/a", &["--cluster", "test"])?;
    ensure!(all.code == 7 && all.stderr.contains("given to */*, shop/api"), "{all:?}");
    ensure!(all.stdout.contains("User bea at some namespace"), "{all:?}");
    let other = scan("kv/access/a", &["--cluster", "other"])?;
    ensure!(other.code == 2 && other.stderr.contains("no grant lets a workload"), "{other:?}");
    Ok(())
}
