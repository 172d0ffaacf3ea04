//! Revocation lists and certificates of CAs, where certificates say that they are.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use coffer_client::proto::{
    DeleteIssuerRequest, GetCertificateRequest, GetCrlRequest, ListCertificatesRequest, PkiConfig, PutPkiConfigRequest,
    RevokeCertificateRequest,
};
use coffer_tests::{memory, programs::Programs, server::Server};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime, pem::PemObject as _},
};

use super::{Pki, openssl::openssl, reason};
use crate::vault::Vault;

/// A server that answers for lists; and where.
async fn with_lists() -> Result<(Pki, SocketAddr)> {
    let server = Server::new(Programs::built()?)?;
    let file = server.folder().join("lists-address");
    let server = server.with("pki", "listen", "127.0.0.1:0").with("pki", "address_file", file.display().to_string());
    let pki = Pki::on(Vault::on(server).await?, "p256").await?;
    let address: SocketAddr = fs::read_to_string(file)?.parse()?;
    let config = PkiConfig { default_issuer: "root".into(), url: format!("http://{address}") };
    let request = PutPkiConfigRequest { path: "pki/config".into(), config: Some(config) };
    pki.admin.pki().put_pki_config(request).await?;
    Ok((pki, address))
}

/// The status and the body at a path.
fn get(address: SocketAddr, path: &str) -> Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: vault\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").context("an answer has a head")?;
    let head = String::from_utf8(answer[..end].to_vec())?;
    let status = head.split(' ').nth(1).context("an answer has a status")?.parse()?;
    Ok((status, answer[end + 4..].to_vec()))
}

/// The URLs in a certificate: of its issuer's certificate, and of its list.
fn urls(pem: &str) -> Result<(String, String)> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes())?;
    let text: String = der.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { ' ' }).collect();
    let find = |end: &str| {
        let found = text.split(' ').filter_map(|word| word.find("http://").and_then(|start| word.get(start..)));
        found.filter(|url| url.contains(end)).map(|url| url.split(end).next().map(|base| format!("{base}{end}"))).next().flatten()
    };
    Ok((find(".crt").context("no issuer")?, find(".crl").context("no list")?))
}

fn path(url: &str, address: SocketAddr) -> Result<String> {
    Ok(url.strip_prefix(&format!("http://{address}")).context("another address")?.to_owned())
}

