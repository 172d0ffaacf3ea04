//! `DatabaseService`.

mod static_role;

use std::collections::BTreeMap;

use async_trait::async_trait;
use coffer_core::path::Path;
use coffer_proto::v1::{
    CheckRoleRequest, CheckRoleResponse, DatabaseConnection, DatabaseRole, DeleteConnectionRequest, DeleteConnectionResponse,
    DeleteRoleRequest, DeleteRoleResponse, GetConnectionRequest, GetConnectionResponse, GetRoleRequest, GetRoleResponse,
    ListConnectionsRequest, ListConnectionsResponse, ListRolesRequest, ListRolesResponse, PutConnectionRequest,
    PutConnectionResponse, PutRoleRequest, PutRoleResponse, RotateConnectionRequest, RotateConnectionResponse,
    SweepConnectionRequest, SweepConnectionResponse, database_service_server::DatabaseService,
};
use coffer_secret::SecretString;
use coffer_vault::{
    DatabasePath, Failure, Planned,
    database::{ConnectionSettings, RoleSettings},
};

use self::static_role::{DeleteStaticRole, GetStaticRole, ListStaticRoles, PutStaticRole, RotateStaticRole};
use super::{convert, service};
use crate::{
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

service! { DatabaseService:
    put_connection(PutConnectionRequest) -> PutConnectionResponse = PutConnection;
    get_connection(GetConnectionRequest) -> GetConnectionResponse = GetConnection;
    list_connections(ListConnectionsRequest) -> ListConnectionsResponse = ListConnections;
    delete_connection(DeleteConnectionRequest) -> DeleteConnectionResponse = DeleteConnection;
    rotate_connection(RotateConnectionRequest) -> RotateConnectionResponse = RotateConnection;
    sweep_connection(SweepConnectionRequest) -> SweepConnectionResponse = SweepConnection;
    put_role(PutRoleRequest) -> PutRoleResponse = PutRole;
    get_role(GetRoleRequest) -> GetRoleResponse = GetRole;
    list_roles(ListRolesRequest) -> ListRolesResponse = ListRoles;
    delete_role(DeleteRoleRequest) -> DeleteRoleResponse = DeleteRole;
    check_role(CheckRoleRequest) -> CheckRoleResponse = CheckRole;
    put_static_role(PutStaticRoleRequest) -> PutStaticRoleResponse = PutStaticRole;
    get_static_role(GetStaticRoleRequest) -> GetStaticRoleResponse = GetStaticRole;
    list_static_roles(ListStaticRolesRequest) -> ListStaticRolesResponse = ListStaticRoles;
    delete_static_role(DeleteStaticRoleRequest) -> DeleteStaticRoleResponse = DeleteStaticRole;
    rotate_static_role(RotateStaticRoleRequest) -> RotateStaticRoleResponse = RotateStaticRole;
}

/// The directories of a mount.
const CONFIG: &str = "config";
const ROLES: &str = "roles";

struct PutConnection {
    path: DatabasePath,
    settings: ConnectionSettings,
    password: Option<SecretString>,
}

#[async_trait]
impl Operation for PutConnection {
    type Request = PutConnectionRequest;
    type Response = PutConnectionResponse;
    const RPC: Rpc = rpc::PUT_CONNECTION;

    fn parse(request: PutConnectionRequest) -> Result<Self, Failure> {
        let password = SecretString::from(request.password);
        let given = request.connection.ok_or_else(|| Failure::invalid("the connection is missing"))?;
        let settings = ConnectionSettings {
            kind: given.kind,
            host: given.host,
            port: u16::try_from(given.port).map_err(|_| Failure::invalid("a port is at most 65,535"))?,
            database: given.database,
            user: given.user,
            ca_pem: given.ca_pem,
            server_name: given.server_name,
            plaintext: given.plaintext,
            connections: given.connections,
        };
        let path = DatabasePath::parse(&request.path, CONFIG, false)?;
        Ok(Self { path, settings, password: (!password.is_empty()).then_some(password) })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path.path)
    }

    async fn prepare(&mut self, call: &Call) -> Result<(), Failure> {
        call.vault.try_connection(&self.path, self.settings.clone(), self.password.as_ref()).await
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<PutConnectionResponse>, Failure> {
        let planned = call.vault.put_connection(&self.path, self.settings.clone(), self.password.as_ref()).await?;
        Ok(planned.map(|()| PutConnectionResponse {}))
    }
}

struct GetConnection(DatabasePath);

#[async_trait]
impl Operation for GetConnection {
    type Request = GetConnectionRequest;
    type Response = GetConnectionResponse;
    const RPC: Rpc = rpc::GET_CONNECTION;

    fn parse(request: GetConnectionRequest) -> Result<Self, Failure> {
        DatabasePath::parse(&request.path, CONFIG, false).map(Self)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.0.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetConnectionResponse>, Failure> {
        let (settings, updated, rotated) = call.vault.connection(&self.0).await?;
        let connection = DatabaseConnection {
            kind: settings.kind,
            host: settings.host,
            port: settings.port.into(),
            database: settings.database,
            user: settings.user,
            ca_pem: settings.ca_pem,
            server_name: settings.server_name,
            plaintext: settings.plaintext,
            connections: settings.connections,
        };
        Ok(Planned::read(GetConnectionResponse {
            connection: Some(connection),
            updated: convert::time(updated),
            rotated: rotated.and_then(convert::time),
        }))
    }
}

struct RotateConnection(DatabasePath);

#[async_trait]
impl Operation for RotateConnection {
    type Request = RotateConnectionRequest;
    type Response = RotateConnectionResponse;
    const RPC: Rpc = rpc::ROTATE_CONNECTION;

    fn parse(request: RotateConnectionRequest) -> Result<Self, Failure> {
        DatabasePath::parse(&request.path, CONFIG, false).map(Self)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.0.path)
    }

    async fn prepare(&mut self, call: &Call) -> Result<(), Failure> {
        call.vault.rotate_connection(&self.0).await
    }

    async fn run(&self, _: &mut Call) -> Result<Planned<RotateConnectionResponse>, Failure> {
        Ok(Planned::read(RotateConnectionResponse {}))
    }
}

struct SweepConnection {
    path: DatabasePath,
    dry_run: bool,
    users: Vec<String>,
}

#[async_trait]
impl Operation for SweepConnection {
    type Request = SweepConnectionRequest;
    type Response = SweepConnectionResponse;
    const RPC: Rpc = rpc::SWEEP_CONNECTION;

    fn parse(request: SweepConnectionRequest) -> Result<Self, Failure> {
        let path = DatabasePath::parse(&request.path, CONFIG, false)?;
        Ok(Self { path, dry_run: request.dry_run, users: Vec::new() })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path.path)
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("dry_run".to_owned(), self.dry_run.to_string())])
    }

    async fn prepare(&mut self, call: &Call) -> Result<(), Failure> {
        self.users = call.vault.sweep_connection(&self.path, self.dry_run).await?;
        Ok(())
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<SweepConnectionResponse>, Failure> {
        call.record.detail("users", self.users.len());
        Ok(Planned::read(SweepConnectionResponse { users: self.users.clone() }))
    }
}

