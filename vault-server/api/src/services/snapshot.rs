//! `SnapshotService`.

use std::{sync::Arc, time::Duration};

use coffer_core::reason::Reason;
use coffer_proto::v1::{
    RestoreSnapshotRequest, RestoreSnapshotResponse, RestoreStart, SaveSnapshotRequest, SaveSnapshotResponse,
    restore_snapshot_request::Piece, snapshot_service_server::SnapshotService,
};
use coffer_secret::SecretString;
use coffer_vault::{Failure, Outcome, Recipients, Restoring, SNAPSHOT_PIECES_MAX};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Api;
use crate::{
    pipeline::{Envelope, authorise, refuse},
    rpc,
    status::status,
};

/// How long the next piece of a snapshot may take to come, or to be taken.
const PIECE_TIME_MAX: Duration = Duration::from_secs(60);

type Pieces = ReceiverStream<Result<SaveSnapshotResponse, Status>>;

#[tonic::async_trait]
impl SnapshotService for Api {
    type SaveSnapshotStream = Pieces;

    async fn save_snapshot(&self, request: Request<SaveSnapshotRequest>) -> Result<Response<Pieces>, Status> {
        let envelope = Envelope::open(&request, self);
        let stream = self.begin_save(&envelope, request.into_inner()).await;
        envelope.answer(stream)
    }

    async fn restore_snapshot(
        &self,
        request: Request<Streaming<RestoreSnapshotRequest>>,
    ) -> Result<Response<RestoreSnapshotResponse>, Status> {
        let envelope = Envelope::open(&request, self);
        let answer = self.restore(&envelope, request.into_inner()).await;
        envelope.answer(answer)
    }
}

impl Api {
    async fn begin_save(&self, envelope: &Envelope, request: SaveSnapshotRequest) -> Result<Pieces, Failure> {
        let mut call = self.begin(envelope, rpc::SAVE_SNAPSHOT).await?;
        if let Err(failure) = authorise(&mut call, rpc::SAVE_SNAPSHOT, None) {
            return refuse(call, failure).await;
        }
        let recipients = match Recipients::parse(&request.recipients) {
            Ok(recipients) => recipients,
            Err(failure) => return refuse(call, failure).await,
        };
        call.record.detail("recipients", recipients.names());
        call.vault.append(call.record.clone().answered(Outcome::Ok)).await?;
        let (answers, stream) = mpsc::channel(SNAPSHOT_PIECES_MAX);
        let vault = Arc::clone(&call.vault);
        let told = envelope.told.clone();
        vault.spawn(async move {
            let (pieces, taken) = mpsc::channel(SNAPSHOT_PIECES_MAX);
            let ending = call.vault.ending();
            let save = call.vault.save_snapshot(&recipients, env!("CARGO_PKG_VERSION"), pieces);
            let saved = tokio::select! {
                (saved, ()) = async { tokio::join!(save, pass_on(taken, &answers)) } => saved.map(drop),
                () = ending.cancelled() => Err(Failure::sealed()),
            };
            if let Err(failure) = saved {
                // Who is gone is not told.
                drop(answers.try_send(Err(status(&failure, &told))));
            }
        });
        Ok(ReceiverStream::new(stream))
    }

    async fn restore(
        &self,
        envelope: &Envelope,
        mut stream: Streaming<RestoreSnapshotRequest>,
    ) -> Result<RestoreSnapshotResponse, Failure> {
        self.hear_stranger(envelope)?;
        let record = envelope.record(rpc::RESTORE_SNAPSHOT, self.vault().now());
        let restored = match self.begin_restore(envelope, &mut stream).await {
            Ok(mut restoring) => match feed(&mut restoring, &mut stream).await {
                Ok(()) => restoring.finish().await,
                Err(failure) => {
                    restoring.abandon().await;
                    Err(failure)
                }
            },
            Err(failure) => Err(failure),
        };
        match restored {
            Ok(restored) => Ok(RestoreSnapshotResponse { vault_id: restored.vault.to_string(), entries: restored.entries }),
            Err(failure) => self.refuse_stranger(record, failure).await,
        }
    }

    async fn begin_restore(
        &self,
        envelope: &Envelope,
        stream: &mut Streaming<RestoreSnapshotRequest>,
    ) -> Result<Restoring, Failure> {
        let Some(Piece::Start(RestoreStart { about, setup_token })) = next(stream).await? else {
            return Err(Failure::invalid("a snapshot begins with what it says about itself"));
        };
        if !envelope.peer.local && !self.is_setup_token(&SecretString::from(setup_token)) {
            self.note_failure(envelope);
            let message = "restoring is answered on the local socket, or with the set-up token, only";
            return Err(Failure::new(Reason::LocalOnly, message));
        }
        self.vault().begin_restore(&about).await
    }
}

/// Passes pieces on until there are none, or nobody takes them.
async fn pass_on(mut pieces: mpsc::Receiver<Vec<u8>>, answers: &mpsc::Sender<Result<SaveSnapshotResponse, Status>>) {
    while let Some(data) = pieces.recv().await {
        let sent = timeout(PIECE_TIME_MAX, answers.send(Ok(SaveSnapshotResponse { data }))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

async fn feed(restoring: &mut Restoring, stream: &mut Streaming<RestoreSnapshotRequest>) -> Result<(), Failure> {
    loop {
        match next(stream).await? {
            Some(Piece::Data(data)) => restoring.take(&data).await?,
            Some(Piece::Start(_)) => return Err(Failure::invalid("a snapshot begins once")),
            None => return Ok(()),
        }
    }
}

/// The next piece; nothing at the end.
async fn next(stream: &mut Streaming<RestoreSnapshotRequest>) -> Result<Option<Piece>, Failure> {
    let broken = || Failure::new(Reason::Unavailable, "the snapshot's stream broke off; nothing was restored");
    match timeout(PIECE_TIME_MAX, stream.message()).await {
        Ok(Ok(Some(RestoreSnapshotRequest { piece: Some(piece) }))) => Ok(Some(piece)),
        Ok(Ok(Some(RestoreSnapshotRequest { piece: None }))) => Err(Failure::invalid("a message without a piece")),
        Ok(Ok(None)) => Ok(None),
        Ok(Err(_)) | Err(_) => Err(broken()),
    }
}