fn revocation(serial: &str, certificate: &str) -> RevokeCertificateRequest {
    RevokeCertificateRequest {
        path: format!("pki/certificates/{serial}"),
        certificate: certificate.to_owned(),
        reason: "key-compromise".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_taken_back_is_in_the_list_at_once_and_after_a_restart() -> Result<()> {
    let (mut pki, address) = with_lists().await?;
    let issued = pki.issue(&["web.shop.svc"], "").await?.issued.context("it is shown")?;
    let (issuer, list) = urls(&issued.certificate)?;
    let (issuer, list) = (path(&issuer, address)?, path(&list, address)?);
    let root = CertificateDer::from_pem_slice(pki.root.certificate.as_bytes())?;
    ensure!(get(address, &issuer)? == (200, root.to_vec()));
    let (status, before) = get(address, &list)?;
    ensure!(status == 200 && get(address, &list)?.1 == before, "it is not signed anew for everyone who asks");

    let leaf = CertificateDer::from_pem_slice(issued.certificate.as_bytes())?;
    let verdict = |list: Vec<u8>| -> Result<bool> {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .with_crls([CertificateRevocationListDer::from(list)])
            .enforce_revocation_expiration()
            .build()?;
        let name = ServerName::try_from("web.shop.svc")?;
        Ok(verifier.verify_server_cert(&leaf, &[], &name, &[], UnixTime::now()).is_ok())
    };
    ensure!(verdict(before.clone())?, "nothing is taken back yet");
    let refused = pki.api.pki().revoke_certificate(revocation(&issued.serial, "")).await;
    ensure!(reason(refused) == "NOT_FOUND_OR_DENIED", "who has it may not take it back");
    pki.admin.pki().revoke_certificate(revocation(&issued.serial, "")).await?;
    let (_, after) = get(address, &list)?;
    ensure!(!verdict(after)? && verdict(before)?, "rustls does not see it");
    let kept = GetCertificateRequest { path: format!("pki/certificates/{}", issued.serial) };
    let kept = pki.admin.pki().get_certificate(kept).await?.into_inner().certificate.context("it is kept")?;
    ensure!(kept.reason == "key-compromise" && kept.revoked.is_some() && kept.principal == "k8s:test/shop/api");
    ensure!(pki.vault.has_logged(r#""reason":"key-compromise""#).await?);

    pki.vault.server.kill()?;
    pki.vault.server.start()?;
    let address: SocketAddr = fs::read_to_string(pki.vault.server.folder().join("lists-address"))?.parse()?;
    ensure!(get(address, &list)?.0 == 503, "a sealed vault signs nothing");
    pki.vault.unseal().await?;
    let (status, again) = get(address, &list)?;
    ensure!(status == 200 && !verdict(again)?, "it is forgotten");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_list_is_not_there_and_strangers_change_nothing() -> Result<()> {
    let (pki, address) = with_lists().await?;
    let issued = pki.issue(&["web.shop.svc"], "").await?.issued.context("it is shown")?;
    let (_, list) = urls(&issued.certificate)?;
    let list = path(&list, address)?;
    for wrong in [
        "/",
        "/metrics",
        "/health/live",
        "/pki",
        "/pki/../metrics",
        &list.replace(".crl", ".key"),
        &list.replace("/pki/", "/pki/0"),
    ] {
        ensure!(get(address, wrong)?.0 == 404, "{wrong}");
    }
    for part in ["0-of-2", "255-of-256"] {
        ensure!(get(address, &list.replace(".crl", &format!(".{part}.crl")))?.0 == 200, "{part}");
    }
    for part in ["0-of-3", "2-of-2", "00-of-2", "0-of-512"] {
        ensure!(get(address, &list.replace(".crl", &format!(".{part}.crl")))?.0 == 404, "{part}");
    }
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "POST {list} HTTP/1.1\r\nhost: vault\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 405 "), "{answer}");

    for (serial, certificate, expected) in [
        ("4".repeat(40), String::new(), "NOT_FOUND"),
        (issued.serial.to_uppercase(), String::new(), "PATH_INVALID"),
        ("1".repeat(40), String::new(), "PATH_INVALID"),
        ("4".repeat(40), issued.certificate.clone(), "INVALID_ARGUMENT"),
    ] {
        let answer = pki.admin.pki().revoke_certificate(revocation(&serial, &certificate)).await;
        ensure!(reason(answer) == expected, "{serial}");
    }
    let page = ListCertificatesRequest { path: "pki/certificates".into(), ..ListCertificatesRequest::default() };
    let page = pki.admin.pki().list_certificates(page).await?.into_inner();
    ensure!(
        page.certificates.len() == 1 && page.certificates[0].serial == issued.serial && page.certificates[0].revoked.is_none()
    );

    pki.admin.pki().delete_issuer(DeleteIssuerRequest { path: "pki/issuers/root".into(), id: String::new() }).await?;
    ensure!(
        reason(pki.admin.pki().revoke_certificate(revocation(&issued.serial, "")).await) == "NOT_FOUND",
        "its issuer is gone"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs openssl: tests/run"]
async fn openssl_believes_lists_and_what_they_say() -> Result<()> {
    for root in ["p256", "p384", "ed25519"] {
        let pki = Pki::new(root).await?;
        let folder = memory::folder()?;
        let at = folder.path();
        fs::write(at.join("root.pem"), &pki.root.certificate)?;
        for name in ["good.pem", "bad.pem"] {
            let issued = pki.issue(&["web.shop.svc"], "").await?.issued.context("it is shown")?;
            fs::write(at.join(name), &issued.certificate)?;
            if name == "bad.pem" {
                pki.admin.pki().revoke_certificate(revocation(&issued.serial, &issued.certificate)).await?;
            }
        }
        let list = pki.admin.pki().get_crl(GetCrlRequest { path: "pki/issuers/root".into() }).await?.into_inner();
        ensure!(list.entries == 1);
        fs::write(at.join("list.pem"), &list.crl)?;
        ensure!(openssl(at, "crl -in list.pem -noout -CAfile root.pem -verify").is_ok());
        openssl(at, "verify -x509_strict -crl_check -CRLfile list.pem -CAfile root.pem good.pem")?;
        let refused = openssl(at, "verify -x509_strict -crl_check -CRLfile list.pem -CAfile root.pem bad.pem");
        ensure!(refused.err().context("it is taken back")?.to_string().contains("certificate revoked"));
        let text = openssl(at, "crl -in list.pem -noout -text")?;
        ensure!(text.contains("Key Compromise") && text.contains("X509v3 CRL Number"), "{text}");
        super::openssl::zlint(at, "list.pem")?;
    }
    Ok(())
}
