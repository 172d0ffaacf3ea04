//! Operators: who there is, and how they change.

use std::{collections::BTreeSet, sync::Arc};

use coffer_core::{
    clock::Timestamp,
    id::{OperatorId, SessionId},
    limits::{CERTIFICATE_PINS_MAX, PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN},
    policy::Caller,
    principal::{Name, Principal, Role},
    reason::Reason,
};
use coffer_crypto::{password, random};
use coffer_secret::SecretString;

use crate::{
    Failure, Planned, PolicyChange, Unsealed,
    records::OperatorRecord,
    table::{Change, Row},
};
use coffer_barrier::Batch;

/// What is asked for in a new operator.
pub struct NewOperator {
    /// The name.
    pub name: Name,
    /// The roles.
    pub roles: BTreeSet<Role>,
    /// The password's hash, from [`hash_password`].
    pub password: Option<String>,
    /// Pins of certificates' keys.
    pub certificate_pins: BTreeSet<String>,
}

impl NewOperator {
    /// What is stored of it.
    pub(crate) fn record(&self, created: Timestamp) -> Result<OperatorRecord, Failure> {
        Ok(OperatorRecord {
            id: OperatorId::from_bytes(random::bytes().map_err(|_| Failure::internal("no random numbers"))?),
            roles: self.roles.iter().map(|role| role.name().to_owned()).collect(),
            certificate_pins: self.certificate_pins.clone(),
            password: self.password.clone(),
            created,
        })
    }
}

/// Checks a new password's length and hashes it. Takes tens of milliseconds of a processor and 19 MiB: callers run it
/// on a blocking thread, few at once.
///
/// # Errors
/// Fails where the password is too short or too long.
pub fn hash_password(new: &SecretString) -> Result<String, Failure> {
    let length = new.expose().len();
    if !(PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&length) {
        let message = format!("a password has {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes");
        return Err(Failure::told(Reason::InvalidArgument, message));
    }
    password::hash(new).map_err(|_| Failure::internal("the password cannot be hashed"))
}

/// Checks pins: at most [`CERTIFICATE_PINS_MAX`], each 64 lower-case hexadecimal digits.
///
/// # Errors
/// Fails where one is not.
pub fn parse_pins(pins: Vec<String>) -> Result<BTreeSet<String>, Failure> {
    if pins.len() > CERTIFICATE_PINS_MAX {
        return Err(Failure::new(Reason::LimitExceeded, "too many certificate pins for one operator"));
    }
    let digits = |pin: &String| pin.len() == 64 && pin.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    if pins.iter().all(digits) {
        Ok(pins.into_iter().collect())
    } else {
        Err(Failure::invalid("a certificate pin is 64 lower-case hexadecimal digits: the SHA-256 of the public key"))
    }
}

impl Unsealed {
    /// One operator.
    ///
    /// # Errors
    /// Fails where there is none of this name.
    pub fn operator(&self, name: &Name) -> Result<Row<OperatorRecord>, Failure> {
        self.operators.find(name.as_str()).ok_or_else(|| Failure::new(Reason::NotFound, "there is no operator of this name"))
    }

    /// A page of operators behind a name, and whether there are more.
    pub fn operators(&self, after: &str, limit: usize) -> (Vec<(String, Row<OperatorRecord>)>, bool) {
        self.operators.page(after, limit, |_| true)
    }

    /// Plans a new operator.
    ///
    /// # Errors
    /// Fails where the name is taken or a role is not the caller's to give.
    pub fn create_operator(&self, caller: &Caller, new: NewOperator) -> Result<Planned<Row<OperatorRecord>>, Failure> {
        if self.operators.find(new.name.as_str()).is_some() {
            return Err(Failure::new(Reason::AlreadyExists, "there is an operator of this name already"));
        }
        may_give(caller, &new.roles)?;
        self.put_operator(Batch::default(), &new.name, new.record(self.now())?, Vec::new())
    }

    /// Plans other roles and certificates for an operator.
    ///
    /// # Errors
    /// Fails where there is no such operator, the etag is another state's, a role is not the caller's to give or take (all
    /// of the operator's, where certificates change), or no admin would be left.
    pub fn update_operator(
        &self,
        caller: &Caller,
        name: &Name,
        roles: &BTreeSet<Role>,
        certificate_pins: BTreeSet<String>,
        etag: &str,
    ) -> Result<Planned<Row<OperatorRecord>>, Failure> {
        let row = self.operator(name)?;
        check_etag(&row, etag)?;
        let before = roles_of(&row.value);
        may_give(caller, &before.symmetric_difference(roles).copied().collect())?;
        if certificate_pins != row.value.certificate_pins {
            // Who chooses the certificates that let somebody in can be that somebody.
            may_give(caller, &before.union(roles).copied().collect())?;
        }
        let mut batch = Batch::default();
        let mut then = Vec::new();
        if !before.is_subset(roles) {
            if before.contains(&Role::Admin) && !roles.contains(&Role::Admin) {
                self.another_admin(name)?;
            }
            self.end_sessions_but(&Principal::Operator(name.clone()), None, &mut batch, &mut then)?;
        }
        let roles = roles.iter().map(|role| role.name().to_owned()).collect();
        self.put_operator(batch, name, OperatorRecord { roles, certificate_pins, ..(*row.value).clone() }, then)
    }

