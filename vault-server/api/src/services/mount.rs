//! `MountService`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use coffer_core::{id::MountId, principal::Name};
use coffer_proto::v1::{
    CreateMountRequest, CreateMountResponse, DeleteMountRequest, DeleteMountResponse, ListMountsRequest, ListMountsResponse,
    Mount, mount_service_server::MountService,
};
use coffer_vault::{Failure, MountRecord, NewMount, Planned};

use super::{convert, service};
use crate::{
    page::Page,
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

service! { MountService:
    create_mount(CreateMountRequest) -> CreateMountResponse = Create;
    list_mounts(ListMountsRequest) -> ListMountsResponse = List;
    delete_mount(DeleteMountRequest) -> DeleteMountResponse = Delete;
}

fn mount(name: &str, record: &MountRecord) -> Mount {
    Mount {
        name: name.to_owned(),
        engine: record.engine.clone(),
        description: record.description.clone(),
        created: convert::time(record.created),
        id: record.id.to_string(),
    }
}

struct Create(NewMount);

#[async_trait]
impl Operation for Create {
    type Request = CreateMountRequest;
    type Response = CreateMountResponse;
    const RPC: Rpc = rpc::CREATE_MOUNT;
    const CHANGES_VAULT: bool = true;

    fn parse(request: CreateMountRequest) -> Result<Self, Failure> {
        let (name, engine) = (convert::name(&request.name)?, request.engine.parse()?);
        Ok(Self(NewMount { name, engine, description: request.description }))
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("mount".to_owned(), self.0.name.to_string()), ("engine".to_owned(), self.0.engine.to_string())])
    }

    fn idempotency_key(request: &CreateMountRequest) -> &str {
        &request.idempotency_key
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<CreateMountResponse>, Failure> {
        let planned = call.vault.create_mount(&self.0)?;
        call.record.detail("mount_id", planned.answer.id);
        Ok(planned.map(|record| CreateMountResponse { mount: Some(mount(self.0.name.as_str(), &record)) }))
    }
}

struct List(Page);

#[async_trait]
impl Operation for List {
    type Request = ListMountsRequest;
    type Response = ListMountsResponse;
    const RPC: Rpc = rpc::LIST_MOUNTS;

    fn parse(request: ListMountsRequest) -> Result<Self, Failure> {
        Page::parse(request.page_size, request.page_token).map(Self)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListMountsResponse>, Failure> {
        let after = self.0.after(&call.vault, "mounts")?;
        let (mounts, more) = call.vault.mounts(&after, self.0.size());
        let next_page_token = Page::next(&call.vault, "mounts", mounts.last().map(|(name, _)| name.as_str()), more)?;
        let mounts = mounts.iter().map(|(name, row)| mount(name, &row.value)).collect();
        Ok(Planned::read(ListMountsResponse { mounts, next_page_token }))
    }
}

struct Delete {
    name: Name,
    id: Option<MountId>,
}

#[async_trait]
impl Operation for Delete {
    type Request = DeleteMountRequest;
    type Response = DeleteMountResponse;
    const RPC: Rpc = rpc::DELETE_MOUNT;
    const CHANGES_VAULT: bool = true;

    fn parse(request: DeleteMountRequest) -> Result<Self, Failure> {
        let id = if request.id.is_empty() { None } else { Some(convert::id(&request.id)?) };
        Ok(Self { name: convert::name(&request.name)?, id })
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("mount".to_owned(), self.name.to_string())])
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<DeleteMountResponse>, Failure> {
        let planned = call.vault.delete_mount(&self.name, self.id).await?;
        call.record.detail("mount_id", planned.answer.id);
        Ok(planned.map(|_| DeleteMountResponse {}))
    }
}
