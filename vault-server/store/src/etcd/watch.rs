//! Change feeds from etcd's watches.

use std::time::Duration;

use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, metadata::MetadataValue, transport::Channel};

use super::{
    ATTEMPT_SECS_MAX, EtcdStore, foreign, unsigned,
    wire::{
        Event, WatchCreateRequest, WatchRequest, WatchResponse, event::EventType, watch_client::WatchClient,
        watch_request::RequestUnion,
    },
};
use crate::{Change, FEED_BUFFER_CHANGES, Feed, Revision, StoreError};

/// Bytes of an answer: etcd splits between changes what is larger than a request (1.5 MiB) may be.
const ANSWER_BYTES_MAX: usize = 16 << 20;

type Sender = mpsc::Sender<Result<Change, StoreError>>;

/// One watch: the answers, and the requests, which must be kept for the watch to go on.
struct Watch {
    requests: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

/// Opens a watch on the first endpoint that takes it.
pub(super) async fn open(store: &EtcdStore, since: Revision) -> Result<Feed, StoreError> {
    let start = since.0.saturating_add(1);
    let create = WatchCreateRequest {
        key: store.prefix.clone(),
        range_end: store.prefix_end.clone(),
        start_revision: i64::try_from(start).map_err(|_| StoreError::Compacted)?,
        fragment: true,
    };
    let mut failure = StoreError::Unavailable("etcd has no endpoint".into());
    for (_, channel) in store.channels() {
        match timeout(Duration::from_secs(ATTEMPT_SECS_MAX), create_on(channel, create.clone())).await {
            Ok(Ok(watch)) => {
                let (sender, receiver) = mpsc::channel(FEED_BUFFER_CHANGES);
                let (closing, prefix) = (store.closing.clone(), store.prefix.clone());
                store.feeds.spawn(async move {
                    tokio::select! {
                        () = closing.cancelled() => end(&sender, StoreError::Unavailable("the store was closed".into())).await,
                        () = sender.closed() => {}
                        () = pump(watch, &prefix, &sender) => {}
                    }
                });
                return Ok(Feed::new(receiver));
            }
            Ok(Err(StoreError::Compacted)) => return Err(StoreError::Compacted),
            Ok(Err(error)) => failure = error,
            Err(elapsed) => failure = StoreError::Unavailable(Box::new(elapsed)),
        }
    }
    Err(failure)
}

async fn create_on(channel: Channel, create: WatchCreateRequest) -> Result<Watch, StoreError> {
    let unavailable = |status: Status| StoreError::Unavailable(Box::new(status));
    let (requests, stream) = mpsc::channel(1);
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    requests.send(create).await.map_err(|error| StoreError::Unavailable(Box::new(error)))?;
    let mut request = Request::new(ReceiverStream::new(stream));
    // A server that is cut off from the others ends the watch, rather than being silent for ever.
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    let mut client = WatchClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    let mut answers = client.watch(request).await.map_err(unavailable)?.into_inner();
    let first = answers.message().await.map_err(unavailable)?;
    match first {
        Some(answer) if answer.canceled => Err(ended(&answer)),
        Some(answer) if answer.created => Ok(Watch { requests, answers }),
        _ => Err(StoreError::Unavailable("etcd did not begin the watch".into())),
    }
}

/// Hands on what etcd tells until it ends. A reader that is slow slows etcd down, which then reads from its history:
/// where that is gone, etcd says so.
async fn pump(mut watch: Watch, prefix: &[u8], sender: &Sender) {
    let error = loop {
        let answer = match watch.answers.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => break StoreError::Unavailable("etcd ended the watch".into()),
            Err(status) => break StoreError::Unavailable(Box::new(status)),
        };
        if answer.canceled {
            break ended(&answer);
        }
        for event in answer.events {
            let change = change(event, prefix);
            let failed = change.is_err();
            if sender.send(change).await.is_err() || failed {
                return;
            }
        }
    };
    drop(watch.requests);
    end(sender, error).await;
}

fn change(event: Event, prefix: &[u8]) -> Result<Change, StoreError> {
    let present = event.r#type() == EventType::Put;
    let kv = event.kv.unwrap_or_default();
    let key = kv.key.strip_prefix(prefix).ok_or_else(foreign)?.to_vec();
    Ok(Change { key, present, revision: Revision(unsigned(kv.mod_revision)?) })
}

fn ended(answer: &WatchResponse) -> StoreError {
    if answer.compact_revision > 0 { StoreError::Compacted } else { StoreError::Unavailable("etcd cancelled the watch".into()) }
}

/// Tells the reader, if there still is one.
async fn end(sender: &Sender, error: StoreError) {
    tokio::select! {
        () = sender.closed() => {}
        sent = sender.send(Err(error)) => drop(sent),
    }
}