struct PutRole {
    path: DatabasePath,
    settings: RoleSettings,
}

#[async_trait]
impl Operation for PutRole {
    type Request = PutRoleRequest;
    type Response = PutRoleResponse;
    const RPC: Rpc = rpc::PUT_ROLE;

    fn parse(request: PutRoleRequest) -> Result<Self, Failure> {
        let given = request.role.ok_or_else(|| Failure::invalid("the role is missing"))?;
        let settings = RoleSettings {
            connection: given.connection,
            creation: given.creation_statements,
            revocation: given.revocation_statements,
            default_ttl_secs: given.default_ttl_seconds,
            max_ttl_secs: given.max_ttl_seconds,
        };
        Ok(Self { path: DatabasePath::parse(&request.path, ROLES, false)?, settings })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<PutRoleResponse>, Failure> {
        Ok(call.vault.put_role(&self.path, self.settings.clone()).await?.map(|()| PutRoleResponse {}))
    }
}

struct GetRole(DatabasePath);

#[async_trait]
impl Operation for GetRole {
    type Request = GetRoleRequest;
    type Response = GetRoleResponse;
    const RPC: Rpc = rpc::GET_ROLE;

    fn parse(request: GetRoleRequest) -> Result<Self, Failure> {
        DatabasePath::parse(&request.path, ROLES, false).map(Self)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.0.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetRoleResponse>, Failure> {
        let (settings, updated) = call.vault.role(&self.0).await?;
        let role = DatabaseRole {
            default_ttl_seconds: settings.ttl(None).as_secs(),
            max_ttl_seconds: settings.max_ttl().as_secs(),
            connection: settings.connection,
            creation_statements: settings.creation,
            revocation_statements: settings.revocation,
        };
        Ok(Planned::read(GetRoleResponse { role: Some(role), updated: convert::time(updated) }))
    }
}

/// The RPCs that are alike but for what they call.
macro_rules! of_path {
    ($($operation:ident: $request:ident -> $response:ident, $rpc:ident, $directory:ident;)*) => {$(
        pub(super) struct $operation(DatabasePath);

        #[async_trait]
        impl Operation for $operation {
            type Request = $request;
            type Response = $response;
            const RPC: Rpc = rpc::$rpc;

            fn parse(request: $request) -> Result<Self, Failure> {
                DatabasePath::parse(&request.path, $directory, $operation::OF_LIST).map(Self)
            }

            fn path(&self) -> Option<&Path> {
                Some(&self.0.path)
            }

            async fn run(&self, call: &mut Call) -> Result<Planned<$response>, Failure> {
                self.answer(call).await
            }
        }
    )*};
}

pub(super) use of_path;

of_path! {
    ListConnections: ListConnectionsRequest -> ListConnectionsResponse, LIST_CONNECTIONS, CONFIG;
    DeleteConnection: DeleteConnectionRequest -> DeleteConnectionResponse, DELETE_CONNECTION, CONFIG;
    ListRoles: ListRolesRequest -> ListRolesResponse, LIST_ROLES, ROLES;
    DeleteRole: DeleteRoleRequest -> DeleteRoleResponse, DELETE_ROLE, ROLES;
    CheckRole: CheckRoleRequest -> CheckRoleResponse, CHECK_ROLE, ROLES;
}

impl ListConnections {
    const OF_LIST: bool = true;