    /// Plans another password for an operator; all its sessions end but `keep`.
    ///
    /// # Errors
    /// Fails where there is no such operator, or it is not the caller and has a role that is not the caller's to give.
    pub fn set_password(
        &self,
        caller: &Caller,
        name: &Name,
        hash: String,
        keep: Option<SessionId>,
    ) -> Result<Planned<Row<OperatorRecord>>, Failure> {
        let row = self.operator(name)?;
        if caller.principal != Principal::Operator(name.clone()) {
            // Who sets somebody's password can be that somebody.
            may_give(caller, &roles_of(&row.value))?;
        }
        let (mut batch, mut then) = (Batch::default(), Vec::new());
        self.end_sessions_but(&Principal::Operator(name.clone()), keep, &mut batch, &mut then)?;
        self.put_operator(batch, name, OperatorRecord { password: Some(hash), ..(*row.value).clone() }, then)
    }

    /// Plans that an operator goes, with sessions and grants.
    ///
    /// # Errors
    /// Fails where there is no such operator, the etag is another state's, or no admin would be left.
    pub fn delete_operator(&self, caller: &Caller, name: &Name, etag: &str) -> Result<Planned<()>, Failure> {
        let row = self.operator(name)?;
        check_etag(&row, etag)?;
        let roles = roles_of(&row.value);
        may_give(caller, &roles)?;
        if roles.contains(&Role::Admin) {
            self.another_admin(name)?;
        }
        let (mut batch, mut then) = (Batch::default(), Vec::new());
        self.end_sessions_but(&Principal::Operator(name.clone()), None, &mut batch, &mut then)?;
        then.extend(self.operators.delete(&mut batch, name.as_str())?);
        Ok(Planned { batch, answer: (), then, policy: PolicyChange::Other })
    }

    fn put_operator(
        &self,
        mut batch: Batch,
        name: &Name,
        record: OperatorRecord,
        mut then: Vec<Change>,
    ) -> Result<Planned<Row<OperatorRecord>>, Failure> {
        let version = self.operators.find(name.as_str()).map_or(0, |row| row.version) + 1;
        let answer = Row { value: Arc::new(record.clone()), version };
        then.push(self.operators.put(&mut batch, name.as_str(), record)?);
        Ok(Planned { batch, answer, then, policy: PolicyChange::Other })
    }

    fn another_admin(&self, but: &Name) -> Result<(), Failure> {
        let is_other_admin =
            |(name, row): &(String, Row<OperatorRecord>)| name != but.as_str() && row.value.roles.contains(Role::Admin.name());
        if self.operators.all().iter().any(is_other_admin) {
            Ok(())
        } else {
            Err(Failure::new(Reason::LastAdmin, "this is the last admin; make another one first"))
        }
    }
}

/// The state's name, for a change that is meant for it alone.
#[must_use]
pub fn etag<V>(row: &Row<V>) -> String {
    format!("v{}", row.version)
}

/// # Errors
/// Fails where the etag is given and another state's.
pub(crate) fn check_etag<V>(row: &Row<V>, wanted: &str) -> Result<(), Failure> {
    if wanted.is_empty() || wanted == etag(row) { Ok(()) } else { Err(Failure::conflict()) }
}

/// The roles of an operator's record.
#[must_use]
pub fn roles_of(record: &OperatorRecord) -> BTreeSet<Role> {
    record.roles.iter().filter_map(|role| role.parse().ok()).collect()
}

/// A role is given and taken by one who holds it, or by the bootstrap session; `auditor` by any who manages operators.
fn may_give(caller: &Caller, roles: &BTreeSet<Role>) -> Result<(), Failure> {
    let may = |role: &Role| caller.principal == Principal::Bootstrap || *role == Role::Auditor || caller.roles.contains(role);
    if roles.iter().all(may) {
        Ok(())
    } else {
        Err(Failure::new(
            Reason::RoleNotHeld,
            "a role can be given or taken, and how its holder logs in changed, only by one who holds it",
        ))
    }
}
