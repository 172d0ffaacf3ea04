//! What a check is about.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A check: what should hold, why, and what to do where it does not. Its `id` is never given another meaning.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The id: a family and a number, like `HST-01`.
    pub id: &'static str,
    /// What holds where it passes, in a phrase: "no swap on a disk that is not encrypted".
    pub title: &'static str,
    /// How bad it is where it fails.
    pub severity: Severity,
    /// What may depend on it.
    pub tier: Tier,
    /// Items of benchmarks that it answers, like `CIS-Docker-1.6.0 4.1` and `NIST-800-190 4.4.3`.
    pub benchmarks: &'static [&'static str],
    /// What somebody could do where it fails, in a sentence or two.
    pub why: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// How bad it is where a check fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good practice.
    Low,
    /// Makes an attack easier.
    Medium,
    /// One step from a secret.
    High,
    /// A secret is open, or as good as.
    Critical,
}

impl Severity {
    /// All of them, the least first.
    pub const ALL: &[Self] = &[Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|severity| severity.as_str() == text).ok_or("low, medium, high or critical")
    }
}

/// What may depend on a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Certain, and fit to withhold a secret without being asked: a failure opens it, and is never a matter of taste.
    Gate,
    /// True, but sites differ with reason: withholds where a policy names it.
    OptIn,
    /// For reports alone.
    Advisory,
}

impl Tier {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::OptIn => "opt-in",
            Self::Advisory => "advisory",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        for severity in Severity::ALL {
            assert_eq!(severity.as_str().parse(), Ok(*severity));
            assert_eq!(serde_json::to_value(severity).unwrap(), severity.as_str());
        }
        for tier in [Tier::Gate, Tier::OptIn, Tier::Advisory] {
            assert_eq!(serde_json::to_value(tier).unwrap(), tier.as_str());
        }
        assert!("severe".parse::<Severity>().is_err());
    }

    #[test]
    fn severities_are_ordered() {
        assert!(Severity::ALL.is_sorted());
    }
}
