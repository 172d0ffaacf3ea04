//! Certificates for keys of callers.

use coffer_core::limits::{PKI_NAMES_MAX, PKI_REQUEST_BYTES_MAX};
use coffer_crypto::x509::{self, DistinguishedName, PrivateKey, Subject};
use coffer_engines::pki::{Asker, Issued, KeyKind, KeyUsage, PkiError, Role, SignRequest};

use crate::common::{NOW, PKI, alice, commit, is_limit, is_refused, name, put_role, read, ready, role, shown, with_root};

const RSA: &str = include_str!("../../../crypto/src/x509/tests/rsa-2048.pem");

fn csr(common_name: &str, kind: KeyKind) -> String {
    let subject = DistinguishedName::new(&Subject { common_name: Some(common_name), ..Subject::default() });
    let key = PrivateKey::generate(kind).unwrap();
    x509::encode("CERTIFICATE REQUEST", &x509::make_request(&subject, &key).unwrap())
}

async fn sign(barrier: &coffer_barrier::Barrier, at: &str, request: &str) -> Result<Issued, PkiError> {
    let (request, alice) = (SignRequest { request: request.to_owned(), ttl_secs: None }, alice());
    let asker = Asker { principal: &alice, pod: None };
    commit(barrier, PKI.sign(barrier, &ready(), &name(at), &request, asker, NOW).await).await
}

#[tokio::test]
async fn a_request_is_signed_for_the_names_that_it_asks_for_and_the_role_allows() {
    let barrier = with_root().await;
    let web = Role {
        addresses: vec!["10.0.0.0/8".into()],
        uris: vec!["https://a.b/**".into()],
        key_types: vec![KeyKind::P256, KeyKind::Rsa],
        key_usages: vec![KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment],
        ..role(&["web.shop.svc"])
    };
    put_role(&barrier, "web", web.clone()).await.unwrap();
    let issued = sign(&barrier, "web", RSA).await.unwrap();
    assert_eq!(shown(&issued), ["web.shop.svc", "10.0.0.1", "https://a.b/c"]);
    let certificate = read(&issued.certificate);
    assert_eq!(certificate.key.kind(), KeyKind::Rsa);
    assert!(issued.private_key.is_none() && certificate.subject.is_empty(), "the subject is the role's");
    // Encipherment is what RSA keys can do.
    assert!(certificate.der.windows(8).any(|window| window == [1, 0xff, 4, 4, 3, 2, 5, 0xa0]));

    for narrower in [
        Role { hosts: vec!["other.svc".into()], ..web.clone() },
        Role { addresses: vec!["10.0.0.2".into()], ..web.clone() },
        Role { uris: Vec::new(), ..web.clone() },
        Role { key_types: vec![KeyKind::P256], ..web.clone() },
    ] {
        put_role(&barrier, "web", narrower).await.unwrap();
        assert!(is_refused(&sign(&barrier, "web", RSA).await));
    }
}

#[tokio::test]
async fn a_common_name_is_a_name_asked_for_where_there_is_no_other() {
    let barrier = with_root().await;
    put_role(&barrier, "web", role(&["web.svc"])).await.unwrap();
    assert_eq!(shown(&sign(&barrier, "web", &csr("web.svc", KeyKind::P256)).await.unwrap()), ["web.svc"]);
    for bad in ["other.svc", "Web", "web svc", "*.svc", "root"] {
        assert!(is_refused(&sign(&barrier, "web", &csr(bad, KeyKind::P256)).await), "{bad}");
    }
    assert!(is_refused(&sign(&barrier, "web", &csr("web.svc", KeyKind::Ed25519)).await), "a kind that the role does not take");
}

#[tokio::test]
async fn what_is_no_good_request_is_refused() {
    let barrier = with_root().await;
    let web = Role { key_types: KeyKind::ALL.to_vec(), ..role(&["**.svc", "web.shop.svc", "a.b"]) };
    put_role(&barrier, "web", web).await.unwrap();
    let good = csr("web.svc", KeyKind::P256);
    sign(&barrier, "web", &good).await.unwrap();
    for (what, bad) in [
        ("nothing", String::new()),
        ("no PEM", "request".into()),
        ("a certificate", good.replace("CERTIFICATE REQUEST", "CERTIFICATE")),
        ("two", format!("{good}{good}")),
        ("cut", good.replacen('\n', "", 3)),
        ("RSA of 1,024 bits", include_str!("../../../crypto/src/x509/tests/rsa-1024.pem").into()),
        ("RSA with the exponent 3", include_str!("../../../crypto/src/x509/tests/rsa-exponent-3.pem").into()),
        ("SHA-1", include_str!("../../../crypto/src/x509/tests/rsa-sha1.pem").into()),
        ("another curve", include_str!("../../../crypto/src/x509/tests/secp256k1.pem").into()),
        ("a mail address", include_str!("../../../crypto/src/x509/tests/mail-name.pem").into()),
        ("a CA", include_str!("ca-request.pem").into()),
    ] {
        let answer = sign(&barrier, "web", &bad).await;
        assert!(matches!(answer, Err(PkiError::Refused(_) | PkiError::X509 { .. })), "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn a_request_holds_to_its_limits() {
    let barrier = with_root().await;
    put_role(&barrier, "web", role(&["**.svc"])).await.unwrap();
    let good = csr("web.svc", KeyKind::P256);
    let padded = |bytes: usize| format!("{}\n{good}", "#".repeat(bytes - good.len() - 1));
    assert_eq!(padded(PKI_REQUEST_BYTES_MAX).len(), PKI_REQUEST_BYTES_MAX);
    sign(&barrier, "web", &padded(PKI_REQUEST_BYTES_MAX)).await.unwrap();
    assert!(is_limit(&sign(&barrier, "web", &padded(PKI_REQUEST_BYTES_MAX + 1)).await));
    assert!(is_limit(&sign(&barrier, "web", &"x".repeat(1 << 20)).await));
    let many = include_str!("many-names.pem");
    assert!(many.len() < PKI_REQUEST_BYTES_MAX, "{PKI_NAMES_MAX} names and one more");
    assert!(is_limit(&sign(&barrier, "web", many).await));
}
