//! Certificates: made, signed, and what others say of them.

mod agent;
mod command;
mod credentials;
mod lists;
mod openssl;

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client,
    proto::{
        CreateIssuerRequest, DeleteIssuerRequest, GetPkiRoleRequest, IssueCertificateRequest, IssueCertificateResponse, Issuer,
        ListIssuersRequest, ListPkiRolesRequest, PkiRole, PutPkiRoleRequest, SignCertificateRequest,
    },
};
use coffer_tests::issuer::Pod;
use tonic::Status;

use crate::vault::{ADMIN, Vault, reason};

/// Where the pod's certificates are made.
const PATH: &str = "pki/issue/web";
/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// A vault with a mount of the engine, a root CA, and a role that the pod `shop/api` may use.
struct Pki {
    vault: Vault,
    admin: Client,
    api: Client,
    root: Issuer,
}

impl Pki {
    async fn new(key_type: &str) -> Result<Self> {
        Self::on(Vault::new().await?, key_type).await
    }

    async fn on(vault: Vault, key_type: &str) -> Result<Self> {
        vault.mount("pki", "pki").await?;
        let admin = vault.operator(ADMIN).await?;
        let root = create_root(&admin, "pki/issuers/root", key_type).await?;
        let role = PkiRole {
            allowed_hosts: vec!["web.shop.svc".into(), "*.web.shop.svc".into(), "{service_account}.{namespace}.svc".into()],
            allowed_addresses: vec!["10.0.0.0/8".into()],
            key_types: ["p256", "p384", "ed25519", "rsa"].map(str::to_owned).to_vec(),
            common_name: true,
            organisation: "Shop".into(),
            ttl_seconds: DAY,
            max_ttl_seconds: 30 * DAY,
            ..PkiRole::default()
        };
        put_role(&admin, "pki/roles/web", role).await?;
        vault.grant(&["read"], "pki/issue/web", "k8s:test/shop/api").await?;
        vault.grant(&["use"], "pki/sign/web", "k8s:test/shop/api").await?;
        let api = vault.workload(&Pod::new("shop", "api")?).await?;
        Ok(Self { vault, admin, api, root })
    }

    /// A certificate of the role, whose key is among the vault's canaries.
    async fn issue(&self, names: &[&str], key_type: &str) -> Result<IssueCertificateResponse> {
        let made = issue(&self.api, "pki/issue/web", names, key_type).await?;
        self.vault.server.canaries().add("a certificate's key", std::str::from_utf8(&made.private_key)?);
        Ok(made)
    }
}

async fn create_root(client: &Client, path: &str, key_type: &str) -> Result<Issuer, Status> {
    let request = CreateIssuerRequest {
        path: path.to_owned(),
        common_name: if path.ends_with("/root") { "Shop Root" } else { path }.to_owned(),
        organisation: "Shop".to_owned(),
        key_type: key_type.to_owned(),
        ttl_seconds: 3_650 * DAY,
        ..CreateIssuerRequest::default()
    };
    let made = client.pki().create_issuer(request).await?.into_inner();
    made.issuer.ok_or_else(|| Status::internal("an issuer that is made is shown"))
}

async fn put_role(client: &Client, path: &str, role: PkiRole) -> Result<(), Status> {
    let request = PutPkiRoleRequest { path: path.to_owned(), role: Some(role), etag: String::new() };
    client.pki().put_pki_role(request).await.map(drop)
}

