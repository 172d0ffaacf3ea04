//! CAs below and beside others, and CAs from elsewhere.

use coffer_barrier::Barrier;
use coffer_core::limits::{PKI_CHAIN_BYTES_MAX, PKI_CHAIN_MAX, PKI_CROSSED_MAX, PKI_ISSUER_TTL_MAX};
use coffer_crypto::x509::{self, ReadCertificate};
use coffer_engines::pki::{Asker, CaRequest, CaSubject, Issued, Issuer, KeyKind, NewRoot, PkiError, Role};
use coffer_secret::SecretString;

use crate::common::{
    DAY, NOW, PKI, alice, asking, called, commit, create_root, is_limit, is_refused, issue, later, name, new_root, put_role,
    read, ready, role, vault, with_root,
};

async fn intermediate(barrier: &Barrier, at: &str, subject: &CaSubject) -> Issuer {
    commit(barrier, PKI.create_intermediate(barrier, &name(at), subject, KeyKind::P256, NOW).await).await.unwrap()
}

async fn sign(barrier: &Barrier, by: &str, request: &str, path_length: Option<u8>) -> Result<Issued, PkiError> {
    let (request, alice) = (CaRequest { request: request.to_owned(), ttl_secs: 90 * DAY, path_length }, alice());
    commit(barrier, PKI.sign_ca(barrier, &name(by), &request, Asker { principal: &alice, pod: None }, NOW).await).await
}

async fn install(barrier: &Barrier, at: &str, chain: &str, crossed: bool) -> Result<Issuer, PkiError> {
    commit(barrier, PKI.install_certificate(barrier, &name(at), chain, crossed, NOW).await).await
}

fn all(pem: &str) -> Vec<ReadCertificate> {
    x509::blocks(pem, 16).unwrap().iter().map(|block| ReadCertificate::read(block.content.expose()).unwrap()).collect()
}

#[tokio::test]
async fn a_ca_below_another_issues_and_its_chain_leads_to_the_root() {
    let (_, barrier) = vault().await;
    create_root(&barrier, "root", NewRoot { path_length: Some(2), ..new_root(KeyKind::P384) }).await.unwrap();
    let made = intermediate(&barrier, "shop", &called("Shop CA")).await;
    assert!(made.certificate.is_empty() && !made.is_default && made.subject == "C=DE, O=Shop, CN=Shop CA");
    put_role(&barrier, "web", Role { issuer: Some(name("shop")), ..role(&["a.svc"]) }).await.unwrap();
    assert!(is_refused(&issue(&barrier, "web", asking(&["a.svc"])).await), "it has no certificate yet");

    let signed = sign(&barrier, "root", &made.request, None).await.unwrap();
    let certificate = read(&signed.certificate);
    assert_eq!((certificate.ca, certificate.path_length, certificate.signs_crls), (true, Some(1), true));
    let installed = install(&barrier, "shop", &format!("{}{}", signed.certificate, signed.ca_chain), false).await.unwrap();
    assert_eq!(installed.not_after, Some(later(90 * DAY)));
    let issued = issue(&barrier, "web", asking(&["a.svc"])).await.unwrap();
    let (leaf, chain) = (read(&issued.certificate), all(&issued.ca_chain));
    let [shop, root] = chain.as_slice() else { panic!("{} certificates", chain.len()) };
    leaf.check_signed_by(&shop.key).unwrap();
    shop.check_signed_by(&root.key).unwrap();
    root.check_signed_by(&root.key).unwrap();
    assert!(leaf.issuer == shop.subject && shop.issuer == root.subject);
}

#[tokio::test]
async fn no_ca_lets_more_be_below_it_than_may_be() {
    let (_, barrier) = vault().await;
    for (at, path_length) in [("none", Some(0)), ("one", Some(1)), ("any", None)] {
        create_root(&barrier, at, NewRoot { path_length, subject: called(at), ..new_root(KeyKind::Ed25519) }).await.unwrap();
    }
    let request = intermediate(&barrier, "below", &called("Below")).await.request;
    for (by, asked, given) in [
        ("none", None, None),
        ("none", Some(0), None),
        ("one", None, Some(Some(0))),
        ("one", Some(0), Some(Some(0))),
        ("one", Some(1), None),
        ("any", None, Some(None)),
        ("any", Some(200), Some(Some(200))),
    ] {
        let signed = sign(&barrier, by, &request, asked).await;
        assert_eq!(signed.ok().map(|signed| read(&signed.certificate).path_length), given, "{by} {asked:?}");
    }
}

