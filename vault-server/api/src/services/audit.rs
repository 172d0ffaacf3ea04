//! `AuditService`.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use coffer_core::{limits::AUDIT_LAST_MAX, reason::Reason};
use coffer_proto::v1::{
    GetCheckpointRequest, GetCheckpointResponse, TailAuditRequest, TailAuditResponse, audit_service_server::AuditService,
};
use coffer_vault::{Failure, Outcome, Planned};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Api, convert};
use crate::{
    pipeline::{Call, Envelope, Operation, authorise, refuse},
    rpc::{self, Rpc},
    status::status,
};

/// Entries that wait for a slow reader before it is made to wait itself.
const ENTRIES_MAX: usize = 256;

#[tonic::async_trait]
impl AuditService for Api {
    type TailAuditStream = ReceiverStream<Result<TailAuditResponse, Status>>;

    async fn tail_audit(&self, request: Request<TailAuditRequest>) -> Result<Response<Self::TailAuditStream>, Status> {
        let envelope = Envelope::open(&request, self);
        let stream = self.begin_tail(&envelope, request.into_inner()).await;
        envelope.answer(stream)
    }

    async fn get_checkpoint(&self, request: Request<GetCheckpointRequest>) -> Result<Response<GetCheckpointResponse>, Status> {
        self.serve::<GetCheckpoint>(request).await
    }
}

impl Api {
    async fn begin_tail(
        &self,
        envelope: &Envelope,
        request: TailAuditRequest,
    ) -> Result<ReceiverStream<Result<TailAuditResponse, Status>>, Failure> {
        let mut call = self.begin(envelope, rpc::TAIL_AUDIT).await?;
        if request.last > AUDIT_LAST_MAX {
            let message = format!("at most {AUDIT_LAST_MAX} entries before the end");
            return refuse(call, Failure::told(Reason::LimitExceeded, message)).await;
        }
        if let Err(failure) = authorise(&mut call, rpc::TAIL_AUDIT, None) {
            return refuse(call, failure).await;
        }
        // The end is where this request's own record stands: everything answered before is in front of it, records of
        // writes included, which the log has a little later than the store.
        let end = call.vault.append(call.record.clone().answered(Outcome::Ok)).await?;
        let from = if request.last == 0 { request.from } else { end.saturating_sub(request.last) };
        let (sender, receiver) = mpsc::channel(ENTRIES_MAX);
        let vault = Arc::clone(&call.vault);
        vault.spawn(tail(call, envelope.told.clone(), (from, end), request.follow, sender));
        Ok(ReceiverStream::new(receiver))
    }
}

/// Sends entries from `from` on: those before `end`, and with `follow` those that come later.
async fn tail(
    call: Call,
    request_id: String,
    (from, end): (u64, u64),
    follow: bool,
    entries: mpsc::Sender<Result<TailAuditResponse, Status>>,
) {
    let ending = call.vault.ending();
    let mut size = call.vault.audit_sizes();
    let mut next = from;
    loop {
        let end = if follow { *size.borrow_and_update() } else { end };
        while next < end {
            let Ok(page) = call.vault.audit_entries(next, end).await else { return };
            if page.is_empty() {
                return;
            }
            for (index, time, record_json) in page {
                let entry = TailAuditResponse { index, time: convert::time(time), record_json };
                if entries.send(Ok(entry)).await.is_err() {
                    return;
                }
                next = index + 1;
            }
        }
        if !follow || !call.vault.still_holds(&call.who) {
            return;
        }
        tokio::select! {
            () = ending.cancelled() => {
                let failure = Failure::new(Reason::Unavailable, "the vault is sealed, or stops: follow its log again");
                drop(entries.try_send(Err(status(&failure, &request_id))));
                return;
            }
            () = entries.closed() => return,
            changed = size.changed() => if changed.is_err() { return },
        }
    }
}

struct GetCheckpoint;

#[async_trait]
impl Operation for GetCheckpoint {
    type Request = GetCheckpointRequest;
    type Response = GetCheckpointResponse;
    const RPC: Rpc = rpc::GET_CHECKPOINT;

    fn parse(_: GetCheckpointRequest) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetCheckpointResponse>, Failure> {
        let (checkpoint, verifier_key) = call.vault.checkpoint().await?;
        Ok(Planned::read(GetCheckpointResponse { checkpoint, verifier_key }))
    }
}
