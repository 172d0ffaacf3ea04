//! `SystemService`: most of it is answered to strangers, and while the vault is sealed.

use async_trait::async_trait;
use coffer_core::reason::Reason;
use coffer_proto::v1::{
    GetSealStatusRequest, GetSealStatusResponse, GetStatusRequest, GetStatusResponse, InitRequest, InitResponse, QuorumProgress,
    RecoverRequest, RecoverResponse, RekeyProgress, SealKind, SealRequest, SealResponse, UnsealRequest, UnsealResponse,
    system_service_server::SystemService,
};
use coffer_secret::SecretString;
use coffer_vault::{self as vault, Failure, Outcome, Planned, Progress, Record, SealStatus, VaultSealKind};
use tonic::{Request, Response, Status};

use super::{Api, convert};
use crate::{
    pipeline::{Call, Envelope, Operation},
    rpc::{self, Rpc},
};

/// Said of a vault that is sealed with a key file.
const STATIC_KEY_WARNING: &str = "sealed with a key file: whoever can read that file and the store can read every secret; shares held by people are stronger: \
     coffer operator rekey start";

#[tonic::async_trait]
impl SystemService for Api {
    async fn get_seal_status(&self, request: Request<GetSealStatusRequest>) -> Result<Response<GetSealStatusResponse>, Status> {
        let envelope = Envelope::open(&request, self);
        envelope.answer(Ok(seal_status(&self.vault().seal_status().await)))
    }

    async fn init(&self, request: Request<InitRequest>) -> Result<Response<InitResponse>, Status> {
        let envelope = Envelope::open(&request, self);
        let InitRequest { share_count, share_threshold, share_recipients, setup_token } = request.into_inner();
        let token = SecretString::from(setup_token);
        let answer = async {
            self.hear_stranger(&envelope)?;
            let record = envelope.record(rpc::INIT, self.vault().now());
            let allowed = envelope.peer.local || self.is_setup_token(&token);
            let made = if allowed {
                self.vault().init(share_count, share_threshold, share_recipients, record.clone()).await
            } else {
                self.note_failure(&envelope);
                Err(Failure::new(Reason::LocalOnly, "Init is answered on the local socket, or with the set-up token, only"))
            };
            let made = match made {
                Ok(made) => made,
                Err(failure) => return self.refuse_stranger(record, failure).await,
            };
            Ok(InitResponse {
                vault_id: made.vault.to_string(),
                shares: made.shares.iter().map(|share| share.expose().to_owned()).collect(),
                bootstrap_credential: made.bootstrap.expose().to_owned(),
                bootstrap_expires: convert::time(made.bootstrap_expires),
            })
        };
        envelope.answer(answer.await)
    }

    async fn unseal(&self, request: Request<UnsealRequest>) -> Result<Response<UnsealResponse>, Status> {
        let envelope = Envelope::open(&request, self);
        let UnsealRequest { share, nonce, reset } = request.into_inner();
        let share = SecretString::from(share);
        let answer = async {
            self.hear_stranger(&envelope)?;
            if reset {
                must_be_empty(&share)?;
                // Others may be handing shares in: whoever has them start over must not do so without end.
                self.note_failure(&envelope);
                let progress = self.vault().forget_shares().await;
                return Ok(UnsealResponse { sealed: true, progress: Some(quorum(&progress)) });
            }
            let record = envelope.record(rpc::UNSEAL, self.vault().now());
            let unsealed = self.vault().unseal(&share, &nonce, record).await;
            let (sealed, progress) = unsealed.inspect_err(|_| self.note_failure(&envelope))?;
            Ok(UnsealResponse { sealed, progress: Some(quorum(&progress)) })
        };
        envelope.answer(answer.await)
    }

    async fn seal(&self, request: Request<SealRequest>) -> Result<Response<SealResponse>, Status> {
        let answer = self.serve::<Seal>(request).await?;
        self.vault().seal().await;
        Ok(answer)
    }

    async fn get_status(&self, request: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        let mut response = self.serve::<GetStatus>(request).await?;
        response.get_mut().seal = Some(seal_status(&self.vault().seal_status().await));
        response.get_mut().started = convert::time(self.vault().started());
        Ok(response)
    }

