//! The pki engine's issuers, roles and certificates.

use std::sync::Arc;

use coffer_core::{id::IssuerId, path::Path, principal::Name, reason::Reason};
use coffer_engines::pki::{
    Asker, CaRequest, CaSubject, Config, Crl, IssueRequest, Issued, Issuer, Kept, KeyKind, NamedPage, NewRoot, Pki, PkiError,
    Revocation, RevocationReason, Role, RoleState, Serial, SignRequest,
};
use coffer_secret::SecretString;

use crate::{Authenticated, Engine, Failure, Planned, Record, Unsealed};

impl From<PkiError> for Failure {
    fn from(error: PkiError) -> Self {
        let told = |reason| Self::told(reason, error.to_string());
        match error {
            PkiError::NotFound(_) => told(Reason::NotFound),
            PkiError::Exists(_) => told(Reason::AlreadyExists),
            PkiError::Etag => told(Reason::Conflict),
            PkiError::Refused(_) | PkiError::X509 { .. } => told(Reason::InvalidArgument),
            PkiError::Limit(_) => told(Reason::LimitExceeded),
            PkiError::Barrier(error) => error.into(),
        }
    }
}

fn asker(who: &Authenticated) -> Asker<'_> {
    Asker { principal: &who.caller.principal, pod: who.pod.as_ref() }
}

/// Notes in the record what was made: never the key.
fn note(record: &mut Record, issued: &Issued) {
    let names: Vec<_> = issued.names.iter().map(ToString::to_string).collect();
    record.detail("serial", issued.serial);
    record.detail("issuer", &issued.issuer);
    record.detail("names", names.join(","));
    record.detail("not_after_secs", issued.not_after.secs());
}

impl Unsealed {
    fn pki(&self, path: &Path) -> Result<Pki, Failure> {
        Ok(Pki::new(self.tenant.id, self.mount_of(path, Engine::Pki)?))
    }

    /// Plans a root CA.
    ///
    /// # Errors
    /// Fails where there is an issuer of this name, there are too many, or what is asked for cannot be.
    pub async fn create_root(
        &self,
        path: &Path,
        name: &Name,
        root: &NewRoot,
        record: &mut Record,
    ) -> Result<Planned<Issuer>, Failure> {
        self.time_is_right()?;
        let planned = self.pki(path)?.create_root(&self.barrier, name, root, self.now()).await?;
        record.detail("issuer_id", planned.outcome.id);
        record.detail("serial", &planned.outcome.serial);
        Ok(planned.into())
    }

    /// Plans a CA whose certificate is to come from another.
    ///
    /// # Errors
    /// As [`create_root`](Self::create_root).
    pub async fn create_intermediate(
        &self,
        path: &Path,
        name: &Name,
        subject: &CaSubject,
        key_kind: KeyKind,
        record: &mut Record,
    ) -> Result<Planned<Issuer>, Failure> {
        let planned = self.pki(path)?.create_intermediate(&self.barrier, name, subject, key_kind, self.now()).await?;
        record.detail("issuer_id", planned.outcome.id);
        Ok(planned.into())
    }

    /// Plans to take over a CA from elsewhere.
    ///
    /// # Errors
    /// Fails where there is an issuer of this name, or key and certificates cannot be used.
    pub async fn import_issuer(
        &self,
        path: &Path,
        name: &Name,
        key: &SecretString,
        chain: &str,
        record: &mut Record,
    ) -> Result<Planned<Issuer>, Failure> {
        let planned = self.pki(path)?.import_issuer(&self.barrier, name, key, chain, self.now()).await?;
        record.detail("issuer_id", planned.outcome.id);
        record.detail("serial", &planned.outcome.serial);
        Ok(planned.into())
    }

    /// Plans a certificate for an issuer's key.
    ///
    /// # Errors
    /// Fails where there is no such issuer, or the certificate is not for it.
    pub async fn install_certificate(
        &self,
        path: &Path,
        name: &Name,
        chain: &str,
        crossed: bool,
        record: &mut Record,
    ) -> Result<Planned<Issuer>, Failure> {
        let planned = self.pki(path)?.install_certificate(&self.barrier, name, chain, crossed, self.now()).await?;
        record.detail("issuer_id", planned.outcome.id);
        record.detail("serial", &planned.outcome.serial);
        Ok(planned.into())
    }

    /// Plans a certificate for another CA.
    ///
    /// # Errors
    /// Fails where there is no such issuer, or it may not sign what is asked for.
    pub async fn sign_issuer(
        &self,
        who: &Authenticated,
        path: &Path,
        name: &Name,
        request: &CaRequest,
        record: &mut Record,
    ) -> Result<Planned<Issued>, Failure> {
        self.time_is_right()?;
        let planned = self.pki(path)?.sign_ca(&self.barrier, name, request, asker(who), self.now()).await?;
        note(record, &planned.outcome);
        Ok(planned.into())
    }

    /// A certificate that is kept.
    ///
    /// # Errors
    /// Fails where there is none of this number.
    pub async fn kept_certificate(&self, path: &Path, serial: &Serial) -> Result<Kept, Failure> {
        Ok(self.pki(path)?.certificate(&self.barrier, serial).await?)
    }

    /// A page of certificates behind a number, and whether there are more.
    ///
    /// # Errors
    /// Fails where there is no such mount.
    pub async fn kept_certificates(
        &self,
        path: &Path,
        after: Option<&Serial>,
        limit: usize,
    ) -> Result<(Vec<Kept>, bool), Failure> {
        let pki = self.pki(path)?;
        let (serials, more) = pki.certificates(&self.barrier, after, limit).await?;
        let mut kept = Vec::with_capacity(serials.len());
        for serial in serials {
            kept.push(pki.certificate(&self.barrier, &serial).await?);
        }
        Ok((kept, more))
    }

