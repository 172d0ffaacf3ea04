//! `WatchService`: names and versions of secrets as they change, each event authorised anew.

mod told;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use coffer_core::{
    action::Action,
    clock::Timestamp,
    limits::{WATCH_EVENTS_WAITING_MAX, WATCH_KEEPALIVE, WATCH_PATHS_MAX},
    path::Path,
    policy::Resource,
    reason::Reason,
};
use coffer_proto::v1::{WatchEvent, WatchRequest, WatchResponse, watch_service_server::WatchService};
use coffer_vault::{Failure, Outcome, Watcher, Withheld};
use tokio::{
    sync::mpsc::{self, Permit},
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use self::told::{Standing, State, Told};
use super::Api;
use crate::{
    pipeline::{Call, Envelope, permit, refuse},
    rpc,
    status::status,
};

/// How long a slow reader is waited for with a watch's last event.
const LAST_EVENT_TIME_MAX: Duration = Duration::from_secs(1);

type Event = Result<WatchResponse, Status>;

#[tonic::async_trait]
impl WatchService for Api {
    type WatchStream = ReceiverStream<Event>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let envelope = Envelope::open(&request, self);
        let stream = self.begin_watch(&envelope, request.into_inner()).await;
        envelope.answer(stream)
    }
}

impl Api {
    async fn begin_watch(&self, envelope: &Envelope, request: WatchRequest) -> Result<ReceiverStream<Event>, Failure> {
        let mut call = self.begin(envelope, rpc::WATCH).await?;
        let paths = match parse(&request.paths) {
            Ok(paths) => paths,
            Err(failure) => return refuse(call, failure).await,
        };
        let names: Vec<_> = paths.iter().map(Path::as_str).collect();
        call.record.detail("paths", names.join(" "));
        // What each path's events may say is asked for each event; here, whether there is anything to say at all.
        let (mut any, mut refusal) = (false, Failure::not_found_or_denied());
        for path in &paths {
            match permit(&mut call, Action::Read, &Resource::Path(path.clone())) {
                Ok(()) => any = true,
                // Told when the conditions hold.
                Err(failure) if failure.reason == Reason::ConditionUnmet => any = true,
                // Nothing is said of a path before the vault knows what it needs to.
                Err(failure) if failure.reason == Reason::Unavailable => return refuse(call, failure).await,
                Err(failure) => refusal = failure,
            }
        }
        if !any {
            return refuse(call, refusal).await;
        }
        let watcher = match call.vault.watch(&call.who, &paths).await {
            Ok(watcher) => watcher,
            Err(failure) => return refuse(call, failure).await,
        };
        let resumed = (!request.resume_token.is_empty()).then(|| Told::open(&call, &paths, &request.resume_token));
        if let Some(resumed) = &resumed {
            call.record.detail("resumed", resumed.is_some());
        }
        call.vault.append(call.record.clone().answered(Outcome::Ok)).await?;
        let (events, receiver) = mpsc::channel(WATCH_EVENTS_WAITING_MAX);
        let resync = matches!(resumed, Some(None));
        let told = resumed.flatten().unwrap_or_else(|| Told::nothing(&paths));
        let vault = Arc::clone(&call.vault);
        let watching = Watching { call: Arc::new(call), paths, told, watcher, request_id: envelope.told.clone() };
        vault.spawn(watching.run(events, resync));
        Ok(ReceiverStream::new(receiver))
    }
}

/// The paths, in order, each once.
fn parse(paths: &[String]) -> Result<Vec<Path>, Failure> {
    if paths.is_empty() || paths.len() > WATCH_PATHS_MAX {
        return Err(Failure::told(Reason::LimitExceeded, format!("a watch has 1 to {WATCH_PATHS_MAX} paths")));
    }
    let paths: Result<BTreeSet<Path>, _> = paths.iter().map(|path| path.parse()).collect();
    Ok(paths?.into_iter().collect())
}

/// A watch at work.
struct Watching {
    call: Arc<Call>,
    paths: Vec<Path>,
    told: Told,
    watcher: Watcher,
    request_id: String,
}

/// How a watch ends.
enum End {
    /// Nobody listens any more.
    Left,
    /// The session holds no longer.
    Session,
    /// For a cause that watching again may overcome.
    Failed(Failure),
}

/// What a watch wakes up for.
enum Wake {
    /// To look at these paths.
    Look(BTreeSet<usize>),
    /// To ask policy about all of them.
    Ask,
    /// To say that it lives.
    Keepalive,
}

impl Watching {
    async fn run(mut self, events: mpsc::Sender<Event>, resync: bool) {
        let (call, ending) = (Arc::clone(&self.call), self.call.vault.ending());
        let watched = async {
            tokio::select! {
                () = ending.cancelled() => {
                    End::Failed(Failure::new(Reason::Unavailable, "the vault is sealed, or stops: watch again"))
                }
                () = events.closed() => End::Left,
                // Also while a slow reader is waited for.
                () = session_end(&call) => End::Session,
                Err(end) = self.watched(&events, resync) => end,
            }
        };
        let last = match watched.await {
            End::Left => return,
            End::Session => Ok(response(WatchEvent::SessionEnd, "", 0)),
            End::Failed(failure) => Err(status(&failure, &self.request_id)),
        };
        // A reader that does not read even now sees the stream end without a word.
        drop(timeout(LAST_EVENT_TIME_MAX, events.send(last)).await);
    }

