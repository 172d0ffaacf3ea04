//! Issuers: CAs whose keys are in the vault.

use std::{sync::Arc, time::Duration};

use coffer_barrier::{Barrier, Batch, Expect, RecordKey, encoding, encoding::SecretField};
use coffer_core::{
    clock::Timestamp,
    id::IssuerId,
    limits::{PKI_BACKDATE, PKI_ISSUER_TTL_MAX, PKI_ISSUERS_MAX},
    principal::Name,
};
use coffer_crypto::{
    random,
    x509::{
        self, CertificateFields, DistinguishedName, KeyKind, KeyUsage, Kind, PrivateKey, PublicKey, ReadCertificate, ReadRequest,
        Serial, Subject, key_usage_bits,
    },
};
use serde_bytes::ByteBuf;

use super::{
    Found, NamedPage, Pki, PkiError, Ready, decode,
    record::{IssuerRecord, IssuerRef},
    role::check_text,
};
use crate::Planned;

/// What a CA is called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CaSubject {
    /// The common name.
    pub common_name: String,
    /// The organisation; empty for none.
    pub organisation: String,
    /// The country, two capital letters; empty for none.
    pub country: String,
}

/// A root CA to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRoot {
    /// What it is called.
    pub subject: CaSubject,
    /// The kind of its key.
    pub key_kind: KeyKind,
    /// How long its certificate lasts.
    pub ttl_secs: u64,
    /// How many CAs may be below it; none for any number.
    pub path_length: Option<u8>,
}

/// An issuer, without its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The name.
    pub name: Name,
    /// The id: one that is deleted and made again under the same name has another.
    pub id: IssuerId,
    /// When it was made.
    pub created: Timestamp,
    /// The subject, in words.
    pub subject: String,
    /// The kind of its key.
    pub key_kind: KeyKind,
    /// Its certificate, PEM; empty while that is to come from another CA.
    pub certificate: String,
    /// The signing request for another CA, PEM; empty for none.
    pub request: String,
    /// The certificate's number, in hexadecimal digits.
    pub serial: String,
    /// When the certificate ends.
    pub not_after: Option<Timestamp>,
    /// Its certificate, behind others of it by other CAs where there are any, and those above; PEM.
    pub chain: String,
    /// Whether roles that name no issuer use it.
    pub is_default: bool,
}

/// An issuer that is ready to sign.
pub(super) struct Signer {
    pub(super) name: String,
    pub(super) id: IssuerId,
    pub(super) key: PrivateKey,
    pub(super) certificate: ReadCertificate,
    /// Its certificate and those above it, PEM.
    pub(super) chain: String,
    /// Over how many lists its certificates are spread.
    pub(super) parts: u16,
}

impl Signer {
    pub(super) fn new(name: &str, record: IssuerRecord) -> Result<Self, PkiError> {
        let (certificate, chain) = (record.certificate()?, record.chain());
        let key = PrivateKey::stored(record.key.0, certificate.key.clone()).map_err(PkiError::own)?;
        Ok(Self { name: name.to_owned(), id: record.id, key, certificate, chain, parts: record.parts.max(1) })
    }
}

impl CaSubject {
    pub(super) fn check(&self) -> Result<(), PkiError> {
        if self.common_name.is_empty() {
            return Err(PkiError::refused("a CA has a common name"));
        }
        check_text("a common name", &self.common_name)?;
        check_text("an organisation", &self.organisation)?;
        let country = self.country.is_empty() || self.country.len() == 2 && self.country.bytes().all(|c| c.is_ascii_uppercase());
        if !country {
            return Err(PkiError::refused("a country is two capital letters"));
        }
        Ok(())
    }

    pub(super) fn name(&self) -> DistinguishedName {
        DistinguishedName::new(&Subject {
            country: Some(self.country.as_str()).filter(|text| !text.is_empty()),
            organisation: Some(self.organisation.as_str()).filter(|text| !text.is_empty()),
            common_name: Some(&self.common_name),
        })
    }
}

impl NewRoot {
    fn check(&self) -> Result<(), PkiError> {
        self.subject.check()?;
        let longest = PKI_ISSUER_TTL_MAX.as_secs();
        if self.ttl_secs == 0 || self.ttl_secs > longest {
            return Err(PkiError::Limit(format!("a CA's certificate lasts 1 to {longest} seconds")));
        }
        Ok(())
    }
}

/// The second at which what is made now begins.
pub(super) fn begin(now: Timestamp) -> u64 {
    now.secs().saturating_sub(PKI_BACKDATE.as_secs())
}

