//! What a grant may ask of the pod that it is for, beside who it is: conditions on its images, its node and itself.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use super::{Context, HostPosture, ImageVerdict, PodSecurity, Switch};
use crate::{limits::REQUIRED_AGE_MAX, principal::Name};

/// Why a text is no requirement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequirementError {
    /// It has none of the known forms.
    #[error(
        "{0:?} is no condition: those are image=pass, signed-by=NAME, host=pass, swap=off, workload=baseline, workload=restricted and max-age=TIME"
    )]
    Unknown(String),
    /// The same thing is asked for twice.
    #[error("{0} is asked for twice")]
    Twice(&'static str),
    /// An age that is none.
    #[error("max-age is a time such as 30m, 24h or 7d, of one second to ten years")]
    Age,
    /// An age of nothing.
    #[error("max-age is about the verdict on an image: ask for image=pass or signed-by=NAME too")]
    AgeAlone,
}

/// One condition, by what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// `image=pass`: each image has a verdict, and none has failed.
    Image,
    /// `signed-by=NAME`: this signer has passed each image.
    SignedBy,
    /// `host=pass`: the node passes every check of the gate tier.
    Host,
    /// `swap=off`: the node does not swap.
    Swap,
    /// `workload=LEVEL`: the pod keeps this level of Pod Security.
    Workload,
    /// `max-age=TIME`: each image was looked at within this time.
    MaxAge,
}

impl Condition {
    const ALL: [Self; 6] = [Self::Image, Self::SignedBy, Self::Host, Self::Swap, Self::Workload, Self::MaxAge];

    /// The name in grants.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::SignedBy => "signed-by",
            Self::Host => "host",
            Self::Swap => "swap",
            Self::Workload => "workload",
            Self::MaxAge => "max-age",
        }
    }
}

/// Conditions, all of which must hold. Written `image=pass,signed-by=release,host=pass`; none at all is the empty text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Requirement(BTreeMap<Condition, Value>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Value {
    /// As the condition's name says: pass, or off.
    Good,
    By(Name),
    Level(PodSecurity),
    Age(Duration),
}

impl Requirement {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether what holds now may not hold later though nothing has changed.
    #[must_use]
    pub fn reads_now(&self) -> bool {
        self.0.contains_key(&Condition::MaxAge)
    }

    /// The conditions that do not hold, in order: none where all do.
    #[must_use]
    pub fn unmet(&self, context: &Context) -> Vec<Condition> {
        self.0.iter().filter(|(condition, value)| !value.holds(**condition, context)).map(|(condition, _)| *condition).collect()
    }

    /// The conditions, in order, each as it is written.
    pub fn conditions(&self) -> impl Iterator<Item = (Condition, String)> {
        self.0.iter().map(|(condition, value)| (*condition, format!("{}={}", condition.name(), value.text(*condition))))
    }

    /// The signer who is asked for.
    #[must_use]
    pub fn signer(&self) -> Option<&Name> {
        self.0.values().find_map(|value| if let Value::By(name) = value { Some(name) } else { None })
    }

    /// What it is in Cedar; none where nothing is asked for.
    pub(super) fn to_cedar(&self) -> Option<String> {
        let terms: Vec<_> = self.0.iter().map(|(condition, value)| value.to_cedar(*condition)).collect();
        (!terms.is_empty()).then(|| terms.join(" && "))
    }
}

impl Value {
    fn holds(&self, condition: Condition, context: &Context) -> bool {
        let host = context.host.as_ref();
        match self {
            Self::Good => match condition {
                Condition::Host => host.is_some_and(|host| host.posture == HostPosture::Passed),
                Condition::Swap => host.is_some_and(|host| host.swap == Switch::Off),
                _ => context.image.verdict == ImageVerdict::Passed,
            },
            Self::By(signer) => context.image.signers.contains(signer.as_str()),
            Self::Level(level) => context.workload >= *level,
            Self::Age(age) => context.image.scanned.is_some_and(|scanned| {
                let scanned = scanned.secs();
                scanned != 0 && scanned.saturating_add(age.as_secs()) > context.now.secs()
            }),
        }
    }

    fn text(&self, condition: Condition) -> String {
        match self {
            Self::Good if condition == Condition::Swap => OFF.to_owned(),
            Self::Good => PASS.to_owned(),
            Self::By(signer) => signer.to_string(),
            Self::Level(level) => level.name().to_owned(),
            Self::Age(age) => age_text(*age),
        }
    }

    /// Names have no character that means anything to Cedar.
    fn to_cedar(&self, condition: Condition) -> String {
        let level = |level: PodSecurity| format!("context.workload.level == PodSecurity::\"{}\"", level.name());
        match self {
            Self::Good => match condition {
                Condition::Host => "context.host.posture == HostPosture::\"passed\"".to_owned(),
                Condition::Swap => "context.host.swap == Switch::\"off\"".to_owned(),
                _ => "context.image.verdict == ImageVerdict::\"passed\"".to_owned(),
            },
            Self::By(signer) => format!("context.image.signed_by.contains(\"{signer}\")"),
            Self::Level(PodSecurity::Restricted) => level(PodSecurity::Restricted),
            Self::Level(_) => format!("({} || {})", level(PodSecurity::Baseline), level(PodSecurity::Restricted)),
            Self::Age(age) => {
                format!("context.image.scanned != 0 && context.image.scanned > context.now - {}", age.as_secs())
            }
        }
    }
}

