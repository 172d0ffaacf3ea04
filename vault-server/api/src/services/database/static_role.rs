//! Static roles.

use async_trait::async_trait;
use coffer_core::path::Path;
use coffer_proto::v1::{
    DatabaseStaticRole, DeleteStaticRoleRequest, DeleteStaticRoleResponse, GetStaticRoleRequest, GetStaticRoleResponse,
    ListStaticRolesRequest, ListStaticRolesResponse, PutStaticRoleRequest, PutStaticRoleResponse, RotateStaticRoleRequest,
    RotateStaticRoleResponse,
};
use coffer_vault::{DatabasePath, Failure, Planned, database::StaticRoleSettings};

use super::{convert, of_path};
use crate::{
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

/// The directory of a mount.
const STATIC_ROLES: &str = "static-roles";

pub(super) struct PutStaticRole {
    path: DatabasePath,
    settings: StaticRoleSettings,
}

#[async_trait]
impl Operation for PutStaticRole {
    type Request = PutStaticRoleRequest;
    type Response = PutStaticRoleResponse;
    const RPC: Rpc = rpc::PUT_STATIC_ROLE;

    fn parse(request: PutStaticRoleRequest) -> Result<Self, Failure> {
        let given = request.role.ok_or_else(|| Failure::invalid("the role is missing"))?;
        let settings = StaticRoleSettings {
            connection: given.connection,
            users: given.users,
            rotation_period_secs: given.rotation_period_seconds,
            grace_secs: given.grace_seconds,
        };
        Ok(Self { path: DatabasePath::parse(&request.path, STATIC_ROLES, false)?, settings })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path.path)
    }

    async fn prepare(&mut self, call: &Call) -> Result<(), Failure> {
        call.vault.try_static_role(&self.path, &self.settings).await
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<PutStaticRoleResponse>, Failure> {
        let planned = call.vault.put_static_role(&self.path, self.settings.clone()).await?;
        Ok(planned.map(|()| PutStaticRoleResponse {}))
    }
}

pub(super) struct RotateStaticRole {
    path: DatabasePath,
    at_once: bool,
    version: u64,
}

#[async_trait]
impl Operation for RotateStaticRole {
    type Request = RotateStaticRoleRequest;
    type Response = RotateStaticRoleResponse;
    const RPC: Rpc = rpc::ROTATE_STATIC_ROLE;

    fn parse(request: RotateStaticRoleRequest) -> Result<Self, Failure> {
        let path = DatabasePath::parse(&request.path, STATIC_ROLES, false)?;
        Ok(Self { path, at_once: request.at_once, version: 0 })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path.path)
    }

    async fn prepare(&mut self, call: &Call) -> Result<(), Failure> {
        self.version = call.vault.rotate_static_role(&self.path, self.at_once).await?;
        Ok(())
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<RotateStaticRoleResponse>, Failure> {
        call.record.detail("version", self.version);
        Ok(Planned::read(RotateStaticRoleResponse { version: self.version }))
    }
}

of_path! {
    GetStaticRole: GetStaticRoleRequest -> GetStaticRoleResponse, GET_STATIC_ROLE, STATIC_ROLES;
    ListStaticRoles: ListStaticRolesRequest -> ListStaticRolesResponse, LIST_STATIC_ROLES, STATIC_ROLES;
    DeleteStaticRole: DeleteStaticRoleRequest -> DeleteStaticRoleResponse, DELETE_STATIC_ROLE, STATIC_ROLES;
}

impl GetStaticRole {
    const OF_LIST: bool = false;

    async fn answer(&self, call: &Call) -> Result<Planned<GetStaticRoleResponse>, Failure> {
        let info = call.vault.static_role(&self.0).await?;
        let (previous_user, previous_until) =
            info.previous.map_or((String::new(), None), |(user, until)| (user, convert::time(until)));
        Ok(Planned::read(GetStaticRoleResponse {
            role: Some(DatabaseStaticRole {
                rotation_period_seconds: info.settings.period().as_secs(),
                grace_seconds: info.settings.grace().as_secs(),
                connection: info.settings.connection,
                users: info.settings.users,
            }),
            updated: convert::time(info.updated),
            version: info.version,
            user: info.user.unwrap_or_default(),
            rotated: info.rotated.and_then(convert::time),
            next_rotation: convert::time(info.next_rotation),
            previous_user,
            previous_until,
            waiting_for: u32::try_from(info.waiting_for).unwrap_or(u32::MAX),
            last_error: info.error,
        }))
    }
}

impl ListStaticRoles {
    const OF_LIST: bool = true;

    async fn answer(&self, call: &Call) -> Result<Planned<ListStaticRolesResponse>, Failure> {
        Ok(Planned::read(ListStaticRolesResponse { names: call.vault.static_roles(&self.0).await? }))
    }
}

impl DeleteStaticRole {
    const OF_LIST: bool = false;

    async fn answer(&self, call: &Call) -> Result<Planned<DeleteStaticRoleResponse>, Failure> {
        Ok(call.vault.delete_static_role(&self.0).await?.map(|()| DeleteStaticRoleResponse {}))
    }
}
