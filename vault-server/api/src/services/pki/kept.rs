//! What is kept of certificates, and taking them back.

use async_trait::async_trait;
use coffer_core::path::Path;
use coffer_proto::v1::{
    GetCertificateRequest, GetCertificateResponse, GetCrlRequest, GetCrlResponse, KeptCertificate, ListCertificatesRequest,
    ListCertificatesResponse, RevokeCertificateRequest, RevokeCertificateResponse,
};
use coffer_vault::{
    Failure, Planned,
    certificates::{Kept, RevocationReason, Serial},
};

use super::{
    issuers,
    place::{Numbered, Place, whole},
};
use crate::{
    page::Page,
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
    services::convert,
};

fn kept(kept: Kept) -> KeptCertificate {
    let (revoked, reason) = kept.revoked.unzip();
    KeptCertificate {
        serial: kept.serial.to_string(),
        certificate: kept.certificate,
        issuer: kept.issuer,
        role: kept.role,
        principal: kept.principal,
        names: kept.names,
        issued: convert::time(kept.issued),
        not_after: convert::time(kept.not_after),
        revoked: revoked.and_then(convert::time),
        reason: reason.map_or("", RevocationReason::name).to_owned(),
    }
}

pub(super) struct Get(Numbered);

#[async_trait]
impl Operation for Get {
    type Request = GetCertificateRequest;
    type Response = GetCertificateResponse;
    const RPC: Rpc = rpc::GET_CERTIFICATE;

    fn parse(request: GetCertificateRequest) -> Result<Self, Failure> {
        Numbered::parse(&request.path).map(Self)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.0.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetCertificateResponse>, Failure> {
        let found = call.vault.kept_certificate(&self.0.path, &self.0.serial).await?;
        Ok(Planned::read(GetCertificateResponse { certificate: Some(kept(found)) }))
    }
}

pub(super) struct List {
    path: Path,
    page: Page,
}

#[async_trait]
impl Operation for List {
    type Request = ListCertificatesRequest;
    type Response = ListCertificatesResponse;
    const RPC: Rpc = rpc::LIST_CERTIFICATES;

    fn parse(request: ListCertificatesRequest) -> Result<Self, Failure> {
        Ok(Self { path: whole(&request.path, "certificates")?, page: Page::parse(request.page_size, request.page_token)? })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListCertificatesResponse>, Failure> {
        let list = format!("certificates {}", self.path);
        let after: Option<Serial> = self.page.after(&call.vault, &list)?.parse().ok();
        let (found, more) = call.vault.kept_certificates(&self.path, after.as_ref(), self.page.size()).await?;
        let last = found.last().map(|kept| kept.serial.to_string());
        let next_page_token = Page::next(&call.vault, &list, last.as_deref(), more)?;
        Ok(Planned::read(ListCertificatesResponse { certificates: found.into_iter().map(kept).collect(), next_page_token }))
    }
}

pub(super) struct Revoke {
    place: Numbered,
    certificate: Option<String>,
    reason: RevocationReason,
}

#[async_trait]
impl Operation for Revoke {
    type Request = RevokeCertificateRequest;
    type Response = RevokeCertificateResponse;
    const RPC: Rpc = rpc::REVOKE_CERTIFICATE;
    const CHANGES_VAULT: bool = true;

    fn parse(request: RevokeCertificateRequest) -> Result<Self, Failure> {
        let place = Numbered::parse(&request.path)?;
        let wanted = if request.reason.is_empty() { RevocationReason::default().name() } else { request.reason.as_str() };
        let reason = RevocationReason::ALL.iter().copied().find(|reason| reason.name() == wanted);
        let reason = reason.ok_or(Failure::invalid(
            "reasons are unspecified, key-compromise, affiliation-changed, superseded, cessation-of-operation and privilege-withdrawn",
        ))?;
        Ok(Self { place, certificate: Some(request.certificate).filter(|text| !text.is_empty()), reason })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.place.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<RevokeCertificateResponse>, Failure> {
        let (Numbered { path, serial }, given) = (&self.place, self.certificate.as_deref());
        let planned = call.vault.revoke_certificate(&call.who, path, serial, given, self.reason, &mut call.record).await?;
        Ok(planned
            .map(|done| RevokeCertificateResponse { revoked: convert::time(done.at), reason: done.reason.name().to_owned() }))
    }
}

pub(super) struct GetCrl(Place);

#[async_trait]
impl Operation for GetCrl {
    type Request = GetCrlRequest;
    type Response = GetCrlResponse;
    const RPC: Rpc = rpc::GET_CRL;

    fn parse(request: GetCrlRequest) -> Result<Self, Failure> {
        Place::parse(&request.path, issuers::KIND).map(Self)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.0.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetCrlResponse>, Failure> {
        let list = call.vault.crl_of(&self.0.path, &self.0.name).await?;
        Ok(Planned::read(GetCrlResponse {
            next_update: convert::time(list.next_update),
            entries: u64::try_from(list.entries).map_err(|_| Failure::internal("a number does not fit"))?,
            crl: list.pem(),
        }))
    }
}
