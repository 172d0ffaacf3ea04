//! Issuing certificates.

use std::sync::Arc;

use coffer_barrier::{Barrier, Batch, Expect, encoding};
use coffer_core::{
    clock::Timestamp,
    limits::{PKI_NAMES_MAX, PKI_REQUEST_BYTES_MAX, PKI_SUBJECT_CHARS_MAX},
    policy::PodFacts,
    principal::{Name, Principal},
};
use coffer_crypto::x509::{
    self, CertificateFields, DistinguishedName, KeyKind, KeyUsage, Kind, PrivateKey, PublicKey, ReadRequest, Serial, Subject,
    SubjectName, key_usage_bits,
};
use coffer_secret::SecretString;
use serde_bytes::ByteBuf;

use super::{
    Pki, PkiError, Ready, Workload,
    issuer::{Signer, begin},
    names,
    record::CertRecord,
    role::Ruling,
};
use crate::Planned;

/// A certificate with a key that the vault makes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IssueRequest {
    /// The names: hosts, addresses, URIs.
    pub names: Vec<String>,
    /// How long it lasts; none for as long as the role says.
    pub ttl_secs: Option<u64>,
    /// The kind of its key; none for the role's first.
    pub key_kind: Option<KeyKind>,
    /// Whether a time that is longer than the role allows is shortened to that, rather than refused.
    pub shortened: bool,
}

/// A certificate for a key of the caller's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SignRequest {
    /// The signing request, PEM. Taken from it: the key, and the names it asks for.
    pub request: String,
    /// How long it lasts; none for as long as the role says.
    pub ttl_secs: Option<u64>,
}

/// A certificate that was made.
#[derive(Debug)]
pub struct Issued {
    /// The certificate, PEM.
    pub certificate: String,
    /// Its key, PEM (PKCS#8), where the vault made it.
    pub private_key: Option<SecretString>,
    /// The issuer's certificate and those above it, PEM.
    pub ca_chain: String,
    /// The number.
    pub serial: Serial,
    /// The first moment.
    pub not_before: Timestamp,
    /// The last one.
    pub not_after: Timestamp,
    /// The issuer's name.
    pub issuer: String,
    /// What it is for.
    pub names: Vec<SubjectName>,
    /// Whether a record of it is kept.
    pub stored: bool,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The principal.
    pub principal: &'a Principal,
    /// Its pod, for a workload.
    pub pod: Option<&'a PodFacts>,
}

/// A role, and whoever signs for it.
struct Authority {
    role_name: Name,
    ruling: Arc<Ruling>,
    signer: Arc<Signer>,
}

impl Pki {
    /// Plans a certificate with a new key. The key is in the answer alone.
    pub async fn issue(
        &self,
        barrier: &Barrier,
        ready: &Ready,
        role: &Name,
        request: &IssueRequest,
        asker: Asker<'_>,
        now: Timestamp,
    ) -> Result<Planned<Issued>, PkiError> {
        check_count(request.names.len())?;
        let authority = self.authority(barrier, ready, role).await?;
        let kind = authority.key_kind(request.key_kind)?;
        let names = request.names.iter().map(|name| names::parse(name)).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKey::generate(kind).map_err(PkiError::own)?;
        let longest = if request.shortened { authority.ruling.role.ttl_secs_max } else { u64::MAX };
        let ttl_secs = request.ttl_secs.map(|asked| asked.min(longest));
        let mut planned = self.certify(barrier, &authority, (key.public(), names), ttl_secs, asker, now).await?;
        planned.outcome.private_key = Some(key.pem());
        Ok(planned)
    }

