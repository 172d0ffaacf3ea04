//! Issuers.

use std::collections::BTreeMap;

use async_trait::async_trait;
use coffer_core::{id::IssuerId, path::Path};
use coffer_proto::v1::{
    CreateIssuerRequest, CreateIssuerResponse, DeleteIssuerRequest, DeleteIssuerResponse, GetIssuerRequest, GetIssuerResponse,
    Issuer as Wire, ListIssuersRequest, ListIssuersResponse,
};
use coffer_vault::{
    Failure, Planned,
    certificates::{CaSubject, Issuer, KeyKind, NewRoot},
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

pub(super) const KIND: &str = "issuers";

pub(super) fn issuer(mount: &str, issuer: Issuer) -> Wire {
    Wire {
        path: format!("{mount}/{KIND}/{}", issuer.name),
        id: issuer.id.to_string(),
        created: convert::time(issuer.created),
        subject: issuer.subject,
        key_type: issuer.key_kind.name().to_owned(),
        certificate: issuer.certificate,
        serial: issuer.serial,
        not_after: issuer.not_after.and_then(convert::time),
        ca_chain: issuer.chain,
        is_default: issuer.is_default,
        request: issuer.request,
    }
}

pub(super) fn path_length(asked: Option<u32>) -> Result<Option<u8>, Failure> {
    asked.map(u8::try_from).transpose().map_err(|_| Failure::invalid("there are at most 255 CAs below a CA"))
}

pub(super) struct Create {
    place: Place,
    root: NewRoot,
}

#[async_trait]
impl Operation for Create {
    type Request = CreateIssuerRequest;
    type Response = CreateIssuerResponse;
    const RPC: Rpc = rpc::CREATE_ISSUER;

    fn parse(request: CreateIssuerRequest) -> Result<Self, Failure> {
        let place = Place::parse(&request.path, KIND)?;
        let key_kind = if request.key_type.is_empty() { KeyKind::P384 } else { key_kind(&request.key_type)? };
        let path_length = path_length(request.max_path_length)?;
        let root = NewRoot {
            subject: CaSubject { common_name: request.common_name, organisation: request.organisation, country: request.country },
            key_kind,
            ttl_secs: request.ttl_seconds,
            path_length,
        };
        Ok(Self { place, root })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.place.path)
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("key_type".to_owned(), self.root.key_kind.name().to_owned())])
    }

    fn idempotency_key(request: &CreateIssuerRequest) -> &str {
        &request.idempotency_key
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<CreateIssuerResponse>, Failure> {
        let Place { path, name } = &self.place;
        let planned = call.vault.create_root(path, name, &self.root, &mut call.record).await?;
        Ok(planned.map(|made| CreateIssuerResponse { issuer: Some(issuer(path.mount(), made)) }))
    }
}

pub(super) struct Get(Place);

#[async_trait]
impl Operation for Get {
    type Request = GetIssuerRequest;
    type Response = GetIssuerResponse;
    const RPC: Rpc = rpc::GET_ISSUER;

    fn parse(request: GetIssuerRequest) -> Result<Self, Failure> {
        Place::parse(&request.path, KIND).map(Self)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.0.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetIssuerResponse>, Failure> {
        let found = call.vault.issuer(&self.0.path, &self.0.name).await?;
        Ok(Planned::read(GetIssuerResponse { issuer: Some(issuer(self.0.path.mount(), found)) }))
    }
}

pub(super) struct List {
    path: Path,
    page: Page,
}

#[async_trait]
impl Operation for List {
    type Request = ListIssuersRequest;
    type Response = ListIssuersResponse;
    const RPC: Rpc = rpc::LIST_ISSUERS;

    fn parse(request: ListIssuersRequest) -> Result<Self, Failure> {
        Ok(Self { path: whole(&request.path, KIND)?, page: Page::parse(request.page_size, request.page_token)? })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListIssuersResponse>, Failure> {
        let list = format!("issuers {}", self.path);
        let after = self.page.after(&call.vault, &list)?;
        let page = call.vault.issuers(&self.path, &after, self.page.size()).await?;
        let last = page.entries.last().map(|entry| entry.name.as_str());
        let next_page_token = Page::next(&call.vault, &list, last, page.more)?;
        let issuers = page.entries.into_iter().map(|entry| issuer(self.path.mount(), entry)).collect();
        Ok(Planned::read(ListIssuersResponse { issuers, next_page_token }))
    }
}

pub(super) struct Delete {
    place: Place,
    id: Option<IssuerId>,
}

#[async_trait]
impl Operation for Delete {
    type Request = DeleteIssuerRequest;
    type Response = DeleteIssuerResponse;
    const RPC: Rpc = rpc::DELETE_ISSUER;

    fn parse(request: DeleteIssuerRequest) -> Result<Self, Failure> {
        let id = if request.id.is_empty() { None } else { Some(convert::id(&request.id)?) };
        Ok(Self { place: Place::parse(&request.path, KIND)?, id })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.place.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<DeleteIssuerResponse>, Failure> {
        let planned = call.vault.delete_issuer(&self.place.path, &self.place.name, self.id).await?;
        Ok(planned.map(|()| DeleteIssuerResponse {}))
    }
}