async fn issue(client: &Client, path: &str, names: &[&str], key_type: &str) -> Result<IssueCertificateResponse, Status> {
    let request = IssueCertificateRequest {
        path: path.to_owned(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        key_type: key_type.to_owned(),
        ttl_seconds: 0,
    };
    Ok(client.pki().issue_certificate(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_for_whom_they_were_granted_and_every_one_leaves_a_record_without_its_key() -> Result<()> {
    let pki = Pki::new("p256").await?;
    let made = pki.issue(&["web.shop.svc", "api.shop.svc"], "").await?;
    let issued = made.issued.context("a certificate that is made is shown")?;
    ensure!(issued.names == ["web.shop.svc", "api.shop.svc"] && issued.issuer == "root" && issued.stored);
    ensure!(issued.ca_chain == pki.root.certificate);
    let detail = format!(r#""serial":"{}""#, issued.serial);
    ensure!(pki.vault.has_logged(&detail).await?, "no record of {}", issued.serial);
    ensure!(pki.vault.has_logged(r#""names":"web.shop.svc,api.shop.svc""#).await?);

    // Another pod, the admin who made the role, another role, and the same role by another road.
    let other = pki.vault.workload(&Pod::new("shop", "other")?).await?;
    for (client, path) in
        [(&other, "pki/issue/web"), (&pki.admin, "pki/issue/web"), (&pki.api, "pki/issue/other"), (&pki.api, "pki/issue/absent")]
    {
        ensure!(reason(issue(client, path, &["web.shop.svc"], "").await) == "NOT_FOUND_OR_DENIED", "{path}");
    }
    for path in ["pki/issue", "pki/issue/web/more", "pki/roles/web", "pki/issue/WEB", "pki//web", "issue/web"] {
        let refused = reason(issue(&pki.api, path, &["web.shop.svc"], "").await);
        ensure!(["PATH_INVALID", "INVALID_ARGUMENT"].contains(&refused.as_str()), "{path}: {refused}");
    }
    for (names, expected) in [
        (&["evil.svc"][..], "INVALID_ARGUMENT"),
        (&["other.shop.svc"], "INVALID_ARGUMENT"),
        (&["web.shop.svc", "11.0.0.1"], "INVALID_ARGUMENT"),
        (&[], "INVALID_ARGUMENT"),
    ] {
        ensure!(reason(issue(&pki.api, "pki/issue/web", names, "").await) == expected, "{names:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_of_another_engine_has_no_certificates_and_one_made_again_has_none_of_the_old() -> Result<()> {
    let pki = Pki::new("ed25519").await?;
    ensure!(reason(create_root(&pki.admin, "kv/issuers/root", "p256").await) == "INVALID_ARGUMENT", "kv is a mount of kv");
    ensure!(reason(create_root(&pki.admin, "absent/issuers/root", "p256").await) == "NOT_FOUND");
    ensure!(reason(create_root(&pki.admin, "pki/issuers/root", "p256").await) == "ALREADY_EXISTS");
    ensure!(reason(create_root(&pki.admin, "pki/issuers/two", "rsa").await) == "INVALID_ARGUMENT");
    let wrong = DeleteIssuerRequest { path: "pki/issuers/root".into(), id: "0".repeat(32) };
    ensure!(reason(pki.admin.pki().delete_issuer(wrong).await) == "NOT_FOUND");

    let delete = coffer_client::proto::DeleteMountRequest { name: "pki".into(), id: String::new() };
    pki.admin.mounts().delete_mount(delete).await?;
    pki.vault.mount("pki", "pki").await?;
    let issuers = ListIssuersRequest { path: "pki/issuers".into(), ..ListIssuersRequest::default() };
    ensure!(pki.admin.pki().list_issuers(issuers).await?.into_inner().issuers.is_empty());
    let roles = ListPkiRolesRequest { path: "pki/roles".into(), ..ListPkiRolesRequest::default() };
    ensure!(pki.admin.pki().list_pki_roles(roles).await?.into_inner().roles.is_empty());
    let role = GetPkiRoleRequest { path: "pki/roles/web".into() };
    ensure!(reason(pki.admin.pki().get_pki_role(role).await) == "NOT_FOUND");
    ensure!(reason(issue(&pki.api, "pki/issue/web", &["web.shop.svc"], "").await) == "NOT_FOUND_OR_DENIED");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn issuers_and_roles_are_there_after_a_restart_and_lists_have_pages() -> Result<()> {
    let mut pki = Pki::new("p256").await?;
    for number in 0..5 {
        let role = PkiRole { allowed_hosts: vec!["a.svc".into()], ..PkiRole::default() };
        put_role(&pki.admin, &format!("pki/roles/r{number}"), role).await?;
    }
    pki.vault.server.kill()?;
    pki.vault.restart().await?;
    let admin = pki.vault.operator(ADMIN).await?;
    let (mut paths, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListPkiRolesRequest { path: "pki/roles".into(), page_size: 4, page_token };
        let page = admin.pki().list_pki_roles(request).await?.into_inner();
        paths.extend(page.roles.into_iter().map(|role| role.path));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    ensure!(paths == ["pki/roles/r0", "pki/roles/r1", "pki/roles/r2", "pki/roles/r3", "pki/roles/r4", "pki/roles/web"]);
    let api = pki.vault.workload(&Pod::new("shop", "api")?).await?;
    let made = issue(&api, "pki/issue/web", &["web.shop.svc"], "").await?;
    ensure!(made.issued.context("it is shown")?.ca_chain == pki.root.certificate, "it is the same root");
    Ok(())
}

/// A signing request that `openssl` makes.
async fn sign(client: &Client, request: String) -> Result<coffer_client::proto::IssuedCertificate, Status> {
    let request = SignCertificateRequest { path: "pki/sign/web".into(), request, ttl_seconds: 0 };
    let signed = client.pki().sign_certificate(request).await?.into_inner();
    signed.issued.ok_or_else(|| Status::internal("a certificate that is made is shown"))
}