    /// Plans a certificate for the key of a signing request, whose holder has signed it.
    pub async fn sign(
        &self,
        barrier: &Barrier,
        ready: &Ready,
        role: &Name,
        request: &SignRequest,
        asker: Asker<'_>,
        now: Timestamp,
    ) -> Result<Planned<Issued>, PkiError> {
        let read = read_request(&request.request)?;
        if read.asks_for_ca {
            return Err(PkiError::refused("the signing request asks for a CA's certificate, which no role gives"));
        }
        let mut asked = read.names;
        // Older programs write the host in the common name alone.
        if asked.is_empty() {
            asked = read.common_names.iter().map(|name| names::parse(name)).collect::<Result<_, _>>()?;
        }
        check_count(asked.len())?;
        let authority = self.authority(barrier, ready, role).await?;
        if !authority.ruling.role.key_types.contains(&read.key.kind()) {
            return Err(PkiError::told(format!("the role does not take keys of the kind {}", read.key.kind().name())));
        }
        self.certify(barrier, &authority, (&read.key, asked), request.ttl_secs, asker, now).await
    }

    async fn authority(&self, barrier: &Barrier, ready: &Ready, name: &Name) -> Result<Authority, PkiError> {
        let ruling = self.ruling(barrier, ready, name).await?;
        let signer = self.signer(barrier, ready, ruling.issuer.as_ref()).await?;
        Ok(Authority { role_name: name.clone(), ruling, signer })
    }

    async fn certify(
        &self,
        barrier: &Barrier,
        authority: &Authority,
        (key, asked): (&PublicKey, Vec<SubjectName>),
        ttl_secs: Option<u64>,
        asker: Asker<'_>,
        now: Timestamp,
    ) -> Result<Planned<Issued>, PkiError> {
        let (role, signer) = (&authority.ruling.role, &*authority.signer);
        let names = authority.names(asked, Workload::of(asker.principal))?;
        let (not_before, not_after) = authority.lifetime(ttl_secs, now)?;
        let (subject, key_usages) = (authority.subject(&names), authority.key_usages(key.kind()));
        let serial = Serial::random(not_after).map_err(PkiError::own)?;
        let urls = self.urls(barrier, signer, &serial).await?;
        let fields = CertificateFields {
            serial,
            issuer: &signer.certificate.subject,
            subject: &subject,
            not_before,
            not_after,
            key,
            key_id: None,
            kind: Kind::EndEntity,
            names: &names,
            key_usages,
            extended: &role.extended,
            authority: Some(&signer.certificate.key_id),
            issuer_url: urls.as_ref().map(|(issuer, _)| issuer.as_str()),
            crl_url: urls.as_ref().map(|(_, list)| list.as_str()),
        };
        let certificate = fields.sign(&signer.key).map_err(PkiError::own)?;
        let mut batch = Batch::new();
        if !role.no_store {
            self.keep(&mut batch, (signer, authority.role_name.as_str()), asker, (&serial, &certificate), now)?;
        }
        let outcome = Issued {
            certificate: x509::encode("CERTIFICATE", &certificate),
            private_key: None,
            ca_chain: signer.chain.clone(),
            serial,
            not_before: Timestamp::from_secs(not_before),
            not_after: Timestamp::from_secs(not_after),
            issuer: signer.name.clone(),
            names,
            stored: !role.no_store,
        };
        Ok(Planned { batch, outcome })
    }
}

impl Pki {
    /// Notes a certificate.
    pub(super) fn keep(
        &self,
        batch: &mut Batch,
        (signer, role): (&Signer, &str),
        asker: Asker<'_>,
        (serial, certificate): (&Serial, &[u8]),
        now: Timestamp,
    ) -> Result<(), PkiError> {
        let record = CertRecord {
            issuer: signer.id,
            issuer_name: signer.name.clone(),
            role: role.to_owned(),
            principal: asker.principal.to_string(),
            pod: asker.pod.map(|pod| pod.uid.clone()),
            issued: now,
            certificate: ByteBuf::from(certificate),
        };
        batch.put(self.cert_key(serial)?, Expect::New, encoding::encode(&record)?);
        Ok(())
    }
}

impl Authority {
    /// The kind of key to make.
    fn key_kind(&self, asked: Option<KeyKind>) -> Result<KeyKind, PkiError> {
        let mut made = self.ruling.role.key_types.iter().copied().filter(|kind| *kind != KeyKind::Rsa);
        match asked {
            Some(kind) if made.any(|may| may == kind) => Ok(kind),
            Some(kind) => Err(PkiError::told(format!("the role has no keys of the kind {} made", kind.name()))),
            None => made.next().ok_or(PkiError::refused(
                "the role takes RSA keys alone, which are not made here: make the key where it is used, and have it signed",
            )),
        }
    }