/// What a CA's key is used for.
pub(super) fn ca_usages() -> u16 {
    key_usage_bits([KeyUsage::CertificateSign, KeyUsage::CrlSign])
}

fn pem(certificate: &[u8]) -> String {
    x509::encode("CERTIFICATE", certificate)
}

impl IssuerRecord {
    /// An issuer of this key, without a certificate yet.
    pub(super) fn new(key: PrivateKey, now: Timestamp) -> Result<Self, PkiError> {
        Ok(Self {
            id: IssuerId::from_bytes(random::bytes().map_err(|_| PkiError::own(x509::X509Error::Unsigned))?),
            created: now,
            key: SecretField(key.into_pkcs8()),
            certificate: None,
            request: None,
            chain: Vec::new(),
            crossed: Vec::new(),
            parts: 1,
        })
    }

    pub(super) fn certificate(&self) -> Result<ReadCertificate, PkiError> {
        let der = self.certificate.as_ref().ok_or(PkiError::refused("the CA has no certificate yet"))?;
        ReadCertificate::read(der).map_err(PkiError::own)
    }

    fn request(&self) -> Result<ReadRequest, PkiError> {
        let der = self.request.as_ref().ok_or_else(|| PkiError::damaged("a CA with neither certificate nor request"))?;
        ReadRequest::read(der).map_err(PkiError::own)
    }

    /// The public half of its key.
    pub(super) fn public_key(&self) -> Result<PublicKey, PkiError> {
        if self.certificate.is_some() { Ok(self.certificate()?.key) } else { Ok(self.request()?.key) }
    }

    /// Its certificate and those above it.
    fn chain(&self) -> String {
        // OpenSSL takes the first that fits, and does not try another: who trusts the certificate itself needs none of these,
        // and who does not needs one that leads on.
        self.crossed.iter().chain(&self.certificate).chain(&self.chain).map(|der| pem(der)).collect()
    }

    pub(super) fn issuer(&self, name: &Name, default: Option<&IssuerRef>) -> Result<Issuer, PkiError> {
        let certificate = self.certificate.as_ref().map(|_| self.certificate()).transpose()?;
        let (subject, key) = match &certificate {
            Some(certificate) => (certificate.subject.clone(), certificate.key.kind()),
            None => self.request().map(|request| (request.subject, request.key.kind()))?,
        };
        let request = self.request.as_ref().map(|der| x509::encode("CERTIFICATE REQUEST", der));
        Ok(Issuer {
            name: name.clone(),
            id: self.id,
            created: self.created,
            subject: subject.text().map_err(PkiError::own)?,
            key_kind: key,
            request: request.unwrap_or_default(),
            serial: certificate.as_ref().map(|certificate| x509::hex(&certificate.serial)).unwrap_or_default(),
            not_after: certificate.as_ref().map(|certificate| Timestamp::from_secs(certificate.not_after)),
            certificate: certificate.map(|certificate| pem(&certificate.der)).unwrap_or_default(),
            chain: self.chain(),
            is_default: default.is_some_and(|default| default.id == self.id),
        })
    }
}

impl Pki {
    fn issuer_key(&self, name: &str) -> Result<RecordKey, PkiError> {
        self.key([b"issuer".as_slice(), name.as_bytes()])
    }

    pub(super) async fn issuer_record(&self, barrier: &Barrier, name: &str) -> Result<Option<Found<IssuerRecord>>, PkiError> {
        self.find(barrier, self.issuer_key(name)?).await
    }

    /// The issuer of a name, for something that will depend on it.
    pub(super) async fn issuer_ref(&self, barrier: &Barrier, name: &Name) -> Result<IssuerRef, PkiError> {
        let found = self.issuer_record(barrier, name.as_str()).await?.ok_or(PkiError::NotFound("issuer"))?;
        Ok(IssuerRef { name: name.to_string(), id: found.record.id })
    }

    /// The issuer that something depends on; none where it is gone, whatever has its name now.
    pub(super) async fn issuer_meant(
        &self,
        barrier: &Barrier,
        issuer: &IssuerRef,
    ) -> Result<Option<Found<IssuerRecord>>, PkiError> {
        Ok(self.issuer_record(barrier, &issuer.name).await?.filter(|found| found.record.id == issuer.id))
    }

