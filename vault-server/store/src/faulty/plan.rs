//! What is to fail, as data and as text.

use std::{collections::BTreeMap, fmt, str::FromStr};

/// Faults in a plan.
pub const PLAN_FAULTS_MAX: usize = 1_024;

/// The calls that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`crate::Store::get`]
    Get,
    /// [`crate::Store::range`]
    Range,
    /// [`crate::Store::commit`]
    Commit,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It fails and is not done.
    Before,
    /// It is done, and answers that this is not known. Commits only.
    After,
    /// It waits to be released before it is done.
    PauseBefore,
    /// It waits to be released after it is done. Commits only.
    PauseAfter,
    /// The power goes before it is done.
    OffBefore,
    /// The power goes after it is done, and nobody knows. Commits only.
    OffAfter,
    /// It waits for [`DELAY`](super::DELAY) before it is done.
    Delay,
    /// It panics before it is done.
    Panic,
}

/// One planned fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The kind of call.
    pub operation: Operation,
    /// Which call of that kind, from 1.
    pub call: u64,
    /// What becomes of it.
    pub effect: Effect,
}

/// Faults by the call that they are for. Its text is `OPERATION:CALL:EFFECT`, separated by commas, as in
/// `commit:3:before,get:1:pause-before`; an empty text plans nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FaultPlan(BTreeMap<(Operation, u64), Effect>);

/// Why a plan is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A fault has not the form `OPERATION:CALL:EFFECT`.
    #[error("`{0}` is no fault: it would be OPERATION:CALL:EFFECT, with get, range or commit, a number from 1, and {EFFECTS}")]
    Form(String),
    /// Only a commit has an effect that a fault can come after.
    #[error("`{0}` can come after commits only")]
    Read(Effect),
    /// Two faults are for the same call.
    #[error("two faults are for {0} {1}")]
    Twice(Operation, u64),
    /// More than [`PLAN_FAULTS_MAX`].
    #[error("more than {PLAN_FAULTS_MAX} faults")]
    Many,
}

const EFFECTS: &str = "before, after, pause-before, pause-after, off-before, off-after, delay or panic";

impl FaultPlan {
    /// A plan of these faults.
    ///
    /// # Errors
    ///
    /// See [`PlanError`].
    pub fn new(faults: impl IntoIterator<Item = Fault>) -> Result<Self, PlanError> {
        let mut plan = BTreeMap::new();
        for Fault { operation, call, effect } in faults {
            if operation != Operation::Commit && matches!(effect, Effect::After | Effect::PauseAfter | Effect::OffAfter) {
                return Err(PlanError::Read(effect));
            }
            if plan.insert((operation, call), effect).is_some() {
                return Err(PlanError::Twice(operation, call));
            }
            if plan.len() > PLAN_FAULTS_MAX {
                return Err(PlanError::Many);
            }
        }
        Ok(Self(plan))
    }

    /// Reads a plan's text.
    ///
    /// # Errors
    ///
    /// See [`PlanError`].
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let faults: Vec<Fault> =
            text.split(',').take(PLAN_FAULTS_MAX.saturating_add(1)).map(str::parse).collect::<Result<_, _>>()?;
        Self::new(faults)
    }

    pub(super) fn effect(&self, operation: Operation, call: u64) -> Option<Effect> {
        self.0.get(&(operation, call)).copied()
    }
}

impl FromStr for Fault {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let fault = || {
            let (operation, rest) = text.split_once(':')?;
            let (call, effect) = rest.split_once(':')?;
            let operation = match operation {
                "get" => Operation::Get,
                "range" => Operation::Range,
                "commit" => Operation::Commit,
                _ => return None,
            };
            let effect = match effect {
                "before" => Effect::Before,
                "after" => Effect::After,
                "pause-before" => Effect::PauseBefore,
                "pause-after" => Effect::PauseAfter,
                "off-before" => Effect::OffBefore,
                "off-after" => Effect::OffAfter,
                "delay" => Effect::Delay,
                "panic" => Effect::Panic,
                _ => return None,
            };
            let call = call.parse().ok().filter(|call| *call > 0)?;
            Some(Self { operation, call, effect })
        };
        fault().ok_or_else(|| PlanError::Form(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::Range => "range",
            Self::Commit => "commit",
        })
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
            Self::PauseBefore => "pause-before",
            Self::PauseAfter => "pause-after",
            Self::OffBefore => "off-before",
            Self::OffAfter => "off-after",
            Self::Delay => "delay",
            Self::Panic => "panic",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Effect, Fault, FaultPlan, Operation, PLAN_FAULTS_MAX, PlanError};

    #[test]
    fn every_effect_has_a_text_that_is_read_back() {
        for effect in [
            Effect::Before,
            Effect::After,
            Effect::PauseBefore,
            Effect::PauseAfter,
            Effect::OffBefore,
            Effect::OffAfter,
            Effect::Delay,
            Effect::Panic,
        ] {
            let fault = Fault { operation: Operation::Commit, call: 7, effect };
            assert_eq!(format!("commit:7:{effect}").parse(), Ok(fault));
        }
        let plan = FaultPlan::parse("commit:3:before,get:1:pause-before,range:2:off-before").unwrap();
        assert_eq!(plan.effect(Operation::Commit, 3), Some(Effect::Before));
        assert_eq!(plan.effect(Operation::Get, 1), Some(Effect::PauseBefore));
        assert_eq!(plan.effect(Operation::Range, 2), Some(Effect::OffBefore));
        assert_eq!(plan.effect(Operation::Range, 1), None);
        assert_eq!(FaultPlan::parse(""), Ok(FaultPlan::default()));
    }

    #[test]
    fn what_is_no_plan_is_refused() {
        for text in
            ["commit", "commit:3", "commit:0:before", "commit:x:before", "put:1:before", "commit:1:later", ",", "get:1:before,"]
        {
            assert!(matches!(FaultPlan::parse(text), Err(PlanError::Form(_))), "{text}");
        }
        assert_eq!(FaultPlan::parse("get:1:after"), Err(PlanError::Read(Effect::After)));
        assert_eq!(FaultPlan::parse("get:1:before,get:1:before"), Err(PlanError::Twice(Operation::Get, 1)));
        let faults = |count| (1..=count).map(|call| format!("get:{call}:before")).collect::<Vec<_>>().join(",");
        assert!(FaultPlan::parse(&faults(PLAN_FAULTS_MAX)).is_ok());
        assert_eq!(FaultPlan::parse(&faults(PLAN_FAULTS_MAX + 1)), Err(PlanError::Many));
    }
}
