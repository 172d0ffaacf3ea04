//! The shares that are to be made, as `init` and `rekey start` take them.

use clap::Args;

use crate::failure::{Failure, Result};

/// Shares that are made where neither shares nor recipients are said.
const SHARES_DEFAULT: u32 = 5;
/// Shares needed of those.
const THRESHOLD_DEFAULT: u32 = 3;

/// Shares to make, and who gets them.
#[derive(Args)]
pub(super) struct Quorum {
    /// Shares to make, 1 to 16 [default: 5, or one for each recipient]
    #[arg(long, value_name = "N")]
    shares: Option<u32>,
    /// Shares needed to unseal [default: more than half of the shares]
    #[arg(long, value_name = "M")]
    threshold: Option<u32>,
    /// An age public key to encrypt a share to; one for each share, in order
    #[arg(long = "recipient", value_name = "AGE1...")]
    pub(super) recipients: Vec<String>,
}

impl Quorum {
    /// How many shares, and how many of them unseal. The vault checks the bounds.
    pub(super) fn counts(&self) -> Result<(u32, u32)> {
        let recipients = u32::try_from(self.recipients.len()).unwrap_or(u32::MAX);
        let shares = match (self.shares, recipients) {
            (None, 0) => SHARES_DEFAULT,
            (None, recipients) => recipients,
            (Some(shares), recipients) if recipients != 0 && recipients != shares => {
                return Err(Failure::usage(format!(
                    "{shares} shares, but {recipients} recipients: each share has a recipient, or none has"
                )));
            }
            (Some(shares), _) => shares,
        };
        let usual = match shares {
            SHARES_DEFAULT => THRESHOLD_DEFAULT,
            0 => 0,
            shares => shares / 2 + 1,
        };
        let threshold = self.threshold.unwrap_or(usual);
        if threshold > shares {
            return Err(Failure::usage(format!("a threshold of {threshold} cannot be reached with {shares} shares")));
        }
        Ok((shares, threshold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(shares: Option<u32>, threshold: Option<u32>, recipients: usize) -> Result<(u32, u32)> {
        Quorum { shares, threshold, recipients: vec!["age1".into(); recipients] }.counts()
    }

    #[test]
    fn the_quorum_follows_what_is_said() {
        assert_eq!(counts(None, None, 0).unwrap(), (5, 3));
        assert_eq!(counts(Some(3), None, 0).unwrap(), (3, 2));
        assert_eq!(counts(Some(1), None, 0).unwrap(), (1, 1));
        assert_eq!(counts(Some(0), None, 0).unwrap(), (0, 0));
        assert_eq!(counts(None, Some(2), 4).unwrap(), (4, 2));
        assert!(counts(Some(3), None, 2).is_err());
        assert!(counts(Some(3), Some(4), 0).is_err());
    }
}
