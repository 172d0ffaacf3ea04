//! `AuthService`: logging in has a road of its own, which ends in an audit record like every other.

use std::collections::BTreeMap;

use async_trait::async_trait;
use coffer_core::{principal::Name, reason::Reason};
use coffer_proto::v1::{
    GetSelfRequest, GetSelfResponse, LoginBootstrapRequest, LoginBootstrapResponse, LoginCertificateRequest,
    LoginCertificateResponse, LoginPasswordRequest, LoginPasswordResponse, LoginWorkloadRequest, LoginWorkloadResponse,
    LogoutRequest, LogoutResponse, PodIdentity, Session, auth_service_server::AuthService,
};
use coffer_secret::SecretString;
use coffer_vault::{Failure, LoginError, NewSession, Outcome, Planned, Record, StoredRecord, Unsealed};
use tonic::{Request, Response, Status};

use super::{Api, convert};
use crate::{
    metrics::{LoginMethod, LoginOutcome},
    pipeline::{Call, Envelope, Operation},
    rpc::{self, Rpc},
};

#[tonic::async_trait]
impl AuthService for Api {
    async fn login_workload(&self, request: Request<LoginWorkloadRequest>) -> Result<Response<LoginWorkloadResponse>, Status> {
        let envelope = Envelope::open(&request, self);
        let LoginWorkloadRequest { tenant, token, cluster } = request.into_inner();
        let token = SecretString::from(token);
        let address = envelope.peer.address;
        let session = self
            .log_in(&envelope, rpc::LOGIN_WORKLOAD, async |vault, key, record| {
                vault.check_tenant(&tenant)?;
                let login = vault.login_workload(&token, &cluster, key, address).await?;
                if let Some(same) = login.from_pod_address {
                    record.detail("from_pod_address", same);
                }
                if login.another_key {
                    tracing::warn!(principal = %login.session.principal, "a living pod logged in with another key");
                    record.detail("another_key", true);
                }
                Ok(LetIn::Session(Box::new(login.session)))
            })
            .await;
        envelope.answer(session.map(|session| LoginWorkloadResponse { session: Some(session) }))
    }

    async fn login_password(&self, request: Request<LoginPasswordRequest>) -> Result<Response<LoginPasswordResponse>, Status> {
        let envelope = Envelope::open(&request, self);
        let LoginPasswordRequest { tenant, operator, password } = request.into_inner();
        let password = SecretString::from(password);
        let session = self
            .log_in(&envelope, rpc::LOGIN_PASSWORD, async |vault, _, record| {
                vault.check_tenant(&tenant)?;
                name_in_record(record, &operator);
                vault.login_password(&operator, password).await.map(LetIn::Operator)
            })
            .await;
        envelope.answer(session.map(|session| LoginPasswordResponse { session: Some(session) }))
    }

    async fn login_certificate(
        &self,
        request: Request<LoginCertificateRequest>,
    ) -> Result<Response<LoginCertificateResponse>, Status> {
        let envelope = Envelope::open(&request, self);
        let LoginCertificateRequest { tenant, operator } = request.into_inner();
        let session = self
            .log_in(&envelope, rpc::LOGIN_CERTIFICATE, async |vault, key, record| {
                vault.check_tenant(&tenant)?;
                name_in_record(record, &operator);
                vault.login_certificate(&operator, key).map(LetIn::Operator)
            })
            .await;
        envelope.answer(session.map(|session| LoginCertificateResponse { session: Some(session) }))
    }

    async fn login_bootstrap(&self, request: Request<LoginBootstrapRequest>) -> Result<Response<LoginBootstrapResponse>, Status> {
        let envelope = Envelope::open(&request, self);
        let credential = SecretString::from(request.into_inner().credential);
        let session = self
            .log_in(&envelope, rpc::LOGIN_BOOTSTRAP, async |vault, key, _| {
                let session = vault.login_bootstrap(&credential, key, envelope.peer.address).await?;
                Ok(LetIn::Session(Box::new(session)))
            })
            .await;
        envelope.answer(session.map(|session| LoginBootstrapResponse { session: Some(session) }))
    }

    async fn logout(&self, request: Request<LogoutRequest>) -> Result<Response<LogoutResponse>, Status> {
        self.serve::<Logout>(request).await
    }

    async fn get_self(&self, request: Request<GetSelfRequest>) -> Result<Response<GetSelfResponse>, Status> {
        self.serve::<GetSelf>(request).await
    }
}

/// A name that somebody tried goes into the record only if it can be one: anything else might be a password in the
/// wrong field.
fn name_in_record(record: &mut Record, name: &str) {
    if let Ok(name) = convert::name(name) {
        record.detail("operator", name);
    }
}

