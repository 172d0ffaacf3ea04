//! What is counted of requests, connections and logins. Labels come from fixed lists, never from a caller.

use std::{collections::HashMap, time::Duration};

use coffer_core::measure::{Counter, Durations, DurationsRead};
use tonic::Code;

use crate::rpc::{self, Rpc};

/// gRPC's status codes, by their numbers.
pub const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// The name of a status code.
pub(crate) fn code_name(code: Code) -> &'static str {
    usize::try_from(i32::from(code)).ok().and_then(|number| CODES.get(number)).copied().unwrap_or("UNKNOWN")
}

/// What a request for an RPC that there is none of counts as.
pub const NO_RPC: &str = "none";

/// How somebody logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginMethod {
    /// A service-account token.
    Workload,
    /// A password.
    Password,
    /// A pinned certificate.
    Certificate,
    /// A bootstrap credential.
    Bootstrap,
}

impl LoginMethod {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Workload, Self::Password, Self::Certificate, Self::Bootstrap];

    /// The name, as a label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::Password => "password",
            Self::Certificate => "certificate",
            Self::Bootstrap => "bootstrap",
        }
    }
}

/// What came of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginOutcome {
    /// A session.
    Ok,
    /// Nobody was let in.
    Refused,
    /// The vault could not tell.
    Failed,
}

impl LoginOutcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Refused, Self::Failed];

    /// The name, as a label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// All that the API counts.
#[derive(Debug)]
pub struct Metrics {
    /// By the path in HTTP/2; the place in `rpcs`.
    places: HashMap<String, usize>,
    /// In the order of [`rpc::ALL`]; the last one is for what is none of them.
    rpcs: Vec<RpcMetrics>,
    logins: [[Counter; LoginOutcome::ALL.len()]; LoginMethod::ALL.len()],
    /// Requests under way.
    pub requests_in_flight: Counter,
    /// Connections over TLS that are open.
    pub connections: Counter,
    /// Connections closed before their handshake, since there were too many in all.
    pub connections_refused: Counter,
    /// Those closed since there were too many from their address, or too many came from it at once.
    pub connections_refused_by_address: Counter,
    /// TLS handshakes that were ended for others.
    pub handshakes_displaced: Counter,
    /// TLS handshakes that failed.
    pub handshakes_failed: Counter,
    /// TLS handshakes that took too long.
    pub handshakes_timed_out: Counter,
}

#[derive(Debug, Default)]
struct RpcMetrics {
    codes: [Counter; CODES.len()],
    durations: Durations,
}

/// What was counted of an RPC.
pub struct RpcRead {
    /// The RPC: `coffer.v1.KvService/GetSecret`, or [`NO_RPC`].
    pub rpc: String,
    /// Answers by code, in the order of [`CODES`].
    pub codes: [u64; CODES.len()],
    /// How long the answers took; for a stream, until it began.
    pub durations: DurationsRead,
}

impl Default for Metrics {
    fn default() -> Self {
        let places = rpc::ALL.iter().enumerate().map(|(place, rpc)| (format!("/{}", rpc.full_name()), place));
        Self {
            places: places.collect(),
            rpcs: (0..=rpc::ALL.len()).map(|_| RpcMetrics::default()).collect(),
            logins: Default::default(),
            requests_in_flight: Counter::default(),
            connections: Counter::default(),
            connections_refused: Counter::default(),
            connections_refused_by_address: Counter::default(),
            handshakes_displaced: Counter::default(),
            handshakes_failed: Counter::default(),
            handshakes_timed_out: Counter::default(),
        }
    }
}

impl Metrics {
    /// The place of the RPC at an HTTP path.
    pub(crate) fn place(&self, path: &str) -> usize {
        self.places.get(path).copied().unwrap_or(rpc::ALL.len())
    }

    /// The name of the RPC at a place.
    pub(crate) fn name(place: usize) -> String {
        rpc::ALL.get(place).map_or_else(|| NO_RPC.to_owned(), Rpc::full_name)
    }

    pub(crate) fn answered(&self, place: usize, code: Code, took: Duration) {
        let Some(rpc) = self.rpcs.get(place) else { return };
        if let Some(counter) = rpc.codes.get(usize::try_from(i32::from(code)).unwrap_or(usize::MAX)) {
            counter.add_one();
        }
        rpc.durations.observe(took);
    }

    pub(crate) fn login(&self, method: LoginMethod, outcome: LoginOutcome) {
        if let Some(counter) = self.logins.get(method as usize).and_then(|outcomes| outcomes.get(outcome as usize)) {
            counter.add_one();
        }
    }

    /// Logins of this kind with this outcome.
    #[must_use]
    pub fn logins(&self, method: LoginMethod, outcome: LoginOutcome) -> u64 {
        self.logins.get(method as usize).and_then(|outcomes| outcomes.get(outcome as usize)).map_or(0, Counter::count)
    }

    /// What was counted of each RPC.
    pub fn rpcs(&self) -> impl Iterator<Item = RpcRead> {
        self.rpcs.iter().enumerate().map(|(place, rpc)| RpcRead {
            rpc: Self::name(place),
            codes: std::array::from_fn(|at| rpc.codes.get(at).map_or(0, Counter::count)),
            durations: rpc.durations.read(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, time::Instant};

    use super::*;

    #[test]
    fn requests_are_counted_by_rpc_and_code_and_strange_ones_together() {
        let metrics = Metrics::default();
        let (get, strange) = (metrics.place("/coffer.v1.KvService/GetSecret"), metrics.place("/anything/else"));
        assert_ne!(get, strange);
        metrics.answered(get, Code::PermissionDenied, Duration::from_millis(3));
        metrics.answered(strange, Code::Unimplemented, Duration::ZERO);
        let counted: Vec<_> = metrics.rpcs().filter(|rpc| rpc.durations.count() > 0).collect();
        assert_eq!(counted.len(), 2);
        assert_eq!((counted[0].rpc.as_str(), counted[0].codes[7]), ("coffer.v1.KvService/GetSecret", 1));
        assert_eq!((counted[1].rpc.as_str(), counted[1].codes[12]), (NO_RPC, 1));
    }

    #[test]
    fn codes_have_grpcs_numbers() {
        for (number, name) in CODES.iter().enumerate() {
            let code = Code::from_i32(i32::try_from(number).unwrap());
            assert_eq!(format!("{code:?}").to_uppercase(), name.replace('_', ""));
        }
    }

    /// Says what that costs, too: `cargo test --release -p coffer-api --lib -- --nocapture counted_once`.
    #[test]
    fn a_million_requests_are_each_counted_once() {
        const REQUESTS: u32 = 1_000_000;
        let metrics = Metrics::default();
        let began = Instant::now();
        for _ in 0..REQUESTS {
            let request = Instant::now();
            let place = metrics.place(black_box("/coffer.v1.KvService/GetSecret"));
            metrics.requests_in_flight.add_one();
            metrics.answered(place, black_box(Code::Ok), request.elapsed());
            metrics.requests_in_flight.take_one();
        }
        let each = began.elapsed() / REQUESTS;
        println!("counting a request takes {each:?}");
        let counted: Vec<_> = metrics.rpcs().filter(|rpc| rpc.durations.count() > 0).collect();
        assert_eq!((counted.len(), counted[0].codes[0], counted[0].durations.count()), (1, REQUESTS.into(), REQUESTS.into()));
    }
}
