//! What OpenSSL, rustls and zlint say of the certificates.

use std::{fs, path::Path, process::Command, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use coffer_client::proto::{
    CreateIntermediateRequest, InstallCertificateRequest, PkiConfig, PutPkiConfigRequest, SignIssuerRequest,
};
use coffer_tests::memory;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Pki, sign};

/// What `openssl` prints; it must succeed.
pub(super) fn openssl(folder: &Path, arguments: &str) -> Result<String> {
    let ran =
        Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().context("openssl cannot be started")?;
    ensure!(ran.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&ran.stderr));
    Ok(String::from_utf8(ran.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs openssl: tests/run"]
async fn openssl_believes_every_certificate_and_reads_what_the_role_says() -> Result<()> {
    for root in ["p256", "p384", "ed25519"] {
        let pki = Pki::new(root).await?;
        let folder = memory::folder()?;
        let at = folder.path();
        fs::write(at.join("root.pem"), &pki.root.certificate)?;
        openssl(at, "verify -x509_strict -check_ss_sig -CAfile root.pem root.pem")?;
        for kind in ["p256", "p384", "ed25519"] {
            let made = pki.issue(&["web.shop.svc", "a.web.shop.svc", "10.1.2.3"], kind).await?;
            let issued = made.issued.context("a certificate that is made is shown")?;
            fs::write(at.join("leaf.pem"), &issued.certificate)?;
            fs::write(at.join("leaf.key"), &made.private_key)?;
            for purpose in ["sslserver", "sslclient"] {
                openssl(
                    at,
                    &format!("verify -x509_strict -purpose {purpose} -verify_hostname web.shop.svc -CAfile root.pem leaf.pem"),
                )?;
            }
            openssl(at, "verify -x509_strict -verify_ip 10.1.2.3 -CAfile root.pem leaf.pem")?;
            ensure!(openssl(at, "verify -x509_strict -verify_hostname evil.svc -CAfile root.pem leaf.pem").is_err());
            ensure!(openssl(at, "x509 -in leaf.pem -noout -pubkey")? == openssl(at, "pkey -in leaf.key -pubout")?);
            let text = openssl(at, "x509 -in leaf.pem -noout -text -nameopt RFC2253")?;
            for expected in [
                "Subject: CN=web.shop.svc,O=Shop",
                "Issuer: CN=Shop Root,O=Shop",
                "CA:FALSE",
                "Digital Signature\n",
                "TLS Web Server Authentication, TLS Web Client Authentication",
                "DNS:web.shop.svc, DNS:a.web.shop.svc, IP Address:10.1.2.3",
            ] {
                ensure!(text.contains(expected), "{expected} is not in\n{text}");
            }
            zlint(at, "leaf.pem")?;
        }
        zlint(at, "root.pem")?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs openssl: tests/run"]
async fn requests_that_openssl_makes_are_signed_and_what_they_ask_beyond_names_is_not_there() -> Result<()> {
    let pki = Pki::new("p384").await?;
    let folder = memory::folder()?;
    let at = folder.path();
    fs::write(at.join("root.pem"), &pki.root.certificate)?;
    let kinds = ["rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-256", "ec -pkeyopt ec_paramgen_curve:P-384", "ed25519"];
    for kind in kinds {
        let asked = "-subj /O=Evil/CN=Evil -addext subjectAltName=DNS:web.shop.svc -addext keyUsage=keyCertSign \
                     -addext extendedKeyUsage=codeSigning -addext nameConstraints=permitted;DNS:. -addext certificatePolicies=2.5.29.32.0";
        let asked = asked.split_whitespace().collect::<Vec<_>>().join(" ");
        openssl(at, &format!("req -new -newkey {kind} -nodes -keyout own.key -out own.csr {asked}"))?;
        let issued = sign(&pki.api, fs::read_to_string(at.join("own.csr"))?).await?;
        fs::write(at.join("leaf.pem"), &issued.certificate)?;
        openssl(at, "verify -x509_strict -purpose sslserver -verify_hostname web.shop.svc -CAfile root.pem leaf.pem")?;
        ensure!(openssl(at, "x509 -in leaf.pem -noout -pubkey")? == openssl(at, "pkey -in own.key -pubout")?);
        let text = openssl(at, "x509 -in leaf.pem -noout -text -nameopt RFC2253")?;
        for absent in ["Evil", "Certificate Sign", "Code Signing", "Name Constraints", "Policies"] {
            ensure!(!text.contains(absent), "{absent} is in\n{text}");
        }
        ensure!(text.contains("CA:FALSE") && text.contains("Subject: CN=web.shop.svc,O=Shop"), "{text}");
        zlint(at, "leaf.pem")?;
    }
    Ok(())
}

/// zlint finds no error. Its programs are where `tests/run` has put it; without that, the test says what it left out.
pub(super) fn zlint(folder: &Path, file: &str) -> Result<()> {
    let Some(program) = std::env::var_os("COFFER_TEST_ZLINT") else {
        println!("zlint was not asked: COFFER_TEST_ZLINT does not say where it is");
        return Ok(());
    };
    // The rules for every certificate: those of browsers are for public CAs.
    let ran = Command::new(program)
        .args(["-pretty=false", "-includeSources", "RFC5280,RFC5480,RFC3279,RFC5891,RFC8813,Community", file])
        .current_dir(folder)
        .output()
        .context("zlint cannot be started")?;
    ensure!(ran.status.success(), "zlint: {}", String::from_utf8_lossy(&ran.stderr));
    let found: serde_json::Value = serde_json::from_slice(&ran.stdout)?;
    let found = found.as_object().context("zlint answers with an object")?;
    // Fewer are about revocation lists.
    ensure!(found.len() > if file.starts_with("list") { 10 } else { 50 }, "zlint has looked at {} rules alone", found.len());
    let wrong: Vec<_> = found
        .iter()
        .filter(|(_, result)| matches!(result["result"].as_str(), Some("error" | "fatal")))
        .map(|(rule, _)| rule)
        .collect();
    ensure!(wrong.is_empty(), "zlint: {wrong:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs openssl: tests/run"]
async fn openssl_believes_a_ca_below_another_and_a_root_that_another_vouches_for() -> Result<()> {
    let pki = Pki::new("p384").await?;
    pki.vault.grant(&["use"], "pki/sign-ca/root", "k8s:test/shop/api").await?;
    let folder = memory::folder()?;
    let at = folder.path();
    fs::write(at.join("root.pem"), &pki.root.certificate)?;
    let below = CreateIntermediateRequest {
        path: "pki/issuers/below".into(),
        common_name: "Shop CA".into(),
        key_type: "p256".into(),
        ..CreateIntermediateRequest::default()
    };
    let below = pki.admin.pki().create_intermediate(below).await?.into_inner().issuer.context("it is shown")?;
    fs::write(at.join("below.csr"), &below.request)?;
    openssl(at, "req -in below.csr -noout -verify")?;
    let new = super::create_root(&pki.admin, "pki/issuers/new", "ed25519").await?;
    for (name, request, crossed) in [("below", &below.request, false), ("new", &new.certificate, true)] {
        let request = SignIssuerRequest {
            path: "pki/sign-ca/root".into(),
            request: request.clone(),
            ttl_seconds: 365 * super::DAY,
            max_path_length: Some(0),
        };
        ensure!(super::reason(pki.admin.pki().sign_issuer(request.clone()).await) == "NOT_FOUND_OR_DENIED", "an admin alone");
        let signed = pki.api.pki().sign_issuer(request).await?.into_inner().issued.context("it is shown")?;
        fs::write(at.join("ca.pem"), &signed.certificate)?;
        openssl(at, "verify -x509_strict -CAfile root.pem ca.pem")?;
        zlint(at, "ca.pem")?;
        let install = InstallCertificateRequest {
            path: format!("pki/issuers/{name}"),
            certificates: format!("{}{}", signed.certificate, signed.ca_chain),
            crossed,
        };
        pki.admin.pki().install_certificate(install).await?;
        let config = PkiConfig { default_issuer: name.to_owned(), url: String::new() };
        pki.admin.pki().put_pki_config(PutPkiConfigRequest { path: "pki/config".into(), config: Some(config) }).await?;
        let issued = pki.issue(&["web.shop.svc"], "").await?.issued.context("it is shown")?;
        fs::write(at.join("leaf.pem"), &issued.certificate)?;
        fs::write(at.join("chain.pem"), &issued.ca_chain)?;
        openssl(at, "verify -x509_strict -purpose sslserver -CAfile root.pem -untrusted chain.pem leaf.pem")?;
        ensure!(openssl(at, "verify -x509_strict -CAfile root.pem leaf.pem").is_err(), "the chain is needed");
        zlint(at, "leaf.pem")?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rustls_speaks_tls_with_a_certificate_of_each_kind_to_who_knows_the_root() -> Result<()> {
    let pki = Pki::new("p384").await?;
    for kind in ["p256", "p384", "ed25519"] {
        let made = pki.issue(&["web.shop.svc"], kind).await?;
        let issued = made.issued.context("a certificate that is made is shown")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&made.private_key)?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pki.root.certificate.as_bytes())?)?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (acceptor, connector) = (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)));
        for (name, believed) in [("web.shop.svc", true), ("evil.svc", false)] {
            let (near, far) = tokio::io::duplex(1 << 14);
            let acceptor = acceptor.clone();
            let answering = tokio::spawn(async move {
                let mut stream = acceptor.accept(far).await?;
                stream.write_all(b"hello").await?;
                stream.shutdown().await
            });
            let asked = connector.connect(ServerName::try_from(name)?, near).await;
            ensure!(asked.is_ok() == believed, "{name}: {:?}", asked.err());
            if let Ok(mut stream) = asked {
                let mut text = String::new();
                stream.read_to_string(&mut text).await?;
                ensure!(text == "hello");
                answering.await??;
            }
        }
    }
    Ok(())
}
