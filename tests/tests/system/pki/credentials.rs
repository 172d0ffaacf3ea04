//! Certificates asked for as credentials of any engine are.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client,
    proto::{IssueCredentialRequest, IssueCredentialResponse, ListLeasesRequest},
};
use coffer_tests::issuer::Pod;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tonic::Status;

use super::{DAY, PATH, Pki};
use crate::vault::reason;

fn asking(parameters: &[(&str, &str)]) -> IssueCredentialRequest {
    let parameters = parameters.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    IssueCredentialRequest { path: PATH.into(), parameters, ..Default::default() }
}

async fn ask(client: &Client, request: IssueCredentialRequest) -> Result<IssueCredentialResponse, Status> {
    Ok(client.leases().issue_credential(request).await?.into_inner())
}

/// A field that is text.
fn field<'a>(answer: &'a IssueCredentialResponse, name: &str) -> Result<&'a str> {
    Ok(std::str::from_utf8(answer.fields.get(name).with_context(|| format!("no {name}"))?)?)
}

/// Whether a TLS server could use them.
pub(super) fn belong_together(certificate: &[u8], key: &[u8]) -> Result<bool> {
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>()?;
    let built = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key)?);
    Ok(built.is_ok())
}

/// Seconds that a credential lasts, as the answer says it.
fn lasts(answer: &IssueCredentialResponse) -> Result<i64> {
    let seconds = |time: &Option<prost_types::Timestamp>| time.map(|time| time.seconds).context("no time");
    Ok(seconds(&answer.expires)? - seconds(&answer.issued)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_a_credential_like_any_other_without_a_lease() -> Result<()> {
    let pki = Pki::new("p256").await?;
    let names = [("common_name", "web.shop.svc"), ("alt_names", "a.web.shop.svc,api.shop.svc"), ("ip_sans", "10.1.2.3")];
    let once = IssueCredentialRequest { idempotency_key: "once".into(), ttl_seconds: 3_600, ..asking(&names) };
    let made = ask(&pki.api, once.clone()).await?;
    pki.vault.server.canaries().add("a certificate's key", field(&made, "private_key")?);
    ensure!(
        made.fields.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>()
            == ["ca_chain", "certificate", "private_key", "serial"].into()
    );
    ensure!(field(&made, "ca_chain")? == pki.root.certificate);
    ensure!(belong_together(field(&made, "certificate")?.as_bytes(), field(&made, "private_key")?.as_bytes())?);
    ensure!(made.lease.is_none() && lasts(&made)? == 3_600, "{:?}", made.expires);
    let listed = pki.admin.leases().list_leases(ListLeasesRequest::default()).await?.into_inner();
    ensure!(listed.leases.is_empty(), "{:?}", listed.leases);
    for detail in [
        format!(r#""serial":"{}""#, field(&made, "serial")?),
        r#""names":"web.shop.svc,a.web.shop.svc,api.shop.svc,10.1.2.3""#.to_owned(),
        r#""private_key":""#.to_owned(),
    ] {
        ensure!(pki.vault.has_logged(&detail).await?, "no record of {detail}");
    }

    // The same request is the same certificate, in whatever order its words are.
    let again = ask(&pki.api, once.clone()).await?;
    ensure!(again.fields == made.fields && again.expires == made.expires);
    let other = IssueCredentialRequest { parameters: BTreeMap::new(), ..once };
    ensure!(reason(ask(&pki.api, other).await) == "IDEMPOTENCY_MISMATCH");
    let usual = ask(&pki.api, asking(&names)).await?;
    pki.vault.server.canaries().add("a certificate's key", field(&usual, "private_key")?);
    ensure!(usual.fields != made.fields && lasts(&usual)? == DAY as i64);
    // As of any credential, too much is cut, and the answer says so.
    let long = ask(&pki.api, IssueCredentialRequest { ttl_seconds: 400 * DAY, ..asking(&names) }).await?;
    pki.vault.server.canaries().add("a certificate's key", field(&long, "private_key")?);
    ensure!(lasts(&long)? == 30 * DAY as i64);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_refused_for_words_that_its_engine_does_not_know_and_for_too_many() -> Result<()> {
    let pki = Pki::new("p256").await?;
    let refused = pki.api.leases().issue_credential(asking(&[("common_name", "web.shop.svc"), ("cn", "x")])).await;
    let refused = refused.err().context("it knows no cn")?;
    ensure!(refused.message().contains("\"cn\""), "{}", refused.message());
    for (parameters, expected) in [
        (&[][..], "INVALID_ARGUMENT"),
        (&[("common_name", "evil.svc")], "INVALID_ARGUMENT"),
        (&[("alt_names", "web.shop.svc,evil.svc")], "INVALID_ARGUMENT"),
        (&[("ip_sans", "11.0.0.1")], "INVALID_ARGUMENT"),
        (&[("uri_sans", "spiffe://shop/x")], "INVALID_ARGUMENT"),
    ] {
        ensure!(reason(ask(&pki.api, asking(parameters)).await) == expected, "{parameters:?}");
    }
    let many =
        |count: usize| asking(&[]).parameters.into_iter().chain((0..count).map(|n| (n.to_string(), String::new()))).collect();
    let of = |name: usize, value: usize| BTreeMap::from([("n".repeat(name), "v".repeat(value))]);
    // What is within the limits is no word of the engine: it was looked at.
    for (parameters, expected) in [
        (many(16), "INVALID_ARGUMENT"),
        (many(17), "LIMIT_EXCEEDED"),
        (of(64, 0), "INVALID_ARGUMENT"),
        (of(65, 0), "LIMIT_EXCEEDED"),
        (of(1, 16 << 10), "INVALID_ARGUMENT"),
        (of(1, (16 << 10) + 1), "LIMIT_EXCEEDED"),
    ] {
        let request = IssueCredentialRequest { parameters, ..asking(&[]) };
        ensure!(reason(ask(&pki.api, request).await) == expected);
    }

    // Roles of databases say all; keys and secrets are no credentials.
    pki.vault.mount("database", "database").await?;
    pki.vault.mount("transit", "transit").await?;
    for path in ["database/**", "transit/**", "kv/**", "pki/**"] {
        pki.vault.grant_read(path, "k8s:test/shop/api").await?;
    }
    for (path, parameters, expected) in [
        ("database/creds/app", &[("common_name", "web.shop.svc")][..], "INVALID_ARGUMENT"),
        ("database/creds/app", &[], "NOT_FOUND"),
        ("database/issue/app", &[], "PATH_INVALID"),
        ("transit/creds/app", &[], "INVALID_ARGUMENT"),
        ("kv/creds/app", &[], "INVALID_ARGUMENT"),
        ("pki/creds/web", &[], "PATH_INVALID"),
        ("pki/issue", &[], "PATH_INVALID"),
        ("pki/issue/web/more", &[], "PATH_INVALID"),
        ("pki/issue/absent", &[("common_name", "web.shop.svc")], "NOT_FOUND"),
    ] {
        let request = IssueCredentialRequest { path: path.into(), ..asking(parameters) };
        ensure!(reason(ask(&pki.api, request).await) == expected, "{path}");
    }
    let other = pki.vault.workload(&Pod::new("shop", "other")?).await?;
    for client in [&other, &pki.admin] {
        ensure!(reason(ask(client, asking(&[("common_name", "web.shop.svc")])).await) == "NOT_FOUND_OR_DENIED");
    }
    Ok(())
}
