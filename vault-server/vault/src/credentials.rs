//! Credentials of whatever engine: the mount that a path begins with decides how one is made.
//!
//! A credential is begun and finished. What is outside is touched when it is begun, and what is begun is known to its lease;
//! what only the vault makes is made when it is finished, in the transaction that records the release.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use coffer_core::{
    clock::Timestamp,
    id::RequestId,
    limits::{CREDENTIAL_PARAMETER_BYTES_MAX, CREDENTIAL_PARAMETER_NAME_BYTES_MAX, CREDENTIAL_PARAMETERS_MAX},
    path::Path,
    principal::Name,
    reason::Reason,
};
use coffer_engines::pki::{IssueRequest, Issued};
use coffer_secret::SecretBytes;

use crate::{
    Authenticated, Engine, Failure, LeaseInfo, Planned, Record, Unsealed,
    leases::{CREDENTIALS, Leased},
    static_roles::StaticCredential,
};

/// The segment of a path below which certificates are made.
const CERTIFICATES: &str = "issue";

/// A credential that is asked for.
pub struct CredentialRequest {
    /// Its path.
    pub path: Path,
    /// How long it should last; none for what its role says.
    pub ttl: Option<Duration>,
    /// What it is to be, in words of the engine.
    pub parameters: BTreeMap<String, String>,
}

/// A credential that is begun, and not to be given out before it is finished.
pub struct BegunCredential(Begun);

enum Begun {
    /// Made outside.
    Leased(Leased),
    /// To be made.
    Certificate(Name, IssueRequest),
    /// Made with the last rotation of its role.
    Static(StaticCredential),
}

/// A credential to give out.
pub struct MadeCredential {
    /// What its owner gets, as of a secret.
    pub fields: BTreeMap<String, SecretBytes>,
    /// When it was made.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// Its lease; none where it ends without anybody's doing.
    pub lease: Option<LeaseInfo>,
    /// Its version; 0 where each is made once.
    pub version: u64,
}

impl CredentialRequest {
    /// Checks what all engines have in common.
    fn check(&self) -> Result<(), Failure> {
        let limit = |what| Err(Failure::told(Reason::LimitExceeded, what));
        if self.parameters.len() > CREDENTIAL_PARAMETERS_MAX {
            return limit(format!("a credential has at most {CREDENTIAL_PARAMETERS_MAX} parameters"));
        }
        if self.parameters.keys().any(|name| name.len() > CREDENTIAL_PARAMETER_NAME_BYTES_MAX) {
            return limit(format!("a parameter's name has at most {CREDENTIAL_PARAMETER_NAME_BYTES_MAX} bytes"));
        }
        if self.parameters.values().any(|value| value.len() > CREDENTIAL_PARAMETER_BYTES_MAX) {
            return limit(format!("a parameter has at most {CREDENTIAL_PARAMETER_BYTES_MAX} bytes"));
        }
        Ok(())
    }