    /// The names of a certificate: those asked for, each of which the role must allow, and the one that it gives.
    fn names(&self, asked: Vec<SubjectName>, workload: Option<Workload<'_>>) -> Result<Vec<SubjectName>, PkiError> {
        let spiffe = self.ruling.role.spiffe_id(workload)?.map(SubjectName::Uri);
        let mut names: Vec<SubjectName> = Vec::with_capacity(asked.len() + 1);
        for name in asked {
            // Who asks for what it is given anyway asks for nothing more.
            if spiffe.as_ref() != Some(&name) {
                self.ruling.role.check_name(&name, workload)?;
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names.extend(spiffe);
        if names.is_empty() {
            return Err(PkiError::refused("the certificate would be for no name: ask for one that the role allows"));
        }
        Ok(names)
    }

    /// The first and the last second: never past the issuer's last.
    fn lifetime(&self, asked: Option<u64>, now: Timestamp) -> Result<(u64, u64), PkiError> {
        let longest = self.ruling.role.ttl_secs_max;
        let ttl = asked.unwrap_or(self.ruling.role.ttl_secs);
        if ttl == 0 {
            return Err(PkiError::refused("a certificate lasts at least a second"));
        }
        if ttl > longest {
            return Err(PkiError::Limit(format!("certificates of this role last at most {longest} seconds")));
        }
        let issuer = &self.signer.certificate;
        let not_after = now.secs().saturating_add(ttl).min(issuer.not_after);
        if not_after <= now.secs() || issuer.not_before > now.secs() {
            return Err(PkiError::refused("the issuer's own certificate has ended, or has not begun"));
        }
        Ok((begin(now).max(issuer.not_before), not_after))
    }

    fn subject(&self, names: &[SubjectName]) -> DistinguishedName {
        let short = |name: &&str| name.chars().count() <= PKI_SUBJECT_CHARS_MAX;
        let hosts = names.iter().filter_map(|name| match name {
            SubjectName::Dns(host) => Some(host.as_str()),
            SubjectName::Ip(_) | SubjectName::Uri(_) => None,
        });
        let common_name = if self.ruling.role.common_name { hosts.take(1).find(short) } else { None };
        let organisation = Some(self.ruling.role.organisation.as_str()).filter(|text| !text.is_empty());
        DistinguishedName::new(&Subject { country: None, organisation, common_name })
    }

    /// What the key may be used for: of what the role says, that which a key of its kind can do.
    fn key_usages(&self, kind: KeyKind) -> u16 {
        key_usage_bits(self.ruling.role.key_usages.iter().copied().filter(|usage| match usage {
            KeyUsage::KeyEncipherment => kind == KeyKind::Rsa,
            KeyUsage::KeyAgreement => matches!(kind, KeyKind::P256 | KeyKind::P384),
            _ => true,
        }))
    }
}

fn check_count(names: usize) -> Result<(), PkiError> {
    if names > PKI_NAMES_MAX {
        return Err(PkiError::Limit(format!("a certificate is for at most {PKI_NAMES_MAX} names")));
    }
    Ok(())
}

/// The signing request of a PEM text.
pub(super) fn read_request(text: &str) -> Result<ReadRequest, PkiError> {
    const WHAT: &str = "the signing request";
    if text.len() > PKI_REQUEST_BYTES_MAX {
        return Err(PkiError::Limit(format!("a signing request has at most {PKI_REQUEST_BYTES_MAX} bytes")));
    }
    let blocks = x509::blocks(text, 1).map_err(PkiError::given(WHAT))?;
    let block = blocks.first().filter(|block| matches!(block.label.as_str(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST"));
    let block = block.ok_or(PkiError::refused("a signing request begins with BEGIN CERTIFICATE REQUEST"))?;
    ReadRequest::read(block.content.expose()).map_err(PkiError::given(WHAT))
}
