//! `SessionService`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use coffer_core::{id::SessionId, principal::Principal};
use coffer_proto::v1::{
    ListSessionsRequest, ListSessionsResponse, RevokePrincipalRequest, RevokePrincipalResponse, RevokeSessionRequest,
    RevokeSessionResponse, SessionInfo, session_service_server::SessionService,
};
use coffer_vault::{Failure, Planned};

use super::{convert, service};
use crate::{
    page::Page,
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

service! { SessionService:
    list_sessions(ListSessionsRequest) -> ListSessionsResponse = List;
    revoke_session(RevokeSessionRequest) -> RevokeSessionResponse = Revoke;
    revoke_principal(RevokePrincipalRequest) -> RevokePrincipalResponse = RevokePrincipal;
}

struct List(Page);

#[async_trait]
impl Operation for List {
    type Request = ListSessionsRequest;
    type Response = ListSessionsResponse;
    const RPC: Rpc = rpc::LIST_SESSIONS;

    fn parse(request: ListSessionsRequest) -> Result<Self, Failure> {
        Page::parse(request.page_size, request.page_token).map(Self)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListSessionsResponse>, Failure> {
        const LIST: &str = "sessions";
        let after = self.0.after(&call.vault, LIST)?;
        let (sessions, more) = call.vault.sessions(&after, self.0.size());
        let last = sessions.last().map(|session| session.id.to_string());
        let next_page_token = Page::next(&call.vault, LIST, last.as_deref(), more)?;
        let sessions = sessions.iter().map(|session| SessionInfo {
            id: session.id.to_string(),
            principal: session.principal.clone(),
            created: convert::time(session.created),
            expires: convert::time(session.expires),
        });
        Ok(Planned::read(ListSessionsResponse { sessions: sessions.collect(), next_page_token }))
    }
}

struct Revoke(SessionId);

#[async_trait]
impl Operation for Revoke {
    type Request = RevokeSessionRequest;
    type Response = RevokeSessionResponse;
    const RPC: Rpc = rpc::REVOKE_SESSION;
    const CHANGES_VAULT: bool = true;

    fn parse(request: RevokeSessionRequest) -> Result<Self, Failure> {
        convert::id(&request.id).map(Self)
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("revoked_session".to_owned(), self.0.to_string())])
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<RevokeSessionResponse>, Failure> {
        Ok(call.vault.revoke_session(self.0)?.map(|()| RevokeSessionResponse {}))
    }
}

struct RevokePrincipal(String);

#[async_trait]
impl Operation for RevokePrincipal {
    type Request = RevokePrincipalRequest;
    type Response = RevokePrincipalResponse;
    const RPC: Rpc = rpc::REVOKE_PRINCIPAL;
    const CHANGES_VAULT: bool = true;

    fn parse(request: RevokePrincipalRequest) -> Result<Self, Failure> {
        let uid = |uid: &str| (1..=64).contains(&uid.len()) && uid.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if !request.principal.strip_prefix("pod:").is_some_and(uid) {
            request.principal.parse::<Principal>()?;
        }
        Ok(Self(request.principal))
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("revoked_principal".to_owned(), self.0.clone())])
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<RevokePrincipalResponse>, Failure> {
        Ok(call.vault.revoke_principal(&self.0)?.map(|()| RevokePrincipalResponse {}))
    }
}
