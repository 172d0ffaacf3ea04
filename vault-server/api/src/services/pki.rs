//! `PkiService`.

mod certificates;
mod config;
mod intermediates;
mod issuers;
mod kept;
mod place;
mod roles;

use coffer_proto::v1::pki_service_server::PkiService;
use coffer_vault::{Failure, certificates::KeyKind};

use super::service;

service! { PkiService:
    create_issuer(CreateIssuerRequest) -> CreateIssuerResponse = issuers::Create;
    create_intermediate(CreateIntermediateRequest) -> CreateIntermediateResponse = intermediates::Create;
    import_issuer(ImportIssuerRequest) -> ImportIssuerResponse = intermediates::Import;
    install_certificate(InstallCertificateRequest) -> InstallCertificateResponse = intermediates::Install;
    sign_issuer(SignIssuerRequest) -> SignIssuerResponse = intermediates::Sign;
    get_issuer(GetIssuerRequest) -> GetIssuerResponse = issuers::Get;
    list_issuers(ListIssuersRequest) -> ListIssuersResponse = issuers::List;
    delete_issuer(DeleteIssuerRequest) -> DeleteIssuerResponse = issuers::Delete;
    get_pki_config(GetPkiConfigRequest) -> GetPkiConfigResponse = config::Get;
    put_pki_config(PutPkiConfigRequest) -> PutPkiConfigResponse = config::Put;
    put_pki_role(PutPkiRoleRequest) -> PutPkiRoleResponse = roles::Put;
    get_pki_role(GetPkiRoleRequest) -> GetPkiRoleResponse = roles::Get;
    list_pki_roles(ListPkiRolesRequest) -> ListPkiRolesResponse = roles::List;
    delete_pki_role(DeletePkiRoleRequest) -> DeletePkiRoleResponse = roles::Delete;
    issue_certificate(IssueCertificateRequest) -> IssueCertificateResponse = certificates::Issue;
    sign_certificate(SignCertificateRequest) -> SignCertificateResponse = certificates::Sign;
    get_certificate(GetCertificateRequest) -> GetCertificateResponse = kept::Get;
    list_certificates(ListCertificatesRequest) -> ListCertificatesResponse = kept::List;
    revoke_certificate(RevokeCertificateRequest) -> RevokeCertificateResponse = kept::Revoke;
    get_crl(GetCrlRequest) -> GetCrlResponse = kept::GetCrl;
}

fn key_kind(name: &str) -> Result<KeyKind, Failure> {
    KeyKind::named(name).ok_or(Failure::invalid("kinds of keys are p256, p384, ed25519 and, for keys that callers make, rsa"))
}
