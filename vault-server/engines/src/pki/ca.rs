//! CAs whose certificates come from elsewhere, and certificates for CAs.

use std::time::Duration;

use coffer_barrier::{Barrier, Batch, encoding};
use coffer_core::{
    clock::Timestamp,
    limits::{PKI_CHAIN_BYTES_MAX, PKI_CHAIN_MAX, PKI_CROSSED_MAX, PKI_ISSUER_TTL_MAX},
    principal::Name,
};
use coffer_crypto::x509::{
    self, CertificateFields, DistinguishedName, KeyKind, Kind, PrivateKey, PublicKey, ReadCertificate, ReadRequest, Serial,
};
use coffer_secret::SecretString;
use serde_bytes::ByteBuf;

use super::{
    Asker, Issued, Issuer, Pki, PkiError,
    issue::read_request,
    issuer::{CaSubject, Signer, begin, ca_usages},
    record::{IssuerRecord, IssuerRef},
};
use crate::Planned;

/// A certificate for a CA.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CaRequest {
    /// A signing request, or the certificate of a root that is to be signed by this CA as well; PEM.
    pub request: String,
    /// How long it lasts.
    pub ttl_secs: u64,
    /// How many CAs may be below it; none for as many as the issuer lets.
    pub path_length: Option<u8>,
}

/// Who asks to be a CA: proved to hold the key.
struct Candidate {
    subject: DistinguishedName,
    key: PublicKey,
    key_id: Vec<u8>,
}

impl Pki {
    /// Plans an issuer whose certificate is to come from another CA: its key is made here, and a signing request.
    pub async fn create_intermediate(
        &self,
        barrier: &Barrier,
        name: &Name,
        subject: &CaSubject,
        key_kind: KeyKind,
        now: Timestamp,
    ) -> Result<Planned<Issuer>, PkiError> {
        subject.check()?;
        let key = PrivateKey::generate(key_kind).map_err(PkiError::given("this kind of key"))?;
        let request = x509::make_request(&subject.name(), &key).map_err(PkiError::own)?;
        let record = IssuerRecord { request: Some(ByteBuf::from(request)), ..IssuerRecord::new(key, now)? };
        self.add_issuer(barrier, name, &record).await
    }

    /// Plans an issuer with a key and certificates from elsewhere: its own first, then those above it.
    pub async fn import_issuer(
        &self,
        barrier: &Barrier,
        name: &Name,
        key: &SecretString,
        chain: &str,
        now: Timestamp,
    ) -> Result<Planned<Issuer>, PkiError> {
        const WHAT: &str = "the key";
        let mut blocks = x509::blocks(key.expose(), 1).map_err(PkiError::given(WHAT))?;
        let block = blocks.pop().filter(|block| block.label == "PRIVATE KEY");
        let block = block.ok_or(PkiError::X509 { what: WHAT, error: x509::X509Error::PrivateKey })?;
        let key = PrivateKey::from_pkcs8(block.content).map_err(PkiError::given(WHAT))?;
        let (own, above) = read_chain(chain, key.public(), now)?;
        let record = IssuerRecord {
            certificate: Some(ByteBuf::from(own.der)),
            chain: above.into_iter().map(|certificate| ByteBuf::from(certificate.der)).collect(),
            ..IssuerRecord::new(key, now)?
        };
        self.add_issuer(barrier, name, &record).await
    }

