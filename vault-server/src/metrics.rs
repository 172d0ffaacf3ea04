//! The metrics, as Prometheus reads them: docs/metrics.md describes each. Labels come from fixed lists and from the names
//! of clusters, which admins give: never a path, a principal, or anything from a stranger.

use std::{fmt, sync::Arc};

use coffer_api::{
    Api,
    metrics::{CODES, LoginMethod, LoginOutcome},
};
use coffer_core::measure::{BUCKET_BOUNDS_MICROS, DurationsRead};
use coffer_vault::{UnsealedFigures, Vault};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, prometheus_text},
    metrics::MetricType,
    registry::Registry,
};

use crate::{
    metered::{OUTCOMES, StoreMetrics},
    process,
};

pub(crate) use prometheus_text::CONTENT_TYPE;

/// How a cluster's pod cache can stand.
const POD_CACHE_STATES: [&str; 5] = ["none", "syncing", "synced", "stale", "confirm"];

/// Everything that has figures.
pub(crate) struct Sources {
    pub(crate) api: Api,
    pub(crate) vault: Arc<Vault>,
    pub(crate) store: Arc<StoreMetrics>,
}

/// All metrics, as text.
pub(crate) struct Metrics(Registry);

impl Metrics {
    pub(crate) fn new(sources: Sources) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(sources));
        Self(registry)
    }

    /// The metrics now.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(32 << 10);
        prometheus_text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources")
    }
}

impl Collector for Sources {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        out.gauge("coffer_build_info", "The server's version; always 1", [(&[("version", env!("CARGO_PKG_VERSION"))], 1.0)])?;
        let (health, figures) = (self.api.health(), self.vault.figures());
        out.one("coffer_initialised", "Whether the vault is initialised", f64::from(figures.initialised))?;
        out.one("coffer_sealed", "Whether the vault is sealed", f64::from(figures.unsealed.is_none()))?;
        out.one("coffer_draining", "Whether the server is about to stop", f64::from(health.draining))?;
        self.requests(&mut out)?;
        self.store(&mut out)?;
        if let Some(unsealed) = &figures.unsealed {
            vault(unsealed, &mut out)?;
            audit(unsealed, &mut out)?;
            clusters(unsealed, &mut out)?;
        }
        of_process(&mut out)
    }
}

impl Sources {
    fn requests(&self, out: &mut Out<'_>) -> fmt::Result {
        let metrics = self.api.metrics();
        let rpcs: Vec<_> = metrics.rpcs().filter(|rpc| rpc.codes.iter().sum::<u64>() > 0).collect();
        let counted = rpcs.iter().flat_map(|rpc| {
            let codes = CODES.iter().zip(rpc.codes).filter(|(code, count)| *count > 0 || **code == "OK");
            codes.map(|(code, count)| ([("rpc", rpc.rpc.as_str()), ("code", *code)], count))
        });
        out.counter("coffer_requests", "Requests answered, by RPC and gRPC status", counted)?;
        let timed = rpcs.iter().map(|rpc| ([("rpc", rpc.rpc.as_str())], rpc.durations));
        out.histogram("coffer_request_duration_seconds", "How long answers took; of streams, until they began", timed)?;
        let gauges = [
            ("coffer_requests_in_flight", "Requests that wait for their answer", metrics.requests_in_flight.count()),
            ("coffer_connections", "Open connections over TLS", metrics.connections.count()),
        ];
        for (name, help, value) in gauges {
            out.one(name, help, value as f64)?;
        }
        let refused = [
            ([("cause", "all")], metrics.connections_refused.count()),
            ([("cause", "address")], metrics.connections_refused_by_address.count()),
        ];
        out.counter("coffer_connections_refused", "Connections closed before their handshake, being too many", refused)?;
        let failed = [
            ([("cause", "failed")], metrics.handshakes_failed.count()),
            ([("cause", "timeout")], metrics.handshakes_timed_out.count()),
            ([("cause", "displaced")], metrics.handshakes_displaced.count()),
        ];
        out.counter("coffer_tls_handshakes_failed", "TLS handshakes that came to nothing", failed)?;
        let logins = LoginMethod::ALL.into_iter().flat_map(|method| {
            LoginOutcome::ALL
                .map(|outcome| ([("method", method.name()), ("outcome", outcome.name())], metrics.logins(method, outcome)))
        });
        out.counter("coffer_logins", "Logins, by method and outcome", logins)
    }

    fn store(&self, out: &mut Out<'_>) -> fmt::Result {
        let commits = OUTCOMES.iter().zip(&self.store.commits).map(|(outcome, count)| ([("outcome", *outcome)], count.count()));
        out.counter("coffer_store_commits", "Transactions of the store, by outcome", commits)?;
        let durations = [(NO_LABELS, self.store.durations.read())];
        out.histogram("coffer_store_commit_duration_seconds", "How long transactions took, waiting included", durations)?;
        let in_flight = self.store.in_flight.count();
        out.one("coffer_store_commits_in_flight", "Transactions that wait or are being written", in_flight as f64)?;
        out.counter("coffer_store_reads", "Reads of the store", [(NO_LABELS, self.store.reads.count())])
    }
}

