//! CAs whose certificates come from elsewhere, and certificates for CAs.

use std::collections::BTreeMap;

use async_trait::async_trait;
use coffer_core::path::Path;
use coffer_proto::v1::{
    CreateIntermediateRequest, CreateIntermediateResponse, ImportIssuerRequest, ImportIssuerResponse, InstallCertificateRequest,
    InstallCertificateResponse, SignIssuerRequest, SignIssuerResponse,
};
use coffer_secret::{SecretBytes, SecretString};
use coffer_vault::{
    Failure, Planned,
    certificates::{CaRequest, CaSubject, KeyKind},
};

use super::{
    certificates::issued,
    issuers::{KIND, issuer, path_length},
    key_kind,
    place::Place,
};
use crate::{
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

pub(super) struct Create {
    place: Place,
    subject: CaSubject,
    key_kind: KeyKind,
}

#[async_trait]
impl Operation for Create {
    type Request = CreateIntermediateRequest;
    type Response = CreateIntermediateResponse;
    const RPC: Rpc = rpc::CREATE_INTERMEDIATE;

    fn parse(request: CreateIntermediateRequest) -> Result<Self, Failure> {
        let place = Place::parse(&request.path, KIND)?;
        let key_kind = if request.key_type.is_empty() { KeyKind::P384 } else { key_kind(&request.key_type)? };
        let subject =
            CaSubject { common_name: request.common_name, organisation: request.organisation, country: request.country };
        Ok(Self { place, subject, key_kind })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.place.path)
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("key_type".to_owned(), self.key_kind.name().to_owned())])
    }

    fn idempotency_key(request: &CreateIntermediateRequest) -> &str {
        &request.idempotency_key
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<CreateIntermediateResponse>, Failure> {
        let Place { path, name } = &self.place;
        let planned = call.vault.create_intermediate(path, name, &self.subject, self.key_kind, &mut call.record).await?;
        Ok(planned.map(|made| CreateIntermediateResponse { issuer: Some(issuer(path.mount(), made)) }))
    }
}

pub(super) struct Import {
    place: Place,
    key: SecretString,
    certificates: String,
}

#[async_trait]
impl Operation for Import {
    type Request = ImportIssuerRequest;
    type Response = ImportIssuerResponse;
    const RPC: Rpc = rpc::IMPORT_ISSUER;

    fn parse(request: ImportIssuerRequest) -> Result<Self, Failure> {
        let key = SecretBytes::from(request.private_key).into_text();
        let place = Place::parse(&request.path, KIND)?;
        let key = key.map_err(|_| Failure::invalid("the key is not PEM"))?;
        Ok(Self { place, key, certificates: request.certificates })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.place.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ImportIssuerResponse>, Failure> {
        let Place { path, name } = &self.place;
        let planned = call.vault.import_issuer(path, name, &self.key, &self.certificates, &mut call.record).await?;
        Ok(planned.map(|made| ImportIssuerResponse { issuer: Some(issuer(path.mount(), made)) }))
    }
}

pub(super) struct Install {
    place: Place,
    certificates: String,
    crossed: bool,
}

#[async_trait]
impl Operation for Install {
    type Request = InstallCertificateRequest;
    type Response = InstallCertificateResponse;
    const RPC: Rpc = rpc::INSTALL_CERTIFICATE;

    fn parse(request: InstallCertificateRequest) -> Result<Self, Failure> {
        Ok(Self { place: Place::parse(&request.path, KIND)?, certificates: request.certificates, crossed: request.crossed })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.place.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<InstallCertificateResponse>, Failure> {
        let Place { path, name } = &self.place;
        let planned = call.vault.install_certificate(path, name, &self.certificates, self.crossed, &mut call.record).await?;
        Ok(planned.map(|made| InstallCertificateResponse { issuer: Some(issuer(path.mount(), made)) }))
    }
}

pub(super) struct Sign {
    place: Place,
    request: CaRequest,
}

#[async_trait]
impl Operation for Sign {
    type Request = SignIssuerRequest;
    type Response = SignIssuerResponse;
    const RPC: Rpc = rpc::SIGN_ISSUER;

    fn parse(request: SignIssuerRequest) -> Result<Self, Failure> {
        let place = Place::parse(&request.path, "sign-ca")?;
        let path_length = path_length(request.max_path_length)?;
        Ok(Self { place, request: CaRequest { request: request.request, ttl_secs: request.ttl_seconds, path_length } })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.place.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<SignIssuerResponse>, Failure> {
        let Place { path, name } = &self.place;
        let planned = call.vault.sign_issuer(&call.who, path, name, &self.request, &mut call.record).await?;
        Ok(planned.map(|made| SignIssuerResponse { issued: Some(issued(&made)) }))
    }
}
