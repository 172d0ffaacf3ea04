//! Certificates.

use async_trait::async_trait;
use coffer_core::path::Path;
use coffer_proto::v1::{
    IssueCertificateRequest, IssueCertificateResponse, IssuedCertificate, SignCertificateRequest, SignCertificateResponse,
};
use coffer_vault::{
    Failure, Planned,
    certificates::{IssueRequest, Issued, SignRequest},
};

use super::{key_kind, place::Place};
use crate::{
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
    services::convert,
};

pub(super) fn issued(issued: &Issued) -> IssuedCertificate {
    IssuedCertificate {
        certificate: issued.certificate.clone(),
        ca_chain: issued.ca_chain.clone(),
        serial: issued.serial.to_string(),
        not_before: convert::time(issued.not_before),
        not_after: convert::time(issued.not_after),
        issuer: issued.issuer.clone(),
        names: issued.names.iter().map(ToString::to_string).collect(),
        stored: issued.stored,
    }
}

const fn some(ttl_secs: u64) -> Option<u64> {
    if ttl_secs == 0 { None } else { Some(ttl_secs) }
}

pub(super) struct Issue {
    place: Place,
    request: IssueRequest,
}

#[async_trait]
impl Operation for Issue {
    type Request = IssueCertificateRequest;
    type Response = IssueCertificateResponse;
    const RPC: Rpc = rpc::ISSUE_CERTIFICATE;

    fn parse(request: IssueCertificateRequest) -> Result<Self, Failure> {
        let place = Place::parse(&request.path, "issue")?;
        let key_kind = if request.key_type.is_empty() { None } else { Some(key_kind(&request.key_type)?) };
        let ttl_secs = some(request.ttl_seconds);
        Ok(Self { place, request: IssueRequest { names: request.names, ttl_secs, key_kind, shortened: false } })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.place.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<IssueCertificateResponse>, Failure> {
        let Place { path, name } = &self.place;
        let planned = call.vault.issue_certificate(&call.who, path, name, &self.request, &mut call.record).await?;
        Ok(planned.map(|made| {
            let fields = issued(&made);
            let private_key = made.private_key.map(|key| key.into_exposed().into_bytes()).unwrap_or_default();
            IssueCertificateResponse { issued: Some(fields), private_key }
        }))
    }
}

pub(super) struct Sign {
    place: Place,
    request: SignRequest,
}

#[async_trait]
impl Operation for Sign {
    type Request = SignCertificateRequest;
    type Response = SignCertificateResponse;
    const RPC: Rpc = rpc::SIGN_CERTIFICATE;

    fn parse(request: SignCertificateRequest) -> Result<Self, Failure> {
        let place = Place::parse(&request.path, "sign")?;
        Ok(Self { place, request: SignRequest { request: request.request, ttl_secs: some(request.ttl_seconds) } })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.place.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<SignCertificateResponse>, Failure> {
        let Place { path, name } = &self.place;
        let planned = call.vault.sign_certificate(&call.who, path, name, &self.request, &mut call.record).await?;
        Ok(planned.map(|made| SignCertificateResponse { issued: Some(issued(&made)) }))
    }
}
