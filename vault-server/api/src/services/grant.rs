//! `GrantService`.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use coffer_core::{
    action::Action,
    id::GrantId,
    path::{Path, PathPattern},
    policy::{Requirement, RequirementError},
    principal::PrincipalPattern,
    reason::Reason,
};
use coffer_proto::v1::{
    CreateGrantRequest, CreateGrantResponse, DeleteGrantRequest, DeleteGrantResponse, Grant, ListGrantsRequest,
    ListGrantsResponse, grant_service_server::GrantService,
};
use coffer_vault::{Failure, GrantRecord, NewGrant, Planned};

use super::{convert, service};
use crate::{
    page::Page,
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

service! { GrantService:
    create_grant(CreateGrantRequest) -> CreateGrantResponse = Create;
    delete_grant(DeleteGrantRequest) -> DeleteGrantResponse = Delete;
    list_grants(ListGrantsRequest) -> ListGrantsResponse = List;
}

/// A grant on the wire.
pub(super) fn grant(record: &GrantRecord) -> Grant {
    Grant {
        id: record.id.to_string(),
        actions: record.actions.iter().cloned().collect(),
        path: record.path.clone(),
        principal: record.principal.clone(),
        created: convert::time(record.created),
        created_by: record.created_by.clone(),
        require: words(&record.require),
    }
}

/// Conditions, each a word.
fn words(require: &str) -> Vec<String> {
    require.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

struct Create {
    actions: BTreeSet<Action>,
    path: PathPattern,
    principal: PrincipalPattern,
    require: Requirement,
}

#[async_trait]
impl Operation for Create {
    type Request = CreateGrantRequest;
    type Response = CreateGrantResponse;
    const RPC: Rpc = rpc::CREATE_GRANT;
    const CHANGES_VAULT: bool = true;

    fn parse(request: CreateGrantRequest) -> Result<Self, Failure> {
        let action = |name: &String| name.parse::<Action>().ok().filter(|action| action.on_path());
        let actions = request.actions.iter().map(action).collect::<Option<_>>();
        Ok(Self {
            actions: actions
                .ok_or_else(|| Failure::invalid("the actions of a grant are read, use, list, write, delete, destroy"))?,
            path: request.path.parse()?,
            principal: request.principal.parse()?,
            require: request
                .require
                .join(",")
                .parse()
                .map_err(|error: RequirementError| Failure::told(Reason::InvalidArgument, error.to_string()))?,
        })
    }

    fn details(&self) -> BTreeMap<String, String> {
        let actions: Vec<_> = self.actions.iter().map(|action| action.name()).collect();
        let mut details = BTreeMap::from([
            ("grant_actions".to_owned(), actions.join(",")),
            ("grant_path".to_owned(), self.path.to_string()),
            ("grant_to".to_owned(), self.principal.to_string()),
        ]);
        if !self.require.is_empty() {
            details.insert("grant_require".to_owned(), self.require.to_string());
        }
        details
    }

    fn idempotency_key(request: &CreateGrantRequest) -> &str {
        &request.idempotency_key
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<CreateGrantResponse>, Failure> {
        let new = NewGrant {
            actions: self.actions.clone(),
            path: self.path.clone(),
            principal: self.principal.clone(),
            require: self.require.clone(),
        };
        let planned = call.vault.create_grant(&call.who.caller, new)?;
        call.record.detail("grant", planned.answer.id);
        Ok(planned.map(|record| CreateGrantResponse { grant: Some(grant(&record)) }))
    }
}

struct Delete(GrantId);

#[async_trait]
impl Operation for Delete {
    type Request = DeleteGrantRequest;
    type Response = DeleteGrantResponse;
    const RPC: Rpc = rpc::DELETE_GRANT;
    const CHANGES_VAULT: bool = true;

    fn parse(request: DeleteGrantRequest) -> Result<Self, Failure> {
        convert::id(&request.id).map(Self)
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("grant".to_owned(), self.0.to_string())])
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<DeleteGrantResponse>, Failure> {
        Ok(call.vault.delete_grant(self.0)?.map(|()| DeleteGrantResponse {}))
    }
}

struct List {
    reaching: Option<Path>,
    principal: String,
    page: Page,
}

#[async_trait]
impl Operation for List {
    type Request = ListGrantsRequest;
    type Response = ListGrantsResponse;
    const RPC: Rpc = rpc::LIST_GRANTS;

    fn parse(request: ListGrantsRequest) -> Result<Self, Failure> {
        let reaching = if request.path.is_empty() { None } else { Some(request.path.parse()?) };
        let page = Page::parse(request.page_size, request.page_token)?;
        Ok(Self { reaching, principal: request.principal, page })
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListGrantsResponse>, Failure> {
        let list = format!("grants {} {}", self.reaching.as_ref().map_or("", Path::as_str), self.principal);
        let after = self.page.after(&call.vault, &list)?;
        let (grants, more) = call.vault.grants(self.reaching.as_ref(), &self.principal, &after, self.page.size());
        let last = grants.last().map(|grant| grant.id.to_string());
        let next_page_token = Page::next(&call.vault, &list, last.as_deref(), more)?;
        Ok(Planned::read(ListGrantsResponse { grants: grants.iter().map(|record| grant(record)).collect(), next_page_token }))
    }
}