fn vault(figures: &UnsealedFigures, out: &mut Out<'_>) -> fmt::Result {
    let gauges = [
        ("coffer_watchers", "Watches under way", figures.watchers),
        ("coffer_operator_sessions", "Sessions of operators that are stored", figures.operator_sessions),
        ("coffer_grants", "Grants", figures.grants),
        ("coffer_leases_stuck", "Leases that somebody should look at", figures.leases_stuck),
        ("coffer_password_checks", "Password checks under way or waiting", figures.password_checks),
    ];
    for (name, help, value) in gauges {
        out.one(name, help, value as f64)?;
    }
    let decisions = [([("source", "remembered")], figures.decisions_remembered), ([("source", "made")], figures.decisions_made)];
    out.counter("coffer_policy_decisions", "Decisions of policy: made, or remembered from before", decisions)?;
    out.one("coffer_leases", "Leases of credentials", figures.leases as f64)?;
    let endings = [([("outcome", "ended")], figures.endings), ([("outcome", "failed")], figures.endings_failed)];
    out.counter("coffer_lease_endings", "Credentials that were ended, and tries that failed", endings)?;
    let behind = figures.clock_behind_millis as f64 / 1_000.0;
    out.one("coffer_clock_behind_seconds", "How far the clock is behind the latest time that the vault has seen", behind)
}

fn audit(figures: &UnsealedFigures, out: &mut Out<'_>) -> fmt::Result {
    let audit = &figures.audit;
    out.one("coffer_audit_entries", "Entries in the audit log", audit.entries as f64)?;
    out.one("coffer_audit_queue_entries", "Entries that wait for the audit log's writer", audit.waiting as f64)?;
    out.one("coffer_audit_failed", "Whether the audit log has failed, so that nothing is answered", f64::from(audit.failed))?;
    let syncs = [(NO_LABELS, audit.syncs)];
    out.histogram("coffer_audit_sync_duration_seconds", "How long it took to make entries durable, many at once", syncs)
}

fn clusters(figures: &UnsealedFigures, out: &mut Out<'_>) -> fmt::Result {
    let clusters = &figures.clusters;
    let pods = clusters.iter().filter_map(|cluster| Some(([("cluster", cluster.name.as_str())], cluster.pods? as f64)));
    out.gauge_of("coffer_cluster_pods", "Pods known of a cluster that is followed", pods)?;
    let states = clusters.iter().flat_map(|cluster| {
        POD_CACHE_STATES
            .map(|state| ([("cluster", cluster.name.as_str()), ("state", state)], f64::from(cluster.pod_cache == state)))
    });
    out.gauge_of("coffer_cluster_pod_cache", "How the copy of a cluster's pods stands: 1 for the state it is in", states)
}

fn of_process(out: &mut Out<'_>) -> fmt::Result {
    let figures = process::Figures::read();
    let cpu = [(NO_LABELS, figures.cpu_seconds)];
    out.counter_of("process_cpu_seconds", "Processor time spent, in user and system mode", cpu)?;
    let gauges = [
        ("process_open_fds", "Open file descriptors", figures.open_fds as f64),
        ("process_max_fds", "File descriptors that may be open", figures.max_fds as f64),
        ("process_resident_memory_bytes", "Resident memory", figures.resident_bytes as f64),
        ("process_virtual_memory_bytes", "Virtual memory", figures.virtual_bytes as f64),
        ("process_start_time_seconds", "When the process started, in seconds since 1970", figures.start_time_seconds),
    ];
    gauges.into_iter().try_for_each(|(name, help, value)| out.one(name, help, value))
}

const NO_LABELS: [(&str, &str); 0] = [];

/// Writes families of metrics.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn one(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauge<'l, const N: usize, const M: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: [(&[(&'l str, &'l str); N], f64); M],
    ) -> fmt::Result {
        self.gauge_of(name, help, values.into_iter().map(|(labels, value)| (*labels, value)))
    }

    fn gauge_of<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'l str, &'l str); N], f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counter<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
        }
        Ok(())
    }

    fn counter_of<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'l str, &'l str); N], f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
        }
        Ok(())
    }

    fn histogram<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'l str, &'l str); N], DurationsRead)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, read) in values {
            let bounds = BUCKET_BOUNDS_MICROS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::MAX]);
            let buckets: Vec<_> = bounds.zip(read.buckets).collect();
            let sum = read.sum.as_secs_f64();
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, read.count(), &buckets, None)?;
        }
        Ok(())
    }
}