    async fn recover(&self, request: Request<RecoverRequest>) -> Result<Response<RecoverResponse>, Status> {
        let envelope = Envelope::open(&request, self);
        let RecoverRequest { share, nonce, reset } = request.into_inner();
        let share = SecretString::from(share);
        let answer = async {
            self.hear_stranger(&envelope)?;
            if reset {
                must_be_empty(&share)?;
                self.note_failure(&envelope);
                let progress = self.vault().forget_recovery().await;
                return Ok(RecoverResponse { progress: Some(quorum(&progress)), ..RecoverResponse::default() });
            }
            let record = envelope.record(rpc::RECOVER, self.vault().now());
            let recovery = if envelope.peer.local && share.is_empty() {
                self.vault().recover_locally(record.clone()).await
            } else {
                self.vault().recover(&share, &nonce, record.clone()).await
            };
            let recovery = match recovery {
                Ok(recovery) => recovery,
                Err(failure) => {
                    self.note_failure(&envelope);
                    return self.refuse_stranger(record, failure).await;
                }
            };
            let (credential, expires) = recovery.bootstrap.unzip();
            Ok(RecoverResponse {
                progress: Some(quorum(&recovery.progress)),
                bootstrap_credential: credential.map(|secret| secret.expose().to_owned()).unwrap_or_default(),
                bootstrap_expires: expires.and_then(convert::time),
            })
        };
        envelope.answer(answer.await)
    }
}

impl Api {
    pub(super) fn hear_stranger(&self, envelope: &Envelope) -> Result<(), Failure> {
        if self.strangers().turned_away(envelope.peer.address, self.vault().now()) {
            return Err(Failure::new(Reason::Busy, "too many failures from this address: try again in a minute"));
        }
        Ok(())
    }

    pub(super) fn note_failure(&self, envelope: &Envelope) {
        self.strangers().failed(envelope.peer.address, self.vault().now());
    }

    /// Has a refusal recorded before it is answered. While the vault is sealed its log is closed, and there is no record.
    pub(super) async fn refuse_stranger<T>(&self, record: Record, failure: Failure) -> Result<T, Failure> {
        if let Ok(vault) = self.vault().unsealed() {
            vault.append(record.answered(Outcome::Denied(failure.reason))).await?;
        }
        Err(failure)
    }
}

fn must_be_empty(share: &SecretString) -> Result<(), Failure> {
    if share.is_empty() { Ok(()) } else { Err(Failure::invalid("a reset takes no share")) }
}

fn quorum(progress: &Progress) -> QuorumProgress {
    QuorumProgress { nonce: progress.nonce.clone(), received: progress.received, needed: progress.needed }
}

pub(super) fn rekey(rekey: &vault::RekeyProgress) -> RekeyProgress {
    RekeyProgress {
        progress: Some(quorum(&rekey.progress)),
        verifying: rekey.verifying,
        share_count: rekey.share_count,
        share_threshold: rekey.share_threshold,
    }
}

fn seal_status(status: &SealStatus) -> GetSealStatusResponse {
    let kind = match status.kind {
        None => SealKind::Unspecified,
        Some(VaultSealKind::Shamir) => SealKind::Shamir,
        Some(VaultSealKind::StaticKey) => SealKind::StaticKey,
    };
    GetSealStatusResponse {
        initialised: status.vault.is_some(),
        sealed: status.sealed,
        seal_kind: kind.into(),
        vault_id: status.vault.map(|id| id.to_string()).unwrap_or_default(),
        share_count: status.share_count,
        unseal: Some(quorum(&status.unseal)),
        recovery: Some(quorum(&status.recovery)),
        rekey: status.rekey.as_ref().map(rekey),
        version: status.version.to_owned(),
        warnings: if kind == SealKind::StaticKey { vec![STATIC_KEY_WARNING.to_owned()] } else { Vec::new() },
    }
}

struct Seal;

#[async_trait]
impl Operation for Seal {
    type Request = SealRequest;
    type Response = SealResponse;
    const RPC: Rpc = rpc::SEAL;

    fn parse(_: SealRequest) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(&self, _: &mut Call) -> Result<Planned<SealResponse>, Failure> {
        Ok(Planned::read(SealResponse {}))
    }
}

struct GetStatus;

#[async_trait]
impl Operation for GetStatus {
    type Request = GetStatusRequest;
    type Response = GetStatusResponse;
    const RPC: Rpc = rpc::GET_STATUS;

    fn parse(_: GetStatusRequest) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetStatusResponse>, Failure> {
        let status = call.vault.status().await?;
        let keyrings = call.vault.keyrings().await?;
        let newest = keyrings.iter().filter_map(|keyring| keyring.terms.last()).map(|term| term.created).max();
        let terms = keyrings.iter().map(|keyring| keyring.terms.len()).max().unwrap_or(0);
        Ok(Planned::read(GetStatusResponse {
            store: status.store.to_owned(),
            store_revision: status.store_revision,
            audit_size: status.audit_size,
            keys_rotated: newest.and_then(convert::time),
            key_terms: u32::try_from(terms).unwrap_or(u32::MAX),
            ..GetStatusResponse::default()
        }))
    }
}
