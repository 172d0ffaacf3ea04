//! What a change of a secret does to the program that has it.

use std::str::FromStr;

use rustix::process::Signal;

/// What a change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnChange {
    /// The program is ended, and started anew.
    Restart,
    /// The program gets a signal.
    Signal(Signal),
    /// Nothing: the program looks for itself.
    Nothing,
}

impl FromStr for OnChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("signal=")) {
            ("restart", _) => Ok(Self::Restart),
            ("none", _) => Ok(Self::Nothing),
            (_, Some(name)) => match name.strip_prefix("SIG").unwrap_or(name) {
                "HUP" => Ok(Self::Signal(Signal::HUP)),
                "INT" => Ok(Self::Signal(Signal::INT)),
                "QUIT" => Ok(Self::Signal(Signal::QUIT)),
                "TERM" => Ok(Self::Signal(Signal::TERM)),
                "USR1" => Ok(Self::Signal(Signal::USR1)),
                "USR2" => Ok(Self::Signal(Signal::USR2)),
                _ => Err("a signal is HUP, INT, QUIT, TERM, USR1 or USR2".to_owned()),
            },
            _ => Err("write restart, signal=NAME or none".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_restarts_tells_or_does_nothing() {
        assert_eq!("restart".parse(), Ok(OnChange::Restart));
        assert_eq!("none".parse(), Ok(OnChange::Nothing));
        assert_eq!("signal=HUP".parse(), Ok(OnChange::Signal(Signal::HUP)));
        assert_eq!("signal=SIGUSR1".parse(), Ok(OnChange::Signal(Signal::USR1)));
        for bad in ["", "reload", "signal", "signal=", "signal=KILL", "signal=hup", "HUP"] {
            assert!(bad.parse::<OnChange>().is_err(), "{bad}");
        }
    }
}
