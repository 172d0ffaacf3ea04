//! `KeyService`.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use coffer_proto::v1::{
    CancelRekeyRequest, CancelRekeyResponse, GetKeysRequest, GetKeysResponse, KeyTerm, Keyring, RewrapStatus, RotateKeysRequest,
    RotateKeysResponse, StartRekeyRequest, StartRekeyResponse, StartRewrapRequest, StartRewrapResponse, SubmitRekeyShareRequest,
    SubmitRekeyShareResponse, key_service_server::KeyService,
};
use coffer_secret::SecretString;
use coffer_vault::{self as vault, Failure, Planned};
use tonic::{Request, Response, Status};

use super::{Api, convert, system};
use crate::{
    pipeline::{Call, Envelope, Operation},
    rpc::{self, Rpc},
};

#[tonic::async_trait]
impl KeyService for Api {
    async fn rotate_keys(&self, request: Request<RotateKeysRequest>) -> Result<Response<RotateKeysResponse>, Status> {
        self.serve::<RotateKeys>(request).await
    }

    async fn get_keys(&self, request: Request<GetKeysRequest>) -> Result<Response<GetKeysResponse>, Status> {
        self.serve::<GetKeys>(request).await
    }

    async fn start_rewrap(&self, request: Request<StartRewrapRequest>) -> Result<Response<StartRewrapResponse>, Status> {
        self.serve::<StartRewrap>(request).await
    }

    async fn start_rekey(&self, request: Request<StartRekeyRequest>) -> Result<Response<StartRekeyResponse>, Status> {
        self.serve::<StartRekey>(request).await
    }

    async fn submit_rekey_share(
        &self,
        request: Request<SubmitRekeyShareRequest>,
    ) -> Result<Response<SubmitRekeyShareResponse>, Status> {
        let envelope = Envelope::open(&request, self);
        let SubmitRekeyShareRequest { share, nonce } = request.into_inner();
        let share = SecretString::from(share);
        let answer = async {
            self.hear_stranger(&envelope)?;
            let record = envelope.record(rpc::SUBMIT_REKEY_SHARE, self.vault().now());
            let step = match self.vault().rekey(&share, &nonce, envelope.peer.local, record.clone()).await {
                Ok(step) => step,
                Err(failure) => {
                    self.note_failure(&envelope);
                    return self.refuse_stranger(record, failure).await;
                }
            };
            Ok(SubmitRekeyShareResponse {
                rekey: step.state.as_ref().map(system::rekey),
                shares: step.shares.iter().map(|share| share.expose().to_owned()).collect(),
                in_force: step.state.is_none(),
            })
        };
        envelope.answer(answer.await)
    }

    async fn cancel_rekey(&self, request: Request<CancelRekeyRequest>) -> Result<Response<CancelRekeyResponse>, Status> {
        self.serve::<CancelRekey>(request).await
    }
}

fn keyrings(keyrings: Vec<vault::Keyring>) -> Vec<Keyring> {
    let term = |term: vault::Term| KeyTerm { number: term.number, created: convert::time(term.created) };
    keyrings
        .into_iter()
        .map(|keyring| Keyring { name: keyring.name, terms: keyring.terms.into_iter().map(term).collect() })
        .collect()
}

fn rewrap(state: vault::Rewrap) -> RewrapStatus {
    RewrapStatus {
        started: convert::time(state.started),
        started_by: state.started_by,
        total: state.total,
        seen: state.seen,
        rewrapped: state.rewrapped,
        finished: state.finished.and_then(convert::time),
        terms_dropped: state.dropped,
    }
}

struct RotateKeys;

#[async_trait]
impl Operation for RotateKeys {
    type Request = RotateKeysRequest;
    type Response = RotateKeysResponse;
    const RPC: Rpc = rpc::ROTATE_KEYS;
    const CHANGES_VAULT: bool = true;

    fn parse(_: RotateKeysRequest) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<RotateKeysResponse>, Failure> {
        let planned = call.vault.rotate().await?;
        for keyring in &planned.answer {
            let newest = keyring.terms.last().map_or(0, |term| term.number);
            call.record.detail(&format!("term.{}", keyring.name), newest);
        }
        Ok(planned.map(|rotated| RotateKeysResponse { keyrings: keyrings(rotated) }))
    }
}

struct GetKeys;

#[async_trait]
impl Operation for GetKeys {
    type Request = GetKeysRequest;
    type Response = GetKeysResponse;
    const RPC: Rpc = rpc::GET_KEYS;

    fn parse(_: GetKeysRequest) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetKeysResponse>, Failure> {
        let state = call.vault.rewrap_state().await?;
        Ok(Planned::read(GetKeysResponse { keyrings: keyrings(call.vault.keyrings().await?), rewrap: state.map(rewrap) }))
    }
}

struct StartRewrap;

#[async_trait]
impl Operation for StartRewrap {
    type Request = StartRewrapRequest;
    type Response = StartRewrapResponse;
    const RPC: Rpc = rpc::START_REWRAP;
    const CHANGES_VAULT: bool = true;

    fn parse(_: StartRewrapRequest) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<StartRewrapResponse>, Failure> {
        let vault = Arc::clone(&call.vault);
        let planned = vault.begin_rewrap(&call.who).await?;
        Ok(planned.map(|state| StartRewrapResponse { rewrap: Some(rewrap(state)) }))
    }
}

struct StartRekey {
    count: u32,
    threshold: u32,
    recipients: Vec<String>,
    verify: bool,
}

#[async_trait]
impl Operation for StartRekey {
    type Request = StartRekeyRequest;
    type Response = StartRekeyResponse;
    const RPC: Rpc = rpc::START_REKEY;

    fn parse(request: StartRekeyRequest) -> Result<Self, Failure> {
        let StartRekeyRequest { share_count, share_threshold, share_recipients, skip_verification } = request;
        Ok(Self { count: share_count, threshold: share_threshold, recipients: share_recipients, verify: !skip_verification })
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("shares".to_owned(), self.count.to_string()),
            ("threshold".to_owned(), self.threshold.to_string()),
            ("recipients".to_owned(), self.recipients.len().to_string()),
            ("verification".to_owned(), self.verify.to_string()),
        ])
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<StartRekeyResponse>, Failure> {
        let started = call.vault.start_rekey(self.count, self.threshold, self.recipients.clone(), self.verify).await?;
        Ok(Planned::read(StartRekeyResponse { rekey: Some(system::rekey(&started)) }))
    }
}

struct CancelRekey;

#[async_trait]
impl Operation for CancelRekey {
    type Request = CancelRekeyRequest;
    type Response = CancelRekeyResponse;
    const RPC: Rpc = rpc::CANCEL_REKEY;

    fn parse(_: CancelRekeyRequest) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<CancelRekeyResponse>, Failure> {
        let cancelled = call.vault.cancel_rekey().await;
        call.record.detail("was_under_way", cancelled);
        Ok(Planned::read(CancelRekeyResponse {}))
    }
}