    /// The issuer of a role, ready to sign.
    pub(super) async fn signer(
        &self,
        barrier: &Barrier,
        ready: &Ready,
        issuer: Option<&IssuerRef>,
    ) -> Result<Arc<Signer>, PkiError> {
        let default;
        let issuer = match issuer {
            Some(issuer) => issuer,
            None => {
                default = self.config_record(barrier).await?.record.default;
                default.as_ref().ok_or(PkiError::refused("the role names no issuer, and the mount has no default one"))?
            }
        };
        let gone = || PkiError::refused("the issuer that was meant is gone: write the role, or the default, anew");
        let key = self.issuer_key(&issuer.name)?;
        let stored = barrier.get(&key).await?.ok_or_else(gone)?;
        let signer = ready.signers.of(&key, &stored, || Signer::new(&issuer.name, decode(&stored)?))?;
        if signer.id == issuer.id { Ok(signer) } else { Err(gone()) }
    }

    /// Plans a root CA. The first issuer of a mount is its default one.
    pub async fn create_root(
        &self,
        barrier: &Barrier,
        name: &Name,
        root: &NewRoot,
        now: Timestamp,
    ) -> Result<Planned<Issuer>, PkiError> {
        root.check()?;
        let key = PrivateKey::generate(root.key_kind).map_err(PkiError::given("this kind of key"))?;
        let (subject, not_before) = (root.subject.name(), begin(now));
        let not_after = now.plus(Duration::from_secs(root.ttl_secs)).secs();
        let fields = CertificateFields {
            serial: Serial::random(not_after).map_err(PkiError::own)?,
            issuer: &subject,
            subject: &subject,
            not_before,
            not_after,
            key: key.public(),
            key_id: None,
            kind: Kind::Ca(root.path_length),
            names: &[],
            key_usages: ca_usages(),
            extended: &[],
            authority: None,
            issuer_url: None,
            crl_url: None,
        };
        let certificate = fields.sign(&key).map_err(PkiError::own)?;
        let record = IssuerRecord { certificate: Some(ByteBuf::from(certificate)), ..IssuerRecord::new(key, now)? };
        self.add_issuer(barrier, name, &record).await
    }

    /// Plans an issuer that was not there.
    pub(super) async fn add_issuer(
        &self,
        barrier: &Barrier,
        name: &Name,
        record: &IssuerRecord,
    ) -> Result<Planned<Issuer>, PkiError> {
        if self.issuer_record(barrier, name.as_str()).await?.is_some() {
            return Err(PkiError::Exists("issuer"));
        }
        if self.count(barrier, "issuer").await? >= PKI_ISSUERS_MAX {
            return Err(PkiError::Limit(format!("there are {PKI_ISSUERS_MAX} issuers already")));
        }
        let mut batch = Batch::new();
        batch.put(self.issuer_key(name.as_str())?, Expect::Absent, encoding::encode(record)?);
        let mut config = self.config_record(barrier).await?;
        if config.record.default.is_none() && record.certificate.is_some() {
            config.record.default = Some(IssuerRef { name: name.to_string(), id: record.id });
            batch.put(config.key, config.expect, encoding::encode(&config.record)?);
        }
        let outcome = record.issuer(name, config.record.default.as_ref())?;
        Ok(Planned { batch, outcome })
    }

    /// An issuer, without its key.
    pub async fn issuer(&self, barrier: &Barrier, name: &Name) -> Result<Issuer, PkiError> {
        let found = self.issuer_record(barrier, name.as_str()).await?.ok_or(PkiError::NotFound("issuer"))?;
        found.record.issuer(name, self.config_record(barrier).await?.record.default.as_ref())
    }

    /// Issuers behind a name, `limit` at most.
    pub async fn issuers(&self, barrier: &Barrier, after: &str, limit: usize) -> Result<NamedPage<Issuer>, PkiError> {
        let default = self.config_record(barrier).await?.record.default;
        let (names, more) = self.names(barrier, "issuer", after, limit).await?;
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            if let Some(found) = self.issuer_record(barrier, name.as_str()).await? {
                entries.push(found.record.issuer(&name, default.as_ref())?);
            }
        }
        Ok(NamedPage { entries, more })
    }

    /// Plans that an issuer goes, and its key with it. `id` is the one that is meant; none for whichever has the name.
    pub async fn delete_issuer(&self, barrier: &Barrier, name: &Name, id: Option<IssuerId>) -> Result<Planned<()>, PkiError> {
        let found = self.issuer_record(barrier, name.as_str()).await?.ok_or(PkiError::NotFound("issuer"))?;
        if id.is_some_and(|id| id != found.record.id) {
            return Err(PkiError::NotFound("issuer: there is another of this name now"));
        }
        let mut batch = Batch::new();
        batch.delete(found.key, found.expect);
        let mut config = self.config_record(barrier).await?;
        if config.record.default.as_ref().is_some_and(|default| default.id == found.record.id) {
            config.record.default = None;
            batch.put(config.key, config.expect, encoding::encode(&config.record)?);
        }
        Ok(Planned { batch, outcome: () })
    }
}
