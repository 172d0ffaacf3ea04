//! `LeaseService`.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use coffer_core::{action::Action, path::Path, policy::Resource};
use coffer_proto::v1::{
    AcknowledgeCredentialRequest, AcknowledgeCredentialResponse, ForgetLeaseRequest, ForgetLeaseResponse, GetLeaseRequest,
    GetLeaseResponse, IssueCredentialRequest, IssueCredentialResponse, Lease, LeaseState as WireState, ListLeasesRequest,
    ListLeasesResponse, RenewLeaseRequest, RenewLeaseResponse, RevokeLeaseRequest, RevokeLeaseResponse, RevokeLeasesRequest,
    RevokeLeasesResponse, lease_service_server::LeaseService,
};
use coffer_vault::{BegunCredential, CredentialRequest, Failure, LeaseInfo, LeaseName, LeaseState, Planned, Renewed, Which};

use super::{convert, service};
use crate::{
    page::Page,
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

service! { LeaseService:
    issue_credential(IssueCredentialRequest) -> IssueCredentialResponse = Issue;
    renew_lease(RenewLeaseRequest) -> RenewLeaseResponse = Renew;
    revoke_lease(RevokeLeaseRequest) -> RevokeLeaseResponse = Revoke;
    revoke_leases(RevokeLeasesRequest) -> RevokeLeasesResponse = RevokeMany;
    get_lease(GetLeaseRequest) -> GetLeaseResponse = Get;
    list_leases(ListLeasesRequest) -> ListLeasesResponse = List;
    forget_lease(ForgetLeaseRequest) -> ForgetLeaseResponse = Forget;
    acknowledge_credential(AcknowledgeCredentialRequest) -> AcknowledgeCredentialResponse = Acknowledge;
}

fn lease(info: &LeaseInfo) -> Lease {
    let state = match info.state {
        _ if info.stuck => WireState::Stuck,
        LeaseState::Pending => WireState::Pending,
        LeaseState::Live => WireState::Live,
        LeaseState::Ending | LeaseState::Again => WireState::Ending,
    };
    Lease {
        id: info.name.to_string(),
        principal: info.principal.clone(),
        pod_uid: info.pod_uid.clone().unwrap_or_default(),
        issued: convert::time(info.issued),
        expires: convert::time(info.expires),
        expires_at_most: convert::time(info.expires_at_most),
        state: state.into(),
        attempts: info.attempts,
        last_error: info.error.clone(),
        next_attempt: if info.state == LeaseState::Live { None } else { convert::time(info.due) },
    }
}

fn ttl(secs: u64) -> Option<Duration> {
    (secs != 0).then(|| Duration::from_secs(secs))
}

fn about(name: &LeaseName) -> BTreeMap<String, String> {
    BTreeMap::from([("lease".to_owned(), name.to_string())])
}

struct Issue {
    asked: CredentialRequest,
    begun: Option<BegunCredential>,
}

#[async_trait]
impl Operation for Issue {
    type Request = IssueCredentialRequest;
    type Response = IssueCredentialResponse;
    const RPC: Rpc = rpc::ISSUE_CREDENTIAL;

    fn parse(request: IssueCredentialRequest) -> Result<Self, Failure> {
        let IssueCredentialRequest { path, ttl_seconds, parameters, idempotency_key: _ } = request;
        Ok(Self { asked: CredentialRequest { path: path.parse()?, ttl: ttl(ttl_seconds), parameters }, begun: None })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.asked.path)
    }

    fn idempotency_key(request: &IssueCredentialRequest) -> &str {
        &request.idempotency_key
    }

    async fn prepare(&mut self, call: &Call) -> Result<(), Failure> {
        self.begun = Some(call.vault.begin_credential(&call.who, &self.asked, call.id).await?);
        Ok(())
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<IssueCredentialResponse>, Failure> {
        let begun = self.begun.as_ref().ok_or_else(|| Failure::internal("a credential that was not begun"))?;
        let planned = call.vault.finish_credential(&call.who, &self.asked, begun, &mut call.record).await?;
        Ok(planned.map(|made| IssueCredentialResponse {
            fields: made.fields.into_iter().map(|(name, value)| (name, value.into_exposed())).collect(),
            lease: made.lease.as_ref().map(lease),
            issued: convert::time(made.issued),
            expires: convert::time(made.expires),
            version: made.version,
        }))
    }
}

struct Renew {
    name: LeaseName,
    path: Path,
    ttl: Option<Duration>,
    renewed: Option<Renewed>,
}

#[async_trait]
impl Operation for Renew {
    type Request = RenewLeaseRequest;
    type Response = RenewLeaseResponse;
    const RPC: Rpc = rpc::RENEW_LEASE;

    fn parse(request: RenewLeaseRequest) -> Result<Self, Failure> {
        let name: LeaseName = request.id.parse()?;
        Ok(Self { path: name.path()?, name, ttl: ttl(request.ttl_seconds), renewed: None })
    }

    fn details(&self) -> BTreeMap<String, String> {
        about(&self.name)
    }

    async fn prepare(&mut self, call: &Call) -> Result<(), Failure> {
        // What was granted when it was made may have been taken away since.
        let resource = Resource::Path(self.path.clone());
        if !call.vault.decide(&call.who, Action::Read, &resource).permitted {
            return Err(Failure::not_found_or_denied());
        }
        self.renewed = Some(call.vault.renew_credential(&call.who, &self.name, self.ttl).await?);
        Ok(())
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<RenewLeaseResponse>, Failure> {
        let renewed = self.renewed.as_ref().ok_or_else(|| Failure::internal("a credential that was not renewed"))?;
        let planned = call.vault.confirm_renewal(renewed).await?;
        call.record.detail("expires", planned.answer.expires.secs());
        Ok(planned.map(|info| RenewLeaseResponse { lease: Some(lease(&info)) }))
    }
}

struct Revoke(LeaseName);

#[async_trait]
impl Operation for Revoke {
    type Request = RevokeLeaseRequest;
    type Response = RevokeLeaseResponse;
    const RPC: Rpc = rpc::REVOKE_LEASE;

    fn parse(request: RevokeLeaseRequest) -> Result<Self, Failure> {
        request.id.parse().map(Self)
    }

    fn details(&self) -> BTreeMap<String, String> {
        about(&self.0)
    }

    async fn prepare(&mut self, call: &Call) -> Result<(), Failure> {
        call.vault.revoke_lease(&call.who, &self.0).await
    }

    async fn run(&self, _: &mut Call) -> Result<Planned<RevokeLeaseResponse>, Failure> {
        Ok(Planned::read(RevokeLeaseResponse {}))
    }
}

struct RevokeMany(Which);

#[async_trait]
impl Operation for RevokeMany {
    type Request = RevokeLeasesRequest;
    type Response = RevokeLeasesResponse;
    const RPC: Rpc = rpc::REVOKE_LEASES;

    fn parse(request: RevokeLeasesRequest) -> Result<Self, Failure> {
        if request.path.is_empty() && request.principal.is_empty() {
            return Err(Failure::invalid("say which leases: of a path, of a principal, or both"));
        }
        let path = if request.path.is_empty() { None } else { Some(request.path.parse()?) };
        let principal = (!request.principal.is_empty()).then_some(request.principal);
        Ok(Self(Which { path, principal, stuck: false }))
    }

    fn details(&self) -> BTreeMap<String, String> {
        let path = self.0.path.as_ref().map(|path| ("leases_at".to_owned(), path.to_string()));
        let principal = self.0.principal.as_ref().map(|principal| ("leases_of".to_owned(), principal.clone()));
        path.into_iter().chain(principal).collect()
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<RevokeLeasesResponse>, Failure> {
        let count = call.vault.revoke_leases(&self.0).await?;
        call.record.detail("count", count);
        Ok(Planned::read(RevokeLeasesResponse { count }))
    }
}

struct Get(LeaseName);

#[async_trait]
impl Operation for Get {
    type Request = GetLeaseRequest;
    type Response = GetLeaseResponse;
    const RPC: Rpc = rpc::GET_LEASE;

    fn parse(request: GetLeaseRequest) -> Result<Self, Failure> {
        request.id.parse().map(Self)
    }

    fn details(&self) -> BTreeMap<String, String> {
        about(&self.0)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetLeaseResponse>, Failure> {
        let info = call.vault.show_lease(&call.who, &self.0).await?;
        Ok(Planned::read(GetLeaseResponse { lease: Some(lease(&info)) }))
    }
}

struct List {
    which: Which,
    page: Page,
}

#[async_trait]
impl Operation for List {
    type Request = ListLeasesRequest;
    type Response = ListLeasesResponse;
    const RPC: Rpc = rpc::LIST_LEASES;

    fn parse(request: ListLeasesRequest) -> Result<Self, Failure> {
        let path = if request.path.is_empty() { None } else { Some(request.path.parse()?) };
        let page = Page::parse(request.page_size, request.page_token)?;
        Ok(Self { which: Which { path, principal: None, stuck: request.stuck }, page })
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListLeasesResponse>, Failure> {
        let list = format!("leases {} {}", self.which.path.as_ref().map_or("", Path::as_str), self.which.stuck);
        let after = self.page.after(&call.vault, &list)?;
        let (leases, last) = call.vault.list_leases(&self.which, &after, self.page.size()).await?;
        let next_page_token = Page::next(&call.vault, &list, last.as_deref(), last.is_some())?;
        Ok(Planned::read(ListLeasesResponse { leases: leases.iter().map(lease).collect(), next_page_token }))
    }
}

struct Forget(LeaseName);

#[async_trait]
impl Operation for Forget {
    type Request = ForgetLeaseRequest;
    type Response = ForgetLeaseResponse;
    const RPC: Rpc = rpc::FORGET_LEASE;

    fn parse(request: ForgetLeaseRequest) -> Result<Self, Failure> {
        request.id.parse().map(Self)
    }

    fn details(&self) -> BTreeMap<String, String> {
        about(&self.0)
    }

    async fn prepare(&mut self, call: &Call) -> Result<(), Failure> {
        call.vault.forget_lease(&self.0).await
    }

    async fn run(&self, _: &mut Call) -> Result<Planned<ForgetLeaseResponse>, Failure> {
        Ok(Planned::read(ForgetLeaseResponse {}))
    }
}

struct Acknowledge {
    path: Path,
    version: u64,
}

#[async_trait]
impl Operation for Acknowledge {
    type Request = AcknowledgeCredentialRequest;
    type Response = AcknowledgeCredentialResponse;
    const RPC: Rpc = rpc::ACKNOWLEDGE_CREDENTIAL;

    fn parse(request: AcknowledgeCredentialRequest) -> Result<Self, Failure> {
        Ok(Self { path: request.path.parse()?, version: request.version })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("version".to_owned(), self.version.to_string())])
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<AcknowledgeCredentialResponse>, Failure> {
        call.vault.acknowledge_credential(&call.who, &self.path, self.version).await?;
        Ok(Planned::read(AcknowledgeCredentialResponse {}))
    }
}