    /// Tells what there is to tell, until the watch ends. Begins with everything that was not told.
    async fn watched(&mut self, events: &mpsc::Sender<Event>, resync: bool) -> Result<(), End> {
        let (mut policies, mut gate) = (self.call.vault.policy_changes(), self.call.vault.gate_changes());
        if resync {
            events.send(Ok(response(WatchEvent::Resync, "", 0))).await.map_err(|_| End::Left)?;
        }
        if !self.tell(events, (0..self.paths.len()).collect()).await? {
            self.keepalive(events).await?;
        }
        let mut keepalive = tokio::time::interval(WATCH_KEEPALIVE);
        keepalive.reset();
        loop {
            let vault = &self.call.vault;
            let wake = tokio::select! {
                due = self.watcher.due() => Wake::Look(due),
                due = self.told.expiry(vault.now()) => Wake::Look(due),
                changed = policies.changed() => changed.map(|()| Wake::Ask).map_err(|_| End::Left)?,
                changed = gate.changed() => changed.map(|()| Wake::Ask).map_err(|_| End::Left)?,
                _ = keepalive.tick() => Wake::Keepalive,
            };
            match wake {
                Wake::Look(due) => {
                    self.tell(events, due).await?;
                }
                Wake::Ask => {
                    let due = self.decided_otherwise();
                    self.tell(events, due).await?;
                }
                // A policy may look at the time: so it is asked now and then, whatever happens.
                Wake::Keepalive => {
                    let due = self.decided_otherwise();
                    if !self.tell(events, due).await? {
                        self.keepalive(events).await?;
                    }
                }
            }
        }
    }

    /// The paths of which policy decides otherwise than when they were looked at last.
    fn decided_otherwise(&self) -> BTreeSet<usize> {
        let places = self.paths.iter().enumerate();
        let otherwise = |at: usize, path: &Path| self.standing(path).is_some_and(|standing| standing != self.told.standing(at));
        places.filter(|(at, path)| otherwise(*at, path)).map(|(at, _)| at).collect()
    }

    /// What policy says of a path; none while the vault has not heard what it needs to know: until then what was told holds.
    fn standing(&self, path: &Path) -> Option<Standing> {
        let (vault, who, resource) = (&self.call.vault, &self.call.who, Resource::Path(path.clone()));
        if vault.decide(who, Action::Read, &resource).permitted {
            return Some(Standing::Permitted);
        }
        match vault.withheld(who, Action::Read, &resource) {
            None => Some(Standing::Denied),
            Some(Withheld::Unmet(_)) => Some(Standing::Withheld),
            Some(Withheld::NotYet) => None,
        }
    }

    /// The state of a path.
    async fn found(&self, path: &Path, standing: Standing) -> Result<State, End> {
        match standing {
            Standing::Denied => Ok(State::Unavailable),
            Standing::Withheld => Ok(State::Withheld),
            Standing::Permitted if self.call.vault.is_made_for_each(path) => Ok(State::Offered),
            Standing::Permitted => {
                let newest = self.call.vault.newest_version(path).await.map_err(End::Failed)?;
                Ok(newest.map_or(State::Unavailable, State::Version))
            }
        }
    }

    /// Tells the state of these paths, where it is not what was told last; says whether there was anything to tell. The
    /// last event carries the resume token.
    async fn tell(&mut self, events: &mpsc::Sender<Event>, due: BTreeSet<usize>) -> Result<bool, End> {
        let mut last: Option<(Permit<'_, Event>, WatchResponse)> = None;
        for at in due {
            let Some(path) = self.paths.get(at).cloned() else { continue };
            loop {
                // First a place for the event, then the look: what a slow reader is told is the state of that moment.
                let place = events.reserve().await.map_err(|_| End::Left)?;
                if !self.call.vault.still_holds(&self.call.who) {
                    return Err(End::Session);
                }
                let Some(standing) = self.standing(&path) else { break };
                let found = self.found(&path, standing).await?;
                let Some(state) = self.told.differs(at, standing, found) else { break };
                let event = match state {
                    State::Version(newest) => response(WatchEvent::Changed, path.as_str(), newest.version),
                    State::Offered => response(WatchEvent::Changed, path.as_str(), 0),
                    State::Unavailable => response(WatchEvent::Unavailable, path.as_str(), 0),
                    State::Withheld => response(WatchEvent::Withheld, path.as_str(), 0),
                };
                if let Some((place, event)) = last.replace((place, event)) {
                    place.send(Ok(event));
                }
                self.told.note(at, state);
                if state != State::Unavailable || found == State::Unavailable {
                    break;
                }
            }
        }
        let Some((place, mut event)) = last else { return Ok(false) };
        event.resume_token = self.told.seal(&self.call, &self.paths).map_err(End::Failed)?;
        place.send(Ok(event));
        Ok(true)
    }

    async fn keepalive(&self, events: &mpsc::Sender<Event>) -> Result<(), End> {
        let resume_token = self.told.seal(&self.call, &self.paths).map_err(End::Failed)?;
        let event = WatchResponse { resume_token, ..response(WatchEvent::Keepalive, "", 0) };
        events.send(Ok(event)).await.map_err(|_| End::Left)
    }
}

/// Waits until the session ends: when it expires, and before where it is ended or its pod goes.
async fn session_end(call: &Call) {
    let mut losses = call.vault.session_losses();
    let mut look = tokio::time::interval(WATCH_KEEPALIVE);
    while call.vault.still_holds(&call.who) {
        tokio::select! {
            () = until(call.who.claims.expires, call.now()) => {}
            changed = losses.changed() => if changed.is_err() { return },
            // Some pods are gone because they were not heard of in time.
            _ = look.tick() => {}
        }
    }
}

async fn until(then: Timestamp, now: Timestamp) {
    match then.since(now) {
        Duration::ZERO => {}
        // A moment has a millisecond.
        wait => sleep(wait + Duration::from_millis(1)).await,
    }
}

fn response(event: WatchEvent, path: &str, version: u64) -> WatchResponse {
    WatchResponse { event: event.into(), path: path.to_owned(), version, resume_token: String::new() }
}
