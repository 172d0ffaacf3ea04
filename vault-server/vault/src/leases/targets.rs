//! What is done outside: one place that knows every kind of target.

use coffer_core::{clock::Timestamp, reason::Reason};
use coffer_databases::{DatabaseError, Fault};

use super::{LeaseRecord, Target};
use crate::{Failure, Unsealed, databases::connection_name};

impl Unsealed {
    /// Ends a credential where it is good. Well where it is there no more.
    pub(super) async fn end_target(&self, lease: &LeaseRecord) -> Result<(), Failure> {
        match &lease.target {
            Target::Database { connection, user, revocation } => {
                let connection = connection_name(connection)?;
                let database = self.database(lease.mount, &connection).await?;
                database.end_user(revocation, user).await.map_err(|error| told(&error))
            }
            Target::Token { cluster, namespace, name, made } => self.end_token(*cluster, namespace, name, *made).await,
        }
    }

    /// Has a credential end at another time where it is good.
    pub(super) async fn renew_target(&self, lease: &LeaseRecord, expires: Timestamp) -> Result<(), Failure> {
        match &lease.target {
            Target::Database { connection, user, .. } => {
                let connection = connection_name(connection)?;
                let database = self.database(lease.mount, &connection).await?;
                database.renew_user(user, expires.secs()).await.map_err(|error| untold(&error))
            }
            Target::Token { .. } => Err(Failure::internal("a token cannot be made to last longer")),
        }
    }
}

fn reason(fault: Fault) -> Reason {
    match fault {
        Fault::Unreachable | Fault::Busy | Fault::Timeout | Fault::Lost | Fault::Sessions => Reason::TargetUnavailable,
        Fault::Configuration | Fault::Certificate | Fault::Refused | Fault::Statement => Reason::TargetRefused,
    }
}

/// An error of a database for who may know all of it: whoever configures it.
pub(crate) fn told(error: &DatabaseError) -> Failure {
    Failure::told(reason(error.fault), error.to_string())
}

/// The same for whoever wants a credential, to whom a database's words are none of theirs: those are in the log.
pub(crate) fn untold(error: &DatabaseError) -> Failure {
    tracing::warn!(fault = %error.fault, detail = error.detail, "a database did not do what it was asked");
    Failure::told(reason(error.fault), error.fault.to_string())
}
