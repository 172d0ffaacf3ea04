//! `WatchService`: names and versions of secrets as they change, each event authorised anew.

use std::collections::BTreeMap;

use coffer_core::{
    action::Action,
    limits::{WATCH_KEEPALIVE, WATCH_PATHS_MAX},
    path::Path,
    policy::Resource,
    reason::Reason,
};
use coffer_proto::v1::{WatchEvent, WatchRequest, WatchResponse, watch_service_server::WatchService};
use coffer_vault::{Failure, Outcome, PhysicalKey};
use tokio::sync::{broadcast::error::RecvError, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Api;
use crate::{
    pipeline::{Call, Envelope, permit, refuse},
    rpc,
};

/// Events that wait for a slow reader before it is made to wait itself.
const EVENTS_MAX: usize = 256;

type Events = mpsc::Sender<Result<WatchResponse, Status>>;

#[tonic::async_trait]
impl WatchService for Api {
    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let envelope = Envelope::open(&request, self);
        let stream = self.begin_watch(&envelope, request.into_inner()).await;
        envelope.answer(stream)
    }
}

impl Api {
    async fn begin_watch(
        &self,
        envelope: &Envelope,
        request: WatchRequest,
    ) -> Result<ReceiverStream<Result<WatchResponse, Status>>, Failure> {
        let mut call = self.begin(envelope, rpc::WATCH).await?;
        let paths = match parse(&request.paths) {
            Ok(paths) => paths,
            Err(failure) => return refuse(call, failure).await,
        };
        let names: Vec<_> = paths.iter().map(Path::as_str).collect();
        call.record.detail("paths", names.join(" "));
        // What each path's events may say is asked for each event; here, whether there is anything to say at all.
        let mut any = false;
        for path in &paths {
            any |= permit(&mut call, Action::Read, &Resource::Path(path.clone())).is_ok();
        }
        if !any {
            return refuse(call, Failure::not_found_or_denied()).await;
        }
        let watch = match Watching::new(call, paths).await {
            Ok(watch) => watch,
            Err((call, failure)) => return refuse(*call, failure).await,
        };
        watch.call.vault.append(watch.call.record.clone().answered(Outcome::Ok)).await?;
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let vault = std::sync::Arc::clone(&watch.call.vault);
        vault.spawn(watch.run(sender));
        Ok(ReceiverStream::new(receiver))
    }
}

fn parse(paths: &[String]) -> Result<Vec<Path>, Failure> {
    if paths.is_empty() || paths.len() > WATCH_PATHS_MAX {
        return Err(Failure::told(Reason::LimitExceeded, format!("a watch has 1 to {WATCH_PATHS_MAX} paths")));
    }
    paths.iter().map(|path| path.parse().map_err(Failure::from)).collect()
}

struct Watching {
    call: Call,
    paths: BTreeMap<PhysicalKey, Path>,
    told: BTreeMap<Path, Option<u64>>,
    changes: tokio::sync::broadcast::Receiver<PhysicalKey>,
}

impl Watching {
    async fn new(call: Call, paths: Vec<Path>) -> Result<Self, (Box<Call>, Failure)> {
        // Subscribed before the first look, so that no change falls between the two.
        let changes = call.vault.secret_changes();
        let mut keys = BTreeMap::new();
        for path in paths {
            match call.vault.secret_key(&path).await {
                Ok(key) => keys.insert(key, path),
                Err(failure) => return Err((Box::new(call), failure)),
            };
        }
        Ok(Self { call, paths: keys, told: BTreeMap::new(), changes })
    }

    async fn run(mut self, events: Events) {
        let ending = self.call.vault.ending();
        let mut policies = self.call.vault.policy_changes();
        let mut gone = self.call.vault.pod_losses();
        if self.tell_all(&events).await.is_none() {
            return;
        }
        let mut keepalive = tokio::time::interval(WATCH_KEEPALIVE);
        keepalive.reset();
        loop {
            let told = tokio::select! {
                () = ending.cancelled() => return,
                () = events.closed() => return,
                changed = self.changes.recv() => match changed {
                    Ok(key) => match self.paths.get(&key).cloned() {
                        Some(path) => self.tell(&events, path).await,
                        None => Some(()),
                    },
                    Err(RecvError::Lagged(_)) => self.resync(&events).await,
                    Err(RecvError::Closed) => return,
                },
                changed = policies.changed() => match changed {
                    Ok(()) => self.tell_all(&events).await,
                    Err(_) => return,
                },
                _ = gone.changed() => Some(()),
                _ = keepalive.tick() => send(&events, WatchEvent::Keepalive, "", 0).await,
            };
            if told.is_none() {
                return;
            }
            if !self.call.vault.still_holds(&self.call.who) {
                send(&events, WatchEvent::SessionEnd, "", 0).await;
                return;
            }
        }
    }

    async fn resync(&mut self, events: &Events) -> Option<()> {
        self.told.clear();
        send(events, WatchEvent::Resync, "", 0).await?;
        self.tell_all(events).await
    }

    async fn tell_all(&mut self, events: &Events) -> Option<()> {
        for path in self.paths.values().cloned().collect::<Vec<_>>() {
            self.tell(events, path).await?;
        }
        Some(())
    }

    /// Tells the state of a path, unless that is what was told last. `None` where nobody listens any more.
    async fn tell(&mut self, events: &Events, path: Path) -> Option<()> {
        if !self.call.vault.still_holds(&self.call.who) {
            return Some(());
        }
        let vault = &self.call.vault;
        let permitted = vault.decide(&self.call.who, Action::Read, &Resource::Path(path.clone())).permitted;
        let version = if permitted { vault.newest_version(&path).await.ok().flatten() } else { None };
        if self.told.get(&path) == Some(&version) {
            return Some(());
        }
        match version {
            Some(version) => send(events, WatchEvent::Changed, path.as_str(), version).await?,
            None => send(events, WatchEvent::Unavailable, path.as_str(), 0).await?,
        }
        self.told.insert(path, version);
        Some(())
    }
}

async fn send(events: &Events, event: WatchEvent, path: &str, version: u64) -> Option<()> {
    let response = WatchResponse { event: event.into(), path: path.to_owned(), version };
    events.send(Ok(response)).await.ok()
}