#[tokio::test]
async fn nobody_is_made_a_ca_who_does_not_prove_to_have_the_key_and_a_name() {
    let barrier = with_root().await;
    let other = {
        let (_, barrier) = vault().await;
        create_root(&barrier, "other", NewRoot { subject: called("Other"), ..new_root(KeyKind::P256) }).await.unwrap()
    };
    put_role(&barrier, "web", role(&["a.svc"])).await.unwrap();
    let leaf = issue(&barrier, "web", asking(&["a.svc"])).await.unwrap().certificate;
    let request = intermediate(&barrier, "below", &called("Below")).await.request;
    sign(&barrier, "root", &request, None).await.unwrap();
    let same_name = intermediate(&barrier, "same", &called("Shop Root")).await.request;
    for (what, bad) in [
        ("nothing", ""),
        ("a certificate of no CA", &leaf),
        ("the name of who signs", &same_name),
        ("a request without a name", include_str!("nameless-request.pem")),
        ("a key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
    ] {
        assert!(sign(&barrier, "root", bad, None).await.is_err(), "{what}");
    }
    // A root's own certificate is one; somebody who changed a bit of it has not its key.
    sign(&barrier, "root", &other.certificate, None).await.unwrap();
    let mut der = all(&other.certificate)[0].der.clone();
    let last = der.len() - 1;
    der[last] ^= 1;
    assert!(sign(&barrier, "root", &x509::encode("CERTIFICATE", &der), None).await.is_err());
    for ttl_secs in [0, PKI_ISSUER_TTL_MAX.as_secs() + 1] {
        let (request, alice) = (CaRequest { request: request.clone(), ttl_secs, path_length: None }, alice());
        let asker = Asker { principal: &alice, pod: None };
        assert!(is_limit(&PKI.sign_ca(&barrier, &name("root"), &request, asker, NOW).await), "{ttl_secs}");
    }
}

#[tokio::test]
async fn a_new_root_that_the_old_one_vouches_for_is_believed_by_who_knows_either() {
    let barrier = with_root().await;
    let new = create_root(&barrier, "new", NewRoot { subject: called("New Root"), ..new_root(KeyKind::P384) }).await.unwrap();
    let crossed = sign(&barrier, "root", &new.certificate, None).await.unwrap();
    let certificate = read(&crossed.certificate);
    assert_eq!((&certificate.key, &certificate.subject), (&read(&new.certificate).key, &read(&new.certificate).subject));
    assert_eq!(certificate.key_id, read(&new.certificate).key_id, "what names its key goes on naming it");
    assert!(is_refused(&install(&barrier, "root", &crossed.certificate, true).await), "it is another's");
    install(&barrier, "new", &crossed.certificate, true).await.unwrap();
    install(&barrier, "new", &crossed.certificate, true).await.unwrap();
    put_role(&barrier, "web", Role { issuer: Some(name("new")), ..role(&["a.svc"]) }).await.unwrap();
    let issued = issue(&barrier, "web", asking(&["a.svc"])).await.unwrap();
    let chain = all(&issued.ca_chain);
    let [by_old, own] = chain.as_slice() else { panic!("{} certificates", chain.len()) };
    assert!(
        own.is_self_issued() && by_old.issuer == read(&PKI.issuer(&barrier, &name("root")).await.unwrap().certificate).subject
    );
    read(&issued.certificate).check_signed_by(&by_old.key).unwrap();

    for _ in 1..PKI_CROSSED_MAX {
        let more = sign(&barrier, "root", &new.certificate, None).await.unwrap();
        install(&barrier, "new", &more.certificate, true).await.unwrap();
    }
    let more = sign(&barrier, "root", &new.certificate, None).await.unwrap();
    assert!(is_limit(&install(&barrier, "new", &more.certificate, true).await));
}

#[tokio::test]
async fn a_ca_from_elsewhere_is_taken_over_with_its_chain_and_what_does_not_fit_is_refused() {
    let (key, chain) = (include_str!("elsewhere.key"), include_str!("elsewhere.pem"));
    let import = async |barrier: &Barrier, key: &str, chain: &str, now| {
        let key = SecretString::copied_from(key);
        commit(barrier, PKI.import_issuer(barrier, &name("old"), &key, chain, now).await).await
    };
    let now = coffer_core::clock::Timestamp::from_secs(1_800_000_000);
    let (_, barrier) = vault().await;
    let certificates = all(chain);
    let [own, root] = certificates.as_slice() else { panic!("two certificates") };
    let (own, root) = (x509::encode("CERTIFICATE", &own.der), x509::encode("CERTIFICATE", &root.der));
    let other = create_root(&barrier, "other", new_root(KeyKind::P256)).await.unwrap().certificate;
    for (what, key, chain) in [
        ("no key", "", chain),
        ("another key", include_str!("another.key"), chain),
        ("an RSA key", include_str!("rsa.key"), chain),
        ("an encrypted key", include_str!("encrypted.key"), chain),
        ("no certificate", key, ""),
        ("the wrong order", key, &format!("{root}{own}")),
        ("another root", key, &format!("{own}{other}")),
        ("a key among certificates", key, &format!("{own}{key}")),
        ("a leaf", key, include_str!("leaf-of-elsewhere.pem")),
    ] {
        let refused = import(&barrier, key, chain, now).await;
        assert!(matches!(refused, Err(PkiError::Refused(_) | PkiError::X509 { .. })), "{what}: {refused:?}");
    }
    assert!(
        is_refused(&import(&barrier, key, chain, coffer_core::clock::Timestamp::from_secs(9_000_000_000)).await),
        "it has ended"
    );
    assert!(is_limit(&import(&barrier, key, &"#".repeat(PKI_CHAIN_BYTES_MAX + 1), now).await));
    assert!(import(&barrier, key, &chain.repeat(PKI_CHAIN_MAX / 2 + 1), now).await.is_err());

    let taken = import(&barrier, key, chain, now).await.unwrap();
    assert_eq!((taken.subject.as_str(), all(&taken.chain).len()), ("O=Elsewhere, OU=Old, CN=Old CA", 2));
    put_role(&barrier, "web", Role { issuer: Some(name("old")), ..role(&["a.svc"]) }).await.unwrap();
    let (request, alice) = (asking(&["a.svc"]), alice());
    let issued =
        PKI.issue(&barrier, &ready(), &name("web"), &request, Asker { principal: &alice, pod: None }, now).await.unwrap().outcome;
    let leaf = read(&issued.certificate);
    leaf.check_signed_by(&read(&own).key).unwrap();
    // Byte by byte: others write names with other kinds of strings.
    assert_eq!(leaf.issuer, read(&own).subject);
}