    /// Plans a certificate for an issuer's key, and those above it: its first, a new one in place of the old, or, where it
    /// is `crossed`, one more by another CA.
    pub async fn install_certificate(
        &self,
        barrier: &Barrier,
        name: &Name,
        chain: &str,
        crossed: bool,
        now: Timestamp,
    ) -> Result<Planned<Issuer>, PkiError> {
        let found = self.issuer_record(barrier, name.as_str()).await?.ok_or(PkiError::NotFound("issuer"))?;
        let mut record = found.record;
        let (own, above) = read_chain(chain, &record.public_key()?, now)?;
        let present = record.certificate.as_ref().map(|der| ReadCertificate::read(der)).transpose().map_err(PkiError::own)?;
        if present.as_ref().is_some_and(|present| present.subject != own.subject) {
            return Err(PkiError::refused(
                "the certificate gives the CA another name: what it has signed would not be found to be its own",
            ));
        }
        let above = above.into_iter().map(|certificate| ByteBuf::from(certificate.der));
        if crossed {
            if present.is_none() {
                return Err(PkiError::refused("the CA has no certificate of its own yet"));
            }
            let own = ByteBuf::from(own.der);
            if !record.crossed.contains(&own) && record.crossed.len() >= PKI_CROSSED_MAX {
                return Err(PkiError::Limit(format!("a CA has at most {PKI_CROSSED_MAX} certificates by other CAs")));
            }
            add(&mut record.crossed, own);
            above.for_each(|certificate| add(&mut record.chain, certificate));
            if record.chain.len() >= PKI_CHAIN_MAX {
                return Err(PkiError::Limit(format!("a chain has at most {PKI_CHAIN_MAX} certificates")));
            }
        } else {
            record.certificate = Some(ByteBuf::from(own.der));
            record.chain = above.collect();
        }
        let mut batch = Batch::new();
        batch.put(found.key, found.expect, encoding::encode(&record)?);
        let mut config = self.config_record(barrier).await?;
        if config.record.default.is_none() {
            config.record.default = Some(IssuerRef { name: name.to_string(), id: record.id });
            batch.put(config.key, config.expect, encoding::encode(&config.record)?);
        }
        let outcome = record.issuer(name, config.record.default.as_ref())?;
        Ok(Planned { batch, outcome })
    }

    /// Plans a certificate that makes another a CA below this issuer, or has this issuer sign for another root.
    pub async fn sign_ca(
        &self,
        barrier: &Barrier,
        issuer: &Name,
        request: &CaRequest,
        asker: Asker<'_>,
        now: Timestamp,
    ) -> Result<Planned<Issued>, PkiError> {
        let candidate = candidate(&request.request)?;
        let found = self.issuer_record(barrier, issuer.as_str()).await?.ok_or(PkiError::NotFound("issuer"))?;
        let signer = Signer::new(issuer.as_str(), found.record)?;
        if candidate.subject == signer.certificate.subject {
            return Err(PkiError::refused("the request has the name of the CA that is to sign it: each has a name of its own"));
        }
        let path_length = path_length(&signer, request.path_length)?;
        let longest = PKI_ISSUER_TTL_MAX.as_secs();
        if request.ttl_secs == 0 || request.ttl_secs > longest {
            return Err(PkiError::Limit(format!("a CA's certificate lasts 1 to {longest} seconds")));
        }
        let not_after = now.plus(Duration::from_secs(request.ttl_secs)).secs().min(signer.certificate.not_after);
        if not_after <= now.secs() || signer.certificate.not_before > now.secs() {
            return Err(PkiError::refused("the issuer's own certificate has ended, or has not begun"));
        }
        let serial = Serial::random(not_after).map_err(PkiError::own)?;
        let urls = self.urls(barrier, &signer, &serial).await?;
        let fields = CertificateFields {
            serial,
            issuer: &signer.certificate.subject,
            subject: &candidate.subject,
            not_before: begin(now).max(signer.certificate.not_before),
            not_after,
            key: &candidate.key,
            key_id: Some(&candidate.key_id),
            kind: Kind::Ca(path_length),
            names: &[],
            key_usages: ca_usages(),
            extended: &[],
            authority: Some(&signer.certificate.key_id),
            issuer_url: urls.as_ref().map(|(issuer, _)| issuer.as_str()),
            crl_url: urls.as_ref().map(|(_, list)| list.as_str()),
        };
        let certificate = fields.sign(&signer.key).map_err(PkiError::own)?;
        let mut batch = Batch::new();
        self.keep(&mut batch, (&signer, ""), asker, (&serial, &certificate), now)?;
        let outcome = Issued {
            certificate: x509::encode("CERTIFICATE", &certificate),
            private_key: None,
            ca_chain: signer.chain.clone(),
            serial,
            not_before: Timestamp::from_secs(fields.not_before),
            not_after: Timestamp::from_secs(not_after),
            issuer: signer.name.clone(),
            names: Vec::new(),
            stored: true,
        };
        Ok(Planned { batch, outcome })
    }
}

