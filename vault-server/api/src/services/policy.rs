//! `PolicyService`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use coffer_core::{
    action::Action,
    path::Path,
    policy::Policies,
    principal::{Name, Principal},
};
use coffer_proto::v1::{
    DecidingRule, DeletePolicyRequest, DeletePolicyResponse, ExplainRequest, ExplainResponse, GetPolicyRequest,
    GetPolicyResponse, LintPolicyRequest, LintPolicyResponse, ListPoliciesRequest, ListPoliciesResponse, Policy, PolicyFinding,
    PutPolicyRequest, PutPolicyResponse, WithheldGrant, policy_service_server::PolicyService,
};
use coffer_vault::{Failure, Planned, PolicyRecord, Row, etag};

use super::{convert, grant::grant, service};
use crate::{
    page::Page,
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

service! { PolicyService:
    put_policy(PutPolicyRequest) -> PutPolicyResponse = Put;
    get_policy(GetPolicyRequest) -> GetPolicyResponse = Get;
    list_policies(ListPoliciesRequest) -> ListPoliciesResponse = List;
    delete_policy(DeletePolicyRequest) -> DeletePolicyResponse = Delete;
    lint_policy(LintPolicyRequest) -> LintPolicyResponse = Lint;
    explain(ExplainRequest) -> ExplainResponse = Explain;
}

fn policy(name: &str, row: &Row<PolicyRecord>) -> Policy {
    Policy {
        name: name.to_owned(),
        text: row.value.text.clone(),
        updated: convert::time(row.value.updated),
        updated_by: row.value.updated_by.clone(),
        etag: etag(row),
    }
}

fn about(name: &Name) -> BTreeMap<String, String> {
    BTreeMap::from([("policy".to_owned(), name.to_string())])
}

struct Put {
    name: Name,
    text: String,
    etag: String,
}

#[async_trait]
impl Operation for Put {
    type Request = PutPolicyRequest;
    type Response = PutPolicyResponse;
    const RPC: Rpc = rpc::PUT_POLICY;
    const CHANGES_VAULT: bool = true;

    fn parse(request: PutPolicyRequest) -> Result<Self, Failure> {
        Ok(Self { name: convert::name(&request.name)?, text: request.text, etag: request.etag })
    }

    fn details(&self) -> BTreeMap<String, String> {
        about(&self.name)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<PutPolicyResponse>, Failure> {
        let planned = call.vault.put_policy(&call.who.caller, &self.name, self.text.clone(), &self.etag)?;
        Ok(planned.map(|row| PutPolicyResponse { policy: Some(policy(self.name.as_str(), &row)) }))
    }
}

struct Get(Name);

#[async_trait]
impl Operation for Get {
    type Request = GetPolicyRequest;
    type Response = GetPolicyResponse;
    const RPC: Rpc = rpc::GET_POLICY;

    fn parse(request: GetPolicyRequest) -> Result<Self, Failure> {
        convert::name(&request.name).map(Self)
    }

    fn details(&self) -> BTreeMap<String, String> {
        about(&self.0)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetPolicyResponse>, Failure> {
        let row = call.vault.policy(&self.0)?;
        Ok(Planned::read(GetPolicyResponse { policy: Some(policy(self.0.as_str(), &row)) }))
    }
}

struct List(Page);

#[async_trait]
impl Operation for List {
    type Request = ListPoliciesRequest;
    type Response = ListPoliciesResponse;
    const RPC: Rpc = rpc::LIST_POLICIES;

    fn parse(request: ListPoliciesRequest) -> Result<Self, Failure> {
        Page::parse(request.page_size, request.page_token).map(Self)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListPoliciesResponse>, Failure> {
        const LIST: &str = "policies";
        let after = self.0.after(&call.vault, LIST)?;
        let (rows, more) = call.vault.policies(&after, self.0.size());
        let last = rows.last().map(|(name, _)| name.as_str());
        let next_page_token = Page::next(&call.vault, LIST, last, more)?;
        let policies = rows.iter().map(|(name, row)| policy(name, row)).collect();
        Ok(Planned::read(ListPoliciesResponse { policies, next_page_token }))
    }
}

struct Delete {
    name: Name,
    etag: String,
}

#[async_trait]
impl Operation for Delete {
    type Request = DeletePolicyRequest;
    type Response = DeletePolicyResponse;
    const RPC: Rpc = rpc::DELETE_POLICY;
    const CHANGES_VAULT: bool = true;

    fn parse(request: DeletePolicyRequest) -> Result<Self, Failure> {
        Ok(Self { name: convert::name(&request.name)?, etag: request.etag })
    }

    fn details(&self) -> BTreeMap<String, String> {
        about(&self.name)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<DeletePolicyResponse>, Failure> {
        Ok(call.vault.delete_policy(&self.name, &self.etag)?.map(|()| DeletePolicyResponse {}))
    }
}

struct Lint(String);

#[async_trait]
impl Operation for Lint {
    type Request = LintPolicyRequest;
    type Response = LintPolicyResponse;
    const RPC: Rpc = rpc::LINT_POLICY;

    fn parse(request: LintPolicyRequest) -> Result<Self, Failure> {
        Ok(Self(request.text))
    }

    async fn run(&self, _: &mut Call) -> Result<Planned<LintPolicyResponse>, Failure> {
        let findings = Policies::lint(&self.0).into_iter();
        let finding = |finding: coffer_core::policy::Finding| PolicyFinding {
            error: finding.error,
            message: finding.message,
            line: finding.line,
        };
        Ok(Planned::read(LintPolicyResponse { findings: findings.map(finding).collect() }))
    }
}

/// Conditions that do not hold, of grants and pods, that an explanation tells.
const WITHHELD_TOLD_MAX: usize = 100;

struct Explain {
    principal: Principal,
    action: Action,
    path: Path,
}

#[async_trait]
impl Operation for Explain {
    type Request = ExplainRequest;
    type Response = ExplainResponse;
    const RPC: Rpc = rpc::EXPLAIN;

    fn parse(request: ExplainRequest) -> Result<Self, Failure> {
        let action = request.action.parse::<Action>().ok().filter(|action| action.on_path());
        Ok(Self {
            principal: request.principal.parse()?,
            action: action.ok_or_else(|| Failure::invalid("the actions on paths are read, list, write, delete, destroy"))?,
            path: request.path.parse()?,
        })
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("explained_principal".to_owned(), self.principal.to_string()),
            ("explained_action".to_owned(), self.action.to_string()),
            ("explained_path".to_owned(), self.path.to_string()),
        ])
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ExplainResponse>, Failure> {
        let explained = call.vault.explain(&self.principal, self.action, &self.path);
        let withheld = call.vault.why_withheld(&self.principal, self.action, &self.path, WITHHELD_TOLD_MAX).into_iter();
        let withheld = withheld.map(|(grant, pod, reason)| WithheldGrant { grant: grant.to_string(), pod, reason });
        let near = explained.near_misses.iter().filter_map(|id| call.vault.grant(*id));
        let rules = explained.rules.into_iter().map(|rule| DecidingRule {
            kind: rule.kind.to_string(),
            id: rule.id,
            forbids: rule.forbids,
            text: rule.text,
        });
        Ok(Planned::read(ExplainResponse {
            permitted: explained.permitted,
            summary: explained.summary,
            rules: rules.collect(),
            near_misses: near.map(|record| grant(&record)).collect(),
            withheld: withheld.collect(),
        }))
    }
}