    /// Plans to take a certificate back.
    ///
    /// # Errors
    /// Fails where it is not kept and not given, or was not signed here.
    pub async fn revoke_certificate(
        &self,
        who: &Authenticated,
        path: &Path,
        serial: &Serial,
        given: Option<&str>,
        reason: RevocationReason,
        record: &mut Record,
    ) -> Result<Planned<Revocation>, Failure> {
        let mount = self.mount_of(path, Engine::Pki)?;
        let by = &who.caller.principal;
        let revoked = self.pki(path)?.revoke(&self.barrier, serial, given, reason, by, self.now()).await?;
        record.detail("reason", reason.name());
        record.detail("issuer_id", revoked.outcome.issuer);
        let (lists, issuer) = (Arc::clone(&self.lists), revoked.outcome.issuer);
        let mut planned = Planned::from(revoked);
        if !planned.batch.is_empty() {
            planned.then.push(Box::new(move || lists.outdated(mount, issuer)));
        }
        Ok(planned)
    }

    /// An issuer's revocation list, signed now.
    ///
    /// # Errors
    /// Fails where there is no such issuer.
    pub async fn crl_of(&self, path: &Path, name: &Name) -> Result<Crl, Failure> {
        Ok(self.pki(path)?.crl_of(&self.barrier, name, self.now()).await?)
    }

    /// An issuer, without its key.
    ///
    /// # Errors
    /// Fails where there is none of this name.
    pub async fn issuer(&self, path: &Path, name: &Name) -> Result<Issuer, Failure> {
        Ok(self.pki(path)?.issuer(&self.barrier, name).await?)
    }

    /// A page of issuers behind a name.
    ///
    /// # Errors
    /// Fails where there is no such mount.
    pub async fn issuers(&self, path: &Path, after: &str, limit: usize) -> Result<NamedPage<Issuer>, Failure> {
        Ok(self.pki(path)?.issuers(&self.barrier, after, limit).await?)
    }

    /// Plans that an issuer goes, with its key.
    ///
    /// # Errors
    /// Fails where there is no such issuer.
    pub async fn delete_issuer(&self, path: &Path, name: &Name, id: Option<IssuerId>) -> Result<Planned<()>, Failure> {
        let mut planned = Planned::from(self.pki(path)?.delete_issuer(&self.barrier, name, id).await?);
        let in_use = Arc::clone(&self.pki_in_use);
        planned.then.push(Box::new(move || in_use.clear()));
        Ok(planned)
    }

    /// What holds for a whole mount.
    ///
    /// # Errors
    /// Fails where there is no such mount.
    pub async fn pki_config(&self, path: &Path) -> Result<Config, Failure> {
        Ok(self.pki(path)?.config(&self.barrier).await?)
    }

    /// Plans another configuration of a mount.
    ///
    /// # Errors
    /// Fails where what it names is not there.
    pub async fn put_pki_config(&self, path: &Path, config: Config) -> Result<Planned<Config>, Failure> {
        Ok(self.pki(path)?.put_config(&self.barrier, config).await?.into())
    }

    /// Plans a role, new or changed.
    ///
    /// # Errors
    /// Fails where the role makes no sense or the etag is another state's.
    pub async fn put_pki_role(&self, path: &Path, name: &Name, role: Role, etag: &str) -> Result<Planned<RoleState>, Failure> {
        Ok(self.pki(path)?.put_role(&self.barrier, name, role, etag, self.now()).await?.into())
    }

    /// A role.
    ///
    /// # Errors
    /// Fails where there is none of this name.
    pub async fn pki_role(&self, path: &Path, name: &Name) -> Result<RoleState, Failure> {
        Ok(self.pki(path)?.role(&self.barrier, name).await?)
    }

    /// A page of roles behind a name.
    ///
    /// # Errors
    /// Fails where there is no such mount.
    pub async fn pki_roles(&self, path: &Path, after: &str, limit: usize) -> Result<NamedPage<RoleState>, Failure> {
        Ok(self.pki(path)?.roles(&self.barrier, after, limit).await?)
    }

    /// Plans that a role goes.
    ///
    /// # Errors
    /// Fails where there is no such role or the etag is another state's.
    pub async fn delete_pki_role(&self, path: &Path, name: &Name, etag: &str) -> Result<Planned<()>, Failure> {
        Ok(self.pki(path)?.delete_role(&self.barrier, name, etag).await?.into())
    }

    /// Plans a certificate with a new key, and notes in the record what it is for.
    ///
    /// # Errors
    /// Fails where there is no such role, or it does not allow what is asked for.
    pub async fn issue_certificate(
        &self,
        who: &Authenticated,
        path: &Path,
        role: &Name,
        request: &IssueRequest,
        record: &mut Record,
    ) -> Result<Planned<Issued>, Failure> {
        self.time_is_right()?;
        let planned = self.pki(path)?.issue(&self.barrier, &self.pki_in_use, role, request, asker(who), self.now()).await?;
        note(record, &planned.outcome);
        Ok(planned.into())
    }

    /// Plans a certificate for the key of a signing request, and notes in the record what it is for.
    ///
    /// # Errors
    /// Fails where there is no such role, or it does not allow what is asked for, or the request does not hold.
    pub async fn sign_certificate(
        &self,
        who: &Authenticated,
        path: &Path,
        role: &Name,
        request: &SignRequest,
        record: &mut Record,
    ) -> Result<Planned<Issued>, Failure> {
        self.time_is_right()?;
        let planned = self.pki(path)?.sign(&self.barrier, &self.pki_in_use, role, request, asker(who), self.now()).await?;
        note(record, &planned.outcome);
        Ok(planned.into())
    }
}
