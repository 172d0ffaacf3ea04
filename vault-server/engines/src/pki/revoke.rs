//! Taking certificates back, and the lists that say so.

use coffer_barrier::{Barrier, Batch, Expect, RecordKey, encoding};
use coffer_core::{
    clock::Timestamp,
    id::IssuerId,
    limits::{PKI_CHAIN_MAX, PKI_CRL_ENTRIES, PKI_CRL_LIFETIME, PKI_KEPT},
    principal::{Name, Principal},
};
use coffer_crypto::x509::{self, CrlFields, ReadCertificate, Revoked, Serial};

use super::{
    Pki, PkiError,
    issuer::Signer,
    record::{CertRecord, IssuerRecord, RevokedRecord},
};
use crate::Planned;

/// Why a certificate is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RevocationReason {
    /// It is not said.
    #[default]
    Unspecified,
    /// Somebody else may have the key.
    KeyCompromise,
    /// The subject is not what it was.
    AffiliationChanged,
    /// There is a newer one.
    Superseded,
    /// It is not needed any more.
    CessationOfOperation,
    /// The subject may not have it any more.
    PrivilegeWithdrawn,
}

impl RevocationReason {
    /// Every reason.
    pub const ALL: &[Self] = &[
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::AffiliationChanged => "affiliation-changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::PrivilegeWithdrawn => "privilege-withdrawn",
        }
    }

    /// As RFC 5280 numbers it.
    const fn number(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::PrivilegeWithdrawn => 9,
        }
    }

    fn numbered(number: u8) -> Self {
        Self::ALL.iter().copied().find(|reason| reason.number() == number).unwrap_or_default()
    }
}

/// A certificate that was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Its number.
    pub serial: Serial,
    /// Its issuer.
    pub issuer: IssuerId,
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
}

/// What is kept of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub serial: Serial,
    /// The certificate, PEM.
    pub certificate: String,
    /// The issuer's name when it was made.
    pub issuer: String,
    /// The role; empty for a CA's certificate.
    pub role: String,
    /// Who asked.
    pub principal: String,
    /// When it was made.
    pub issued: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
    /// What it is for.
    pub names: Vec<String>,
    /// Since when it is taken back, and why.
    pub revoked: Option<(Timestamp, RevocationReason)>,
}

/// A revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    /// The list, DER.
    pub der: Vec<u8>,
    /// Until when it counts.
    pub next_update: Timestamp,
    /// Certificates in it.
    pub entries: usize,
}

impl Crl {
    /// The list, PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        x509::encode("X509 CRL", &self.der)
    }
}

/// Which of an issuer's lists: all of them together is `0 of 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    /// The number.
    pub number: u16,
    /// Of how many: a power of two, at most [`Part::OF_MAX`].
    pub of: u16,
}

impl Part {
    /// The whole list.
    pub const WHOLE: Self = Self { number: 0, of: 1 };
    /// Parts that there are at most.
    pub const OF_MAX: u16 = 256;

    /// The part of these numbers, where there is one.
    #[must_use]
    pub fn new(number: u16, of: u16) -> Option<Self> {
        (of.is_power_of_two() && of <= Self::OF_MAX && number < of).then_some(Self { number, of })
    }

    /// The part that a certificate is in, of so many.
    pub(super) fn of_serial(serial: &Serial, of: u16) -> Self {
        Self { number: u16::from(serial.spread()) % of.max(1), of: of.max(1) }
    }

    fn contains(self, serial: &Serial) -> bool {
        Self::of_serial(serial, self.of) == self
    }
}

impl Pki {
    pub(super) fn cert_key(&self, serial: &Serial) -> Result<RecordKey, PkiError> {
        self.key([b"cert".as_slice(), &serial.hour().to_be_bytes(), serial.as_bytes()])
    }

    fn revoked_key(&self, issuer: IssuerId, serial: &Serial) -> Result<RecordKey, PkiError> {
        self.key([b"revoked".as_slice(), issuer.as_bytes(), &serial.hour().to_be_bytes(), serial.as_bytes()])
    }

    /// Every issuer: there are few.
    pub(super) async fn all_issuers(&self, barrier: &Barrier) -> Result<Vec<(String, IssuerRecord)>, PkiError> {
        let (names, _) = self.names(barrier, "issuer", "", usize::MAX).await?;
        let mut all = Vec::with_capacity(names.len());
        for name in names {
            if let Some(found) = self.issuer_record(barrier, name.as_str()).await? {
                all.push((name.to_string(), found.record));
            }
        }
        Ok(all)
    }

    async fn issuer_of_id(&self, barrier: &Barrier, id: IssuerId) -> Result<(String, IssuerRecord), PkiError> {
        let found = self.all_issuers(barrier).await?.into_iter().find(|(_, record)| record.id == id);
        found.ok_or(PkiError::NotFound("issuer"))
    }