impl Api {
    /// The road of a login: strangers who fail too often are turned away, the login is tried, what came of it is
    /// recorded durably, and only then answered.
    async fn log_in(
        &self,
        envelope: &Envelope,
        rpc: Rpc,
        attempt: impl AsyncFnOnce(&Unsealed, [u8; 32], &mut Record) -> Result<LetIn, LoginError>,
    ) -> Result<Session, Failure> {
        let session = self.try_log_in(envelope, rpc, attempt).await;
        let outcome = match &session {
            Ok(_) => LoginOutcome::Ok,
            Err(failure) if matches!(failure.reason, Reason::LoginRefused | Reason::LoginBusy | Reason::Busy) => {
                LoginOutcome::Refused
            }
            Err(_) => LoginOutcome::Failed,
        };
        let method = match rpc.method {
            "LoginWorkload" => LoginMethod::Workload,
            "LoginPassword" => LoginMethod::Password,
            "LoginCertificate" => LoginMethod::Certificate,
            _ => LoginMethod::Bootstrap,
        };
        self.metrics().login(method, outcome);
        session
    }

    async fn try_log_in(
        &self,
        envelope: &Envelope,
        rpc: Rpc,
        attempt: impl AsyncFnOnce(&Unsealed, [u8; 32], &mut Record) -> Result<LetIn, LoginError>,
    ) -> Result<Session, Failure> {
        let vault = self.vault().unsealed()?;
        let now = vault.now();
        if self.strangers().turned_away(envelope.peer.address, now) {
            return Err(Failure::new(Reason::Busy, "too many failures from this address: try again in a minute"));
        }
        let mut record = envelope.record(rpc, now);
        let tried = match envelope.peer.key {
            Some(key) => match attempt(&vault, key, &mut record).await {
                Ok(let_in) => finish(&vault, let_in, key, &mut record).await.map_err(LoginError::Failed),
                Err(error) => Err(error),
            },
            None => Err(LoginError::Refused("no client certificate".to_owned())),
        };
        match tried {
            Ok((session, stored)) => {
                match stored {
                    Some(stored) => vault.append_written(stored).await?,
                    None => _ = vault.append(record.answered(Outcome::Ok)).await?,
                }
                Ok(session)
            }
            Err(LoginError::Refused(cause)) => {
                self.strangers().failed(envelope.peer.address, now);
                record.detail("cause", cause);
                vault.append(record.answered(Outcome::Denied(Reason::LoginRefused))).await?;
                Err(Failure::login())
            }
            Err(LoginError::Failed(failure)) => {
                vault.append(record.answered(Outcome::Failed(failure.reason))).await?;
                Err(failure)
            }
        }
    }
}

/// Whom a login let in.
enum LetIn {
    /// Somebody with a session that is kept nowhere but in its token.
    Session(Box<NewSession>),
    /// An operator, whose session is stored.
    Operator(Name),
}

/// Makes the session; gives its record where it was stored.
async fn finish(
    vault: &Unsealed,
    let_in: LetIn,
    key: [u8; 32],
    record: &mut Record,
) -> Result<(Session, Option<StoredRecord>), Failure> {
    let (session, stored) = match let_in {
        LetIn::Session(session) => {
            record.session(&session);
            (*session, None)
        }
        LetIn::Operator(name) => {
            let _one_at_a_time = vault.change().await;
            let planned = vault.issue_operator(&name, key)?;
            record.session(&planned.answer);
            let (session, stored) = vault.commit(planned, record).await?;
            (session, Some(stored))
        }
    };
    let session = Session {
        token: session.token.expose().to_owned(),
        id: session.claims.id.to_string(),
        principal: session.principal.to_string(),
        expires: convert::time(session.claims.expires),
    };
    Ok((session, stored))
}

struct Logout;

#[async_trait]
impl Operation for Logout {
    type Request = LogoutRequest;
    type Response = LogoutResponse;
    const RPC: Rpc = rpc::LOGOUT;
    const CHANGES_VAULT: bool = true;

    fn parse(_: LogoutRequest) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<LogoutResponse>, Failure> {
        Ok(call.vault.log_out(&call.who)?.map(|()| LogoutResponse {}))
    }
}

struct GetSelf;

#[async_trait]
impl Operation for GetSelf {
    type Request = GetSelfRequest;
    type Response = GetSelfResponse;
    const RPC: Rpc = rpc::GET_SELF;

    fn parse(_: GetSelfRequest) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetSelfResponse>, Failure> {
        let who = &call.who;
        Ok(Planned::read(GetSelfResponse {
            principal: who.caller.principal.to_string(),
            tenant: call.vault.tenant_name().to_owned(),
            roles: who.caller.roles.iter().map(|role| role.name().to_owned()).collect(),
            session_id: who.claims.id.to_string(),
            expires: convert::time(who.claims.expires),
            pod: who.pod.as_ref().map(|pod| PodIdentity {
                name: pod.name.clone(),
                uid: pod.uid.clone(),
                node: pod.node.clone(),
                service_account_uid: pod.service_account_uid.clone(),
            }),
        }))
    }
}
