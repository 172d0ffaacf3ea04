//! What the injector counts, for Prometheus.

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text::encode},
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::admission::Verdict;

/// Bounds of what a decision takes, in seconds.
const BOUNDS: [f64; 8] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.01, 0.1, 1.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    verdict: Label,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Label {
    #[expect(non_camel_case_types, reason = "the label's value")]
    injected,
    #[expect(non_camel_case_types, reason = "the label's value")]
    left_alone,
    #[expect(non_camel_case_types, reason = "the label's value")]
    refused,
}

/// What is counted.
pub struct Metrics {
    registry: Registry,
    pods: Family<Labels, Counter>,
    took: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let (mut registry, pods, took) = (Registry::with_prefix("coffer_injector"), Family::default(), Histogram::new(BOUNDS));
        registry.register("pods", "Pods that the API server asked about, by what came of it", pods.clone());
        registry.register_with_unit("review_duration", "How long a decision about a pod took", Unit::Seconds, took.clone());
        Self { registry, pods, took }
    }
}

impl Metrics {
    /// What kind of text it is.
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// Counts a decision.
    pub fn note(&self, verdict: Verdict, took: Duration) {
        let verdict = match verdict {
            Verdict::Injected => Label::injected,
            Verdict::LeftAlone => Label::left_alone,
            Verdict::Refused => Label::refused,
        };
        self.pods.get_or_create(&Labels { verdict }).inc();
        self.took.observe(took.as_secs_f64());
    }

    /// All of it as a text.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_is_counted_for_itself() {
        let metrics = Metrics::default();
        for verdict in [Verdict::Injected, Verdict::Injected, Verdict::LeftAlone, Verdict::Refused] {
            metrics.note(verdict, Duration::from_micros(200));
        }
        let text = metrics.text().unwrap();
        for line in [
            "coffer_injector_pods_total{verdict=\"injected\"} 2",
            "coffer_injector_pods_total{verdict=\"left_alone\"} 1",
            "coffer_injector_pods_total{verdict=\"refused\"} 1",
            "coffer_injector_review_duration_seconds_count 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