    /// An issuer's certificate, DER.
    pub async fn issuer_certificate(&self, barrier: &Barrier, id: IssuerId) -> Result<Vec<u8>, PkiError> {
        let (_, record) = self.issuer_of_id(barrier, id).await?;
        record.certificate.map(serde_bytes::ByteBuf::into_vec).ok_or(PkiError::NotFound("certificate"))
    }

    /// Plans to take a certificate back: one that is kept, or one that is given and was signed here. One that is taken back
    /// already stays as it was.
    pub async fn revoke(
        &self,
        barrier: &Barrier,
        serial: &Serial,
        given: Option<&str>,
        reason: RevocationReason,
        by: &Principal,
        now: Timestamp,
    ) -> Result<Planned<Revocation>, PkiError> {
        let issuer = match given {
            Some(given) => self.issuer_of_given(barrier, serial, given).await?,
            None => {
                let kept = self.find::<CertRecord>(barrier, self.cert_key(serial)?).await?;
                kept.ok_or(PkiError::NotFound("certificate: of one that is not kept, give the certificate itself"))?.record.issuer
            }
        };
        // Nobody could sign a list for an issuer that is gone.
        self.issuer_of_id(barrier, issuer).await?;
        let key = self.revoked_key(issuer, serial)?;
        if let Some(found) = self.find::<RevokedRecord>(barrier, key.clone()).await? {
            let (at, reason) = (found.record.at, RevocationReason::numbered(found.record.reason));
            return Ok(Planned { batch: Batch::new(), outcome: Revocation { serial: *serial, issuer, at, reason } });
        }
        let record = RevokedRecord { at: now, reason: reason.number(), by: by.to_string() };
        let mut batch = Batch::new();
        batch.put(key, Expect::Absent, encoding::encode(&record)?);
        Ok(Planned { batch, outcome: Revocation { serial: *serial, issuer, at: now, reason } })
    }

    async fn issuer_of_given(&self, barrier: &Barrier, serial: &Serial, given: &str) -> Result<IssuerId, PkiError> {
        const WHAT: &str = "the certificate";
        let blocks = x509::blocks(given, PKI_CHAIN_MAX).map_err(PkiError::given(WHAT))?;
        let block = blocks.first().filter(|block| block.label == "CERTIFICATE");
        let block = block.ok_or(PkiError::refused("a certificate begins with BEGIN CERTIFICATE"))?;
        let certificate = ReadCertificate::read(block.content.expose()).map_err(PkiError::given(WHAT))?;
        if certificate.serial != serial.as_bytes() {
            return Err(PkiError::refused("the certificate has another number"));
        }
        for (_, record) in self.all_issuers(barrier).await? {
            let Ok(issuer) = record.certificate() else { continue };
            if issuer.subject == certificate.issuer && certificate.check_signed_by(&issuer.key).is_ok() {
                return Ok(record.id);
            }
        }
        Err(PkiError::refused("no CA of this mount has signed the certificate"))
    }

    /// A certificate that is kept.
    pub async fn certificate(&self, barrier: &Barrier, serial: &Serial) -> Result<Kept, PkiError> {
        let found = self.find::<CertRecord>(barrier, self.cert_key(serial)?).await?;
        let CertRecord { issuer, issuer_name, role, principal, issued, certificate, .. } =
            found.ok_or(PkiError::NotFound("certificate"))?.record;
        let read = ReadCertificate::read(&certificate).map_err(PkiError::own)?;
        let revoked = self.find::<RevokedRecord>(barrier, self.revoked_key(issuer, serial)?).await?;
        Ok(Kept {
            serial: *serial,
            certificate: x509::encode("CERTIFICATE", &certificate),
            issuer: issuer_name,
            role,
            principal,
            issued,
            not_after: Timestamp::from_secs(read.not_after),
            names: read.names.iter().map(ToString::to_string).collect(),
            revoked: revoked.map(|found| (found.record.at, RevocationReason::numbered(found.record.reason))),
        })
    }

    /// Numbers of certificates that are kept, in the order in which they end, behind one; `limit` at most, and whether there
    /// are more.
    pub async fn certificates(
        &self,
        barrier: &Barrier,
        after: Option<&Serial>,
        limit: usize,
    ) -> Result<(Vec<Serial>, bool), PkiError> {
        let mut serials = Vec::new();
        for hour in self.hours(barrier, self.key([b"cert".as_slice()])?).await? {
            if after.is_some_and(|after| hour < after.hour()) {
                continue;
            }
            let children = barrier.children(&self.key([b"cert".as_slice(), &hour.to_be_bytes()])?).await?;
            for child in children.iter() {
                let serial = Serial::from_bytes(&child.name).ok_or_else(|| PkiError::damaged("a certificate's number"))?;
                if after.is_some_and(|after| hour == after.hour() && serial <= *after) {
                    continue;
                }
                if serials.len() >= limit {
                    return Ok((serials, true));
                }
                serials.push(serial);
            }
        }
        Ok((serials, false))
    }

