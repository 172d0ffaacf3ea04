//! `GateService`: whose verdicts on images count, the verdicts, and the pods that they are for.

mod attest;
mod pods;
mod stored;

use std::collections::BTreeMap;

use async_trait::async_trait;
use coffer_core::{digest::Digest, principal::Name};
use coffer_proto::v1::{
    DeleteSignerRequest, DeleteSignerResponse, ListSignersRequest, ListSignersResponse, ListVerdictsRequest,
    ListVerdictsResponse, PutSignerRequest, PutSignerResponse, RevokeVerdictRequest, RevokeVerdictResponse, Signer, Verdict,
    gate_service_server::GateService,
};
use coffer_vault::{Failure, Planned, SignerRecord, Unsealed, VerdictRecord};

use self::{
    attest::{Attest, wire},
    pods::Pods,
    stored::ListStoredMarks,
};
use super::{convert, service};
use crate::{
    page::Page,
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

/// Verdicts on a page, unless said otherwise: they are long.
const VERDICTS_PAGE_DEFAULT: u32 = 50;
/// Advisories that came out later and are told of a verdict.
const ADVISORIES_TOLD_MAX: usize = 16;
/// Verdicts on a page, at most.
const VERDICTS_PAGE_MAX: u32 = 100;

service! { GateService:
    put_signer(PutSignerRequest) -> PutSignerResponse = PutSigner;
    list_signers(ListSignersRequest) -> ListSignersResponse = ListSigners;
    delete_signer(DeleteSignerRequest) -> DeleteSignerResponse = DeleteSigner;
    attest_image(AttestImageRequest) -> AttestImageResponse = Attest;
    list_stored_marks(ListStoredMarksRequest) -> ListStoredMarksResponse = ListStoredMarks;
    list_verdicts(ListVerdictsRequest) -> ListVerdictsResponse = ListVerdicts;
    revoke_verdict(RevokeVerdictRequest) -> RevokeVerdictResponse = RevokeVerdict;
    list_gated_pods(ListGatedPodsRequest) -> ListGatedPodsResponse = Pods;
}

fn signer(name: &str, record: &SignerRecord) -> Signer {
    Signer {
        name: name.to_owned(),
        key_path: record.key_path.clone(),
        created: convert::time(record.created),
        created_by: record.created_by.clone(),
    }
}

/// A digest as a request gives it.
pub(super) fn digest(text: &str) -> Result<Digest, Failure> {
    text.parse().map_err(|_| Failure::invalid("a digest is sha256: and 64 lower-case hexadecimal digits"))
}

/// As many advisories as are told, and how many more there are.
fn told(mut advisories: Vec<String>) -> (Vec<String>, u32) {
    let further = advisories.len().saturating_sub(ADVISORIES_TOLD_MAX);
    advisories.truncate(ADVISORIES_TOLD_MAX);
    (advisories, convert::count(further))
}

/// A verdict on the wire.
fn verdict(vault: &Unsealed, record: &VerdictRecord) -> Result<Verdict, Failure> {
    let revoked = record.revoked.as_ref();
    let (advisories, further_advisories) = told(vault.failing_for(record));
    Ok(Verdict {
        scan: Some(wire(&record.scan)),
        passed: record.passed,
        signer: record.signer.clone(),
        attested: convert::time(record.attested),
        attested_by: record.attested_by.clone(),
        expires: convert::time(record.expires),
        standing: vault.standing_of(record).name().to_owned(),
        revoked_by: revoked.map(|revoked| revoked.by.clone()).unwrap_or_default(),
        revoked_reason: revoked.map(|revoked| revoked.reason.clone()).unwrap_or_default(),
        statement: vault.statement_of(record)?,
        signature: record.signature.clone(),
        key_version: record.key_version,
        advisories,
        further_advisories,
    })
}

struct PutSigner {
    name: Name,
    key_path: String,
}

#[async_trait]
impl Operation for PutSigner {
    type Request = PutSignerRequest;
    type Response = PutSignerResponse;
    const RPC: Rpc = rpc::PUT_SIGNER;
    const CHANGES_VAULT: bool = true;

    fn parse(request: PutSignerRequest) -> Result<Self, Failure> {
        Ok(Self { name: convert::name(&request.name)?, key_path: request.key_path })
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("signer".to_owned(), self.name.to_string()), ("key".to_owned(), self.key_path.clone())])
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<PutSignerResponse>, Failure> {
        let planned = call.vault.put_signer(&call.who.caller, &self.name, &self.key_path).await?;
        Ok(planned.map(|record| PutSignerResponse { signer: Some(signer(self.name.as_str(), &record)) }))
    }
}