const PASS: &str = "pass";
const OFF: &str = "off";
/// Units of time, the greatest first.
const UNITS: [(u64, char); 4] = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];

/// The age in the greatest unit that it is a whole number of.
fn age_text(age: Duration) -> String {
    let secs = age.as_secs();
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| secs.is_multiple_of(*unit)).unwrap_or((1, 's'));
    format!("{}{name}", secs / unit)
}

fn age(text: &str) -> Option<Duration> {
    let (unit, name) = UNITS.into_iter().find(|(_, name)| text.ends_with(*name))?;
    let number = text.strip_suffix(name)?;
    let digits = number.len() <= 10 && number.bytes().all(|byte| byte.is_ascii_digit());
    let secs = number.parse::<u64>().ok().filter(|_| digits)?.checked_mul(unit)?;
    Some(Duration::from_secs(secs)).filter(|age| !age.is_zero() && *age <= REQUIRED_AGE_MAX)
}

fn condition(text: &str) -> Result<(Condition, Value), RequirementError> {
    let unknown = || RequirementError::Unknown(text.chars().take(QUOTED_CHARS_MAX).collect());
    let (name, value) = text.split_once('=').ok_or_else(unknown)?;
    let condition = Condition::ALL.into_iter().find(|condition| condition.name() == name).ok_or_else(unknown)?;
    let value = match (condition, value) {
        (Condition::Image | Condition::Host, PASS) | (Condition::Swap, OFF) => Value::Good,
        (Condition::SignedBy, name) => Value::By(name.parse().map_err(|_| unknown())?),
        (Condition::Workload, "baseline") => Value::Level(PodSecurity::Baseline),
        (Condition::Workload, "restricted") => Value::Level(PodSecurity::Restricted),
        (Condition::MaxAge, text) => Value::Age(age(text).ok_or(RequirementError::Age)?),
        _ => return Err(unknown()),
    };
    Ok((condition, value))
}

/// Characters of a text that an error repeats.
const QUOTED_CHARS_MAX: usize = 64;

impl FromStr for Requirement {
    type Err = RequirementError;

    fn from_str(text: &str) -> Result<Self, RequirementError> {
        let mut conditions = BTreeMap::new();
        for word in text.split(',').filter(|_| !text.is_empty()) {
            let (condition, value) = condition(word.trim())?;
            if conditions.insert(condition, value).is_some() {
                return Err(RequirementError::Twice(condition.name()));
            }
        }
        let of_images = conditions.contains_key(&Condition::Image) || conditions.contains_key(&Condition::SignedBy);
        if conditions.contains_key(&Condition::MaxAge) && !of_images {
            return Err(RequirementError::AgeAlone);
        }
        Ok(Self(conditions))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (_, word)) in self.conditions().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{word}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_read_what_they_write() {
        let all = "image=pass,signed-by=release,host=pass,swap=off,workload=restricted,max-age=1d";
        for text in ["", "image=pass", "workload=baseline", "signed-by=a,max-age=90s", all] {
            assert_eq!(text.parse::<Requirement>().unwrap().to_string(), text);
        }
        let same: Requirement =
            "max-age=24h, swap=off,workload=restricted,signed-by=release,host=pass,image=pass".parse().unwrap();
        assert_eq!(same, all.parse().unwrap());
        assert_eq!(same.signer().unwrap().as_str(), "release");
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in [
            "image",
            "image=",
            "image=fail",
            "image=Pass",
            "IMAGE=pass",
            "swap=on",
            "host=off",
            "workload=privileged",
            "signed-by=",
            "signed-by=A",
            "signed-by=a\"b",
            ",",
            "image=pass,",
            "image=pass,,host=pass",
            "color=red",
        ] {
            assert!(matches!(text.parse::<Requirement>(), Err(RequirementError::Unknown(_))), "{text}");
        }
        assert_eq!("image=pass,image=pass".parse::<Requirement>(), Err(RequirementError::Twice("image")));
        assert_eq!("max-age=1h,host=pass".parse::<Requirement>(), Err(RequirementError::AgeAlone));
    }

    #[test]
    fn ages_hold_to_their_limits() {
        let of = |age: &str| format!("image=pass,max-age={age}").parse::<Requirement>();
        let most = REQUIRED_AGE_MAX.as_secs();
        assert!(of(&format!("{most}s")).is_ok() && of("1s").is_ok());
        for wrong in ["", "0s", "h", "1", "-1h", "+1h", "1.5h", "1 h", "1w", "99999999999s", &format!("{}s", most + 1)] {
            assert_eq!(of(wrong), Err(RequirementError::Age), "{wrong}");
        }
    }
}