    /// The role, where the path is `MOUNT/DIRECTORY/ROLE`.
    fn role(&self, directory: &'static str) -> Result<Name, Failure> {
        let wrong =
            || Failure::told(Reason::PathInvalid, format!("the path of a credential of this mount is MOUNT/{directory}/ROLE"));
        let mut below = self.path.below_mount();
        match (below.next(), below.next(), below.next()) {
            (Some(found), Some(role), None) if found == directory => role.parse().map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }

    /// Refuses parameters where the role alone says what a credential is.
    fn without_parameters(&self, engine: Engine) -> Result<(), Failure> {
        let Some(name) = self.parameters.keys().next() else { return Ok(()) };
        let message = format!("the engine {engine} knows no parameter {name:?}: its roles say all");
        Err(Failure::told(Reason::InvalidArgument, message))
    }
}

impl Unsealed {
    /// Begins to make the credential of a path, as the engine of its mount does it.
    ///
    /// # Errors
    /// Fails where there is no such role, a limit is reached, or the target fails: what was begun there is undone then.
    pub async fn begin_credential(
        self: &Arc<Self>,
        who: &Authenticated,
        asked: &CredentialRequest,
        request: RequestId,
    ) -> Result<BegunCredential, Failure> {
        asked.check()?;
        let begun = match self.engine_of(&asked.path)? {
            engine @ Engine::Database if self.is_static_credential(&asked.path) => {
                asked.without_parameters(engine)?;
                Begun::Static(self.static_credential(who, &asked.path).await?)
            }
            engine @ Engine::Database => {
                let role = asked.role(CREDENTIALS)?;
                asked.without_parameters(engine)?;
                Begun::Leased(self.make_user(who, (&asked.path, role), asked.ttl, request).await?)
            }
            engine @ Engine::Kubernetes => {
                let role = asked.role(CREDENTIALS)?;
                asked.without_parameters(engine)?;
                Begun::Leased(self.make_token(who, (&asked.path, role), asked.ttl, request).await?)
            }
            Engine::Pki => {
                let role = asked.role(CERTIFICATES)?;
                Begun::Certificate(role, IssueRequest::of_parameters(&asked.parameters, asked.ttl.map(|ttl| ttl.as_secs()))?)
            }
            engine @ (Engine::Kv | Engine::Transit) => {
                let message = format!("'{}' is a mount of the engine {engine}, which makes no credentials", asked.path.mount());
                return Err(Failure::told(Reason::InvalidArgument, message));
            }
        };
        Ok(BegunCredential(begun))
    }

    /// Plans that a credential is given out. Notes in the record what is released.
    ///
    /// # Errors
    /// Fails where it was ended meanwhile, for it took too long, or it cannot be made.
    pub async fn finish_credential(
        &self,
        who: &Authenticated,
        asked: &CredentialRequest,
        begun: &BegunCredential,
        record: &mut Record,
    ) -> Result<Planned<MadeCredential>, Failure> {
        match &begun.0 {
            Begun::Leased(made) => {
                let fields = made.fields.iter().map(|(name, value)| (name.clone(), value.duplicate())).collect();
                let planned = self.confirm_credential(made, record).await?;
                Ok(planned.map(|lease| MadeCredential {
                    fields,
                    issued: lease.issued,
                    expires: lease.expires,
                    lease: Some(lease),
                    version: 0,
                }))
            }
            Begun::Certificate(role, request) => {
                let planned = self.issue_certificate(who, &asked.path, role, request, record).await?;
                let (issued, expires) = (self.now(), planned.answer.not_after);
                let planned =
                    planned.map(|made| MadeCredential { fields: fields(made), issued, expires, lease: None, version: 0 });
                let hashes = planned.answer.fields.iter().map(|(name, value)| (name, self.values.hash(value.expose())));
                record.values(hashes);
                Ok(planned)
            }
            Begun::Static(given) => {
                record.detail("version", given.version);
                record.values(given.fields.iter().map(|(name, value)| (name, self.values.hash(value.expose()))));
                let fields = given.fields.iter().map(|(name, value)| (name.clone(), value.duplicate())).collect();
                let made =
                    MadeCredential { fields, issued: given.rotated, expires: given.expires, lease: None, version: given.version };
                Ok(Planned::read(made))
            }
        }
    }
}

/// A certificate as fields, called as everywhere else.
fn fields(made: Issued) -> BTreeMap<String, SecretBytes> {
    let text = |text: String| SecretBytes::from(text.into_bytes());
    let mut fields = BTreeMap::from([
        ("ca_chain".to_owned(), text(made.ca_chain)),
        ("certificate".to_owned(), text(made.certificate)),
        ("serial".to_owned(), text(made.serial.to_string())),
    ]);
    if let Some(key) = made.private_key {
        fields.insert("private_key".to_owned(), key.into_bytes());
    }
    fields
}
