//! `KubernetesService`.

use async_trait::async_trait;
use coffer_core::{id::ClusterId, path::Path};
use coffer_proto::v1::{
    CheckKubernetesRoleRequest, CheckKubernetesRoleResponse, DeleteKubernetesRoleRequest, DeleteKubernetesRoleResponse,
    GetKubernetesRoleRequest, GetKubernetesRoleResponse, KubernetesRole, KubernetesRule, ListKubernetesRolesRequest,
    ListKubernetesRolesResponse, PutKubernetesRoleRequest, PutKubernetesRoleResponse,
    kubernetes_service_server::KubernetesService,
};
use coffer_vault::{
    Failure, Planned,
    kubernetes::{KubernetesRole as Role, RoleAccount, RoleRule},
};

use super::{
    convert,
    place::{Place, whole},
    service,
};
use crate::{
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

service! { KubernetesService:
    put_kubernetes_role(PutKubernetesRoleRequest) -> PutKubernetesRoleResponse = Put;
    get_kubernetes_role(GetKubernetesRoleRequest) -> GetKubernetesRoleResponse = Get;
    list_kubernetes_roles(ListKubernetesRolesRequest) -> ListKubernetesRolesResponse = List;
    delete_kubernetes_role(DeleteKubernetesRoleRequest) -> DeleteKubernetesRoleResponse = Delete;
    check_kubernetes_role(CheckKubernetesRoleRequest) -> CheckKubernetesRoleResponse = Check;
}

/// The directory of a mount.
const ROLES: &str = "roles";

/// Whose tokens a role makes: exactly one of four is said.
fn account(given: &KubernetesRole) -> Result<RoleAccount, Failure> {
    let rule = |rule: &KubernetesRule| RoleRule {
        api_groups: rule.api_groups.clone(),
        resources: rule.resources.clone(),
        verbs: rule.verbs.clone(),
        resource_names: rule.resource_names.clone(),
    };
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let said = [
        text(&given.service_account).map(RoleAccount::Existing),
        (!given.rules.is_empty()).then(|| RoleAccount::WithRules(given.rules.iter().map(rule).collect())),
        text(&given.role).map(RoleAccount::WithRole),
        text(&given.cluster_role).map(RoleAccount::WithClusterRole),
    ];
    let mut said = said.into_iter().flatten();
    match (said.next(), said.next()) {
        (Some(account), None) => Ok(account),
        _ => Err(Failure::invalid(
            "a role says whose tokens are made by one of these: a service account, rules, a role, a cluster role",
        )),
    }
}

struct Put {
    place: Place,
    role: Role,
}

#[async_trait]
impl Operation for Put {
    type Request = PutKubernetesRoleRequest;
    type Response = PutKubernetesRoleResponse;
    const RPC: Rpc = rpc::PUT_KUBERNETES_ROLE;

    fn parse(request: PutKubernetesRoleRequest) -> Result<Self, Failure> {
        let place = Place::parse(&request.path, ROLES)?;
        let given = request.role.ok_or_else(|| Failure::invalid("the role is missing"))?;
        let role = Role {
            // The vault knows it by the name.
            cluster: ClusterId::from_bytes([0; 16]),
            account: account(&given)?,
            cluster_name: given.cluster,
            namespace: given.namespace,
            audiences: given.audiences,
            default_ttl_secs: given.default_ttl_seconds,
            max_ttl_secs: given.max_ttl_seconds,
        };
        Ok(Self { place, role })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.place.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<PutKubernetesRoleResponse>, Failure> {
        let planned = call.vault.put_kubernetes_role(&self.place.path, &self.place.name, self.role.clone()).await?;
        Ok(planned.map(|()| PutKubernetesRoleResponse {}))
    }
}

/// A role as it is shown.
fn shown(role: Role) -> KubernetesRole {
    let mut shown = KubernetesRole {
        default_ttl_seconds: role.ttl(None).as_secs(),
        max_ttl_seconds: role.max_ttl().as_secs(),
        cluster: role.cluster_name,
        namespace: role.namespace,
        audiences: role.audiences,
        ..KubernetesRole::default()
    };
    let rule = |RoleRule { api_groups, resources, verbs, resource_names }| KubernetesRule {
        api_groups,
        resources,
        verbs,
        resource_names,
    };
    match role.account {
        RoleAccount::Existing(name) => shown.service_account = name,
        RoleAccount::WithRules(rules) => shown.rules = rules.into_iter().map(rule).collect(),
        RoleAccount::WithRole(name) => shown.role = name,
        RoleAccount::WithClusterRole(name) => shown.cluster_role = name,
    }
    shown
}

struct Get(Place);

#[async_trait]
impl Operation for Get {
    type Request = GetKubernetesRoleRequest;
    type Response = GetKubernetesRoleResponse;
    const RPC: Rpc = rpc::GET_KUBERNETES_ROLE;

    fn parse(request: GetKubernetesRoleRequest) -> Result<Self, Failure> {
        Place::parse(&request.path, ROLES).map(Self)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.0.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetKubernetesRoleResponse>, Failure> {
        let (role, updated) = call.vault.kubernetes_role(&self.0.path, &self.0.name).await?;
        Ok(Planned::read(GetKubernetesRoleResponse { role: Some(shown(role)), updated: convert::time(updated) }))
    }
}

struct List(Path);

#[async_trait]
impl Operation for List {
    type Request = ListKubernetesRolesRequest;
    type Response = ListKubernetesRolesResponse;
    const RPC: Rpc = rpc::LIST_KUBERNETES_ROLES;

    fn parse(request: ListKubernetesRolesRequest) -> Result<Self, Failure> {
        whole(&request.path, ROLES).map(Self)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.0)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListKubernetesRolesResponse>, Failure> {
        Ok(Planned::read(ListKubernetesRolesResponse { names: call.vault.kubernetes_roles(&self.0).await? }))
    }
}

struct Delete(Place);

#[async_trait]
impl Operation for Delete {
    type Request = DeleteKubernetesRoleRequest;
    type Response = DeleteKubernetesRoleResponse;
    const RPC: Rpc = rpc::DELETE_KUBERNETES_ROLE;

    fn parse(request: DeleteKubernetesRoleRequest) -> Result<Self, Failure> {
        Place::parse(&request.path, ROLES).map(Self)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.0.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<DeleteKubernetesRoleResponse>, Failure> {
        let planned = call.vault.delete_kubernetes_role(&self.0.path, &self.0.name).await?;
        Ok(planned.map(|()| DeleteKubernetesRoleResponse {}))
    }
}

struct Check(Place);

#[async_trait]
impl Operation for Check {
    type Request = CheckKubernetesRoleRequest;
    type Response = CheckKubernetesRoleResponse;
    const RPC: Rpc = rpc::CHECK_KUBERNETES_ROLE;

    fn parse(request: CheckKubernetesRoleRequest) -> Result<Self, Failure> {
        Place::parse(&request.path, ROLES).map(Self)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.0.path)
    }

    async fn prepare(&mut self, call: &Call) -> Result<(), Failure> {
        call.vault.check_kubernetes_role(&self.0.path, &self.0.name).await
    }

    async fn run(&self, _: &mut Call) -> Result<Planned<CheckKubernetesRoleResponse>, Failure> {
        Ok(Planned::read(CheckKubernetesRoleResponse {}))
    }
}
