//! The script of a small vault: sessions, secrets and watches, with faults to switch on.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use coffer_client::proto as v1;
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{Answer, Call};

/// The principal of every session.
pub(crate) const PRINCIPAL: &str = "k8s:prod/payments/api";

#[derive(Clone, Default)]
pub(crate) struct Small(Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    /// Path to version and fields.
    pub(crate) secrets: BTreeMap<String, (u64, BTreeMap<String, Vec<u8>>)>,
    /// The number of the session that holds; 0 for none.
    pub(crate) session: u64,
    /// The token of every login.
    pub(crate) logins: Vec<String>,
    /// Every call's method, in order.
    pub(crate) calls: Vec<String>,
    /// What every RPC answers, instead.
    pub(crate) fault: Option<(Code, &'static str)>,
    /// What every login answers, instead.
    pub(crate) login_fault: Option<(Code, &'static str)>,
    /// What every watch answers, instead.
    pub(crate) watch_fault: Option<(Code, &'static str)>,
    /// Whether every RPC goes without an answer.
    pub(crate) silent: bool,
    /// What is given on conditions that do not hold.
    withheld: BTreeSet<String>,
    watches: Vec<mpsc::Sender<Vec<u8>>>,
}

impl State {
    pub(crate) fn count(&self, method: &str) -> usize {
        self.calls.iter().filter(|call| *call == method).count()
    }
}

/// The vault's refusal with this reason.
pub(crate) fn refusal(code: Code, reason: &str) -> Status {
    let retryable = matches!(reason, "SEALED" | "UNAVAILABLE" | "BUSY").to_string();
    let metadata = HashMap::from([("request_id".to_owned(), "req-1".to_owned()), ("retryable".to_owned(), retryable)]);
    Status::with_error_details(code, format!("refused: {reason}"), ErrorDetails::with_error_info(reason, "coffer.dev", metadata))
}

impl Small {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Writes the next version of a secret and tells the watches.
    pub(crate) fn put(&self, path: &str, fields: &[(&str, &str)]) {
        let mut state = self.state();
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        let version = state.secrets.get(path).map_or(1, |(version, _)| version + 1);
        state.secrets.insert(path.to_owned(), (version, fields));
        state.withheld.remove(path);
        state.tell(v1::WatchEvent::Changed, path, version);
    }

    /// Takes a secret away.
    pub(crate) fn withdraw(&self, path: &str) {
        let mut state = self.state();
        state.secrets.remove(path);
        state.tell(v1::WatchEvent::Unavailable, path, 0);
    }

    /// Gives a secret on conditions that do not hold, until it is written again.
    pub(crate) fn withhold(&self, path: &str) {
        let mut state = self.state();
        state.withheld.insert(path.to_owned());
        state.tell(v1::WatchEvent::Withheld, path, 0);
    }

    /// Tells the watches something.
    pub(crate) fn tell(&self, event: v1::WatchEvent) {
        self.state().tell(event, "", 0);
    }

    /// Ends the session and the watches, as a vault does.
    pub(crate) fn end_session(&self) {
        let mut state = self.state();
        state.session += 1_000;
        state.tell(v1::WatchEvent::SessionEnd, "", 0);
        state.watches.clear();
    }

    /// Watches that are open.
    pub(crate) fn watches(&self) -> usize {
        let mut state = self.state();
        state.watches.retain(|watch| !watch.is_closed());
        state.watches.len()
    }

    pub(crate) fn script(&self) -> impl Fn(Call) -> Answer + Send + Sync + 'static + use<> {
        let small = self.clone();
        move |call| small.answer(&call).unwrap_or_else(Answer::Refusal)
    }

    fn answer(&self, call: &Call) -> Result<Answer, Status> {
        let mut state = self.state();
        state.calls.push(call.method.clone());
        if state.silent {
            return Ok(Answer::Silence);
        }
        if let Some((code, reason)) = state.fault {
            return Err(refusal(code, reason));
        }
        if call.method == "AuthService/LoginWorkload" {
            return state.login(call);
        }
        let bearer = format!("Bearer session-{}", state.session);
        if call.header("authorization") != Some(&bearer) {
            return Err(refusal(Code::Unauthenticated, "SESSION_INVALID"));
        }
        match call.method.as_str() {
            "KvService/GetSecret" => state.read(call),
            "WatchService/Watch" => state.watch(call),
            _ => Err(Status::unimplemented("not in the script")),
        }
    }
}

impl State {
    fn login(&mut self, call: &Call) -> Result<Answer, Status> {
        if let Some((code, reason)) = self.login_fault {
            return Err(refusal(code, reason));
        }
        let request = v1::LoginWorkloadRequest::decode(call.message.as_slice()).unwrap();
        self.logins.push(request.token);
        self.session = self.logins.len() as u64;
        #[expect(clippy::disallowed_methods, reason = "sessions end at a time of day")]
        let expires = SystemTime::now() + Duration::from_secs(3_600);
        let session = v1::Session {
            token: format!("session-{}", self.session),
            id: format!("{:032x}", self.session),
            principal: PRINCIPAL.to_owned(),
            expires: Some(expires.into()),
        };
        Ok(message(&v1::LoginWorkloadResponse { session: Some(session) }))
    }

    fn read(&self, call: &Call) -> Result<Answer, Status> {
        let request = v1::GetSecretRequest::decode(call.message.as_slice()).unwrap();
        if self.withheld.contains(&request.path) {
            return Err(refusal(Code::PermissionDenied, "CONDITION_UNMET"));
        }
        let (version, fields) = self.secrets.get(&request.path).ok_or_else(|| refusal(Code::NotFound, "NOT_FOUND_OR_DENIED"))?;
        Ok(message(&v1::GetSecretResponse {
            fields: fields.clone().into_iter().collect(),
            version: Some(v1::VersionInfo { version: *version, ..v1::VersionInfo::default() }),
            custom_metadata: HashMap::new(),
            receipt: 7,
        }))
    }

    fn watch(&mut self, call: &Call) -> Result<Answer, Status> {
        if let Some((code, reason)) = self.watch_fault {
            return Err(refusal(code, reason));
        }
        let request = v1::WatchRequest::decode(call.message.as_slice()).unwrap();
        let (sender, receiver) = mpsc::channel(1_024);
        for path in request.paths {
            let event = match self.secrets.get(&path) {
                _ if self.withheld.contains(&path) => event(v1::WatchEvent::Withheld, &path, 0),
                Some((version, _)) => event(v1::WatchEvent::Changed, &path, *version),
                None => event(v1::WatchEvent::Unavailable, &path, 0),
            };
            sender.try_send(event).unwrap();
        }
        self.watches.push(sender);
        Ok(Answer::Stream(receiver))
    }

    fn tell(&mut self, kind: v1::WatchEvent, path: &str, version: u64) {
        let event = event(kind, path, version);
        self.watches.retain(|watch| watch.try_send(event.clone()).is_ok());
    }
}

fn event(kind: v1::WatchEvent, path: &str, version: u64) -> Vec<u8> {
    v1::WatchResponse { event: kind.into(), path: path.to_owned(), version, ..Default::default() }.encode_to_vec()
}

fn message(message: &impl Message) -> Answer {
    Answer::Message(message.encode_to_vec())
}
