//! Roles: written, read, changed, deleted; as many as may be, and no more.

use std::sync::Arc;

use coffer_barrier::{
    Barrier, Batch, Store,
    seal::{Initialisation, SealChoice},
};
use coffer_core::{
    clock::Timestamp,
    id::{ClusterId, MountId, TenantId, VaultId},
    limits::KUBERNETES_ROLES_MAX,
    principal::Name,
};
use coffer_crypto::key::Key;
use coffer_engines::kubernetes::{Kubernetes, KubernetesEngineError, KubernetesRole, RoleAccount, RoleRule};
use coffer_store::memory::MemoryStore;

const TENANT: TenantId = TenantId::from_bytes([2; 16]);
const MOUNT: Kubernetes = Kubernetes::new(TENANT, MountId::from_bytes([3; 16]));
const OTHER: Kubernetes = Kubernetes::new(TENANT, MountId::from_bytes([4; 16]));
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

async fn vault() -> Barrier {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let choice = SealChoice::StaticKey(Key::from_bytes([7; 32]));
    let init = Initialisation::new(VaultId::from_bytes([1; 16]), choice, &[TENANT], NOW).unwrap();
    init.commit(store, Batch::new()).await.unwrap().barrier
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn role(account: RoleAccount) -> KubernetesRole {
    KubernetesRole {
        cluster: ClusterId::from_bytes([7; 16]),
        cluster_name: "prod".into(),
        namespace: "shop".into(),
        account,
        audiences: vec!["others".into()],
        default_ttl_secs: 60,
        max_ttl_secs: 120,
    }
}

async fn put(barrier: &Barrier, of: &str, role: KubernetesRole) -> Result<(), KubernetesEngineError> {
    let planned = MOUNT.put_role(barrier, &name(of), role, NOW).await?;
    barrier.commit(planned.batch).await.unwrap();
    Ok(())
}

#[tokio::test]
async fn a_role_is_what_was_written_last_and_is_its_mount_s_alone() {
    let barrier = vault().await;
    let rule = RoleRule {
        api_groups: vec![String::new()],
        resources: vec!["pods".into()],
        verbs: vec!["get".into()],
        resource_names: vec!["one".into()],
    };
    for account in [
        RoleAccount::Existing("api".into()),
        RoleAccount::WithRules(vec![rule]),
        RoleAccount::WithRole("reader".into()),
        RoleAccount::WithClusterRole("view".into()),
    ] {
        put(&barrier, "app", role(account.clone())).await.unwrap();
        let stored = MOUNT.role(&barrier, &name("app")).await.unwrap();
        assert_eq!((stored.settings, stored.updated), (role(account), NOW));
    }
    assert_eq!(MOUNT.roles(&barrier).await.unwrap(), ["app"]);
    assert!(OTHER.roles(&barrier).await.unwrap().is_empty());
    assert!(matches!(OTHER.role(&barrier, &name("app")).await, Err(KubernetesEngineError::NotFound)));
    assert!(matches!(OTHER.delete_role(&barrier, &name("app")).await, Err(KubernetesEngineError::NotFound)));
    let planned = MOUNT.delete_role(&barrier, &name("app")).await.unwrap();
    barrier.commit(planned.batch).await.unwrap();
    assert!(matches!(MOUNT.role(&barrier, &name("app")).await, Err(KubernetesEngineError::NotFound)));
}

#[tokio::test]
async fn as_many_roles_as_may_be_are_taken_and_one_more_is_not() {
    let barrier = vault().await;
    let one = || role(RoleAccount::Existing("api".into()));
    // Planned before one is there: each plan counts those that are.
    let mut planned = Vec::new();
    for number in 1..KUBERNETES_ROLES_MAX {
        planned.push(MOUNT.put_role(&barrier, &name(&format!("r{number}")), one(), NOW).await.unwrap());
    }
    for role in planned {
        barrier.commit(role.batch).await.unwrap();
    }
    put(&barrier, "r0", one()).await.unwrap();
    assert!(matches!(put(&barrier, "more", one()).await, Err(KubernetesEngineError::TooMany)));
    put(&barrier, "r0", one()).await.unwrap();
}