struct ListSigners;

#[async_trait]
impl Operation for ListSigners {
    type Request = ListSignersRequest;
    type Response = ListSignersResponse;
    const RPC: Rpc = rpc::LIST_SIGNERS;

    fn parse(_: ListSignersRequest) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListSignersResponse>, Failure> {
        let signers = call.vault.signers().iter().map(|(name, record)| signer(name, record)).collect();
        Ok(Planned::read(ListSignersResponse { signers }))
    }
}

struct DeleteSigner(Name);

#[async_trait]
impl Operation for DeleteSigner {
    type Request = DeleteSignerRequest;
    type Response = DeleteSignerResponse;
    const RPC: Rpc = rpc::DELETE_SIGNER;
    const CHANGES_VAULT: bool = true;

    fn parse(request: DeleteSignerRequest) -> Result<Self, Failure> {
        convert::name(&request.name).map(Self)
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("signer".to_owned(), self.0.to_string())])
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<DeleteSignerResponse>, Failure> {
        Ok(call.vault.delete_signer(&self.0)?.map(|()| DeleteSignerResponse {}))
    }
}

struct ListVerdicts {
    digest: Option<Digest>,
    page: Page,
}

#[async_trait]
impl Operation for ListVerdicts {
    type Request = ListVerdictsRequest;
    type Response = ListVerdictsResponse;
    const RPC: Rpc = rpc::LIST_VERDICTS;

    fn parse(request: ListVerdictsRequest) -> Result<Self, Failure> {
        let digest = if request.digest.is_empty() { None } else { Some(digest(&request.digest)?) };
        let size = if request.page_size == 0 { VERDICTS_PAGE_DEFAULT } else { request.page_size };
        if size > VERDICTS_PAGE_MAX {
            let message = format!("a page has at most {VERDICTS_PAGE_MAX} verdicts");
            return Err(Failure::told(coffer_core::reason::Reason::LimitExceeded, message));
        }
        Ok(Self { digest, page: Page::parse(size, request.page_token)? })
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListVerdictsResponse>, Failure> {
        let list = format!("verdicts {}", self.digest.map(|digest| digest.to_string()).unwrap_or_default());
        let after = self.page.after(&call.vault, &list)?;
        let (rows, more) = call.vault.verdicts(self.digest, &after, self.page.size());
        let next_page_token = Page::next(&call.vault, &list, rows.last().map(|(name, _)| name.as_str()), more)?;
        let verdicts = rows.iter().map(|(_, record)| verdict(&call.vault, record)).collect::<Result<_, _>>()?;
        Ok(Planned::read(ListVerdictsResponse { verdicts, next_page_token }))
    }
}

struct RevokeVerdict {
    manifest: Digest,
    signer: String,
    reason: String,
    undo: bool,
}

#[async_trait]
impl Operation for RevokeVerdict {
    type Request = RevokeVerdictRequest;
    type Response = RevokeVerdictResponse;
    const RPC: Rpc = rpc::REVOKE_VERDICT;
    const CHANGES_VAULT: bool = true;

    fn parse(request: RevokeVerdictRequest) -> Result<Self, Failure> {
        if !request.signer.is_empty() {
            convert::name(&request.signer)?;
        }
        let manifest = digest(&request.manifest)?;
        Ok(Self { manifest, signer: request.signer, reason: request.reason, undo: request.undo })
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("manifest".to_owned(), self.manifest.to_string()),
            ("signer".to_owned(), self.signer.clone()),
            ("undo".to_owned(), self.undo.to_string()),
        ])
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<RevokeVerdictResponse>, Failure> {
        let planned = call.vault.revoke_verdicts(&call.who.caller, (self.manifest, &self.signer), &self.reason, self.undo)?;
        Ok(planned.map(|count| RevokeVerdictResponse { verdicts: convert::count(count) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advisories_are_told_up_to_their_limit_and_the_rest_is_counted() {
        let of = |count: usize| {
            let (told, further) = told(vec!["advisory CVE-1".to_owned(); count]);
            (told.len(), further)
        };
        assert_eq!(of(ADVISORIES_TOLD_MAX), (ADVISORIES_TOLD_MAX, 0));
        assert_eq!(of(ADVISORIES_TOLD_MAX + 1), (ADVISORIES_TOLD_MAX, 1));
    }
}