/// Adds a certificate that is not there yet.
fn add(list: &mut Vec<ByteBuf>, certificate: ByteBuf) {
    if !list.contains(&certificate) {
        list.push(certificate);
    }
}

/// How many CAs may be below one that this issuer signs: fewer than below itself.
fn path_length(signer: &Signer, asked: Option<u8>) -> Result<Option<u8>, PkiError> {
    let Some(own) = signer.certificate.path_length else { return Ok(asked) };
    let refused = || PkiError::refused("the issuer's own certificate does not let so many CAs be below it");
    let most = own.checked_sub(1).ok_or_else(refused)?;
    match asked {
        Some(asked) if u32::from(asked) > most => Err(refused()),
        Some(asked) => Ok(Some(asked)),
        None => Ok(Some(u8::try_from(most).unwrap_or(u8::MAX))),
    }
}

/// Who asks to be a CA. Nothing is taken from a request but name and key.
fn candidate(text: &str) -> Result<Candidate, PkiError> {
    const WHAT: &str = "the certificate";
    let is_certificate = text.contains("-----BEGIN CERTIFICATE-----");
    let candidate = if is_certificate {
        let certificate = read_certificates(text)?.swap_remove(0);
        if !certificate.ca || !certificate.is_self_issued() {
            return Err(PkiError::refused(
                "a certificate that is to be signed once more is a root's; others send a signing request",
            ));
        }
        // Its own signature proves that the root has the key.
        certificate.check_signed_by(&certificate.key).map_err(PkiError::given(WHAT))?;
        Candidate { subject: certificate.subject, key_id: certificate.key_id, key: certificate.key }
    } else {
        let ReadRequest { key, subject, .. } = read_request(text)?;
        Candidate { subject, key_id: key.id(), key }
    };
    if candidate.subject.is_empty() {
        return Err(PkiError::refused("a CA has a name: the request's subject is empty"));
    }
    Ok(candidate)
}

fn read_certificates(text: &str) -> Result<Vec<ReadCertificate>, PkiError> {
    const WHAT: &str = "the certificate";
    if text.len() > PKI_CHAIN_BYTES_MAX {
        return Err(PkiError::Limit(format!("certificates have at most {PKI_CHAIN_BYTES_MAX} bytes")));
    }
    let blocks = x509::blocks(text, PKI_CHAIN_MAX).map_err(PkiError::given(WHAT))?;
    if blocks.iter().any(|block| block.label != "CERTIFICATE") {
        return Err(PkiError::refused("certificates begin with BEGIN CERTIFICATE"));
    }
    blocks.iter().map(|block| ReadCertificate::read(block.content.expose()).map_err(PkiError::given(WHAT))).collect()
}

/// A CA's certificate for this key, and those above it: each signed by the next, and as far from the root as it may be.
fn read_chain(text: &str, key: &PublicKey, now: Timestamp) -> Result<(ReadCertificate, Vec<ReadCertificate>), PkiError> {
    let chain = read_certificates(text)?;
    for (below, certificate) in chain.iter().enumerate() {
        let above = chain.get(below + 1);
        let signer = match above {
            Some(above) if above.subject == certificate.issuer && above.ca => above,
            Some(_) => return Err(PkiError::refused("each certificate of a chain is that of the CA that signed the one before")),
            None if certificate.is_self_issued() => certificate,
            None => continue,
        };
        certificate.check_signed_by(&signer.key).map_err(PkiError::given("the chain"))?;
        let most = above.and_then(|above| above.path_length).and_then(|most| usize::try_from(most).ok());
        let far = most.is_some_and(|most| most <= below);
        if far {
            return Err(PkiError::refused("a certificate of the chain does not let so many CAs be below it"));
        }
    }
    let mut chain = chain.into_iter();
    let own = chain.next().ok_or(PkiError::refused("there is no certificate"))?;
    if own.key != *key {
        return Err(PkiError::refused("the first certificate is for another key"));
    }
    if !own.ca || !own.signs_crls {
        return Err(PkiError::refused("the certificate does not let its key sign certificates and revocation lists"));
    }
    if own.not_after <= now.secs() {
        return Err(PkiError::refused("the certificate has ended"));
    }
    Ok((own, chain.collect()))
}