    async fn answer(&self, call: &Call) -> Result<Planned<ListConnectionsResponse>, Failure> {
        Ok(Planned::read(ListConnectionsResponse { names: call.vault.connections(&self.0).await? }))
    }
}

impl DeleteConnection {
    const OF_LIST: bool = false;

    async fn answer(&self, call: &Call) -> Result<Planned<DeleteConnectionResponse>, Failure> {
        Ok(call.vault.delete_connection(&self.0).await?.map(|()| DeleteConnectionResponse {}))
    }
}

impl ListRoles {
    const OF_LIST: bool = true;

    async fn answer(&self, call: &Call) -> Result<Planned<ListRolesResponse>, Failure> {
        Ok(Planned::read(ListRolesResponse { names: call.vault.roles(&self.0).await? }))
    }
}

impl DeleteRole {
    const OF_LIST: bool = false;

    async fn answer(&self, call: &Call) -> Result<Planned<DeleteRoleResponse>, Failure> {
        Ok(call.vault.delete_role(&self.0).await?.map(|()| DeleteRoleResponse {}))
    }
}

impl CheckRole {
    const OF_LIST: bool = false;

    async fn answer(&self, call: &Call) -> Result<Planned<CheckRoleResponse>, Failure> {
        call.vault.check_role(&self.0).await?;
        Ok(Planned::read(CheckRoleResponse {}))
    }
}
