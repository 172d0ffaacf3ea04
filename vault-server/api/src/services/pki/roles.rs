//! Roles.

use async_trait::async_trait;
use coffer_core::path::Path;
use coffer_proto::v1::{
    DeletePkiRoleRequest, DeletePkiRoleResponse, GetPkiRoleRequest, GetPkiRoleResponse, ListPkiRolesRequest,
    ListPkiRolesResponse, PkiRole, PkiRoleState, PutPkiRoleRequest, PutPkiRoleResponse,
};
use coffer_vault::{
    Failure, Planned,
    certificates::{ExtendedKeyUsage, KeyUsage, Role, RoleState},
};

use super::{
    key_kind,
    place::{Place, whole},
};
use crate::{
    page::Page,
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
    services::convert,
};

const KIND: &str = "roles";

fn state(mount: &str, state: RoleState) -> PkiRoleState {
    let names = |names: Vec<&'static str>| names.into_iter().map(str::to_owned).collect();
    let role = state.role;
    PkiRoleState {
        path: format!("{mount}/{KIND}/{}", state.name),
        role: Some(PkiRole {
            issuer: role.issuer.map(|name| name.to_string()).unwrap_or_default(),
            allowed_hosts: role.hosts,
            allow_wildcards: role.wildcards,
            allowed_addresses: role.addresses,
            allowed_uris: role.uris,
            spiffe_id: role.spiffe,
            key_types: names(role.key_types.into_iter().map(coffer_vault::certificates::KeyKind::name).collect()),
            key_usages: names(role.key_usages.into_iter().map(KeyUsage::name).collect()),
            extended_key_usages: names(role.extended.into_iter().map(ExtendedKeyUsage::name).collect()),
            common_name: role.common_name,
            organisation: role.organisation,
            ttl_seconds: role.ttl_secs,
            max_ttl_seconds: role.ttl_secs_max,
            no_store: role.no_store,
        }),
        created: convert::time(state.created),
        issuer_missing: !state.issuer_there,
        etag: state.etag,
    }
}

/// Each of a list of names, once.
fn each<T: PartialEq>(names: &[String], read: impl Fn(&str) -> Result<T, Failure>) -> Result<Vec<T>, Failure> {
    let mut all = Vec::new();
    for name in names {
        let one = read(name)?;
        if all.contains(&one) {
            return Err(Failure::invalid("a kind of key or a usage is there twice"));
        }
        all.push(one);
    }
    Ok(all)
}

fn role(role: PkiRole) -> Result<Role, Failure> {
    let usage = |name: &str| {
        let found = KeyUsage::OF_ROLES.iter().copied().find(|usage| usage.name() == name);
        found.ok_or(Failure::invalid(
            "usages of keys are digital-signature, content-commitment, key-encipherment and key-agreement",
        ))
    };
    let extended = |name: &str| {
        let found = ExtendedKeyUsage::ALL.iter().copied().find(|usage| usage.name() == name);
        found.ok_or(Failure::invalid("usages of certificates are server-auth, client-auth, code-signing and email-protection"))
    };
    Ok(Role {
        issuer: if role.issuer.is_empty() { None } else { Some(convert::name(&role.issuer)?) },
        hosts: role.allowed_hosts,
        wildcards: role.allow_wildcards,
        addresses: role.allowed_addresses,
        uris: role.allowed_uris,
        spiffe: role.spiffe_id,
        key_types: each(&role.key_types, key_kind)?,
        key_usages: each(&role.key_usages, usage)?,
        extended: each(&role.extended_key_usages, extended)?,
        common_name: role.common_name,
        organisation: role.organisation,
        ttl_secs: role.ttl_seconds,
        ttl_secs_max: role.max_ttl_seconds,
        no_store: role.no_store,
    })
}

pub(super) struct Put {
    place: Place,
    role: Role,
    etag: String,
}

#[async_trait]
impl Operation for Put {
    type Request = PutPkiRoleRequest;
    type Response = PutPkiRoleResponse;
    const RPC: Rpc = rpc::PUT_PKI_ROLE;

    fn parse(request: PutPkiRoleRequest) -> Result<Self, Failure> {
        let place = Place::parse(&request.path, KIND)?;
        let given = request.role.ok_or(Failure::invalid("there is no role in the request"))?;
        Ok(Self { place, role: role(given)?, etag: request.etag })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.place.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<PutPkiRoleResponse>, Failure> {
        let Place { path, name } = &self.place;
        let planned = call.vault.put_pki_role(path, name, self.role.clone(), &self.etag).await?;
        Ok(planned.map(|written| PutPkiRoleResponse { role: Some(state(path.mount(), written)) }))
    }
}

pub(super) struct Get(Place);

#[async_trait]
impl Operation for Get {
    type Request = GetPkiRoleRequest;
    type Response = GetPkiRoleResponse;
    const RPC: Rpc = rpc::GET_PKI_ROLE;

    fn parse(request: GetPkiRoleRequest) -> Result<Self, Failure> {
        Place::parse(&request.path, KIND).map(Self)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.0.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetPkiRoleResponse>, Failure> {
        let found = call.vault.pki_role(&self.0.path, &self.0.name).await?;
        Ok(Planned::read(GetPkiRoleResponse { role: Some(state(self.0.path.mount(), found)) }))
    }
}

pub(super) struct List {
    path: Path,
    page: Page,
}

#[async_trait]
impl Operation for List {
    type Request = ListPkiRolesRequest;
    type Response = ListPkiRolesResponse;
    const RPC: Rpc = rpc::LIST_PKI_ROLES;

    fn parse(request: ListPkiRolesRequest) -> Result<Self, Failure> {
        Ok(Self { path: whole(&request.path, KIND)?, page: Page::parse(request.page_size, request.page_token)? })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListPkiRolesResponse>, Failure> {
        let list = format!("pki roles {}", self.path);
        let after = self.page.after(&call.vault, &list)?;
        let page = call.vault.pki_roles(&self.path, &after, self.page.size()).await?;
        let last = page.entries.last().map(|entry| entry.name.as_str());
        let next_page_token = Page::next(&call.vault, &list, last, page.more)?;
        let roles = page.entries.into_iter().map(|entry| state(self.path.mount(), entry)).collect();
        Ok(Planned::read(ListPkiRolesResponse { roles, next_page_token }))
    }
}

pub(super) struct Delete {
    place: Place,
    etag: String,
}

#[async_trait]
impl Operation for Delete {
    type Request = DeletePkiRoleRequest;
    type Response = DeletePkiRoleResponse;
    const RPC: Rpc = rpc::DELETE_PKI_ROLE;

    fn parse(request: DeletePkiRoleRequest) -> Result<Self, Failure> {
        Ok(Self { place: Place::parse(&request.path, KIND)?, etag: request.etag })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.place.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<DeletePkiRoleResponse>, Failure> {
        let planned = call.vault.delete_pki_role(&self.place.path, &self.place.name, &self.etag).await?;
        Ok(planned.map(|()| DeletePkiRoleResponse {}))
    }
}