    async fn hours(&self, barrier: &Barrier, directory: RecordKey) -> Result<Vec<u32>, PkiError> {
        let children = barrier.children(&directory).await?;
        let hour = |name: &[u8]| <[u8; 4]>::try_from(name).map(u32::from_be_bytes).map_err(|_| PkiError::damaged("an hour"));
        children.iter().map(|child| hour(&child.name)).collect()
    }

    async fn revoked(&self, barrier: &Barrier, issuer: IssuerId, part: Part) -> Result<Vec<Revoked>, PkiError> {
        let directory = self.key([b"revoked".as_slice(), issuer.as_bytes()])?;
        let mut revoked = Vec::new();
        for hour in self.hours(barrier, directory.clone()).await? {
            let hour = directory.child(hour.to_be_bytes()).map_err(|_| PkiError::damaged("an hour"))?;
            for (name, record) in barrier.children_records(&hour).await? {
                let serial = Serial::from_bytes(&name).ok_or_else(|| PkiError::damaged("a certificate's number"))?;
                if part.contains(&serial) {
                    let record: RevokedRecord =
                        encoding::decode(record.value.expose()).map_err(|_| PkiError::damaged("a revocation"))?;
                    revoked.push(Revoked { serial, at: record.at.secs(), reason: record.reason });
                }
            }
        }
        Ok(revoked)
    }

    /// A list of what is taken back, signed now. Its number is the time: a later one has a higher one.
    pub async fn crl(&self, barrier: &Barrier, issuer: IssuerId, part: Part, now: Timestamp) -> Result<Crl, PkiError> {
        let (name, record) = self.issuer_of_id(barrier, issuer).await?;
        let signer = Signer::new(&name, record)?;
        let revoked = self.revoked(barrier, issuer, part).await?;
        let next_update = now.plus(PKI_CRL_LIFETIME);
        let url = if part == Part::WHOLE { None } else { self.crl_url(barrier, issuer, part).await? };
        let fields = CrlFields {
            issuer: &signer.certificate.subject,
            authority: &signer.certificate.key_id,
            number: now.millis(),
            this_update: now.secs(),
            next_update: next_update.secs(),
            revoked: &revoked,
            part: url.as_deref(),
        };
        let der = fields.sign(&signer.key).map_err(PkiError::own)?;
        Ok(Crl { der, next_update, entries: revoked.len() })
    }

    /// The whole list of an issuer, by name.
    pub async fn crl_of(&self, barrier: &Barrier, name: &Name, now: Timestamp) -> Result<Crl, PkiError> {
        let found = self.issuer_record(barrier, name.as_str()).await?.ok_or(PkiError::NotFound("issuer"))?;
        self.crl(barrier, found.record.id, Part::WHOLE, now).await
    }

    /// Plans that certificates to come are spread over more lists, where an issuer's have grown long. Those that are out keep
    /// their lists, which go on to have all that they had.
    pub async fn spread(&self, barrier: &Barrier) -> Result<Batch, PkiError> {
        let mut batch = Batch::new();
        for (name, _) in self.all_issuers(barrier).await? {
            let Some(mut found) = self.issuer_record(barrier, &name).await? else { continue };
            let directory = self.key([b"revoked".as_slice(), found.record.id.as_bytes()])?;
            let mut revoked = 0;
            for hour in self.hours(barrier, directory.clone()).await? {
                let hour = directory.child(hour.to_be_bytes()).map_err(|_| PkiError::damaged("an hour"))?;
                revoked += barrier.children(&hour).await?.len();
            }
            let before = found.record.parts.max(1);
            let mut parts = before;
            while revoked > PKI_CRL_ENTRIES * usize::from(parts) && parts < Part::OF_MAX {
                parts *= 2;
            }
            if parts != before {
                found.record.parts = parts;
                batch.put(found.key, found.expect, encoding::encode(&found.record)?);
            }
        }
        Ok(batch)
    }

    /// Erases some of what is kept of certificates that ended long ago; answers how many records, none when all are gone.
    pub async fn tidy(&self, barrier: &Barrier, now: Timestamp) -> Result<usize, PkiError> {
        let over = u32::try_from(now.secs().saturating_sub(PKI_KEPT.as_secs()) / 3_600).unwrap_or(u32::MAX);
        let mut directories = vec![self.key([b"cert".as_slice()])?];
        let revoked = self.key([b"revoked".as_slice()])?;
        for child in barrier.children(&revoked).await?.iter() {
            directories.push(revoked.child(&child.name).map_err(|_| PkiError::damaged("an issuer's id"))?);
        }
        for directory in directories {
            for hour in self.hours(barrier, directory.clone()).await?.into_iter().filter(|hour| *hour < over) {
                let hour = directory.child(hour.to_be_bytes()).map_err(|_| PkiError::damaged("an hour"))?;
                let erased = barrier.erase_below(&hour).await?;
                if erased > 0 {
                    return Ok(erased);
                }
            }
        }
        Ok(0)
    }
}
